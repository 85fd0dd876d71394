"""The examples in the docstrings of the CUDA backend."""

import importlib

import pytest

from numba_lrn.backends import cuda
from tests.support import modules_below, run_examples

# Modules that only one of the two runs can import.
MARKS = {
    "numba_lrn.backends.cuda.primitives": pytest.mark.compiled,
    "numba_lrn.backends.cuda.simulated_driver": pytest.mark.simulated,
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in modules_below(cuda)])
def test_examples_run(name, request):
    run_examples(importlib.import_module(name), request)
