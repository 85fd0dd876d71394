"""Random geometries against the reference, and the symmetries of the operator."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numba_lrn import LocalResponseNorm
from tests.support import (
    DTYPES,
    FORMS,
    ORDERS,
    assert_accurate,
    assert_below,
    assert_same_bits,
    in_order,
    random_array,
    spacing,
)

# The same examples every time: what fails here fails for everyone.
examples = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def problems(draw, dtypes):
    """(op, x, g): up to five axes, any subset of them windowed, windows of any sides, memory in any order."""
    ndim = draw(st.integers(1, 5))
    shape = draw(st.lists(st.integers(1, 6), min_size=ndim, max_size=ndim))
    if draw(st.booleans()):  # a long axis: rows that make loops of their own, or windows that are turned
        shape[draw(st.integers(0, ndim - 1))] = draw(st.integers(30, 50))
    axes = draw(st.lists(st.integers(0, ndim - 1), min_size=1, max_size=min(ndim, 3), unique=True))
    sides = st.one_of(st.integers(0, 4), st.integers(8, 30), st.just(10**9))
    windows = [(axis - ndim * draw(st.booleans()), draw(sides), draw(sides)) for axis in axes]
    axis, before, after = zip(*windows, strict=True)
    if len(windows) == 1 and draw(st.booleans()):
        axis, before, after = axis[0], before[0], after[0]
    scale, k = draw(st.sampled_from([1e-4, 0.3, 1.0, 20.0])), draw(st.sampled_from([0.5, 1.0, 2.0]))
    op = LocalResponseNorm.from_window(axis, before, after, scale, 0.75, k)
    dtype = draw(st.sampled_from(dtypes))
    magnitude = draw(st.sampled_from([1e-3, 1.0, 30.0]))
    seed = draw(st.integers(0, 2**32 - 2))
    x = in_order(random_array(seed, shape, dtype, magnitude), draw(st.sampled_from(ORDERS)))
    g = in_order(random_array(seed + 1, shape, dtype), draw(st.sampled_from(ORDERS)))
    return op, x, g


def check(op, x, g):
    y, dx = op(x), op.backward(g, x)
    for result in (y, dx):
        assert result.shape == x.shape
        assert result.dtype == x.dtype
    assert_accurate(op, "forward", y, x)
    assert_accurate(op, "backward", dx, x, g)


@settings(examples, max_examples=250)
@given(problems(["float32"]))
def test_any_geometry(problem):
    check(*problem)


@settings(examples, max_examples=60)
@given(problems(["float64"]))
def test_any_geometry_in_float64(problem):
    check(*problem)


@settings(examples, max_examples=60)
@given(problems(["float16", "bfloat16"]))
def test_any_geometry_in_half_types(problem):
    check(*problem)


@settings(examples, max_examples=60)
@given(problems(["float32"]), st.sampled_from(ORDERS))
def test_any_out(problem, order):
    """Into memory of any order, the same bits; nothing is written beside it."""
    op, x, g = problem
    out = in_order(np.full_like(x, -7), order)
    assert op(x, out=out) is out
    assert_same_bits(out, op(x), op)
    assert op.backward(g, x, out=out) is out
    assert_same_bits(out, op.backward(g, x), op)
    if out.base is not None and out.base.size == 2 * out.size:
        assert not np.any(out.base[..., 1::2])


@settings(examples, max_examples=60)
@given(problems(["float32"]))
def test_an_array_of_another_axis_order_is_the_same_problem(problem):
    """op along axis a of x is op along the same axis of any transposed view, to the bit: memory is what counts."""
    op, x, g = problem
    order = tuple(np.random.default_rng(x.size).permutation(x.ndim))
    windows = op.windows(x.ndim)
    moved = LocalResponseNorm.from_window(
        tuple(order.index(axis) for axis in windows),
        *(tuple(window[side] for window in windows.values()) for side in (0, 1)),
        op.scale,
        op.beta,
        op.k,
    )
    assert_same_bits(moved(x.transpose(order)), op(x).transpose(order), moved)
    got = moved.backward(g.transpose(order), x.transpose(order))
    assert_same_bits(got, op.backward(g, x).transpose(order), moved)


@settings(examples, max_examples=60)
@given(problems(["float32"]))
def test_signs(problem):
    """Odd in x, odd in g, and the gradient even in x: to the bit."""
    op, x, g = problem
    y, dx = op(x), op.backward(g, x)
    assert_same_bits(op(-x), -y, op)
    assert_same_bits(op.backward(-g, x), -dx, op)
    assert_same_bits(op.backward(g, -x), dx, op)


@settings(examples, max_examples=60)
@given(problems(["float32"]), st.sampled_from([4.0, 16.0, 0.25]))
def test_scaling_by_powers_of_four(problem, c):
    """With c·x and c²·k, d is c²·d and y is c^(1−2β)·y: exact to the bit for β = 3/4 and c a power of four."""
    op, x, g = problem
    scaled = LocalResponseNorm.from_window(op.axis, op.before, op.after, op.scale, op.beta, c * c * op.k)
    assert_same_bits(scaled(np.float32(c) * x), np.float32(c**-0.5) * op(x), op)
    got = scaled.backward(g, np.float32(c) * x)
    assert_same_bits(got, np.float32(c**-1.5) * op.backward(g, x), op)


@settings(examples, max_examples=60)
@given(problems(["float32"]))
def test_scale_and_magnitude_are_one(problem):
    """2x with a/4 has the d of x with a, so twice the y and the same dx: to the bit."""
    op, x, g = problem
    quarter = LocalResponseNorm.from_window(op.axis, op.before, op.after, op.scale / 4, op.beta, op.k)
    assert_same_bits(quarter(2 * x), 2 * op(x), op)
    assert_same_bits(quarter.backward(g, 2 * x), op.backward(g, x), op)


@pytest.mark.parametrize("case", FORMS.values(), ids=FORMS)
def test_a_mirrored_array_has_the_mirrored_window(case):
    """Summed from the other end, so the bits may differ."""
    op = case.operator()
    mirrored = LocalResponseNorm.from_window(op.axis, op.after, op.before, op.scale, op.beta, op.k)
    axes = op.axis if isinstance(op.axis, tuple) else (op.axis,)
    x = random_array(61, case.shape)
    got, expected = mirrored(np.ascontiguousarray(np.flip(x, axes))), np.flip(op(x), axes)
    assert_below(np.abs(got - expected) / spacing(expected, np.float32), 8, got, expected, mirrored)


@pytest.mark.parametrize("case", FORMS.values(), ids=FORMS)
def test_backward_is_linear_in_grad_output(case):
    op = case.operator()
    x, g, h = (random_array(62 + i, case.shape, "float64") for i in range(3))
    got = op.backward(2 * g - 3 * h, x)
    expected = 2 * op.backward(g, x) - 3 * op.backward(h, x)
    assert_below(np.abs(got - expected), 1e-13 * np.abs(expected).max(), got, expected, op)


@pytest.mark.parametrize("case", FORMS.values(), ids=FORMS)
def test_the_jacobian_is_that_of_the_transposed_operator(case):
    """⟨u, J v⟩ = ⟨Jᵀ u, v⟩, with J v by differences: the two windows are each other's transpose."""
    op = case.operator()
    x, u, v = (random_array(66 + i, case.shape, "float64") for i in range(3))
    step = 1e-5
    forward = (u * (op(x + step * v) - op(x - step * v))).sum() / (2 * step)
    backward = op.backward(u, x) * v
    assert abs(backward.sum() - forward) < 1e-8 * np.abs(backward).sum()


def test_the_four_dtypes_agree():
    op = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.75, 1.0)
    x = random_array(70, (5, 6, 3, 4), "bfloat16").astype(np.float64)
    x = np.clip(x, -100, 100)
    expected = op(x)
    for dtype, tolerance in (("float16", 2e-3), ("bfloat16", 1e-2), ("float32", 1e-6)):
        np.testing.assert_allclose(op(x.astype(DTYPES[dtype])).astype(np.float64), expected, rtol=tolerance, atol=1e-6)
