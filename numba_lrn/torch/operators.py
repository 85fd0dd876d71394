"""The operators that graphs record: torch.compile, torch.export and tracers see one node each.

Their derivatives are those of a compiled graph: reverse mode, once. A forward-mode tangent that reached them would be
dropped by the dispatcher without a word, so they refuse it; functional.py gives such calls the composite instead.
Dispatching costs about 10 µs a call, which the eager path spares.
"""

from typing import Any

import torch
from torch import Tensor

from numba_lrn.operator import LocalResponseNorm
from numba_lrn.torch import arrays, kernels

Window = tuple[list[int], list[int], list[int]]

_WINDOW = "int[] axis, int[] before, int[] after"
torch.library.define("numba_lrn::forward", f"(Tensor x, {_WINDOW}, float scale, float beta, float k) -> Tensor")
torch.library.define(
    "numba_lrn::backward", f"(Tensor grad_output, Tensor x, {_WINDOW}, float scale, float beta, float k) -> Tensor"
)
torch.library.define(
    "numba_lrn::forward_with_parameters", f"(Tensor x, Tensor scale, Tensor beta, Tensor k, {_WINDOW}) -> Tensor"
)
torch.library.define(
    "numba_lrn::backward_with_parameters",
    f"(Tensor grad_output, Tensor x, Tensor scale, Tensor beta, Tensor k, {_WINDOW}) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)
_DEVICES = ("cpu", "cuda")


def arguments(op: LocalResponseNorm) -> tuple[list[int], list[int], list[int], float, float, float]:
    """An operator as the arguments of the registered ones."""
    return (*window(op), op.scale, op.beta, op.k)


def window(op: LocalResponseNorm) -> Window:
    """(axis, before, after), one entry an axis."""
    axis, before, after = zip(*op.each_window(), strict=True)
    return list(axis), list(before), list(after)


def forward(op: LocalResponseNorm, x: Tensor) -> Tensor:
    """y, recorded as one node."""
    result: Tensor = torch.ops.numba_lrn.forward(x, *arguments(op))
    return result


def backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> Tensor:
    """dx, recorded as one node."""
    result: Tensor = torch.ops.numba_lrn.backward(grad_output, x, *arguments(op))
    return result


def _refuse_forward_mode() -> None:
    if kernels.in_forward_mode():
        msg = (
            "a compiled function drops forward-mode tangents: call torch.func.jvp inside of it, or call "
            "numba_lrn.torch.local_response_norm outside of it"
        )
        raise NotImplementedError(msg)


@torch.library.impl("numba_lrn::forward", _DEVICES)
def _forward(x: Tensor, *of: Any) -> Tensor:
    _refuse_forward_mode()
    arrays.check_tensor(x, "x")
    return kernels.forward(kernels.operator(*of), x)


@torch.library.impl("numba_lrn::backward", _DEVICES)
def _backward(grad_output: Tensor, x: Tensor, *of: Any) -> Tensor:
    _refuse_forward_mode()
    return kernels.backward(kernels.operator(*of), grad_output, x)


@torch.library.impl("numba_lrn::forward_with_parameters", _DEVICES)
def _forward_with_parameters(x: Tensor, scale: Tensor, beta: Tensor, k: Tensor, *window: Any) -> Tensor:
    _refuse_forward_mode()
    return kernels.forward(kernels.with_values(scale, beta, k, *window), x)


@torch.library.impl("numba_lrn::backward_with_parameters", _DEVICES)
def _backward_with_parameters(
    grad_output: Tensor, x: Tensor, scale: Tensor, beta: Tensor, k: Tensor, *window: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _refuse_forward_mode()
    return kernels.backward_with_parameters(grad_output, x, scale, beta, k, *window)


def _fake(x: Tensor, axis: Any, before: Any, after: Any) -> Tensor:
    """What a result looks like; an axis that there is not is refused here too."""
    kernels.operator(axis, before, after, 1.0, 1.0, 1.0).windows(x.ndim)
    return torch.empty_like(x)


@torch.library.register_fake("numba_lrn::forward")
def _fake_forward(x: Tensor, axis: Any, before: Any, after: Any, *numbers: Any) -> Tensor:
    return _fake(x, axis, before, after)


@torch.library.register_fake("numba_lrn::backward")
def _fake_backward(grad_output: Tensor, x: Tensor, axis: Any, before: Any, after: Any, *numbers: Any) -> Tensor:
    return _fake(x, axis, before, after)


@torch.library.register_fake("numba_lrn::forward_with_parameters")
def _fake_forward_with_parameters(x: Tensor, scale: Tensor, beta: Tensor, k: Tensor, *window: Any) -> Tensor:
    return _fake(x, *window)


@torch.library.register_fake("numba_lrn::backward_with_parameters")
def _fake_backward_with_parameters(
    grad_output: Tensor, x: Tensor, scale: Tensor, beta: Tensor, k: Tensor, *window: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _fake(x, *window), torch.empty_like(scale), torch.empty_like(beta), torch.empty_like(k)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, *of = inputs
    ctx.save_for_backward(x)
    ctx.of = of


def _backward_of_forward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    (x,) = ctx.saved_tensors
    return torch.ops.numba_lrn.backward(grad_output, x, *ctx.of), *[None] * len(ctx.of)


def _save_with_parameters(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.window = inputs[4:]


def _backward_of_forward_with_parameters(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.numba_lrn.backward_with_parameters(grad_output, *ctx.saved_tensors, *ctx.window)
    return *found, None, None, None


def _refuse_second(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
    msg = (
        "the registered operators of numba_lrn are differentiable once; for second derivatives call "
        "numba_lrn.torch.local_response_norm outside a compiled function"
    )
    raise NotImplementedError(msg)


torch.library.register_autograd("numba_lrn::forward", _backward_of_forward, setup_context=_save_for_backward)
torch.library.register_autograd(
    "numba_lrn::forward_with_parameters",
    _backward_of_forward_with_parameters,
    setup_context=_save_with_parameters,
)
torch.library.register_autograd("numba_lrn::backward", _refuse_second)
torch.library.register_autograd("numba_lrn::backward_with_parameters", _refuse_second)
