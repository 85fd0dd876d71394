"""Windows of 2·GROUP − 1 elements and more by prefix sums of blocks of rows, for GROUP rows at a time.

The windows of GROUP neighbouring rows share a core, to which each adds a few rows on its left and on its right. The
core is a run of blocks of GROUP rows: the suffix of one period of blocks, and the prefix of the next. Nothing is
ever subtracted.
"""

from typing import Any

from numba_lrn.algorithm.binding import loop
from numba_lrn.algorithm.formulas import lost
from numba_lrn.algorithm.primitives import load, real, store
from numba_lrn.algorithm.window.contract import add_term
from numba_lrn.algorithm.window.strips import clear, write_row

GROUP = 4  # with 8, more pointers than a vectorised loop may compare

# The rows of ``buffers.running``, ``lanes`` each.
SUM, REST, BEGUN, NEWEST = 0, 1, 2, 3
RUNNING = 4


def prefix(arrays, buffers, par, space, tile, positions, first, last):
    """Rows ``first`` … ``last − 1`` of a tile of one outer index."""
    lanes = tile.lanes
    begin = first // GROUP * GROUP
    for row in range(begin, last, GROUP):
        sum_group(arrays, buffers, space, tile, row, row == begin, buffers.total, 0, lanes)
        run, end = max(row, first), min(row + GROUP, last)
        while run < end:
            # Where the tile has all lanes, its rows are one run in memory.
            runs = end - run if lanes == space.inner else 1
            at = (tile.outer * space.length + run) * space.inner + tile.lane
            slot = (run - tile.base) * lanes
            write_row(arrays, buffers, par, tile, at, slot, buffers.total, (run - row) * lanes, runs * lanes)
            run += runs


def blocks_of(n: Any) -> Any:
    """How many blocks the windows of a group share."""
    return (n - GROUP + 1) // GROUP


def period_of(n: Any) -> Any:
    """Rows after which windows of any size are added up in the same way again."""
    return GROUP * max(blocks_of(n), 1)


def place_of(block, blocks, lanes):
    """Where a block lies in ``buffers.suffix``: the last of its period first.

    With the first of them first, LLVM would not take the vectorised loop of ``suffix_block``: it tests once for all
    blocks whether the loop's arrays overlap, and does so for ascending places only.
    """
    return (blocks - 1 - block % blocks) * lanes


def sum_group(arrays, buffers, space, tile, row, fresh, total, place, pitch):
    """total[place + t·pitch + j] = the window sum of row ``row`` + t, lane j, for the rows of one group.

    ``fresh`` says that the last call was not that of the group before.
    """
    n = space.before + space.after + 1
    blocks = blocks_of(n)
    begun = n - GROUP + 1 - blocks * GROUP
    group = row // GROUP
    rows = min(GROUP, space.length - row)
    left = row - space.before
    right = left + n  # of the first row; the others of the group follow
    if fresh:
        clear(buffers.running, RUNNING * tile.lanes)
        fill_blocks(arrays, buffers, space, tile, group, blocks)
    elif group % blocks == 0:
        suffix_blocks(buffers, tile.lanes, blocks)
    core = place_of(group, blocks, tile.lanes)
    if begun > 0:
        sum_rows(arrays, buffers, space, tile, right - begun, begun, BEGUN)
    left_at, left_slot = row_of(space, tile, left)
    right_at, right_slot = row_of(space, tile, right)
    inside = left >= 0 and rows == GROUP
    if inside and right + GROUP <= space.length:
        group_totals(
            arrays, buffers, left_at, left_slot, right_at, right_slot, space.inner, tile.lanes, core, total, place,
            pitch,
        )  # fmt: skip
    elif inside and right >= space.length:
        left_totals(arrays, buffers, left_at, left_slot, space.inner, tile.lanes, core, total, place, pitch)
    elif left + GROUP <= 1 and right + GROUP <= space.length:
        right_totals(arrays, buffers, right_at, right_slot, space.inner, tile.lanes, core, total, place, pitch)
    else:
        border_totals(arrays, buffers, space, tile, left, right, core, total, place, pitch, rows)
    if begun > 0:
        sum_rows(arrays, buffers, space, tile, right - begun, GROUP, NEWEST)
    add_block(buffers, tile.lanes, core)


def row_of(space, tile, row):
    """Where a row of the tile begins in the arrays, and in the tile's buffers."""
    at = (tile.outer * space.length + row) * space.inner + tile.lane
    return at, (row - tile.base) * tile.lanes


@loop
def group_totals(
    arrays, buffers, left_at, left_slot, right_at, right_slot, step, slot_step, core_place, total, place, pitch
):
    """The sums of a group whose windows end within the axis; ``slot_step`` lanes.

    The core comes last: of β = 1, n = 63 the largest error is 3.7 ulp so, 4.1 with the rows on the right added to it.
    """
    running, suffix = buffers.running, buffers.suffix
    for j in range(slot_step):
        core, rest = whole_core(running, suffix, core_place + j, slot_step, j)
        at, slot = left_at + j, left_slot + j
        third = add_term(arrays, buffers, at + 2 * step, slot + 2 * slot_step, rest)
        second = add_term(arrays, buffers, at + step, slot + slot_step, third)
        first = add_term(arrays, buffers, at, slot, second)
        at, slot = right_at + j, right_slot + j
        run = load(running, BEGUN * slot_step + j)
        store(total, place + j, (first + run) + core)
        run = add_term(arrays, buffers, at, slot, run)
        store(total, place + pitch + j, (second + run) + core)
        run = add_term(arrays, buffers, at + step, slot + slot_step, run)
        store(total, place + 2 * pitch + j, (third + run) + core)
        run = add_term(arrays, buffers, at + 2 * step, slot + 2 * slot_step, run)
        store(total, place + 3 * pitch + j, (rest + run) + core)
        run = add_term(arrays, buffers, at + 3 * step, slot + 3 * slot_step, run)
        store(running, NEWEST * slot_step + j, run)


def whole_core(running, suffix, place, lanes, j):
    """The core of a group's windows, and what it was rounded by.

    Every window's small parts begin with the latter. Without it, the largest error of n = 16 is 4.2 ulp, with it 3.6.
    """
    return added(load(suffix, place), load(running, SUM * lanes + j), real(0.0))


@loop
def left_totals(arrays, buffers, left_at, left_slot, step, slot_step, core_place, total, place, pitch):
    """The same where the axis ends before any row is added on the right."""
    running, suffix = buffers.running, buffers.suffix
    for j in range(slot_step):
        begun = load(running, BEGUN * slot_step + j)
        core, rest = whole_core(running, suffix, core_place + j, slot_step, j)
        at, slot = left_at + j, left_slot + j
        third = add_term(arrays, buffers, at + 2 * step, slot + 2 * slot_step, rest)
        second = add_term(arrays, buffers, at + step, slot + slot_step, third)
        first = add_term(arrays, buffers, at, slot, second)
        store(total, place + j, (first + begun) + core)
        store(total, place + pitch + j, (second + begun) + core)
        store(total, place + 2 * pitch + j, (third + begun) + core)
        store(total, place + 3 * pitch + j, (rest + begun) + core)
        store(running, NEWEST * slot_step + j, begun)


@loop
def right_totals(arrays, buffers, right_at, right_slot, step, slot_step, core_place, total, place, pitch):
    """The same where the axis begins after all rows that would be added on the left."""
    running, suffix = buffers.running, buffers.suffix
    for j in range(slot_step):
        core, rest = whole_core(running, suffix, core_place + j, slot_step, j)
        at, slot = right_at + j, right_slot + j
        run = load(running, BEGUN * slot_step + j)
        store(total, place + j, (rest + run) + core)
        run = add_term(arrays, buffers, at, slot, run)
        store(total, place + pitch + j, (rest + run) + core)
        run = add_term(arrays, buffers, at + step, slot + slot_step, run)
        store(total, place + 2 * pitch + j, (rest + run) + core)
        run = add_term(arrays, buffers, at + 2 * step, slot + 2 * slot_step, run)
        store(total, place + 3 * pitch + j, (rest + run) + core)
        run = add_term(arrays, buffers, at + 3 * step, slot + 3 * slot_step, run)
        store(running, NEWEST * slot_step + j, run)


@loop
def border_totals(arrays, buffers, space, tile, left, right, core_place, total, place, pitch, rows):
    """The sums of the first ``rows`` rows of a group, of whose windows the axis lacks some rows."""
    lanes, running, suffix = tile.lanes, buffers.running, buffers.suffix
    newest = NEWEST * lanes
    for j in range(lanes):
        _, rest = whole_core(running, suffix, core_place + j, lanes, j)
        store(running, newest + j, rest)
    for t in range(GROUP - 1, -1, -1):
        if t < GROUP - 1:
            add_row(arrays, buffers, space, tile, left + t, newest)
        if t < rows:
            for j in range(lanes):
                store(total, place + t * pitch + j, load(running, newest + j))
    for j in range(lanes):
        store(running, newest + j, load(running, BEGUN * lanes + j))
    for t in range(GROUP):
        if t < rows:
            for j in range(lanes):
                core = load(suffix, core_place + j) + load(running, SUM * lanes + j)
                here = place + t * pitch + j
                store(total, here, (load(total, here) + load(running, newest + j)) + core)
        add_row(arrays, buffers, space, tile, right + t, newest)


@loop
def sum_rows(arrays, buffers, space, tile, row, rows, where):
    """The terms of ``rows`` rows from ``row`` on, into a row of the running sums."""
    start = where * tile.lanes
    for j in range(tile.lanes):
        store(buffers.running, start + j, real(0.0))
    for i in range(row, row + rows):
        add_row(arrays, buffers, space, tile, i, start)


@loop
def add_row(arrays, buffers, space, tile, row, start):
    """The terms of one row, if the axis has it, added to running[start …]."""
    if row >= 0 and row < space.length:
        at, slot = row_of(space, tile, row)
        for j in range(tile.lanes):
            store(
                buffers.running,
                start + j,
                add_term(arrays, buffers, at + j, slot + j, load(buffers.running, start + j)),
            )


def fill_blocks(arrays, buffers, space, tile, group, blocks):
    """What groups before ``group`` would have left: suffix sums of this period's blocks, the prefix of the next."""
    period = group // blocks * blocks
    shift = GROUP - 1 - space.before  # of block 0
    for block in range(group, period + blocks):
        sum_rows(arrays, buffers, space, tile, block * GROUP + shift, GROUP, NEWEST)
        keep_block(buffers, tile.lanes, place_of(block, blocks, tile.lanes))
    suffix_blocks(buffers, tile.lanes, period + blocks - group)
    for block in range(period + blocks, group + blocks):
        sum_rows(arrays, buffers, space, tile, block * GROUP + shift, GROUP, NEWEST)
        add_block(buffers, tile.lanes, place_of(block, blocks, tile.lanes))


@loop
def keep_block(buffers, lanes, place):
    """The newest block among the blocks."""
    for j in range(lanes):
        store(buffers.suffix, place + j, load(buffers.running, NEWEST * lanes + j))


@loop
def add_block(buffers, lanes, place):
    """The newest block among the blocks, in the place of one that no window needs, and to the prefix of its period."""
    running = buffers.running
    for j in range(lanes):
        newest = load(running, NEWEST * lanes + j)
        store(buffers.suffix, place + j, newest)
        both, rest = added(load(running, SUM * lanes + j), newest, load(running, REST * lanes + j))
        store(running, SUM * lanes + j, both)
        store(running, REST * lanes + j, rest)


def suffix_blocks(buffers, lanes, blocks):
    """The last ``blocks`` blocks of a period, each with all after it added; the prefix of the next begins at zero."""
    clear(buffers.running, BEGUN * lanes)
    for place in range(0, blocks * lanes, lanes):
        suffix_block(buffers, lanes, place)
    clear(buffers.running, BEGUN * lanes)


@loop
def suffix_block(buffers, lanes, place):
    """One block more in the suffix sum."""
    running, suffix = buffers.running, buffers.suffix
    for j in range(lanes):
        both, rest = added(load(running, SUM * lanes + j), load(suffix, place + j), load(running, REST * lanes + j))
        store(suffix, place + j, both)
        store(running, SUM * lanes + j, both)
        store(running, REST * lanes + j, rest)


def added(total, value, rest):
    """total + value, ``rest`` included that the additions before were rounded by, and what this one is rounded by."""
    value = value + rest
    both = total + value
    rest = lost(total, value, both)
    return both, rest if rest == rest else real(0.0)  # Inf − Inf, where the sum itself is what it must be
