"""One axis of a box, from one plane of sums to another, each by one of the forms for a single axis."""

from typing import Any, NamedTuple

from numba_lrn.algorithm.primitives import load, store
from numba_lrn.algorithm.window.contract import Tile
from numba_lrn.algorithm.window.direct import direct, sum_strip
from numba_lrn.algorithm.window.ladder import ladder
from numba_lrn.algorithm.window.masked import sum_masked
from numba_lrn.algorithm.window.prefix import prefix

PLANE_LANES = 1024


class Planes(NamedTuple):
    """The two planes of a box, in the place of the caller's arrays."""

    x: Any
    out: Any


class Sums(NamedTuple):
    """Where a pass of a box puts its sums: straight into the other plane."""

    total: Any


def plane_term(arrays, buffers, at, slot, total):
    """A term that a plane already holds."""
    return total + load(arrays.x, at)


def emit_plane(arrays, buffers, par, at, slot, total):
    """A window sum into the other plane."""
    store(arrays.out, at, total)


def plane_window_strip(planes, buffers, par, tile, at, step, slot, slot_step, lead, terms, count):
    """A strip of window sums from one plane to the other; stands in for ``window_strip``."""
    sum_strip(planes, Sums(planes.out[at : at + count]), at - lead * step, step, 0, 0, terms, count)


def plane_masked(planes, buffers, space, outers, strip, positions, first, last):
    """All rows of each of ``outers`` blocks of a plane, by ``masked``."""
    block = space.length * space.unit
    group = positions.size // block
    for outer in range(0, outers, group):
        start = outer * block
        end = min(group, outers - outer) * block
        for j in range(0, end, strip):
            count = min(strip, end - j)
            sum_masked(planes, Sums(planes.out[start + j : start + j + count]), space, start, positions, j, count)


def plane_direct(planes, buffers, space, outers, strip, positions, first, last):
    """Rows ``first`` … ``last − 1`` of each of ``outers`` blocks of a plane, by ``direct``."""
    for outer in range(outers):
        tile = Tile(outer, outer + 1, 0, space.unit, 0, space.length, strip, 0)
        direct(planes, buffers, 0, space, tile, 0, first, last)


def plane_prefix(planes, buffers, space, outers, strip, positions, first, last):
    """The same by ``prefix``."""
    for outer in range(outers):
        for lane in range(0, space.unit, PLANE_LANES):
            tile = Tile(outer, outer + 1, lane, min(PLANE_LANES, space.unit - lane), 0, space.length, strip, 0)
            prefix(planes, buffers, 0, space, tile, 0, first, last)


def plane_ladder(planes, buffers, space, outers, strip, positions, first, last):
    """The same by ``ladder``, several blocks at a time."""
    group = max(1, PLANE_LANES // (space.length * space.unit))
    for outer in range(0, outers, group):
        tile = Tile(outer, min(outer + group, outers), 0, space.unit, 0, space.length, strip, 0)
        ladder(planes, buffers, 0, space, tile, 0, first, last)
