"""Two stages in one loop: the second follows the first by the rows that its window reaches ahead."""

from numba_lrn.algorithm.binding import apart, injected
from numba_lrn.algorithm.primitives import real, store
from numba_lrn.algorithm.window.contract import BEFORE, REDUCES, TERMS, fetch_ahead
from numba_lrn.algorithm.window.direct import window_sum
from numba_lrn.algorithm.window.strips import (
    add_up,
    extreme,
    extremes_strip,
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


def chase(arrays, buffers, par, space, tile, first, last):
    """Rows ``first`` … ``last − 1`` of one stage, and each time the row of the next that has just become complete.

    The windows of both must be full. Two stages in one loop keep the adders busy while the buffers are read: over 74 MB
    backward takes 1.65 × its roof so, 2.05 with the stages one after the other; in the caches, where tiles have few
    lanes, 0.9 of the time.
    """
    lanes = tile.lanes
    row = first
    if not REDUCES:
        if lanes < space.inner and not tile.streaming:
            row += chase_pairs(arrays, buffers, par, space, tile, first, last)
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


def chase_pairs(arrays, buffers, par, space, tile, first, last):
    """``chase`` for two rows at a time; returns how many rows it did, all but an odd one.

    For parts of rows in the caches, which so are read from L1 three times instead of five: 0.77 to 0.95 of the time.
    Not for whole short rows, which ``chase`` takes as one run (1.1 to 1.2), nor past the caches, where two rows do not
    begin on a cache line at once (1.2, their results kept first and then written), nor where shares are added up (1.1).
    """
    pairs = (last - first) // 2
    for pair in range(pairs):
        row = first + 2 * pair
        at = (tile.outer * space.length + row) * space.inner + tile.lane
        slot = (row - tile.base) * tile.lanes
        for j in range(0, tile.lanes, tile.strip):
            count = min(tile.strip, tile.lanes - j)
            chased_pair(arrays, buffers, par, at + j, space.inner, slot + j, tile.lanes, count)
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
        for j in range(count):
            store(buffers.total, j, window_sum(arrays, buffers, at + j, step, slot + j, slot_step))
        extremes_strip(arrays, buffers, par, at, slot, buffers.total, 0, count)
        fused_behind(arrays, buffers, par, behind_at, step, behind_slot, slot_step, count)
    else:
        add_up(buffers, notes)


@apart
def chased_pair(arrays, buffers, par, at, step, slot, slot_step, count):
    """``chased_strip`` for a row and the next, which share what they load."""
    notes = no_notes()
    behind, behind_slot = at - BEFORE * step, slot - BEFORE * slot_step
    for j in range(count):
        total = window_sum(arrays, buffers, at + j, step, slot + j, slot_step)
        next_total = window_sum(arrays, buffers, at + step + j, step, slot + slot_step + j, slot_step)
        newer, notes = pass_noted(arrays, buffers, par, at + j, slot + j, total, notes)
        newest, notes = pass_noted(arrays, buffers, par, at + step + j, slot + slot_step + j, next_total, notes)
        total = window_sum_with(arrays, buffers, behind + j, step, behind_slot + j, slot_step, newer)
        next_total = window_sum_with_both(
            arrays, buffers, behind + step + j, step, behind_slot + slot_step + j, slot_step, newer, newest
        )
        emit_behind(arrays, buffers, par, behind + j, behind_slot + j, total)
        emit_behind(arrays, buffers, par, behind + step + j, behind_slot + slot_step + j, next_total)
    if extreme(notes):
        chased_strip(arrays, buffers, par, at, step, slot, slot_step, count)
        chased_strip(arrays, buffers, par, at + step, step, slot + slot_step, slot_step, count)


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


def window_sum_with_both(arrays, buffers, at, step, slot, slot_step, newer, newest):
    """The same with the last two terms at hand, added in the same order."""
    low, high = real(0.0), real(0.0)
    for i in range(1 + BEFORE - TERMS, 0):
        low = add_term_behind(arrays, buffers, at + i * step, slot + i * slot_step, low)
    for i in range(BEFORE - 1):
        high = add_term_behind(arrays, buffers, at + i * step, slot + i * slot_step, high)
    return low + ((high + newer) + newest)


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
