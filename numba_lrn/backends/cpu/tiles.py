"""How an array is cut into tiles, and the buffers that a tile needs: a function for each form.

No size changes the order in which a window is added up. docs/performance.md has the figures behind the thresholds,
measured on a 2-core Xeon (Emerald Rapids, 2 MB of L2 a core), those of windows along short rows, in boxes and in arrays
that the caches hold on an EPYC (Zen 5, 48 KB of L1 and 1 MB of L2 a core).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_lrn.algorithm.geometry import Dimension
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.algorithm.window.box import Axis
from numba_lrn.algorithm.window.chase import CHASED_ROW
from numba_lrn.algorithm.window.columns import LANES as VECTOR_LANES
from numba_lrn.algorithm.window.columns import LEAST_ROWS
from numba_lrn.algorithm.window.planes import PLANE_LANES, TURNED_LANES, group_of
from numba_lrn.algorithm.window.prefix import GROUP, RUNNING, blocks_of, period_of
from numba_lrn.algorithm.window.scanned import SCANNED, SLACK, scan_of
from numba_lrn.backends.cpu.memory import LINE
from numba_lrn.backends.cpu.planes import address_of
from numba_lrn.backends.cpu.worker import Layout

ROW = 32  # rows shorter than this make no loops of their own
LONG_ROW = 1024  # rows of so many elements and more are cut by lanes rather than by rows of the axis
STRIP = 2048  # elements summed and emitted at a time: 8 KB of sums, in L1
SHARED_STRIP = 256  # of which the shares in the gradients of parameters are added in the computing type
# So many tiles at least, each of so many elements, for an array that any number of threads share and sum.
SUM_TILES, SUM_TILE = 16, 8 * 1024
PAGE_BYTES = 4096
PAGE = PAGE_BYTES // 4  # elements of a page, at most

SHARED_LANES = 128  # lanes of a tile at least where threads share rows, half as many of a box
CUT = 0.1  # by what share an outer index takes longer in parts, at most

# direct
LANES = 8192  # lanes of a tile that keeps nothing between stages
# Elements of such a tile up to which its axis stays whole, and of the parts of longer ones.
WHOLE_AXIS, PART_OF_AXIS = 3 * 1024 * 1024, 768 * 1024
LARGE_LANES = 1024  # the same where the arrays exceed the caches: the rows of a window fit L1
# Elements of all kept buffers where the stages take turns: 288 K take 1.1 × as long on Zen 5. Along rows too short to
# be chased, those that stay in L1: 96 K take 1.04 to 1.2 × as long.
DIRECT_KEPT, SHORT_ROWS_KEPT = 96 * 1024, 4 * 1024
# Bytes of the rows that a window or a pair of rows touches, up to which rows stay whole, in the caches and beyond; of
# a short one.
TOUCHED, TOUCHED_LARGE, SHORT_ROW = 44 * 1024, 160 * 1024, 1024
# Places of a page at which rows begin from which on columns are gone down, and rows for each of fewer places.
COLUMN_PLACES, COLUMN_ROWS = 4, 12
FEW_ROWS = 8  # windows up to so many rows take whole rows where stages keep nothing and the arrays exceed the caches

MASKED_TILE = 4096  # elements of a masked tile, at most
# Where stages keep something, and windows have up to so many elements: a tile's bytes of one array, which is a page,
# and those of all arrays and buffers, in L1.
MASKED_KEPT_N, MASKED_PAGE, MASKED_L1 = 9, 4 * 1024, 20 * 1024

PREFIX_TILE = 192 * 1024  # elements of a tile
# Lanes of tiles of long rows, between whose stages something is kept; twice as many of half types.
PREFIX_LANES = 256
# What a part of an axis does again for the rows of a window that lie in another: it sums them, or computes them where
# stages keep something. As shares of these rows, and how much of an axis all its parts may do again.
SUMMED_AGAIN, DERIVED_AGAIN, AGAIN_MOST = 0.25, 0.6, 0.13

TURNED_TILE = 32 * 1024  # elements of a plane

BOX_TILE = 192 * 1024
# Boxes of so many elements and rows at most: several fill a tile, of so many elements.
SMALL_BOX, SMALL_BOX_ROWS, SMALL_BOX_TILE = 32 * 1024, 64, 4096
PLANE_DIRECT = 24  # windows up to this many elements are added term by term on the planes of a box,
PLANE_LONG, PLANE_LONG_DIRECT = 64, 14  # or up to this many along rows of so many elements
INTERLEAVED_LEAST, INTERLEAVED = 64, 4096  # elements of a box that is interleaved: a tile of them is 256 KB at most
PLANE_PREFIX = 24  # rows of a plane shorter than this are turned for prefix sums


NONE = np.zeros(1, np.int32)  # in the place of a table of positions


def _first_windowed(dimensions: tuple[Dimension, ...]) -> int:
    """The first windowed dimension; the last one where there is none."""
    windowed = (index for index, dimension in enumerate(dimensions) if dimension.windowed)
    return next(windowed, len(dimensions) - 1)


class Work(NamedTuple):
    """What is cut into tiles."""

    dimensions: tuple[Dimension, ...]
    recipe: str
    form: str
    real: str  # the computing type
    fused: bool  # whether windows are summed in the loop that emits
    in_place: bool  # whether the result overwrites an input: then no two tiles share rows
    large: bool  # whether the arrays exceed the caches
    half: bool  # whether the arrays hold a half type
    narrow: bool  # whether results that go past the caches want the rows of a window in L1
    computes: bool  # whether a power takes about as long as memory: then long rows need not wait for it
    asks_ahead: bool
    columns: bool  # whether the kernel may run down columns
    parts: int  # so many tiles at least, where they can be had

    @property
    def itemsize(self) -> int:
        """Bytes of a number of the computing type."""
        return np.dtype(self.real).itemsize

    @property
    def forward(self) -> bool:
        """Whether y is computed, in place or not."""
        return self.recipe.startswith("forward")

    @property
    def sums(self) -> bool:
        """Whether something is added up over all elements."""
        return RECIPES[self.recipe].sums

    @property
    def kept(self) -> int:
        """How many buffers the stages keep for one another."""
        return len(RECIPES[self.recipe].kept)

    @property
    def first(self) -> int:
        """The first windowed dimension; the last one where there is none."""
        return _first_windowed(self.dimensions)


class Extents(NamedTuple):
    """The array as loops see it, in the terms of algorithm/window/contract.py, and how many outer indices it has."""

    outers: int
    length: int
    inner: int
    unit: int
    before: int
    after: int

    @property
    def n(self) -> int:
        """Elements of a window along the first windowed axis."""
        return self.before + self.after + 1


class Cut(NamedTuple):
    """The sizes of a tile and of its buffers, and the tables of axes and positions."""

    outers: int
    rows: int
    lanes: int
    sizes: dict[str, int]
    axes: list[int]
    positions: NDArray
    columns: bool = False  # whether two stages run down columns


def layout_of(work: Work) -> tuple[Layout, list[int], NDArray]:
    """Geometry, tiles and buffers of a call, the table of its axes (box) and of its positions (masked)."""
    space = _extents(work)
    cut = CUTS[work.form](work, space)
    step = space.length
    if work.form == "direct" and work.kept and not work.in_place:
        kept = SHORT_ROWS_KEPT if space.inner < CHASED_ROW else DIRECT_KEPT
        step = max(2 * space.n, kept // work.kept // cut.lanes - space.n)
    pieces = space.inner // space.unit
    held = _padded(cut.outers * min(space.length, min(step, cut.rows) + space.n - 1) * pieces * cut.lanes)
    strip = SHARED_STRIP if work.sums else STRIP
    sizes = dict.fromkeys(Layout._fields[Layout._fields.index("total") :], 0)
    sizes.update(cut.sizes, total=max(strip, cut.sizes.get("total", 0)))
    sizes.update((name, held) for name in RECIPES[work.recipe].kept)
    tiles = -(-space.outers // cut.outers) * -(-space.length // cut.rows) * -(-space.unit // cut.lanes)
    layout = Layout(
        *space, cut.outers, cut.rows, cut.lanes, tiles, step, strip, 0, 0, int(not work.in_place),
        int(cut.columns), held,
        **{name: _padded(size) for name, size in sizes.items()},
    )  # fmt: skip
    return layout, cut.axes, cut.positions


def _extents(work: Work) -> Extents:
    extents = [dimension.extent for dimension in work.dimensions]
    _, before, after = work.dimensions[work.first]
    outers, inner = math.prod(extents[: work.first]), math.prod(extents[work.first + 1 :])
    if not work.dimensions[work.first].windowed:
        return Extents(outers, 1, extents[-1], extents[-1], 0, 0)
    unit = extents[-1] if work.form in ("box", "interleaved") else inner
    return Extents(outers, extents[work.first], inner, unit, before, after)


def is_small_box(dimensions: tuple[Dimension, ...]) -> bool:
    """Whether the windows at the edges of a box are so many that its rows make no long loops."""
    return _elements(dimensions) <= SMALL_BOX and dimensions[_first_windowed(dimensions)].extent <= SMALL_BOX_ROWS


def is_interleaved(dimensions: tuple[Dimension, ...]) -> bool:
    """Whether a box over short rows is so small, and a window of it so large, that several boxes are interleaved."""
    most = max(dimension.before + dimension.after + 1 for dimension in dimensions)
    small = INTERLEAVED_LEAST <= _elements(dimensions) <= INTERLEAVED
    return dimensions[-1].extent < ROW and small and most > PLANE_LONG_DIRECT


def _elements(dimensions: tuple[Dimension, ...]) -> int:
    """Elements of a box for each outer index."""
    return math.prod(dimension.extent for dimension in dimensions[_first_windowed(dimensions) :])


def _split(extent: int, parts: int) -> int:
    """The size of nearly equal parts of ``extent``, rounded up to 16 elements."""
    return min(extent, -(-extent // parts // 16) * 16)


def _parts(extent: int, most: int, workers: int) -> int:
    """How many parts of at most about ``most`` elements ``extent`` has: as many for each of ``workers``."""
    return -(-extent // (most * workers)) * workers


def _cuts(work: Work, outers: int, pieces: int, overlap: float) -> int:
    """Into how many parts an outer index is cut for threads to have equal shares: three images on two threads into two.

    An index that is not cut has ``pieces`` tiles. ``overlap`` is what share of an index each part computes more.
    """
    least = -(-work.parts // outers)
    if work.sums:  # the tiles must not depend on the number of threads
        return least

    def time(cuts: int) -> float:
        """That of the thread with the most tiles, in outer indices."""
        tiles = pieces * cuts
        busiest = -(-outers * tiles // work.parts) / tiles
        return busiest if cuts == 1 else busiest * (1 + CUT + overlap * cuts)

    return min(range(least, work.parts + 1), key=time)


def _outers(work: Work, space: Extents, elements: int) -> int:
    """How many outer indices a tile of about so many elements has."""
    outers = max(1, elements // (space.length * space.inner))
    return outers if work.parts == 1 else min(outers, max(1, space.outers // work.parts))


def _direct(work: Work, space: Extents) -> Cut:
    """Tiles of one outer index, of whole rows where these are not too long."""
    outers, length, inner, n = space.outers, space.length, space.inner, space.n
    if lanes := _column_lanes(work, space):
        return Cut(1, length, lanes, {}, [], NONE, columns=True)
    most = _direct_lanes(work, space)
    lanes, rows = inner, length
    pieces = -(-inner // most) if inner >= ROW else 1
    parts = _cuts(work, outers, pieces, 0 if work.forward else n / length)
    by_rows = _is_shared_by_rows(work, space, parts) and (inner <= most or not work.large)
    if inner >= ROW:
        lanes = _split(inner, _parts(inner, most, 1 if by_rows else min(parts, max(1, inner // SHARED_LANES))))
    if by_rows and parts > 1:
        rows = -(-length // parts)
    elif not work.in_place:
        tiles = outers * -(-inner // lanes)
        if not work.kept and rows * lanes > WHOLE_AXIS:
            rows = max(8 * n, PART_OF_AXIS // lanes)
        if tiles < work.parts:
            rows = min(rows, max(4 * n, -(-length // -(-work.parts // tiles))))
        rows = min(rows, length)
    return Cut(1, rows, lanes, {}, [], NONE)


def _column_lanes(work: Work, space: Extents) -> int:
    """Lanes of a tile in which two stages run down columns, if the kernel may; 0 where they do not.

    Not along short rows or axes, nor where threads have more to do by rows. Rows that begin at the same place of a page
    share few lines of a cache: 32 rows of 3072 elements take 1.5 × as long as without columns, 192 rows 2.4 ×, 16 rows
    0.8 to 1.1 ×.
    """
    if not work.columns or work.in_place or space.inner < CHASED_ROW or space.length < LEAST_ROWS:
        return 0
    parts = _cuts(work, space.outers, 1, 0.0)
    if parts > space.inner // CHASED_ROW and _is_shared_by_rows(work, space, parts):
        return 0  # more threads have something to do by rows
    row = space.inner * work.itemsize // (2 if work.half else 1)
    places = PAGE_BYTES // math.gcd(row, PAGE_BYTES)
    if places < COLUMN_PLACES and space.length > COLUMN_ROWS * places:
        return 0
    lanes = _split(space.inner, min(parts, space.inner // CHASED_ROW))
    # No tile has less than a vector.
    while 0 < space.inner % lanes < VECTOR_LANES:
        lanes += VECTOR_LANES
    return lanes


def _is_shared_by_rows(work: Work, space: Extents, parts: int) -> bool:
    """Whether threads share an outer index by rows of the axis: by lanes, two threads write to one line in each row.

    Short rows are better whole where they are summed and emitted in two loops, and forward computes no row twice: with
    24 to 128 rows of 169 to 729 elements, n = 3 takes 0.45 to 0.75 of the time by rows, n = 9 0.6 to 0.9, n = 5 forward
    0.75 to 0.97, but backward 0.94 to 1.09.
    """
    short = space.inner < LONG_ROW and (not work.fused or work.forward)
    return not work.in_place and space.inner >= ROW and space.length >= (2 if short else 8) * space.n * parts


def _direct_lanes(work: Work, space: Extents) -> int:
    """Lanes of a tile, at most: whole rows as long as all that windows touch of them stays near, else short ones."""
    n = space.n
    if work.fused and not work.kept:
        return LARGE_LANES if work.large and work.narrow and (work.in_place or not work.computes) else LANES
    if work.in_place or (work.large and work.fused):
        return max(4 * ROW, DIRECT_KEPT // work.kept // (space.length if work.in_place else min(space.length, 3 * n)))
    rows = 3 * n if work.kept else n + 2
    if work.fused and RECIPES[work.recipe].stages[0].passes:  # x, g and the result of a pair, and two rings of six rows
        rows = (n + 1) + 2 + 2 + 2 * 6
    touched = rows * space.inner * work.itemsize
    if touched <= (TOUCHED_LARGE if work.large else TOUCHED) or (work.large and not work.kept and n <= FEW_ROWS):
        return min(space.inner, LANES)
    # Of half types beyond the caches, parts of 1024 lanes take 0.55 to 0.95 of the time of 256.
    return SHORT_ROW // work.itemsize * (4 if work.half and work.kept and work.large else 1 if work.kept else 2)


def _masked(work: Work, space: Extents) -> Cut:
    """Tiles of whole outer indices."""
    elements = MASKED_TILE
    if work.kept and space.n <= MASKED_KEPT_N:
        arrays = [name for name in RECIPES[work.recipe].names if name != "sums"]
        elements = min(MASKED_PAGE, MASKED_L1 // (len(arrays) + work.kept)) // work.itemsize
    outers = _outers(work, space, elements)
    positions = np.tile(np.repeat(np.arange(space.length, dtype=np.int32), space.inner), outers)
    return Cut(outers, space.length, space.inner, {}, [], positions)


def _prefix(work: Work, space: Extents) -> Cut:
    """Tiles of one outer index. Parts of its rows begin with a group, as long axes in parts of whole periods."""
    n, rows = space.n, space.length
    short = work.kept and (work.asks_ahead or space.inner > LONG_ROW)
    most = PREFIX_LANES * (2 if work.half else 1) if short else STRIP
    row_parts, lane_parts = _shared(work, space, -(-space.inner // most))
    lanes = _split(space.inner, _parts(space.inner, most, lane_parts))
    if row_parts > 1:
        rows = -(-rows // (row_parts * GROUP)) * GROUP
    if not work.in_place and rows > 4 * n and rows * lanes > PREFIX_TILE:
        period = period_of(n)
        rows = min(rows, -(-max(4 * n, PREFIX_TILE // lanes) // period) * period)
    return Cut(1, rows, lanes, {**_prefix_sizes(lanes, n), "total": GROUP * lanes}, [], NONE)


def _shared(work: Work, space: Extents, pieces: int) -> tuple[int, int]:
    """Into how many parts of its rows and of its lanes threads share an outer index.

    By rows, each part of half a window at least: one image of 512×14×14 takes 0.6 to 0.7 of the time on two threads, by
    lanes 1.1. But by lanes where these are many and parts of rows would sum much again: n = 63 along 64 to 256 rows of
    784 to 1600 elements takes 1.06 to 1.63 × as long by rows backward, 0.95 to 1.2 × forward.
    """
    outers, n, length = space.outers, space.n, space.length
    again = (SUMMED_AGAIN if work.forward else DERIVED_AGAIN) * n / length
    most_lanes = max(1, space.inner // PREFIX_LANES)
    by_lanes = work.in_place or (most_lanes > 1 and again * max(2, -(-work.parts // outers)) > AGAIN_MOST)
    parts = _cuts(work, outers, pieces, 0 if by_lanes else again)
    # Where sums are shared there are more parts than threads, and what each computes again counts more.
    most_rows = 1 if work.in_place else max(1, 2 * length // ((4 if work.sums else 1) * n))
    if by_lanes:
        lane_parts = min(parts, most_lanes)
        return min(-(-parts // lane_parts), most_rows), lane_parts
    row_parts = min(parts, most_rows)
    return row_parts, min(-(-parts // row_parts), most_lanes)


def _turned(work: Work, space: Extents) -> Cut:
    """Tiles of whole outer indices, or of parts of a long axis."""
    n, rows, block = space.n, space.length, space.length * space.inner
    outers = _outers(work, space, TURNED_TILE)
    if not work.in_place and block > 2 * TURNED_TILE:
        period = n if space.inner == 1 else period_of(n)
        rows = min(rows, -(-max(8 * n, 2 * TURNED_TILE // space.inner) // period) * period)
    plane_rows = min(space.length, rows + 3 * (n - 1))
    if space.inner == 1:
        form, sizes = "scanned", {"turned": _scanned_size(plane_rows, n)}
    else:
        form, sizes = "turned", _turned_sizes(outers, plane_rows, space.inner, n)
    sizes["planes"] = _two_planes(outers * plane_rows * space.inner)
    axes = _entry(work, form, 1, space.length, space.inner, space.before, space.after)
    return Cut(outers, rows, space.inner, sizes, axes, NONE)


def _scanned(work: Work, space: Extents) -> Cut:
    """Tiles of whole outer indices."""
    scan = scan_of(space.length, space.n)
    sizes = {"turned": scan.group * scan.suffixes, "planes": scan.group * (scan.terms + space.length) + SLACK}
    axes = _entry(work, "joined", 1, space.length, 1, space.before, space.after)
    return Cut(_outers(work, space, TURNED_TILE), space.length, 1, sizes, axes, NONE)


def _box(work: Work, space: Extents) -> Cut:
    """Tiles of several small planes, of one, or of a part of one."""
    n, length, unit = space.n, space.length, space.unit
    row, period = space.inner // unit, period_of(n)
    outers, rows, lanes = 1, length, unit
    # Parts of a unit make short runs: 15 ns an element with 48 lanes of 96 where whole units take 1.3.
    if row * length * unit > 2 * BOX_TILE and (work.in_place or row * 3 * n * unit > BOX_TILE) and unit >= 2 * ROW:
        lanes = max(_split(unit, -(-row * length * unit // BOX_TILE)), min(unit, ROW))
    if not work.in_place and row * length * lanes > 2 * BOX_TILE:
        rows = min(length, -(-max(2 * n, BOX_TILE // (row * lanes)) // period) * period)
    # One plane is shared by its rows, each part with a window more: 512×512 takes 0.55 of the time on two threads. Not
    # where masks may serve its first axis, and into fewer parts where sums ask for more of them than there are threads.
    least = (8 if work.sums else 2) * (n + period)
    row_parts = min(_cuts(work, space.outers, 1, (n + period) / length), length // least)
    if not work.in_place and row_parts > 1 and row * length * unit > MASKED_TILE:
        rows = min(rows, -(-length // (row_parts * period)) * period)
    # Too few rows for that, and many channels last: by lanes, 5×5 over 14×14×512 in 0.55 to 0.65 of the time.
    lane_parts = -(-_cuts(work, space.outers, 1, 0) // -(-length // rows))
    narrowest = SHARED_LANES if work.sums else SHARED_LANES // 2
    if lane_parts > 1 and unit >= 2 * narrowest:
        lanes = min(lanes, max(narrowest, _split(unit, lane_parts)))
    if is_small_box(work.dimensions):
        outers = _outers(work, space, SMALL_BOX_TILE // (2 if work.kept else 1))
    # A window more on either side, and what comes before a period.
    plane_rows = length if rows == length else rows + 2 * (n - 1) + 2 * (period - 1)
    axes, sizes, positions = _axes(work, outers, plane_rows, lanes)
    sizes["planes"] = _two_planes(outers * plane_rows * row * lanes)
    return Cut(outers, rows, lanes, sizes, axes, positions)


def _interleaved(work: Work, space: Extents) -> Cut:
    """Tiles of as many boxes as a vector has elements."""
    lanes, block = LINE // work.itemsize, space.length * space.inner
    extents = [dimension.extent for dimension in work.dimensions]
    sizes: dict[str, int] = {}
    axes = _entry(work, "interleaved", 1, block, lanes)
    for index in range(len(work.dimensions) - 2, work.first - 1, -1):
        extent, before, after = work.dimensions[index]
        if not work.dimensions[index].windowed:
            continue
        unit, n = lanes * math.prod(extents[index + 1 :]), before + after + 1
        form = "direct" if n <= PLANE_LONG_DIRECT else "vectors" if unit == lanes else "prefix"
        used = _prefix_sizes(min(unit, PLANE_LANES), n) if form == "prefix" else {}
        if form == "vectors":
            used = {"turned": 2 * (max(before, after) + extent + n) * lanes}  # padded terms, and suffixes
        axes += _entry(work, form, math.prod(extents[work.first : index]), extent, unit, before, after)
        _enlarge(sizes, used)
    axes += _entry(work, "separated", 1, block, lanes)
    sizes["planes"] = _two_planes(lanes * block)
    return Cut(lanes, space.length, space.unit, sizes, axes, NONE)


CUTS: dict[str, Callable[[Work, Extents], Cut]] = {
    "direct": _direct,
    "masked": _masked,
    "prefix": _prefix,
    "turned": _turned,
    "scanned": _scanned,
    "box": _box,
    "interleaved": _interleaved,
}


def _axes(work: Work, outers: int, rows: int, lanes: int) -> tuple[list[int], dict[str, int], NDArray]:
    """The table of the axes of a box, innermost first, the sizes of its passes' buffers, and their positions."""
    axes: list[int] = []
    sizes: dict[str, int] = {}
    tables: list[NDArray] = [NONE]
    first = work.first
    for index in range(len(work.dimensions) - 2, first - 1, -1):
        extent, before, after = work.dimensions[index]
        if not work.dimensions[index].windowed:
            continue
        count = math.prod(dimension.extent for dimension in work.dimensions[first + 1 : index])
        units = math.prod(dimension.extent for dimension in work.dimensions[index + 1 : -1])
        length = rows if index == first else extent
        # Which form does not depend on how lanes are cut.
        unit, n = units * work.dimensions[-1].extent, before + after + 1
        blocks = outers if index == first else outers * rows * count
        short = unit < ROW and length * unit <= MASKED_TILE and length == extent
        # Along long axes of short rows windows are one run: 5×5 over 460×4540 takes 0.3 ns an element, turned 2.1.
        if n <= (PLANE_LONG_DIRECT if unit >= PLANE_LONG else PLANE_DIRECT):
            form = "masked" if short else "direct"
        else:
            form = "prefix" if unit >= PLANE_PREFIX else "turned" if unit > 1 else "scanned"
        used: dict[str, int] = {}
        table, entries = sum(each.size for each in tables), 0
        if form == "masked":
            groups = min(blocks, max(1, MASKED_TILE // (length * unit)))
            tables.append(np.tile(np.repeat(np.arange(length, dtype=np.int32), unit), groups))
            entries = tables[-1].size
        elif form == "turned":
            used = _turned_sizes(blocks, length, units * lanes, n)
        elif form == "scanned":
            used = {"turned": _scanned_size(length, n)}
        elif form == "prefix":
            used = _prefix_sizes(min(units * lanes, PLANE_LANES), n)
        period = period_of(n) if form in ("prefix", "turned") else 1
        axes += _entry(work, form, count, extent, units, before, after, table, entries, period)
        _enlarge(sizes, used)
    return axes, sizes, np.concatenate(tables)


def _entry(
    work: Work, form: str, count: int, length: int, units: int, before: int = 0, after: int = 0,
    table: int = 0, entries: int = 0, period: int = 1,
) -> list[int]:  # fmt: skip
    """One pass as the table of axes has it."""
    return list(Axis(address_of(form, work.real), count, length, units, before, after, table, entries, period))


def _enlarge(sizes: dict[str, int], used: dict[str, int]) -> None:
    """Make room for one pass more among those that share buffers."""
    sizes.update((name, max(sizes.get(name, 0), size)) for name, size in used.items())


def _padded(size: int) -> int:
    """A size of whole cache lines, 3/8 of a page more than whole pages: no buffer lies where another does in its page.

    A processor that compares the lower bits of addresses makes a load wait for a store to the same place of another
    page: backward of 9 elements along 96 takes 0.6 × the time. Where each buffer begins with a cache line, backward in
    cache takes 0.95 × the time.
    """
    return size + (3 * PAGE // 8 - size) % PAGE if size else 0


def _two_planes(size: int) -> int:
    """The size of a buffer of two planes, whose sums may exceed them."""
    return 2 * _padded(size + SLACK)


def _scanned_size(rows: int, n: int) -> int:
    """The size of the buffer of a pass by scans, over blocks of at most ``rows`` rows."""
    scan = scan_of(rows, n)
    largest: int = max(scan.group * (scan.terms + scan.suffixes), 4 * SCANNED)
    return largest


def _turned_sizes(outers: int, length: int, unit: int, n: int) -> dict[str, int]:
    """The sizes of the buffers of a pass by turning, over at most ``outers`` blocks of at most ``length`` rows."""
    lanes = min(group_of(length, unit), outers) * unit
    block = length * lanes
    if 2 * n < length:  # there may be parts, a lane each
        lanes = max(lanes, min(TURNED_LANES, -(-length // (2 * n)) * unit))
        block = max(block, 3 * length * unit)
    return {**_prefix_sizes(lanes, n), "turned": 2 * block}


def _prefix_sizes(lanes: int, n: int) -> dict[str, int]:
    """The sizes of the buffers of prefix sums over rows of so many lanes."""
    return {"running": RUNNING * lanes, "suffix": blocks_of(n) * lanes}
