"""The kernels: ``build(variant)`` is what the simulator runs, ``ptx(variant, cc)`` the code for a card.

A kernel is one form of the window (forms/) with the ends of the stages of one phase of a recipe, or of both phases
(phases.py). The form loads elements into local arrays; the ends see these as their arrays and are the same functions
that the CPU runs.
"""

import functools
import types as python_types
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numba_lrn.algorithm import approximate, approximate64, formulas, power, power64, primitives, recipes
from numba_lrn.algorithm.binding import bind, rebind
from numba_lrn.backends.cuda.forms import (
    box,
    columns,
    entry,
    flat,
    prefix,
    quotients,
    ring,
    skew,
    spread,
    stages,
    walk,
    whole,
)
from numba_lrn.backends.cuda.phases import CALLERS, PASSES, Phase
from numba_lrn.backends.cuda.toolkit import (
    SIMULATED,
    Linked,
    compile_ptx,
    cuda,
    device_function,
    link,
    types,
)

REALS = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
# How the kernels see a dtype: half types by their bits, told apart by the sign of the integer type.
CARRIERS = {"float16": "uint16", "bfloat16": "int16", "float32": "float32", "float64": "float64"}
PACKS = (8, 0)  # from this compute capability on, one instruction rounds two float32 to two halves
# form: its module, its body and how many integers it takes.
FORMS: dict[str, tuple[python_types.ModuleType, Callable, int]] = {
    "small": (whole, whole.whole, 7),
    "small_last": (whole, whole.whole, 7),
    "small_spread": (whole, spread.spread, 7),
    "wide": (whole, whole.whole, 7),
    "wide_last": (whole, whole.whole, 7),
    "wide_spread": (whole, spread.spread, 7),
    "flat": (flat, flat.flat, 5),
    "ring": (ring, ring.ring, 6),
    "skew": (skew, skew.skew, 6),
    "prefix": (prefix, prefix.prefix, 6),
    "prefix_scratch": (prefix, prefix.prefix, 6),
    "box": (box, box.box, 6),
    "walk_contiguous": (walk, walk.walk, 9),
    "walk_strided": (walk, walk.walk, 9),
}
# Power functions of algorithm/approximate.py and approximate64.py, whose q is 1/d.
APPROXIMATE = ("refined", "rough")
POLYNOMIAL = ("power_general_refined", "power_wide_refined")  # those of float32 whose log2 is no quotient
# Those that are right where d is Inf or NaN; the others are asked where d is finite only.
RIGHT_AT_EXTREMES = (*APPROXIMATE, "guarded", "platform")


class Variant(NamedTuple):
    """What a kernel is specialised on: hashable, and enough to build it in another process."""

    form: str  # a key of FORMS
    phases: tuple[Phase, ...]  # one, or both of a recipe
    power: str  # a function of algorithm/power.py, approximate.py or approximate64.py
    dtype: str
    lanes: int  # elements a thread in each row
    adjacent: bool  # whether they are neighbours, in aligned memory
    steps: int  # rows loaded at a time
    before: int  # the window of the first phase, where it is compiled in
    after: int
    beside: tuple[int, int] = (0, 0)  # the window along the second axis of a box
    # Spread: how far apart the columns of a thread lie. Flat and ring: the threads of a block, and so how far apart the
    # elements of a thread lie. Skew: by how many elements skewed rows are shorter than those of the axis.
    span: int = 1
    far: bool = False  # whether columns are counted in 64 bits

    @property
    def real(self) -> str:
        """The type that it computes in."""
        return REALS[self.dtype]

    @property
    def contiguous(self) -> bool:
        """Whether the windowed axis is the last in memory, where lanes are neighbours along it."""
        return self.form.endswith("last")

    @property
    def holds_axis(self) -> bool:
        """Whether a block holds whole axes, or tiles of them."""
        return FORMS[self.form][0] is whole

    @property
    def walks(self) -> bool:
        """Whether blocks walk down a box."""
        return self.form.startswith("walk")

    @property
    def spread(self) -> bool:
        """Whether a block holds columns that are apart."""
        return self.form.endswith("spread")

    @property
    def columns(self) -> int:
        """The columns of a thread."""
        return 1 if self.contiguous else self.lanes

    @property
    def elements(self) -> int:
        """The elements that a thread computes at a time."""
        return self.steps * self.columns

    @property
    def twice(self) -> bool:
        """Whether it runs two phases."""
        return len(self.phases) > 1

    @property
    def reduces(self) -> bool:
        """Whether it also sums something over all elements."""
        return any(phase.reduces for phase in self.phases)

    @property
    def windows(self) -> int:
        """How many windows it sums at the same time, at most."""
        return max(phase.windows for phase in self.phases)

    @property
    def loaded(self) -> tuple[str, ...]:
        """The arrays that it reads from memory."""
        made = {name for phase in self.phases[:-1] for name in phase.written}
        names = [name for phase in self.phases for name in (*phase.summed, *phase.read)]
        return tuple(dict.fromkeys(name for name in names if name not in made))

    @property
    def own(self) -> tuple[str, ...]:
        """The arrays of which its ends read or write an element."""
        names = [name for phase in self.phases for name in (*phase.read, *phase.written)]
        return tuple(dict.fromkeys(names))

    def stored(self, phase: Phase) -> tuple[str, ...]:
        """What it writes to memory of what a phase leaves: not what its own second phase takes."""
        return tuple(name for name in phase.stored if name in CALLERS or not self.twice)

    @property
    def pointers(self) -> tuple[str, ...]:
        """Its arguments that are pointers, by the names of the arrays; what it sums over all elements comes last."""
        stored = [name for phase in self.phases for name in self.stored(phase)]
        scratch = ["scratch"] if self.form == "prefix_scratch" else []
        return tuple(dict.fromkeys((*self.loaded, *stored, *scratch, *(["partials"] if self.reduces else []))))

    @staticmethod
    def tuple_of(names: tuple[str, ...]) -> Any:
        """The type of a tuple of local arrays of these names, by which terms and ends find them."""
        return _tuple_of(names)


@functools.cache
def _tuple_of(names: tuple[str, ...]) -> Any:
    return namedtuple("Values", names)  # noqa: PYI024  the names are known only now


def _primitives(variant: Variant, packs: bool) -> dict[str, Any]:
    """What the card or the simulator provides."""
    device: Any
    names: dict[str, Any]
    if SIMULATED:
        from numba_lrn.backends.cuda import simulation as device

        names = {"math": device.ieee_math, "load_words": device.load_words, "store_words": device.store_words}
    else:
        from numba_lrn.backends.cuda import primitives as device

        names = {name: getattr(device, name) for name in INSTRUCTIONS}
        names["store"] = device.make_store(packs)
    names["real"] = getattr(np, variant.real)
    # In the simulator shared arrays take no alignment.
    names["SHARED_ALIGNMENT"] = None if SIMULATED else 16
    names["load_lanes"] = device.make_load_lanes(variant.lanes)
    names["store_lanes"] = device.make_store_lanes(variant.lanes, packs)
    names["load_columns"] = device.make_load_lanes(variant.columns)
    names["store_columns"] = device.make_store_lanes(variant.columns, packs)
    return names


INSTRUCTIONS = (
    "fma",
    "bits_of",
    "real_of",
    "approximate_root",
    "approximate_inverse_root",
    "approximate_reciprocal",
    "approximate_log2",
    "approximate_exp2",
    "load",
    "load_words",
    "store_words",
)


def _mathematics(variant: Variant, packs: bool) -> dict[str, Any]:
    """Primitives, power functions, formulas and the ends of stages, in one namespace."""
    tag = "_".join((variant.power or "sum", variant.dtype, "packed" if packs else "plain"))
    injected = _primitives(variant, packs)
    wide = (power64, approximate64) if variant.real == "float64" else ()
    namespace = bind((primitives, power, approximate, *wide, formulas), device_function, injected, tag)
    if variant.power:
        right = variant.power.endswith(RIGHT_AT_EXTREMES)
        namespace["finite_power"] = namespace[variant.power]
        namespace["finite_times"] = namespace[power.TIMES.get(variant.power, "times_power")]
        namespace["inverse_power"] = namespace[variant.power if right else "power_at_extremes"]
        namespace["normalized"] = namespace["finite_times" if right else "times_at_extremes"]
    if variant.power.endswith(APPROXIMATE):
        for formula in ("over_d", "log_denominator"):
            namespace[formula] = namespace[f"{formula}_by_reciprocal"]
    if variant.dtype in ("float16", "bfloat16"):
        namespace["denominator"] = namespace["denominator_rounded"]
    namespace["store_result"] = namespace["store"]
    ends = bind((recipes,), device_function, {**namespace, "logarithm": namespace[_logarithm(variant)]}, tag)
    for end in PASSES:
        ends[end.__name__] = device_function(rebind(end, ends, f"{end.__name__}__{tag}"))
    return ends


def _logarithm(variant: Variant) -> str:
    """The ln that is right for every d that its power function is for."""
    if variant.power.endswith(APPROXIMATE):
        return "logarithm" if variant.power.startswith(POLYNOMIAL) or variant.real == "float64" else "logarithm_divided"
    return "logarithm_platform" if variant.real == "float64" else "logarithm_guarded"


def function(variant: Variant, packs: bool = True) -> Callable:
    """The kernel as a plain function, to be compiled for ``signature(variant)``."""
    namespace = _mathematics(variant, packs)
    lanes = variant.lanes
    module, body, integers = FORMS[variant.form]
    namespace.update(
        cuda=cuda,
        np=np,
        real_type=getattr(types, variant.real),
        carrier_type=getattr(types, CARRIERS[variant.dtype]),
        Parameters=formulas.Parameters,
        POINTERS=len(variant.pointers),
        SCALARS=len(variant.pointers) + integers,
        PARTIALS=len(variant.pointers) - 1,
        LANES=lanes,
        STEPS=variant.steps,
        BEFORE=variant.before,
        AFTER=variant.after,
        BATCH=variant.steps * lanes,
        WINDOWS=variant.windows,
        TOTALS=lanes * variant.windows,
        BASES=1 if variant.adjacent else lanes,
        SHARES=variant.reduces,
        # Beyond the axis g is 0, and d is at least k, a normal number, whose power is finite but for long exponents.
        NOTHING_BEYOND=variant.power.endswith(APPROXIMATE) and not variant.power.startswith("power_wide"),
        SUMS=recipes.SUMS,
        # The sum of nothing: adding to −0 takes no instruction, where 0 + x takes one, as it makes 0 of −0.
        EMPTY=getattr(np, variant.real)(-0.0),
    )
    namespace.update(module.constants(variant))
    namespace["quotient"] = device_function(rebind(quotients.quotient, namespace, "quotient"))
    far = device_function(rebind(quotients.far_quotient, namespace, "far_quotient"))
    namespace["column_quotient"] = far if variant.far else namespace["quotient"]
    number = quotients.far_block_number if variant.far else quotients.block_number
    namespace["block_number"] = device_function(rebind(number, namespace, "block_number"))
    namespace["start_of"] = device_function(rebind(columns.start_of, namespace, "start_of"))
    way = "adjacent" if variant.adjacent else "spread"
    for name in ("place", "owns", "load", "store"):
        accessor = rebind(getattr(columns, f"{name}_{way}"), namespace, f"{name}_{way}")
        namespace[f"{name}_row" if name in ("load", "store") else name] = device_function(accessor)
    for common in (stages.clear, stages.add_shares, stages.combine):
        namespace[common.__name__] = device_function(rebind(common, namespace, common.__name__))
    made: dict[Any, Any] = {}
    for name, copies in module.helpers(variant).items():
        namespace[name] = _one_after_another(name, copies, namespace, made)
    run = device_function(rebind(body, namespace, variant.form))
    for size in reversed(module.local_sizes(variant)):
        scope = _within(namespace, SIZE=size, following=run)
        run = device_function(rebind(entry.with_local_array, scope, "with_local_array"))
    namespace["run"] = run
    return rebind(entry.entry_with_sums if variant.reduces else entry.entry, namespace, name_of(variant))


def _one_after_another(
    name: str, copies: list[tuple[Callable, dict[str, Any]]], namespace: dict[str, Any], made: dict[Any, Any]
) -> Any:
    """One function that runs copies of functions in turn, each with constants of its own.

    Constants that are the names of terms and ends stand for these. A copy that was ``made`` before is not compiled
    again: kernels of skewed rows, which have their rows twice, take 4.0 s instead of 5.5 (float16).
    """
    found = []
    for function, constants in copies:
        own = {key: namespace[value] if isinstance(value, str) else value for key, value in constants.items()}
        key = function, frozenset(own.items())
        if key not in made:
            made[key] = device_function(rebind(function, _within(namespace, **own), function.__name__))
        found.append(made[key])
    return _joined(name, found) if found else device_function(_nothing)


def _joined(name: str, functions: list[Any]) -> Any:
    """Functions one after another: halves of halves, as the compiler goes down into each."""
    if len(functions) == 1:
        return functions[0]
    middle = len(functions) // 2
    halves = {"this": _joined(name, functions[:middle]), "following": _joined(name, functions[middle:])}
    return device_function(rebind(_both, halves, name))


def _within(namespace: dict[str, Any], **own: Any) -> dict[str, Any]:
    """A namespace with more names."""
    if SIMULATED:
        from numba_lrn.backends.cuda import simulation

        own["cuda"] = simulation.Cuda(namespace)  # type: ignore[no-untyped-call]
    return {**namespace, **own}


def _nothing(*arguments: Any) -> None:
    """What is done for no array."""


def _both(*arguments: Any) -> None:
    """What is done first, then the rest."""
    this(*arguments)  # type: ignore[name-defined]  # noqa: F821  bound above
    following(*arguments)  # type: ignore[name-defined]  # noqa: F821  bound above


def name_of(variant: Variant) -> str:
    """A name for the machine code."""
    ends = "_".join(end for phase in variant.phases for _, end in phase.stages)
    way = "adjacent" if variant.adjacent else "spread"
    window = "_".join(str(side) for side in (variant.before, variant.after, *variant.beside))
    far = "_far" if variant.far else ""
    return f"lrn_{variant.form}_{ends}_{variant.dtype}_{way}{variant.lanes}_{window}_{variant.span}{far}"


@functools.cache
def build(variant: Variant) -> Any:
    """The kernel as the simulator runs it: ``build(variant)[grid, block, 0, shared_bytes](*arguments)``."""
    return cuda.jit(function(variant))


def signature(variant: Variant) -> tuple[Any, ...]:
    """The Numba type of its arguments, all in one tuple: pointers, integers, then the fields of Parameters."""
    array = types.CPointer(getattr(types, CARRIERS[variant.dtype]))
    plane = types.CPointer(getattr(types, variant.real))
    pointers = [array if name in CALLERS else plane for name in variant.pointers]
    integers = (types.int64,) * FORMS[variant.form][2]
    scalars = (getattr(types, variant.real),) * len(formulas.Parameters._fields)
    return (types.Tuple((*pointers, *integers, *scalars)),)


def ptx(variant: Variant, compute_capability: tuple[int, int]) -> str:
    """The kernel in the assembly language that all cards share; needs no driver."""
    kernel = _recent(variant, compute_capability >= PACKS)
    return compile_ptx(kernel, signature(variant), compute_capability, launch_bounds(variant, compute_capability))


def launch_bounds(variant: Variant, compute_capability: tuple[int, int]) -> tuple[int, int] | None:
    """(threads of a block, blocks side by side) that the compiler keeps registers for, where a form asks for them."""
    module = FORMS[variant.form][0]
    return module.launch_bounds(variant, compute_capability) if module in (flat, skew, whole) else None


# Its device functions are typed once for several architectures: 0.5 s for each further one, where the first takes 2.5.
_recent = functools.lru_cache(maxsize=2)(function)


def linked(variant: Variant, compute_capability: tuple[int, int]) -> Linked:
    """The machine code for one card, compiled anew at every call; needs no driver."""
    return link(ptx(variant, compute_capability), compute_capability)
