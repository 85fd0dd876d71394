"""What importing the package imports, what it costs, and what it ships."""

import importlib.resources

import pytest

from tests import processes

OPTIONAL = (
    "cupy",
    "hypothesis",
    "matplotlib",
    "ml_dtypes",
    "onnx",
    "onnxruntime",
    "PIL",
    "pytest",
    "rich",
    "tbb",
    "torch",
)

BLOCKED = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_import_brings_no_optional_package():
    script = "import sys, numba\nbefore = set(sys.modules)\nimport numba_lrn\nprint(*sorted(set(sys.modules) - before))"
    output, _ = processes.run(script)
    modules = output.split()
    assert "numba_lrn.operator" in modules
    tops = {name.partition(".")[0] for name in modules}
    assert not tops & set(OPTIONAL)
    assert not [name for name in modules if name.startswith("numba.cuda") or name == "numba_cuda"]


def test_import_starts_no_threads_and_compiles_nothing():
    script = (
        "import threading, numba, numba_lrn\n"
        "from numba.np.ufunc import parallel\n"
        "assert not parallel._is_initialized\n"
        "assert threading.active_count() == 1\n"
    )
    _, errors = processes.run(script, NUMBA_DEBUG_CACHE="1")
    assert errors == ""


def test_core_dependencies_are_enough():
    script = BLOCKED + processes.SETUP + "check()\nprint(repr(op), op.describe())"
    processes.run(script)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_core_dependencies_are_enough_for_every_dtype_of_numpy(dtype):
    script = f"import numpy as np, numba_lrn\nx = np.ones((2, 3, 4, 4), {dtype!r})\n"
    processes.run(BLOCKED + script + "assert numba_lrn.local_response_norm(x, 3).dtype == x.dtype")


def test_import_takes_a_tenth_of_a_second_over_numba():
    script = "import time, numba\nstart = time.perf_counter()\nimport numba_lrn\nprint(time.perf_counter() - start)\n"
    # The least of three: other work on the machine only adds.
    assert min(float(processes.run(script)[0]) for _ in range(3)) <= 0.1


def test_types_are_shipped():
    assert importlib.resources.files("numba_lrn").joinpath("py.typed").is_file()


def test_python_dash_m_finds_the_package():
    assert importlib.resources.files("numba_lrn").joinpath("__main__.py").is_file()
