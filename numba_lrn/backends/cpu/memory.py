"""How arrays lie in memory: what can be used as it is, what must be copied, and a thread's scratch memory."""

import ctypes
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_lrn.algorithm.geometry import dense_order, same_order

# How the kernels see a dtype: half types by their bits, told apart by the sign of the integer type.
CARRIERS = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.int16)}

LINE = 64  # bytes of a cache line

_thread = threading.local()


def alike(array: Any, x: NDArray) -> bool:
    """Whether an array lies in memory as ``x`` does, and can be read and written as it is."""
    return (
        type(array) is np.ndarray
        and array.dtype == x.dtype
        and array.strides == x.strides
        and array.shape == x.shape
        and array.flags.behaved
    )


def dense(x: NDArray) -> NDArray:
    """``x``, or a copy of it that fills its memory without gaps."""
    filled = x.flags.aligned and dense_order(x.shape, x.strides, x.itemsize) is not None
    return x if filled else x.copy(order="K")


def in_order_of(source: NDArray, array: NDArray) -> NDArray:
    """``array``, or its copy in the memory order of ``source``."""
    if same_order(array.strides, source.strides, source.shape) and array.flags.aligned:
        return array
    copy = np.empty_like(source)
    np.copyto(copy, array)
    return copy


def same_memory(array: NDArray, other: NDArray) -> bool:
    """Whether both are the same elements in the same order."""
    return same_order(array.strides, other.strides, other.shape) and _address(array) == _address(other)


def _address(array: NDArray) -> int:
    return array.__array_interface__["data"][0]


def flat(array: NDArray, order: tuple[int, ...] | None, carrier: np.dtype | None) -> NDArray:
    """A writable one-dimensional view in memory order, half types as the integers that carry their bits.

    ``order`` names the axes from the slowest to the fastest, None where they lie in order. Numba compiles a kernel
    again for read-only arrays; a view that does not know it is read-only spares that.
    """
    view = array.reshape(-1) if order is None else array.transpose(order).reshape(-1)
    if carrier is not None:
        view = view.view(carrier)
    if not view.flags.writeable:
        memory: Any = (ctypes.c_char * view.nbytes).from_address(_address(view))
        view = np.frombuffer(memory, view.dtype)
    return view


def workspace(elements: int, real: str) -> NDArray:
    """This thread's scratch memory: kept from call to call, because fresh pages cost more than small calls take."""
    held = getattr(_thread, real, None)
    if held is None or held.size < elements:
        held = None
        setattr(_thread, real, None)  # before the next is made
        room = np.empty(elements + LINE // np.dtype(real).itemsize, real)
        start = -room.ctypes.data % LINE // room.itemsize
        held = room[start : start + elements]
        setattr(_thread, real, held)
    return held
