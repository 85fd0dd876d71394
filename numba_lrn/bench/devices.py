"""What the benchmark needs to know of a device: its arrays, when its work is done, its cache and memory, its roof."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from numba_lrn.backends.cpu import launch
from numba_lrn.backends.cpu.compiler import compile_entry
from numba_lrn.operator import LocalResponseNorm

CHUNK = 64 * 1024  # elements that a thread of the roof takes at a time


class Cpu:
    """NumPy arrays and the CPU backend."""

    name = "cpu"

    def unavailable(self) -> str | None:
        """Why this device cannot be used, or None."""
        return None

    def asarray(self, array: NDArray[Any]) -> Any:
        """A copy of a NumPy array on the device."""
        return array.copy()

    def empty_like(self, array: Any) -> Any:
        """An array on the device whose pages are in place."""
        return np.zeros_like(array) + np.zeros(1, array.dtype)

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """The array as a NumPy array."""
        return np.asarray(array)

    def synchronize(self) -> None:
        """Return when the device has finished."""

    def cache_bytes(self) -> int:
        """The size of the last-level cache, or 32 MiB where the system does not tell."""
        sizes = [0]
        for path in pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
            text = path.read_text().strip()
            sizes.append(int(text[:-1]) * {"K": 2**10, "M": 2**20}.get(text[-1], 1) if text else 0)
        return max(sizes) or 32 * 2**20

    def free_bytes(self) -> int:
        """Memory that can be used without swapping."""
        try:
            lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        except (OSError, StopIteration):
            return 4 * 2**30

    def roof(self, direction: str) -> Callable[[Any, Any, Any], None]:
        """``roof(x, second, out)``: the same bytes moved with nothing computed.

        A parallel copy for the forward direction; three reads and two writes for the second derivative; two reads and
        a write for the others.
        """
        run = _compiled(direction)

        def copy(x: Any, grad_output: Any, out: Any) -> None:
            run(_words(x), _words(out))

        def add(x: Any, grad_output: Any, out: Any) -> None:
            run(_words(x), _words(grad_output), _words(out))

        def add_twice(x: Any, others: Any, outs: Any) -> None:
            run(_words(x), *map(_words, others), *map(_words, outs))

        return {"forward": copy, "double_backward": add_twice}.get(direction, add)

    def path_taken(self, op: LocalResponseNorm, direction: str, x: NDArray[Any]) -> str:
        """The form of the window, the power function and the number of threads that a call on ``x`` takes."""
        recipe = "backward_all" if direction == "parameters" else direction
        route = launch._route(op, recipe, x.shape, x.strides, x.dtype, launch._threads(x.nbytes), False)
        if route is None:
            return "copy"
        plan = route.plan
        power = plan.variant.power.removeprefix("power_")
        for word, fraction in (("three_quarters", "3/4"), ("half", "1/2"), ("quarter", "1/4"), ("one", "1")):
            power = power.replace(word, fraction)
        return f"{plan.variant.form} {power} {plan.workers}t"


class Cuda:
    """CuPy arrays and the CUDA backend."""

    name = "cuda"

    def unavailable(self) -> str | None:
        """Why this device cannot be used, or None."""
        try:
            import cupy
        except ImportError:
            return "CuPy is not installed: pip install 'numba-lrn[cuda12]' or 'numba-lrn[cuda13]'"
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            return f"no CUDA device: {error}"
        if not count:
            return "no CUDA device"
        from numba_lrn.backends.selector import backend_of

        try:
            backend_of(cupy.empty(1, "float32"))
        except TypeError as error:
            return str(error)
        return None

    def asarray(self, array: NDArray[Any]) -> Any:
        """A copy of a NumPy array on the device."""
        import cupy

        return cupy.asarray(array)

    def empty_like(self, array: Any) -> Any:
        """An array on the device."""
        import cupy

        return cupy.empty_like(array)

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """The array as a NumPy array."""
        import cupy

        found: NDArray[Any] = cupy.asnumpy(array)
        return found

    def synchronize(self) -> None:
        """Return when the device has finished."""
        import cupy

        cupy.cuda.get_current_stream().synchronize()

    def cache_bytes(self) -> int:
        """The size of the second-level cache."""
        import cupy

        return int(cupy.cuda.Device().attributes["L2CacheSize"])

    def free_bytes(self) -> int:
        """Free device memory."""
        import cupy

        return int(cupy.cuda.Device().mem_info[0])

    def roof(self, direction: str) -> Callable[[Any, Any, Any], None]:
        """``roof(x, grad_output, out)``: the same bytes moved with nothing computed."""
        import cupy

        def copy(x: Any, grad_output: Any, out: Any) -> None:
            cupy.copyto(out.view("int32"), x.view("int32"))

        def add(x: Any, grad_output: Any, out: Any) -> None:
            cupy.add(x.view("int32"), grad_output.view("int32"), out=out.view("int32"))

        def add_twice(x: Any, others: Any, outs: Any) -> None:
            kernel = cupy.ElementwiseKernel("T x, T g, T u", "T a, T b", "a = x + g; b = g + u", "numba_lrn_roof")
            kernel(*(array.view("int32") for array in (x, *others, *outs)))

        return {"forward": copy, "double_backward": add_twice}.get(direction, add)

    def path_taken(self, op: LocalResponseNorm, direction: str, x: Any) -> str:
        """The device that a call runs on."""
        return "cuda"


DEVICES: dict[str, Cpu | Cuda] = {"cpu": Cpu(), "cuda": Cuda()}


def set_threads(threads: int) -> None:
    """Run the library and the roof on this many threads.

    The pools of OpenMP spin for a while after their work, and would take the core from whoever is timed next.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    numba.set_num_threads(threads)


def _words(array: NDArray[Any]) -> NDArray[Any]:
    """An array as 32-bit integers in memory order; any bits may be copied and added so at full speed."""
    flat = array.reshape(-1).view(np.uint8)
    return flat[: flat.size // 4 * 4].view(np.int32)


def _copy_chunks(x: NDArray[Any], out: NDArray[Any]) -> None:
    size = numba.int64(x.size)
    for index in numba.prange((size + CHUNK - 1) // CHUNK):
        start = numba.int64(index) * CHUNK
        for i in range(start, min(start + CHUNK, size)):
            out[i] = x[i]


def _add_chunks(x: NDArray[Any], grad_output: NDArray[Any], out: NDArray[Any]) -> None:
    size = numba.int64(x.size)
    for index in numba.prange((size + CHUNK - 1) // CHUNK):
        start = numba.int64(index) * CHUNK
        for i in range(start, min(start + CHUNK, size)):
            out[i] = x[i] + grad_output[i]


def _add_chunks_twice(
    x: NDArray[Any], grad_output: NDArray[Any], cotangent: NDArray[Any], out: NDArray[Any], out_x: NDArray[Any]
) -> None:
    size = numba.int64(x.size)
    for index in numba.prange((size + CHUNK - 1) // CHUNK):
        start = numba.int64(index) * CHUNK
        for i in range(start, min(start + CHUNK, size)):
            out[i] = x[i] + grad_output[i]
            out_x[i] = grad_output[i] + cotangent[i]


@functools.cache
def _compiled(direction: str) -> Any:
    word = np.zeros(1, np.int32)
    if direction == "forward":
        return compile_entry(_copy_chunks, (word, word), parallel=True)
    if direction == "double_backward":
        return compile_entry(_add_chunks_twice, (word,) * 5, parallel=True)
    return compile_entry(_add_chunks, (word, word, word), parallel=True)
