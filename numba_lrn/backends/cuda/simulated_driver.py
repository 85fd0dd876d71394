"""Numba's CUDA simulator in the place of a card: kernels run as Python threads on NumPy arrays.

The functions are those of :mod:`numba_lrn.backends.cuda.driver`; an address is one of this process.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_lrn.backends.cuda.toolkit import Properties, cuda, properties

# What the simulator passes to a kernel as it is. NumPy arrays it copies in and out, so that none would overlap.
DeviceArray = type(cuda.device_array(0))


def device(ordinal: int) -> Properties:
    """What the simulator pretends to be."""
    return properties(ordinal)


def version() -> str:
    """There is no driver."""
    return "none, Numba's simulator stands in for it"


def current_device() -> int:
    """There is one device."""
    return 0


@contextlib.contextmanager
def on_device(ordinal: int) -> Iterator[None]:
    """Nothing to switch."""
    yield


def device_of(pointer: int) -> int:
    """There is one device."""
    return 0


def stream(ordinal: int, handle: int) -> int:
    """Work runs in the order in which it is asked for, whatever the stream."""
    return handle


def wait(waiting: Any, awaited: Any) -> None:
    """What was asked for before has run."""


def allocate(nbytes: int, ordinal: int, stream: Any) -> tuple[int, Any]:
    """(address, owner) of memory that begins on a multiple of 256 bytes, full of NaN as forgotten memory may be."""
    owner = np.full(nbytes + 256, 0xFF, np.uint8)
    return -(-owner.ctypes.data // 256) * 256, owner


def fill_with_zeros(pointer: int, nbytes: int, stream: Any) -> None:
    """Clear memory."""
    ctypes.memset(pointer, 0, nbytes)


def prepare(maker: Any, launch: Any, memory: tuple, ordinal: int) -> Callable[..., None]:
    """``run(stream, *pointers)`` for a launch of the kernel ``maker.build(launch.variant)``.

    The kernel is given flat arrays, of the (dtype, elements) in ``memory``, in the places of pointers.
    """
    kernel = maker.build(launch.variant)

    def run(stream: Any, *pointers: int) -> None:
        arrays = [DeviceArray(array_at(pointer, *what)) for pointer, what in zip(pointers, memory, strict=True)]
        kernel[launch.grid, launch.block, stream, launch.shared_bytes](*arrays, *launch.scalars)

    return run


def array_at(pointer: int, dtype: np.dtype, elements: int) -> NDArray:
    """The memory at an address as a flat array."""
    memory: Any = (ctypes.c_char * (elements * dtype.itemsize)).from_address(pointer)
    return np.frombuffer(memory, np.uint8).view(dtype)
