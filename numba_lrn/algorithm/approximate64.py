"""What approximate.py is made of in float64: bound after it and power64.py, these names replace its own.

A card has inverse roots and reciprocals of float64 that are good to some 2^-20: they read and leave the upper half of
a number. One step of the third or fourth order makes all of it. Without them a root takes three steps from an estimate
by bits; an IEEE division branches, so that the compiler makes the constants of a polynomial anew for each element:
173 instructions an element forward of n = 5, β = 0.6, instead of 98.
"""

import numpy as np

from numba_lrn.algorithm.approximate import exponent_and_mantissa
from numba_lrn.algorithm.power import logarithm_of, where_finite
from numba_lrn.algorithm.power64 import log2_parts
from numba_lrn.algorithm.primitives import approximate_inverse_root, approximate_reciprocal, fma, real

# An exponent is left where its bits are.
EXPONENT_BITS = np.int64(-(2**52))
EXPONENT_UNIT = np.float64(2.0**-52)


def exponent_and_ratio(d):
    """The exponent and s for which the mantissa is (1 + s)/(1 − s)."""
    exponent, mantissa = exponent_and_mantissa(d)
    _, inverse = reciprocals(mantissa + real(1.0))
    return exponent, (mantissa - real(1.0)) * inverse


def reciprocals(d):
    """1/d as the card has it, and all of it, which is NaN where d is Inf."""
    y = approximate_reciprocal(d)
    e = fma(-d, y, real(1.0))
    return y, fma(y, fma(e, e, e), y)


def power_quarter_refined(d, par):
    """β = 1/4."""
    root = approximate_inverse_root(d)
    y = root * approximate_inverse_root(root)
    square = y * y
    e = fma(-square, square * d, real(1.0))
    return root_else_zero(d, fma(y * e, fourth_root_step(e), y))


def power_half_refined(d, par):
    """β = 1/2."""
    y = approximate_inverse_root(d)
    e = fma(-y, y * d, real(1.0))
    return root_else_zero(d, fma(y * e, fma(e, real(3 / 8), real(1 / 2)), y))


def power_three_quarters_refined(d, par):
    """β = 3/4: y⁴·d³ = 1."""
    root = approximate_inverse_root(d)
    y = root * (root * approximate_inverse_root(root))
    w = y * (y * d)
    e = fma(-w, w * d, real(1.0))
    return root_else_zero(d, fma(y * e, fourth_root_step(e), y))


def fourth_root_step(e):
    """((1 − e)^(-1/4) − 1)/e."""
    return fma(fma(e, real(15 / 128), real(5 / 32)), e, real(1 / 4))


def power_one_refined(d, par):
    """β = 1. The card's reciprocal is 0 from d = 2^1022 on, where x/d is an ordinary number. The square is not."""
    root = approximate_inverse_root(d)
    y = root * root
    e = fma(-y, d, real(1.0))
    power = where_finite(d, fma(y, fma(e, fma(e, e, e), e), y), y)
    return power, power, power


def logarithm(d):
    """ln d for a normal d > 0, of what the power takes, too."""
    return logarithm_of(log2_parts(d))


def finite_else_zero(d, power):
    """(p, s, q) of β > 0. The card's 1/d is 0 and NaN where d is Inf and NaN, as d^(-β) is."""
    rough, reciprocal = reciprocals(d)
    return where_finite(d, power, rough), power, where_finite(d, reciprocal, rough)


def root_else_zero(d, power):
    """The same of roots, where s is NaN, too, where d is Inf."""
    power, _, reciprocal = finite_else_zero(d, power)
    return power, power, reciprocal
