"""How the CUDA backend sees a tensor: its memory, strides, dtype and stream. The memory here is the host's."""

import types

import numpy as np
import pytest

from tests.torch.common import torch  # isort: skip: skips where PyTorch is absent

from numba_lrn.torch.arrays import DeviceArray

DTYPES = {"float16": "<f2", "bfloat16": "<f2", "float32": "<f4", "float64": "<f8"}


@pytest.fixture
def stream(monkeypatch):
    """Sets PyTorch's current stream, and notes for which device it was asked."""
    asked = []

    def set_stream(handle):
        def current_stream(device):
            asked.append(device)
            return types.SimpleNamespace(cuda_stream=handle)

        monkeypatch.setattr(torch.cuda, "current_stream", current_stream)
        return asked

    return set_stream


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_memory_of_a_view_is_told_as_it_is(dtype, stream):
    asked = stream(0x1234)
    whole = torch.zeros(3, 8, 5, 7, dtype=getattr(torch, dtype))
    view = whole.requires_grad_()[1:, ::2].transpose(2, 3)
    array = DeviceArray(view)
    interface = array.__cuda_array_interface__
    assert asked == [view.device]
    assert (array.shape, array.ndim, array.dtype.name) == ((2, 4, 7, 5), 4, dtype)
    assert interface == {
        "version": 3,
        "shape": (2, 4, 7, 5),
        "strides": tuple(stride * whole.element_size() for stride in view.stride()),
        "typestr": DTYPES[dtype],
        "data": (view.data_ptr(), False),
        "stream": 0x1234,
    }
    if dtype != "bfloat16":
        assert np.dtype(interface["typestr"]) == array.dtype


def test_the_default_stream_has_the_interfaces_name(stream):
    """0 is not allowed there: it would not tell which of two default streams is meant."""
    stream(0)
    assert DeviceArray(torch.zeros(2, 3)).__cuda_array_interface__["stream"] == 1


def test_what_is_negated_lazily_is_negated(stream):
    stream(7)
    tensor = torch.randn(4, dtype=torch.complex64).conj().imag
    assert tensor.is_neg()
    array = DeviceArray(tensor)
    assert array.__cuda_array_interface__["data"][0] != tensor.data_ptr()
    assert torch.equal(array._tensor, tensor)
