"""d^(-β), d^(-β-1) and ln d, made of operations that every device vectorises.

Every power function takes ``d`` and the scalars ``par`` (:class:`numba_lrn.algorithm.formulas.Parameters`) and
returns the triple (p, s, q): p = d^(-β), and s·q = d^(-β-1) in two factors, of which a formula multiplies each with
something else first. d^(-7/4) itself leaves the range of float32 from d ≈ 1e21 on, x ≈ 3e10, where the gradient
still is an ordinary number. Usually s = p and q = 1/d; of β < 0 s is the product and q = 1. A caller that drops one
does not pay for it. The *plain* forms want d normal and positive, or Inf, or NaN: all that k + a·S can be for
k ≥ 2^-126 and a ≥ 0. The *guarded* forms take any d and answer as IEEE ``pow`` does.

β = 1/4, 1/2, 3/4 come from t ≈ d^(-1/4): an estimate from the exponent bits, one Newton step of fourth order, and
the last step taken on the power itself. Nanoseconds an element on a Xeon (Emerald Rapids, 256-bit vectors) for
β = 3/4: 0.50; sqrt(sqrt(d))/d takes 0.83, because its three slow instructions share one divider; three Newton
steps of second order take 0.64. Largest error 1.9 ulp, as for the roots. Where the divider is faster (EPYC, Zen 5),
the *roots* forms are: the whole of forward over arrays in cache takes 0.22 with them, 0.37 without.

Any other β: log2 of the mantissa and exp2 of the product, by polynomials, with β in two floats: rounding 0.6 to
one float32 costs up to 35 ulp, for β multiplies an exponent of up to 127. The terms of log2 are summed in two
interleaved chains: one chain (Horner) took 8 to 15 % longer, for 0.1 ulp less. Where the divider is fast, the *divided*
forms take log2 as a series in (m − 1)/(m + 1), which needs four terms instead of ten: x·d^(-0.6) in L1 on Zen 5, on two
threads, 0.36 ns an element instead of 0.42, for 0.15 ulp more.
"""

import math

import numpy as np

from numba_lrn.algorithm.binding import injected
from numba_lrn.algorithm.primitives import bits_of, fma, real, real_of

# Those of float32; power64.py has the others.
integer = np.int32
FOURTH_ROOT = np.int32(0x4F5855B6)  # bits of d^(-1/4) ≈ FOURTH_ROOT − bits of d / 4, within 3.3 %
unsigned = np.uint32
# The bits of Inf: read as unsigned, those of NaN and of negative numbers are above, those of other numbers below.
INFINITE = np.uint32(0x7F800000)
EXTRA_STEPS = 0  # Newton steps of third order after the first

SQRT_HALF = np.int32(0x3F3504F3)
EXPONENT_SHIFT = np.int32(23)
EXPONENT_UNIT = np.float32(1.0)  # of exponents; approximate.py and approximate64.py have others
EXPONENT_BIAS = np.int32(127)
# Adding and subtracting 1.5·2^23 rounds a float32 to an integer and leaves that integer in the low bits.
ROUNDER = np.float32(12582912.0)
# 2^±250 is beyond every float32, subnormal ones too, and half of it is still an exponent.
LARGEST_SCALE = np.float32(250.0)
LN2 = np.float32(0.6931471805599453)
# ln 2 in two parts: the first has so few bits that its product with an exponent is exact.
LN2_HIGH = np.float32(0.693145751953125)
LN2_LOW = np.float32(1.42860682030941723212e-6)
SMALLEST_NORMAL = np.float32(2.0**-126)
SUBNORMAL_SCALE = np.float32(2.0**24)
SUBNORMAL_LOG = np.float32(16.635532333438686)

# log2(1 + u) / u for 1 + u in [√½, √2], by Chebyshev interpolation: relative error 2^-27.7 (degree 8: 2^-25).
LOG2_0, LOG2_1, LOG2_2, LOG2_3, LOG2_4, LOG2_5, LOG2_6, LOG2_7, LOG2_8, LOG2_9 = (
    np.float32(coefficient)
    for coefficient in (
        1.4426950216293335,
        -0.7213473320007324,
        0.48089852929115295,
        -0.36069655418395996,
        0.28855255246162415,
        -0.23960812389850616,
        0.20485764741897583,
        -0.19138838350772858,
        0.18476031720638275,
        -0.10749787837266922,
    )
)
# log2((1 + s)/(1 − s)) / s by powers of s², for (1 + s)/(1 − s) in [√½, √2], likewise: relative error 2^-30.4.
LOG2_RATIO_0, LOG2_RATIO_1, LOG2_RATIO_2, LOG2_RATIO_3 = (
    np.float32(coefficient)
    for coefficient in (2.885390043258667, 0.9617988467216492, 0.5767151713371277, 0.4317176938056946)
)
# 2^r for r in [−½, ½], likewise: relative error 2^-28.5.
EXP2_0, EXP2_1, EXP2_2, EXP2_3, EXP2_4, EXP2_5, EXP2_6 = (
    np.float32(coefficient)
    for coefficient in (
        1.0,
        0.6931471824645996,
        0.24022650718688965,
        0.05550327152013779,
        0.009618056938052177,
        0.0013400427997112274,
        0.00015461444854736328,
    )
)


def inverse_fourth_root(d):
    """t ≈ d^(-1/4) for a normal d > 0: |1 − d·t⁴| is below 2.4e-4 (float32), 1e-11 (float64).

    The first step is of third order with its coefficients fitted to the error of the estimate, |1 − d·t⁴| < 0.13;
    the series itself, 1/4 and 5/32, would leave four times the error.
    """
    t = real_of(integer(FOURTH_ROOT - integer(bits_of(d) >> integer(2))))
    square = t * t
    e = fma(-(square * d), square, real(1.0))
    t = fma(t * e, fma(e, real(0.15640947), real(0.25136357)), t)
    for _ in range(EXTRA_STEPS):
        square = t * t
        e = fma(-(square * d), square, real(1.0))
        t = fma(t * e, fma(e, real(5 / 32), real(1 / 4)), t)
    return t


def at_extremes(d, value, at_infinity):
    """``value``, but ``at_infinity`` where d is Inf and NaN where d is NaN."""
    return value if d < real(math.inf) else (at_infinity if d == real(math.inf) else d)


def where_finite(d, value, otherwise):
    """``value``, but ``otherwise`` where d is Inf or NaN."""
    return value if d < real(math.inf) else otherwise


def times_power(x, d, par):
    """x·d^(-β) by the power function."""
    power, _, _ = finite_power(d, par)
    return x * power


def times_three_quarters(x, d, par):
    """x·d^(-3/4), the product summed with what its factors were rounded by: one ulp less than the product alone."""
    power, rest, _, _ = three_quarters_parts(d)
    product = x * power
    return product + fma(x, rest, fma(x, power, -product))


def times_quarter_roots(x, d, par):
    """x/d^(1/4)."""
    return x / math.sqrt(math.sqrt(d))


def times_half_roots(x, d, par):
    """x/d^(1/2)."""
    return x / math.sqrt(d)


def times_three_quarters_roots(x, d, par):
    """x·(d^(1/4)/d): neither factor leaves the range where d is normal."""
    return x * (math.sqrt(math.sqrt(d)) / d)


def times_one(x, d, par):
    """x/d."""
    return x / d


def times_at_extremes(x, d, par):
    """x·d^(-β), as ``times_power`` where d is finite."""
    at_infinity = par.at_infinity if d == real(math.inf) else d
    return finite_times(x, d, par) if d < real(math.inf) else x * at_infinity


@injected
def finite_times(x, d, par):
    """x·d^(-β) where d is finite; every backend injects one of the functions above."""
    raise NotImplementedError("a backend injects the function")


def power_at_extremes(d, par):
    """Any β, for the strips in which some d is Inf or NaN: exact there, and elsewhere the same as without them."""
    p, s, q = finite_power(d, par)
    return at_extremes(d, p, par.at_infinity), at_extremes(d, s, par.next_at_infinity), at_extremes(d, q, real(1.0))


@injected
def finite_power(d, par):
    """(p, s, q) where d is finite; every backend injects one of the functions below."""
    raise NotImplementedError("a backend injects the power function")


def power_quarter(d, par):
    """β = 1/4."""
    t = inverse_fourth_root(d)
    square = t * t
    e = fma(-(square * d), square, real(1.0))
    power = fma(t * e, fma(e, real(5 / 32), real(1 / 4)), t)
    return power, power, reciprocal(square, e)


def power_half(d, par):
    """β = 1/2."""
    t = inverse_fourth_root(d)
    square = t * t
    e = fma(-(square * d), square, real(1.0))
    power = fma(square * e, fma(e, real(3 / 8), real(1 / 2)), square)
    return power, power, reciprocal(square, e)


def power_three_quarters(d, par):
    """β = 3/4."""
    power, rest, square, e = three_quarters_parts(d)
    power = power + rest
    return power, power, reciprocal(square, e)


def three_quarters_parts(d):
    """d^(-3/4) as a float and what that leaves of it, and the parts of 1/d."""
    t = inverse_fourth_root(d)
    square = t * t
    e = fma(-(square * d), square, real(1.0))
    power = square * t
    rest = fma(power * e, fma(e, real(21 / 32), real(3 / 4)), fma(square, t, -power))
    return power, rest, square, e


def reciprocal(square, e):
    """1/d from square ≈ d^(-1/2) and e = 1 − d·square². A division would take 0.3 ns an element more."""
    rough = square * square
    return fma(rough, fma(e, e, e), rough)


def power_quarter_roots(d, par):
    """β = 1/4, by the processor's own roots and divisions."""
    power = real(1.0) / math.sqrt(math.sqrt(d))
    return power, power, real(1.0) / d


def power_half_roots(d, par):
    """β = 1/2, likewise."""
    inverse = real(1.0) / d
    power = math.sqrt(d) * inverse
    return power, power, inverse


def power_three_quarters_roots(d, par):
    """β = 3/4, likewise. A second division instead of the product: backward 0.52 ns an element instead of 0.47."""
    inverse = real(1.0) / d
    power = math.sqrt(math.sqrt(d)) * inverse
    return power, power, inverse


def power_one(d, par):
    """β = 1: one division, right for every d."""
    power = real(1.0) / d
    return power, power, power


def exponent_and_mantissa(d):
    """The parts of a normal d > 0, as numbers; the mantissa is in [√½, √2)."""
    bits = bits_of(d)
    exponent = integer(integer(bits - SQRT_HALF) >> EXPONENT_SHIFT)
    return real(exponent), real_of(integer(bits - integer(exponent << EXPONENT_SHIFT)))


def exponent_and_ratio(d):
    """The exponent and s for which the mantissa is (1 + s)/(1 − s)."""
    exponent, mantissa = exponent_and_mantissa(d)
    return exponent, (mantissa - real(1.0)) / (mantissa + real(1.0))


def log2_parts(d):
    """The exponent and log2 of the mantissa of a normal d > 0."""
    exponent, mantissa = exponent_and_mantissa(d)
    u = mantissa - real(1.0)
    v = u * u
    odd = fma(fma(fma(fma(LOG2_9, v, LOG2_7), v, LOG2_5), v, LOG2_3), v, LOG2_1)
    even = fma(fma(fma(fma(LOG2_8, v, LOG2_6), v, LOG2_4), v, LOG2_2), v, LOG2_0)
    return exponent, u * fma(odd, u, even)


def log2_parts_divided(d):
    """The same by a division."""
    exponent, s = exponent_and_ratio(d)
    v = s * s
    return exponent, s * fma(fma(fma(LOG2_RATIO_3, v, LOG2_RATIO_2), v, LOG2_RATIO_1), v, LOG2_RATIO_0)


def exp2_fraction(r):
    """2^r for r in [−½, ½]."""
    polynomial = fma(fma(fma(fma(EXP2_6, r, EXP2_5), r, EXP2_4), r, EXP2_3), r, EXP2_2)
    return fma(fma(polynomial, r, EXP2_1), r, EXP2_0)


def power_general(d, par):
    """0 ≤ β < 0.98."""
    power = exp2_within_range(log2_parts(d), par)
    return power, power, real(1.0) / d


def power_general_divided(d, par):
    """The same by a division more."""
    power = exp2_within_range(log2_parts_divided(d), par)
    return power, power, real(1.0) / d


def with_factors(power, reciprocal, par):
    """p, s and q; of β < 0 the product and 1: d^(-β) times a window sum would leave the range before the result does.

    Only powers beyond 0 < β < 0.98 ask for it: what it takes to tell would cost backward of β = 0.6 5 % of its time.
    """
    grows = par.negative_beta > real(0.0)
    return power, power * reciprocal if grows else power, real(1.0) if grows else reciprocal


def fraction_of(parts, whole, par):
    """What ``whole`` leaves of −β·log2 d."""
    exponent, log2_mantissa = parts
    fraction = fma(par.beta_high * EXPONENT_UNIT, exponent, -whole)
    return fma(par.negative_beta, log2_mantissa, fma(par.beta_low * EXPONENT_UNIT, exponent, fraction))


def exp2_within_range(parts, par):
    """2^(−β·log2 d) by the parts of log2 d, which cannot leave the range of normal numbers."""
    exponent, log2_mantissa = parts
    rounded = fma(par.negative_beta, fma(exponent, EXPONENT_UNIT, log2_mantissa), ROUNDER)
    fraction = fraction_of(parts, rounded - ROUNDER, par)
    return real_of(integer(bits_of(exp2_fraction(fraction)) + integer(bits_of(rounded) << EXPONENT_SHIFT)))


def power_wide(d, par):
    """Any β."""
    return with_factors(exp2_of_any(log2_parts(d), par), real(1.0) / d, par)


def power_wide_divided(d, par):
    """The same by a division more."""
    return with_factors(exp2_of_any(log2_parts_divided(d), par), real(1.0) / d, par)


def exp2_of_any(parts, par):
    """2^(−β·log2 d) likewise: the scale 2^N is applied in two halves, so that it may overflow or vanish gradually."""
    exponent, log2_mantissa = parts
    product = par.negative_beta * fma(exponent, EXPONENT_UNIT, log2_mantissa)
    scale = min(max(product, -LARGEST_SCALE), LARGEST_SCALE)
    scale = (scale + ROUNDER) - ROUNDER
    fraction = min(max(fraction_of(parts, scale, par), real(-1.0)), real(1.0))
    half = integer(integer(scale) >> integer(1))
    rest = integer(integer(scale) - half)
    power = exp2_fraction(fraction)
    power = power * real_of(integer(integer(half + EXPONENT_BIAS) << EXPONENT_SHIFT))
    return power * real_of(integer(integer(rest + EXPONENT_BIAS) << EXPONENT_SHIFT))


def root_argument(d):
    """``d`` in double precision, but Inf for −Inf and +0 for −0: IEEE pow does not see their signs, roots do."""
    wide = np.float64(d)
    return (math.inf if wide < 0.0 else wide) if wide - wide != 0.0 else wide + 0.0


def power_quarter_guarded(d, par):
    """β = 1/4, any d."""
    wide = root_argument(d)
    root = math.sqrt(math.sqrt(wide))
    return real(1.0 / root), real(1.0 / (root * wide)), real(1.0)


def power_half_guarded(d, par):
    """β = 1/2, any d."""
    wide = root_argument(d)
    root = math.sqrt(wide)
    return real(1.0 / root), real(1.0 / (root * wide)), real(1.0)


def power_three_quarters_guarded(d, par):
    """β = 3/4, any d."""
    wide = root_argument(d)
    root = math.sqrt(wide)
    power = 1.0 / (root * math.sqrt(root))
    return real(power), real(power / wide), real(1.0)


def power_platform(d, par):
    """Any β, any d, by the platform's double-precision pow: 9 to 20 ns an element.

    The two floats of β hold 39 bits of it, enough for float32; in float64 all.
    """
    wide = np.float64(d)
    exponent = np.float64(par.beta_high) + np.float64(par.beta_low)
    p, q = real(math.pow(wide, exponent)), real(1.0 / wide)
    if 0.0 < abs(p) < math.inf and abs(q) < math.inf:
        return with_factors(p, q, par)
    return p, real(math.pow(wide, exponent - 1.0)), real(1.0)


def logarithm(d):
    """ln d for a normal d > 0."""
    return logarithm_of(log2_parts(d))


def logarithm_of(parts):
    """ln d by the parts of log2 d."""
    exponent, log2_mantissa = parts
    return fma(exponent, LN2_HIGH * EXPONENT_UNIT, fma(exponent, LN2_LOW * EXPONENT_UNIT, log2_mantissa * LN2))


def logarithm_at_extremes(d):
    """ln d for a normal d > 0, Inf or NaN."""
    return at_extremes(d, logarithm(d), d)


def logarithm_guarded(d):
    """ln d for any d: −Inf for 0, NaN for negative numbers."""
    subnormal = d < SMALLEST_NORMAL
    value = logarithm(d * SUBNORMAL_SCALE if subnormal else d)
    value = value - SUBNORMAL_LOG if subnormal else value
    beyond = d if d > real(0.0) else (real(-math.inf) if d == real(0.0) else real(math.nan))
    return value if d > real(0.0) and d < real(math.inf) else beyond


def logarithm_platform(d):
    """ln d for any d, by the platform's double-precision log."""
    return real(math.log(np.float64(d)))


# The powers whose d is normal and positive, or Inf, or NaN: their logarithm need not look further.
PLAIN = (
    "power_quarter", "power_half", "power_three_quarters", "power_quarter_roots", "power_half_roots",
    "power_three_quarters_roots", "power_general", "power_general_divided", "power_wide", "power_wide_divided",
)  # fmt: skip
# The forward formula of the powers that have one better than a product.
TIMES = {
    "power_three_quarters": "times_three_quarters",
    "power_quarter_roots": "times_quarter_roots",
    "power_half_roots": "times_half_roots",
    "power_three_quarters_roots": "times_three_quarters_roots",
    "power_one": "times_one",
}
