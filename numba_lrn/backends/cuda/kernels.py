"""The kernels: ``build(variant)`` is what the simulator runs, ``cubin(variant, cc)`` machine code for a card.

A kernel is one form of the window (walk.py, last.py, box.py, prefix.py) with the ends of one stage of
algorithm/recipes.py, or of both stages of a recipe. The form loads elements into registers; the ends see these as
their arrays and are the same functions that the CPU runs.
"""

import functools
import types as python_types
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numba_lrn.algorithm import approximate, formulas, power, primitives, recipes
from numba_lrn.algorithm.binding import bind, rebind
from numba_lrn.algorithm.recipes import Arrays
from numba_lrn.algorithm.window import planes
from numba_lrn.backends.cuda.forms import box, columns, entry, last, prefix, walk
from numba_lrn.backends.cuda.toolkit import (
    Linked,
    compile_ptx,
    cuda,
    device_function,
    is_simulator,
    link,
    types,
)

REALS = {"float16": "float32", "bfloat16": "float32", "float32": "float32", "float64": "float64"}
# How the kernels see a dtype: half types by their bits, told apart by the sign of the integer type.
CARRIERS = {"float16": "uint16", "bfloat16": "int16", "float32": "float32", "float64": "float64"}
PACKS = (8, 0)  # from this compute capability on, one instruction rounds two float32 to two halves
# form: its module and its body.
FORMS: dict[str, tuple[python_types.ModuleType, Callable]] = {
    "walk": (walk, walk.walk),
    "walk_twice": (walk, walk.walk_twice),
    "last": (last, last.last),
    "last_twice": (last, last.last_twice),
    "prefix": (prefix, prefix.prefix),
    "prefix_scratch": (prefix, prefix.prefix),
    "box_contiguous": (box, box.box),
    "box_strided": (box, box.box),
}
# Power functions that are right where d is Inf or NaN; the others are asked where d is finite only.
RIGHT_AT_EXTREMES = ("refined", "rough", "guarded", "platform")


class Buffers(NamedTuple):
    """What a recipe keeps from one stage to the next."""

    residual: Any
    kept: Any


class Variant(NamedTuple):
    """What a kernel is specialised on: hashable, and enough to build it in another process."""

    form: str  # a key of FORMS
    stages: tuple[tuple[str, str], ...]  # (term, end) of each stage: names in algorithm/recipes.py
    source: str  # what the first stage sums: "array" (x and g) or "plane" (numbers between two launches)
    power: str  # a function of algorithm/power.py or algorithm/approximate.py
    dtype: str
    lanes: int  # elements a thread in each row
    adjacent: bool  # whether they are neighbours, in aligned memory
    steps: int  # rows loaded at a time
    before: int  # the window of the first stage, where it is compiled in
    after: int
    beside: tuple[int, int] = (0, 0)  # the window along the second axis of a box

    @property
    def real(self) -> str:
        """The type that it computes in."""
        return REALS[self.dtype]

    @property
    def whole(self) -> bool:
        """Whether it is a whole operation, from the caller's arrays to the caller's array."""
        return (
            self.source == "array"
            and END[self.stages[-1][1]].target == "array"
            and self.form.startswith(("walk", "last"))
        )


class End(NamedTuple):
    """What the end of a stage touches, beside the window sum: in algorithm/recipes.py and algorithm/window."""

    reads: tuple[str, ...]  # of "x", "g" and "kept"
    target: str  # "array": the caller's, "plane": numbers of the computing type
    keeps: bool = False


END = {
    "emit_normalized": End(("x",), "array"),
    "keep_residual": End(("x", "g"), "plane", keeps=True),
    "emit_gradient": End(("x", "kept"), "array"),
    "emit_plane": End((), "plane"),
}


def _primitives(variant: Variant, packs: bool) -> dict[str, Any]:
    """What the card or the simulator provides."""
    device: Any
    names: dict[str, Any]
    if is_simulator():
        from numba_lrn.backends.cuda import simulation as device

        names = {"math": device.ieee_math}
    else:
        from numba_lrn.backends.cuda import primitives as device

        names = {name: getattr(device, name) for name in INSTRUCTIONS}
        names["store"] = device.make_store(packs)
    names["real"] = getattr(np, variant.real)
    # In the simulator shared arrays take no alignment.
    names["SHARED_ALIGNMENT"] = None if is_simulator() else 16
    names["load_lanes"] = device.make_load_lanes(variant.lanes)
    names["store_lanes"] = device.make_store_lanes(variant.lanes, packs)
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
)


def _mathematics(variant: Variant, packs: bool) -> dict[str, Any]:
    """Primitives, power functions, formulas and the ends of stages, in one namespace."""
    tag = "_".join((variant.power or "sum", variant.dtype, "packed" if packs else "plain"))
    injected = _primitives(variant, packs)
    if variant.real == "float64":
        injected.update(power.float64_constants())  # type: ignore[no-untyped-call]
    namespace = bind((primitives, power, approximate, formulas), device_function, injected, tag)
    if variant.power:
        right = variant.power.endswith(RIGHT_AT_EXTREMES)
        namespace["finite_power"] = namespace[variant.power]
        namespace["finite_times"] = namespace[power.TIMES.get(variant.power, "times_power")]
        namespace["inverse_power"] = namespace[variant.power if right else "power_at_extremes"]
        namespace["normalized"] = namespace["finite_times" if right else "times_at_extremes"]
    half = variant.dtype in ("float16", "bfloat16")
    namespace["denominator"] = namespace["denominator_rounded" if half else "denominator_at_extremes"]
    namespace["store_result"] = namespace["store"]
    ends = bind((recipes,), device_function, namespace, tag)
    for end in (planes.plane_term, planes.emit_plane):
        ends[end.__name__] = device_function(rebind(end, ends, f"{end.__name__}__{tag}"))
    return ends


def function(variant: Variant, compute_capability: tuple[int, int] = (9, 0)) -> Callable:
    """The kernel as a plain function, to be compiled for ``signature(variant)``."""
    namespace = _mathematics(variant, compute_capability >= PACKS)
    lanes, n = variant.lanes, variant.before + variant.after + 1
    end = END[variant.stages[-1][1]]
    namespace.update(
        cuda=cuda,
        np=np,
        real_type=getattr(types, variant.real),
        Arrays=Arrays,
        Buffers=Buffers,
        Parameters=formulas.Parameters,
        LANES=lanes,
        STEPS=variant.steps,
        BEFORE=variant.before,
        AFTER=variant.after,
        N=n,
        RING=n * lanes,
        BATCH=variant.steps * lanes,
        # In two chains: fewer roundings of large sums, and a shorter wait for each.
        CHAINS=lanes if n < 5 else 2 * lanes,
        BASES=1 if variant.adjacent else lanes,
        # The rings of walk.py and the vectors of last.py hold x already, where it is what they sum.
        READS_X="x" in end.reads and (variant.source != "array" or not variant.form.startswith(("walk", "last"))),
        READS_G="g" in end.reads,
        READS_KEPT="kept" in end.reads,
        WRITES_KEPT=end.keeps,
        add_term=namespace[variant.stages[0][0]],
        emit=namespace[variant.stages[0][1]],
        add_second=namespace[variant.stages[-1][0]],
        emit_second=namespace[variant.stages[-1][1]],
    )
    way = "adjacent" if variant.adjacent else "spread"
    for name in ("place", "load", "store"):
        accessor = rebind(getattr(columns, f"{name}_{way}"), namespace, f"{name}_{way}")
        namespace[name if name == "place" else f"{name}_row"] = device_function(accessor)
    module, body = FORMS[variant.form]
    namespace.update(module.constants(variant))
    for helper in module.HELPERS:
        namespace[helper] = device_function(rebind(getattr(module, helper), namespace, helper))
    namespace["run"] = device_function(rebind(body, namespace, variant.form))
    return rebind(entry.whole if variant.whole else entry.stage, namespace, name_of(variant))


def name_of(variant: Variant) -> str:
    """A name for the machine code."""
    ends = "_".join(end for _, end in variant.stages)
    way = "adjacent" if variant.adjacent else "spread"
    window = "_".join(str(side) for side in (variant.before, variant.after, *variant.beside))
    return f"lrn_{variant.form}_{ends}_{variant.dtype}_{way}{variant.lanes}_{window}"


@functools.cache
def build(variant: Variant) -> Any:
    """The kernel as the simulator runs it: ``build(variant)[grid, block, 0, shared_bytes](*arguments)``."""
    return cuda.jit(function(variant))


def signature(variant: Variant) -> tuple[Any, ...]:
    """The Numba types of its arguments: pointers first, then integers, then the fields of Parameters."""
    array = types.CPointer(getattr(types, CARRIERS[variant.dtype]))
    plane = types.CPointer(getattr(types, variant.real))
    scalars = (getattr(types, variant.real),) * len(formulas.Parameters._fields)
    if variant.whole:
        return (array,) * 3 + (types.int64,) * 4 + scalars
    source = array if variant.source == "array" else plane
    out = array if END[variant.stages[-1][1]].target == "array" else plane
    return (source, array, array, out, plane, plane) + (types.int64,) * 6 + scalars


def ptx(variant: Variant, compute_capability: tuple[int, int]) -> str:
    """The kernel in the assembly language that all cards share; needs no driver."""
    return compile_ptx(function(variant, compute_capability), signature(variant), compute_capability)


def linked(variant: Variant, compute_capability: tuple[int, int]) -> Linked:
    """The machine code for one card, compiled anew at every call; needs no driver."""
    return link(ptx(variant, compute_capability), compute_capability)


def cubin(variant: Variant, compute_capability: tuple[int, int]) -> tuple[bytes, str]:
    """(machine code, name of the kernel in it)."""
    result = linked(variant, compute_capability)
    return result.code, result.name
