"""Two stages in one loop down the rows, a vector of neighbours at a time: what windows share stays in registers.

Backward of windows of five: each x and g is read once, where rows in pairs (chase.py) read x three times and what the
second stage sums from a ring in L1. One image of 96×55×55 takes 0.77 of the time, others 0.6 to 0.97.
"""

from typing import Any, NamedTuple

from numba_lrn.algorithm.binding import apart
from numba_lrn.algorithm.formulas import add_square, gradient, residual
from numba_lrn.algorithm.primitives import (
    any_extreme,
    higher_bits,
    lanes_of,
    load_lanes,
    prefetch,
    real,
    store_lanes,
)
from numba_lrn.algorithm.recipes import denominator, inverse_power

LANES = 16  # of a vector, at most; injected
LEAST_ROWS = 6  # of an axis


class Ahead(NamedTuple):
    """What the first stage carries from row to row. x_1 is one row before the one at hand, x1 one row after it.

    Powers are used two rows after they were taken: a processor that meets their users at once, to wait for roots and
    divisions, has no room to look further ahead. At once takes 1.06 to 1.1 × as long.
    """

    x_4: Any
    x_3: Any
    x_2: Any
    x_1: Any
    x0: Any
    x1: Any
    squares_2: Any  # x_2² + x_1²
    squares_1: Any
    powers_2: Any
    powers_1: Any


class Behind(NamedTuple):
    """What the second stage carries: of the four rows before the one whose term comes next."""

    terms_4: Any  # sums of two terms: of the fourth row and the third,
    terms_3: Any  # the third and the second,
    terms_2: Any  # the second and the first
    r_1: Any
    kept_2: Any  # g·d^(-β)
    kept_1: Any


@apart
def columns(arrays, par, space, tile):
    """The columns of a tile of whole axes, of LANES lanes at least.

    Returns whether some d was Inf, NaN or negative: then the results may not be right.
    """
    begin = tile.outer * space.length * space.inner
    last = tile.lane + tile.lanes - LANES
    highest = lanes_of(real(0.0))
    for lane in range(tile.lane, tile.lane + tile.lanes, LANES):
        # The last column begins early enough to be whole; what it shares with the one before comes out the same.
        first = min(lane, last)
        # Two columns ahead, of this tile: other threads write the lines of the next.
        reach = min(2 * LANES, last - first)
        highest = column(arrays, par, begin + first, space.inner, space.length, reach, highest)
    return any_extreme(highest)


def column(arrays, par, at, step, length, reach, highest):
    """One column. What lies beyond the axis adds nothing."""
    nothing = lanes_of(real(0.0))
    no_powers = nothing, nothing, nothing
    x0, x1 = load_lanes(arrays.x, at), load_lanes(arrays.x, at + step)
    ahead = Ahead(nothing, nothing, nothing, nothing, x0, x1, nothing, add_square(x0, nothing), no_powers, no_powers)
    behind = Behind(nothing, nothing, nothing, nothing, nothing, nothing)
    for row in range(4):
        following, highest = powers_of_row(arrays, par, at, reach, ahead, load_lanes(arrays.x, at + 2 * step), highest)
        if row >= 2:
            behind = add_row(behind, *term_of(arrays, at - 2 * step, ahead))
        ahead, at = following, at + step
    for _ in range(4, length - 2):
        following, highest = powers_of_row(arrays, par, at, reach, ahead, load_lanes(arrays.x, at + 2 * step), highest)
        r, kept = term_of(arrays, at - 2 * step, ahead)
        emit_row(arrays, par, at - 4 * step, ahead, behind, r)
        ahead, behind, at = following, add_row(behind, r, kept), at + step
    for row in range(length - 2, length + 4):
        following, r, kept = pass_row(ahead, nothing, nothing, no_powers), nothing, nothing
        if row < length:
            following, highest = powers_of_row(arrays, par, at, reach, ahead, nothing, highest)
        if row < length + 2:
            r, kept = term_of(arrays, at - 2 * step, ahead)
        emit_row(arrays, par, at - 4 * step, ahead, behind, r)
        ahead, behind, at = following, add_row(behind, r, kept), at + step
    return highest


def powers_of_row(arrays, par, at, reach, ahead, x2, highest):
    """The first stage up to the powers of d."""
    prefetch(arrays.x, at + reach)
    prefetch(arrays.g, at + reach)
    prefetch(arrays.out, at + reach)
    squares = add_square(ahead.x1, add_square(ahead.x0, real(0.0)))
    d = denominator(ahead.squares_2 + add_square(x2, squares), par)
    return pass_row(ahead, x2, squares, inverse_power(d, par)), higher_bits(highest, d)


def pass_row(ahead, x2, squares, powers):
    """The same seen from the next row."""
    return Ahead(
        ahead.x_3, ahead.x_2, ahead.x_1, ahead.x0, ahead.x1, x2, ahead.squares_1, squares, ahead.powers_1, powers
    )  # fmt: skip


def term_of(arrays, at, ahead):
    """The term of the second stage, of the row whose powers were taken two rows ago, and what is kept of it."""
    p, s, q = ahead.powers_2
    g = load_lanes(arrays.g, at)
    return residual(g, ahead.x_2, s, q), g * p


def add_row(behind, r, kept):
    """The second stage with the term of one row more."""
    pair = (real(0.0) + behind.r_1) + r  # 0 as by rows, where −0 and −0 give 0
    return Behind(behind.terms_3, behind.terms_2, pair, r, behind.kept_1, kept)


def emit_row(arrays, par, at, ahead, behind, r):
    """The result of the row whose window the term r completes."""
    total = behind.terms_4 + (behind.terms_2 + r)
    store_lanes(arrays.out, at, gradient(ahead.x_4, behind.kept_2, total, par))
