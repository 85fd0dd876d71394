"""The CPU kernels: a recipe's stages, each over the tiles of the array.

A kernel is built once for (recipe, form of the window, power function, dtype), and the window where it is one of
plan.FUSED, and takes everything else at run time.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from numba_lrn.algorithm import formulas, power, power64, primitives, recipes, window
from numba_lrn.algorithm.binding import bind, rebind, rebind_late
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.algorithm.window import contract
from numba_lrn.backends.cpu import memory, worker
from numba_lrn.backends.cpu import primitives as cpu_primitives
from numba_lrn.backends.cpu.compiler import compile_entry, compile_part, native_address, sources_stamp
from numba_lrn.backends.cpu.injection import primitives_of
from numba_lrn.backends.cpu.lanes import Lanes
from numba_lrn.backends.cpu.planes import sum_plane
from numba_lrn.backends.cpu.threads import parallel_loop
from numba_lrn.backends.cpu.worker import Buffers

# The buffers of the forms, beside ``total``.
FORM_BUFFERS = {
    "direct": (),
    "masked": (),
    "prefix": ("running", "suffix"),
    "turned": ("running", "suffix", "turned", "planes"),
    "scanned": ("running", "suffix", "turned", "planes"),
    "box": ("running", "suffix", "turned", "planes"),
    "interleaved": ("running", "suffix", "turned", "planes"),
}


class Variant(NamedTuple):
    """What a kernel is specialised on."""

    recipe: str
    form: str
    power: str
    dtype: str
    real: str
    before: int = 0  # the window, where the kernel is made for one, else 0
    terms: int = 0

    @property
    def name(self) -> str:
        """A name for the machine code and the cache."""
        return "_".join(map(str, self))


def _powers(real_name: str) -> tuple[ModuleType, ...]:
    """The modules that powers and formulas are bound from."""
    return (primitives, power, power64, formulas) if real_name == "float64" else (primitives, power, formulas)


@functools.cache
def _mathematics(power_name: str, real_name: str) -> dict[str, Any]:
    """Primitives, power functions, formulas and terms in one namespace, shared by the kernels that use them."""
    injected = primitives_of(real_name)
    namespace = bind(_powers(real_name), compile_part, injected, f"{power_name}_{real_name}")
    namespace["finite_power"] = namespace[power_name]
    namespace["finite_times"] = namespace[power.TIMES.get(power_name, "times_power")]
    return namespace


def _terms(variant: Variant, inverse_power: str, normalized: str, store_result: str = "store") -> dict[str, Any]:
    """The ends of the stages, with the functions that they use."""
    mathematics = _mathematics(variant.power, variant.real)
    logarithm = "logarithm_at_extremes" if variant.power in power.PLAIN else "logarithm_guarded"
    injected = {
        **mathematics,
        "inverse_power": mathematics[inverse_power],
        "normalized": mathematics[normalized],
        "store_result": getattr(cpu_primitives, store_result),
        "logarithm": mathematics[logarithm],
    }
    return bind((recipes,), compile_part, injected, f"{variant.power}_{variant.real}_{inverse_power}_{store_result}")


def _stage(variant: Variant, stage: recipes.Stage) -> dict[str, Any]:
    """The functions of algorithm/window for one stage; the one called ``run`` runs it over one tile."""
    usual = ("finite_power", "finite_times")
    terms = _terms(variant, *usual)
    at_extremes = _terms(variant, "power_at_extremes", "times_at_extremes")
    injected = {
        **_mathematics(variant.power, variant.real),
        "sum_plane": sum_plane,
        "emit": (terms if stage.raises else at_extremes)[stage.emit],
        "emit_extremes": at_extremes[stage.emit],
        "STREAMS": bool(stage.result),
        **_fetching(variant, stage),
        "RAISES": stage.raises,
        "REDUCES": stage.reduces,
        "TERMS": variant.terms,
        "BEFORE": variant.terms - 1 - variant.before if stage.transposed else variant.before,
    }
    if stage.add:
        injected["add_term"] = terms[stage.add]
    tag = f"{variant.name}_{stage.emit}_{sources_stamp()[:8]}"
    namespace = bind(window.FORMS, compile_part, injected, tag)
    if stage.result:
        namespace["misalignment_of_result"] = compile_part(worker.MISALIGNMENT[stage.result])
        namespace["emit_streamed"] = _terms(variant, *usual, "store_past_caches")[stage.emit]
        injected.update(emit=namespace["emit_streamed"], extremes_strip=namespace["extremes_strip"])
        streamed = bind(window.FORMS, compile_part, injected, f"{tag}_streamed")
        for name in namespace:
            if name.startswith("streamed_"):
                namespace[name] = streamed[name.removeprefix("streamed_")]
    if stage.passes:
        namespace["emit_and_pass"] = terms[stage.passes]
    namespace["run"] = namespace[variant.form if stage.add else "pointwise"]
    return namespace


def _fetching(variant: Variant, stage: recipes.Stage) -> dict[str, Any]:
    """Whether a stage asks ahead, and the function that does.

    The first stage asks for x and the last for the others, where tiles follow one another. Where a tile's rows do
    (direct, prefix), all that the first stage reads it asks for itself.
    """
    recipe = RECIPES[variant.recipe]
    read = ("x",) if variant.recipe.startswith("forward") else ("x", "g", "v")  # forward takes x in the place of g too
    inputs = [place for place, name in enumerate(recipe.names) if name in read]
    first, last = stage is recipe.stages[0], stage is recipe.stages[-1]
    if variant.form == "turned" or (variant.form == "masked" and variant.terms):  # plan.py asks for nothing there
        asked = []
    elif variant.form in ("direct", "prefix") or (first and last):
        asked = inputs[:2] if first else []
    else:
        asked = inputs[:1] if first else inputs[1:] if last else []
    line = memory.LINE // np.dtype(memory.CARRIERS.get(variant.dtype, variant.dtype)).itemsize
    namespace = {
        "prefetch": cpu_primitives.prefetch,
        "PER_LINE": line,
        "FETCHED": asked[0] if asked else -1,
        "FETCHED_TOO": asked[1] if len(asked) > 1 else -1,
    }
    tag = "_".join(map(str, ("fetch", line, *asked)))
    return {"FETCHES": bool(asked), "fetch_ahead": compile_part(rebind(worker.fetch, namespace, tag))}


def _chase(variant: Variant, ahead: dict[str, Any], behind: dict[str, Any]) -> Any:
    """The function that runs two stages in one loop, from the functions of each."""
    injected = {
        **ahead,
        "STREAMS": True,
        "FETCHES": False,  # by ``strip_count``, which looks at the stage behind
        "misalignment_of_result": behind["misalignment_of_result"],
        "add_term_behind": behind["add_term"],
        "emit_behind": behind["emit"],
        "fused_behind": behind["fused_strip"],
    }
    for name in ("strip_count", "is_streamed"):  # which look at the result of the stage behind
        del injected[name]
    tag = f"{variant.name}_{sources_stamp()[:8]}_chased"
    namespace = bind(window.CHASE, compile_part, injected, tag)
    streamed = bind(window.CHASE, compile_part, {**injected, "emit_behind": behind["emit_streamed"]}, f"{tag}_streamed")
    namespace["streamed_chased_strip"] = streamed["chased_strip"]
    return namespace["chase"]


# The powers that are functions of vectors too. Those that are guarded choose element by element, power_wide too.
COLUMN_POWERS = (
    "power_quarter_roots", "power_half_roots", "power_three_quarters_roots", "power_one", "power_general",
    "power_general_divided",
)  # fmt: skip


def has_columns(recipe: str, form: str, power_name: str, terms: int) -> bool:
    """Whether a kernel can run down columns."""
    return recipe == "backward" and form == "direct" and terms == 5 and power_name in COLUMN_POWERS


def _columns(variant: Variant) -> Any:
    """The function that runs backward down columns, by formulas of vectors."""
    real = getattr(types, variant.real)
    casts = {"real": cpu_primitives.CASTS[real], "integer": cpu_primitives.CASTS[cpu_primitives.INTEGERS[real]]}
    tag = f"{variant.name}_{sources_stamp()[:8]}_columns"
    mathematics = bind(_powers(variant.real), compile_part, {**primitives_of(variant.real), **casts}, tag)
    injected = {**mathematics, "inverse_power": mathematics[variant.power], "LANES": Lanes(real).count}
    return bind(window.COLUMNS, compile_part, injected, tag)["columns"]


class Kernel:
    """The entry point of a variant, compiled at its first call, callable on one thread or on several."""

    def __init__(self, variant: Variant):
        self._variant = variant
        self._dispatcher: Any = None
        self._address = 0
        recipe = RECIPES[variant.recipe]
        self._parallel_loop = parallel_loop(variant.dtype, variant.real, len(recipe.names), recipe.sums)

    def __call__(
        self,
        workers: int,
        arrays: tuple,
        workspace: NDArray,
        positions: NDArray,
        scalars: NDArray,
        layout: NDArray,
    ) -> None:
        """Run on the recipe's arrays, flat, as a tuple; ``workers`` > 1 shares the tiles among as many threads."""
        if self._dispatcher is None:
            self._compile((arrays, workspace, positions, scalars, layout, 0, workers, workers))
        if workers == 1:
            self._dispatcher(arrays, workspace, positions, scalars, layout, 0, 1, 1)
        else:
            self._parallel_loop(self._address, arrays, workspace, positions, scalars, layout, workers)

    def _compile(self, arguments: tuple) -> None:
        dispatcher = compile_entry(entry_function(self._variant), arguments)
        self._address = native_address(dispatcher)
        self._dispatcher = dispatcher

    def assembly(self) -> str:
        """The machine code as text; empty for a kernel that came from the disk cache."""
        return "\n".join(self._dispatcher.inspect_asm().values())


@functools.cache
def kernel(variant: Variant) -> Kernel:
    """The kernel of a variant, one a process."""
    return Kernel(variant)


def entry_function(variant: Variant) -> Callable:
    """The entry point of a variant. To bind all that it calls takes 0.02 s, which a warm cache saves."""
    entry = worker.entry(f"{variant.name} {sources_stamp()}")
    return rebind_late(entry, functools.partial(_namespace, variant), variant.name)


def _namespace(variant: Variant) -> dict[str, Any]:
    """What the entry point of a variant calls."""
    recipe = RECIPES[variant.recipe]
    stages = [_stage(variant, stage) for stage in recipe.stages]
    ahead = [functions["run"] for functions, stage in zip(stages, recipe.stages, strict=True) if not stage.transposed]
    behind = [functions["run"] for functions, stage in zip(stages, recipe.stages, strict=True) if stage.transposed]
    chases = bool(variant.form == "direct" and variant.terms and recipe.stages[0].passes)
    used = {"total", *recipe.kept, *FORM_BUFFERS[variant.form]}
    used.update(["sums"] if recipe.sums else [], ["stages"] if behind else [])
    tag = f"{variant.name}_{sources_stamp()[:8]}"
    injected: dict[str, Any] = {
        **_mathematics(variant.power, variant.real),
        **{f"{name}_of": compile_part(worker.some if name in used else worker.none) for name in Buffers._fields},
        "Arrays": recipe.arrays,
        "BEHIND": bool(behind),
        "SHARES": recipe.sums,
        "CHASES": chases,
        "ahead": _one_after_another(ahead, f"{tag}_ahead"),
    }
    if behind:
        injected["behind"] = _one_after_another(behind, f"{tag}_behind")
    if chases:
        injected["chase"] = _chase(variant, *stages)
    if has_columns(variant.recipe, variant.form, variant.power, variant.terms):
        injected.update(COLUMNS=True, columns=_columns(variant))
    return bind((contract, worker), compile_part, injected, tag)


def _one_after_another(stages: list[Any], tag: str) -> Any:
    """One function that runs the stages in turn."""
    following = stages[-1]
    for index, stage in reversed(list(enumerate(stages[:-1]))):
        namespace = {"this_stage": stage, "following_stages": following}
        following = compile_part(rebind(worker.two_stages, namespace, f"two_stages__{tag}_{index}"))
    return following
