"""Many threads at once, under every threading layer: right results, and a process that lives."""

import re

from tests import processes

TOGETHER = (
    processes.SETUP
    + """
errors = []
barrier = threading.Barrier(7)

def ours():
    barrier.wait()
    try:
        for _ in range(10):
            check()
    except BaseException as error:
        errors.append(error)

def theirs():
    values = np.ones(10_000)
    barrier.wait()
    for _ in range(150):
        assert of_the_user(values) == 10_000

of_the_user(np.ones(10))
threads = [threading.Thread(target=ours) for _ in range(6)] + [threading.Thread(target=theirs)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not errors, errors
assert numba.threading_layer() == os.environ["NUMBA_THREADING_LAYER"]
"""
)

ONE_THREAD = (
    processes.SETUP
    + """
numba.set_num_threads(1)
check()
assert numba.get_num_threads() == 1
"""
)

# The mask of Numba belongs to a thread: another one keeps its own.
ONE_THREAD_EACH = (
    processes.SETUP
    + """
def limited():
    numba.set_num_threads(1)
    for _ in range(10):
        check()

threads = [threading.Thread(target=limited) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert numba.get_num_threads() == 2
check()
"""
)

NO_POOL = (
    processes.SETUP
    + """
check()
try:
    layer = numba.threading_layer()
except ValueError:
    layer = None
assert layer is None, f"a pool was started: {layer}"
"""
)


def workers(errors: str) -> set[int]:
    """What NUMBA_LRN_DEBUG=1 says about the threads of each call."""
    return {int(number) for number in re.findall(r"workers=(\d+)", errors)}


def test_many_threads_beside_the_users_own_parallel_code(layer):
    processes.run(TOGETHER, NUMBA_THREADING_LAYER=layer)


def test_large_arrays_are_shared_among_threads_except_under_workqueue(layer):
    _, errors = processes.run(processes.SETUP + "check()", NUMBA_THREADING_LAYER=layer, NUMBA_LRN_DEBUG="1")
    assert workers(errors) == ({1} if layer == "workqueue" else {2})


def test_set_num_threads_is_respected(layer):
    _, errors = processes.run(ONE_THREAD, NUMBA_THREADING_LAYER=layer, NUMBA_LRN_DEBUG="1")
    assert workers(errors) == {1}


def test_set_num_threads_in_many_threads(layer):
    processes.run(ONE_THREAD_EACH, NUMBA_THREADING_LAYER=layer)


def test_parallel_can_be_turned_off():
    _, errors = processes.run(NO_POOL, NUMBA_LRN_PARALLEL="0", NUMBA_LRN_DEBUG="1")
    assert workers(errors) == {1}


def test_small_arrays_stay_on_the_calling_thread():
    small = "op(x[:1, :, :8, :8].copy()); op.backward(g[:1, :, :8, :8].copy(), x[:1, :, :8, :8].copy())"
    _, errors = processes.run(processes.SETUP + small, NUMBA_LRN_DEBUG="1")
    assert workers(errors) == {1}
