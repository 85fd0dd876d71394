"""Windows of any size along an axis whose rows are short in memory, by a pass from plane to plane (planes.py).

Rows of one element are summed by scans, others by ``prefix`` on a block that is turned: the outer indices become its
lanes; where there are few of them, parts of the axis do.
"""

from numba_lrn.algorithm.binding import loop
from numba_lrn.algorithm.primitives import load, real, store
from numba_lrn.algorithm.window.box import axis_of, plane_terms, sum_plane, two_planes
from numba_lrn.algorithm.window.prefix import period_of
from numba_lrn.algorithm.window.strips import write_row

SIDE = 16  # rows and lanes that are turned together: a cache line of each


def turned(arrays, buffers, par, space, tile, positions, first, last):
    """Rows ``first`` … ``last − 1`` of one outer index, or all rows of several, by a pass from plane to plane."""
    outers = tile.outer_end - tile.outer
    n = space.before + space.after + 1
    period = n if space.inner == 1 else period_of(n)
    begin = first // period * period  # where a period begins in the whole array, too
    low = max(begin - space.before, 0)
    high = min(last + space.after, space.length)
    rows = high - low
    size = outers * rows * space.inner
    source, target = two_planes(buffers, size)
    plane_terms(arrays, buffers, source, space, tile, low, (outers - 1) * space.length + high)
    axis = axis_of(space.axes, 0)
    sum_plane(
        axis, buffers, source, target, outers, space.inner, space.transposed, rows, positions, begin - low,
        last - low,
    )  # fmt: skip
    at = (tile.outer * space.length + first) * space.inner
    slot = (first - tile.base) * space.inner
    count = ((outers - 1) * space.length + last - first) * space.inner
    write_row(arrays, buffers, par, tile, at, slot, target, (first - low) * space.inner, count)


@loop
def turn(source, target, start, outers, length, unit, pitch):
    """target[row, outer, j] = source[start + (outer, row, j)], a row of the target ``pitch`` long."""
    for outer in range(0, outers, SIDE):
        for row in range(0, length, SIDE):
            down = min(SIDE, length - row)
            for i in range(outer, min(outer + SIDE, outers)):
                begin = start + (i * length + row) * unit
                place = row * pitch + i * unit
                for j in range(unit):
                    for r in range(down):
                        store(target, place + r * pitch + j, load(source, begin + r * unit + j))


@loop
def turn_part(source, target, start, first, length, rows, unit, pitch, lane):
    """One lane: rows ``first`` … ``first + rows − 1`` of an axis that begins at ``start``, zeros beyond its ends."""
    low = min(max(-first, 0), rows)
    high = max(min(length - first, rows), low)
    for j in range(unit):
        place = lane + j
        begin = start + first * unit + j
        for r in range(low):
            store(target, place + r * pitch, real(0.0))
        for r in range(low, high):
            store(target, place + r * pitch, load(source, begin + r * unit))
        for r in range(high, rows):
            store(target, place + r * pitch, real(0.0))


@loop
def turn_back(source, target, start, outers, length, unit, pitch, apart):
    """target[start + (outer, row, j)] = source[row, outer, j]; outer indices of the target lie ``apart``."""
    for outer in range(0, outers, SIDE):
        for row in range(0, length, SIDE):
            down = min(SIDE, length - row)
            for i in range(outer, min(outer + SIDE, outers)):
                begin = start + i * apart + row * unit
                place = row * pitch + i * unit
                for j in range(unit):
                    for r in range(down):
                        store(target, begin + r * unit + j, load(source, place + r * pitch + j))
