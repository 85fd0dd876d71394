"""The operator's kernels on plain tensors: no gradients, no modes, no transforms."""

import functools
import importlib
import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter

from numba_lrn.checks import finite
from numba_lrn.operator import LocalResponseNorm
from numba_lrn.torch import arrays

_MODULES = {"cpu": "numba_lrn.backends.cpu.launch", "cuda": "numba_lrn.backends.cuda.launch"}


def applies(*tensors: Tensor) -> bool:
    """Whether a kernel may run on the memory of these tensors: no subclass, transform, dispatch mode or tracer."""
    if (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack()
        or torch._C._get_tracing_state() is not None
    ):
        return False
    for tensor in tensors:
        kind = type(tensor)
        if not ((kind is Tensor or kind is Parameter) and (tensor.is_cpu or tensor.is_cuda)):
            return False
        if torch._C._functorch.is_legacy_batchedtensor(tensor):  # torch.autograd.grad(is_grads_batched=True)
            return False
    return True


def in_forward_mode() -> bool:
    """Whether a level of forward-mode differentiation is open: PyTorch's own question, which has no public name."""
    return forward_ad._current_level >= 0


def constant(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compiler.assume_constant_result`` without its import of the whole compiler: 1 s."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant
def transforms() -> list[str]:
    """The torch.func transforms around this call, which a compiled function is guarded by."""
    stack = torch._C._functorch.get_interpreter_stack() or []
    return [interpreter.key().name for interpreter in stack]


def refuse_tangents_from_outside() -> None:
    """What is compiled drops forward-mode tangents that come from outside, PyTorch's own operations among them.

    The level is read here, so that the compiler guards it.
    """
    if in_forward_mode() and "Jvp" not in transforms():
        msg = (
            "forward-mode AD does not pass through a compiled function: call torch.func.jvp inside of it, or call the "
            "function without torch.compile"
        )
        raise NotImplementedError(msg)


def keeping_tangents(function: Callable[..., Any], *arguments: Any) -> Any:
    """``function`` of the arguments; in forward mode out of the compiler's sight.

    Where a graph broke, as it does at a tangent from outside, the compiler would take each function that is called here
    for itself, and what it makes of them drops tangents without a word.
    """
    if not in_forward_mode():
        return function(*arguments)
    if torch.compiler.is_compiling():
        refuse_tangents_from_outside()
        return function(*arguments)
    compiler = sys.modules.get("torch._dynamo")
    return function(*arguments) if compiler is None else compiler.disable(function)(*arguments)


def forward(op: LocalResponseNorm, x: Tensor, out: Tensor | None = None) -> Tensor:
    """y, in ``out`` or in a new tensor."""
    return _run("forward", op, x, like=x, out=out)


def backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """dx, in ``out`` or in a new tensor."""
    return _run("backward", op, grad_output, x, like=x, out=out)


def jvp(op: LocalResponseNorm, x: Tensor, tangent: Tensor, out: Tensor | None = None) -> Tensor:
    """ẏ, in ``out`` or in a new tensor."""
    return _run("jvp", op, x, tangent, like=x, out=out)


def double_backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """(for grad_output, for x) in new tensors."""
    given = (arrays.as_array(tensor) for tensor in (grad_output, x, cotangent))
    if not x.is_cpu:
        results = torch.empty_like(x), torch.empty_like(x)
        _launch(x).double_backward(op, *given, into=tuple(arrays.as_array(tensor) for tensor in results))
        return results
    for_g, for_x = _launch(x).double_backward(op, *given)
    return arrays.as_tensor(for_g, x), arrays.as_tensor(for_x, x)


def backward_all(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x and, in float64 on its device, of scale, beta and k; nothing waits for them."""
    given = arrays.as_array(grad_output), arrays.as_array(x)
    if x.is_cpu:
        array, *numbers = _launch(x).backward_all(op, *given)
        dx, gradients = arrays.as_tensor(array, x), torch.tensor(numbers, dtype=torch.float64, device=x.device)
    else:
        dx, gradients = torch.empty_like(x), torch.empty(3, dtype=torch.float64, device=x.device)
        _launch(x).backward_all(op, *given, into=(arrays.as_array(dx), arrays.as_array(gradients)))
    of_scale, of_beta, of_k = (gradient.clone() for gradient in gradients)  # as results must not share memory
    return dx, of_scale, of_beta, of_k


def backward_with_parameters(
    grad_output: Tensor, x: Tensor, scale: Tensor, beta: Tensor, k: Tensor, *window: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x and of three tensors of no dimension, each of the kind of its tensor."""
    dx, *gradients = backward_all(with_values(scale, beta, k, *window), grad_output, x)
    of_scale, of_beta, of_k = (
        gradient.to(device=number.device, dtype=number.dtype)
        for gradient, number in zip(gradients, (scale, beta, k), strict=True)
    )
    return dx, of_scale, of_beta, of_k


def _run(name: str, op: LocalResponseNorm, *tensors: Tensor, like: Tensor, out: Tensor | None) -> Tensor:
    run = getattr(_launch(like), name)
    given = [arrays.as_array(tensor) for tensor in tensors]
    if out is None and like.is_cpu:
        return arrays.as_tensor(run(op, *given), like)
    if out is None:
        out = torch.empty_like(like)
    run(op, *given, arrays.as_array(out))
    return out


@functools.lru_cache(maxsize=256)
def _operator(
    axis: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...], scale: float, beta: float, k: float
) -> LocalResponseNorm:
    return LocalResponseNorm.from_window(axis, before, after, scale, beta, k)


def operator(axis: Any, before: Any, after: Any, scale: float, beta: float, k: float) -> LocalResponseNorm:
    """The operator of a node's arguments."""
    if not math.isfinite(scale):
        finite(scale, "alpha")  # as the caller calls it
    return _operator(tuple(axis), tuple(before), tuple(after), scale, beta, k)


def with_values(scale: Tensor, beta: Tensor, k: Tensor, *window: Any) -> LocalResponseNorm:
    """The operator of the present values of tensors. On a CUDA device the host waits for these, once."""
    axis, before, after = window
    if scale.is_cuda and scale.device == beta.device == k.device:
        values = torch.stack([number.detach().double() for number in (scale, beta, k)]).tolist()
    else:
        values = [number.item() for number in (scale, beta, k)]
    return operator(axis, before, after, *values)


def _launch(x: Tensor) -> Any:
    """The backend of the tensor's device."""
    device = "cpu" if x.is_cpu else x.device.type
    launch = _found.get(device)
    if launch is None:
        launch = _found[device] = _import(device)
    return launch


_found: dict[str, Any] = {}


def _import(device: str) -> Any:
    try:
        return importlib.import_module(_MODULES[device])
    except ImportError as error:
        msg = f"no kernels for tensors on {device}: {error}; or move the tensor to the CPU with x.cpu()"
        raise ImportError(msg) from error
