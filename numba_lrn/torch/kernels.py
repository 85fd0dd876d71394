"""The operator's kernels on plain tensors: no gradients, no modes, no transforms."""

import functools
import importlib
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from numba_lrn.operator import LocalResponseNorm
from numba_lrn.torch import arrays, composite

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


def forward(op: LocalResponseNorm, x: Tensor) -> Tensor:
    """y in a new tensor."""
    y = arrays.empty_like(x)
    _launch(x).forward(op, arrays.as_array(x), arrays.as_array(y))
    return y


def backward(op: LocalResponseNorm, grad_output: Tensor, x: Tensor) -> Tensor:
    """dx in a new tensor."""
    dx = arrays.empty_like(x)
    _launch(x).backward(op, arrays.as_array(grad_output), arrays.as_array(x), arrays.as_array(dx))
    return dx


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
        msg = (
            f"no kernels for tensors on {device}: {error}. Install the CUDA backend with pip install "
            "'numba-lrn[cuda12]' or 'numba-lrn[cuda13]', or move the tensor to the CPU with x.cpu()"
        )
        raise ImportError(msg) from error


def jvp(op: LocalResponseNorm, x: Tensor, tangent: Tensor) -> Tensor:
    return composite.jvp(op, x, tangent)
def double_backward(op, g, x, u):
    return composite.double_backward(op, g, x, u)
def backward_all(op, grad_output, x, alpha, beta, k):
    axis = op.axis if isinstance(op.axis, tuple) else (op.axis,)
    from numba_lrn.torch import operators
    f = functools.partial(lambda x, a, b, c: composite.of_window(x, operators.window(op), a, b, c))
    return torch.func.vjp(f, x, alpha, beta, k)[1](grad_output)
