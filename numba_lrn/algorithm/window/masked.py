"""Windows along an axis with so few neighbours in memory that its rows make no loops.

A table tells each element its position on the axis, and so which of its neighbours exist.
"""

import numpy as np

from numba_lrn.algorithm.binding import injected, loop
from numba_lrn.algorithm.power import INFINITE, unsigned
from numba_lrn.algorithm.primitives import load, load_integer, real, store
from numba_lrn.algorithm.window.contract import BEFORE, RAISES, STREAMS, TERMS, add_term, emit
from numba_lrn.algorithm.window.strips import extremes_strip, higher, is_streamed, strip_count, write_strip


def masked(arrays, buffers, par, space, tile, positions, first, last):
    """All rows of a tile of whole outer indices, as one flat run; ``positions`` gives each element its row."""
    block = space.length * space.inner
    start = tile.outer * block
    end = (tile.outer_end - tile.outer) * block
    j = 0
    while j < end:
        count = strip_count(arrays, tile, start + j, end - j)
        masked_window_strip(arrays, buffers, par, space, tile, start, positions, j, count)
        j += count


def masked_window_strip(arrays, buffers, par, space, tile, start, positions, first, count):
    """Sum a strip and emit it: in one loop where the window is known beforehand."""
    if TERMS > 0:
        if STREAMS:
            if is_streamed(arrays, tile, start + first):
                streamed_fused_masked(arrays, buffers, par, space, start, positions, first, count)
                return
        fused_masked(arrays, buffers, par, space, start, positions, first, count)
        return
    sum_masked(arrays, buffers, space, start, positions, first, count)
    write_strip(arrays, buffers, par, tile, start + first, first, buffers.total, 0, count)


def masked_sum(arrays, buffers, at, step, slot, row, length):
    """The sum of a window of TERMS terms around one element; neighbours beyond the axis are not read."""
    low, high = real(0.0), real(0.0)
    for i in range(1, BEFORE + 1):
        here = row >= np.int32(i)
        low = add_term(arrays, buffers, at - i * step, slot - i * step, low) if here else low
    high = add_term(arrays, buffers, at, slot, high)
    for i in range(1, TERMS - BEFORE):
        here = row < np.int32(length - i)
        high = add_term(arrays, buffers, at + i * step, slot + i * step, high) if here else high
    return low + high


@loop
def fused_masked(arrays, buffers, par, space, start, positions, first, count):
    """Sum and emit ``count`` elements in one loop."""
    step, length, at = space.inner, space.length, start + first
    highest = unsigned(0)
    for j in range(count):
        row = load_integer(positions, first + j)
        total = masked_sum(arrays, buffers, at + j, step, first + j, row, length)
        d = emit(arrays, buffers, par, at + j, first + j, total)
        if RAISES:
            highest = higher(highest, d)
    if RAISES:
        if highest >= INFINITE:
            for j in range(count):
                row = load_integer(positions, first + j)
                store(buffers.total, j, masked_sum(arrays, buffers, at + j, step, first + j, row, length))
            extremes_strip(arrays, buffers, par, at, first, buffers.total, 0, count)


@injected
def streamed_fused_masked(arrays, buffers, par, space, start, positions, first, count):
    """``fused_masked`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


@loop
def sum_masked(arrays, buffers, space, start, positions, first, count):
    """total[j] = the window sum of element ``first + j``; neighbours beyond the axis are not read.

    The terms are added outwards from the centre, a pair at a time: one comparison tells whether a left neighbour is
    there, one whether a right one is.
    """
    total = buffers.total
    step = space.inner
    at = start + first
    pairs = min(space.before, space.after)
    pair = 0
    if pairs >= 2:
        left1, left2 = np.int32(1), np.int32(2)
        right1, right2 = np.int32(space.length - 1), np.int32(space.length - 2)
        for j in range(count):
            row = load_integer(positions, first + j)
            a = at + j
            s = first + j
            t = add_term(arrays, buffers, a, s, real(0.0))
            t = add_term(arrays, buffers, a - step, s - step, t) if row >= left1 else t
            t = add_term(arrays, buffers, a + step, s + step, t) if row < right1 else t
            u = real(0.0)
            u = add_term(arrays, buffers, a - 2 * step, s - 2 * step, u) if row >= left2 else u
            u = add_term(arrays, buffers, a + 2 * step, s + 2 * step, u) if row < right2 else u
            t = t + u
            store(total, j, t)
        pair = 2
    else:
        for j in range(count):
            store(total, j, add_term(arrays, buffers, at + j, first + j, real(0.0)))
    while pair < pairs:
        pair += 1
        left, right = np.int32(pair), np.int32(space.length - pair)
        for j in range(count):
            row = load_integer(positions, first + j)
            a = at + j
            s = first + j
            t = real(0.0)
            t = add_term(arrays, buffers, a - pair * step, s - pair * step, t) if row >= left else t
            t = add_term(arrays, buffers, a + pair * step, s + pair * step, t) if row < right else t
            store(total, j, load(total, j) + t)
    for shift in range(pairs + 1, max(space.before, space.after) + 1):
        # What an even or asymmetric window has on one side only.
        sign = -1 if space.before > space.after else 1
        low = np.int32(shift if sign < 0 else 0)
        high = np.int32(space.length - (shift if sign > 0 else 0))
        offset = sign * shift * step
        for j in range(count):
            row = load_integer(positions, first + j)
            t = load(total, j)
            here = row >= low and row < high
            store(total, j, add_term(arrays, buffers, at + offset + j, first + offset + j, t) if here else t)
