"""PaddlePaddle."""

import numpy as np
import pytest

from numba_lrn import conventions
from tests.conformance.harness import agree, cases, framework

paddle = framework("paddle")
lrn = framework("paddle.nn.functional").local_response_norm

LIMIT = 16
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
        agree("PaddlePaddle", op, case, dx.numpy(), limit=LIMIT, axes=axes, backward=True)


def test_defect_the_printed_formula_does_not_divide_alpha():
    """The documentation's formula has no divisor and size/2 on both sides; the code averages."""
    x = paddle.to_tensor(np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1))
    np.testing.assert_allclose(lrn(x, 2, 2.0, 1.0, 1.0, "NCL").numpy().ravel(), [1 / 2, 2 / 6, 3 / 14], rtol=1e-6)
