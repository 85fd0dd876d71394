"""Two stages in one loop: the second follows the first by the rows that its window reaches ahead."""

from numba_lrn.algorithm.binding import apart, injected
from numba_lrn.algorithm.primitives import real
from numba_lrn.algorithm.window.contract import BEFORE, REDUCES, TERMS, fetch_ahead, move
from numba_lrn.algorithm.window.direct import fused_extremes, window_sum
from numba_lrn.algorithm.window.strips import (
    add_up,
    extreme,
    higher,
    is_streamed,
    no_notes,
    noted,
    strip_count,
)

WHOLE_LINES = 64  # elements that are whole cache lines in every dtype
# The shortest rows of an array that are chased, for strips are no longer than a row. Backward of n = 5 along rows of 1,
# 8, 31, 60 elements took 4.6, 0.96, 0.66, 0.37 ns an element so, and takes 0.4, 0.28, 0.31, 0.30 with the stages one
# after the other. Narrow parts of long rows are chased: 48 of 729 lanes take 1.6 × as long without.
CHASED_ROW = 64


def chase(arrays, buffers, par, space, tile, first, last, held):
    """Rows ``first`` … ``last − 1`` of one stage, and each time the row of the next that has just become complete.

    The windows of both must be full. Two stages in one loop keep the adders busy while the buffers are read: over 74 MB
    backward takes 1.65 × its roof so, 2.05 with the stages one after the other; in the caches, where tiles have few
    lanes, 0.9 of the time.
    """
    lanes = tile.lanes
    row = first
    if not REDUCES:
        if TERMS == 5 and BEFORE == 2 and not tile.streaming:  # the ring holds what such windows need
            row += chase_pairs(arrays, buffers, par, space, tile, first, last, held)
    # No longer than a row: a strip must not read the results that it keeps. And whole cache lines, so that the next
    # strip begins with one too: rows of 729 elements took 1.6 × as long with strips of a row.
    longest = lanes if lanes < WHOLE_LINES else lanes // WHOLE_LINES * WHOLE_LINES
    while row < last:
        rows = last - row if lanes == space.inner else 1
        at = (tile.outer * space.length + row) * space.inner + tile.lane
        slot = (row - tile.base) * lanes
        end = rows * lanes
        j = 0
        while j < end:
            behind = at + j - BEFORE * space.inner
            count = strip_count(arrays, tile, behind, min(end - j, longest))
            if tile.ahead > 0:
                fetch_ahead(arrays, at + j + tile.ahead, count)
            if is_streamed(arrays, tile, behind):
                streamed_chased_strip(arrays, buffers, par, at + j, space.inner, slot + j, lanes, count)
            else:
                chased_strip(arrays, buffers, par, at + j, space.inner, slot + j, lanes, count)
            j += count
        row += rows


def chase_pairs(arrays, buffers, par, space, tile, first, last, held):
    """``chase`` for two rows at a time; returns how many rows it did, all but an odd one.

    In the caches, where each row then is read from L1 three times instead of five, and what the next stage needs of the
    rows before lies in a ring of three pairs, in L1 as well: 0.7 to 0.85 of the time. Not past the caches, where two
    rows do not begin on a cache line at once (1.2, their results kept first and then written), nor where shares are
    added up (1.1). Four rows at a time take 0.93 to 1.06 of the time of two.
    """
    lanes = tile.lanes
    begin = (first - tile.base) * lanes
    oldest, older, newest = begin - 4 * lanes, begin - 2 * lanes, begin
    pairs = (last - first) // 2
    for pair in range(pairs):
        at = (tile.outer * space.length + first + 2 * pair) * space.inner + tile.lane
        for j in range(0, lanes, tile.strip):
            count = min(tile.strip, lanes - j)
            chased_pair(arrays, buffers, par, at + j, space.inner, newest + j, older + j, oldest + j, lanes, count)
        oldest, older, newest = older, newest, oldest
    # To where the other loops look for them: where they are, or beyond the ring.
    end = begin + 2 * pairs * lanes
    move(buffers.stages, held, oldest, end - 4 * lanes, 2 * lanes)
    move(buffers.stages, held, older, end - 2 * lanes, 2 * lanes)
    return 2 * pairs


@apart
def chased_strip(arrays, buffers, par, at, step, slot, slot_step, count):
    """Sum and emit ``count`` neighbours, and those BEFORE rows before them in the next stage."""
    behind_at, behind_slot = at - BEFORE * step, slot - BEFORE * slot_step
    notes = no_notes()
    for j in range(count):
        total = window_sum(arrays, buffers, at + j, step, slot + j, slot_step)
        newest, notes = pass_noted(arrays, buffers, par, at + j, slot + j, total, notes)
        total = window_sum_with(arrays, buffers, behind_at + j, step, behind_slot + j, slot_step, newest)
        emit_behind(arrays, buffers, par, behind_at + j, behind_slot + j, total)
    if extreme(notes):
        fused_extremes(arrays, buffers, par, at, step, slot, slot_step, count)
        fused_behind(arrays, buffers, par, behind_at, step, behind_slot, slot_step, count)
    else:
        add_up(buffers, notes)


@apart
def chased_pair(arrays, buffers, par, at, step, slot, older, oldest, slot_step, count):
    """``chased_strip`` for a row and the next, which share what they load.

    The two rows before them lie at ``older`` in the buffers, the two before these at ``oldest``.
    """
    notes = no_notes()
    for j in range(count):
        total = window_sum(arrays, buffers, at + j, step, slot + j, slot_step)
        next_total = window_sum(arrays, buffers, at + step + j, step, slot + slot_step + j, slot_step)
        newer, notes = pass_noted(arrays, buffers, par, at + j, slot + j, total, notes)
        newest, notes = pass_noted(arrays, buffers, par, at + step + j, slot + slot_step + j, next_total, notes)
        emit_pair_behind(arrays, buffers, par, at + j, step, older + j, oldest + j, slot_step, newer, newest)
    if extreme(notes):
        fused_extremes(arrays, buffers, par, at, step, slot, slot_step, count)
        fused_extremes(arrays, buffers, par, at + step, step, slot + slot_step, slot_step, count)
        for j in range(count):
            newer = add_term_behind(arrays, buffers, at + j, slot + j, real(0.0))
            newest = add_term_behind(arrays, buffers, at + step + j, slot + slot_step + j, real(0.0))
            emit_pair_behind(arrays, buffers, par, at + j, step, older + j, oldest + j, slot_step, newer, newest)


def emit_pair_behind(arrays, buffers, par, at, step, older, oldest, slot_step, newer, newest):
    """What two rows make complete in the next stage, their own terms at hand."""
    low, high = window_sum_before(arrays, buffers, at, step, 0, older, oldest, slot_step)
    next_low, next_high = window_sum_before(arrays, buffers, at, step, 1, older, oldest, slot_step)
    behind = at - BEFORE * step
    emit_behind(arrays, buffers, par, behind, slot_in_ring(-BEFORE, older, oldest, slot_step), low + (high + newer))
    behind, total = behind + step, next_low + ((next_high + newer) + newest)
    emit_behind(arrays, buffers, par, behind, slot_in_ring(1 - BEFORE, older, oldest, slot_step), total)


@injected
def streamed_chased_strip(arrays, buffers, par, at, step, slot, slot_step, count):
    """``chased_strip`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


def pass_noted(arrays, buffers, par, at, slot, total, notes):
    """``emit_noted`` that also tells the term that the next stage sums: what ``emit`` returns after d."""
    if REDUCES:
        d, first, second, third = emit_and_pass(arrays, buffers, par, at, slot, total)
        return first, noted(notes, d, first, second, third)
    d, newest = emit_and_pass(arrays, buffers, par, at, slot, total)
    return newest, (higher(notes[0], d), notes[1], notes[2], notes[3])


def window_sum_with(arrays, buffers, at, step, slot, slot_step, newest):
    """``window_sum`` of the next stage, its last term at hand. Read back from memory it would stop vectorisation."""
    low, high = real(0.0), real(0.0)
    for i in range(1 + BEFORE - TERMS, 0):
        low = add_term_behind(arrays, buffers, at + i * step, slot + i * slot_step, low)
    for i in range(BEFORE):
        high = add_term_behind(arrays, buffers, at + i * step, slot + i * slot_step, high)
    return low + (high + newest)


def window_sum_before(arrays, buffers, at, step, row, older, oldest, slot_step):
    """What lies before a pair of rows of the next stage's window that ends with its first row (0) or second (1).

    In the two chains of ``window_sum``.
    """
    low, high = real(0.0), real(0.0)
    for i in range(row + 1 - TERMS, row - BEFORE):
        low = add_term_behind(arrays, buffers, at + i * step, slot_in_ring(i, older, oldest, slot_step), low)
    for i in range(row - BEFORE, 0):
        high = add_term_behind(arrays, buffers, at + i * step, slot_in_ring(i, older, oldest, slot_step), high)
    return low, high


def slot_in_ring(row, older, oldest, slot_step):
    """Where one of the four rows before a pair lies, −1 … −4."""
    return older + (row + 2) * slot_step if row >= -2 else oldest + (row + 4) * slot_step


@injected
def add_term_behind(arrays, buffers, at, slot, total):
    """``add_term`` of the next stage; injected."""
    raise NotImplementedError("a backend injects the stage's term")


@injected
def emit_and_pass(arrays, buffers, par, at, slot, total):
    """``emit`` that also returns the term that the next stage sums; injected."""
    raise NotImplementedError("a backend injects the stage's end")


@injected
def emit_behind(arrays, buffers, par, at, slot, total):
    """``emit`` of the next stage; injected."""
    raise NotImplementedError("a backend injects the function")


@injected
def fused_behind(arrays, buffers, par, at, step, slot, slot_step, count):
    """``fused_strip`` of the next stage; injected."""
    raise NotImplementedError("a backend injects the function")
