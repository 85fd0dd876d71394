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
from numba_lrn.backends.cpu.span import spans

PER_LINE = 0  # elements of a cache line; injected
FETCHED, FETCHED_TOO = 0, -1  # the arrays that a stage asks for ahead, by their places; injected, −1 for none

# Injected: whether there are transposed windows, and whether two stages may run in one loop.
BEHIND = False
CHASES = False
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
    turned: Any  # a turned block of terms, and one of sums
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
    ahead: int  # how many elements ahead of a strip is asked for; 0 for none
    separate: int  # 1 where the result does not lie over an input
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


def entry(stamp: str) -> Callable:
    """The function that is compiled. ``stamp`` is not used, but Numba's cache takes a closure's values into its key."""

    def run(arrays, workspace, positions, scalars, layout, first_worker, last_worker, workers):
        stamp  # noqa: B018
        arrays = spans(arrays)
        workspace, positions, scalars, layout = spans((workspace, positions, scalars, layout))
        for worker in range(first_worker, last_worker):
            run_worker(arrays, workspace, positions, scalars, layout, worker, workers)

    return run


def part(memory, first, last):
    """A buffer; in the place of ``residual_of`` and the like where the kernel uses that buffer."""
    return memory[first:last]


def no_part(memory, first, last):
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
    par = Parameters(
        scalars[0], scalars[1], scalars[2], scalars[3], scalars[4],
        scalars[5], scalars[6], scalars[7], scalars[8], scalars[9],
    )  # fmt: skip
    outers, length, inner, unit, before, after = layout[0], layout[1], layout[2], layout[3], layout[4], layout[5]
    tile_outers, tile_rows, tile_lanes, tiles, step, strip, streaming, ahead_of_strip, separate, held = (
        layout[6],
        layout[7],
        layout[8],
        layout[9],
        layout[10],
        layout[11],
        layout[12],
        layout[13],
        layout[14],
        layout[15],
    )
    e0 = worker * (workspace.size // workers // 16 * 16)  # as many whole cache lines for each
    e1 = e0 + layout[16]
    e2 = e1 + layout[17]
    e3 = e2 + layout[18]
    e4 = e3 + layout[19]
    e5 = e4 + layout[20]
    e6 = e5 + layout[21]
    e7 = e6 + layout[22]
    e8 = e7 + layout[23]
    e9 = e8 + layout[24]
    axes = layout[25:]
    lane_tiles = (unit + tile_lanes - 1) // tile_lanes
    row_tiles = (length + tile_rows - 1) // tile_rows
    for index in range(worker * tiles // workers, (worker + 1) * tiles // workers):
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
        lane = index % lane_tiles * tile_lanes
        first = index // lane_tiles % row_tiles * tile_rows
        outer = index // lane_tiles // row_tiles * tile_outers
        last = min(first + tile_rows, length)
        # The tile's buffers also hold the rows that a transposed window reaches.
        base = max(first - after, 0)
        rows = min(last + before, length) - base
        outer_end, lanes = min(outer + tile_outers, outers), min(tile_lanes, unit - lane)
        tile = Tile(outer, outer_end, lane, lanes, base, rows, strip, streaming, ahead_of_strip)
        run_tile(
            arrays, buffers, par, length, inner, unit, before, after, axes, tile, positions, first, last, step,
            separate, held,
        )  # fmt: skip
    fence()


def run_tile(
    arrays, buffers, par, length, inner, unit, before, after, axes, tile, positions, first, last, step, separate, held
):
    """All stages on one tile."""
    space = Space(length, inner, unit, before, after, 0, axes)
    if BEHIND:
        mirror = Space(length, inner, unit, after, before, 1, axes)
        run_behind(arrays, buffers, par, space, mirror, tile, positions, first, last, step, separate, held)
    else:
        run_ahead(arrays, buffers, par, space, tile, positions, first, last, step)


def run_ahead(arrays, buffers, par, space, tile, positions, first, last, step):
    """No window is transposed: the stages take turns over the same rows."""
    if last - first <= step:
        ahead(arrays, buffers, par, space, tile, positions, first, last)
    else:
        for row in range(first, last, step):
            ahead(arrays, buffers, par, space, based(tile, row), positions, row, min(row + step, last))


def run_behind(arrays, buffers, par, space, mirror, tile, positions, first, last, step, separate, held):
    """Transposed windows come behind; the other stages run ahead of them by the rows that they reach.

    Between two turns the rows that are still needed move to the front of the buffers, which then stay in L2.
    """
    base = done = tile.base
    for row in range(first, last, step):
        stop = min(row + step, last)
        ready = min(stop + space.before, tile.base + tile.rows)
        if row > first:
            needed = max(row - space.after, base)
            move(buffers.stages, held, (needed - base) * tile.lanes, 0, (done - needed) * tile.lanes)
            base = needed
        turn = based(tile, base)
        if CHASES:
            chased_turn(
                arrays, buffers, par, space, mirror, turn, positions, done, ready, row, stop, first, last, separate,
                held,
            )  # fmt: skip
        else:
            run_shared(arrays, buffers, par, space, turn, positions, done, ready, first, last)
            behind(arrays, buffers, par, mirror, turn, positions, row, stop)
        done = ready


def run_shared(arrays, buffers, par, space, tile, positions, low, high, first, last):
    """The stages ahead on rows ``low`` … ``high − 1``; those beyond ``first`` … ``last − 1`` another tile adds up."""
    if SHARES:
        for part in range(3):
            start = low if part == 0 else max(low, first if part == 1 else last)
            stop = high if part == 2 else min(high, first if part == 0 else last)
            if start < stop:
                sums = buffers.sums
                before = (sums[0], sums[1], sums[2], sums[3], sums[4], sums[5])
                ahead(arrays, buffers, par, space, tile, positions, start, stop)
                if part != 1:
                    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = before
    else:
        ahead(arrays, buffers, par, space, tile, positions, low, high)


def chased_turn(
    arrays, buffers, par, space, mirror, tile, positions, done, ready, row, stop, first, last, separate, held
):
    """The stages ahead from row ``done`` to ``ready`` and those behind from ``row`` to ``stop``.

    Both run in one loop on the rows where both have full windows, unless the array's rows are short or the result
    overwrites what one of them might read again.
    """
    before, after = space.before, space.after
    begin = max(done, row + before, before + after)
    end = min(ready, space.length - after, last)
    low, high = begin - before, end - before
    if begin >= end or not separate or space.inner < CHASED_ROW:
        begin = end = ready
        low = high = stop
    # Before the chase, then after it. Written out twice, the stages took 8 s more to compile.
    for turn in range(2):
        if turn == 0:
            ready_from, ready_to, row_from, row_to = done, begin, row, low
        else:
            chase(arrays, buffers, par, space, tile, begin, end, held)
            ready_from, ready_to, row_from, row_to = end, ready, high, stop
        run_shared(arrays, buffers, par, space, tile, positions, ready_from, ready_to, first, last)
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


def two_stages(arrays, buffers, par, space, tile, positions, first, last):
    """One stage after the other; bound once for each stage but the last."""
    this_stage(arrays, buffers, par, space, tile, positions, first, last)
    following_stages(arrays, buffers, par, space, tile, positions, first, last)
