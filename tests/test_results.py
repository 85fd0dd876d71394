"""New arrays that lie in the memory of earlier ones: only once these are gone, and as any new array otherwise."""

import mmap
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cpu import results
from tests import processes
from tests.support import DTYPES

pytestmark = pytest.mark.skipif(not results.REUSES, reason="all memory is NumPy's here")

OP = LocalResponseNorm(3, alpha=2.0, axis=-1)
MIB = 2**20
SHAPE = (33, 256, 1024)  # 33 MiB of float32


@pytest.fixture(autouse=True)
def _nothing_kept():
    results._kept.clear()
    yield
    results._kept.clear()


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)


def address(array):
    return array.__array_interface__["data"][0]


def sizes_kept():
    return [len(loan.block) // MIB for loan in results._kept]


def new(mebibytes):
    return results.new_like(np.broadcast_to(np.float32(0), (1,)).repeat(mebibytes * MIB // 4))


def test_the_memory_of_a_result_that_is_gone_is_used_again(x):
    first = OP(x)
    expected, place = first[:2].copy(), address(first)
    del first
    second = OP(x)
    assert address(second) == place
    np.testing.assert_array_equal(second[:2], expected)


@pytest.mark.parametrize(
    "hold",
    [
        lambda y: y[5:6, ::2].T,
        lambda y: y.reshape(-1)[7:].view(np.uint32),
        memoryview,
        lambda y: np.frombuffer(memoryview(y).cast("B"), np.float32),
        lambda y: np.lib.stride_tricks.sliding_window_view(y, 3, axis=0),
        lambda y: np.ma.masked_array(y),
        lambda y: y.flat,
        lambda y: np.from_dlpack(y),
        lambda y: y.__array_interface__ and y.base,
    ],
)
def test_not_before_everything_that_refers_to_it_is_gone(x, hold):
    y = OP(x)
    place = address(y)
    held = hold(y)
    del y
    assert sizes_kept() == []
    other = OP(x)
    assert address(other) != place
    del held
    assert sizes_kept() == [34]


def test_results_that_live_keep_their_values(x):
    """Among a hundred calls, of which some results are kept for a while."""
    rng = np.random.default_rng(1)
    alive = []
    for _ in range(100):
        scale = float(rng.integers(1, 50))
        y = LocalResponseNorm.from_window(2, 0, 0, 0.0, 1.0, scale)(x)
        alive.append((scale, y[:, :, 3:]))
        del y
        while len(alive) > rng.integers(0, 5):
            scale, view = alive.pop(int(rng.integers(len(alive))))
            np.testing.assert_allclose(view[::4, ::64], x[::4, ::64, 3:] / scale, rtol=1e-6)
    assert len(results._kept) <= results.MOST_KEPT


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1)])
@pytest.mark.parametrize("make", [results.new_like, results.new_on_a_line])
@pytest.mark.parametrize("mebibytes", [1, 40])
def test_like_any_new_array(dtype, order, make, mebibytes):
    dtype = DTYPES[dtype]
    shape = (mebibytes, 1, MIB // dtype.itemsize)
    source = np.broadcast_to(np.zeros(1, dtype), shape).copy().transpose(order)
    source = source[tuple(slice(None, None, -1 if extent == 1 else 1) for extent in source.shape)]
    array = make(source)
    expected = np.empty_like(source)
    assert type(array) is np.ndarray
    assert (array.shape, array.dtype) == (source.shape, dtype)
    assert array.strides == expected.strides
    assert array.flags.writeable
    assert array.flags.aligned
    assert array.flags.c_contiguous == expected.flags.c_contiguous
    if make is results.new_on_a_line or mebibytes == 40:
        assert address(array) % 64 == 0


def test_every_result(x):
    """Forward and all derivatives, also where an input has gaps or another order, and where nothing is computed."""
    g = x.copy(order="F")
    gaps = np.repeat(x[..., :1], 2 * x.shape[-1], axis=-1)[..., ::2]
    nothing = LocalResponseNorm(3, beta=0.0)
    for call in (
        lambda: [OP(x)],
        lambda: [OP.backward(g, x)],
        lambda: [OP.jvp(x, g)],
        lambda: [OP.backward_all(g, x)[0]],
        lambda: OP.double_backward(g, x, x),
        lambda: [OP(gaps)],
        lambda: [nothing(x)],
        lambda: [nothing.backward_all(g, x)[0]],
    ):
        for result in call():
            assert isinstance(_owner(result), results._Lent)


def _owner(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array


def test_smaller_results_are_numpys():
    """glibc keeps their memory itself."""
    y = new(32)
    assert y.flags.owndata
    del y
    assert sizes_kept() == []
    assert not new(33).flags.owndata
    assert sizes_kept() == [34]


def test_sizes_that_do_not_come_again_do_not_add_up():
    for size in (40, 50, 60, 44, 52, 90, 34):
        array = new(size)
        assert sizes_kept() == []
        del array
        assert sizes_kept() == [size]


def test_sizes_that_come_again_are_all_kept():
    """Forward and backward of two layers, whose results all live until the end."""
    for _ in range(3):
        arrays = [new(size) for size in (60, 40, 40, 60)]
        places = set(map(address, arrays))
        del arrays
        assert sorted(sizes_kept()) == [40, 40, 60, 60]
    arrays = [new(size) for size in (40, 60, 60, 40)]
    assert set(map(address, arrays)) == places


def test_so_many_are_kept_at_most():
    arrays = [new(34) for _ in range(results.MOST_KEPT + 3)]
    del arrays
    assert len(results._kept) == results.MOST_KEPT


def lazily_free():
    """Bytes of this process that the system may take when it wants them."""
    found = re.search(r"LazyFree:\s*(\d+) kB", Path("/proc/self/smaps_rollup").read_text())
    return int(found[1]) * 1024


def test_kept_memory_is_free_for_the_system_to_take(x):
    before = lazily_free()
    y = OP(x)
    assert lazily_free() - before < MIB
    del y
    assert lazily_free() - before >= x.nbytes - 4 * MIB  # what lies in no huge page may be counted later
    y = OP(x)
    assert lazily_free() - before < MIB
    del y
    # As if it had been taken: the pages are gone, and come back as zeros.
    results._kept[0].block.madvise(mmap.MADV_DONTNEED)
    np.testing.assert_array_equal(OP(x)[:2], OP(x[:2]))


def test_no_python_runs_when_a_result_goes(x):
    """An exception that a signal raises there would be lost."""
    y, ran = OP(x), []
    sys.setprofile(lambda frame, event, _: ran.append(frame.f_code.co_name) if event == "call" else None)
    del y
    sys.setprofile(None)
    assert sizes_kept() == [34]
    assert ran == []


def test_an_interrupt_reaches_the_caller():
    processes.run(processes.SETUP + INTERRUPTS)


INTERRUPTS = """
import random, signal
x, op = np.ones((100, 256, 1024), np.float32), lrn.LocalResponseNorm.from_window(2, 0, 0, 0.0, 1.0, 2.0)
op(x)
lost = []
sys.unraisablehook = lost.append
signal.signal(signal.SIGALRM, signal.default_int_handler)
for _ in range(60):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.004 + 0.02 * random.random())
        while not lost:
            op(x)
    except KeyboardInterrupt:
        pass
assert not lost
"""


def test_what_a_garbage_collection_returns_meanwhile(x):
    """It may run while the kept blocks are looked through."""

    class Returning:
        def __len__(self):
            results._kept.append(results._Loan(threading.Lock.__class__))
            results._kept[-1].block = b""
            return 0

    loan = results._Loan(type("Thing", (), {}))
    loan.block = Returning()
    results._kept.append(loan)
    assert OP(x).shape == x.shape


def test_memory_that_cannot_be_marked_as_free_is_not_used(monkeypatch):
    class Locked(mmap.mmap):
        def madvise(self, option, *_):
            if option == mmap.MADV_FREE:
                raise OSError(22, "Invalid argument")

    monkeypatch.setattr(results.mmap, "mmap", Locked)
    array = new(34)
    assert array.flags.owndata
    del array
    assert sizes_kept() == []


def test_a_limit_of_the_address_space():
    """A result needs no more of it than NumPy's, and what is kept is given up where there is none left."""
    processes.run(processes.SETUP + LIMITED)


LIMITED = """
import resource
op = lrn.LocalResponseNorm.from_window(2, 0, 0, 0.0, 1.0, 2.0)
x = np.ones((128, 256, 1024), np.float32)
op(x[:1])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
for order in ((0, 1, 2), (1, 0, 2)):
    y = op(x.transpose(order))
    assert y[-1, -1, -1] == 0.5
    del y
"""


def test_where_the_system_gives_no_block_numpy_is_asked(monkeypatch):
    def refuse(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(results.mmap, "mmap", refuse)
    array = new(34)
    assert array.flags.owndata


def test_threads_have_results_of_their_own(x):
    """What one thread lets go another may take, but never two the same."""
    wrong = []

    def work(scale):
        op = LocalResponseNorm.from_window(2, 0, 0, 0.0, 1.0, scale)
        for _ in range(12):
            y = op(x)
            if not np.allclose(y[::8, ::64], x[::8, ::64] / scale, rtol=1e-6):
                wrong.append(scale)

    threads = [threading.Thread(target=work, args=(float(scale),)) for scale in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_has_its_own():
    """Both write to the block that the parent kept when it forked."""
    processes.run(processes.SETUP + FORK)


FORK = """
x = np.ones((40, 256, 1024), np.float32)
halved = lrn.LocalResponseNorm.from_window(2, 0, 0, 0.0, 1.0, 2.0)
thirds = lrn.LocalResponseNorm.from_window(2, 0, 0, 0.0, 1.0, 3.0)
halved(x)
from numba_lrn.backends.cpu import results
assert len(results._kept) == 1
child = os.fork()
if child == 0:
    y = thirds(x)
    ok = np.allclose(y, 1 / 3) and np.allclose(thirds(x), 1 / 3)
    os._exit(0 if ok else 1)
y = halved(x)
_, status = os.waitpid(child, 0)
assert status == 0
assert (y == 0.5).all()
"""


def test_results_that_outlive_the_modules_end_quietly():
    script = "x = np.ones((40, 256, 1024), np.float32); y = op(x); z = y[3:]; sys.y = op(x); op(x)"
    output, errors = processes.run(processes.SETUP + script)
    assert (output, errors) == ("", "")


def test_an_off_switch():
    script = """
y = op(np.ones((40, 64, 32, 256), np.float32))
assert y.flags.owndata
from numba_lrn.backends.cpu import results
assert not results.REUSES
"""
    processes.run(processes.SETUP + script, NUMBA_LRN_REUSE="0")
