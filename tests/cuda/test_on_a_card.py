"""What only a card can show: several streams at once, graph capture, a second device, a thread that is new to CUDA."""

import threading

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.backends.cuda import toolkit
from tests.cuda import hardware
from tests.support import optional, random_array

pytestmark = pytest.mark.compiled

OP = LocalResponseNorm(5, alpha=1.0)
SHAPE = (8, 32, 28, 28)


@pytest.fixture
def cupy():
    reason = hardware.missing("cupy") if not toolkit.SIMULATED else "the simulator is no card"
    if reason:
        pytest.skip(reason)
    return optional("cupy")


def check(cupy, y, x):
    np.testing.assert_allclose(cupy.asnumpy(y), reference.forward(OP, x), rtol=1e-5)


def test_streams_at_once(cupy):
    """Each call waits for what is before it on its own stream alone."""
    arrays = [random_array(seed, SHAPE) for seed in range(4)]
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in arrays]
    results = []
    for _ in range(5):
        for array, stream in zip(arrays, streams, strict=True):
            with stream:
                x = cupy.zeros(SHAPE, np.float32)
                x += cupy.asarray(array)
                results.append((OP(x), array))
    for stream in streams:
        stream.synchronize()
    for y, array in results:
        check(cupy, y, array)


@pytest.mark.parametrize("op", [OP, LocalResponseNorm(63, alpha=1.0), LocalResponseNorm(5, beta=0.0)])
@pytest.mark.parametrize("step", [1, 2])
def test_graph_capture(cupy, op, step):
    """Of kernels with and without temporaries, and of a strided array, after one call that compiles."""
    first, second = random_array(0, SHAPE), random_array(1, SHAPE)
    x, out = cupy.asarray(first), cupy.zeros((*SHAPE[:-1], SHAPE[-1] // step), np.float32)
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        op(x[..., ::step], out)
        stream.begin_capture()
        op(x[..., ::step], out)
        graph = stream.end_capture()
        x[...] = cupy.asarray(second)
        graph.launch(stream)
    stream.synchronize()
    expected = reference.forward(op, np.ascontiguousarray(second[..., ::step]))
    np.testing.assert_allclose(cupy.asnumpy(out), expected, rtol=1e-5)


def test_a_thread_that_is_new_to_cuda(cupy):
    array = random_array(2, SHAPE)
    x, out = cupy.asarray(array), cupy.zeros(SHAPE, np.float32)
    cupy.cuda.Device().synchronize()
    thread = threading.Thread(target=OP, args=(x, out))
    thread.start()
    thread.join()
    cupy.cuda.Device().synchronize()
    check(cupy, out, array)


def test_another_device_than_the_current_one(cupy):
    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one card")
    array = random_array(3, SHAPE)
    with cupy.cuda.Device(1):
        x = cupy.asarray(array)
    y = OP(x)
    assert cupy.cuda.Device().id == 0
    assert y.device.id == 1
    with cupy.cuda.Device(1):
        check(cupy, y, array)


def test_nothing_waits_for_the_device(cupy):
    """A call returns while what is before it on the stream still runs."""
    x, out = cupy.asarray(random_array(4, SHAPE)), cupy.zeros(SHAPE, np.float32)
    OP(x, out)
    large = cupy.ones((8192, 8192), np.float32)
    large @ large
    cupy.cuda.Device().synchronize()
    after = cupy.cuda.Event()
    for _ in range(20):
        large @ large
    OP(x, out)
    after.record()
    assert not after.done
    after.synchronize()
