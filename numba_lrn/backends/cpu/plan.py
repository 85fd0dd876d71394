"""The one place that chooses: which form a window takes, which power function, how memory is gone through.

The form follows from the geometry alone, (n, length, inner), never from the batch or the number of threads, and no
tile size changes the order in which a window is added up: the same numbers give the same bits.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_lrn.algorithm.geometry import Dimension
from numba_lrn.algorithm.parameters import (
    GENERAL_BETA,
    NAMED_POWERS,
    WIDE_BETA,
    WIDE_BETA64,
    general_power,
    never_subnormal,
    scalars_of,
)
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.algorithm.window.scanned import scan_of
from numba_lrn.backends.cpu.kernels import Kernel, Variant, has_columns, kernel
from numba_lrn.backends.cpu.processor import processor
from numba_lrn.backends.cpu.tiles import (
    MASKED_KEPT_N,
    MASKED_TILE,
    ROW,
    STRIP,
    SUM_TILE,
    SUM_TILES,
    Work,
    is_interleaved,
    is_small_box,
    layout_of,
)
from numba_lrn.backends.cpu.worker import Layout
from numba_lrn.operator import LocalResponseNorm

# Thresholds, measured on a 2-core Xeon (Emerald Rapids, 2 MB of L2 a core), those of windows along short rows and of
# memory on an EPYC (Zen 5, 1 MB of L2 a core, 32 MB of L3). docs/performance.md has the figures.
FUSED = ((2, 2),)  # windows (before, after) that have kernels of their own
DIRECT = 10  # windows up to this many elements are added term by term
ROW_DIRECT = 24  # the same along rows shorter than ROW
TURNED_DIRECT = 40  # where they would be turned, or an axis is shorter than ROW_DIRECT
# Elements times what each takes (``_weight``, at most HEAVIEST) below which a second thread costs more than it brings.
SERIAL, HEAVIEST = 64 * 1024, 4
CACHES = 32 * 1024 * 1024  # bytes of all arrays of a call that the caches hold
# And those up to which backward of float32 with a named power goes down columns on two threads: 0.6 to 0.9 of the time,
# of larger ones 0.9 to 1.2. One thread, half types, float64 and any exponent take 0.5 to 0.95 of it whatever the size.
COLUMN_BYTES = 80 * 1024 * 1024
# Where memory is asked for ahead: rows beyond the window of prefix sums, bytes of a strip, elements of the tiles that
# follow one another, at most.
AHEAD_ROWS, AHEAD_BYTES, AHEAD_MOST = 8, 1024, 128 * 1024
# Forward of n = 5 across rows: those of so many bytes at least take 0.65 to 0.95 of the time past the caches.
STREAMED_ROW = 1024
# Forward of n = 5 along channels last, of results up to so many bytes: past the caches it takes 1.1 to 1.2 × as long.
CHANNELS_LAST_STREAMS = 48 * 1024 * 1024
LONG_POWERS = ("power_general", "power_wide", "power_platform")
# Those by which forward of n = 5 across rows takes 0.7 to 0.9 of the time in whole rows, now that memory is asked for
# ahead in short strips; β = 1 takes 1.0 to 1.7 × as long, 1/2 and 1/4 1.0 to 1.1.
COMPUTING_POWERS = (*LONG_POWERS, "power_three_quarters_roots")


class Plan(NamedTuple):
    """All that a call needs besides its arrays."""

    variant: Variant
    kernel: Kernel
    layout: NDArray
    positions: NDArray
    scalars: NDArray
    workspace: int  # elements a worker
    workers: int
    shared: bool  # whether it is worth several threads, however many there are

    @property
    def scratch_bytes(self) -> int:
        """The scratch memory of all workers."""
        return self.workspace * self.workers * np.dtype(self.variant.real).itemsize

    @property
    def tiles(self) -> int:
        """Into how many parts the array is cut."""
        return int(self.layout[Layout._fields.index("tiles")])


def power_function(beta: float, scale: float, k: float, real: Any, roots: bool = False, divided: bool = False) -> str:
    """The power function for d = k + scale·S, by the processor's roots and divisions or not.

    Guarded where d may be anything.
    """
    if beta == 1.0:
        return "power_one"
    safe = never_subnormal(scale, k, real)
    if beta in NAMED_POWERS:
        return NAMED_POWERS[beta] + ("_guarded" if not safe else "_roots" if roots else "")
    low, high = (-GENERAL_BETA, WIDE_BETA64) if real is np.float64 else (-WIDE_BETA, WIDE_BETA)
    if not safe or not low < beta <= high:
        return "power_platform"
    name = general_power(beta)
    return f"{name}_divided" if divided and real is np.float32 else name


def choose_form(dimensions: tuple[Dimension, ...]) -> str:
    """The form of algorithm/window that sums these windows."""
    windowed = [dimension for dimension in dimensions if dimension.windowed]
    if len(windowed) > 1:
        return "interleaved" if is_interleaved(dimensions) else "box"
    if not windowed:
        return "direct"
    n = windowed[0].before + windowed[0].after + 1
    length, inner = windowed[0].extent, dimensions[-1].extent
    if inner >= ROW:
        return "direct" if n <= DIRECT else "prefix"
    scans = inner == 1 and scan_of(length, n).part >= length
    if n > (ROW_DIRECT if scans and length >= ROW_DIRECT else TURNED_DIRECT):
        return "scanned" if scans else "turned"
    return "masked" if length * inner <= MASKED_TILE else "direct"


def make_plan(
    dimensions: tuple[Dimension, ...],
    recipe: str,
    op: LocalResponseNorm,
    dtype: np.dtype,
    threads: int,
    in_place: bool,
) -> Plan:
    """The plan for an array of these dimensions; ``in_place`` forbids tiles that share rows."""
    real = np.float64 if dtype == np.float64 else np.float32
    form = choose_form(dimensions)
    elements = math.prod(dimension.extent for dimension in dimensions)
    nbytes = elements * dtype.itemsize
    arrays = sum(name != "sums" for name in RECIPES[recipe].names) - recipe.startswith("forward")  # where g is x
    window = next(((each.before, each.after) for each in dimensions if each.windowed), (0, 0))
    fuses = form in ("direct", "masked") or (form == "box" and not is_small_box(dimensions))
    terms = sum(window) + 1 if fuses and window in FUSED else 0
    # By roots, y has up to an ulp more: 4.4 with the sums of 16 terms, 4.5 in boxes, where 4 are promised.
    spared = form in ("prefix", "turned", "scanned") or (terms > 0 and form != "box")
    roots = processor().roots and (spared or not recipe.startswith("forward"))
    power = power_function(op.beta, op.scale, op.k, real, roots, processor().roots)
    shared = elements * _weight(recipe, form in ("direct", "masked") and terms > 0, real, power) >= SERIAL
    workers = threads if shared else 1
    # Sums are added tile by tile: their tiles must not depend on the number of threads.
    parts = min(SUM_TILES, elements // SUM_TILE) if RECIPES[recipe].sums and shared else workers
    half = dtype.itemsize < 4
    large = nbytes * arrays >= CACHES
    # Memory is all that such a loop waits for, and columns read the lines that they write.
    waits = dtype == np.float32 and not power.startswith(LONG_POWERS) and workers > 1
    columns = processor().roots and has_columns(recipe, form, power, terms)
    work = Work(
        dimensions=dimensions,
        recipe=recipe,
        form=form,
        real=real.__name__,
        fused=terms > 0,
        in_place=in_place,
        large=large,
        half=half,
        # Half as long rows of a half type are too short: float16 over 74 MB takes 1.4 × as long in narrow tiles.
        narrow=processor().narrow and not half,
        computes=power.startswith(COMPUTING_POWERS),
        asks_ahead=large and _asks_ahead(dimensions, form, terms > 0, half),
        columns=columns and (not waits or nbytes * arrays < COLUMN_BYTES),
        parts=parts,
    )
    layout, axes, positions = layout_of(work)
    if large:
        layout = _beyond_caches(layout, work, dtype)
    variant = Variant(recipe, form, power, dtype.name, real.__name__, layout.before if terms else 0, terms)
    sizes = layout[Layout._fields.index("total") :]
    return Plan(
        variant,
        kernel(variant),
        np.array([*layout, *axes], np.int64),
        positions,
        scalars_of(op.scale, op.beta, op.k, real),
        sum(sizes),
        min(workers, layout.tiles),
        shared,
    )


def _weight(recipe: str, in_one_loop: bool, real: Any, power: str) -> int:
    """How many times as long as forward of n = 5 with a named power an element takes: twice for each difference."""
    heavy = (not recipe.startswith("forward"), not in_one_loop, real is np.float64, power.startswith(LONG_POWERS))
    return min(HEAVIEST, 1 << sum(heavy))


def _asks_ahead(dimensions: tuple[Dimension, ...], form: str, fused: bool, half: bool) -> bool:
    """Whether a call on arrays that exceed the caches asks for memory ahead: one that computes, and would wait.

    docs/performance.md has the figures. A processor that foresees addresses does so within a page, and begins anew with
    each row.
    """
    if form in ("prefix", "scanned"):
        return not half
    if form == "direct":
        return any(dimension.windowed for dimension in dimensions)  # else there is no next row
    return form in ("box", "interleaved") or (form == "masked" and not fused)


def _beyond_caches(layout: Layout, work: Work, dtype: np.dtype) -> Layout:
    """The layout for arrays that exceed the caches: past them or in short strips, and with what is asked for ahead."""
    layout = layout._replace(streaming=int(_streams(layout, work, dtype)))
    if _is_cached_in_strips(work):
        layout = layout._replace(strip=AHEAD_BYTES // dtype.itemsize)
    return _asking_ahead(layout, work, dtype) if work.asks_ahead else layout


def _asking_ahead(layout: Layout, work: Work, dtype: np.dtype) -> Layout:
    """The layout with how far ahead is asked, and short strips, so that few lines are on their way at a time.

    Where tiles are small, the tile after this one is asked for, else rows that lie ahead.
    """
    if work.form in ("direct", "prefix"):
        ahead = (layout.after + (1 if work.form == "direct" else AHEAD_ROWS)) * layout.inner
    else:
        rows = layout.tile_rows if layout.tile_rows < layout.length else layout.tile_outers * layout.length
        ahead = rows * layout.inner
        if ahead > AHEAD_MOST or layout.tile_lanes < layout.unit:
            return layout
    if layout.strip == STRIP:
        layout = layout._replace(strip=AHEAD_BYTES // dtype.itemsize)
    return layout._replace(ahead=ahead)


def _streams(layout: Layout, work: Work, dtype: np.dtype) -> bool:
    """Whether results go past the caches, where the arrays exceed these."""
    if work.in_place or _is_cached_in_strips(work):
        return False
    if work.form == "direct" and work.fused and not work.kept:
        return not work.narrow or layout.inner * dtype.itemsize >= STREAMED_ROW
    if work.form == "direct" and not work.fused and work.kept:
        return layout.tile_lanes == layout.inner  # short rows would begin and end within cache lines
    if work.form == "masked" and work.fused and not work.kept:
        return layout.outers * layout.length * layout.inner * dtype.itemsize >= CHANNELS_LAST_STREAMS
    # In short strips of half types the parts of lines at either end take longer than the caches do.
    if work.half and work.form == "masked" and not work.fused and work.kept:
        return layout.before + layout.after >= MASKED_KEPT_N
    return not (work.half and work.form == "prefix")


def _is_cached_in_strips(work: Work) -> bool:
    """Whether results are better left in the caches, a short strip at a time: backward along channels last.

    On Zen 5 it takes 0.9 of the time past them, β = 0.6 0.95, float16 0.79; short strips past the caches 1.0.
    """
    return work.form == "masked" and work.fused and work.recipe == "backward"
