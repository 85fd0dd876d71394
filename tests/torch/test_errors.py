"""What is refused, in which words."""

import re

import pytest

from numba_lrn.torch import LocalResponseNorm
from tests.torch.common import local_response_norm, random, theirs, torch


def refused(error, text):
    return pytest.raises(error, match=re.escape(text))


@pytest.mark.parametrize("shape", [(), (3,), (3, 4)], ids=str)
def test_less_than_three_dimensions_as_pytorch(shape):
    x = torch.ones(shape)
    with pytest.raises(ValueError, match="Expected 3D or higher"):
        theirs(x, 3)
    with refused(ValueError, f"input has {len(shape)} dimensions; expected 3 or more, (N, C, ...), as in PyTorch"):
        local_response_norm(x, 3)


@pytest.mark.parametrize("dtype", ["int64", "int8", "bool", "complex64"])
def test_dtypes(dtype):
    text = f"input has dtype torch.{dtype}; supported are float16, bfloat16, float32 and float64: convert it first, "
    with refused(TypeError, text + "for example with input.float()"):
        local_response_norm(torch.ones(2, 3, 4).to(getattr(torch, dtype)), 3)


@pytest.mark.parametrize("x", [[1.0], None, 1.0])
def test_not_a_tensor(x):
    text = f"input must be a torch.Tensor, got {type(x).__name__}; numba_lrn.local_response_norm takes arrays"
    with refused(TypeError, text):
        local_response_norm(x, 3)


def test_sparse():
    with refused(TypeError, "input has layout torch.sparse_coo; only dense tensors are supported: use input."):
        local_response_norm(torch.ones(2, 3, 4).to_sparse(), 3)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"size": 0}, ValueError, "size must be at least 1, got 0"),
        ({"size": 2.0}, TypeError, "size must be an integer or a tuple of integers, got 2.0 of type float"),
        ({"size": True}, TypeError, "size must be an integer"),
        ({"size": 3, "axis": 4}, ValueError, "axis 4 is out of range for an array of 3 dimensions"),
        ({"size": 3, "alpha": float("nan")}, ValueError, "alpha must be finite, got nan"),
        ({"size": 3, "beta": "1"}, TypeError, "beta must be a real number"),
        ({"size": 3, "k": torch.tensor(1j)}, TypeError, "k has dtype torch.complex64; a parameter must be real"),
        ({"size": 3, "k": torch.tensor(True)}, TypeError, "k has dtype torch.bool; a parameter must be real"),
    ],
)
def test_arguments(arguments, error, text):
    with refused(error, text):
        local_response_norm(torch.ones(2, 3, 4), **arguments)


def test_learnable_names_and_values():
    with refused(ValueError, "learnable names 'gamma'; allowed are 'alpha', 'beta' and 'k'"):
        LocalResponseNorm(3, learnable=("alpha", "gamma"))
    with refused(ValueError, "a learnable k is kept positive, got 0.0; take a positive one"):
        LocalResponseNorm(3, k=0.0, learnable="k")
    for value, error, text in (
        (True, TypeError, "alpha must be a real number, got True"),
        ("a", TypeError, "alpha must be a real number, got 'a'"),
        (float("inf"), ValueError, "alpha must be finite, got inf"),
    ):
        with refused(error, text):
            LocalResponseNorm(3, value, learnable="alpha")


def test_numbers_that_diverged():
    """They are told by the caller's name for them."""
    x, nan = torch.ones(2, 3, 4), torch.tensor(float("nan"), requires_grad=True)
    for name in ("alpha", "beta", "k"):
        with refused(ValueError, f"{name} must be finite, got nan"):
            local_response_norm(x, 3, **{name: nan})
    module = LocalResponseNorm(3, learnable="alpha")
    with torch.no_grad():
        module.log_alpha.fill_(1000.0)
    with refused(ValueError, "alpha must be finite, got inf"):
        module(x)


def test_tensors_on_a_device_without_kernels(monkeypatch):
    """What a CUDA tensor is told where the CUDA backend is not installed."""
    from numba_lrn.torch import kernels

    monkeypatch.setitem(kernels._MODULES, "cuda", "numba_lrn.backends.not_installed")
    text = "no kernels for tensors on cuda: No module named 'numba_lrn.backends.not_installed'; or move the tensor to "
    with refused(ImportError, text + "the CPU with x.cpu()"):
        kernels._import("cuda")


def test_registered_operators_refuse_what_they_would_drop():
    x = random(1, requires_grad=True)
    y = torch.ops.numba_lrn.forward(x, [1], [1], [1], 0.5, 0.75, 1.0)
    (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with refused(NotImplementedError, "the registered operators of numba_lrn are differentiable once"):
        dx.sum().backward()
    with (
        torch.autograd.forward_ad.dual_level(),
        refused(NotImplementedError, "a compiled function drops forward-mode tangents"),
    ):
        dual = torch.autograd.forward_ad.make_dual(x.detach(), torch.ones_like(x))
        torch.ops.numba_lrn.forward(dual, [1], [1], [1], 0.5, 0.75, 1.0)
