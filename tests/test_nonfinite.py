"""NaN, Inf, huge, tiny and zero: they reach exactly their windows, and elsewhere IEEE arithmetic decides."""

import math

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.algorithm.parameters import parts_of_scale
from tests.support import DTYPES, FORMS, assert_below, assert_same_bits, random_array

every_form = pytest.mark.parametrize("case", FORMS.values(), ids=FORMS)
REAL = ("float32", "float64")


def reach(op, shape, index, *, transposed=False):
    """Where window sums see the element at ``index``."""
    mark = np.zeros(shape)
    mark[index] = 1
    return reference.window_sum(mark, op.windows(len(shape)), transposed=transposed) > 0


def reach_backward(op, shape, index):
    """Where dx depends on x at ``index``: through d, and through the residuals of all whose d does."""
    own = reach(op, shape, index)
    return own | (reference.window_sum(own.astype(float), op.windows(len(shape)), transposed=True) > 0)


def places(shape):
    """Both ends, the middle, and one that only the second of two neighbouring rows sees (11 of 13)."""
    fractions = (
        lambda extent: 0,
        lambda extent: extent - 1,
        lambda extent: extent // 2,
        lambda extent: extent * 7 // 8,
    )
    return [tuple(fraction(extent) for extent in shape) for fraction in fractions]


def arrays(case, dtype="float32"):
    return random_array(41, case.shape, dtype), random_array(42, case.shape, dtype)


@every_form
def test_nan_in_x_reaches_exactly_its_windows(case):
    op = case.operator()
    x, g = arrays(case)
    y, dx = op(x), op.backward(g, x)
    for index in places(case.shape):
        poisoned = x.copy()
        poisoned[index] = np.nan
        for got, clean, reached in (
            (op(poisoned), y, reach(op, case.shape, index)),
            (op.backward(g, poisoned), dx, reach_backward(op, case.shape, index)),
        ):
            np.testing.assert_array_equal(np.isnan(got), reached, err_msg=f"{op} {index}")
            assert_same_bits(got[~reached], clean[~reached], op)


@every_form
def test_nan_in_grad_output_reaches_exactly_its_transposed_windows(case):
    op = case.operator()
    x, g = arrays(case)
    dx = op.backward(g, x)
    for index in places(case.shape):
        poisoned = g.copy()
        poisoned[index] = np.nan
        got, reached = op.backward(poisoned, x), reach(op, case.shape, index, transposed=True)
        np.testing.assert_array_equal(np.isnan(got), reached, err_msg=f"{op} {index}")
        assert_same_bits(got[~reached], dx[~reached], op)


@every_form
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_inf_reaches_exactly_its_windows(case, value):
    """d = Inf gives the factor 0: zeros around, and Inf·0 = NaN at the element itself."""
    op = case.operator()
    x, g = arrays(case)
    y, dx = op(x), op.backward(g, x)
    for index in places(case.shape):
        infinite = x.copy()
        infinite[index] = value
        got, reached = op(infinite), reach(op, case.shape, index)
        assert np.isnan(got[index])
        reached_else = reached.copy()
        reached_else[index] = False
        assert np.all(got[reached_else] == 0)
        assert_same_bits(got[~reached], y[~reached], op)
        got, reached = op.backward(g, infinite), reach_backward(op, case.shape, index)
        assert_same_bits(got[~reached], dx[~reached], op)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(reference.backward(op, g, infinite)))
        np.testing.assert_array_equal(np.isnan(got), reach(op, case.shape, index, transposed=True))


@every_form
def test_a_number_that_is_not_one_leaves_no_trace_in_the_next_call(case):
    op = case.operator()
    x, g = arrays(case)
    expected = op(x), op.backward(g, x)
    op.backward(np.full_like(g, np.nan), np.full_like(x, np.nan))
    assert_same_bits(op(x), expected[0], op)
    assert_same_bits(op.backward(g, x), expected[1], op)


@every_form
def test_nan_and_inf_in_place(case):
    """What is computed twice because of a NaN must not read its own first result."""
    op = case.operator()
    x, g = arrays(case)
    first, last, middle, _ = places(case.shape)
    x[first], x[last], x[middle] = np.nan, np.inf, -np.inf
    y, dx = op(x), op.backward(g, x)
    own = x.copy()
    assert_same_bits(op(own, out=own), y, op)
    own = g.copy()
    assert_same_bits(op.backward(own, x, out=own), dx, op)
    own = x.copy()
    assert_same_bits(op.backward(g, own, out=own), dx, op)


@every_form
@pytest.mark.parametrize("scale", [1.0, -0.001])
def test_the_tangent_in_place(case, scale):
    """A negative d has its strip computed twice too."""
    op = case.operator(scale=scale)
    x, v = arrays(case)
    first, last, middle, _ = places(case.shape)
    x[middle] = 40.0
    if scale > 0:
        x[first], x[last] = np.nan, np.inf
    expected = op.jvp(x, v)
    assert np.isfinite(expected).any()
    for name in ("x", "tangent"):
        own = {"x": x.copy(), "tangent": v.copy()}
        assert_same_bits(op.jvp(**own, out=own[name]), expected, op)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_and_inf_in_every_dtype(dtype):
    op = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.75, 1.0)
    x, g = random_array(43, (5, 6, 3), dtype), random_array(44, (5, 6, 3), dtype)
    x[0, 3, 1], x[2, 0, 0], x[4, 5, 2] = np.nan, np.inf, -np.inf
    for got, truth in ((op(x), reference.forward(op, x)), (op.backward(g, x), reference.backward(op, g, x))):
        wide = got.astype(truth.dtype)
        np.testing.assert_array_equal(np.isnan(wide), np.isnan(truth))
        assert np.all(np.isfinite(wide) | np.isnan(wide))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_beta_zero_is_the_identity_even_there(dtype, scale):
    op = LocalResponseNorm.from_window(0, 1, 1, scale, 0.0, 0.0)
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 3.0, 6e4], DTYPES[dtype])
    g = np.array([1.0, np.nan, -0.0, np.inf, 2.0, 0.5, -7.0], DTYPES[dtype])
    assert_same_bits(op(x), x)
    assert_same_bits(op.backward(g, x), g)


# Beyond the normal numbers: IEEE arithmetic on the formula as written.


def by_the_formula(op, x, g):
    """(y, |y|) and (dx, sum of its absolute terms): d and r rounded to the array's own type, the rest in a wider one.

    d^(−β−1) may leave the range of the type where r and dx do not. Where r is subnormal its last bits are left open.
    """
    real, wide = x.dtype.type, np.longdouble
    windows = op.windows(x.ndim)
    with np.errstate(all="ignore"):
        d = real(op.k) + real(op.scale) * reference.window_sum(x * x, windows)
        p, p1 = (wide_power(d, e) for e in (-wide(op.beta), -wide(op.beta) - 1))
        x, g = x.astype(wide), g.astype(wide)
        r = (g * p1 * x).astype(real).astype(wide)
        total, magnitude = (reference.window_sum(values, windows, transposed=True) for values in (r, np.abs(r)))
        factor = wide(2 * op.scale * op.beta) * x
        magnitude = np.abs(g * p) + np.abs(factor) * (magnitude + np.finfo(real).tiny)
        return (x * p, np.abs(x * p)), (g * p - factor * total, magnitude)


def wide_power(d, exponent):
    """IEEE pow in longdouble. Where d is not a positive number by C's pow: NumPy's own takes roots, wrong at −Inf."""
    special = np.array([_pow(float(base), float(exponent)) for base in d.ravel()]).reshape(d.shape)
    return np.where((d > 0) & (d < np.inf), d.astype(np.longdouble) ** exponent, special)


def _pow(base, exponent):
    odd = exponent % 2 == 1
    try:
        return math.pow(base, exponent)
    except ValueError:  # a pole, or a negative base with a fractional exponent
        return math.copysign(np.inf, base) if base == 0 and odd else np.inf if base == 0 else np.nan
    except OverflowError:
        return -np.inf if base < 0 and odd else np.inf


def assert_like_the_formula(op, x, g):
    """NaN where the formula has NaN, Inf where it has Inf of that sign, elsewhere close on the scale of the terms."""
    for got, (expected, magnitude) in zip((op(x), op.backward(g, x)), by_the_formula(op, x, g), strict=True):
        number = np.isfinite(expected)
        np.testing.assert_array_equal(got[~number], expected[~number], err_msg=repr(op))
        error = np.abs(got[number] - expected[number]) / np.maximum(magnitude[number], np.finfo(x.dtype).tiny)
        assert_below(error, 16 * np.finfo(x.dtype).eps, got[number], expected[number], op)


HUGE = {"float32": (1e18, 1e19, 2e19, 1e25, 1e37), "float64": (1e153, 1e154, 1.5e154, 1e200, 1e307)}
VANISHING = {"float32": (1e-19, 1e-23, 1e-30, 1e-38, 1e-45), "float64": (1e-154, 1e-162, 1e-200, 5e-324)}


# beta: a root, the platform's power in float64, a division.
@pytest.mark.parametrize("beta", [0.75, 0.6, 1.0])
@pytest.mark.parametrize("dtype", REAL)
def test_huge_values(dtype, beta):
    """Squares that overflow make d infinite and y zero, as in PyTorch; the gradient is zero there, not NaN."""
    op = LocalResponseNorm.from_window(1, 1, 2, 1.0, beta, 1.0)
    for value in HUGE[dtype]:
        x = (value * np.array([[1, -1e-3, 1, 0, 0, 0, -1e-30]])).astype(dtype)
        assert_like_the_formula(op, x, np.ones_like(x))
        assert np.isfinite(op(x)).all()
        assert np.isfinite(op.backward(np.ones_like(x), x)).all()
        if value > 2 * np.sqrt(np.finfo(dtype).max):
            assert np.all(op(x)[0, :4] == 0)


@pytest.mark.parametrize("dtype", REAL)
def test_gradient_at_the_end_of_the_range(dtype):
    op = LocalResponseNorm.from_window(1, 1, 2, 1.0, 0.75, 1.0)
    x = np.full((1, 4), np.finfo(dtype).max)
    np.testing.assert_array_equal(op.backward(np.ones_like(x), x), np.zeros_like(x))


@pytest.mark.parametrize("beta", [0.75, 0.6, 1.0])
@pytest.mark.parametrize("dtype", REAL)
def test_vanishing_values(dtype, beta):
    """Squares that vanish leave d = k, and y = x·k^(−β) whatever is left of x."""
    op = LocalResponseNorm.from_window(1, 1, 2, 1.0, beta, 2.0)
    for value in VANISHING[dtype]:
        x = (value * np.array([[1, -1, 0.5, 2, -2, 1, 1]])).astype(dtype)
        g = random_array(45, x.shape, dtype)
        factor = np.dtype(dtype).type(2.0**-beta)
        step = np.nextafter(0, 1, dtype=dtype)
        np.testing.assert_allclose(op(x), x * factor, rtol=1e-6, atol=step)
        np.testing.assert_allclose(op.backward(g, x), g * factor, rtol=1e-6)


@pytest.mark.parametrize("beta", [0.75, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("dtype", REAL)
def test_k_zero(dtype, beta):
    """d = a·S: windows of zeros give 0·0^(−β) = NaN, others stay numbers, even where d is subnormal."""
    op = LocalResponseNorm.from_window(1, 1, 1, 0.5, beta, 0.0)
    x = np.array([[0, 0, 0, 1, -2, 0, 3, 0, 0, 0, 1e-3, 1e-4]], dtype)
    g = np.linspace(1, 2, x.size, dtype=dtype).reshape(x.shape)
    assert_like_the_formula(op, x, g)
    np.testing.assert_array_equal(np.isnan(op(x))[0], [1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])


@pytest.mark.parametrize("beta", [0.75, 0.5, 0.6, 1.0])
@pytest.mark.parametrize("dtype", REAL)
def test_subnormal_d(dtype, beta):
    """k = 0 and squares that nearly vanish: d has few digits left, and y as many."""
    op = LocalResponseNorm.from_window(1, 1, 1, 0.5, beta, 0.0)
    tiny = np.full((1, 5), np.sqrt(np.finfo(dtype).tiny) / 64, dtype)
    y = op(tiny)
    d = 0.5 * np.array([2, 3, 3, 3, 2]) * tiny.astype("longdouble") ** 2
    assert np.all(d < np.finfo(dtype).tiny)
    np.testing.assert_allclose(y[0], tiny[0] * d[0] ** -np.longdouble(beta), rtol=1e-2)


@pytest.mark.parametrize("beta", [0.75, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize(("scale", "k"), [(-1.0, 2.0), (1.0, -2.0), (-0.5, -1.0)])
def test_negative_d(dtype, beta, scale, k):
    """A negative d has a power where β is an integer and none elsewhere, as IEEE pow says."""
    op = LocalResponseNorm.from_window(1, 1, 1, scale, beta, k)
    x = np.array([[0.5, 0.25, 2.0, -3.0, 0.125, 1.5, 0.0, -0.75, 4.0]], dtype)
    g = np.linspace(-1, 2, x.size, dtype=dtype).reshape(x.shape)
    assert_like_the_formula(op, x, g)
    d = k + scale * reference.window_sum(x * x, {1: (1, 1)})
    assert (d < 0).any()
    np.testing.assert_array_equal(np.isnan(op(x)), (d < 0) & (beta % 1 != 0))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("beta", [0.75, 0.6, 1.0, 2.0])
def test_alpha_and_k_zero(dtype, beta):
    """d = 0 everywhere: x/0, as PyTorch gives it; zeros give NaN."""
    op = LocalResponseNorm.from_window(1, 1, 1, 0.0, beta, 0.0)
    x = np.array([[1.0, -2.0, 0.0, 3.0]], dtype)
    np.testing.assert_array_equal(op(x), np.array([[np.inf, -np.inf, np.nan, np.inf]], dtype))


def test_a_half_result_overflows_to_inf():
    """y = x·0.25^(−0.75) = 2.83·x, rounded once: beyond 65520 it is Inf, below it is a number."""
    op = LocalResponseNorm.from_window(1, 1, 1, 0.0, 0.75, 0.25)
    x = np.array([[60000.0, -30000.0, 23000.0, 100.0]], np.float16)
    np.testing.assert_array_equal(np.isinf(op(x)), [[True, True, False, False]])
    assert op(x)[0, 1] == -np.inf


def test_squares_beyond_float16_are_numbers():
    op = LocalResponseNorm.from_window(1, 1, 1, 1.0, 0.5, 1.0)
    x = np.full((1, 4), 6e4, np.float16)
    np.testing.assert_allclose(op(x)[0], [2**-0.5, 3**-0.5, 3**-0.5, 2**-0.5], rtol=1e-3)


SCALES = (1.0, -1.0, 0.1, -0.2, 2e-5, 1e-38, 3e-45, 1e-45, -7.1e-46, 1.0 + 2.0**-40, 5e38)


@pytest.mark.parametrize("real", [np.float32, np.float64])
@pytest.mark.parametrize("scale", SCALES)
def test_both_parts_of_a_scale_make_an_infinite_sum_infinite(scale, real):
    with np.errstate(over="ignore"):
        cut, rest = parts_of_scale(scale, real)
        for part in (real(cut), real(rest)):
            assert part * real(math.inf) == math.copysign(math.inf, scale)
    assert real(cut) == cut
    # A subnormal scale is off by what a subnormal number is.
    assert abs(cut + rest - scale) <= max(2.0**-80 * abs(scale), 2 * float(np.finfo(real).smallest_subnormal))


def test_a_scale_of_zero_has_no_rest():
    for scale in (0.0, 1e-46):
        assert parts_of_scale(scale, np.float32) == (0.0, 0.0)


@pytest.mark.parametrize("dtype", [*REAL, "float16"])
@pytest.mark.parametrize(("scale", "k"), [(1.0, -9.0), (-1.0, 9.0), (0.5, -4.5), (-0.25, 2.25)])
def test_a_denominator_that_cancels_is_zero_where_it_is_so_exactly(scale, k, dtype):
    op = LocalResponseNorm.from_window(1, 0, 0, scale, 0.75, k)
    x = np.full((1, 4, 5), 3, dtype)
    y, dx = op(x), op.backward(x, x)
    assert np.all(np.isinf(y))
    np.testing.assert_array_equal(y, reference.forward(op, x))
    np.testing.assert_array_equal(dx, reference.backward(op, x, x))


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("alpha", [5.0, 0.5])
@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_sums_that_overflow_give_zero_for_every_scale(beta, alpha, dtype):
    """y = x·d^(-β) with d = Inf, where the scale is one float (1) and where it is not (0.1)."""
    x = np.full((1, 9, 40), np.finfo(dtype).max / 4, dtype)
    op = LocalResponseNorm(5, alpha, beta, k=1.0)
    assert np.all(op(x) == 0)
    assert np.all(op.backward(x, x) == 0)


# Nothing warns, nor raises where NumPy is told to.


def test_infinities_of_both_signs_in_the_gradients_of_the_parameters():
    op, x = LocalResponseNorm(3), np.ones((4, 16, 64, 64), np.float32)
    g = x.copy()
    g[0, 0, 0, 0], g[-1, -1, -1, -1] = np.inf, -np.inf
    with np.errstate(all="raise"):
        assert np.isnan(op.backward_parameters(g, x)).all()
        assert np.isnan(op.backward_all(g, x)[1:]).all()
        assert np.isnan(reference.backward_parameters(op, g, x)).all()


def test_k_beyond_the_range_of_the_type():
    with np.errstate(all="raise"):
        assert not LocalResponseNorm(3, k=1e300)(np.ones((2, 3, 4), np.float32)).any()
