"""What the benchmark needs to know of a device: its arrays, when its work is done, its cache and memory, its roof."""

import functools
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from numba_lrn.algorithm.binding import rebind
from numba_lrn.backends.cpu import launch
from numba_lrn.backends.cpu.compiler import compile_entry
from numba_lrn.operator import LocalResponseNorm

RECIPE = {"parameters": "backward_all"}  # where a direction has another name than its recipe
CHUNK = 64 * 1024  # elements that a thread of the roof takes at a time
SERIAL_BYTES = 256 * 1024  # of an array, below which one thread copies as fast as several


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

    def seconds(self, run: Callable[[], None]) -> float:
        """How long ``run()`` takes."""
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    def description(self) -> str:
        """What is measured, for the head of a result."""
        return "the CPU"

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
        """``roof(x, second, out)``: the same bytes moved with nothing computed, in parallel where that is faster.

        A copy for the forward direction; three reads and two writes for the second derivative; two reads and
        a write for the others.
        """
        serial, parallel = _compiled(direction, parallel=False), _compiled(direction, parallel=True)

        def run(*arrays: Any) -> None:
            (serial if arrays[0].nbytes < SERIAL_BYTES else parallel)(*map(_words, arrays))

        return _by_direction(direction, lambda x, grad_output, out: run(x, out), run)

    def path_taken(self, op: LocalResponseNorm, direction: str, x: NDArray[Any]) -> str:
        """The form of the window, the power function and the number of threads that a call on ``x`` takes."""
        plan = launch.plan_of(op, RECIPE.get(direction, direction), x)
        if plan is None:
            return "copy"
        return f"{plan.variant.form} {_fraction(plan.variant.power)} {plan.workers}t"


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
        try:
            from numba_lrn.backends.cuda.arrays import driver

            driver.device(cupy.cuda.runtime.getDevice())
        except (ImportError, RuntimeError) as error:
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

    def seconds(self, run: Callable[[], None]) -> float:
        """How long the device takes for what ``run()`` puts on the current stream, by events."""
        import cupy

        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        self.synchronize()
        start.record()
        run()
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, end)) / 1000

    def description(self) -> str:
        """What is measured, for the head of a result."""
        import cupy

        from numba_lrn.backends.cuda.arrays import driver

        return f"{driver.device(cupy.cuda.runtime.getDevice()).name}, CUDA {driver.version()}"

    def cache_bytes(self) -> int:
        """The size of the second-level cache."""
        import cupy

        return int(cupy.cuda.Device().attributes["L2CacheSize"])

    def free_bytes(self) -> int:
        """Free device memory."""
        import cupy

        return int(cupy.cuda.Device().mem_info[0])

    def roof(self, direction: str) -> Callable[[Any, Any, Any], None]:
        """``roof(x, grad_output, out)``: the same bytes moved with nothing computed.

        The driver's copy for the forward direction, two reads and a write for the backward one, three reads and two
        writes for the second derivative.
        """
        import cupy

        def copy(x: Any, grad_output: Any, out: Any) -> None:
            out.data.copy_from_device_async(x.data, x.nbytes)

        kernel = cupy.RawKernel(_ROOFS, "add_twice" if direction == "double_backward" else "add")
        blocks = 8 * int(cupy.cuda.Device().attributes["MultiProcessorCount"])

        def run(*arrays: Any) -> None:
            # What 16 bytes do not divide is left: the last of millions of elements.
            words = np.int64(arrays[0].nbytes // 16)
            kernel((blocks,), (256,), (*(array.data for array in arrays), words))

        return _by_direction(direction, copy, run)

    def path_taken(self, op: LocalResponseNorm, direction: str, x: Any) -> str:
        """The forms and the power function of the kernels that a call on ``x`` launches."""
        from numba_lrn.backends.cuda import launch as cuda_launch

        plan = cuda_launch.plan_of(op, RECIPE.get(direction, direction), x)
        if plan is None:
            return "copy"
        variants = [launch.variant for launch in plan.launches]
        forms = "+".join(variant.form for variant in variants)
        power = next(variant.power for variant in variants if variant.power)
        return f"{forms} {_fraction(power)} cuda"


DEVICES: dict[str, Cpu | Cuda] = {"cpu": Cpu(), "cuda": Cuda()}


def set_threads(threads: int) -> None:
    """Run the library and the roof on this many threads.

    The pools of OpenMP spin for a while after their work, and would take the core from whoever is timed next.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    numba.set_num_threads(threads)


def _fraction(power: str) -> str:
    """The name of a power function, short."""
    for word, fraction in (("three_quarters", "3/4"), ("half", "1/2"), ("quarter", "1/4"), ("one", "1")):
        power = power.replace(word, fraction)
    return power.removeprefix("power_").removesuffix("_roots").removesuffix("_divided")


def _words(array: Any) -> Any:
    """An array as 32-bit integers in memory order; any bits may be copied and added so at full speed."""
    flat = array.reshape(-1).view(np.uint8)
    return flat[: flat.size // 4 * 4].view(np.int32)


# The bytes of backward and double backward, 16 at a time: CuPy's own addition takes 4, on an H200 1.6 times as long.
# Integers, as any bits may be added so at full speed.
_ROOFS = """
__device__ uint4 sum(uint4 a, uint4 b) { return make_uint4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }

extern "C" __global__ void add(const uint4* a, const uint4* b, uint4* out, long long words) {
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) out[i] = sum(a[i], b[i]);
}

extern "C" __global__ void add_twice(
    const uint4* a, const uint4* b, const uint4* c, uint4* first, uint4* second, long long words
) {
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < words; i += step) {
        uint4 shared = b[i];
        first[i] = sum(a[i], shared);
        second[i] = sum(shared, c[i]);
    }
}
"""


# Loops over slices, counted from zero: with an index whose sign Numba does not know they are not vectorised, and the
# roof of a copy was 5 times as high as PyTorch's on a processor with fast memory (EPYC, Zen 5: 10.9 ms against 2.0).


def _copy_chunks(x: NDArray[Any], out: NDArray[Any]) -> None:
    for index in numba.prange((x.size + CHUNK - 1) // CHUNK):
        start = numba.int64(index) * CHUNK
        source, target = x[start : start + CHUNK], out[start : start + CHUNK]
        for i in range(source.size):
            target[i] = source[i]


def _add_chunks(x: NDArray[Any], grad_output: NDArray[Any], out: NDArray[Any]) -> None:
    for index in numba.prange((x.size + CHUNK - 1) // CHUNK):
        start = numba.int64(index) * CHUNK
        first, second = x[start : start + CHUNK], grad_output[start : start + CHUNK]
        target = out[start : start + CHUNK]
        for i in range(target.size):
            target[i] = first[i] + second[i]


def _add_chunks_twice(
    x: NDArray[Any], grad_output: NDArray[Any], cotangent: NDArray[Any], out: NDArray[Any], out_x: NDArray[Any]
) -> None:
    for index in numba.prange((x.size + CHUNK - 1) // CHUNK):
        start = numba.int64(index) * CHUNK
        first, second = x[start : start + CHUNK], grad_output[start : start + CHUNK]
        third = cotangent[start : start + CHUNK]
        target, target_x = out[start : start + CHUNK], out_x[start : start + CHUNK]
        for i in range(target.size):
            target[i] = first[i] + second[i]
            target_x[i] = second[i] + third[i]


def _by_direction(direction: str, copy: Callable[..., None], run: Callable[..., None]) -> Callable[..., None]:
    """``roof(x, second, out)`` of what copies, and of what moves the arrays that it is given."""
    if direction == "forward":
        return copy
    if direction == "double_backward":
        return lambda x, others, outs: run(x, *others, *outs)
    return run


@functools.cache
def _compiled(direction: str, parallel: bool) -> Any:
    function: Any
    function, arrays = {"forward": (_copy_chunks, 2), "double_backward": (_add_chunks_twice, 5)}.get(
        direction, (_add_chunks, 3)
    )
    # Numba's cache does not tell a serial function from a parallel one of the same name.
    named = rebind(function, function.__globals__, f"{function.__name__}_{'parallel' if parallel else 'serial'}")
    return compile_entry(named, (np.zeros(1, np.int32),) * arrays, parallel=parallel)
