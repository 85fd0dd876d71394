"""Powers made of the card's approximations, with every approximation off by as much as its maker allows.

The PTX manual bounds rsqrt.approx by 2^-22.9, sqrt.approx by 2^-23 and ex2.approx by 2^-22.5 of the result, rcp.approx
by one ulp, and lg2.approx by 2^-22 of 1, or of the result where that is larger. float32 arithmetic is NumPy's; a fused
multiply-add is computed in float64 and rounded.

Those of float64 have no bound in the manual. They read 20 bits of a mantissa and leave 20, which is 2^-19.4 for a
reciprocal that is rounded well. The maker's own 1/√ takes one step of the third order from them, as its machine code
shows, which wants 2^-18.
"""

import math

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.algorithm import approximate, approximate64, formulas, power, power64, primitives
from numba_lrn.algorithm.binding import bind
from numba_lrn.algorithm.parameters import scalars_of
from numba_lrn.backends.cuda.variants import LONG_POWERS, ROUGH_EXPONENT, power_function
from tests.support import ulp_error

F = np.float32
D = np.float64
BOUND64 = 2.0**-18
BOUNDS = {"root": 2.0**-23, "inverse_root": 2.0**-22.9, "exp2": 2.0**-22.5}


def perturbed(exact, bound, sign):
    """A function whose error is up to ``bound`` of the result, or one ulp, with its sign as asked or at random."""

    def approximation(value):
        signs = np.random.default_rng(3).uniform(-1, 1, value.shape) if sign == 0 else sign
        with np.errstate(all="ignore"):
            result = exact(value.astype(np.float64))
            unit = bound * result if bound else np.where(result == 0, 0, np.spacing(result.astype(F)))
            return flushed((result + signs * unit).astype(F))

    return approximation


def flushed(result):
    """Subnormal results are 0."""
    return np.where(np.abs(result) < np.finfo(result.dtype).tiny, result * 0, result)


def logarithm(value):
    exact = np.log2(value.astype(np.float64))
    return (exact + 2.0**-22 * np.maximum(1, np.abs(exact))).astype(F)


def functions(sign_root, sign_inverse, elementwise=False):
    """The power functions over arrays or numbers, with approximations that are off in these directions."""
    injected = {
        "fma": lambda a, b, c: (np.float64(a) * b + c).astype(F),
        "min": lambda a, b: np.where(b < a, b, a),
        "max": lambda a, b: np.where(b > a, b, a),
        "real": lambda value: np.asarray(value, F)[()],
        "integer": lambda value: np.asarray(value).astype(np.int32),
        "bits_of": lambda value: np.asarray(value, F).view(np.int32),
        "real_of": lambda bits: np.asarray(bits, np.int32).view(F),
        "approximate_root": perturbed(np.sqrt, BOUNDS["root"], sign_root),
        "approximate_inverse_root": perturbed(lambda v: 1 / np.sqrt(v), BOUNDS["inverse_root"], sign_inverse),
        "approximate_reciprocal": perturbed(lambda v: 1 / v, None, sign_root),
        "approximate_exp2": perturbed(np.exp2, BOUNDS["exp2"], sign_root),
        "approximate_log2": logarithm,
    }

    if not elementwise:
        injected["where_finite"] = lambda d, value, otherwise: np.where(d < np.inf, value, otherwise)
    return bind((primitives, power, approximate, formulas), lambda function: function, injected, "emulated")


def gross(exact, sign):
    """An approximation of float64, of which it leaves 32 bits."""

    def approximation(value):
        signs = np.random.default_rng(3).uniform(-1, 1, value.shape) if sign == 0 else sign
        with np.errstate(all="ignore"):
            result = np.asarray(exact(value) * (1 + signs * BOUND64), D)
            return flushed((result.view(np.int64) & ~np.int64(0xFFFFFFFF)).view(D))

    return approximation


def functions64(sign_reciprocal, sign_inverse, elementwise=False):
    """Those of float64; a fused multiply-add is computed in longdouble and rounded."""
    injected = {
        "fma": lambda a, b, c: (np.longdouble(a) * b + c).astype(D),
        "min": lambda a, b: np.where(b < a, b, a),
        "max": lambda a, b: np.where(b > a, b, a),
        "real": lambda value: np.asarray(value, D)[()],
        "integer": lambda value: np.asarray(value).astype(np.int64),
        "bits_of": lambda value: np.asarray(value, D).view(np.int64),
        "real_of": lambda bits: np.asarray(bits, np.int64).view(D),
        "approximate_inverse_root": gross(lambda v: 1 / np.sqrt(v), sign_inverse),
        "approximate_reciprocal": gross(lambda v: 1 / v, sign_reciprocal),
    }
    if not elementwise:
        injected["where_finite"] = lambda d, value, otherwise: np.where(d < np.inf, value, otherwise)
    modules = primitives, power, approximate, power64, approximate64, formulas
    return bind(modules, lambda function: function, injected, "emulated64")


def inputs(low, high, count=400_000, real=F):
    rng = np.random.default_rng(11)
    return np.ldexp(rng.uniform(1, 2, count), rng.integers(low, high, count)).astype(real)


def worst(name, beta, d):
    par = formulas.Parameters(*scalars_of(1.0, beta, 1.0, F))
    truth = d.astype(np.float64) ** -beta
    largest = 0.0
    for signs in ((0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        p, s, q = functions(*signs)[name](d, par)
        largest = max(largest, float(ulp_error(p, truth, truth, F).max()))
        np.testing.assert_array_equal(p, s)
        normal = d < 2.0**126
        np.testing.assert_allclose(q[normal], 1 / d[normal].astype(np.float64), rtol=3e-7)
    return largest


REFINED = {
    ("power_quarter_refined", 0.25): 1.5,
    ("power_half_refined", 0.5): 1.5,
    ("power_three_quarters_refined", 0.75): 1.6,
    ("power_one_refined", 1.0): 1.5,
    ("power_general_refined", 0.6): 1.6,
    ("power_general_refined", 0.97): 1.8,
    ("power_general_divided_refined", 0.6): 1.8,
    ("power_general_divided_refined", 0.97): 2.6,
    ("power_wide_refined", 1.7): 2.5,
}


@pytest.mark.parametrize(("name", "beta"), REFINED, ids=str)
def test_refined_powers(name, beta, record_property):
    exponents = (-126, 128) if abs(beta) <= 1 else (-70, 70)
    error = worst(name, beta, inputs(*exponents))
    record_property("ulp", error)
    assert error <= REFINED[name, beta]


ROUGH = {
    ("power_quarter_rough", 0.25): 8.0,
    ("power_half_rough", 0.5): 8.0,
    ("power_three_quarters_rough", 0.75): 8.0,
    ("power_one_rough", 1.0): 8.0,
}


@pytest.mark.parametrize(("name", "beta"), ROUGH, ids=str)
def test_rough_powers(name, beta):
    assert worst(name, beta, inputs(-126, 128)) <= ROUGH[name, beta]


def test_the_rough_power_of_any_beta():
    """Within 0.01 ulp of the half type: of float16 where d is as near to 1 as the plan asks, of bfloat16 everywhere."""
    for beta in (0.3, 0.6, 0.999, -1.0):
        near = math.floor(ROUGH_EXPONENT / abs(beta))
        assert worst("power_any_rough", beta, inputs(-near, near)) <= 0.01 * 2**13
        assert worst("power_any_rough", beta, inputs(-120, 120)) <= 0.01 * 2**16


@pytest.mark.parametrize("name", sorted({name for name, _ in (*REFINED, *ROUGH)}))
def test_infinite_and_missing_d(name):
    """p, q and s·q = d^(-β-1) are 0 where d is Inf and NaN where it is NaN; so is s, but of polynomials."""
    par = formulas.Parameters(*scalars_of(1.0, 0.75, 1.0, F))
    power_of = functions(0, 0, elementwise=True)[name]
    with np.errstate(all="ignore"):
        for d, expected in ((F(np.inf), 0.0), (F(np.nan), np.nan)):
            p, s, q = power_of(d, par)
            for value in (p, q, s * q) if name.startswith(LONG_POWERS) else (p, q, s):
                np.testing.assert_array_equal(value, expected)


REFINED64 = {
    ("power_quarter_refined", 0.25): 1.5,
    ("power_half_refined", 0.5): 3.0,
    ("power_three_quarters_refined", 0.75): 1.5,
    ("power_one_refined", 1.0): 1.5,
    ("power_general_refined", 0.6): 3.0,
    ("power_general_refined", 0.97): 3.0,
    ("power_wide_refined", 1.7): 3.5,
}
wide = pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="longdouble is no wider than float64 here")


@wide
@pytest.mark.parametrize(("name", "beta"), REFINED64, ids=str)
def test_refined_powers_of_float64(name, beta, record_property):
    exponents = (-1022, 1024) if beta <= 1 else (-550, 550)
    d = inputs(*exponents, real=D)
    par = formulas.Parameters(*scalars_of(1.0, beta, 1.0, D))
    truth, inverse = d ** -np.longdouble(beta), 1 / np.longdouble(d)
    largest = 0.0
    for signs in ((0, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
        p, s, q = functions64(*signs)[name](d, par)
        largest = max(largest, float(ulp_error(p, truth, truth, D).max()))
        np.testing.assert_array_equal(p, s)
        normal = d < 2.0**1022
        assert ulp_error(q, inverse, inverse, D)[normal].max() <= 1.5
    record_property("ulp", largest)
    assert largest <= REFINED64[name, beta]


@pytest.mark.parametrize(("name", "beta"), REFINED64, ids=str)
def test_infinite_and_missing_d_of_float64(name, beta):
    par = formulas.Parameters(*scalars_of(1.0, beta, 1.0, D))
    power_of = functions64(0, 0, elementwise=True)[name]
    with np.errstate(all="ignore"):
        for d, expected in ((D(np.inf), 0.0), (D(np.nan), np.nan)):
            p, s, q = power_of(d, par)
            np.testing.assert_array_equal((p, q, s * q), expected)


@wide
def test_the_logarithms_of_the_shares():
    """ln d, near d = 1 too, of which the shares of β, within eight ulp, are a product."""
    with np.errstate(all="ignore"):
        for functions_of, name, real, limit in (
            (functions, "logarithm_divided", F, 5.0),
            (functions, "logarithm", F, 3.0),
            (functions64, "logarithm", D, 5.0),
        ):
            far, near = inputs(-100, 100, real=real), (1 + inputs(-20, 0, real=real)).astype(real)
            d = np.concatenate((far, near, (2 - near)[near < 2]))
            d = d[d != 1]
            truth = np.log(np.longdouble(d))
            for signs in SIGNS:
                assert ulp_error(functions_of(*signs)[name](d), truth, truth, real).max() <= limit


SIGNS = ((0, 0), (1, 1), (-1, -1))
OPERATIONS = ((0.2, 1.0, 1.0), (1.0, 1e-6, 1.0), (0.02, 2.0, 3.0), (0.3, 0.01, 0.1))  # scale, k, size of x


def in_two_chains(add, values, before, after):
    """The sums of the windows of an axis that lies first, as forms/small.py makes them."""
    padded = np.pad(values, ((before, after), (0, 0)))
    chains = [np.zeros_like(values), np.zeros_like(values)]
    for row in range(before + 1 + after):
        chains[row % 2] = add(padded[row : row + len(values)], chains[row % 2])
    return chains[0] + chains[1]


def operands(size):
    rng = np.random.default_rng(17)
    x = rng.standard_normal((24, 20_000)) * size * np.exp(rng.uniform(-2, 2, 20_000))
    return x.astype(F), rng.standard_normal(x.shape).astype(F)


def emulated(name, op, x, g):
    """The largest errors of y and of dx in ulp by this power, over the signs of the approximations' errors."""
    par = formulas.Parameters(*scalars_of(op.scale, op.beta, op.k, F))
    ((before, after),) = op.windows(x.ndim).values()
    y, dx, terms = reference.forward(op, x), reference.backward(op, g, x), reference.backward_magnitude(op, g, x)
    errors = []
    for signs in SIGNS:
        of = functions(*signs)
        d = of["denominator"](in_two_chains(of["add_square"], x, before, after), par)
        p, s, q = of[name](d, par)
        total = in_two_chains(np.add, of["residual"](g, x, s, q), after, before)
        found = of["gradient"](x, g * p, total, par)
        errors.append((ulp_error(x * p, y, y, F).max(), ulp_error(found, dx, terms, F).max()))
    return np.max(errors, axis=0)


# By polynomials, too, n = 16 is 4.2 ulp off for β = 0.74.
@pytest.mark.parametrize(("n", "beta"), [(5, 0.3), (5, 0.6), (5, 0.64), (5, 0.74), (5, 0.9), (16, 0.3), (16, 0.64)])
def test_operations_of_any_beta(n, beta):
    """y is within four ulp and dx within eight by the powers that the plan takes."""
    for scale, k, size in OPERATIONS:
        op, (x, g) = LocalResponseNorm(n, n * scale, beta, k, axis=0), operands(size)
        forward, differentiated = (
            power_function(op, np.dtype(F), n, differentiates) for differentiates in (False, True)
        )
        assert emulated(forward, op, x, g)[0] <= 4.0
        assert emulated(differentiated, op, x, g)[1] <= 8.0


def test_the_logarithm_by_a_quotient():
    """Off by 2^-24.6, beside what its argument is off by."""
    s = np.linspace(2e-3, (math.sqrt(2) - 1) / (math.sqrt(2) + 1), 100_001)
    coefficients = approximate.LOG2_QUOTIENT_0, approximate.LOG2_QUOTIENT_1, approximate.LOG2_QUOTIENT_2
    value = s * np.polynomial.polynomial.polyval(s * s, np.float64(coefficients))
    assert np.abs(value - np.log2((1 + s) / (1 - s))).max() <= 2.0**-24.5
