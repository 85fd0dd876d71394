"""The CPU kernels: a recipe's stages, each over the tiles of the array.

A kernel is built once for (recipe, form of the window, power function, dtype) and takes everything else at run
time.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from numba_lrn.algorithm import formulas, power, primitives, recipes, window
from numba_lrn.algorithm.binding import bind, rebind
from numba_lrn.algorithm.recipes import RECIPES, SUMS
from numba_lrn.algorithm.window import Space, Tile
from numba_lrn.backends.cpu import primitives as cpu_primitives
from numba_lrn.backends.cpu.compiler import (
    compile_entry,
    compile_inline,
    compile_loop,
    native_address,
    sources_stamp,
)
from numba_lrn.backends.cpu.planes import sum_plane
from numba_lrn.backends.cpu.threads import parallel_loop


class Buffers(NamedTuple):
    """The parts of a worker's memory; a form or recipe that does not use one gets it empty."""

    total: Any  # window sums
    residual: Any  # what a recipe keeps from one stage to the next
    kept: Any
    cross: Any
    mixed: Any
    squares: Any
    running: Any  # running sums of a row's lanes, in three parts
    suffix: Any  # suffix sums of one block of rows
    rungs: Any  # sums of 1, 4, 16, … neighbours
    planes: Any  # the two planes of a box
    sums: Any  # the tile's part of the caller's sums
    stages: Any  # all that is kept between stages, one buffer after another


class Layout(NamedTuple):
    """What a kernel is told at run time, as one integer array: geometry, tiles and the sizes of the buffers.

    The table of the axes of a box follows it in the same array.
    """

    outers: int
    length: int
    inner: int
    unit: int
    before: int
    after: int
    tile_outers: int  # outer indices a tile
    tile_rows: int  # rows of the axis a tile
    tile_lanes: int  # elements of the unit a tile
    tiles: int
    step: int  # rows of the last stage a turn: the first stage runs just ahead of it
    strip: int  # elements summed and emitted at a time
    streaming: int  # 1 where the results go past the caches
    held: int  # size of a buffer that is kept between stages, in elements
    total: int  # sizes of the buffers, in elements
    residual: int
    kept: int
    cross: int
    mixed: int
    squares: int
    running: int
    suffix: int
    rungs: int
    planes: int


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


@functools.cache
def _mathematics(power_name: str, real_name: str) -> dict[str, Any]:
    """Primitives, power functions, formulas and terms in one namespace, shared by the kernels that use them."""
    injected: dict[str, Any] = {
        name: getattr(cpu_primitives, name)
        for name in ("fma", "accumulate", "bits_of", "real_of", "load", "load_integer", "store", "fence")
    }
    injected["real"] = getattr(np, real_name)
    if real_name == "float64":
        injected.update(power.float64_constants())
    namespace = bind((primitives, power, formulas), compile_inline, injected, f"{power_name}_{real_name}")
    namespace["finite_power"] = namespace[power_name]
    namespace["finite_times"] = namespace[power.TIMES.get(power_name, "times_power")]
    return namespace


def _terms(
    variant: Variant, denominator: str, inverse_power: str, normalized: str, store_result: str = "store"
) -> dict[str, Any]:
    """The ends of the stages, with the functions that they use."""
    mathematics = _mathematics(variant.power, variant.real)
    logarithm = "logarithm_at_extremes" if variant.power in power.PLAIN else "logarithm_guarded"
    injected = {
        **mathematics,
        "denominator": mathematics[denominator],
        "inverse_power": mathematics[inverse_power],
        "normalized": mathematics[normalized],
        "store_result": getattr(cpu_primitives, store_result),
        "logarithm": mathematics["logarithm_platform" if variant.real == "float64" else logarithm],
    }
    return bind((recipes,), compile_inline, injected, f"{variant.power}_{variant.real}_{denominator}_{store_result}")


def _stage(variant: Variant, stage: recipes.Stage) -> dict[str, Any]:
    """The functions of algorithm/window.py for one stage; the one called ``run`` runs it over one tile."""
    usual = ("denominator", "finite_power", "finite_times")
    terms = _terms(variant, *usual)
    at_extremes = _terms(variant, "denominator_at_extremes", "power_at_extremes", "times_at_extremes")
    injected = {**_mathematics(variant.power, variant.real), "sum_plane": sum_plane}
    injected["emit"] = (terms if stage.strip == "emit_strip" else at_extremes)[stage.emit]
    injected["emit_extremes"] = at_extremes[stage.emit]
    injected["STREAMS"] = bool(stage.result)
    injected["TERMS"] = variant.terms
    injected["BEFORE"] = variant.terms - 1 - variant.before if stage.transposed else variant.before
    form = "pointwise"
    if stage.add:
        injected["add_term"] = terms[stage.add]
        form = variant.form
    tag = f"{variant.name}_{stage.emit}_{sources_stamp()[:8]}"
    namespace = bind((window,), _compile_window, injected, tag)
    if stage.result:
        misaligned = RESULTS[stage.result]
        namespace["misalignment_of_result"] = compile_inline(rebind(misaligned, globals(), misaligned.__name__))
        injected["emit"] = _terms(variant, *usual, "store_past_caches")[stage.emit]
        streamed = bind((window,), _compile_window, injected, f"{tag}_streamed")
        streamed["extremes_strip"] = namespace["extremes_strip"]
        _choose(streamed, stage.strip, variant.terms)
        for name, function in (
            ("strip", "emit_strip"),
            ("fused", "fused"),
            ("masked", "fused_masked"),
            ("prefix", "prefix_strip"),
            ("box", "box_strip"),
        ):
            namespace[f"streamed_{name}"] = streamed[function]
        namespace["emit_streamed"] = injected["emit"]
    _choose(namespace, stage.strip, variant.terms)
    if stage.passes:
        namespace["emit_and_pass"] = terms[stage.passes]
    namespace["run"] = namespace[form]
    return namespace


def _chase(variant: Variant, ahead: dict[str, Any], behind: dict[str, Any]) -> Any:
    """The function that runs two stages in one loop, from the functions of each."""
    namespace = {
        **ahead,
        "STREAMS": True,
        "misalignment_of_result": behind["misalignment_of_result"],
        "add_term_behind": behind["add_term"],
        "fused_behind": behind["fused"],
    }
    tag = f"{variant.name}_{sources_stamp()[:8]}"
    namespace["window_sum_with"] = compile_inline(rebind(window.window_sum_with, namespace, f"window_sum_with__{tag}"))
    namespace["emit_behind"] = behind["emit_streamed"]
    namespace["streamed_chase"] = compile_loop(rebind(window.chased_strip, namespace, f"streamed_chase__{tag}"))
    for name in ("strip_count", "is_streamed", "chase"):
        namespace[name] = compile_inline(rebind(getattr(window, name), namespace, f"{name}_chased__{tag}"))
    return namespace["chase"]


def _choose(namespace: dict[str, Any], strip: str, terms: int) -> None:
    """Put the functions for this kind of end, and for a window known beforehand, in the place of the general ones."""
    namespace["emit_strip"] = namespace[strip]
    if strip != "reduce_strip":
        namespace["prefix_strip"] = namespace[f"prefix_{strip}"]
    if terms and strip != "reduce_strip":
        namespace["fused"] = namespace[f"fused_{strip}"]
        namespace["fused_masked"] = namespace[f"masked_{strip}"]
        namespace["box_strip"] = namespace[f"box_{strip}"]
        namespace["window_strip"] = namespace["fused_or_summed"]
        namespace["masked_window_strip"] = namespace["masked_fused_strip"]


def _misalignment_of_out(arrays, at):
    return cpu_primitives.misalignment(arrays.out, at)


def _misalignment_of_out_x(arrays, at):
    return cpu_primitives.misalignment(arrays.out_x, at)


RESULTS = {"out": _misalignment_of_out, "out_x": _misalignment_of_out_x}


def _compile_window(function: Callable) -> Any:
    return compile_loop(function) if function.__name__.partition("__")[0] in window.LOOPS else compile_inline(function)


class Kernel:
    """The entry point of a variant, compiled at its first call, callable on one thread or on several."""

    def __init__(self, variant: Variant):
        self._variant = variant
        self._dispatcher: Any = None
        self._address = 0

    def __call__(self, workers: int, arrays, workspace, positions, scalars, layout) -> None:
        """Run on the recipe's arrays, flat, as a tuple; ``workers`` > 1 shares the tiles among as many threads."""
        if self._dispatcher is None:
            self._compile((arrays, workspace, positions, scalars, layout, 0, workers, workers))
        if workers == 1:
            self._dispatcher(arrays, workspace, positions, scalars, layout, 0, 1, 1)
        else:
            recipe = RECIPES[self._variant.recipe]
            loop = parallel_loop(self._variant.dtype, self._variant.real, len(recipe.names), recipe.sums)
            loop(self._address, arrays, workspace, positions, scalars, layout, workers)

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
    """The entry point of a variant, ready to be compiled."""
    recipe = RECIPES[variant.recipe]
    stages = [_stage(variant, stage) for stage in recipe.stages]
    ahead = [functions["run"] for functions, stage in zip(stages, recipe.stages, strict=True) if not stage.transposed]
    behind = [functions["run"] for functions, stage in zip(stages, recipe.stages, strict=True) if stage.transposed]
    namespace: dict[str, Any] = {
        "np": np,
        "SUMS": SUMS,
        "fence": cpu_primitives.fence,
        "Arrays": recipe.arrays,
        "Buffers": Buffers,
        "Space": Space,
        "Tile": Tile,
        "Parameters": formulas.Parameters,
        "ahead": _one_after_another(ahead),
        "based": compile_inline(rebind(window.based, {"Tile": Tile}, "based")),
    }
    run = _run_ahead
    if behind:
        namespace["behind"] = _one_after_another(behind)
        access = {"load": cpu_primitives.load, "store": cpu_primitives.store}
        namespace["move_to_front"] = compile_loop(rebind(window.move_to_front, access, "move_to_front"))
        run = _run_behind
        if variant.form == "direct" and variant.terms and recipe.stages[0].passes:
            namespace["chase"] = _chase(variant, *stages)
            run = _run_chased
    namespace["sums_of"] = compile_inline(_sums_of if recipe.sums else _no_sums)
    namespace["run_tile"] = compile_inline(rebind(run, namespace, "run_tile"))
    namespace["run_worker"] = compile_inline(rebind(_run_worker, namespace, "run_worker"))
    return rebind(_entry(f"{variant.name} {sources_stamp()}"), namespace, variant.name)


def _one_after_another(stages: list[Any]) -> Any:
    """One function that runs the stages in turn."""
    following = stages[-1]
    for stage in reversed(stages[:-1]):
        namespace = {"this_stage": stage, "following_stages": following}
        following = compile_inline(rebind(_two_stages, namespace, "two_stages"))
    return following


def _two_stages(arrays, buffers, par, space, tile, positions, first, last):
    this_stage(arrays, buffers, par, space, tile, positions, first, last)
    following_stages(arrays, buffers, par, space, tile, positions, first, last)


def _entry(stamp: str) -> Callable:
    """``stamp`` is not used, but Numba's cache takes the values of a closure into its key."""

    def entry(arrays, workspace, positions, scalars, layout, first_worker, last_worker, workers):
        stamp  # noqa: B018
        for worker in range(first_worker, last_worker):
            run_worker(arrays, workspace, positions, scalars, layout, worker, workers)

    return entry


def _sums_of(arrays, workspace, tile):
    return arrays.sums[tile * SUMS : (tile + 1) * SUMS]


def _no_sums(arrays, workspace, tile):
    return workspace[:0]


def _run_worker(arrays, workspace, positions, scalars, layout, worker, workers):
    """One worker's share of the tiles, with its own part of the workspace."""
    arrays = Arrays(*arrays)
    par = Parameters(
        scalars[0], scalars[1], scalars[2], scalars[3], scalars[4],
        scalars[5], scalars[6], scalars[7], scalars[8], scalars[9],
    )  # fmt: skip
    outers, length, inner, unit, before, after = layout[0], layout[1], layout[2], layout[3], layout[4], layout[5]
    tile_outers, tile_rows, tile_lanes, tiles, step, strip, streaming, held = (
        layout[6],
        layout[7],
        layout[8],
        layout[9],
        layout[10],
        layout[11],
        layout[12],
        layout[13],
    )
    e0 = worker * (workspace.size // workers)
    e1 = e0 + layout[14]
    e2 = e1 + layout[15]
    e3 = e2 + layout[16]
    e4 = e3 + layout[17]
    e5 = e4 + layout[18]
    e6 = e5 + layout[19]
    e7 = e6 + layout[20]
    e8 = e7 + layout[21]
    e9 = e8 + layout[22]
    e10 = e9 + layout[23]
    axes = layout[24:]
    lane_tiles = (unit + tile_lanes - 1) // tile_lanes
    row_tiles = (length + tile_rows - 1) // tile_rows
    for index in range(worker * tiles // workers, (worker + 1) * tiles // workers):
        buffers = Buffers(
            workspace[e0:e1], workspace[e1:e2], workspace[e2:e3], workspace[e3:e4], workspace[e4:e5],
            workspace[e5:e6], workspace[e6:e7], workspace[e7:e8], workspace[e8:e9], workspace[e9:e10],
            sums_of(arrays, workspace, index), workspace[e1:e6],
        )  # fmt: skip
        lane = index % lane_tiles * tile_lanes
        first = index // lane_tiles % row_tiles * tile_rows
        outer = index // lane_tiles // row_tiles * tile_outers
        last = min(first + tile_rows, length)
        # The tile's buffers also hold the rows that a transposed window reaches.
        base = max(first - after, 0)
        rows = min(last + before, length) - base
        tile = Tile(
            outer, min(outer + tile_outers, outers), lane, min(tile_lanes, unit - lane), base, rows, strip, streaming
        )
        run_tile(
            arrays, buffers, par, length, inner, unit, before, after, axes, tile, positions, first, last, step, held
        )
    fence()


def _run_ahead(
    arrays, buffers, par, length, inner, unit, before, after, axes, tile, positions, first, last, step, held
):
    """No window is transposed: the stages take turns over the same rows."""
    space = Space(length, inner, unit, before, after, 0, axes)
    if last - first <= step:
        ahead(arrays, buffers, par, space, tile, positions, first, last)
    else:
        for row in range(first, last, step):
            ahead(arrays, buffers, par, space, based(tile, row), positions, row, min(row + step, last))


def _run_behind(
    arrays, buffers, par, length, inner, unit, before, after, axes, tile, positions, first, last, step, held
):
    """Transposed windows come behind; the other stages run ahead of them by the rows that they reach.

    Between two turns the rows that are still needed move to the front of the buffers, which then stay in L2.
    """
    space = Space(length, inner, unit, before, after, 0, axes)
    mirror = Space(length, inner, unit, after, before, 1, axes)
    base = done = tile.base
    for row in range(first, last, step):
        stop = min(row + step, last)
        ready = min(stop + before, tile.base + tile.rows)
        if row > first:
            needed = max(row - after, base)
            move_to_front(buffers.stages, held, (needed - base) * tile.lanes, (done - needed) * tile.lanes)
            base = needed
        turn = based(tile, base)
        ahead(arrays, buffers, par, space, turn, positions, done, ready)
        behind(arrays, buffers, par, mirror, turn, positions, row, stop)
        done = ready


def _run_chased(
    arrays, buffers, par, length, inner, unit, before, after, axes, tile, positions, first, last, step, held
):
    """``_run_behind`` with both stages in one loop on the rows where both have full windows."""
    space = Space(length, inner, unit, before, after, 0, axes)
    mirror = Space(length, inner, unit, after, before, 1, axes)
    base = done = tile.base
    for row in range(first, last, step):
        stop = min(row + step, last)
        ready = min(stop + before, tile.base + tile.rows)
        if row > first:
            needed = max(row - after, base)
            move_to_front(buffers.stages, held, (needed - base) * tile.lanes, (done - needed) * tile.lanes)
            base = needed
        turn = based(tile, base)
        begin = max(done, row + before, before + after)
        end = min(ready, length - after)
        chases = tile.streaming and begin < end
        if not chases:
            begin, end = ready, ready
        middle = begin - before if chases else stop
        # The rows before the chase, then those after it. Written out twice, the calls take 8 s more to compile.
        for part in range(2):
            low, high = (done, begin) if part == 0 else (end, ready)
            ahead(arrays, buffers, par, space, turn, positions, low, high)
            low, high = (row, middle) if part == 0 else (end - before if chases else stop, stop)
            behind(arrays, buffers, par, mirror, turn, positions, low, high)
            if part == 0 and chases:
                chase(arrays, buffers, par, space, turn, begin, end)
        done = ready
