"""Windows of any size along a contiguous axis: sums of 4, 16, 64, … neighbours by shifted additions."""

from numba_lrn.algorithm.binding import loop
from numba_lrn.algorithm.primitives import load, real, store
from numba_lrn.algorithm.window.contract import add_term
from numba_lrn.algorithm.window.strips import clear, write_row


def ladder(arrays, buffers, par, space, tile, positions, first, last):
    """Rows ``first`` … ``last − 1`` of whole outer indices, along a contiguous axis, by sums of powers of four."""
    inner = space.inner
    n = space.before + space.after + 1
    rows = last - first + n - 1
    pitch = rows * inner
    size = (tile.outer_end - tile.outer) * pitch
    padded_terms(arrays, buffers, space, tile, first, last, pitch)
    climb(buffers.rungs, buffers.total, size, inner, n)
    count = (last - first) * inner
    for outer in range(tile.outer, tile.outer_end):
        at = (outer * space.length + first) * inner
        slot = ((outer - tile.outer) * tile.rows + first - tile.base) * inner
        write_row(arrays, buffers, par, tile, at, slot, buffers.total, (outer - tile.outer) * pitch, count)


@loop
def padded_terms(arrays, buffers, space, tile, first, last, pitch):
    """The terms of rows first − before … last − 1 + after of each outer index; zeros beyond the axis."""
    terms = buffers.rungs
    inner = space.inner
    low = max(first - space.before, 0)
    high = min(last + space.after, space.length)
    head = (low - (first - space.before)) * inner
    count = (high - low) * inner
    for outer in range(tile.outer, tile.outer_end):
        place = (outer - tile.outer) * pitch
        at = (outer * space.length + low) * inner
        slot = ((outer - tile.outer) * tile.rows + low - tile.base) * inner
        for j in range(head):
            store(terms, place + j, real(0.0))
        for j in range(count):
            store(terms, place + head + j, add_term(arrays, buffers, at + j, slot + j, real(0.0)))
        for j in range(head + count, pitch):
            store(terms, place + j, real(0.0))


@loop
def climb(rungs, total, size, inner, n):
    """total[j] = the sum of n terms, ``inner`` apart, from j on.

    ``rungs`` holds the terms in its first ``size`` places and has room for as many again: a rung is made from the
    one before, and its share of the total added at once. The last places of each rung lack neighbours and are not
    used by any window. From the last digit of n up the small sums are added first: 3.4 half-ulps for n = 255
    against 6.7 from the first digit down.
    """
    reach = (n - 1) * inner
    clear(total, size)
    offset = n
    width = 1
    source = 0
    left = n
    while left > 0:
        for _ in range(left % 4):
            offset -= width
            shifted = source + offset * inner
            for j in range(size - reach):
                store(total, j, load(total, j) + load(rungs, shifted + j))
        left //= 4
        if left > 0:
            step = width * inner
            target = size - source
            for j in range(size - 3 * step):
                t = load(rungs, source + j) + load(rungs, source + step + j)
                u = load(rungs, source + 2 * step + j) + load(rungs, source + 3 * step + j)
                store(rungs, target + j, t + u)
            source = target
            width *= 4
