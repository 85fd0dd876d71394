"""Windows of any size along a contiguous axis, by scans of vectors: a few axes at a time, all in L1.

Their terms are written where the scans read them, with zeros before and after each axis; ``planes.plane_joined`` makes
window sums of them, which are emitted at once. By way of planes of a whole tile, as ``turned`` does it, n = 63 over
256 elements takes 1.2 times as long.
"""

from typing import Any, NamedTuple

from numba_lrn.algorithm.binding import loop
from numba_lrn.algorithm.primitives import join_prefixes, load, real, store, sum_suffixes
from numba_lrn.algorithm.window.box import axis_of, sum_plane
from numba_lrn.algorithm.window.contract import add_term
from numba_lrn.algorithm.window.strips import write_row

SCANNED = 4096  # terms of a contiguous axis that are padded at a time
SLACK = 16  # elements by which the sums of whole vectors may exceed their place


class Scan(NamedTuple):
    """How ``plane_scanned`` cuts and pads a contiguous axis."""

    part: Any  # rows at a time
    group: Any  # axes at a time, of which each has
    terms: Any  # so many elements of padded terms, and
    suffixes: Any  # so many of suffix sums


def scan_of(rows: Any, n: Any) -> Any:
    """Whole blocks of n rows, and as many axes as keep the buffers in L1."""
    part = min(-(-rows // n), max(SCANNED // n, 1)) * n
    terms = min(part, rows) + n + 2 * SLACK
    suffixes = part + 2 * SLACK
    group = max(1, SCANNED // terms) if part >= rows else 1
    return Scan(part, group, terms, suffixes)


def scanned(arrays, buffers, par, space, tile, positions, first, last):
    """All rows of several outer indices."""
    length = space.length
    axis = axis_of(space.axes, 0)
    scan = scan_of(length, space.before + space.after + 1)
    size = scan.group * scan.terms
    terms = buffers.planes[:size]
    sums = buffers.planes[size : size + scan.group * length + SLACK]
    clear_terms(terms, size)
    for outer in range(tile.outer, tile.outer_end, scan.group):
        many = min(scan.group, tile.outer_end - outer)
        at = outer * length
        slot = (outer - tile.outer) * length
        padded_terms(arrays, buffers, terms, at, slot, SLACK + space.before, many, length, scan.terms)
        sum_plane(axis, buffers, terms, sums, many, 1, space.transposed, length, positions, 0, length)
        write_row(arrays, buffers, par, tile, at, slot, sums, 0, many * length)


@loop
def clear_terms(terms, count):
    """Zeros, of which those between the axes stay."""
    for j in range(count):
        store(terms, j, real(0.0))


@loop
def padded_terms(arrays, buffers, terms, at, slot, place, many, length, pitch):
    """The terms of neighbouring axes, ``pitch`` apart."""
    for i in range(many):
        for j in range(length):
            store(
                terms,
                place + i * pitch + j,
                add_term(arrays, buffers, at + i * length + j, slot + i * length + j, real(0.0)),
            )


def join_axes(terms, suffixes, target, start, apart, scan, many, rows, filled, n):
    """The window sums of ``rows`` rows of neighbouring axes, ``apart`` in the target, from their padded terms.

    Beyond ``filled`` rows there are zeros only: no suffix begins there. All suffix sums come before the first prefix:
    those just stored could not be read yet, for the vectors begin elsewhere.
    """
    for i in range(many):
        # Upwards, what a vector has too many of would spoil the block before.
        for block in range(-(-rows // n) - 1, -1, -1):
            end = SLACK + min((block + 1) * n, filled)
            count = min(n, filled - block * n)
            sum_suffixes(terms, i * scan.terms + end, suffixes, i * scan.suffixes + end, count)
    for i in range(many):
        for row in range(0, rows, n):
            at = i * scan.terms + SLACK + row + n
            place = i * scan.suffixes + SLACK + row
            join_prefixes(terms, at, suffixes, place, target, start + i * apart + row, min(n, rows - row))


@loop
def pad(source, terms, place, start, first, length, rows):
    """Rows ``first`` … ``first + rows − 1`` of an axis that begins at ``start``, zeros beyond its ends."""
    low = min(max(-first, 0), rows)
    high = max(min(length - first, rows), low)
    for r in range(low):
        store(terms, place + r, real(0.0))
    for r in range(high - low):
        store(terms, place + low + r, load(source, start + first + low + r))
    for r in range(rows - high):
        store(terms, place + high + r, real(0.0))
