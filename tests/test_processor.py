"""What is chosen by the processor's name, or by a table of windows, is right whatever it is."""

import itertools

import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cpu import launch, plan
from numba_lrn.backends.cpu.processor import Processor
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
