"""The passes: windows along one axis, from one plane of sums to another, each by one of the forms for a single axis.

Boxes take one for each of their axes; the forms ``turned`` and ``scanned`` a single one.
"""

from typing import Any, NamedTuple

from numba_lrn.algorithm.primitives import load
from numba_lrn.algorithm.window.contract import Space, Tile
from numba_lrn.algorithm.window.direct import direct, sum_strip
from numba_lrn.algorithm.window.masked import sum_masked
from numba_lrn.algorithm.window.prefix import GROUP, period_of, row_of, sum_group
from numba_lrn.algorithm.window.scanned import SLACK, join_axes, pad, scan_of
from numba_lrn.algorithm.window.turned import turn, turn_back, turn_part

PLANE_LANES = 1024
PLANE_STRIP = 2048  # elements summed at a time, from L1; 256 take 1.1 × as long, 5×5 and small planes
TURNED_LANES = 112  # of rows of 96 or 256 elements; 240 take 1.1 × as long, 496 1.3 ×
TURNED_BLOCK = 128 * 1024  # elements of a turned block


class Planes(NamedTuple):
    """What a pass reads and writes, in the place of the caller's arrays."""

    x: Any
    out: Any


def group_of(length: Any, unit: Any) -> Any:
    """Outer indices, or parts of an axis, that are turned together."""
    return max(1, min(TURNED_LANES, TURNED_BLOCK // length) // unit)


def part_of(rows: Any, n: Any, lanes: Any) -> Any:
    """Rows of an axis that make a lane, where ``lanes`` are there anyway: whole periods, or all rows."""
    parts, period = TURNED_LANES // lanes, period_of(n)
    part = max(-(-2 * n // period), -(-rows // max(parts, 1) // period)) * period
    return part if parts > 1 and part < rows else rows


class Sums(NamedTuple):
    """Where a pass of a box puts its sums: straight into the other plane."""

    total: Any


def plane_term(arrays, buffers, at, slot, total):
    """A term that a plane already holds."""
    return total + load(arrays.x, at)


def plane_window_strip(planes, buffers, par, tile, at, step, slot, slot_step, lead, terms, count):
    """A strip of window sums from one plane to the other; stands in for ``window_strip``."""
    sum_strip(planes, Sums(planes.out[at : at + count]), at - lead * step, step, 0, 0, terms, count)


def plane_masked(planes, buffers, space, outers, positions, first, last):
    """All rows of each of ``outers`` blocks of a plane, by ``masked``."""
    block = space.length * space.unit
    group = positions.size // block
    for outer in range(0, outers, group):
        start = outer * block
        end = min(group, outers - outer) * block
        for j in range(0, end, PLANE_STRIP):
            count = min(PLANE_STRIP, end - j)
            sum_masked(planes, Sums(planes.out[start + j : start + j + count]), space, start, positions, j, count)


def plane_direct(planes, buffers, space, outers, positions, first, last):
    """Rows ``first`` … ``last − 1`` of each of ``outers`` blocks of a plane, by ``direct``."""
    for outer in range(outers):
        tile = Tile(outer, outer + 1, 0, space.unit, 0, space.length, PLANE_STRIP, 0, 0)
        direct(planes, buffers, 0, space, tile, 0, first, last)


def plane_prefix(planes, buffers, space, outers, positions, first, last):
    """The same by ``prefix``."""
    for outer in range(outers):
        for lane in range(0, space.unit, PLANE_LANES):
            tile = Tile(outer, outer + 1, lane, min(PLANE_LANES, space.unit - lane), 0, space.length, PLANE_STRIP, 0, 0)
            prefix_plane(planes, buffers, space, tile, first, last)


def plane_turned(planes, buffers, space, outers, positions, first, last):
    """The same by ``prefix`` on turned blocks, of several outer indices or of several parts of an axis."""
    length, unit = space.length, space.unit
    n = space.before + space.after + 1
    part = part_of(last - first, n, outers * unit)
    if part < last - first or first > 0 or last < length:
        for outer in range(outers):
            turned_parts(planes, buffers, space, outer, n, part, first, last)
    else:
        group = group_of(length, unit)
        for outer in range(0, outers, group):
            count = min(group, outers - outer)
            start, lanes = outer * length * unit, count * unit
            block = buffers.turned[: length * lanes]
            sums = buffers.turned[length * lanes : 2 * length * lanes]
            turn(planes.x, block, start, count, length, unit, lanes)
            prefix_turned(block, sums, buffers, length, lanes, space.before, space.after, length)
            turn_back(sums, planes.out, start, count, length, unit, lanes, length * unit)


def turned_parts(planes, buffers, space, outer, n, part, first, last):
    """Rows ``first`` … ``last − 1`` of one outer index, a part of the axis to a lane.

    Parts begin where a period does, so that windows are added up as they are without parts.
    """
    length, unit = space.length, space.unit
    start = outer * length * unit
    rows = part + n - 1
    group = group_of(rows, unit)
    for begin in range(first, last, group * part):
        count = min(group, -(-(last - begin) // part))
        lanes = count * unit
        block = buffers.turned[: rows * lanes]
        sums = buffers.turned[rows * lanes : 2 * rows * lanes]
        for i in range(count):
            turn_part(planes.x, block, start, begin + i * part - space.before, length, rows, unit, lanes, i * unit)
        prefix_turned(block, sums, buffers, rows, lanes, 0, n - 1, part)
        whole = min(count, (last - begin) // part)
        turn_back(sums, planes.out, start + begin * unit, whole, part, unit, lanes, part * unit)
        if whole < count:
            done = begin + whole * part
            rest = buffers.turned[rows * lanes + whole * unit : 2 * rows * lanes]
            turn_back(rest, planes.out, start + done * unit, 1, last - done, unit, lanes, 0)


def plane_scanned(planes, buffers, space, outers, positions, first, last):
    """The same along a contiguous axis, by prefix sums within vectors, restarted every n elements.

    As ``prefix``, with the elements of a vector in the place of rows: their sums take four shifted additions, and are
    added to the running sum of the vectors before.
    """
    n = space.before + space.after + 1
    scan = scan_of(last - first, n)
    terms = buffers.turned
    suffixes = buffers.turned[scan.group * scan.terms :]
    for outer in range(0, outers, scan.group):
        many = min(scan.group, outers - outer)
        for begin in range(first, last, scan.part):
            rows = min(scan.part, last - begin)
            for i in range(many):
                start = (outer + i) * space.length
                pad(planes.x, terms, i * scan.terms + SLACK, start, begin - space.before, space.length, rows + n)
            start = outer * space.length + begin
            filled = space.before + space.length - begin
            join_axes(terms, suffixes, planes.out, start, space.length, scan, many, rows, filled, n)


def plane_joined(planes, buffers, space, outers, positions, first, last):
    """The same where the terms are padded already, and there are no more axes than are scanned at a time."""
    n = space.before + space.after + 1
    scan = scan_of(space.length, n)
    length = space.length
    join_axes(planes.x, buffers.turned, planes.out, 0, length, scan, outers, length, space.before + length, n)


def prefix_turned(block, sums, buffers, rows, lanes, before, after, last):
    """The window sums of a turned block."""
    space = Space(rows, lanes, lanes, before, after, 0, 0)
    prefix_plane(Planes(block, sums), buffers, space, Tile(0, 1, 0, lanes, 0, rows, lanes, 0, 0), 0, last)


def prefix_plane(planes, buffers, space, tile, first, last):
    """Window sums of rows ``first`` … ``last − 1`` of one outer index, straight into the other plane."""
    begin = first // GROUP * GROUP
    for row in range(begin, last, GROUP):
        place, _ = row_of(space, tile, row)
        sum_group(planes, buffers, space, tile, row, row == begin, planes.out, place, space.inner)
