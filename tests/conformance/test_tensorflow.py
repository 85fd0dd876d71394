"""TensorFlow: LRN and LRNGrad."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import pytest

from numba_lrn import conventions
from tests.conformance.harness import agree, cases, framework

tf = framework("tensorflow")

LIMIT = 32
CHANNELS_LAST = (0, 2, 3, 1)


def last(array):
    return np.ascontiguousarray(array.transpose(CHANNELS_LAST))


def test_forward_and_backward():
    for case in cases(8, odd=True):
        radius = case.n // 2
        parameters = {"depth_radius": radius, "bias": case.k, "alpha": case.alpha, "beta": case.beta}
        op = conventions.tensorflow(**parameters)
        x, g = last(case.x), last(case.g)
        y = tf.raw_ops.LRN(input=x, **parameters)
        dx = tf.raw_ops.LRNGrad(input_grads=g, input_image=x, output_image=y, **parameters)
        agree("TensorFlow", op, case, y.numpy(), limit=LIMIT, axes=CHANNELS_LAST)
        agree("TensorFlow", op, case, dx.numpy(), limit=LIMIT, axes=CHANNELS_LAST, backward=True)


def test_defaults():
    x = np.random.default_rng(9).standard_normal((2, 3, 3, 14)).astype(np.float32)
    np.testing.assert_allclose(tf.nn.local_response_normalization(x), conventions.tensorflow()(x), rtol=1e-5)


def test_refuses_what_the_convention_refuses():
    with pytest.raises(tf.errors.InvalidArgumentError, match="depth_radius = -1"):
        tf.nn.local_response_normalization(tf.ones((1, 1, 1, 2)), -1)


def test_defect_nan_spreads_to_the_whole_depth():
    x = np.ones((1, 1, 1, 8), np.float32)
    x[..., 1] = np.nan
    assert np.isnan(tf.nn.local_response_normalization(x, 1).numpy()).all()
    assert np.isnan(conventions.tensorflow(1)(x)).ravel().tolist() == [True, True, True] + [False] * 5


def test_defect_half_squares_overflow():
    """300² is infinite in float16: 0 in the windows that hold it, and NaN in those that do not."""
    x = np.array([300, 1, 1, 1], np.float16).reshape(1, 1, 1, 4)
    y = tf.nn.local_response_normalization(x, 1).numpy().ravel()
    assert y[:2].tolist() == [0, 0]
    assert np.isnan(y[2:]).all()
    ours = conventions.tensorflow(1)(x).ravel()
    np.testing.assert_allclose(ours, [1, 1 / 300, 0.5, 1 / 3**0.5], rtol=1e-3)


def test_defect_gradient_masks_nan_where_dy_is_zero():
    """LRNGrad skips the terms whose dy is 0, so that a NaN in their windows disappears."""
    x = np.array([1, 1, 1, np.nan], np.float32).reshape(1, 1, 1, 4)
    dy = np.array([0, 1, 0, 0], np.float32).reshape(1, 1, 1, 4)
    parameters = {"depth_radius": 1, "bias": 1.0, "alpha": 1.0, "beta": 0.5}
    y = tf.raw_ops.LRN(input=x, **parameters)
    dx = tf.raw_ops.LRNGrad(input_grads=dy, input_image=x, output_image=y, **parameters).numpy()
    assert np.isfinite(dx).any()
    assert np.isnan(conventions.tensorflow(**parameters).backward(dy, x)).ravel()[1:].all()


def test_defect_no_second_derivative():
    x = tf.ones((1, 1, 1, 4))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            y = tf.nn.local_response_normalization(x, 1)
        dx = inner.gradient(y, x)
    with pytest.raises(LookupError, match="LRNGrad"):
        outer.gradient(dx, x)
