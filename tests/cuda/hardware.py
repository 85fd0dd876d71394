"""Arrays on a device for the tests: on a GPU, or, for the simulator, real CuPy and Numba arrays in host memory."""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from numba_lrn.backends.cuda import toolkit
from numba_lrn.backends.cuda.arrays import kind_of


class Foreign:
    """An array that a library unknown to the package made."""

    def __init__(self, shape, strides, dtype, pointer, owner=None, read_only=False, stream=None):
        self.shape, self.strides, self.dtype, self.owner = tuple(shape), strides, np.dtype(dtype), owner
        typestr = f"<V{self.dtype.itemsize}" if self.dtype.name == "bfloat16" else self.dtype.str
        self.__cuda_array_interface__ = {
            "shape": self.shape,
            "strides": strides,
            "typestr": typestr,
            "data": (pointer, read_only),
            "version": 3,
            "stream": stream,
        }


def missing(kind):
    """Why arrays of a kind cannot be had, or None."""
    if kind == "cupy" or not toolkit.SIMULATED:
        try:
            import cupy
        except ImportError:
            return "cupy is not installed"
        if not toolkit.SIMULATED:
            try:
                cupy.cuda.runtime.getDeviceCount()
            except cupy.cuda.runtime.CUDARuntimeError as error:
                return f"no GPU: {error}"
    return None


def host_memory(nbytes):
    """An allocator for CuPy that needs no device."""
    import cupy

    memory = np.full(nbytes + 256, 0xFF, np.uint8)
    whole = cupy.cuda.UnownedMemory(memory.ctypes.data, memory.nbytes, memory, 0)
    return cupy.cuda.MemoryPointer(whole, -memory.ctypes.data % 256)


def host_cupy(monkeypatch):
    """Let CuPy make its arrays in host memory, where the simulator can use them, without a driver."""
    import cupy

    cupy.cuda.set_allocator(host_memory)  # for good: in a process with the simulator there is no other memory
    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda device=-1: SimpleNamespace(ptr=0))


def no_card(monkeypatch):
    """A driver that does nothing at once: for what the host does before it, measured and looked at without a card."""
    from numba_lrn.backends.cuda import driver

    card = SimpleNamespace(loaded=[], launched=[])

    class Code:
        def __init__(self, code):
            card.loaded.append(code)

        def get_kernel(self, name):
            return SimpleNamespace(name=name)

    core = SimpleNamespace(
        ObjectCode=SimpleNamespace(from_cubin=Code),
        LaunchConfig=lambda **fields: SimpleNamespace(**fields),
        Stream=SimpleNamespace(from_handle=lambda handle: handle),
        launch=lambda stream, config, kernel, *arguments: card.launched.append((stream, config, kernel, arguments)),
    )
    monkeypatch.setattr(driver, "core", core)
    monkeypatch.setattr(driver, "device", lambda ordinal: toolkit.Properties("no card", (9, 0), 132))
    monkeypatch.setattr(driver, "current_device", lambda: 0)
    monkeypatch.setattr(driver, "on_device", lambda ordinal: contextlib.nullcontext())
    forget_cards()
    return card


def forget_cards():
    """Keep nothing of a card that is not there any more."""
    from numba_lrn.backends.cuda import driver, launch

    for cached in (driver._loaded_kernel, driver.stream, launch._route, launch._moves):
        cached.cache_clear()


class Memory:
    """A copy of a NumPy array's memory on the device."""

    def __init__(self, base):
        reason = missing("foreign")
        if reason:
            pytest.skip(reason)
        self.nbytes = base.nbytes
        flat = np.frombuffer(base.tobytes(), np.uint8)
        if toolkit.SIMULATED:
            # As far from a multiple of 256 bytes as the original.
            self._bytes = np.empty(flat.size + 512, np.uint8)
            start = -self._bytes.ctypes.data % 256
            self._bytes = self._bytes[start : start + flat.size]
            self._bytes[...] = flat
            self.address = self._bytes.ctypes.data
        else:
            import cupy

            self._bytes = cupy.asarray(flat)
            self.address = self._bytes.data.ptr


class Hardware:
    """Makes arrays of one kind, and reads them."""

    def __init__(self, kind):
        self.kind = kind

    def put(self, array):
        """An array with the numbers and the strides of a NumPy array."""
        lowest, size = _extent(array)
        base = np.asarray(_Bytes(lowest, size))
        (found,) = self.views(base, array)
        return found

    def views(self, base, *arrays):
        """Arrays that lie in a copy of ``base`` as NumPy views lie in ``base``: they share memory as those do."""
        memory = Memory(base)
        start = base.__array_interface__["data"][0]
        return [self._make(memory, array.__array_interface__["data"][0] - start, array) for array in arrays]

    def _make(self, memory, offset, array):
        shape, strides, dtype, pointer = array.shape, array.strides, array.dtype, memory.address + offset
        if self.kind == "cupy":
            import cupy

            whole = cupy.cuda.UnownedMemory(memory.address, memory.nbytes, memory, 0)
            return cupy.ndarray(shape, dtype, memptr=cupy.cuda.MemoryPointer(whole, offset), strides=strides)
        foreign = Foreign(shape, strides, dtype, pointer, memory, read_only=not array.flags.writeable)
        if self.kind == "foreign":
            return foreign
        if not toolkit.SIMULATED:
            if foreign.dtype.name == "bfloat16":
                pytest.skip("Numba makes no bfloat16 arrays of an interface")
            return toolkit.cuda.as_cuda_array(foreign, sync=False)
        from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

        held = np.ndarray(shape, dtype, memory._bytes, offset, strides)
        held.flags.writeable = array.flags.writeable
        return FakeCUDAArray(held)

    def empty(self, shape, dtype):
        """A new array for results, full of what no kernel leaves."""
        return self.put(np.full(shape, 77, dtype))

    def get(self, array):
        """The numbers, as a NumPy array."""
        layout, pointer, *_ = kind_of(array).view(array, "array")
        if layout.size == 0:
            return np.empty(layout.shape, layout.dtype)
        reaches = [(n - 1) * stride for n, stride in zip(layout.shape, layout.strides, strict=True)]
        low, high = (sum(bound(reach, 0) for reach in reaches) for bound in (min, max))
        memory = _read(pointer + low, high - low + layout.dtype.itemsize)
        return np.ndarray(layout.shape, layout.dtype, memory, -low, layout.strides).copy(order="K")

    @property
    def results(self):
        """Whether a call without ``out`` is possible."""
        return self.kind != "foreign"


class _Bytes:
    """Memory of this process through the array interface."""

    def __init__(self, address, size):
        self.__array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (address, True), "version": 3}


def _read(address, size):
    if toolkit.SIMULATED:
        return np.asarray(_Bytes(address, size)).tobytes()
    import cupy

    memory = cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(address, size, None, 0), 0)
    return cupy.asnumpy(cupy.ndarray((size,), np.uint8, memptr=memory)).tobytes()


def _extent(array):
    """(lowest address, bytes) of a NumPy array."""
    lowest, beyond = np.lib.array_utils.byte_bounds(array)
    return lowest, beyond - lowest
