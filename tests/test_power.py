"""d^(−β), d^(−β−1) and ln d: error bounds, special values, and where the polynomials' coefficients come from."""

import functools
import math

import numba
import numpy as np
import pytest

from numba_lrn.algorithm import formulas, power, power64
from numba_lrn.backends.cpu.compiler import OPTIONS
from numba_lrn.backends.cpu.kernels import _mathematics
from numba_lrn.backends.cpu.plan import GENERAL_BETA, power_function, scalars_of
from tests.support import assert_below, assert_same_bits, ulp_error

INF, NAN = np.inf, np.nan
TINY = {"float32": np.finfo(np.float32).tiny, "float64": np.finfo(np.float64).tiny}


@functools.cache
def compiled(name, real, entry="power_at_extremes"):
    """A power function as the kernels have it, over arrays."""
    function = _mathematics(name, real)[entry]

    @numba.njit(**OPTIONS)
    def evaluate(d, par, powers, next_powers):
        for i in range(d.size):
            p, s, q = function(d[i], par)
            powers[i] = p
            next_powers[i] = s * q

    return evaluate


def powers_of(d, beta, real, *, safe=True, roots=False, name=None, entry="power_at_extremes"):
    """(d^(−β), d^(−β−1)) by the function that the library chooses; ``safe``: d is known to be normal."""
    real_type = getattr(np, real)
    name = name or power_function(beta, 1.0, 1.0 if safe else 0.0, real_type, roots, roots)
    d = np.ascontiguousarray(d, real)
    result = np.empty_like(d), np.empty_like(d)
    compiled(name, real, entry)(d, formulas.Parameters(*scalars_of(1.0, beta, 1.0, real_type)), *result)
    return result


def every_scale(real, count=40000):
    """Normal numbers: all exponents, dense around 1, both ends of every power of two, the ends of the range."""
    rng = np.random.default_rng(7)
    info = np.finfo(real)
    exponents = np.arange(info.minexp, info.maxexp)
    ends = np.ldexp(np.ones(exponents.size), exponents).astype(real)
    return np.concatenate([
        np.ldexp(rng.uniform(1, 2, count), rng.integers(info.minexp, info.maxexp, count)).astype(real),
        rng.uniform(0.25, 4, count).astype(real),
        1 + rng.uniform(-1e-3, 1e-3, count).astype(real),
        ends,
        np.nextafter(ends[1:], real(0)),
        np.nextafter(ends, real(INF)),
        np.array([info.max, info.tiny, np.sqrt(0.5), np.sqrt(2)], real),
    ])  # fmt: skip


def errors(got, d, exponent, real):
    """Errors in ulp where the exact power is a normal number."""
    wide = d.astype(np.longdouble)
    with np.errstate(all="ignore"):
        truth = wide ** np.longdouble(exponent)
        error = ulp_error(got, truth, truth, real)
    info = np.finfo(real)
    return np.where((truth >= info.tiny) & (truth <= info.max), error, 0), truth


NAMED = (0.25, 0.5, 0.75, 1.0)
GENERAL = (0.6, 0.1, 0.97, -0.3, -0.75, 0.9799)
WIDE = (0.99, 1.5, 2.0, 3.0, -1.0, -2.0, 2.7182818)


by_steps_or_roots = pytest.mark.parametrize("roots", [False, True], ids=["steps", "roots"])


@pytest.mark.parametrize("beta", [*NAMED, *GENERAL, *WIDE])
@pytest.mark.parametrize("real", ["float32", "float64"])
@by_steps_or_roots
def test_error_of_the_power(beta, real, roots, record_property):
    limit = 2.5 if beta in NAMED else 2.0 if abs(beta) <= 1 else 4.0
    d = every_scale(getattr(np, real))
    got, following = powers_of(d, beta, real, roots=roots)
    error, truth = errors(got, d, -beta, real)
    next_error, _ = errors(following, d, -np.longdouble(beta) - 1, real)
    # d^(−β−1) is a product or quotient of the first, which itself must be a normal number.
    info = np.finfo(real)
    next_error = np.where((truth >= info.tiny) & (truth <= info.max), next_error, 0)
    record_property("ulp", float(error.max()))
    record_property("ulp of the next power", float(next_error.max()))
    print(f"{real} beta={beta}: {error.max():.3f} ulp, next power {next_error.max():.3f} ulp")
    assert_below(error, limit, got, truth, f"beta={beta}")
    assert_below(next_error, limit + 2, following, truth / d, f"beta={beta}")


@by_steps_or_roots
def test_which_function_is_chosen(roots):
    ending, divided = ("_roots", "_divided") if roots else ("", "")
    betas = (*NAMED, 0.6, -0.3, 0.99, 3.0, 2000.0)
    assert {beta: power_function(beta, 1.0, 1.0, np.float32, roots, roots) for beta in betas} == {
        0.25: f"power_quarter{ending}",
        0.5: f"power_half{ending}",
        0.75: f"power_three_quarters{ending}",
        1.0: "power_one",
        0.6: f"power_general{divided}",
        -0.3: f"power_wide{divided}",
        0.99: f"power_wide{divided}",
        3.0: f"power_wide{divided}",
        2000.0: "power_platform",
    }
    wide = {
        beta: power_function(beta, 1.0, 1.0, np.float64, roots, roots) for beta in (0.75, 0.6, -0.97, -1.5, 4.0, 4.5)
    }
    assert wide == {
        0.75: f"power_three_quarters{ending}",
        0.6: "power_general",
        -0.97: "power_wide",
        -1.5: "power_platform",
        4.0: "power_wide",
        4.5: "power_platform",
    }


@pytest.mark.parametrize(("scale", "k"), [(1.0, 0.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1e-40)])
@pytest.mark.parametrize("beta", [0.25, 0.5, 0.75, 0.6, 2.0])
def test_a_d_that_may_be_anything_gets_a_guarded_function(beta, scale, k):
    name = power_function(beta, scale, k, np.float32)
    assert name == "power_platform" or name.endswith("_guarded")


# Zero, infinities, NaN, both ends of the subnormal and of the normal numbers, negative numbers.
SPECIAL = {
    "float32": [0.0, INF, NAN, 1e-45, 7e-42, 1.1754942e-38, 1.1754944e-38, 3.4028235e38, 1.0, -1.0, -2.5, -1e-40],
    "float64": [0.0, INF, NAN, 5e-324, 1e-310, 2.225073858507201e-308, 1.7976931348623157e308, 1.0, -2.5, -1e-310],
}
# Integer β, for which negative d has a power; the named and other fractions, for which it has none.
GUARDED = (2.0, 3.0, -1.0, -2.0, 1.0, 0.25, 0.5, 0.75, 0.6, -0.5, 1.5)


def ieee_pow(d, exponent, real):
    """C's pow in double precision, as Python has it; its exceptions turned back into IEEE's results."""
    with np.errstate(all="ignore"):
        return np.array([_pow(float(base), exponent) for base in d]).astype(real)


def _pow(base, exponent):
    odd = exponent % 2 == 1
    try:
        power = math.pow(base, exponent)
    except ValueError:  # a pole, or a negative base with a fractional exponent
        return math.copysign(INF, base) if base == 0 and odd else INF if base == 0 else NAN
    except OverflowError:
        return -INF if base < 0 and odd else INF
    return power


@pytest.mark.parametrize("beta", GUARDED)
@pytest.mark.parametrize("real", ["float32", "float64"])
def test_guarded_powers_are_those_of_ieee(beta, real):
    assert_ieee(np.array(SPECIAL[real], real), beta, real)


@pytest.mark.parametrize("beta", GUARDED)
@pytest.mark.parametrize("real", ["float32", "float64"])
def test_guarded_powers_of_minus_infinity_and_minus_zero(beta, real):
    assert_ieee(np.array([-INF, -0.0], real), beta, real)


def assert_ieee(d, beta, real):
    eps, step = np.finfo(real).eps, np.nextafter(0, 1, dtype=real)
    for got, exponent, ulps in zip(powers_of(d, beta, real, safe=False), (-beta, -beta - 1), (4, 8), strict=True):
        expected = ieee_pow(d, exponent, real)
        if exponent == 0:  # only here pow(NaN) is a number, 1; as a factor of r either will do, for y is NaN
            got, expected = got[~np.isnan(d)], expected[~np.isnan(d)]
        np.testing.assert_allclose(got, expected, rtol=ulps * eps, atol=2 * step)
        number = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]), err_msg="sign")


@pytest.mark.parametrize("beta", [*NAMED, *GENERAL, *WIDE])
@pytest.mark.parametrize("real", ["float32", "float64"])
@by_steps_or_roots
def test_plain_powers_at_infinity_and_nan(beta, real, roots):
    first, second = powers_of(np.array([INF, NAN]), beta, real, roots=roots)
    assert first[0] == (0 if beta > 0 else INF)
    assert second[0] == (0 if beta > -1 else 1 if beta == -1 else INF)
    assert np.isnan(first[1])
    assert np.isnan(second[1]) or beta == -1  # NaN⁰ is 1 by IEEE pow


@pytest.mark.parametrize("beta", [0.25, 0.5, 0.75, 0.6, 2.0])
@pytest.mark.parametrize("real", ["float32", "float64"])
@by_steps_or_roots
def test_strips_with_and_without_extremes_agree_to_the_bit(beta, real, roots):
    """A strip that holds an Inf or NaN is computed by another entry: its other elements must not notice."""
    d = every_scale(getattr(np, real), 4000)
    finite = powers_of(d, beta, real, roots=roots, entry="finite_power")
    for got, expected in zip(finite, powers_of(d, beta, real, roots=roots), strict=True):
        assert_same_bits(got, expected, f"beta={beta}")


@pytest.mark.parametrize("beta", [1.5, 2.0, 20.0, 300.0, -3.0, -300.0])
@by_steps_or_roots
def test_wide_powers_overflow_and_vanish_gradually(beta, roots):
    d = every_scale(np.float32)
    got, _ = powers_of(d, beta, "float32", roots=roots)
    with np.errstate(all="ignore"):
        truth = d.astype(np.longdouble) ** np.longdouble(-beta)
    largest = np.longdouble(np.finfo(np.float32).max)
    vanished, overflown = truth < 2.0**-151, truth > 1.01 * largest
    subnormal = ~vanished & (truth < TINY["float32"])
    assert np.all(got[vanished] == 0)
    assert np.all(got[overflown] == INF)
    assert (vanished | subnormal | overflown).any()
    normal, _ = errors(got, d, -beta, np.float32)
    got, truth = got[subnormal], truth[subnormal]
    limit = normal.max() + 1  # the relative error is that of normal numbers, and one rounding comes on top
    assert_below(ulp_error(got, truth, truth, np.float32), limit, got, truth, beta)


@pytest.mark.parametrize("name", ["power_general", "power_wide", "power_general_divided", "power_wide_divided"])
def test_beta_in_two_floats(name):
    """β = 0.6 rounded to one float32 would be off by up to 35 ulp at the ends of the range."""
    d = np.array([1e-37, 3e38], np.float32)
    got, _ = powers_of(d, 0.6, "float32", name=name)
    error, truth = errors(got, d, -0.6, np.float32)
    rounded = d.astype(np.float64) ** -np.float64(np.float32(0.6))
    assert ulp_error(rounded.astype(np.float32), truth, truth, np.float32).max() > 5
    assert_below(error, 2.0, got, truth, name)


@by_steps_or_roots
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_general_power_is_used_only_where_it_cannot_overflow(roots, real):
    extremes = np.array([np.finfo(real).tiny, np.finfo(real).max], real)
    for beta in (GENERAL_BETA - 1e-9, 1e-9 - GENERAL_BETA):
        got, _ = powers_of(extremes, beta, real.__name__, roots=roots)
        error, truth = errors(got, extremes, -beta, real)
        assert_below(error, 2.0, got, truth, beta)


@functools.cache
def compiled_logarithm(name, real):
    function = _mathematics("power_one", real)[name]

    @numba.njit(**OPTIONS)
    def evaluate(d, result):
        for i in range(d.size):
            result[i] = function(d[i])

    return evaluate


@pytest.mark.parametrize(
    ("name", "real"),
    [
        ("logarithm", "float32"),
        ("logarithm", "float64"),
        ("logarithm_platform", "float32"),
        ("logarithm_platform", "float64"),
    ],
)
def test_error_of_the_logarithm(name, real, record_property):
    d = every_scale(getattr(np, real))
    got = np.empty_like(d)
    compiled_logarithm(name, real)(d, got)
    truth = np.log(d.astype(np.longdouble))
    error = np.where(truth == 0, np.abs(got), ulp_error(got, truth, truth, real))
    record_property("ulp", float(error.max()))
    print(f"{name} {real}: {error.max():.3f} ulp")
    assert_below(error, 3.0, got, truth, name)
    assert got[d == 1].tolist() == [0.0] * np.count_nonzero(d == 1)


@pytest.mark.parametrize("name", ["logarithm_platform", "logarithm_guarded"])
@pytest.mark.parametrize(("real", "smallest", "tolerance"), [("float32", -149, 1e-7), ("float64", -1074, 2e-16)])
def test_logarithm_at_special_values(name, real, smallest, tolerance):
    d = np.array([0.0, INF, NAN, -1.0, 2.0**smallest], real)
    got = np.empty_like(d)
    compiled_logarithm(name, real)(d, got)
    np.testing.assert_allclose(got, [-INF, INF, NAN, NAN, smallest * math.log(2)], rtol=tolerance)


def interpolated(function, low, high, degree):
    """Coefficients in powers of u of the interpolation at the Chebyshev nodes of [low, high]."""
    polynomial = np.polynomial.chebyshev.Chebyshev.interpolate(function, degree, domain=[low, high])
    return polynomial.convert(kind=np.polynomial.Polynomial, domain=[-1, 1]).coef


def log2_quotient(u):
    """log2(1 + u) / u, in plain float64 as the table was made: log1p would move the last two by 2 ulp."""
    return np.log2(1 + u) / u


def log2_ratio_quotient(v):
    """log2((1 + s)/(1 − s)) / s for s = √v."""
    s = np.sqrt(v)
    return np.log2((1 + s) / (1 - s)) / s


@pytest.mark.parametrize(
    ("prefix", "function", "low", "high", "degree"),
    [
        ("LOG2", log2_quotient, math.sqrt(0.5) - 1, math.sqrt(2) - 1, 9),
        ("LOG2_RATIO", log2_ratio_quotient, 0.0, (3 - 2 * math.sqrt(2)) ** 2, 3),
        ("EXP2", np.exp2, -0.5, 0.5, 6),
    ],
)
def test_coefficients_are_chebyshev_interpolations(prefix, function, low, high, degree):
    table = np.array([getattr(power, f"{prefix}_{i}") for i in range(degree + 1)])
    assert table.dtype == np.float32
    assert not hasattr(power, f"{prefix}_{degree + 1}")
    derived = interpolated(function, low, high, degree)
    error = np.abs(table - derived) / np.spacing(np.abs(derived).astype(np.float32))
    print(prefix, "largest distance from the rounded coefficient, ulp:", error.max())
    assert_below(error, 1.0, table, derived, prefix)


@pytest.mark.parametrize(
    ("coefficients", "function", "low", "high"),
    [
        (power64.LOG2_RATIO, log2_ratio_quotient, 1e-4, (3 - 2 * math.sqrt(2)) ** 2),
        (power64.EXP2, np.exp2, -0.5, 0.5),
    ],
    ids=["log2", "exp2"],
)
def test_the_polynomials_of_float64_are_as_good_as_stated(coefficients, function, low, high):
    """In longdouble: float64 cannot tell so small an error."""
    if np.finfo(np.longdouble).nmant < 60:
        pytest.skip("longdouble has no more digits than float64 here")
    x = np.linspace(np.longdouble(low), np.longdouble(high), 100_001)
    got = np.zeros_like(x)
    for coefficient in reversed(coefficients):
        got = got * x + np.longdouble(coefficient)
    error = np.abs(got / function(x) - 1).max()
    print("largest error: 2^", np.log2(error))
    assert error < 2**-55


def test_the_polynomials_are_as_good_as_stated():
    u = np.linspace(math.sqrt(0.5) - 1, math.sqrt(2) - 1, 100_001)
    u = u[u != 0]
    log2 = np.polynomial.Polynomial([float(getattr(power, f"LOG2_{i}")) for i in range(10)])
    assert np.abs(log2(u) / log2_quotient(u) - 1).max() < 2**-24
    v = np.linspace(0.0, (3 - 2 * math.sqrt(2)) ** 2, 100_001)[1:]
    ratio = np.polynomial.Polynomial([float(getattr(power, f"LOG2_RATIO_{i}")) for i in range(4)])
    assert np.abs(ratio(v) / log2_ratio_quotient(v) - 1).max() < 2**-24
    r = np.linspace(-0.5, 0.5, 100_001)
    exp2 = np.polynomial.Polynomial([float(getattr(power, f"EXP2_{i}")) for i in range(7)])
    assert np.abs(exp2(r) / np.exp2(r) - 1).max() < 2**-24
