"""oneDNN, by the C face in onednn_lrn.cpp: the library's path is in NUMBA_LRN_ONEDNN."""

import ctypes
import os

import numpy as np
import pytest

from numba_lrn import conventions
from tests.conformance.harness import agree, cases

LIBRARY = os.environ.get("NUMBA_LRN_ONEDNN")
if not LIBRARY:
    pytest.skip("NUMBA_LRN_ONEDNN does not name the library", allow_module_level=True)

ALGORITHMS = ("lrn_across_channels", "lrn_within_channel")
LIMIT = 16

_floats = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
_lrn = ctypes.CDLL(LIBRARY).lrn
_lrn.argtypes = [
    *(ctypes.c_int, ctypes.c_int, np.ctypeslib.ndpointer(np.int64), _floats, _floats, _floats, _floats),
    *(ctypes.c_int, ctypes.c_float, ctypes.c_float, ctypes.c_float),
]


def run(algorithm, x, g, size, alpha, beta, k):
    y, dx = np.empty_like(x), np.empty_like(x)
    dims = np.array(x.shape, np.int64)
    failed = _lrn(ALGORITHMS.index(algorithm), x.ndim, dims, x, g, y, dx, size, alpha, beta, k)
    if failed:
        msg = "oneDNN refused"
        raise ValueError(msg)
    return y, dx


@pytest.mark.parametrize(("algorithm", "ranks"), [(ALGORITHMS[0], (2, 3, 4, 5)), (ALGORITHMS[1], (4, 3, 5))])
def test_forward_and_backward(algorithm, ranks):
    for case in cases(12, ranks=ranks):
        parameters = (case.n, case.alpha, case.beta, case.k)
        axis = tuple(range(2, case.x.ndim)) if algorithm == ALGORITHMS[1] else None
        op = conventions.onednn(algorithm, *parameters, axis=axis)
        y, dx = run(algorithm, case.x, case.g, *parameters)
        agree(f"oneDNN {algorithm}", op, case, y, limit=LIMIT)
        agree(f"oneDNN {algorithm}", op, case, dx, limit=LIMIT, backward=True)


def test_refuses_what_the_convention_refuses():
    x = np.ones((1, 2, 3, 3), np.float32)
    with pytest.raises(ValueError, match="oneDNN refused"):
        run(ALGORITHMS[0], x, x, -1, 1.0, 0.75, 1.0)


def test_defect_even_sizes_cover_one_element_fewer():
    """Size 2 is the element alone, and is divided by 2."""
    x = np.array([1, 2, 3], np.float32).reshape(1, 3, 1, 1)
    y, _ = run(ALGORITHMS[0], x, x, 2, 2.0, 1.0, 1.0)
    np.testing.assert_allclose(y.ravel(), [1 / 2, 2 / 5, 3 / 10], rtol=1e-6)


def test_defect_the_documentation_prints_another_divisor_within_channels():
    """alpha/size in the text, alpha/size² in the code: 3×3 ones, size 3, the centre has S = 9."""
    x = np.ones((1, 1, 3, 3), np.float32)
    y, _ = run(ALGORITHMS[1], x, x, 3, 9.0, 1.0, 1.0)
    assert y[0, 0, 1, 1] == pytest.approx(1 / (1 + 9))
