"""What is asked of the CUDA driver, which a recorder stands in for: there need be no card."""

from types import SimpleNamespace

import numpy as np
import pytest

from numba_lrn.backends.cuda import toolkit
from tests.cuda import hardware

pytestmark = pytest.mark.compiled

if not toolkit.SIMULATED:
    from numba_lrn.backends.cuda import driver


class Bindings:
    """cuda.bindings.driver: notes what it is asked for, and answers what the test says."""

    CUpointer_attribute = SimpleNamespace(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL="ordinal")

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def __getattr__(self, name):
        def ask(*arguments):
            self.asked.append((name, *arguments))
            answer = self.answers.get(name, (0,))
            if isinstance(answer, Exception):
                raise answer
            return answer

        return ask


@pytest.fixture
def bindings(monkeypatch):
    def install(**answers):
        found = Bindings(**answers)
        monkeypatch.setattr(driver, "driver", found)
        return found

    return install


FAILURE = SimpleNamespace(name="CUDA_ERROR_INVALID_VALUE")


@pytest.mark.parametrize("fails", [False, True])
def test_a_device_is_current_for_a_while(bindings, monkeypatch, fails):
    """And after it the context that was, whatever happened."""
    found = bindings(cuCtxGetCurrent=(0, "before"))
    devices = SimpleNamespace(set_current=lambda: found.asked.append("set"))
    monkeypatch.setattr(
        driver, "core", SimpleNamespace(Device=lambda ordinal: (found.asked.append(ordinal), devices)[1])
    )
    try:
        with driver.on_device(3):
            assert found.asked == [("cuCtxGetCurrent",), 3, "set"]
            if fails:
                raise KeyError
    except KeyError:
        pass
    assert found.asked[3:] == [("cuCtxSetCurrent", "before")]


def test_a_stream_waits_for_another():
    waits = []
    driver.wait(SimpleNamespace(wait=waits.append), "awaited")
    assert waits == ["awaited"]


def test_memory_is_taken_and_given_back_in_the_order_of_the_stream(bindings, monkeypatch):
    pools = []
    monkeypatch.setattr(driver, "_pool", lambda ordinal: (pools.append(ordinal), SimpleNamespace(handle="pool"))[1])
    found = bindings(cuMemAllocFromPoolAsync=(0, 2**45))
    pointer, owner = driver.allocate(100, 2, SimpleNamespace(handle=7))
    assert (pointer, pools) == (2**45, [2])
    assert found.asked == [("cuMemAllocFromPoolAsync", 100, "pool", 7)]
    del owner
    assert found.asked[1:] == [("cuMemFreeAsync", 2**45, 7)]
    bindings(cuMemAllocFromPoolAsync=(FAILURE, 0))
    with pytest.raises(MemoryError, match=r"no 100 bytes for a temporary on device 2 \(CUDA_ERROR_INVALID_VALUE\)"):
        driver.allocate(100, 2, SimpleNamespace(handle=7))


def test_memory_is_cleared_in_the_order_of_the_stream(bindings):
    found = bindings()
    driver.fill_with_zeros(2**45, 12, SimpleNamespace(handle=7))
    assert found.asked == [("cuMemsetD8Async", 2**45, 0, 12, 7)]
    bindings(cuMemsetD8Async=(FAILURE,))
    with pytest.raises(RuntimeError, match=r"could not clear 12 bytes \(CUDA_ERROR_INVALID_VALUE\)"):
        driver.fill_with_zeros(2**45, 12, SimpleNamespace(handle=7))


def test_the_device_of_memory(bindings, monkeypatch):
    found = bindings(cuPointerGetAttribute=(0, 5))
    assert driver.device_of(2**45) == 5
    assert found.asked == [("cuPointerGetAttribute", "ordinal", 2**45)]
    bindings(cuPointerGetAttribute=(FAILURE, None))
    with pytest.raises(RuntimeError, match=r"knows no memory at 0x10 \(CUDA_ERROR_INVALID_VALUE\); is the array on"):
        driver.device_of(16)
    # Without the driver's library its absence is told in the package's words.
    bindings(cuPointerGetAttribute=RuntimeError("no library"))

    def missing(ordinal):
        raise RuntimeError("no CUDA driver")

    monkeypatch.setattr(driver, "device", missing)
    with pytest.raises(RuntimeError, match="no CUDA driver"):
        driver.device_of(16)


def test_the_current_device(bindings):
    bindings(cuCtxGetDevice=(0, 4))
    assert driver.current_device() == 4
    for answer in ((FAILURE, None), RuntimeError("no library")):
        bindings(cuCtxGetDevice=answer)
        assert driver.current_device() is None


def test_a_launch_is_prepared_as_planned(monkeypatch):
    card = hardware.no_card(monkeypatch)
    monkeypatch.setattr(driver, "_kernel", lambda maker, variant, capability: ("kernel", variant, capability))
    scalars = (np.int64(3), np.float32(0.5))
    planned = SimpleNamespace(variant="v", grid=(7, 5, 3), block=(32, 4, 1), shared_bytes=4096, scalars=scalars)
    driver.prepare(None, planned, (), 0)("stream", 16, 32)
    hardware.forget_cards()
    ((stream, config, kernel, arguments),) = card.launched
    assert stream == "stream"
    assert (config.grid, config.block, config.shmem_size) == ((7, 5, 3), (32, 4, 1), 4096)
    assert kernel == ("kernel", "v", (9, 0))
    assert arguments == (16, 32, *scalars)
