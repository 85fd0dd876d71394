"""Tensors given to the functions and operators of ``numba_lrn`` itself: what the selector finds for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from numba_lrn.checks import check_same
from numba_lrn.operator import LocalResponseNorm
from numba_lrn.torch import arrays, autograd, kernels, parameters


def forward(op: LocalResponseNorm, x: Tensor, out: Tensor | None = None) -> Tensor:
    """y of ``op``, with its gradient."""
    arrays.check_tensor(x, "x")
    op.windows(x.ndim)
    if out is not None:
        return _into(out, kernels.forward, op, x)
    return autograd.forward(op, x)


def backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """dx of ``op``, with its own gradients."""
    _check(op, x, grad_output=grad_output)
    if out is not None:
        return _into(out, kernels.backward, op, grad_output, x)
    return autograd.backward(op, grad_output, x)


def jvp(op: LocalResponseNorm, x: Tensor, tangent: Tensor, out: Tensor | None = None) -> Tensor:
    """ẏ of ``op``, with its own gradients."""
    _check(op, x, tangent=tangent)
    if out is not None:
        return _into(out, kernels.jvp, op, x, tangent)
    return autograd.jvp(op, x, tangent)


def backward_parameters(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of scale, β and k as tensors of no dimension, float64, with their own gradients."""
    _, d_scale, d_beta, d_k = backward_all(op, grad_output, x)
    return d_scale, d_beta, d_k


def backward_all(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dx and the gradients of scale, β and k, with their own gradients."""
    _check(op, x, grad_output=grad_output)
    return parameters.backward_all(op, grad_output, x)


def double_backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of ⟨cotangent, dx⟩ with respect to grad_output and x, with their own gradients."""
    _check(op, x, grad_output=grad_output, cotangent=cotangent)
    return autograd.double_backward(op, grad_output, x, cotangent)


def _check(op: LocalResponseNorm, x: Tensor, **others: Any) -> None:
    """Refuse tensors that do not match ``x``, before any work."""
    arrays.check_tensor(x, "x")
    op.windows(x.ndim)
    for name, other in others.items():
        check_same(other, name, x)
        if other.device != x.device:
            msg = f"{name} is on {other.device} and x on {x.device}; move one of them"
            raise TypeError(msg)


def _into(out: Tensor, operation: Callable[..., Tensor], op: LocalResponseNorm, *tensors: Tensor) -> Tensor:
    """The result of a kernel in ``out``, which may be one of the inputs or overlap them."""
    _check(op, tensors[0], out=out)
    if autograd.differentiated(out, *tensors):
        msg = "out= takes no part in automatic differentiation; leave it away, or call under torch.no_grad()"
        raise RuntimeError(msg)
    if not kernels.applies(out, *tensors):
        msg = "out= needs tensors with memory of their own on the CPU or a CUDA device; leave it away"
        raise TypeError(msg)
    if out.is_neg():  # its memory holds the numbers of another sign
        return out.copy_(operation(op, *tensors))
    operation(op, *tensors, out)
    torch.autograd.graph.increment_version(out)
    return out
