"""The reference against triple loops in exact fractions, and its gradient against finite differences."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from tests.support import assert_below, random_array


def naive_total(values, windows, index, transposed=False):
    """The window sum around one index, written as the definition reads; ``values`` maps an index to a number."""
    sides = [windows.get(axis, (0, 0))[:: -1 if transposed else 1] for axis in range(values.ndim)]
    spans = [range(i - before, i + after + 1) for i, (before, after) in zip(index, sides, strict=True)]
    inside = [
        place
        for place in itertools.product(*spans)
        if all(0 <= i < length for i, length in zip(place, values.shape, strict=True))
    ]
    return sum((values[place] for place in inside), Fraction(0))


def exactly(array):
    """The same numbers as fractions."""
    return np.array([Fraction(float(v)) for v in array.ravel()], object).reshape(array.shape)


def naive(op, x, g):
    """y and dx: window sums and d in fractions, powers in Python floats, sums of residuals by fsum."""
    windows = op.windows(x.ndim)
    squares = exactly(x) ** 2
    indices = list(np.ndindex(x.shape))
    d = {i: float(Fraction(op.k) + Fraction(op.scale) * naive_total(squares, windows, i)) for i in indices}
    y, dx, r = np.empty(x.shape), np.empty(x.shape), np.empty(x.shape)
    for i in indices:
        y[i] = float(x[i]) * d[i] ** -op.beta
        r[i] = float(g[i]) * float(x[i]) * d[i] ** (-op.beta - 1)
    r = exactly(r)
    for i in indices:
        total = float(naive_total(r, windows, i, transposed=True))
        dx[i] = float(g[i]) * d[i] ** -op.beta - 2 * op.scale * op.beta * float(x[i]) * total
    return y, dx


# Lengths 1 and 2 are all border; 5 and 6 have full windows inside. Axes first, middle, last, apart.
WINDOWS = [
    ((5,), 0, 1, 1),
    ((5,), 0, 2, 0),  # only neighbours before
    ((5,), 0, 0, 2),  # only neighbours after
    ((1,), 0, 3, 3),  # nothing but the centre
    ((2, 3), 0, 1, 0),
    ((2, 6, 2), 1, 2, 1),  # an even window
    ((2, 3, 4), -1, 9, 1),  # beyond the axis
    ((2, 3, 4), (1, 2), (1, 0), (0, 2)),
    ((3, 2, 4), (0, 2), 1, (0, 1)),  # axes that are not neighbours
    ((2, 3, 2), (0, 1, 2), (1, 1, 0), (0, 2, 1)),
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("beta", [0.75, -0.5, 2.0])
def test_reference_is_the_definition(window, beta):
    shape, axis, before, after = window
    op = LocalResponseNorm.from_window(axis, before, after, 0.7, beta, 1.3)
    x, g = random_array(1, shape), random_array(2, shape)
    y, dx = naive(op, x, g)
    for got, expected in ((reference.forward(op, x), y), (reference.backward(op, g, x), dx)):
        assert got.dtype == np.float64
        assert_below(np.abs(got - expected), 1e-14 * (1 + np.abs(expected).max()), got, expected, op)


@pytest.mark.parametrize(("size", "sides"), [(1, (0, 0)), (2, (1, 0)), (3, (1, 1)), (4, (2, 1)), (7, (3, 3))])
def test_even_sizes_have_their_extra_element_before(size, sides):
    op = LocalResponseNorm(size, alpha=3.0)
    assert (op.before, op.after) == sides
    assert op.scale == 3.0 / size


def test_a_box_divides_by_all_its_elements():
    assert LocalResponseNorm((2, 3), alpha=3.0, axis=(1, 2)).scale == 0.5


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_transposed_window_is_the_transposed_matrix(window):
    shape, axis, before, after = window
    windows = LocalResponseNorm.from_window(axis, before, after, 1.0, 1.0, 1.0).windows(len(shape))
    size = math.prod(shape)
    basis = np.eye(size).reshape(size, *shape)
    matrix = np.array([reference.window_sum(row, windows).ravel() for row in basis])
    mirrored = np.array([reference.window_sum(row, windows, transposed=True).ravel() for row in basis])
    np.testing.assert_array_equal(mirrored, matrix.T)
    assert set(np.unique(matrix)) <= {0.0, 1.0}


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("beta", [0.75, -0.5, 2.0])
def test_gradient_is_that_of_the_forward(window, beta):
    shape, axis, before, after = window
    op = LocalResponseNorm.from_window(axis, before, after, 0.7, beta, 1.3)
    x = random_array(3, shape, "float64").astype(np.longdouble)
    g = random_array(4, shape, "float64").astype(np.longdouble)
    step = np.longdouble(1e-6)
    expected = np.empty_like(x)
    for index in np.ndindex(shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        expected[index] = (g * (reference.forward(op, up) - reference.forward(op, down))).sum() / (2 * step)
    got = reference.backward(op, g, x)
    assert got.dtype == np.longdouble
    assert_below(np.abs(got - expected), 1e-10 * (1 + np.abs(expected).max()), got, expected, op)


def test_magnitude_is_the_sum_of_absolute_terms():
    op = LocalResponseNorm.from_window(0, 1, 0, 0.5, 1.0, 1.0)
    x, g = np.array([1.0, -2.0], np.float32), np.array([3.0, 1.0], np.float32)
    d = np.array([1.5, 3.5])
    r = np.abs(g * x) / d**2
    expected = np.abs(g) / d + np.abs(x) * np.array([r[0] + r[1], r[1]])
    np.testing.assert_allclose(reference.backward_magnitude(op, g, x), expected, rtol=1e-15)
    assert (reference.backward_magnitude(op, g, x) >= np.abs(reference.backward(op, g, x))).all()


def test_beta_zero_is_the_identity_even_where_d_is_not_a_number():
    op = LocalResponseNorm(3, alpha=1.0, beta=0.0, axis=0)
    x = np.array([1.0, np.nan, 2.0, np.inf, -3.0, 0.5], np.float32)
    g = np.arange(6, dtype=np.float32)
    np.testing.assert_array_equal(reference.forward(op, x), x)
    np.testing.assert_array_equal(reference.backward(op, g, x), g)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_reference_is_wider_than_what_it_judges(dtype):
    wide = "longdouble" if dtype == "float64" else "float64"
    op = LocalResponseNorm(3)
    x = random_array(5, (2, 4), dtype)
    assert reference.forward(op, x).dtype == np.dtype(wide)
    assert reference.backward(op, x, x).dtype == np.dtype(wide)
