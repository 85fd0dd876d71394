"""Values and gradients of torch.nn.functional.local_response_norm, where the names and the window come from."""

import numpy as np
import pytest

import numba_lrn as lrn
from tests.support import optional, random_array

torch = optional("torch")

# PyTorch wants at least (N, C, one more axis); N ≠ C and H ≠ W show exchanged axes.
SHAPES = [(3, 7, 4), (2, 5, 3, 4), (3, 5, 2, 3, 4), (2, 6, 2, 3, 2, 3), (2, 5, 6, 7)]
TOLERANCE = {"float32": 2e-6, "float64": 1e-14}


def torch_results(x, g, *arguments):
    """PyTorch's y and dx."""
    tensor = torch.from_numpy(x).requires_grad_()
    y = torch.nn.functional.local_response_norm(tensor, *arguments)
    y.backward(torch.from_numpy(g))
    return y.detach().numpy(), tensor.grad.numpy()


def assert_equal_to_torch(shape, dtype, *arguments):
    x, g = random_array(51, shape, dtype), random_array(52, shape, dtype)
    results = lrn.local_response_norm(x, *arguments), lrn.local_response_norm_backward(g, x, *arguments)
    for name, got, expected in zip(("y", "dx"), results, torch_results(x, g, *arguments), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(
            got, expected, rtol=0, atol=TOLERANCE[dtype] * np.abs(expected).max(), err_msg=f"{name} {shape} {arguments}"
        )


# alpha = 1: with the default 1e-4 a wrong window changes nothing that can be seen.
@pytest.mark.parametrize("size", range(1, 10))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_sizes_odd_and_even(shape, size, dtype):
    assert_equal_to_torch(shape, dtype, size, 1.0, 0.75, 1.0)


@pytest.mark.parametrize(("alpha", "beta", "k"), [(1.0, 0.5, 2.0), (2.0, 1.0, 0.5), (0.5, 0.6, 1.0), (1e-4, 0.75, 2.0)])
def test_parameters(alpha, beta, k):
    assert_equal_to_torch((2, 5, 3, 4), "float64", 4, alpha, beta, k)


def test_defaults():
    x = random_array(53, (2, 5, 3, 4))
    expected = torch.nn.functional.local_response_norm(torch.from_numpy(x), 3).numpy()
    np.testing.assert_allclose(lrn.local_response_norm(x, 3), expected, rtol=1e-6)
    np.testing.assert_allclose(
        lrn.LocalResponseNorm(3)(x), torch.nn.LocalResponseNorm(3)(torch.from_numpy(x)), rtol=1e-6
    )


@pytest.mark.parametrize("shape", [(32, 5, 24, 24), (16, 5, 7, 7, 7, 7)], ids=str)
def test_the_examples_of_the_module_docstring(shape):
    """nn.LocalResponseNorm(2) on a 4-D and on a 6-D signal."""
    x = random_array(54, shape)
    for alpha in (1e-4, 1.0):
        expected = torch.nn.LocalResponseNorm(2, alpha=alpha)(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(lrn.LocalResponseNorm(2, alpha=alpha)(x), expected, rtol=2e-6, atol=1e-7)


def test_window_larger_than_the_channels():
    assert_equal_to_torch((2, 3, 4, 5), "float64", 12, 1.0, 0.75, 1.0)


def test_channels_last_memory():
    x = random_array(55, (2, 5, 3, 4))
    last = torch.from_numpy(x).to(memory_format=torch.channels_last)
    expected = torch.nn.functional.local_response_norm(last, 4, 1.0)
    got = lrn.local_response_norm(last.numpy(), 4, 1.0)
    assert got.strides == last.numpy().strides
    np.testing.assert_allclose(got, expected.numpy(), rtol=2e-6, atol=1e-7)


# Beyond the promised bounds the results are no worse than PyTorch's, on the scale of the terms.
@pytest.mark.parametrize("recipe", ["forward", "backward"])
@pytest.mark.parametrize("magnitude", [1e-30, 1e-19, 1e8, 1e10, 1e12, 1e14, 1e18, 1e19, 1e30])
def test_huge_and_tiny_values_are_no_worse(magnitude, recipe):
    op = lrn.LocalResponseNorm(3, 1.0)
    x, g = random_array(56, (2, 6, 30), magnitude=magnitude), random_array(57, (2, 6, 30))
    if recipe == "forward":
        got, peer = op(x), torch_results(x, g, 3, 1.0)[0]
        truth = lrn.reference.forward(op, x)
        magnitude = np.abs(truth)
    else:
        got, peer = op.backward(g, x), torch_results(x, g, 3, 1.0)[1]
        truth, magnitude = lrn.reference.backward(op, g, x), lrn.reference.backward_magnitude(op, g, x)
    ours, theirs = (np.abs(result - truth) / magnitude for result in (got, peer))
    print(f"{recipe}: largest relative error {ours.max():.2g}, PyTorch {np.nanmax(theirs):.2g}")
    assert np.isfinite(got[np.isfinite(peer)]).all()
    assert ours.max() <= 2 * np.nanmax(theirs) + 8 * np.finfo(np.float32).eps


def test_nan_and_inf():
    x = random_array(58, (2, 6, 3), "float64")
    x[0, 2, 1], x[1, 4, 0] = np.nan, np.inf
    y = torch.nn.functional.local_response_norm(torch.from_numpy(x), 3, 1.0).numpy()
    np.testing.assert_allclose(lrn.local_response_norm(x, 3, 1.0), y, rtol=1e-12)
