"""What a worker runs: its share of the tiles, each through the stages of a recipe.

The names that stand for a kernel's own stages and arrays are injected (kernels.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from numba_lrn.algorithm.binding import injected, loop
from numba_lrn.algorithm.formulas import Parameters
from numba_lrn.algorithm.primitives import fence
from numba_lrn.algorithm.recipes import SUMS, Arrays
from numba_lrn.algorithm.window.chase import CHASED_ROW
from numba_lrn.algorithm.window.contract import Space, Tile, based, move
from numba_lrn.backends.cpu.primitives import misalignment, prefetch
from numba_lrn.backends.cpu.span import leading, spans

PER_LINE = 0  # elements of a cache line; injected
FETCHED, FETCHED_TOO = 0, -1  # the arrays that a stage asks for ahead, by their places; injected, −1 for none

# Injected: whether there are transposed windows, and whether two stages may run in one loop.
BEHIND = False
CHASES = False
COLUMNS = False  # whether they may do so down columns
SHARES = False  # whether the stages ahead add up something over all elements


class Buffers(NamedTuple):
    """The parts of a worker's memory. In the place of one that a kernel does not use there is a number.

    Each is two arguments of every function that they are passed to, and compiling those takes time.
    """

    total: Any  # window sums
    residual: Any  # what a recipe keeps from one stage to the next
    kept: Any
    cross: Any
    mixed: Any
    running: Any  # running sums of a row's lanes, in the four rows that window/prefix.py names
    suffix: Any  # suffix sums of one period of blocks of rows
    turned: Any  # scratch of a pass: turned blocks of terms and of sums, or padded terms and suffix sums
    planes: Any  # what passes read and write: two planes
    sums: Any  # the tile's part of the caller's sums
    stages: Any  # all that is kept between stages, one buffer after another


class Layout(NamedTuple):
    """What a kernel is told at run time, as one integer array: geometry, tiles and the sizes of the buffers.

    The table of the passes follows it in the same array.
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
    ahead: int  # how many elements ahead of a strip is asked for; 0 for none
    separate: int  # 1 where the result does not lie over an input
    columns: int  # 1 where two stages run down columns, a vector at a time
    held: int  # size of a buffer that is kept between stages, in elements
    total: int  # sizes of the buffers, in elements
    residual: int
    kept: int
    cross: int
    mixed: int
    running: int
    suffix: int
    turned: int
    planes: int


class Part(NamedTuple):
    """The rows of the axis whose results are a tile's own, and how they are gone through."""

    first: Any
    last: Any
    step: Any  # rows of the last stage a turn
    separate: Any  # 1 where the result does not lie over an input
    held: Any  # elements of a buffer that is kept between stages


PARAMETERS, SIZES = len(Parameters._fields), len(Layout._fields)


def entry(stamp: str) -> Callable:
    """The function that is compiled. ``stamp`` is not used, but Numba's cache takes a closure's values into its key."""

    def run(arrays, workspace, positions, scalars, layout, first_worker, last_worker, workers):
        stamp  # noqa: B018
        arrays = spans(arrays)
        workspace, positions, scalars, layout = spans((workspace, positions, scalars, layout))
        for worker in range(first_worker, last_worker):
            run_worker(arrays, workspace, positions, scalars, layout, worker, workers)

    return run


def some(memory, first, last):
    """A buffer; in the place of ``residual_of`` and the like where the kernel uses that buffer."""
    return memory[first:last]


def none(memory, first, last):
    """The same where it does not."""
    return 0


@loop
def fetch(arrays, at, count):
    """Ask for ``count`` neighbours of one array, or of two."""
    for j in range(0, count, PER_LINE):
        prefetch(arrays[FETCHED], at + j)
        if FETCHED_TOO >= 0:
            prefetch(arrays[FETCHED_TOO], at + j)


def misalignment_of_out(arrays, at):
    """Elements from a place in the result to the next cache line."""
    return misalignment(arrays.out, at)


def misalignment_of_out_x(arrays, at):
    """The same for a second result."""
    return misalignment(arrays.out_x, at)


MISALIGNMENT = {"out": misalignment_of_out, "out_x": misalignment_of_out_x}


def run_worker(arrays, workspace, positions, scalars, layout, worker, workers):
    """One worker's share of the tiles, with its own part of the workspace."""
    arrays = Arrays(*arrays)
    par = Parameters(*leading(scalars, PARAMETERS))
    sizes = Layout(*leading(layout, SIZES))
    space = Space(sizes.length, sizes.inner, sizes.unit, sizes.before, sizes.after, 0, layout[SIZES:])
    e0 = worker * (workspace.size // workers // 16 * 16)  # as many whole cache lines for each
    e1 = e0 + sizes.total
    e2 = e1 + sizes.residual
    e3 = e2 + sizes.kept
    e4 = e3 + sizes.cross
    e5 = e4 + sizes.mixed
    e6 = e5 + sizes.running
    e7 = e6 + sizes.suffix
    e8 = e7 + sizes.turned
    e9 = e8 + sizes.planes
    lane_tiles = (sizes.unit + sizes.tile_lanes - 1) // sizes.tile_lanes
    row_tiles = (sizes.length + sizes.tile_rows - 1) // sizes.tile_rows
    for index in range(worker * sizes.tiles // workers, (worker + 1) * sizes.tiles // workers):
        buffers = Buffers(
            total_of(workspace, e0, e1),
            residual_of(workspace, e1, e2),
            kept_of(workspace, e2, e3),
            cross_of(workspace, e3, e4),
            mixed_of(workspace, e4, e5),
            running_of(workspace, e5, e6),
            suffix_of(workspace, e6, e7),
            turned_of(workspace, e7, e8),
            planes_of(workspace, e8, e9),
            sums_of(arrays[-1], index * SUMS, (index + 1) * SUMS),
            stages_of(workspace, e1, e5),
        )  # fmt: skip
        lane = index % lane_tiles * sizes.tile_lanes
        first = index // lane_tiles % row_tiles * sizes.tile_rows
        outer = index // lane_tiles // row_tiles * sizes.tile_outers
        last = min(first + sizes.tile_rows, sizes.length)
        # The tile's buffers also hold the rows that a transposed window reaches.
        base = max(first - sizes.after, 0)
        rows = min(last + sizes.before, sizes.length) - base
        outer_end, lanes = min(outer + sizes.tile_outers, sizes.outers), min(sizes.tile_lanes, sizes.unit - lane)
        tile = Tile(outer, outer_end, lane, lanes, base, rows, sizes.strip, sizes.streaming, sizes.ahead)
        part = Part(first, last, sizes.step, sizes.separate, sizes.held)
        if run_columns(arrays, par, space, tile, sizes.columns):
            continue
        if BEHIND:
            run_behind(arrays, buffers, par, space, tile, part, positions)
        else:
            run_ahead(arrays, buffers, par, space, tile, part, positions)
    fence()


def run_columns(arrays, par, space, tile, wanted):
    """Whether the tile was done down columns, which is given up where some d was Inf, NaN or negative."""
    if COLUMNS:
        return wanted != 0 and not columns(arrays, par, space, tile)
    return False


def run_ahead(arrays, buffers, par, space, tile, part, positions):
    """No window is transposed: the stages take turns over the same rows of a tile."""
    if part.last - part.first <= part.step:
        ahead(arrays, buffers, par, space, tile, positions, part.first, part.last)
    else:
        for row in range(part.first, part.last, part.step):
            ahead(arrays, buffers, par, space, based(tile, row), positions, row, min(row + part.step, part.last))


def run_behind(arrays, buffers, par, space, tile, part, positions):
    """Transposed windows come behind; the other stages run ahead of them by the rows that they reach.

    Between two turns the rows that are still needed move to the front of the buffers, which then stay in L2.
    """
    mirror = Space(space.length, space.inner, space.unit, space.after, space.before, 1, space.axes)
    base = done = tile.base
    for row in range(part.first, part.last, part.step):
        stop = min(row + part.step, part.last)
        ready = min(stop + space.before, tile.base + tile.rows)
        if row > part.first:
            needed = max(row - space.after, base)
            move(buffers.stages, part.held, (needed - base) * tile.lanes, 0, (done - needed) * tile.lanes)
            base = needed
        turn = based(tile, base)
        if CHASES:
            chased_turn(arrays, buffers, par, space, mirror, turn, part, positions, done, ready, row, stop)
        else:
            run_shared(arrays, buffers, par, space, turn, part, positions, done, ready)
            behind(arrays, buffers, par, mirror, turn, positions, row, stop)
        done = ready


def run_shared(arrays, buffers, par, space, tile, part, positions, low, high):
    """The stages ahead on rows ``low`` … ``high − 1``; those that are not the tile's own another tile adds up."""
    if SHARES:
        for third in range(3):
            start = low if third == 0 else max(low, part.first if third == 1 else part.last)
            stop = high if third == 2 else min(high, part.first if third == 0 else part.last)
            if start < stop:
                sums = buffers.sums
                before = (sums[0], sums[1], sums[2], sums[3], sums[4], sums[5])
                ahead(arrays, buffers, par, space, tile, positions, start, stop)
                if third != 1:
                    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = before
    else:
        ahead(arrays, buffers, par, space, tile, positions, low, high)


def chased_turn(arrays, buffers, par, space, mirror, tile, part, positions, done, ready, row, stop):
    """The stages ahead from row ``done`` to ``ready`` and those behind from ``row`` to ``stop``.

    Both run in one loop on the rows where both have full windows, unless the array's rows are short or the result
    overwrites what one of them might read again.
    """
    before, after = space.before, space.after
    begin = max(done, row + before, before + after)
    end = min(ready, space.length - after, part.last)
    low, high = begin - before, end - before
    if begin >= end or not part.separate or space.inner < CHASED_ROW:
        begin = end = ready
        low = high = stop
    # Before the chase, then after it. Written out twice, the stages took 8 s more to compile.
    for turn in range(2):
        if turn == 0:
            ready_from, ready_to, row_from, row_to = done, begin, row, low
        else:
            chase(arrays, buffers, par, space, tile, begin, end, part.held)
            ready_from, ready_to, row_from, row_to = end, ready, high, stop
        run_shared(arrays, buffers, par, space, tile, part, positions, ready_from, ready_to)
        behind(arrays, buffers, par, mirror, tile, positions, row_from, row_to)


@injected
def ahead(arrays, buffers, par, space, tile, positions, first, last):
    """The stages before any transposed window; injected."""
    raise NotImplementedError("a backend injects the stages")


@injected
def behind(arrays, buffers, par, space, tile, positions, first, last):
    """The others; injected."""
    raise NotImplementedError("a backend injects the stages")


@injected
def chase(arrays, buffers, par, space, tile, first, last, held):
    """Two stages in one loop; injected."""
    raise NotImplementedError("a backend injects the function")


@injected
def columns(arrays, par, space, tile):
    """Two stages down columns; injected."""
    raise NotImplementedError("a backend injects the function")


def two_stages(arrays, buffers, par, space, tile, positions, first, last):
    """One stage after the other; bound once for each stage but the last."""
    this_stage(arrays, buffers, par, space, tile, positions, first, last)
    following_stages(arrays, buffers, par, space, tile, positions, first, last)
