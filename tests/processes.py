"""Python in a process of its own: for what kills processes, and for what is decided when one starts."""

import functools
import os
import pathlib
import signal
import subprocess
import sys

import numba_lrn

ROOT = pathlib.Path(numba_lrn.__file__).parents[1]
LAYERS = ("omp", "tbb", "workqueue")

# Arrays above the size from which calls are shared among threads, the truth, and a parallel function of the user's.
SETUP = """
import os, sys, threading
import numba
import numpy as np
import numba_lrn as lrn

x, g = np.random.default_rng(0).standard_normal((2, 4, 64, 32, 32), dtype=np.float32)
op = lrn.LocalResponseNorm(5, alpha=1.0)
y, dx = lrn.reference.forward(op, x), lrn.reference.backward(op, g, x)

def check():
    np.testing.assert_allclose(op(x), y, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(op.backward(g, x), dx, rtol=1e-6, atol=1e-5)

@numba.njit(parallel=True, cache=False)
def of_the_user(values):
    total = 0.0
    for i in numba.prange(values.size):
        total += values[i]
    return total
"""


def environment(**settings: str) -> dict[str, str]:
    """This process's environment without what steers the library or the threads, and with ``settings``."""
    steering = ("NUMBA_LRN_", "NUMBA_THREADING", "NUMBA_NUM_THREADS", "OMP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(steering)}
    kept["PYTHONPATH"] = str(ROOT)
    # Two threads on a machine of one core too.
    kept["NUMBA_NUM_THREADS"] = "2"
    # The tbb wheel puts its library where the loader does not look by itself.
    libraries = [str(pathlib.Path(sys.prefix, "lib")), kept.get("LD_LIBRARY_PATH", "")]
    kept["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    return kept | settings


def start(*arguments: str, cwd: pathlib.Path | None = None, **settings: str) -> subprocess.Popen:
    """Python with these arguments, at the head of a process group of its own; a RuntimeWarning ends it."""
    return subprocess.Popen(
        [sys.executable, "-W", "error::RuntimeWarning", *arguments],
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=True,
    )


def finish(process: subprocess.Popen, timeout: float = 60) -> tuple[str, str]:
    """(standard output, standard error) of a process that must end well."""
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        # Its children too: one that hangs keeps the pipes open.
        os.killpg(process.pid, signal.SIGKILL)
        output, errors = process.communicate()
        raise AssertionError(f"still running after {timeout} s\n{output}\n{errors}") from None
    assert process.returncode == 0, f"exit code {process.returncode}\n{output}\n{errors}"
    return output, errors


def run(script: str, cwd: pathlib.Path | None = None, **settings: str) -> tuple[str, str]:
    """Run ``script`` to its end, which must be a good one."""
    return finish(start("-c", script, cwd=cwd, **settings))


@functools.cache
def has_layer(layer: str) -> bool:
    """Whether Numba can load a threading layer here."""
    script = "import numba; numba.get_num_threads(); print(numba.threading_layer())"
    process = start("-c", script, NUMBA_THREADING_LAYER=layer)
    output, _ = process.communicate(timeout=120)
    return output.strip() == layer
