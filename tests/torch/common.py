"""What the tests of the PyTorch front share: PyTorch's function beside ours, and arrays out of tensors."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from tests.support import optional

torch = optional("torch")

from numba_lrn.torch import local_response_norm  # noqa: E402
from numba_lrn.torch.arrays import as_array  # noqa: E402

theirs = torch.nn.functional.local_response_norm
# N ≠ C, H ≠ W; an even window, whose transpose differs; alpha of order one.
SHAPE = (2, 7, 5, 4)
SIZE, ALPHA, BETA, K = 4, 1.5, 0.75, 0.7
ARGUMENTS = (SIZE, ALPHA, BETA, K)
OPERATOR = LocalResponseNorm(*ARGUMENTS)
DTYPES = ("float16", "bfloat16", "float32", "float64")
EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES)


def random(seed, shape=SHAPE, dtype="float64", **options):
    """Normal numbers of both signs."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return torch.from_numpy(values).to(getattr(torch, dtype)).requires_grad_(options.get("requires_grad", False))


def ours(x, function=local_response_norm):
    """The function that the tests differentiate."""
    return function(x, *ARGUMENTS)


def array(tensor):
    return as_array(tensor.detach())


def close(got, expected, rtol=1e-12):
    """Equal on the scale of the largest element."""
    torch.testing.assert_close(got, expected, rtol=0, atol=rtol * float(expected.detach().abs().max()))
