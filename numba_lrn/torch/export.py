"""What an ONNX model gets: a LRN node where that computes the same numbers, other nodes elsewhere."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from numba_lrn.torch import composite

Parameter: TypeAlias = "float | Tensor"


def is_wanted() -> bool:
    """Whether the graph that is recorded becomes an ONNX model."""
    return torch.onnx.is_in_onnx_export()


def local_response_norm(x: Tensor, window: Sequence[Sequence[int]], given: Sequence[Parameter]) -> Tensor:
    """y as ONNX's nodes.

    ONNX's window has the extra element of an even size after the centre, PyTorch's before it, so that the LRN node is
    for odd sizes; so it is in ONNX Runtime, which refuses the others, alpha and beta that are not positive, float64
    and bfloat16, and any shape but four dimensions.
    """
    (axis, *further), (before, *_), (after, *_) = window
    alpha, beta, k = given
    if further or before != after or x.dtype not in (torch.float32, torch.float16):
        return composite.of_window(x, window, *given)
    if isinstance(alpha, Tensor) or isinstance(beta, Tensor) or isinstance(k, Tensor) or alpha <= 0 or beta <= 0:
        return composite.of_window(x, window, *given)
    shape = x.shape
    axis %= x.ndim
    if x.ndim != 4 or axis != 1:
        x = x.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]), 1)
    attributes = {"size": before + after + 1, "alpha": float(alpha), "beta": float(beta), "bias": float(k)}
    y = torch.onnx.ops.symbolic("LRN", (x,), attributes, dtype=x.dtype, shape=x.shape, version=13)
    return y.reshape(shape)
