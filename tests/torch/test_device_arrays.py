"""How the CUDA backend sees a tensor: its memory, strides, dtype and stream. The memory here is the host's."""

import types

import numpy as np
import pytest

from tests.torch.common import torch  # isort: skip: skips where PyTorch is absent

from numba_lrn.torch import kernels
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
    assert array.device is view.device.index
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


# What tensors that are not on the CPU give to the CUDA backend: nothing comes back but in what it is given.


class OnCard:
    """A tensor that lies elsewhere."""

    is_cpu, device = False, "cuda:0"

    def __init__(self, name="made"):
        self.name = name

    def __iter__(self):
        return iter([OnCard(f"{self.name}[{index}]") for index in range(3)])

    def clone(self):
        return OnCard(f"copy of {self.name}")


@pytest.fixture
def card(monkeypatch):
    """The backend's calls, and the tensors that were made."""
    found = types.SimpleNamespace(calls=[], made=[])

    def make(*arguments, **options):
        found.made.append(OnCard(f"new {len(found.made)}"))
        return found.made[-1]

    class Backend:
        def __getattr__(self, name):
            return lambda op, *arrays, into=None: found.calls.append((name, op, arrays, into))

    monkeypatch.setattr(kernels, "torch", types.SimpleNamespace(empty_like=make, empty=make, float64="float64"))
    monkeypatch.setattr(kernels.arrays, "as_array", lambda tensor: tensor.name)
    monkeypatch.setattr(kernels, "_launch", lambda x: Backend())
    return found


def test_results_on_a_card_are_made_here(card):
    x, g, u = OnCard("x"), OnCard("g"), OnCard("u")
    y = kernels.forward("op", x)
    dx = kernels.backward("op", g, x, x)
    assert (y.name, dx.name) == ("new 0", "x")
    assert card.calls == [("forward", "op", ("x", "new 0"), None), ("backward", "op", ("g", "x", "x"), None)]
    for_g, for_x = kernels.double_backward("op", g, x, u)
    assert card.calls[2] == ("double_backward", "op", ("g", "x", "u"), (for_g.name, for_x.name))
    assert for_g.name != for_x.name
    dx, *gradients = kernels.backward_all("op", g, x)
    assert card.calls[3] == ("backward_all", "op", ("g", "x"), (dx.name, card.made[-1].name))
    assert [gradient.name for gradient in gradients] == [f"copy of {card.made[-1].name}[{i}]" for i in range(3)]
    assert dx.name != card.made[-1].name
