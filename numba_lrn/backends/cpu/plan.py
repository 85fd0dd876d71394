"""The one place that chooses: which form a window takes, which power function, tile sizes, serial or parallel.

The form follows from the geometry alone, (n, length, inner) and the dtype, never from the batch or the number of
threads, and no tile size changes the order in which a window is added up: the same numbers give the same bits.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_lrn.algorithm.geometry import Dimension
from numba_lrn.algorithm.parameters import GENERAL_BETA, NAMED_POWERS, WIDE_BETA, never_subnormal, scalars_of
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.algorithm.window.planes import PLANE_LANES, TURNED_LANES, group_of
from numba_lrn.algorithm.window.prefix import GROUP, RUNNING, blocks_of, period_of
from numba_lrn.algorithm.window.scanned import SCANNED, SLACK, scan_of
from numba_lrn.backends.cpu.kernels import Kernel, Variant, kernel
from numba_lrn.backends.cpu.planes import address_of
from numba_lrn.backends.cpu.processor import processor
from numba_lrn.backends.cpu.worker import Layout
from numba_lrn.operator import LocalResponseNorm

# Thresholds, measured on a 2-core Xeon (Emerald Rapids, 2 MB of L2 a core), those of windows along short rows and in
# boxes on an EPYC (Zen 5, 1 MB). docs/performance.md has the figures.
FUSED = ((2, 2),)  # windows (before, after) that have kernels of their own
DIRECT = 16  # windows up to this many elements are added term by term
ROW = 32  # rows shorter than this make no loops of their own
ROW_DIRECT = 24  # as DIRECT, along such rows
TURNED_DIRECT = 40  # where they would be turned, or an axis is shorter than ROW_DIRECT
STRIP = 2048  # elements summed and emitted at a time: 8 KB of sums, in L1
SHARED_STRIP = 256  # of which the shares in the gradients of parameters are added in the computing type
MASKED_TILE = 4096  # elements of a masked tile, at most twice that
# Where stages keep something, and windows have up to so many elements: a tile's bytes of one array, which is a page,
# and those of all arrays and buffers, in L1. docs/performance.md has the figures.
MASKED_KEPT_N, MASKED_PAGE, MASKED_L1 = 9, 4 * 1024, 20 * 1024
TURNED_TILE = 32 * 1024  # elements of a plane
LANES = 8192  # lanes of a tile that keeps nothing between stages
PAGE = 1024  # elements of a page, at most
KEPT = 48 * 1024  # elements of a kept buffer, which must stay in L2 together with what it is computed from
DIRECT_KEPT = 96 * 1024  # elements of all kept buffers where the stages take turns: 288 K take 1.1 × as long on Zen 5
BOX_TILE = 192 * 1024
PLANE_DIRECT = 24  # as DIRECT and ROW, on the planes of a box
PLANE_ROW = 16
PLANE_PREFIX = 24  # rows of a plane shorter than this are turned for prefix sums
STREAM_BYTES = 32 * 1024 * 1024  # results from this size on go past the caches
# Where memory is asked for ahead: rows beyond the window of prefix sums; lanes of their tiles if stages keep something;
# bytes of a strip; elements of the tiles that follow one another, at most.
AHEAD_ROWS, AHEAD_LANES, AHEAD_BYTES, AHEAD_MOST = 8, 256, 1024, 64 * 1024
LONG_POWERS = ("power_general", "power_wide", "power_platform")
# Lanes of a tile whose window's rows fit L1, where results go past the caches.
STREAM_LANES = 1024
SERIAL_BYTES = 256 * 1024  # below this, a second thread costs more than it brings
SUM_TILES = 16  # at least so many tiles for an array that is shared among any number of threads and summed


class Plan(NamedTuple):
    """All that a call needs besides its arrays."""

    variant: Variant
    kernel: Kernel
    layout: NDArray
    positions: NDArray
    scalars: NDArray
    workspace: int  # elements a worker
    workers: int

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
    if real is np.float64 or not safe or abs(beta) > WIDE_BETA:
        return "power_platform"
    return ("power_general" if abs(beta) < GENERAL_BETA else "power_wide") + ("_divided" if divided else "")


def choose_form(dimensions: tuple[Dimension, ...]) -> str:
    """The form of algorithm/window that sums these windows."""
    windowed = [dimension for dimension in dimensions if dimension.windowed]
    if len(windowed) > 1:
        return "box"
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


def _split(extent: int, parts: int, multiple: int) -> int:
    """The size of one of ``parts`` nearly equal parts of ``extent``, rounded up to a multiple."""
    size = -(-extent // max(parts, 1))
    return min(extent, -(-size // multiple) * multiple)


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
    nbytes = math.prod(dimension.extent for dimension in dimensions) * dtype.itemsize
    workers = threads if nbytes >= SERIAL_BYTES else 1
    # Sums are added tile by tile: their tiles must not depend on the number of threads.
    parts = SUM_TILES if RECIPES[recipe].sums and nbytes >= SERIAL_BYTES else workers
    window = next(((each.before, each.after) for each in dimensions if each.windowed), (0, 0))
    terms = sum(window) + 1 if form in ("direct", "masked", "box") and window in FUSED else 0
    # Half as long rows of a half type are too short: float16 over 74 MB takes 1.4 × as long in narrow tiles.
    narrow = processor().narrow and dtype.itemsize >= 4
    large = nbytes >= STREAM_BYTES
    lanes = STREAM_LANES if narrow and large and terms > 0 else LANES
    # By roots, y has up to an ulp more: 4.4 with the sums of 16 terms, where 4 are promised.
    roots = processor().roots and (
        terms > 0 or form in ("prefix", "turned", "scanned", "box") or not recipe.startswith("forward")
    )
    power = power_function(op.beta, op.scale, op.k, real, roots, processor().roots)
    asks_ahead = large and _asks_ahead(form, recipe, dtype, terms > 0, power)
    layout, axes, positions = _layout(dimensions, form, recipe, real.__name__, parts, in_place, lanes, asks_ahead)
    workers = min(workers, layout.tiles)
    streams = large and not in_place and _streams(layout, form, recipe, terms, narrow)
    layout = layout._replace(streaming=int(streams))
    if large and _stays_cached(form, recipe, terms):
        layout = layout._replace(strip=AHEAD_BYTES // dtype.itemsize)
    if asks_ahead:
        layout = _asking_ahead(layout, form, dtype, power)
    variant = Variant(recipe, form, power, dtype.name, real.__name__, layout.before if terms else 0, terms)
    sizes = layout[Layout._fields.index("total") :]
    return Plan(
        variant,
        kernel(variant),
        np.array([*layout, *axes], np.int64),
        positions,
        scalars_of(op.scale, op.beta, op.k, real),
        sum(sizes),
        workers,
    )


def _asks_ahead(form: str, recipe: str, dtype: np.dtype, fused: bool, power: str) -> bool:
    """Whether a call on arrays that the caches do not hold asks for memory ahead: one that computes, and would wait.

    docs/performance.md has the figures. A processor that foresees addresses does so within a page, and begins anew with
    each row.
    """
    half = dtype.itemsize < 4
    if form in ("prefix", "scanned"):
        return not half
    if form == "direct":
        return half or not fused or recipe != "backward" or not power.startswith(LONG_POWERS)
    return form == "box" or (form == "masked" and not fused)


def _asking_ahead(layout: Layout, form: str, dtype: np.dtype, power: str) -> Layout:
    """The layout with how far ahead is asked, and short strips, so that few lines are on their way at a time.

    Where tiles are small, the tile after this one is asked for, else rows that lie ahead.
    """
    if form in ("direct", "prefix"):
        ahead = (layout.after + (1 if form == "direct" else AHEAD_ROWS)) * layout.inner
    else:
        rows = layout.tile_rows if layout.tile_rows < layout.length else layout.tile_outers * layout.length
        ahead = rows * layout.inner
        if ahead > AHEAD_MOST or layout.tile_lanes < layout.unit:
            return layout
    # A longer power leaves memory more time, and shorter strips take 1.07 × as long then.
    if layout.strip == STRIP and not power.startswith(LONG_POWERS):
        layout = layout._replace(strip=AHEAD_BYTES // dtype.itemsize)
    return layout._replace(ahead=ahead)


def _streams(layout: Layout, form: str, recipe: str, terms: int, narrow: bool) -> bool:
    """Whether results go past the caches if they are large."""
    if form == "direct" and terms and not RECIPES[recipe].kept:
        return not narrow or layout.inner >= STREAM_LANES
    return not _stays_cached(form, recipe, terms)


def _stays_cached(form: str, recipe: str, terms: int) -> bool:
    """Whether results are better left in the caches, a short strip at a time: backward along channels last.

    On Zen 5 it takes 0.9 of the time past them, β = 0.6 0.95, float16 0.79; short strips past the caches 1.0.
    """
    return form == "masked" and terms > 0 and recipe == "backward"


def _layout(
    dimensions: tuple[Dimension, ...],
    form: str,
    recipe: str,
    real: str,
    workers: int,
    in_place: bool,
    lanes: int,
    asks_ahead: bool,
) -> tuple[Layout, list[int], NDArray]:
    """Geometry, tiles and buffers of a call, the table of its axes (box) and of its positions (masked)."""
    kept = RECIPES[recipe].kept
    first = next((index for index, dimension in enumerate(dimensions) if dimension.windowed), len(dimensions) - 1)
    _, before, after = dimensions[first]
    outers = math.prod(dimension.extent for dimension in dimensions[:first])
    if dimensions[first].windowed:
        length = dimensions[first].extent
        inner = math.prod(dimension.extent for dimension in dimensions[first + 1 :])
        unit = dimensions[-1].extent if form == "box" else inner
    else:
        length, inner = 1, dimensions[first].extent
        unit = inner
    n = before + after + 1
    tile_outers, tile_rows, tile_lanes = 1, length, unit
    axes: list[int] = []
    positions = np.zeros(1, np.int32)
    strip = SHARED_STRIP if RECIPES[recipe].sums else STRIP
    sizes = dict.fromkeys(Layout._fields[Layout._fields.index("total") :], 0)
    sizes["total"] = strip
    if form == "direct":
        tile_lanes, tile_rows = _direct_tile(outers, length, inner, n, len(kept), workers, in_place, lanes)
    elif form == "masked":
        elements = MASKED_TILE
        if kept and n <= MASKED_KEPT_N:
            arrays = [name for name in RECIPES[recipe].names if name != "sums"]
            elements = min(MASKED_PAGE, MASKED_L1 // (len(arrays) + len(kept))) // np.dtype(real).itemsize
        tile_outers = max(1, elements // (length * inner))
        if workers > 1:
            tile_outers = min(tile_outers, max(1, outers // workers))
        positions = np.tile(np.repeat(np.arange(length, dtype=np.int32), inner), tile_outers)
    elif form == "prefix":
        most = AHEAD_LANES if kept and asks_ahead else STRIP
        tile_lanes = _split(inner, max(-(-inner // most), -(-workers // outers)), 16)
        if not in_place and length > 4 * n and length * tile_lanes > 4 * KEPT:
            tile_rows = min(length, -(-max(4 * n, 4 * KEPT // tile_lanes) // period_of(n)) * period_of(n))
        sizes.update(_prefix(tile_lanes, n), total=max(strip, GROUP * tile_lanes))
    elif form == "turned":
        block = length * inner
        tile_outers = max(1, TURNED_TILE // block)
        if workers > 1:
            tile_outers = min(tile_outers, max(1, outers // workers))
        if not in_place and block > 2 * TURNED_TILE:
            period = n if inner == 1 else period_of(n)
            tile_rows = min(length, -(-max(8 * n, 2 * TURNED_TILE // inner) // period) * period)
        plane_rows = min(length, tile_rows + 3 * (n - 1))
        pass_form = "scanned" if inner == 1 else form
        axes = [address_of(pass_form, real), 1, length, inner, before, after]
        scratch = _turned(tile_outers, plane_rows, inner, n) if inner > 1 else {"turned": _scanned(plane_rows, n)}
        sizes.update(scratch, planes=_two_planes(tile_outers * plane_rows * inner))
    elif form == "scanned":
        tile_outers = max(1, TURNED_TILE // length)
        if workers > 1:
            tile_outers = min(tile_outers, max(1, outers // workers))
        axes = [address_of("joined", real), 1, length, 1, before, after]
        scan = scan_of(length, n)
        sizes.update(turned=scan.group * scan.suffixes, planes=scan.group * (scan.terms + length) + SLACK)
    else:
        row = inner // unit
        # Parts of a unit make short runs: 15 ns an element with 48 lanes of 96 where whole units take 1.3.
        if row * length * unit > 2 * BOX_TILE and (in_place or row * 3 * n * unit > BOX_TILE) and unit >= 2 * ROW:
            tile_lanes = max(_split(unit, -(-row * length * unit // BOX_TILE), 16), min(unit, ROW))
        if not in_place and row * length * tile_lanes > 2 * BOX_TILE:
            tile_rows = min(length, -(-max(2 * n, BOX_TILE // (row * tile_lanes)) // n) * n)
        plane_rows = min(length, tile_rows + 2 * (n - 1))
        axes, passes, positions = _box(dimensions, first, plane_rows, tile_lanes, real)
        sizes.update(passes, planes=_two_planes(plane_rows * row * tile_lanes))
    step = length
    if form == "direct" and kept and not in_place:
        step = max(2 * n, DIRECT_KEPT // len(kept) // tile_lanes - n)
    held = _apart(tile_outers * min(length, min(step, tile_rows) + n - 1) * (inner // unit) * tile_lanes)
    sizes.update((name, held) for name in kept)
    sizes = {name: _apart(size) for name, size in sizes.items()}
    tiles = -(-outers // tile_outers) * -(-length // tile_rows) * -(-unit // tile_lanes)
    layout = Layout(
        outers, length, inner, unit, before, after, tile_outers, tile_rows, tile_lanes, tiles, step, strip, 0, 0, held,
        **sizes,
    )  # fmt: skip
    return layout, axes, positions


def _apart(size: int) -> int:
    """A size of whole cache lines, 3/8 of a page more than whole pages: no buffer lies where another does in its page.

    A processor that compares the lower bits of addresses makes a load wait for a store to the same place of another
    page: backward of 9 elements along 96 takes 0.6 × the time. Where each buffer begins with a cache line, backward in
    cache takes 0.95 × the time.
    """
    return size + (3 * PAGE // 8 - size) % PAGE if size else 0


def _two_planes(size: int) -> int:
    """The size of a buffer of two planes, whose sums may exceed them."""
    return 2 * _apart(size + SLACK)


def _scanned(rows: int, n: int) -> int:
    """The size of the buffer of a pass by scans, over blocks of at most ``rows`` rows."""
    scan = scan_of(rows, n)
    largest: int = max(scan.group * (scan.terms + scan.suffixes), 4 * SCANNED)
    return largest


def _turned(outers: int, length: int, unit: int, n: int) -> dict[str, int]:
    """The sizes of the buffers of a pass by turning, over at most ``outers`` blocks of at most ``length`` rows."""
    lanes = min(group_of(length, unit), outers) * unit
    block = length * lanes
    if 2 * n < length:  # there may be parts, a lane each
        lanes = max(lanes, min(TURNED_LANES, -(-length // (2 * n)) * unit))
        block = max(block, 3 * length * unit)
    return {**_prefix(lanes, n), "turned": 2 * block}


def _prefix(lanes: int, n: int) -> dict[str, int]:
    """The sizes of the buffers of prefix sums over rows of so many lanes."""
    return {"running": RUNNING * lanes, "suffix": max(blocks_of(n), 1) * lanes}


def _direct_tile(
    outers: int, length: int, inner: int, n: int, kept: int, workers: int, in_place: bool, limit: int
) -> tuple[int, int]:
    """(lanes, rows) of a tile of the direct form whose recipe has ``kept`` buffers between its stages.

    Without such buffers it has at most ``limit`` lanes.
    """
    lanes, rows = inner, length
    if inner >= ROW:
        if kept:
            held = length if in_place else min(length, 3 * n)
            limit = max(4 * ROW, DIRECT_KEPT // kept // held)
        lanes = _split(inner, max(-(-inner // limit), -(-workers // outers)), 16)
    if not kept and not in_place and rows * lanes > 64 * KEPT:
        rows = min(length, max(8 * n, 16 * KEPT // lanes))
    if not in_place and workers > 1 and outers * -(-length // rows) * -(-inner // lanes) < workers:
        rows = min(rows, max(4 * n, -(-length // workers)))
    return lanes, rows


def _box(
    dimensions: tuple[Dimension, ...], first: int, rows: int, lanes: int, real: str
) -> tuple[list[int], dict[str, int], NDArray]:
    """The table of the axes of a box, innermost first, the sizes of its passes' buffers, and their positions."""
    axes: list[int] = []
    sizes = {"running": 0, "suffix": 0, "total": STRIP, "turned": 0}
    positions = np.zeros(1, np.int32)
    innermost = True
    for index in range(len(dimensions) - 2, first - 1, -1):
        extent, before, after = dimensions[index]
        if not dimensions[index].windowed:
            continue
        count = math.prod(dimension.extent for dimension in dimensions[first + 1 : index])
        units = math.prod(dimension.extent for dimension in dimensions[index + 1 : -1])
        length = rows if index == first else extent
        unit, n = units * lanes, before + after + 1
        if n <= PLANE_DIRECT:
            short = innermost and index != first and unit < ROW and length * unit <= MASKED_TILE
            form = "masked" if short else "direct" if unit >= PLANE_ROW else "turned"
        else:
            form = "prefix" if unit >= PLANE_PREFIX else "turned" if unit > 1 else "scanned"
        axes += [address_of(form, real), count, extent, units, before, after]
        used: dict[str, int] = {}
        if form == "masked":
            groups = max(1, MASKED_TILE // (length * unit))
            positions = np.tile(np.repeat(np.arange(length, dtype=np.int32), unit), groups)
        elif form == "turned":
            used = _turned(1 if index == first else rows * count, length, unit, n)
        elif form == "scanned":
            used = {"turned": _scanned(length, n)}
        elif form == "prefix":
            used = _prefix(min(unit, PLANE_LANES), n)
        sizes.update((name, max(sizes[name], size)) for name, size in used.items())
        innermost = False
    return axes, sizes, positions
