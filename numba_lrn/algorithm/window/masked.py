"""Windows along an axis with so few neighbours in memory that its rows make no loops.

A table tells each element its position on the axis, and so which of its neighbours exist.
"""

import numpy as np

from numba_lrn.algorithm.binding import injected, loop
from numba_lrn.algorithm.primitives import load, load_integer, real, store
from numba_lrn.algorithm.window.contract import BEFORE, RAISES, STREAMS, TERMS, add_term
from numba_lrn.algorithm.window.strips import (
    add_up,
    emit_noted,
    extreme,
    extremes_strip,
    is_streamed,
    no_notes,
    strip_count,
    write_strip,
)


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
    notes = no_notes()
    for j in range(count):
        row = load_integer(positions, first + j)
        total = masked_sum(arrays, buffers, at + j, step, first + j, row, length)
        notes = emit_noted(arrays, buffers, par, at + j, first + j, total, notes)
    if RAISES:
        if extreme(notes):
            for j in range(count):
                row = load_integer(positions, first + j)
                store(buffers.total, j, masked_sum(arrays, buffers, at + j, step, first + j, row, length))
            extremes_strip(arrays, buffers, par, at, first, buffers.total, 0, count)
            return
    add_up(buffers, notes)


@injected
def streamed_fused_masked(arrays, buffers, par, space, start, positions, first, count):
    """``fused_masked`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


def sum_masked(arrays, buffers, space, start, positions, first, count):
    """total[j] = the window sum of element ``first + j``; neighbours beyond the axis are not read.

    The terms are added outwards from the centre, in pairs of which one comparison tells whether the left neighbour is
    there, one whether the right one is. Two pairs come first, then what an asymmetric window has on one side only, one
    and four at a time, then one and two pairs as their number asks for, then four at a time: largest error for β = 1,
    n = 24 5.3 ulp in 20 million elements, against 6.6 with two pairs at a time.
    """
    pairs = min(space.before, space.after)
    if pairs >= 2:
        masked_core(arrays, buffers, space, start, positions, first, count)
        pair = 3
    else:
        masked_centre(arrays, buffers, start, first, count)
        pair = 1
    side = -1 if space.before > space.after else 1
    shift, last = pairs + 1, max(space.before, space.after)
    while shift <= last:
        if (last - shift) % 4 == 3:
            add_four_masked_terms(arrays, buffers, space, start, positions, first, count, shift, side)
            shift += 4
        else:
            add_masked_term(arrays, buffers, space, start, positions, first, count, shift, side)
            shift += 1
    if (pairs - pair) % 2 == 0:
        add_masked_pair(arrays, buffers, space, start, positions, first, count, pair)
        pair += 1
    if (pairs - pair) % 4 == 1:
        add_masked_pairs(arrays, buffers, space, start, positions, first, count, pair)
        pair += 2
    while pair < pairs:
        add_four_masked_pairs(arrays, buffers, space, start, positions, first, count, pair)
        pair += 4


# A function for each loop: beside one another, LLVM tests once for all pairs whether the arrays overlap, and does so
# for ascending addresses only. Without vectors, n = 9 along 96 elements took 1.22 ns an element instead of 0.41, n = 16
# 2.3 instead of 0.63.


@loop
def masked_core(arrays, buffers, space, start, positions, first, count):
    """total[j] = the terms of the centre and of the two pairs next to it."""
    step, at = space.inner, start + first
    high1, high2 = np.int32(space.length - 1), np.int32(space.length - 2)
    for j in range(count):
        row = load_integer(positions, first + j)
        t = add_term(arrays, buffers, at + j, first + j, real(0.0))
        t = masked_pair(arrays, buffers, at + j, first + j, step, row, np.int32(1), high1, t)
        u = masked_pair(arrays, buffers, at + j, first + j, 2 * step, row, np.int32(2), high2, real(0.0))
        store(buffers.total, j, t + u)


@loop
def masked_centre(arrays, buffers, start, first, count):
    """total[j] = the term of the centre."""
    for j in range(count):
        store(buffers.total, j, add_term(arrays, buffers, start + first + j, first + j, real(0.0)))


@loop
def add_masked_term(arrays, buffers, space, start, positions, first, count, shift, side):
    """The terms ``shift`` rows away on one side, added to the totals."""
    at, total = start + first, buffers.total
    for j in range(count):
        row = load_integer(positions, first + j)
        t = load(total, j)
        store(total, j, masked_term(arrays, buffers, space, at + j, first + j, row, shift * side, t))


@loop
def add_four_masked_terms(arrays, buffers, space, start, positions, first, count, shift, side):
    """The terms ``shift`` to ``shift + 3`` rows away on one side, added to the totals."""
    at, total = start + first, buffers.total
    for j in range(count):
        row, slot = load_integer(positions, first + j), first + j
        t = masked_term(arrays, buffers, space, at + j, slot, row, shift * side, real(0.0))
        t = masked_term(arrays, buffers, space, at + j, slot, row, (shift + 1) * side, t)
        u = masked_term(arrays, buffers, space, at + j, slot, row, (shift + 2) * side, real(0.0))
        u = masked_term(arrays, buffers, space, at + j, slot, row, (shift + 3) * side, u)
        store(total, j, load(total, j) + (t + u))


def masked_term(arrays, buffers, space, at, slot, row, offset, total):
    """``total`` plus the term ``offset`` rows away, where the axis has that row."""
    low, high = np.int32(max(-offset, 0)), np.int32(space.length - max(offset, 0))
    place = offset * space.inner
    return add_term(arrays, buffers, at + place, slot + place, total) if row >= low and row < high else total


@loop
def add_masked_pair(arrays, buffers, space, start, positions, first, count, pair):
    """The terms ``pair`` rows away on both sides, added to the totals."""
    reach, at, total = pair * space.inner, start + first, buffers.total
    low, high = np.int32(pair), np.int32(space.length - pair)
    for j in range(count):
        row = load_integer(positions, first + j)
        t = masked_pair(arrays, buffers, at + j, first + j, reach, row, low, high, real(0.0))
        store(total, j, load(total, j) + t)


@loop
def add_masked_pairs(arrays, buffers, space, start, positions, first, count, pair):
    """The terms ``pair`` and ``pair + 1`` rows away on both sides, added to the totals."""
    at, total = start + first, buffers.total
    for j in range(count):
        row = load_integer(positions, first + j)
        store(total, j, load(total, j) + two_masked_pairs(arrays, buffers, space, at + j, first + j, row, pair))


@loop
def add_four_masked_pairs(arrays, buffers, space, start, positions, first, count, pair):
    """The terms ``pair`` to ``pair + 3`` rows away on both sides, added to the totals."""
    at, total = start + first, buffers.total
    for j in range(count):
        row = load_integer(positions, first + j)
        t = two_masked_pairs(arrays, buffers, space, at + j, first + j, row, pair)
        u = two_masked_pairs(arrays, buffers, space, at + j, first + j, row, pair + 2)
        store(total, j, load(total, j) + (t + u))


def two_masked_pairs(arrays, buffers, space, at, slot, row, pair):
    """The sum of the terms ``pair`` and ``pair + 1`` rows away on both sides."""
    step, length = space.inner, space.length
    low, high = np.int32(pair), np.int32(length - pair)
    t = masked_pair(arrays, buffers, at, slot, pair * step, row, low, high, real(0.0))
    low, high = np.int32(pair + 1), np.int32(length - pair - 1)
    return t + masked_pair(arrays, buffers, at, slot, (pair + 1) * step, row, low, high, real(0.0))


def masked_pair(arrays, buffers, at, slot, reach, row, low, high, total):
    """``total`` plus the terms ``reach`` elements before, from row ``low`` on, and after, below row ``high``."""
    t = add_term(arrays, buffers, at - reach, slot - reach, total) if row >= low else total
    return add_term(arrays, buffers, at + reach, slot + reach, t) if row < high else t
