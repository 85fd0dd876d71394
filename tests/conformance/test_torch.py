"""PyTorch."""

import numpy as np
import pytest

from numba_lrn import conventions, reference
from tests.conformance.harness import agree, cases, framework

torch = framework("torch")
lrn = torch.nn.functional.local_response_norm


@pytest.mark.parametrize(("dtype", "ranks"), [(np.float32, (3, 4, 5)), (np.float64, (4,))])
def test_forward_and_backward(dtype, ranks):
    for case in cases(1, ranks=ranks, dtype=dtype):
        op = conventions.pytorch(case.n, case.alpha, case.beta, case.k)
        x = torch.from_numpy(case.x).requires_grad_()
        y = lrn(x, case.n, case.alpha, case.beta, case.k)
        (dx,) = torch.autograd.grad(y, x, torch.from_numpy(case.g))
        agree("PyTorch", op, case, y.detach().numpy(), limit=LIMIT)
        agree("PyTorch", op, case, dx.numpy(), limit=LIMIT, backward=True)


LIMIT = 16


def test_refuses_what_the_convention_refuses():
    with pytest.raises(RuntimeError, match="kernel size should be greater than zero"):
        lrn(torch.ones(1, 2, 3), 0)


def test_defect_cross_map_lrn2d_is_wrong_forward_and_backward():
    """nn.CrossMapLRN2d never subtracts channel 0 and shifts its gradient by one channel."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, 8, 2, 2)).astype(np.float32)
    op = conventions.pytorch(5, 1.0)
    module = torch.nn.CrossMapLRN2d(5, 1.0, 0.75, 1.0)
    wrong = np.abs(module(torch.from_numpy(x)).numpy() - reference.forward(op, x)).max(axis=(0, 2, 3))
    assert (wrong[:3] < 1e-6).all()
    assert (wrong[3:] > 1e-4).all()
    few = torch.from_numpy(x[:, :3]).requires_grad_()
    (dx,) = torch.autograd.grad(module(few), few, torch.ones_like(few))
    truth = reference.backward(op, np.ones_like(x[:, :3]), x[:, :3])
    assert np.abs(dx.numpy() - truth).max() > 1e-2


def test_defect_integers_are_truncated():
    """An int64 input is averaged as integers: (1 + 16)//3 = 5 where 17/3 is meant."""
    x = torch.arange(12).reshape(1, 4, 3)
    y = lrn(x, 3, 1.0, 0.75, 1.0)[0, 0, 1].item()
    assert y == pytest.approx(1 / (1 + 5) ** 0.75, rel=1e-6)
    assert y != pytest.approx(1 / (1 + 17 / 3) ** 0.75, rel=1e-2)


def test_defect_half_squares_overflow():
    """float16 squares in float16: 300² is infinite, y is 0; here it is 300/(1 + 300²)^0.75."""
    x = torch.full((1, 1, 1), 300.0, dtype=torch.float16)
    assert lrn(x, 1, 1.0).item() == 0
    ours = conventions.pytorch(1, 1.0)(x.numpy()).item()
    assert ours == pytest.approx(300 / (1 + 300.0**2) ** 0.75, rel=1e-3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_defect_no_half_types_at_rank_4(dtype):
    with pytest.raises(NotImplementedError, match="avg_pool3d_out_frame"):
        lrn(torch.ones(1, 2, 3, 3, dtype=getattr(torch, dtype)), 3)
