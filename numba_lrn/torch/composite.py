"""PyTorch's own formula, out of PyTorch's own operations, for what no kernel covers.

Slow and plain: a derivative of any order in any mode is PyTorch's own of :func:`forward`. docs/torch.md says which
calls come here.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from numba_lrn.operator import LocalResponseNorm

Windows = dict[int, tuple[int, int]]
Window = Sequence[Sequence[int]]
Parameter: TypeAlias = "float | Tensor"


def window_sum(values: Tensor, windows: Windows) -> Tensor:
    """The sum over [i − before, i + after] along each axis, clipped at the borders."""
    shape = values.shape
    if values.numel() == 0:
        return values
    for axis, (before, after) in windows.items():
        length = shape[axis]
        before, after = min(before, length - 1), min(after, length - 1)
        rows = values.reshape(math.prod(shape[:axis]), 1, length, math.prod(shape[axis + 1 :]))
        rows = pad(rows, (0, 0, before, after))
        # The mean times n, since the ONNX exporter ignores divisor_override.
        n = before + after + 1
        values = (avg_pool2d(rows, (n, 1), stride=1) * n).reshape(shape)
    return values


def forward(x: Tensor, scale: Parameter, beta: Parameter, k: Parameter, windows: Windows) -> Tensor:
    """y = x·(k + scale·W(x²))^(−β), the parameters numbers or tensors that broadcast; half types in float32."""
    dtype = x.dtype
    for parameter in (scale, beta, k):
        if isinstance(parameter, Tensor) and parameter.ndim:  # 0-d tensors promote nothing, as in PyTorch
            dtype = torch.promote_types(dtype, parameter.dtype)
    real = torch.promote_types(dtype, torch.float32)
    scale, beta, k = (value.to(real) if isinstance(value, Tensor) else value for value in (scale, beta, k))
    kind = x.device.type
    with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else contextlib.nullcontext():
        wide = x.to(real)
        d = k + scale * window_sum(wide * wide, windows)
        return (wide / d**beta).to(dtype)


def of_window(x: Tensor, window: Window, alpha: Parameter, beta: Parameter, k: Parameter) -> Tensor:
    """y of the window [(axis, …), (before, …), (after, …)], alpha divided by the number of its elements."""
    windows = {axis % x.ndim: (before, after) for axis, before, after in zip(*window, strict=True)}
    return forward(x, alpha / elements(window), beta, k, windows)


def elements(window: Window) -> int:
    """How many elements divide alpha."""
    _, before, after = window
    return math.prod([b + a + 1 for b, a in zip(before, after, strict=True)])  # a list: compilers know no generator


# Derivatives, by PyTorch's of what is above.

Function = Callable[..., Any]


def pull(function: Function, primals: Sequence[Tensor], cotangents: Any) -> Any:
    """The vjp of ``function`` at ``primals``: their cotangents."""
    return torch.func.vjp(function, *primals)[1](cotangents)


def push(function: Function, primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> Any:
    """The jvp of ``function`` at ``primals``: the vjp of its vjp, since forward mode does not nest."""
    with torch.no_grad():
        like = function(*primals)
    start = tuple(map(torch.zeros_like, like)) if isinstance(like, tuple) else torch.zeros_like(like)
    return pull(functools.partial(pull, function, tuple(primals)), (start,), tuple(tangents))[0]


def of(op: LocalResponseNorm, x: Tensor) -> Tensor:
    """y of the operator ``op``."""
    return forward(x, op.scale, op.beta, op.k, op.windows(x.ndim))


def backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> Tensor:
    """dx of the operator ``op``."""
    result: Tensor = pull(functools.partial(of, op), (x,), grad_output)[0]
    return result


def jvp(op: LocalResponseNorm, x: Tensor, tangent: Tensor) -> Tensor:
    """ẏ of the operator ``op``."""
    result: Tensor = push(functools.partial(of, op), (x,), (tangent,))
    return result


def double_backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor, cotangent: Tensor) -> tuple[Tensor, Tensor]:
    """(for grad_output, for x) of the operator ``op``."""
    result: tuple[Tensor, Tensor] = pull(functools.partial(backward, op), (grad_output, x), cotangent)
    return result
