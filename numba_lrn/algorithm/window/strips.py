"""A strip of neighbours: emitted from its window sums, past the caches or not, or added up."""

import numpy as np

from numba_lrn.algorithm.binding import injected, loop
from numba_lrn.algorithm.power import INFINITE, unsigned
from numba_lrn.algorithm.primitives import accumulate, bits_of, fence, load, real, store
from numba_lrn.algorithm.window.contract import RAISES, STREAMS, emit, emit_extremes, misalignment_of_result

SUMMED = 512  # elements whose terms are added plainly, 16 or 32 to a lane of a vector


@loop
def emit_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """Emit ``count`` neighbours; their window sums begin at totals[offset].

    The strip is emitted again if one of its d was Inf or NaN. Selecting these element by element would take
    16 cycles for 16 elements, β = 3/4, where a maximum of the bits takes 12.
    """
    highest = unsigned(0)
    for j in range(count):
        d = emit(arrays, buffers, par, at + j, slot + j, load(totals, offset + j))
        if RAISES:
            highest = higher(highest, d)
    if RAISES:
        if highest >= INFINITE:
            extremes_strip(arrays, buffers, par, at, slot, totals, offset, count)


def higher(highest, d):
    """The larger of ``highest`` and the bits of d, which are highest for Inf, NaN and negative numbers."""
    bits = unsigned(bits_of(d))
    return highest if highest > bits else bits


@loop
def extremes_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """Emit a strip once more, with a power that is right for an infinite d and for NaN too."""
    fence()
    for j in range(count):
        emit_extremes(arrays, buffers, par, at + j, slot + j, load(totals, offset + j))


def strip_count(arrays, tile, at, left):
    """How many of ``left`` elements the next strip takes. A result that goes past the caches does so by whole lines."""
    if STREAMS:
        if tile.streaming:
            gap = misalignment_of_result(arrays, at)
            if gap > 0:
                return min(gap, left)
    return min(tile.strip, left)


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


@loop
def reduce_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """Let ``emit`` prepare ``count`` neighbours, then add what three of the buffers hold to the tile's sums.

    In one loop, float64 sums would halve the lanes of a vector for the logarithm too: 2.1 ns an element against 0.8.
    """
    residual, squares, kept = buffers.residual, buffers.squares, buffers.kept
    for j in range(count):
        emit(arrays, buffers, par, at + j, slot + j, real(0.0))
    for start in range(0, count, SUMMED):
        a, b, c = np.float64(0.0), np.float64(0.0), np.float64(0.0)
        for j in range(slot + start, slot + min(start + SUMMED, count)):
            a = accumulate(a, load(residual, j))
            b = accumulate(b, load(squares, j))
            c = accumulate(c, load(kept, j))
        add_compensated(buffers.sums, 0, a)
        add_compensated(buffers.sums, 2, b)
        add_compensated(buffers.sums, 4, c)


def add_compensated(sums, place, value):
    """sums[place] += value, and to sums[place + 1] what the result was rounded by."""
    before = sums[place]
    after = before + value
    share = after - before
    sums[place] = after
    sums[place + 1] += (before - (after - share)) + (value - share)


def clear(buffer, count):
    """Zeros."""
    for j in range(count):
        store(buffer, j, real(0.0))
