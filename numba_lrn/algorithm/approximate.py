"""d^(-β) from the approximate roots, reciprocals and exponentials that a GPU has as single instructions.

The functions are power functions in the sense of algorithm/power.py, for d normal and positive, Inf or NaN. The
*refined* ones take one Newton step from the product of the approximations: 1.4 ulp for β = 3/4, where IEEE roots
and a division have 1.9 to 3.7 ulp and make the whole kernel twice as long. The *rough* ones take the
approximations as they are, at most 8 ulp of float32, for results that are rounded to a half type.

``min(1, e)``, in this order, is 1 where e is NaN: where d is Inf, the step multiplies 0 by Inf and must change
nothing. A d that is NaN is NaN from the first root on.
"""

import numpy as np

from numba_lrn.algorithm.power import (
    SQRT_HALF,
    exp2_of_any,
    exp2_within_range,
    integer,
    log2_parts,
    log2_parts_divided,
    logarithm_of,
    power_general,
    where_finite,
)
from numba_lrn.algorithm.primitives import (
    approximate_exp2,
    approximate_inverse_root,
    approximate_log2,
    approximate_reciprocal,
    approximate_root,
    bits_of,
    fma,
    real,
    real_of,
)

# log2((1 + s)/(1 − s)) / s by powers of s², for (1 + s)/(1 − s) in [√½, √2]: error of the logarithm 2^-24.6. A fourth
# term would leave 2^-27, which the approximate reciprocal hides.
LOG2_QUOTIENT_0, LOG2_QUOTIENT_1, LOG2_QUOTIENT_2 = (
    np.float32(coefficient) for coefficient in (2.8853912353515625, 0.9614708423614502, 0.598973274230957)
)


# In the place of power.py's names, after which these are bound. An exponent is left where its bits are, 2^23 times as
# large, which saves a shift; on Zen 5, which shifts beside what it multiplies, it costs 4 % of forward, β = 0.6.
EXPONENT_BITS = np.int32(-(2**23))
EXPONENT_UNIT = np.float32(2.0**-23)


def exponent_and_mantissa(d):
    """The parts of a normal d > 0, as numbers; the mantissa is in [√½, √2)."""
    bits = bits_of(d)
    exponent = integer(integer(bits - SQRT_HALF) & EXPONENT_BITS)
    return real(exponent), real_of(integer(bits - exponent))


def exponent_and_ratio(d):
    """The exponent and s for which the mantissa is (1 + s)/(1 − s)."""
    exponent, mantissa = exponent_and_mantissa(d)
    return exponent, (mantissa - real(1.0)) * approximate_reciprocal(mantissa + real(1.0))


def power_quarter_refined(d, par):
    """β = 1/4."""
    y = approximate_root(approximate_inverse_root(d))
    square = y * y
    e = min(real(1.0), fma(-square, square * d, real(1.0)))
    power = fma(y * real(0.25), e, y)
    return power, power, approximate_reciprocal(d)


def power_half_refined(d, par):
    """β = 1/2."""
    y = approximate_inverse_root(d)
    e = min(real(1.0), fma(-y, y * d, real(1.0)))
    power = fma(y * real(0.5), e, y)
    return power, power, approximate_reciprocal(d)


def power_three_quarters_refined(d, par):
    """β = 3/4: y⁴·d³ = 1."""
    root = approximate_inverse_root(d)
    y = root * approximate_root(root)
    w = y * (y * d)
    e = min(real(1.0), fma(-w, w * d, real(1.0)))
    power = fma(y * real(0.25), e, y)
    return power, power, approximate_reciprocal(d)


def power_one_refined(d, par):
    """β = 1. The card's reciprocal is 0 from d = 2^126 on, where x/d is an ordinary number. The square is not."""
    root = approximate_inverse_root(d)
    y = root * root
    e = min(real(1.0), fma(-y, d, real(1.0)))
    power = fma(y, e, y)
    return power, power, power


def power_quarter_rough(d, par):
    """β = 1/4."""
    power = approximate_root(approximate_inverse_root(d))
    return power, power, approximate_reciprocal(d)


def power_half_rough(d, par):
    """β = 1/2."""
    power = approximate_inverse_root(d)
    return power, power, approximate_reciprocal(d)


def power_three_quarters_rough(d, par):
    """β = 3/4."""
    root = approximate_inverse_root(d)
    power = root * approximate_root(root)
    return power, power, approximate_reciprocal(d)


def power_one_rough(d, par):
    """β = 1."""
    root = approximate_inverse_root(d)
    power = root * root
    return power, power, approximate_reciprocal(d)


def power_any_rough(d, par):
    """Any |β| ≤ 1: 79 ulp of float32 while 2^-20 ≤ d ≤ 2^20, 410 ulp over its whole range."""
    power = approximate_exp2(par.negative_beta * approximate_log2(d))
    return power, power, approximate_reciprocal(d)


def power_general_refined(d, par):
    """0 ≤ β < 0.98: the polynomials of algorithm/power.py."""
    return finite_else_zero(d, power_general(d, par)[0])


def power_general_divided_refined(d, par):
    """The same, log2 by a quotient: six instructions less, for up to β ulp more."""
    exponent, s = exponent_and_ratio(d)
    v = s * s
    log2_mantissa = s * fma(fma(LOG2_QUOTIENT_2, v, LOG2_QUOTIENT_1), v, LOG2_QUOTIENT_0)
    return finite_else_zero(d, exp2_within_range((exponent, log2_mantissa), par))


def power_wide_refined(d, par):
    """Any β > 0, by polynomials."""
    return finite_else_zero(d, exp2_of_any(log2_parts(d), par))


def logarithm_divided(d):
    """ln d for a normal d > 0, by a quotient. Near d = 1, where ln d is small, it wants a term more than the power."""
    return logarithm_of(log2_parts_divided(d))


def finite_else_zero(d, power):
    """(p, s, q) of β > 0. Of Inf and NaN the polynomials know nothing, but 1/d is 0 and NaN there, as d^(-β) is."""
    reciprocal = approximate_reciprocal(d)
    return where_finite(d, power, reciprocal), power, reciprocal
