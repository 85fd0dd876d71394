"""What every form does that takes samples as lines, in the simulator, against the reference; see lines.py."""

import math

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import blocks
from tests.cuda.lines import DTYPES, FORMS, forms_of, make_small, operator
from tests.cuda.plans import LARGE, run
from tests.support import assert_accurate, assert_same_places, random_array

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]

every_form = pytest.mark.parametrize("form", FORMS)
every_dtype = pytest.mark.parametrize(
    ("form", "dtype"), [(name, dtype) for name, form in FORMS.items() for dtype in form.dtypes]
)


@pytest.fixture(autouse=True)
def _small(form, monkeypatch):
    make_small(form, monkeypatch)


def arrays(form, shape=None, dtype="float32"):
    """The inputs of its recipe."""
    inputs = ("x", "g") if FORMS[form].recipe == "backward" else ("x",)
    return [random_array(seed, shape or FORMS[form].shape).astype(DTYPES[dtype]) for seed, _ in enumerate(inputs)]


def compute(form, op, inputs, **how):
    """(result, plan): of the one launch that is of this form."""
    got, plan = run(op, FORMS[form].recipe, *inputs, device=LARGE, **how)
    assert forms_of(plan) == [form]
    return got, plan


@every_dtype
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("beta", [0.75, 0.6, 1.7])
def test_nan_and_inf_stay_in_their_windows(form, dtype, beta, bad):
    """Near the ends of samples, of the second and of the first."""
    op = operator("even", beta=beta)
    inputs = arrays(form, dtype=dtype)
    x = inputs[0]
    x[1, 0, 0, 0] = x[0, 20, 4, 3] = x[0, -1, -1, -1] = bad
    got, _ = compute(form, op, inputs)
    assert_same_places(op, FORMS[form].recipe, got, *inputs)


@every_dtype
@pytest.mark.parametrize("how", [{"beta": 0.6}, {"beta": 1.7}, {"beta": 0.5}, {"k": 0.0}], ids=str)
def test_other_parameters(form, dtype, how):
    """With k = 0, d is 0 beyond a sample, which must not leak into it."""
    op = operator("small", **how)
    inputs = arrays(form, dtype=dtype)
    got, plan = compute(form, op, inputs)
    assert math.prod(plan.launches[0].grid) > len(inputs[0])  # blocks of each sample
    assert_accurate(op, FORMS[form].recipe, got, *inputs)


@every_form
@pytest.mark.parametrize("order", [(0, 2, 1, 3), (3, 2, 0, 1), (1, 0, 2, 3)])
def test_other_orders_of_axes(form, order):
    op = LocalResponseNorm(5, 1.0, axis=2)
    inputs = arrays(form, FORMS[form].axes)
    got, _ = compute(form, op, inputs, order=order)
    assert_accurate(op, FORMS[form].recipe, got, *inputs)


@every_form
def test_more_samples_than_a_grid_is_high(form, monkeypatch):
    monkeypatch.setattr(blocks, "MAX_GRID", 3)
    op = operator("even")
    inputs = arrays(form, (7, *FORMS[form].shape[1:]))
    got, plan = compute(form, op, inputs)
    parts, _, samples = plan.launches[0].grid
    assert samples == 3
    assert parts % 3 == 0
    assert parts > 3  # of nine samples, of which two are not there
    assert_accurate(op, FORMS[form].recipe, got, *inputs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("form", "shape"), [("flat", (1, 7, 11, 9, 5)), ("skew", (1, 3, 4, 8, 33))])
def test_passes_of_a_box(form, shape, dtype):
    """From the caller's array into a plane of sums, and from one plane to the next where they are of one type."""
    op = LocalResponseNorm(3, 1.0, axis=(1, 2, 3))
    x = random_array(1, shape).astype(DTYPES[dtype])
    got, plan = run(op, "forward", x)
    passes = forms_of(plan).count(form)
    assert passes == (2 if dtype == "float32" else 1) if form == "flat" else passes > 0
    assert_accurate(op, "forward", got, x)
