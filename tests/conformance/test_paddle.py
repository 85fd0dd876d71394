"""PaddlePaddle."""

import numpy as np
import pytest

from numba_lrn import conventions, reference
from tests.conformance.harness import agree, cases, framework

paddle = framework("paddle")
lrn = framework("paddle.nn.functional").local_response_norm

LIMIT = 16
FLOAT32 = 4 * 2**29  # four ulp of float32 in those of float64
FORMATS = {3: ("NCL", "NLC"), 4: ("NCHW", "NHWC"), 5: ("NCDHW", "NDHWC")}


@pytest.mark.parametrize(("dtype", "ranks"), [(np.float32, (3, 4, 5)), (np.float64, (4,))])
@pytest.mark.parametrize("channels_last", [False, True])
def test_forward_and_backward(dtype, ranks, channels_last):
    for case in cases(11, ranks=ranks, dtype=dtype, sets=100):
        rank = case.x.ndim
        axes = (0, *range(2, rank), 1) if channels_last else None
        data_format = FORMATS[rank][channels_last]
        op = conventions.paddle(case.n, case.alpha, case.beta, case.k, data_format)
        arrays = [np.ascontiguousarray(array.transpose(axes)) if axes else array for array in (case.x, case.g)]
        x, g = (paddle.to_tensor(array) for array in arrays)
        x.stop_gradient = False
        y = lrn(x, case.n, case.alpha, case.beta, case.k, data_format)
        (dx,) = paddle.grad(y, x, g)
        agree("PaddlePaddle", op, case, y.numpy(), limit=LIMIT, axes=axes)
        limit = LIMIT if dtype == np.float32 else FLOAT32
        agree("PaddlePaddle", op, case, dx.numpy(), limit=limit, axes=axes, backward=True)


def test_defect_float64_gradients_have_the_precision_of_float32():
    rng = np.random.default_rng(12)
    array, gradient = rng.standard_normal((2, 2, 6, 5))
    x = paddle.to_tensor(array, stop_gradient=False)
    (dx,) = paddle.grad(lrn(x, 3, 3.0, 0.75, 1.5, "NCL"), x, paddle.to_tensor(gradient))
    error = np.abs(dx.numpy() - reference.backward(conventions.pytorch(3, 3.0, 0.75, 1.5), gradient, array)).max()
    assert 1e-10 < error < 1e-6


def test_defect_the_printed_formula_does_not_divide_alpha():
    """The documentation's formula has no divisor and size/2 on both sides; the code averages."""
    x = paddle.to_tensor(np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1))
    np.testing.assert_allclose(lrn(x, 2, 2.0, 1.0, 1.0, "NCL").numpy().ravel(), [1 / 2, 2 / 6, 3 / 14], rtol=1e-6)
