"""scale, beta and k as tensors of no dimension, which receive gradients; outside a compiled function.

The first derivatives in reverse mode are a kernel; all others are PyTorch's own of its formula (composite.py).
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from numba_lrn.operator import LocalResponseNorm
from numba_lrn.torch import autograd, composite, kernels, operators


def forward(x: Tensor, scale: Tensor, beta: Tensor, k: Tensor, window: LocalResponseNorm) -> Tensor:
    """y, differentiable with respect to all four; ``window`` is an operator whose numbers are not used."""
    result: Tensor = kernels.keeping_tangents(Forward.apply, x, scale, beta, k, window)
    return result


def backward(
    grad_output: Tensor, x: Tensor, scale: Tensor, beta: Tensor, k: Tensor, window: LocalResponseNorm
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, scale, beta and k, differentiable in their turn."""
    result: tuple[Tensor, Tensor, Tensor, Tensor] = kernels.keeping_tangents(
        Backward.apply, grad_output, x, scale, beta, k, window
    )
    return result


def backward_all(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x and of the numbers of ``op``, which lie where ``x`` does; differentiable in their turn."""
    result: tuple[Tensor, Tensor, Tensor, Tensor] = kernels.keeping_tangents(BackwardAll.apply, grad_output, x, op)
    return result


def _formula(window: LocalResponseNorm, x: Tensor, scale: Tensor, beta: Tensor, k: Tensor) -> Tensor:
    return composite.forward(x, scale, beta, k, window.windows(x.ndim))


def _backward_formula(window: LocalResponseNorm, grad_output: Tensor, *primals: Tensor) -> tuple[Tensor, ...]:
    result: tuple[Tensor, ...] = composite.pull(functools.partial(_formula, window), primals, grad_output)
    return result


def _backward_all_formula(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    return _backward_formula(op, grad_output, x, *_numbers(op, x))


def _numbers(op: LocalResponseNorm, x: Tensor) -> list[Tensor]:
    """scale, beta and k as tensors beside ``x``, without a copy from the host, which would wait."""
    return [torch.full((), value, dtype=torch.float64, device=x.device) for value in (op.scale, op.beta, op.k)]


def _forward_rule(function: Callable[..., Any]) -> Any:
    return autograd.forward_rule(
        lambda window, primals, tangents: composite.push(functools.partial(function, window), primals, tangents)
    )


class _ByFormula(autograd.OfTensors):
    """A function of some tensors and a window whose further rules take the formula."""

    @staticmethod
    def formula(op: LocalResponseNorm, /, *tensors: Tensor) -> Any:
        """The function by PyTorch's own operations."""
        raise NotImplementedError

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Any, Any]:
        *tensors, window = inputs
        result = torch.vmap(functools.partial(cls.formula, window), in_dims[:-1])(*tensors)
        return result, (0,) * len(result) if isinstance(result, tuple) else 0


class Forward(_ByFormula):
    """y of x, scale, beta and k."""

    formula = staticmethod(_formula)
    jvp = _forward_rule(_formula)

    @staticmethod
    def forward(x: Tensor, scale: Tensor, beta: Tensor, k: Tensor, window: LocalResponseNorm) -> Tensor:
        if kernels.applies(x, scale, beta, k):
            return kernels.forward(kernels.with_values(scale, beta, k, *operators.window(window)), x)
        if kernels.in_forward_mode():
            return _formula(window, x, scale, beta, k)
        result: Tensor = torch.ops.numba_lrn.forward_with_parameters(x, scale, beta, k, *operators.window(window))
        return result

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, beta, k = ctx.saved_tensors
        return *backward(grad_output, x, scale, beta, k, ctx.op), None


class Backward(_ByFormula):
    """The gradients of x, scale, beta and k, of grad_output and these."""

    formula = staticmethod(_backward_formula)
    jvp = _forward_rule(_backward_formula)

    @staticmethod
    def forward(
        grad_output: Tensor, x: Tensor, scale: Tensor, beta: Tensor, k: Tensor, window: LocalResponseNorm
    ) -> tuple[Tensor, ...]:
        if kernels.applies(grad_output, x, scale, beta, k):
            return kernels.backward_with_parameters(grad_output, x, scale, beta, k, *operators.window(window))
        if kernels.in_forward_mode():
            return _backward_formula(window, grad_output, x, scale, beta, k)
        result: tuple[Tensor, ...] = torch.ops.numba_lrn.backward_with_parameters(
            grad_output, x, scale, beta, k, *operators.window(window)
        )
        return result

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        function = functools.partial(_backward_formula, ctx.op)
        return *composite.pull(function, ctx.saved_tensors, cotangents), None


class BackwardAll(_ByFormula):
    """The gradients of x and of an operator's numbers, of grad_output and x."""

    formula = staticmethod(_backward_all_formula)
    jvp = _forward_rule(_backward_all_formula)

    @staticmethod
    def forward(grad_output: Tensor, x: Tensor, op: LocalResponseNorm) -> tuple[Tensor, ...]:
        if kernels.applies(grad_output, x):
            return kernels.backward_all(op, grad_output, x)
        if kernels.in_forward_mode():
            return _backward_all_formula(op, grad_output, x)
        result: tuple[Tensor, ...] = torch.ops.numba_lrn.backward_with_parameters(
            grad_output, x, *_numbers(op, x), *operators.window(op)
        )
        return result

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        function = functools.partial(_backward_all_formula, ctx.op)
        return *composite.pull(function, ctx.saved_tensors, cotangents), None
