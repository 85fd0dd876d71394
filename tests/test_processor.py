"""What is chosen by the processor's name, or by a table of windows, is right whatever it is."""

import itertools
import platform

import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cpu import launch, plan
from numba_lrn.backends.cpu.processor import Processor, converts_half
from tests import processes
from tests.support import assert_accurate, random_array
from tests.test_precision import ALPHAS, FORMS, KS, LENGTHS, inputs, sampled


@pytest.mark.parametrize("roots", [False, True])
@pytest.mark.parametrize("recipe", ["forward", "backward"])
@pytest.mark.parametrize("form", ["direct", "masked"])
@pytest.mark.parametrize(("beta", "ending"), [(0.75, "_roots"), (0.6, "_divided")])
def test_either_kind_of_processor(beta, ending, form, recipe, roots, monkeypatch):
    """Powers by roots and divisions or without; tests/test_streaming.py has tiles wide and narrow."""
    monkeypatch.setattr(plan, "processor", lambda: Processor(roots, narrow=roots))
    launch._route.cache_clear()
    for alpha, k, length in itertools.product(ALPHAS, KS, LENGTHS[::2]):
        x, g = inputs("float32", FORMS[form][0], length)
        op = LocalResponseNorm(5, alpha, beta, k)
        variant = launch.plan_of(op, recipe, x).variant
        assert (variant.form, variant.terms, variant.power.endswith(ending)) == (form, 5, roots)
        got = op(x) if recipe == "forward" else op.backward(g, x)
        assert_accurate(op, recipe, sampled(got), sampled(x), sampled(g))
    launch._route.cache_clear()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names a processor of x86-64")
@pytest.mark.parametrize(
    "target",
    [
        {"NUMBA_CPU_NAME": "generic"},
        {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "-f16c,+avx2,+fma"},
    ],
    ids=["generic", "v3 without"],
)
def test_float16_without_instructions_that_convert_it_is_refused(target):
    """It ended the process."""
    script = """
import numpy as np, numba_lrn as lrn
try:
    lrn.local_response_norm(np.ones((1, 4), "f2"), 3)
except TypeError as error:
    print(error)
print(lrn.local_response_norm(np.ones((1, 4), "f4"), 3, alpha=3.0, beta=0.5)[0, :2].round(3))
"""
    lines = processes.run(script, NUMBA_LRN_CACHE="0", **target)[0].splitlines()
    assert lines[0].startswith("x has dtype float16, which compiled code converts by F16C instructions; ")
    assert lines[0].endswith(" has none: use x.astype('float32')")
    assert lines[1] == "[0.577 0.5  ]"


def test_this_processor_converts_float16():
    assert converts_half()


@pytest.mark.parametrize("window", [(1, 2), (3, 3)])
def test_any_window_may_have_kernels_of_its_own(window, monkeypatch):
    """Those of five elements have loops that no other window may take."""
    monkeypatch.setattr(plan, "FUSED", (window,))
    launch._route.cache_clear()
    op = LocalResponseNorm.from_window(1, *window, 0.3, 0.75, 1.0)
    for shape in ((2, 14, 9, 9), (1, 14, 700)):
        x, g = random_array(1, shape), random_array(2, shape)
        assert launch.plan_of(op, "backward", x).variant.terms == sum(window) + 1
        assert_accurate(op, "forward", op(x), x)
        assert_accurate(op, "backward", op.backward(g, x), x, g)
    launch._route.cache_clear()
