"""Derivatives outside a compiled function: reverse and forward mode, torch.func, vmap.

Each function is a kernel whose derivatives are again such functions, as far as kernels go: the operator, its vjp, its
jvp and the derivative of the vjp. What is beyond takes PyTorch's own formula (composite.py): third derivatives, and
second ones that involve alpha, beta or k.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function, forward_ad

from numba_lrn.operator import LocalResponseNorm
from numba_lrn.torch import composite, kernels, operators


def forward(op: LocalResponseNorm, x: Tensor) -> Tensor:
    """y, differentiable with respect to ``x``."""
    if not differentiated(x) or torch.jit.is_tracing():  # which records a registered operator, and no Function
        return _forward(op, x)
    result: Tensor = kernels.keeping_tangents(Forward.apply, x, op)
    return result


def backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> Tensor:
    """dx, differentiable with respect to both."""
    if not differentiated(grad_output, x):
        return _backward(op, grad_output, x)
    result: Tensor = kernels.keeping_tangents(Backward.apply, grad_output, x, op)
    return result


def jvp(op: LocalResponseNorm, x: Tensor, tangent: Tensor) -> Tensor:
    """ẏ, differentiable with respect to both."""
    if not differentiated(x, tangent):
        return _jvp(op, x, tangent)
    result: Tensor = kernels.keeping_tangents(Jvp.apply, x, tangent, op)
    return result


def double_backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """(for grad_output, for x), differentiable with respect to all three."""
    if not differentiated(grad_output, x, cotangent):
        return _double_backward(op, grad_output, x, cotangent)
    result: tuple[Tensor, Tensor] = kernels.keeping_tangents(DoubleBackward.apply, grad_output, x, cotangent, op)
    return result


def differentiated(*tensors: Tensor) -> bool:
    """Whether a derivative of any order, direction or transform may be asked for."""
    if kernels.in_forward_mode() or torch._C._functorch.peek_interpreter_stack() is not None:
        return True
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


# The operations themselves: by kernels, or as what a mode, subclass or tracer can follow.


def _forward(op: LocalResponseNorm, x: Tensor) -> Tensor:
    if kernels.applies(x):
        return kernels.forward(op, x)
    return composite.of(op, x) if kernels.in_forward_mode() else operators.forward(op, x)


def _backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> Tensor:
    if kernels.applies(grad_output, x):
        return kernels.backward(op, grad_output, x)
    if kernels.in_forward_mode():
        return composite.backward(op, grad_output, x)
    return operators.backward(op, grad_output, x)


def _jvp(op: LocalResponseNorm, x: Tensor, tangent: Tensor) -> Tensor:
    return kernels.jvp(op, x, tangent) if kernels.applies(x, tangent) else composite.jvp(op, x, tangent)


def _double_backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    if kernels.applies(grad_output, x, cotangent):
        return kernels.double_backward(op, grad_output, x, cotangent)
    return composite.double_backward(op, grad_output, x, cotangent)


def forward_rule(rule: Callable[..., Any]) -> Any:
    """A jvp rule, of the operator, the primal values and the tangents, that can itself be differentiated forward.

    PyTorch 2.13 turns forward mode off inside of a rule and saves tensors with their tangents, so that a plain rule
    drops the tangents of an outer transform: the second derivative of x⁴ by jvp of jvp is 0, without an error.
    """

    def jvp(ctx: Any, *tangents: Any) -> Any:
        primals = [forward_ad.unpack_dual(tensor).primal for tensor in ctx.saved_tensors]
        with forward_ad._set_fwd_grad_enabled(True):
            return rule(ctx.op, primals, tangents[:-1])

    return staticmethod(jvp)


class OfTensors(Function):
    """A function of some tensors and an operator: what its subclasses save, and their vmap rule."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, ctx.op = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        """One call for all of the batch, which is one more axis in front."""
        *tensors, op = inputs
        batched = [
            tensor.movedim(dim, 0) if dim is not None else tensor.expand(info.batch_size, *tensor.shape)
            for tensor, dim in zip(tensors, in_dims, strict=False)
        ]
        windows = op.windows(batched[0].ndim - 1)
        axis, before, after = zip(*((axis + 1, *sides) for axis, sides in windows.items()), strict=True)
        result = cls.apply(*batched, LocalResponseNorm.from_window(axis, before, after, op.scale, op.beta, op.k))
        return result, (0, 0) if isinstance(result, tuple) else 0


class Forward(OfTensors):
    """y of x."""

    @staticmethod
    def forward(x: Tensor, op: LocalResponseNorm) -> Tensor:
        return _forward(op, x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return backward(ctx.op, grad_output, x), None

    @forward_rule
    def jvp(op: LocalResponseNorm, primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
        return jvp(op, *primals, *tangents)


class Backward(OfTensors):
    """dx of grad_output and x."""

    @staticmethod
    def forward(grad_output: Tensor, x: Tensor, op: LocalResponseNorm) -> Tensor:
        return _backward(op, grad_output, x)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        grad_output, x = ctx.saved_tensors
        if not ctx.needs_input_grad[1]:
            return jvp(ctx.op, x, cotangent), None, None
        return *double_backward(ctx.op, grad_output, x, cotangent), None

    @forward_rule
    def jvp(op: LocalResponseNorm, primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
        # The Hessian of ⟨grad_output, y⟩ is symmetric: the tangent of x goes where a cotangent would.
        grad_output, x = primals
        tangent_grad, tangent_x = tangents
        return backward(op, tangent_grad, x) + double_backward(op, grad_output, x, tangent_x)[1]


class Jvp(OfTensors):
    """ẏ of x and its tangent."""

    @staticmethod
    def forward(x: Tensor, tangent: Tensor, op: LocalResponseNorm) -> Tensor:
        return _jvp(op, x, tangent)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, Tensor, None]:
        x, tangent = ctx.saved_tensors
        return double_backward(ctx.op, cotangent, x, tangent)[1], backward(ctx.op, cotangent, x), None

    @forward_rule
    def jvp(op: LocalResponseNorm, primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Tensor:
        result: Tensor = composite.push(functools.partial(composite.jvp, op), primals, tangents)
        return result


class DoubleBackward(OfTensors):
    """(for grad_output, for x) of grad_output, x and the cotangent of dx."""

    @staticmethod
    def forward(grad_output: Tensor, x: Tensor, cotangent: Tensor, op: LocalResponseNorm) -> tuple[Tensor, Tensor]:
        return _double_backward(op, grad_output, x, cotangent)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        function = functools.partial(composite.double_backward, ctx.op)
        return *composite.pull(function, ctx.saved_tensors, cotangents), None

    @forward_rule
    def jvp(op: LocalResponseNorm, primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        result: tuple[Tensor, Tensor] = composite.push(
            functools.partial(composite.double_backward, op), primals, tangents
        )
        return result
