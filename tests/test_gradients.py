"""backward against central differences of the library's own forward, in float64, with a scale of order one.

A wrong backward hides behind a small alpha, a symmetric window, an odd size, N = C, H = W or inputs of one sign:
none of these here.
"""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, local_response_norm, local_response_norm_backward
from tests.support import FORMS, assert_below, random_array

STEP = 1e-5  # truncation about STEP² = 1e-10, rounding about 1e-16 / STEP = 1e-11
LIMIT = 2e-9


def differences(op, g, x):
    """d⟨g, op(x)⟩/dx, one element at a time."""
    result = np.empty_like(x)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += STEP
        down[index] -= STEP
        result[index] = (g * (op(up) - op(down))).sum() / (2 * STEP)
    return result


def assert_gradient(op, x, g):
    got, expected = op.backward(g, x), differences(op, g, x)
    assert_below(np.abs(got - expected), LIMIT * (1 + np.abs(expected).max()), got, expected, op)


def arrays(shape):
    return random_array(11, shape, "float64"), random_array(12, shape, "float64")


# 1 … 9, odd and even; the axis has 5 elements, so that from 6 on every window is clipped on both sides.
@pytest.mark.parametrize("size", range(1, 10))
@pytest.mark.parametrize("beta", [0.75, 2.0])
def test_every_size(size, beta):
    x, g = arrays((2, 5, 3, 4))
    assert_gradient(LocalResponseNorm(size, alpha=1.5, beta=beta, k=0.8), x, g)


# β whose power function is another; β = 1 with k small is where a gradient check failed elsewhere.
@pytest.mark.parametrize("beta", [0.25, 0.5, 1.0, 0.6, -0.75])
def test_every_power(beta):
    x, g = arrays((3, 7, 2))
    assert_gradient(LocalResponseNorm.from_window(1, 2, 1, 1.0, beta, 0.5), x, g)


ONE_SIDED = [
    (1, 3, 0),
    (1, 0, 3),
    (1, 4, 1),
    (-1, 0, 1),
    (0, 1, 0),
    ((1, 3), (1, 0), (0, 2)),  # axes that are not neighbours
    ((0, 2), (2, 1), (0, 1)),
    ((2, 3), (0, 2), (3, 0)),
    ((1, 2, 3), (1, 0, 2), (0, 2, 1)),  # three axes
    ((0, 1, 2, 3), 1, 0),
    ((1, 2), 9, 4),  # beyond both axes
]


@pytest.mark.parametrize("window", ONE_SIDED, ids=str)
def test_windows_of_any_sides(window):
    x, g = arrays((2, 5, 3, 4))
    axis, before, after = window
    assert_gradient(LocalResponseNorm.from_window(axis, before, after, 0.7, 0.75, 0.9), x, g)


@pytest.mark.parametrize("size", [(2, 4), (3, 2), (6, 1)])
def test_boxes_of_different_sizes(size):
    x, g = arrays((2, 3, 4, 5))
    assert_gradient(LocalResponseNorm(size, alpha=4.0, axis=(2, 3)), x, g)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_a_few_directions(form):
    """Arrays too large for one difference an element: the derivative along random directions instead."""
    case = FORMS[form]
    op = case.operator(scale=0.8, k=1.2)
    x, g = arrays(case.shape)
    dx = op.backward(g, x)
    for seed in range(3):
        direction = random_array(20 + seed, case.shape, "float64")
        expected = (g * (op(x + STEP * direction) - op(x - STEP * direction))).sum() / (2 * STEP)
        scale = np.abs(dx * direction).sum()
        assert abs((dx * direction).sum() - expected) <= LIMIT * scale, (op, seed)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_at_the_borders(form):
    """One element at a time, at both ends of the windowed axes, where a window is clipped."""
    case = FORMS[form]
    op = case.operator()
    x, g = arrays(case.shape)
    dx = op.backward(g, x)
    last = tuple(extent - 1 for extent in case.shape)
    middle = tuple(extent // 2 for extent in case.shape)
    for index in ((0,) * x.ndim, last, middle):
        up, down = x.copy(), x.copy()
        up[index] += STEP
        down[index] -= STEP
        expected = (g * (op(up) - op(down))).sum() / (2 * STEP)
        assert abs(dx[index] - expected) <= LIMIT * (1 + abs(expected)), (op, index)


def test_the_function_takes_the_same_arguments():
    x, g = arrays((2, 5, 3))
    got = local_response_norm_backward(g, x, 4, 1.5, 0.75, 0.8)
    expected = differences(lambda values: local_response_norm(values, 4, 1.5, 0.75, 0.8), g, x)
    assert_below(np.abs(got - expected), LIMIT * (1 + np.abs(expected).max()), got, expected, "size 4")
