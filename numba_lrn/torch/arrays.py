"""Tensors as arrays and arrays as tensors, on shared memory."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def check_tensor(tensor: Any, name: str) -> None:
    """Refuse what is not a dense tensor of a dtype that can be normalised, and say what to do."""
    if not isinstance(tensor, Tensor):
        msg = f"{name} must be a torch.Tensor, got {type(tensor).__name__}; numba_lrn.local_response_norm takes arrays"
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
    """The array on the memory of a tensor, gradients apart."""
    if not tensor.is_cpu:
        return DeviceArray(tensor)
    if tensor.dtype is torch.bfloat16:
        return tensor.detach().resolve_neg().view(torch.int16).numpy().view(_bfloat16())
    return tensor.numpy(force=True)


class DeviceArray:
    """A tensor on a CUDA device, on PyTorch's current stream there, as the CUDA backend takes arrays."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor.detach().resolve_neg()
        # The interface of the tensor itself says nothing of bfloat16, and of no stream.
        self.dtype = np.dtype(
            _bfloat16() if tensor.dtype is torch.bfloat16 else str(tensor.dtype).removeprefix("torch.")
        )
        self.shape = tuple(tensor.shape)
        self.ndim = tensor.ndim
        self.device = tensor.device.index

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        tensor = self._tensor
        stream = torch.cuda.current_stream(tensor.device).cuda_stream
        return {
            "version": 3,
            "shape": self.shape,
            "strides": tuple(stride * tensor.itemsize for stride in tensor.stride()),
            "typestr": f"<f{tensor.itemsize}",
            "data": (tensor.data_ptr(), False),
            "stream": stream or 1,  # the interface's name of the default stream
        }


def _bfloat16() -> Any:
    try:
        import ml_dtypes
    except ModuleNotFoundError as missing:
        msg = "bfloat16 tensors need the package ml_dtypes: pip install 'numba-lrn[torch]'"
        raise ModuleNotFoundError(msg, name=missing.name) from missing
    return ml_dtypes.bfloat16


def as_tensor(array: NDArray, like: Tensor) -> Tensor:
    """The tensor on the memory of an array that a kernel made for ``like``, with the strides of empty_like(like).

    Results live in NumPy's memory: from 4 MB on it asks for huge pages, and where the system leaves that to the
    program filling 149 MB takes 14 ms so, and 53 ms on the 4 KB pages that torch.empty gets.
    """
    bfloat16 = like.dtype is torch.bfloat16
    tensor = torch.from_numpy(array.view(np.int16) if bfloat16 else array)
    if not bfloat16 and tensor.stride() == like.stride():
        return tensor
    strides = torch.empty_like(like, device="meta").stride()
    if any(a != b and extent > 1 for a, b, extent in zip(tensor.stride(), strides, like.shape, strict=True)):
        return torch.empty_like(like).copy_(tensor.view(like.dtype))
    # The stride of an axis of one element is free in NumPy, but tells PyTorch the memory format. And set_ makes no
    # view: autograd forbids changes in place of a view that a custom function returns.
    return torch.empty(0, dtype=like.dtype).set_(tensor.untyped_storage(), 0, like.shape, strides)
