"""What is chosen by the processor's name is right on every processor."""

import itertools

import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cpu import launch, plan
from numba_lrn.backends.cpu.processor import Processor
from tests.support import assert_accurate
from tests.test_precision import ALPHAS, FORMS, KS, LENGTHS, inputs, sampled


@pytest.mark.parametrize("roots", [False, True])
@pytest.mark.parametrize("recipe", ["forward", "backward"])
@pytest.mark.parametrize("form", ["direct", "masked"])
@pytest.mark.parametrize(("beta", "ending"), [(0.75, "_roots"), (0.6, "_divided")])
def test_either_kind_of_processor(beta, ending, form, recipe, roots, monkeypatch):
    """Powers by roots and divisions or without, tiles wide or narrow, whichever this processor is given."""
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
