"""What each kind of array tells of itself, on the classes of the libraries themselves, without a card."""

import sys
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

from numba_lrn.backends.cuda import arrays, toolkit
from numba_lrn.backends.cuda.arrays import Layout, View, dense_strides, driver, kind_of
from tests.cuda.hardware import Foreign
from tests.support import optional


def view(array):
    return kind_of(array).view(array, "x")


@pytest.mark.compiled
@pytest.mark.parametrize("handle", [0, 7])
def test_numba_device_arrays(handle):
    from cuda.bindings.driver import CUstream
    from numba.cuda.cudadrv.devicearray import DeviceNDArray
    from numba.cuda.cudadrv.driver import MemoryPointer, Stream

    context = SimpleNamespace(device=SimpleNamespace(id=1))
    memory = MemoryPointer(context, pointer=2**40, size=96)
    for stream, number in ((0, None), (Stream(CUstream(handle)), handle)):
        array = DeviceNDArray((2, 3, 4), (48, 4, 12), np.dtype("f4"), stream=stream, gpu_data=memory)
        assert view(array) == View(Layout((2, 3, 4), (48, 4, 12), np.dtype("f4"), 1), 2**40, True, number)


@pytest.mark.compiled
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
def test_cupy_arrays(dtype):
    cupy = optional("cupy")
    memory = cupy.cuda.UnownedMemory(2**40, 1000, None, 1)
    array = cupy.ndarray((2, 3, 4), dtype, memptr=cupy.cuda.MemoryPointer(memory, 16)).transpose(2, 0, 1)
    size = np.dtype(dtype).itemsize
    expected = Layout((4, 2, 3), (size, 12 * size, 4 * size), np.dtype(dtype), 1)
    assert view(array) == View(expected, 2**40 + 16, True)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ml_dtypes.bfloat16])
def test_other_arrays(dtype, monkeypatch):
    """The dtype is the array's own: bfloat16 has no typestr."""
    monkeypatch.setattr(driver, "device_of", lambda pointer: {2**40: 3}[pointer])
    dtype = np.dtype(dtype)
    array = Foreign((2, 3), None, dtype, 2**40, read_only=True, stream=9)
    assert view(array) == View(Layout((2, 3), (3 * dtype.itemsize, dtype.itemsize), dtype, 3), 2**40, False, 9)


def test_the_default_streams_of_an_interface(monkeypatch):
    monkeypatch.setattr(driver, "device_of", lambda pointer: 0)
    for number, handle in ((None, None), (1, 0), (2, 2)):
        assert view(Foreign((2, 3), None, "f4", 2**40, stream=number)).stream == handle


def test_an_old_interface_without_a_stream(monkeypatch):
    monkeypatch.setattr(driver, "device_of", lambda pointer: 0)
    array = Foreign((2, 3), (12, 4), "f4", 2**40)
    del array.__cuda_array_interface__["stream"]
    array.__cuda_array_interface__["version"] = 2
    assert view(array).layout == Layout((2, 3), (12, 4), np.dtype("f4"), 0)


@pytest.mark.parametrize("pointer", [0, None])
def test_empty_arrays_have_no_device(pointer):
    array = Foreign((0, 3), None, "f4", pointer)
    assert view(array) == View(Layout((0, 3), (12, 4), np.dtype("f4"), -1), 0, True)


class DeviceArray(Foreign):
    """As numba_lrn.torch gives a tensor."""

    __module__ = "numba_lrn.torch.arrays"
    device = 2


def test_tensors_know_their_device(monkeypatch):
    """Also without elements, and nobody asks the driver. What a call needs lies in PyTorch's memory."""
    made = []

    def empty(nbytes, dtype, device):
        made.append((nbytes, dtype, device))
        return SimpleNamespace(data_ptr=lambda: 2**41)

    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(empty=empty, uint8="bytes"))
    monkeypatch.setattr(driver, "device_of", None)
    array = DeviceArray((2, 3), None, "f4", 2**40, stream=9)
    assert view(array) == View(Layout((2, 3), (12, 4), np.dtype("f4"), 2), 2**40, True, 9)
    assert view(DeviceArray((0, 3), None, "f4", 0)).layout.device == 2
    pointer, owner = kind_of(array).allocate(100, 2, None)
    assert (pointer, owner.data_ptr(), made) == (2**41, 2**41, [(100, "bytes", "cuda:2")])


@pytest.mark.parametrize(
    ("shape", "strides", "expected"),
    [
        ((2, 3, 4), (48, 16, 4), (48, 16, 4)),
        ((2, 3, 4), (48, 4, 12), (48, 4, 12)),
        ((2, 3, 4), (96, 32, 8), (48, 16, 4)),
        ((2, 3, 4), (-48, 16, 4), (48, 16, 4)),
        ((2, 3, 4), (4, 8, 24), (4, 8, 24)),
        ((2, 3, 4), (0, 16, 4), None),
        ((3,), (-4,), (4,)),
    ],
)
def test_dense_strides_keep_the_order(shape, strides, expected):
    found = dense_strides(shape, strides, 4)
    if expected is not None:
        assert found == expected
    offsets = {sum(i * s for i, s in zip(index, found, strict=True)) for index in np.ndindex(*shape)}
    assert offsets == set(range(0, 4 * int(np.prod(shape)), 4))


def test_only_kinds_that_were_met_are_known():
    class New:
        pass

    assert arrays.known(New()) is None
    assert arrays.known(np.ones(3)) is None
    kind_of(New())
    assert arrays.known(New()) is not None
    arrays._found.pop(New)


def test_the_simulator_is_one_or_the_other():
    name = "simulated_driver" if toolkit.SIMULATED else "driver"
    assert driver.__name__ == f"numba_lrn.backends.cuda.{name}"
