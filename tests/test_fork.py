"""Children of os.fork: right results and a good end, whatever pool the parent had started."""

import os

import pytest

from tests import processes
from tests.support import optional

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")

FORKED = """
def forked(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
"""

SETUP = processes.SETUP + FORKED

AFTER_OUR_CALL = (
    SETUP
    + """
check()
forked(check)
forked(lambda: forked(check))
check()
"""
)

# The library has been imported, nothing of it has run yet.
AFTER_THE_USERS_CALL = (
    SETUP
    + """
of_the_user(np.ones(1000))
forked(check)
check()
"""
)

# The library is imported in the child first.
BEFORE_IMPORT = (
    "import os, numba, numpy as np\n"
    + FORKED
    + f"""
setup = {processes.SETUP!r}

@numba.njit(parallel=True)
def of_the_user(values):
    total = 0.0
    for i in numba.prange(values.size):
        total += values[i]
    return total

def work():
    namespace = {{}}
    exec(setup, namespace)
    namespace["check"]()

of_the_user(np.ones(1000))
forked(work)
"""
)

WITHOUT_ANY_CALL = SETUP + "forked(check)\ncheck()\n"

AFTER_A_CALL_IN_A_THREAD = (
    SETUP
    + """
thread = threading.Thread(target=check)
thread.start()
thread.join()
forked(check)
check()
"""
)

WHILE_THREADS_RUN = (
    SETUP
    + """
check()
stop = threading.Event()

def busy():
    while not stop.is_set():
        check()

threads = [threading.Thread(target=busy) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(5):
    forked(check)
stop.set()
for thread in threads:
    thread.join()
"""
)

AFTER_TORCH = (
    "import torch\n"
    + SETUP
    + """
torch.set_num_threads(2)
torch.randn(512, 512) @ torch.randn(512, 512)
torch.nn.functional.local_response_norm(torch.from_numpy(x), 5)
forked(check)
check()
forked(check)
"""
)

SCENES = {
    "our call": AFTER_OUR_CALL,
    "the user's call": AFTER_THE_USERS_CALL,
    "before import": BEFORE_IMPORT,
    "no call": WITHOUT_ANY_CALL,
    "call in a thread": AFTER_A_CALL_IN_A_THREAD,
    "threads running": WHILE_THREADS_RUN,
}


@pytest.mark.parametrize("scene", SCENES)
def test_forked_child(layer, scene):
    processes.run(SCENES[scene], NUMBA_THREADING_LAYER=layer)


def test_forked_child_after_torch():
    optional("torch")
    processes.run(AFTER_TORCH)
