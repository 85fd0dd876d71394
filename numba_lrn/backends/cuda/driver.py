"""The card: its contexts and streams, machine code loaded on it, kernels launched. Nothing here waits for it.

:mod:`numba_lrn.backends.cuda.simulated_driver` offers the same functions where Numba's simulator stands in for a card.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cuda.core as core
from cuda.bindings import driver

from numba_lrn.backends.cuda import cache
from numba_lrn.backends.cuda.toolkit import Properties, assemble, properties

_lock = threading.Lock()


@functools.lru_cache(maxsize=64)
def device(ordinal: int) -> Properties:
    """What is known of a card."""
    return properties(ordinal)


def version() -> str:
    """The newest CUDA version that the installed driver knows."""
    error, number = driver.cuDriverGetVersion()
    return "unknown" if error else f"{number // 1000}.{number % 1000 // 10}"


def current_device() -> int | None:
    """The device of this thread's current context; None where it has none yet, or there is no driver."""
    try:
        error, found = driver.cuCtxGetDevice()
    except RuntimeError:  # the driver's library is not there, which ``device`` tells in more words
        return None
    return None if error else int(found)


@contextlib.contextmanager
def on_device(ordinal: int) -> Iterator[None]:
    """Make a device the current one, and afterwards what was current before, be it none."""
    _, before = driver.cuCtxGetCurrent()
    core.Device(ordinal).set_current()
    try:
        yield
    finally:
        driver.cuCtxSetCurrent(before)


def device_of(pointer: int) -> int:
    """The device that memory is on."""
    attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    try:
        error, ordinal = driver.cuPointerGetAttribute(attribute, pointer)
    except RuntimeError:
        device(0)  # tells that the driver's library is not there
        raise
    if error:
        msg = f"the CUDA driver knows no memory at {pointer:#x} ({error.name}); is the array on a CUDA device?"
        raise RuntimeError(msg)
    return int(ordinal)


@functools.lru_cache(maxsize=256)
def stream(ordinal: int, handle: int) -> Any:
    """The stream of a device by its handle, 0 being the legacy default one; wrapping it anew costs 4 µs."""
    return core.Stream.from_handle(handle)


def wait(waiting: Any, awaited: Any) -> None:
    """Let what comes next on one stream begin after all that is on another now; the host goes on."""
    waiting.wait(awaited)


def allocate(nbytes: int, ordinal: int, stream: Any) -> tuple[int, Any]:
    """(address, owner) of memory that is given back, when the owner goes, after the work that is on the stream.

    The driver is asked itself: while a graph is captured it makes a node of the graph, and cuda.core refuses.
    """
    error, pointer = driver.cuMemAllocFromPoolAsync(nbytes, _pool(ordinal).handle, stream.handle)
    if error:
        msg = f"the CUDA driver has no {nbytes} bytes for a temporary on device {ordinal} ({error.name})"
        raise MemoryError(msg)
    return int(pointer), _Memory(pointer, stream)


def fill_with_zeros(pointer: int, nbytes: int, stream: Any) -> None:
    """Clear memory in the order of the stream."""
    (error,) = driver.cuMemsetD8Async(pointer, 0, nbytes, stream.handle)
    if error:
        msg = f"the CUDA driver could not clear {nbytes} bytes ({error.name})"
        raise RuntimeError(msg)


class _Memory:
    """Memory of a pool, given back in the order of a stream."""

    def __init__(self, pointer: Any, stream: Any) -> None:
        self._pointer, self._stream = pointer, stream

    def __del__(self) -> None:
        driver.cuMemFreeAsync(self._pointer, self._stream.handle)


@functools.lru_cache(maxsize=64)
def _pool(ordinal: int) -> Any:
    """The device's own pool, which cuda.core tells to keep what is given back."""
    return core.DeviceMemoryResource(ordinal)


def prepare(maker: Any, launch: Any, memory: tuple, ordinal: int) -> Callable[..., None]:
    """``run(stream, *pointers)`` for a launch whose kernel is assembled from ``maker.ptx(launch.variant, …)``.

    ``memory`` has the (dtype, elements) behind each pointer, which only the simulator needs.
    """
    config = core.LaunchConfig(grid=launch.grid, block=launch.block, shmem_size=launch.shared_bytes)
    kernel = _kernel(maker, launch.variant, device(ordinal).compute_capability)
    start, scalars = core.launch, launch.scalars

    def run(stream: Any, *pointers: int) -> None:
        start(stream, config, kernel, *pointers, *scalars)

    return run


def _kernel(maker: Any, variant: Any, compute_capability: tuple[int, int]) -> Any:
    with _lock:  # two threads that need a kernel at once compile it once
        return _loaded_kernel(maker, variant, compute_capability)


@functools.cache
def _loaded_kernel(maker: Any, variant: Any, compute_capability: tuple[int, int]) -> Any:
    """The kernel, loaded for every device of this architecture."""
    kernel = (maker.__name__, variant)
    code, name = cache.machine_code(
        kernel, compute_capability, lambda: assemble(maker.ptx(variant, compute_capability), compute_capability)
    )
    return core.ObjectCode.from_cubin(code).get_kernel(name)
