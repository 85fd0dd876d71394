"""On which stream work goes, that nothing waits for it, and that memory lives until it is done.

A device is played by a queue: launches are put into it and run when the test says so, as are the ends of the lives of
temporaries, after which nothing may touch their memory.
"""

import contextlib
from types import SimpleNamespace

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import launch
from numba_lrn.backends.cuda.arrays import driver
from tests.cuda import hardware, toy
from tests.cuda.hardware import Foreign
from tests.support import in_order

pytestmark = pytest.mark.simulated

OP = LocalResponseNorm(3)
SHAPE = (2, 3, 4)


def numbers(seed, shape=SHAPE):
    return np.random.default_rng(seed).integers(-50, 50, shape).astype(np.float32)


class Queue:
    """What was put on the streams, in order, and not done yet."""

    def __init__(self):
        self.entries = []  # (stream, what, action)
        self.freed = []  # memory that belongs to others now

    def add(self, stream, what, action):
        self.entries.append((stream, what, action))

    def finish(self):
        """Do all; what ends its life meanwhile is later."""
        for _, _, action in self.entries:
            action()
        done, self.entries = self.entries, []
        return done

    @property
    def launches(self):
        return [stream for stream, what, _ in self.entries if what == "launch"]


class Owner:
    """Memory whose end is one more entry in the queue."""

    def __init__(self, queue, stream, memory):
        self.queue, self.stream, self.memory = queue, stream, memory

    def __del__(self):
        queue, memory = self.queue, self.memory
        queue.add(self.stream, "free", lambda: queue.freed.append(memory))


@pytest.fixture
def queue(monkeypatch):
    """The driver with a queue instead of a device."""
    found = Queue()
    prepare = driver.prepare

    def deferred_prepare(*arguments):
        run = prepare(*arguments)

        def checked(stream, *pointers):
            for pointer in pointers:
                for memory in found.freed:
                    assert not 0 <= pointer - memory.ctypes.data < memory.nbytes, "memory that was let go of is used"
            run(stream, *pointers)

        return lambda stream, *pointers: found.add(stream, "launch", lambda: checked(stream, *pointers))

    def allocate(nbytes, ordinal, stream):
        memory = np.full(nbytes + 256, 0xFF, np.uint8)
        return -(-memory.ctypes.data // 256) * 256, Owner(found, stream, memory)

    monkeypatch.setattr(driver, "prepare", deferred_prepare)
    monkeypatch.setattr(driver, "allocate", allocate)
    monkeypatch.setattr(driver, "wait", lambda waiting, awaited: found.add(waiting, ("wait", awaited), lambda: None))
    launch._moves.cache_clear()
    toy.install(monkeypatch, launch, toy.staged)
    yield found
    launch._moves.cache_clear()
    launch._route.cache_clear()


@pytest.fixture
def cupy_pool(queue, cupy_device):
    """CuPy's allocator, where memory that is let go of is given to the next work on the stream."""
    import cupy

    def allocate(nbytes):
        memory = np.full(nbytes + 256, 0xFF, np.uint8)
        owner = Owner(queue, cupy.cuda.get_current_stream(0).ptr, memory)
        whole = cupy.cuda.UnownedMemory(memory.ctypes.data, memory.nbytes, owner, 0)
        return cupy.cuda.MemoryPointer(whole, -memory.ctypes.data % 256)

    cupy.cuda.set_allocator(allocate)
    yield cupy_device
    cupy.cuda.set_allocator(hardware.host_memory)


def check_deferred(queue, device):
    for order, gradient_order, target_order in (("C", "C", "C"), ("gaps", "F", "negative step"), ("F", "gaps", "gaps")):
        x, g = in_order(numbers(0), order), in_order(numbers(1), gradient_order)
        out = device.put(in_order(np.full(SHAPE, 7, np.float32), target_order))
        OP.backward(device.put(g), device.put(x), out)
        assert (device.get(out) == 7).all(), "something ran before the device did"
        done = queue.finish()
        assert any(what == "free" for _, what, _ in done)
        memory_order = tuple(sorted(range(3), key=lambda axis: -abs(x.strides[axis])))
        np.testing.assert_array_equal(device.get(out), toy.expected(x, g, memory_order))


def test_temporaries_live_until_their_work_is_done(queue, device):
    if device.kind == "cupy":
        pytest.skip("is tested with a pool of its own")
    check_deferred(queue, device)


def test_temporaries_from_the_pool_of_cupy(queue, cupy_pool):
    check_deferred(queue, cupy_pool)


def test_overlapping_arrays_on_the_queue(queue, cupy_pool):
    base = numbers(2, 29)
    x, out = base[:24].reshape(SHAPE), base[5:].reshape(SHAPE)
    on_device, target = cupy_pool.views(base, x, out)
    OP(on_device, target)
    np.testing.assert_array_equal(cupy_pool.get(target), out)
    queue.finish()
    np.testing.assert_array_equal(cupy_pool.get(target), toy.expected(x, x, (0, 1, 2)))


@pytest.mark.parametrize("order", ["C", "gaps"])
def test_cupys_current_stream(queue, cupy_device, monkeypatch, order):
    """Every launch and copy of a call, and two streams in turn."""
    import cupy

    x = cupy_device.put(in_order(numbers(3), order))
    for handle in (5, 6, 0, 5):
        asked = []

        def current(device=-1, handle=handle, asked=asked):
            asked.append(device)
            return SimpleNamespace(ptr=handle)

        monkeypatch.setattr(cupy.cuda, "get_current_stream", current)
        OP(x)
        assert set(queue.launches) == {handle}
        assert set(asked) == {0}
        queue.finish()


def test_the_stream_a_numba_array_is_bound_to(queue, numba_device):
    bound = SimpleNamespace()
    x, out = (numba_device.put(numbers(4)).bind(bound) for _ in range(2))
    OP(x, out)
    assert queue.launches == [id(bound)] * 2
    assert OP(x).stream is bound
    assert not any(isinstance(what, tuple) for _, what, _ in queue.entries)


def test_the_stream_of_an_array_interface(queue):
    memory = hardware.Memory(numbers(5))
    x, out = (Foreign(SHAPE, None, "f4", memory.address, memory, stream=9) for _ in range(2))
    OP(x, out)
    assert queue.launches == [9, 9]


@pytest.mark.parametrize(
    ("stream", "waits"),
    [(None, ()), (9, (9,)), (5, ()), (1, (0,))],
    ids=["none", "another", "the same", "the legacy one"],
)
@pytest.mark.parametrize("order", ["C", "gaps"])
def test_other_arrays_beside_those_of_cupy(queue, cupy_device, monkeypatch, order, stream, waits):
    """What their interface names is waited for, and nothing where it names none."""
    import cupy

    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda device=-1: SimpleNamespace(ptr=5))
    memory = hardware.Memory(np.zeros(SHAPE, np.float32))
    out = Foreign(SHAPE, None, "f4", memory.address, memory, stream=stream)
    OP(cupy_device.put(in_order(numbers(3), order)), out)
    assert set(queue.launches) == {5}
    events = [(where, what[1]) for where, what, _ in queue.entries if isinstance(what, tuple)]
    assert events == [(5, handle) for handle in waits] + [(handle, 5) for handle in waits]


@pytest.mark.parametrize("order", ["C", "gaps"])
@pytest.mark.parametrize("name", ["out", "grad_output"])
@pytest.mark.parametrize("kind", ["numba", "foreign"])
def test_cupys_arrays_beside_one_that_names_no_stream(queue, cupy_device, monkeypatch, kind, name, order):
    """What CuPy does on its current stream is waited for by the default one."""
    import cupy

    monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda device=-1: SimpleNamespace(ptr=5))
    other = hardware.Hardware(kind)
    arrays = {"x": other.put(numbers(3)), "grad_output": other.put(numbers(4)), "out": other.put(numbers(5))}
    arrays[name] = cupy_device.put(in_order(numbers(6), order))
    OP.backward(**arrays)
    assert set(queue.launches) == {0}
    events = [(where, what[1]) for where, what, _ in queue.entries if isinstance(what, tuple)]
    assert events == [(0, 5), (5, 0)]


def test_the_default_stream_has_two_names(queue, cupy_device):
    memory = hardware.Memory(numbers(5))
    OP(cupy_device.put(numbers(3)), Foreign(SHAPE, None, "f4", memory.address, memory, stream=1))
    assert set(queue.launches) == {0}
    assert not any(isinstance(what, tuple) for _, what, _ in queue.entries)


@pytest.mark.parametrize("order", ["C", "gaps"])
def test_arrays_of_several_streams_wait_for_each_other(queue, numba_device, order):
    """Before the work for what writes the inputs and reads out; after it the others' streams for the work."""
    streams = [SimpleNamespace() for _ in range(3)]
    x, g, out = (numba_device.put(in_order(numbers(i), order)).bind(stream) for i, stream in enumerate(streams))
    OP.backward(g, x, out)
    own, gradients, targets = (id(stream) for stream in streams)
    events = [(stream, what) for stream, what, _ in queue.entries if what != "free"]
    assert events[:2] == [(own, ("wait", gradients)), (own, ("wait", targets))]
    assert events[-2:] == [(gradients, ("wait", own)), (targets, ("wait", own))]
    assert set(events[2:-2]) == {(own, "launch")}
    queue.finish()
    np.testing.assert_array_equal(numba_device.get(out), toy.expected(numbers(0), numbers(1), (0, 1, 2)))


# Devices.


@pytest.fixture
def devices(queue, monkeypatch):
    """Two devices; the log tells which is current when something happens."""
    log = SimpleNamespace(current=0, switched=[], prepared=[])

    @contextlib.contextmanager
    def on_device(ordinal):
        before, log.current = log.current, ordinal
        log.switched.append(ordinal)
        try:
            yield
        finally:
            log.current = before

    prepare = driver.prepare

    def logged(maker, launch, memory, ordinal):
        run = prepare(maker, launch, memory, ordinal)

        def on_the_right_device(stream, *pointers):
            assert log.current == ordinal
            log.prepared.append(ordinal)
            run(stream, *pointers)

        return on_the_right_device

    monkeypatch.setattr(driver, "prepare", logged)
    monkeypatch.setattr(driver, "on_device", on_device)
    monkeypatch.setattr(driver, "current_device", lambda: log.current)
    return log


def cupy_array_on(ordinal, array):
    import cupy

    memory = hardware.Memory(array)
    whole = cupy.cuda.UnownedMemory(memory.address, memory.nbytes, memory, ordinal)
    return cupy.ndarray(array.shape, array.dtype, memptr=cupy.cuda.MemoryPointer(whole, 0))


@pytest.mark.parametrize("current", [0, 1, None])
@pytest.mark.parametrize("ordinal", [0, 1])
def test_the_device_of_the_arrays_is_current_for_the_call(queue, devices, cupy_device, current, ordinal):
    devices.current = current
    x, out = (cupy_array_on(ordinal, numbers(6)) for _ in range(2))
    OP(x, out)
    assert devices.switched == ([] if current == ordinal else [ordinal])
    assert devices.current == current
    assert devices.prepared == [ordinal, ordinal]
    queue.finish()
    np.testing.assert_array_equal(cupy_device.get(out), toy.expected(numbers(6), numbers(6), (0, 1, 2)))


def test_a_result_is_made_on_the_device_of_x(queue, devices, cupy_device):
    made_on = []
    allocate = hardware.host_memory
    import cupy

    cupy.cuda.set_allocator(lambda nbytes: (made_on.append(devices.current), allocate(nbytes))[1])
    try:
        OP(cupy_array_on(1, numbers(7)))
    finally:
        cupy.cuda.set_allocator(allocate)
    assert set(made_on) == {1}


def test_empty_arrays_have_a_device_too(queue, devices, cupy_device):
    """Their results, and sums of nothing, are made there."""
    made_on = []
    allocate = hardware.host_memory
    import cupy

    empty = cupy_array_on(1, numbers(7))[:, :0]
    cupy.cuda.set_allocator(lambda nbytes: (made_on.append(devices.current), allocate(nbytes))[1])
    try:
        assert OP(empty).shape == empty.shape
        OP.backward_parameters(empty, empty)
    finally:
        cupy.cuda.set_allocator(allocate)
    assert set(made_on) == {1}
    assert devices.prepared == [1]


def test_the_current_device_is_restored_after_an_error(queue, devices, cupy_device, monkeypatch):
    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr(launch, "make_plan", fail)
    with pytest.raises(MemoryError):
        OP(cupy_array_on(1, numbers(8)))
    assert devices.switched == [1]
    assert devices.current == 0


@pytest.mark.parametrize("where", ["grad_output", "out"])
def test_arrays_on_two_devices_do_not_meet(queue, devices, cupy_device, where):
    arrays = {name: cupy_array_on(int(name == where), numbers(9)) for name in ("grad_output", "x", "out")}
    text = f"{where} is on CUDA device 1 and x on 0; copy one of them, both must be on one device"
    with pytest.raises(ValueError, match=text):
        OP.backward(**arrays)
    assert queue.entries == []
