"""What an array on a CUDA device is: one class for each kind, which tells where an array lies and makes others like it.

| kind | its stream | results |
|---|---|---|
| CuPy | CuPy's current one on the array's device | by CuPy, from its memory pool |
| Numba device array | the one it is bound to, else the default stream | by Numba |
| tensors | PyTorch's current one on the tensor's device | by numba_lrn/torch, in ``out`` |
| others with ``__cuda_array_interface__`` | the one their interface names, else the default stream | only in ``out`` |

A call runs on the stream of ``x``, and waits for those of the other arrays, but for arrays that name none: their
interface says that nothing need be waited for.
"""

import importlib
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from numba_lrn.algorithm.geometry import dense_order
from numba_lrn.backends.cuda import toolkit
from numba_lrn.backends.selector import full_name

driver: Any = importlib.import_module(
    "numba_lrn.backends.cuda." + ("simulated_driver" if toolkit.SIMULATED else "driver")
)


class Layout(NamedTuple):
    """How an array lies, but for its address."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]  # bytes
    dtype: np.dtype
    device: int  # -1 where there is no memory

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


class View(NamedTuple):
    """Where an array lies."""

    layout: Layout
    pointer: int
    writeable: bool
    stream: int | None = None  # None: it names none


class Kind(Protocol):
    """A kind of array."""

    makes_results: bool  # whether a call without ``out`` is possible

    def view(self, array: Any, name: str) -> View:
        """Where the array lies; an error calls it ``name``."""

    def current_stream(self, device: int) -> int:
        """The handle of the stream for work on arrays whose view names none."""

    def awaited_stream(self, view: View) -> int | None:
        """That of what may still be under way on an array; None where nothing is."""

    def empty_like(self, array: Any, name: str) -> Any:
        """A new array in the memory order of ``array``, for results, on the current device."""

    def numbers(self, count: int, array: Any) -> tuple[tuple[Any, ...], int]:
        """So many new arrays of float64 without dimensions, beside one another, like ``array``; and their address."""

    def allocate(self, nbytes: int, device: int, stream: Any) -> tuple[int, Any]:
        """(address, owner) of memory for use on ``stream``, safe to let go of as soon as its work is on the stream."""


class CupyArrays:
    """CuPy arrays. The memory pool gives memory out again on the same stream only: after the work that used it."""

    makes_results = True

    def __init__(self) -> None:
        self._cupy = sys.modules["cupy"]

    def view(self, array: Any, name: str) -> View:
        """CuPy has no read-only arrays."""
        data = array.data
        return View(Layout(array.shape, array.strides, array.dtype, data.device_id), data.ptr, True)

    def current_stream(self, device: int) -> int:
        """CuPy's current stream of the device."""
        return self._cupy.cuda.get_current_stream(device).ptr

    def awaited_stream(self, view: View) -> int | None:
        """CuPy's current stream."""
        return self.current_stream(view.layout.device)

    def empty_like(self, array: Any, name: str) -> Any:
        """CuPy keeps the memory order of dense arrays."""
        return self._cupy.empty_like(array)

    def numbers(self, count: int, array: Any) -> tuple[tuple[Any, ...], int]:
        """The elements of one array."""
        whole = self._cupy.empty(count, np.float64)
        return tuple(whole[index] for index in range(count)), whole.data.ptr

    def allocate(self, nbytes: int, device: int, stream: Any) -> tuple[int, Any]:
        """From the pool of the current stream."""
        owner = self._cupy.cuda.alloc(nbytes)
        return owner.ptr, owner


class _NamedStreams:
    """What is common to arrays whose stream is told by themselves, not by a library that has a current one."""

    def current_stream(self, device: int) -> int:
        """The default stream."""
        return 0

    def awaited_stream(self, view: View) -> int | None:
        """That which the array names."""
        return view.stream

    def allocate(self, nbytes: int, device: int, stream: Any) -> tuple[int, Any]:
        """From the driver, in the order of the stream: Numba would give memory back at once, whatever still runs."""
        return driver.allocate(nbytes, device, stream)


class NumbaArrays(_NamedStreams):
    """Numba device arrays."""

    makes_results = True

    def view(self, array: Any, name: str) -> View:
        """Numba's arrays know their context, and the stream that ``bind`` or their making gave them."""
        pointer = array.device_ctypes_pointer.value or 0
        device = array.gpu_data.context.device.id if pointer else -1
        stream = _handle(int(array.stream.handle)) if array.stream else None
        return View(Layout(array.shape, array.strides, array.dtype, device), pointer, True, stream)

    def empty_like(self, array: Any, name: str) -> Any:
        """In the memory order of the array, bound to its stream."""
        shape = tuple(array.shape)
        strides = dense_strides(shape, tuple(array.strides), array.dtype.itemsize)
        return toolkit.cuda.device_array(shape, array.dtype, strides=strides, stream=array.stream)

    def numbers(self, count: int, array: Any) -> tuple[tuple[Any, ...], int]:
        """Views of the memory of one, whose elements would be numbers on the host, bound to the stream of ``array``."""
        whole = toolkit.cuda.device_array(count, np.float64, stream=array.stream)
        views = (whole.gpu_data.view(8 * index, 8 * index + 8) for index in range(count))
        numbers = tuple(type(whole)((), (), np.float64, array.stream, view) for view in views)
        return numbers, whole.device_ctypes_pointer.value


class SimulatedArrays(NumbaArrays):
    """The simulator's device arrays."""

    def view(self, array: Any, name: str) -> View:
        """They wrap a NumPy array."""
        held = array._ary
        pointer = held.ctypes.data if held.size else 0
        device = 0 if pointer else -1
        stream = None if array.stream == 0 else id(array.stream)
        return View(Layout(held.shape, held.strides, held.dtype, device), pointer, held.flags.writeable, stream)

    def numbers(self, count: int, array: Any) -> tuple[tuple[Any, ...], int]:
        """Views of a NumPy array."""
        whole = np.empty(count)
        make = type(array)
        return tuple(
            make(whole[index : index + 1].reshape(()), array.stream) for index in range(count)
        ), whole.ctypes.data


class ForeignArrays(_NamedStreams):
    """Any other array with ``__cuda_array_interface__``."""

    makes_results = False

    def view(self, array: Any, name: str) -> View:
        """As the interface tells, but for the dtype: bfloat16 has no typestr of its own."""
        try:
            interface = array.__cuda_array_interface__
        except AttributeError as error:
            msg = f"{name} is of type {full_name(type(array))}, which is not on a CUDA device ({error})"
            raise TypeError(msg) from None
        if interface.get("mask") is not None:
            msg = f"{name} is of type {full_name(type(array))}, whose mask would be ignored; fill it first"
            raise TypeError(msg)
        dtype = _dtype(array, interface["typestr"], name)
        shape = tuple(interface["shape"])
        strides = interface.get("strides") or _c_strides(shape, dtype.itemsize)
        pointer, read_only = interface["data"]
        stream = interface.get("stream")
        layout = Layout(shape, tuple(strides), dtype, self.device_of(array, pointer))
        return View(layout, pointer or 0, not read_only, None if stream is None else _handle(stream))

    def device_of(self, array: Any, pointer: int) -> int:
        """The driver knows."""
        return driver.device_of(pointer) if pointer else -1

    def empty_like(self, array: Any, name: str) -> Any:
        """The interface has no way to make an array."""
        msg = (
            f"{name} is of type {full_name(type(array))}; a result of that type cannot be made here: pass out=, an "
            "array on the same device, or pass cupy.asarray(x)"
        )
        raise TypeError(msg)

    def numbers(self, count: int, array: Any) -> tuple[tuple[Any, ...], int]:
        """Refused before it is asked."""
        raise AssertionError


class TensorArrays(ForeignArrays):
    """Tensors of PyTorch, as numba_lrn/torch/arrays.py gives them: their interface names PyTorch's current stream."""

    def __init__(self) -> None:
        self._torch = sys.modules["torch"]

    def device_of(self, array: Any, pointer: int) -> int:
        """Tensors know theirs, also where they have no elements."""
        return array.device

    def allocate(self, nbytes: int, device: int, stream: Any) -> tuple[int, Any]:
        """From PyTorch's cache, which gives memory out again on the same stream only, and while graphs are captured."""
        owner = self._torch.empty(nbytes, dtype=self._torch.uint8, device=f"cuda:{device}")
        return owner.data_ptr(), owner


_KINDS: dict[tuple[str, str], Callable[[], Kind]] = {
    ("cupy", "ndarray"): CupyArrays,
    ("numba", "DeviceNDArray"): NumbaArrays,
    ("numba", "FakeCUDAArray"): SimulatedArrays,
    ("numba_lrn", "DeviceArray"): TensorArrays,
}
_found: dict[type, Kind] = {}


def kind_of(array: Any) -> Kind:
    """The kind of an array on a CUDA device."""
    found = _found.get(type(array))
    if found is None:
        top = type(array).__module__.partition(".")[0]
        found = _found[type(array)] = _KINDS.get((top, type(array).__name__), ForeignArrays)()
    return found


def known(array: Any) -> Kind | None:
    """The kind of an array whose type was met before; None for others, which may be no arrays at all."""
    return _found.get(type(array))


def _dtype(array: Any, typestr: str, name: str) -> np.dtype:
    """The array's own dtype; the interface's only where it cannot be two."""
    try:
        return np.dtype(array.dtype)
    except (AttributeError, TypeError):
        dtype = np.dtype(typestr)
    if dtype.itemsize == 2:
        msg = (
            f"{name} is of type {full_name(type(array))}, whose array interface says {typestr!r}, which float16 and "
            "bfloat16 share; pass an array whose dtype attribute tells, such as one of CuPy"
        )
        raise TypeError(msg)
    return dtype


def _handle(stream: int) -> int:
    """The handle of a stream: the legacy default one has two, and is 0 here."""
    return 0 if stream == 1 else stream


def _c_strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides = []
    for extent in reversed(shape):
        strides.append(itemsize)
        itemsize *= max(extent, 1)
    return tuple(reversed(strides))


def dense_strides(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """The strides of a dense array whose axes follow each other in memory as those of ``strides`` do.

    >>> dense_strides((2, 3, 4), (96, -4, 24), 4)
    (48, 4, 12)
    """
    if dense_order(shape, strides, itemsize) is not None:
        return strides
    order = sorted(range(len(shape)), key=lambda axis: (-abs(strides[axis]), axis))
    found = [0] * len(shape)
    for axis in reversed(order):
        found[axis] = itemsize
        itemsize *= max(shape[axis], 1)
    return tuple(found)
