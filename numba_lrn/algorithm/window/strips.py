"""A strip of neighbours: emitted from its window sums, past the caches or not, and what is noted of it."""

import math

import numpy as np

from numba_lrn.algorithm.binding import injected, loop
from numba_lrn.algorithm.formulas import lost
from numba_lrn.algorithm.power import INFINITE, unsigned
from numba_lrn.algorithm.primitives import accumulate, bits_of, fence, load, real, store
from numba_lrn.algorithm.window.contract import (
    FETCHES,
    RAISES,
    REDUCES,
    STREAMS,
    emit,
    emit_extremes,
    fetch_ahead,
    misalignment_of_result,
)


@loop
def emit_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """Emit ``count`` neighbours; their window sums begin at totals[offset].

    The strip is emitted again if one of its d was Inf or NaN. Selecting these element by element would take
    16 cycles for 16 elements, β = 3/4, where a maximum of the bits takes 12.
    """
    notes = no_notes()
    for j in range(count):
        notes = emit_noted(arrays, buffers, par, at + j, slot + j, load(totals, offset + j), notes)
    if RAISES:
        if extreme(notes):
            extremes_strip(arrays, buffers, par, at, slot, totals, offset, count)
            return
    add_up(buffers, notes)


def no_notes():
    """What a strip notes of its elements, before the first: the highest bits of their d, and three sums."""
    return unsigned(0), real(0.0), real(0.0), real(0.0)


def emit_noted(arrays, buffers, par, at, slot, total, notes):
    """Emit one element and note what its strip must know of it."""
    if REDUCES:
        d, first, second, third = emit(arrays, buffers, par, at, slot, total)
        return noted(notes, d, first, second, third)
    d = emit(arrays, buffers, par, at, slot, total)
    return (higher(notes[0], d), notes[1], notes[2], notes[3]) if RAISES else notes


def noted(notes, d, first, second, third):
    """The notes with one element more of a stage that adds up.

    Sums of float64 in the same loop would halve the lanes of a vector for the logarithm too: 2.1 ns an element
    against 0.8. A strip of such a stage has few elements instead.
    """
    return (
        higher(notes[0], d),
        accumulate(notes[1], first),
        accumulate(notes[2], second),
        accumulate(notes[3], third),
    )


def higher(highest, d):
    """The larger of ``highest`` and the bits of d, which are highest for Inf, NaN and negative numbers."""
    bits = unsigned(bits_of(d))
    return highest if highest > bits else bits


def extreme(notes):
    """Whether a strip must be emitted again: a d was Inf or NaN, or one of its sums left the range of its type."""
    if REDUCES:
        total = abs(notes[1]) + abs(notes[2]) + abs(notes[3])
        return notes[0] >= INFINITE or not total < real(math.inf)
    return notes[0] >= INFINITE


def add_up(buffers, notes):
    """Add the sums of a strip to the tile's."""
    if REDUCES:
        add_compensated(buffers.sums, 0, np.float64(notes[1]))
        add_compensated(buffers.sums, 2, np.float64(notes[2]))
        add_compensated(buffers.sums, 4, np.float64(notes[3]))


def add_compensated(sums, place, value):
    """sums[place] += value, and to sums[place + 1] what the result was rounded by."""
    before = sums[place]
    sums[place] = before + value
    sums[place + 1] += lost(before, value, sums[place])


@loop
def extremes_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """Emit a strip once more, with a power that is right for an infinite d and for NaN too, and sums of float64."""
    fence()
    notes = unsigned(0), np.float64(0.0), np.float64(0.0), np.float64(0.0)
    for j in range(count):
        if REDUCES:
            d, first, second, third = emit_extremes(arrays, buffers, par, at + j, slot + j, load(totals, offset + j))
            notes = noted(notes, d, first, second, third)
        else:
            emit_extremes(arrays, buffers, par, at + j, slot + j, load(totals, offset + j))
    add_up(buffers, notes)


def strip_count(arrays, tile, at, left):
    """How many of ``left`` elements the next strip takes. A result that goes past the caches does so by whole lines.

    As many are asked for ahead: a kernel that computes leaves memory idle, and what it then waits for comes on top.
    """
    count = min(tile.strip, left)
    if STREAMS:
        if tile.streaming:
            gap = misalignment_of_result(arrays, at)
            if gap > 0:
                count = min(gap, left)
    if FETCHES:
        if tile.ahead > 0:
            fetch_ahead(arrays, at + tile.ahead, count)
    return count


def is_streamed(arrays, tile, at):
    """Whether a strip that begins here goes past the caches."""
    return tile.streaming and misalignment_of_result(arrays, at) == 0


def write_strip(arrays, buffers, par, tile, at, slot, totals, offset, count):
    """Emit a strip as ``strip_count`` cut it."""
    if STREAMS:
        if is_streamed(arrays, tile, at):
            streamed_emit_strip(arrays, buffers, par, at, slot, totals, offset, count)
            return
    emit_strip(arrays, buffers, par, at, slot, totals, offset, count)


@injected
def streamed_emit_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """``emit_strip`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


def write_row(arrays, buffers, par, tile, at, slot, totals, offset, count):
    """Emit any number of neighbours."""
    j = 0
    while j < count:
        strip = strip_count(arrays, tile, at + j, count - j)
        write_strip(arrays, buffers, par, tile, at + j, slot + j, totals, offset + j, strip)
        j += strip


def clear(buffer, count):
    """Zeros."""
    for j in range(count):
        store(buffer, j, real(0.0))
