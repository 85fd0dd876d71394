"""What power.py is made of in float64: bound after it, these names replace its own.

log2 and exp2 are polynomials of a higher degree, log2 always by the division. x·d^(-0.6) in L1 takes 1.2 ns an element
on Zen 5, by the platform's pow 8.6; largest error 1.6 ulp for |β| < 1, 3.2 ulp for β ≤ 3.
"""

import math

import numpy as np

from numba_lrn.algorithm.power import exponent_and_ratio
from numba_lrn.algorithm.primitives import fma

integer = np.int64
unsigned = np.uint64
# The same fraction of the exponent field as in float32, 1.25·(1023 − 127) exponents further up.
FOURTH_ROOT = np.int64(0x4F5855B6 * 2**29 + 1120 * 2**52)
INFINITE = np.uint64(0x7FF0000000000000)
EXTRA_STEPS = 1

SQRT_HALF = np.int64(0x3FE6A09E667F3BCD)
EXPONENT_SHIFT = np.int64(52)
EXPONENT_UNIT = np.float64(1.0)
EXPONENT_BIAS = np.int64(1023)
ROUNDER = np.float64(1.5 * 2.0**52)
LARGEST_SCALE = np.float64(1200.0)  # 2^±1200 is beyond every float64
LN2 = np.float64(math.log(2.0))
LN2_HIGH = np.float64(0.6931471805598903)  # 42 bits
LN2_LOW = np.float64(5.497923018708371e-14)
SMALLEST_NORMAL = np.float64(2.0**-1022)
SUBNORMAL_SCALE = np.float64(2.0**54)
SUBNORMAL_LOG = np.float64(54.0 * math.log(2.0))

# log2((1 + s)/(1 − s)) / s by powers of s², for (1 + s)/(1 − s) in [√½, √2], by Chebyshev interpolation: relative error
# 2^-56, of which the coefficients' own rounding is most.
LOG2_RATIO = (
    np.float64(2.8853900817779268),
    np.float64(0.9617966939259898),
    np.float64(0.5770780163455203),
    np.float64(0.4121985858409005),
    np.float64(0.32059853491395984),
    np.float64(0.262334352504183),
    np.float64(0.2209130842311768),
    np.float64(0.2136589569431927),
)
# 2^r for r in [−½, ½], likewise: relative error 2^-55.5.
EXP2 = (
    np.float64(1.0),
    np.float64(0.6931471805599453),
    np.float64(0.24022650695910158),
    np.float64(0.055504108664821625),
    np.float64(0.009618129107587256),
    np.float64(0.001333355814640647),
    np.float64(0.00015403530463724353),
    np.float64(1.5252733841556773e-05),
    np.float64(1.3215432535912375e-06),
    np.float64(1.0178057087733941e-07),
    np.float64(7.074194297288521e-09),
    np.float64(4.4558179083360645e-10),
)


# ln((1 + s)/(1 − s)) / s: multiplied by ln 2 afterwards, log2 would be rounded once more, 3.2 ulp instead of 2.9.
LN_RATIO = tuple(np.float64(coefficient * LN2) for coefficient in LOG2_RATIO)


def log2_parts(d):
    """The exponent and log2 of the mantissa of a normal d > 0."""
    exponent, s = exponent_and_ratio(d)
    return exponent, s * polynomial(LOG2_RATIO, s * s)


def logarithm(d):
    """ln d for a normal d > 0."""
    exponent, s = exponent_and_ratio(d)
    log_mantissa = s * polynomial(LN_RATIO, s * s)
    return fma(exponent, LN2_HIGH * EXPONENT_UNIT, fma(exponent, LN2_LOW * EXPONENT_UNIT, log_mantissa))


def exp2_fraction(r):
    """2^r for r in [−½, ½]."""
    return polynomial(EXP2, r)


def polynomial(coefficients, x):
    """Σ coefficients[i]·xⁱ."""
    total = fma(coefficients[-1], x, coefficients[-2])
    for i in range(3, len(coefficients) + 1):
        total = fma(total, x, coefficients[-i])
    return total
