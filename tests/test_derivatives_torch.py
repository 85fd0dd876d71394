"""Every derivative against PyTorch's autograd in float64: first and second, forward mode, tensor-valued parameters."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from tests.support import optional, random_array

torch = optional("torch")
# PyTorch's own forward mode compiles its formulas with what it tells others to leave.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")

SHAPE = (3, 7, 2)
# (size, alpha, beta, k): odd, even, wider than the axis; β = 1 is the kernel that tests/test_derivatives.py compiles.
PARAMETERS = [(5, 1.5, 1.0, 0.8), (4, 2.0, 1.0, 0.7), (2, 1.0, 1.0, 1.0), (20, 3.0, 1.0, 0.5)]
OTHER_POWERS = [(4, 1.0, 0.75, 1.0), (3, 2.0, 0.6, 0.9), (6, 1.0, -0.5, 0.7), (4, 0.5, 2.0, 1.1)]


def arrays():
    return tuple(random_array(seed, SHAPE, "float64") for seed in (71, 72, 73))


def composed(x, size, alpha, beta, k):
    """The formula of torch.nn.functional.local_response_norm, which takes no tensors for its parameters."""
    square = torch.nn.functional.pad((x * x).movedim(1, -1), (size // 2, (size - 1) // 2))
    return x * (k + alpha * square.unfold(-1, size, 1).mean(-1).movedim(-1, 1)) ** -beta


def torch_results(size, alpha, beta, k):
    """jvp, dx, (dalpha, dbeta, dk), for g and for x, of PyTorch."""
    x, g, u = (torch.from_numpy(array) for array in arrays())
    x.requires_grad_()
    g.requires_grad_()
    parameters = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (alpha, beta, k)]
    y = torch.nn.functional.local_response_norm(x, size, alpha, beta, k)
    (dx,) = torch.autograd.grad(y, x, g, create_graph=True)
    for_g, for_x = torch.autograd.grad(dx, (g, x), u)
    gradients = torch.autograd.grad(composed(x, size, *parameters), parameters, g)
    _, tangent = torch.func.jvp(lambda value: composed(value, size, alpha, beta, k), (x.detach(),), (u,))
    results = (tangent, dx, *gradients, for_g, for_x)
    return [np.asarray(result.detach().numpy()) for result in results]


def results_of(op, size):
    """The same of the operator's methods, or of the reference."""
    x, g, u = arrays()
    d_scale, d_beta, d_k = op.backward_parameters(g, x)
    dx = op.backward(g, x)
    return [op.jvp(x, u), dx, d_scale / size, d_beta, d_k, *op.double_backward(g, x, u)]


class Reference:
    """The reference with the methods of the operator."""

    def __init__(self, op):
        self.op = op

    def __getattr__(self, name):
        return lambda *arrays: getattr(reference, name)(self.op, *arrays)


NAMES = ("jvp", "dx", "d_alpha", "d_beta", "d_k", "for g", "for x")


def assert_equal(got, expected):
    for name, ours, theirs in zip(NAMES, got, expected, strict=True):
        scale = np.abs(theirs).max()
        np.testing.assert_allclose(np.asarray(ours, float), theirs, rtol=0, atol=2e-13 * scale, err_msg=name)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_the_library(parameters):
    op = LocalResponseNorm(*parameters)
    assert_equal(results_of(op, parameters[0]), torch_results(*parameters))


@pytest.mark.parametrize("parameters", [*PARAMETERS, *OTHER_POWERS], ids=str)
def test_the_reference(parameters):
    op = LocalResponseNorm(*parameters)
    assert_equal(results_of(Reference(op), parameters[0]), torch_results(*parameters))


def test_all_gradients_in_one_pass():
    op = LocalResponseNorm(*PARAMETERS[1])
    x, g, _ = arrays()
    dx, *gradients = op.backward_all(g, x)
    np.testing.assert_array_equal(dx, op.backward(g, x))
    np.testing.assert_allclose(gradients, op.backward_parameters(g, x), rtol=1e-13)
