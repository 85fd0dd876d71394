"""Tensors as arrays on shared memory, and new tensors on NumPy's memory where that is faster."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

# From 4 MB on NumPy asks for huge pages. Where the system leaves that to the program, filling 149 MB of fresh memory
# takes 14 ms so, and 53 ms on the 4 KB pages that torch.empty gets.
_HUGE_PAGES = 4 << 20


def check_tensor(tensor: Any, name: str) -> None:
    """Refuse what is not a dense tensor of a dtype that can be normalised, and say what to do."""
    if not isinstance(tensor, Tensor):
        msg = f"{name} must be a torch.Tensor, got {type(tensor).__name__}; use numba_lrn.local_response_norm for arrays"
        raise TypeError(msg)
    if tensor.dtype not in DTYPES:
        msg = (
            f"{name} has dtype {tensor.dtype}; supported are float16, bfloat16, float32 and float64: convert it first, "
            f"for example with {name}.float()"
        )
        raise TypeError(msg)
    if tensor.layout is not torch.strided:
        msg = f"{name} has layout {tensor.layout}; only dense tensors are supported: use {name}.to_dense()"
        raise TypeError(msg)


def as_array(tensor: Tensor) -> Any:
    """The array on the memory of a tensor, gradients apart: NumPy's on the CPU, the tensor itself on a CUDA device."""
    if not tensor.is_cpu:
        return tensor.detach()
    if tensor.dtype is torch.bfloat16:
        return tensor.detach().resolve_neg().view(torch.int16).numpy().view(_bfloat16())
    return tensor.numpy(force=True)


def _bfloat16() -> Any:
    try:
        import ml_dtypes
    except ModuleNotFoundError as missing:
        msg = "bfloat16 tensors need the package ml_dtypes: pip install 'numba-lrn[torch]'"
        raise ModuleNotFoundError(msg, name=missing.name) from missing
    return ml_dtypes.bfloat16


def as_tensor(array: NDArray, like: Tensor) -> Tensor:
    """The tensor on the memory of a contiguous array."""
    tensor = torch.from_numpy(array)
    if tensor.stride() != like.stride():
        # The stride of an axis of one element is free, but tells PyTorch the memory format.
        tensor.set_(tensor.untyped_storage(), 0, like.shape, like.stride())
    return tensor


def empty_like(x: Tensor) -> Tensor:
    """``torch.empty_like``, which keeps the memory format, on pages that are faster to fill."""
    if not x.is_cpu or x.nbytes < _HUGE_PAGES:
        return torch.empty_like(x)
    strides = torch.empty_like(x, device="meta").stride()
    storage = torch.from_numpy(np.empty(x.nbytes, np.uint8)).untyped_storage()
    # set_ makes no view: autograd forbids changes in place of a view that a custom function returns.
    return torch.empty(0, dtype=x.dtype).set_(storage, 0, x.shape, strides)
