"""Every kernel in the simulator against the reference, with every index asserted."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.algorithm import formulas
from numba_lrn.backends.cuda import blocks, kernels
from numba_lrn.backends.cuda import plan as plan_module
from tests.cuda.plans import LARGE, SMALL, plan_of, prefer_threads, run, small_blocks
from tests.support import DTYPES, assert_accurate, assert_same_bits, assert_same_places, random_array

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]

RECIPES = ("forward", "backward")
# name: shape, order in memory (None: as it is), axis, before, after, and the forms of the launches, forward, backward.
CASES = {
    "across channels": ((2, 9, 2, 4), None, 1, 2, 1, ("small",), ("small",)),
    "channels last": ((2, 12, 2, 3), (0, 2, 3, 1), 1, 2, 1, ("small_last",), ("small_last",)),
    "channels last, odd": ((2, 9, 2, 3), (0, 2, 3, 1), 1, 1, 2, ("small_last",), ("small_last",)),
    "odd planes": ((2, 19, 5, 3), None, 1, 1, 2, ("small",), ("small",)),
    "batch axis": ((7, 3, 4), None, 0, 1, 1, ("small",), ("small",)),
    "window beyond the axis": ((2, 5, 4), None, 1, 70, 70, ("small",), ("small",)),
    "window beyond the group": ((1, 37, 4), None, 1, 10, 5, ("small",), ("small",)),
    "one-sided window": ((2, 9, 4), None, 1, 4, 0, ("small",), ("small",)),
    "no window": ((3, 5), None, 1, 0, 0, ("small_last",), ("small_last",)),
    "large window": ((2, 40, 2, 4), None, 1, 10, 9, ("wide",), ("wide",)),
    "large window, odd planes": ((1, 53, 3, 3), None, 1, 23, 8, ("wide",), ("wide",)),
    "large window, contiguous": ((2, 3, 47), None, 2, 9, 12, ("wide_last",), ("wide_last",)),
    "large window, one-sided": ((2, 60, 4), None, 1, 0, 29, ("wide",), ("wide",)),
    "large window beyond the axis": ((2, 30, 8), None, 1, 25, 29, ("wide",), ("wide",)),
    "large window by threads": ((2, 40, 2, 4), None, 1, 10, 9, ("prefix",), ("prefix",) * 2),
    "large window, contiguous, by threads": ((2, 3, 47), None, 2, 9, 12, ("prefix",), ("prefix",) * 2),
    "large window beyond the axis, by threads": ((2, 30, 8), None, 1, 25, 29, ("prefix",), ("prefix",) * 2),
    "box": ((2, 7, 8), None, (1, 2), (1, 2), (2, 0), ("walk_contiguous",), ("walk_contiguous",)),
    "box, channels last": ((2, 4, 5, 6), (0, 2, 3, 1), (2, 3), (1, 2), (2, 0), ("box",), ("walk_strided",)),
    "box of three axes": ((4, 5, 2, 6), None, (0, 1, 3), (1, 0, 2), (0, 3, 1), None, None),
    "box, axes apart": ((2, 5, 3, 6), None, (1, 3), (2, 0), (1, 3), None, None),
    "large box": ((2, 20, 22), None, (1, 2), (9, 3), (9, 15), ("wide_last", "wide"), ("wide_last", "wide") * 2),
    "large box by threads": ((2, 20, 22), None, (1, 2), (9, 3), (9, 15), ("prefix",) * 2, ("prefix",) * 4),
}
MAIN = ("across channels", "channels last", "odd planes", "large window", "large window by threads", "box")


def arrays(shape, dtype, recipe, magnitude=1.0):
    x = random_array(1, shape, dtype, magnitude)
    return x, random_array(2, shape, dtype) if recipe == "backward" else None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", CASES)
def test_every_form(name, recipe, dtype):
    shape, order, axis, before, after, *forms = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 1.0)
    x, g = arrays(shape, dtype, recipe)
    got, plan = run(op, recipe, x, g, order=order)
    expected = forms[RECIPES.index(recipe)]
    if expected is not None:
        assert tuple(launch.variant.form for launch in plan.launches) == expected
    assert_accurate(op, recipe, got, x, g)


@pytest.mark.parametrize("n", [*range(1, 10), 17, 40, 63])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_size(n, recipe):
    op = LocalResponseNorm(n, alpha=float(n), beta=0.75, k=1.0)
    for shape, order in (((1, 45, 4), None), ((2, 44, 1), None)):
        x, g = arrays(shape, "float32", recipe)
        assert_accurate(op, recipe, run(op, recipe, x, g, order=order)[0], x, g)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in MAIN if name != "odd planes"])
def test_unaligned_arrays_give_the_same_bits(name, dtype, recipe):
    shape, order, axis, before, after, *_ = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 1.0)
    x, g = arrays(shape, dtype, recipe)
    expected, vectors = run(op, recipe, x, g, order=order)
    got, plan = run(op, recipe, x, g, order=order, aligned=False)
    assert max(launch.variant.lanes for launch in vectors.launches) > 1
    assert all(not launch.variant.adjacent or launch.variant.lanes == 1 for launch in plan.launches)
    assert_same_bits(got, expected, op)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", MAIN)
def test_numbers_of_columns_in_64_bits_change_no_bit(name, recipe, monkeypatch):
    """As they are where there are 2³¹ columns."""
    shape, order, axis, before, after, *_ = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 1.0)
    x, g = arrays(shape, "float32", recipe)
    expected, few = run(op, recipe, x, g, order=order)
    monkeypatch.setattr(plan_module, "FAR_COLUMNS", 0)
    got, many = run(op, recipe, x, g, order=order)
    assert not any(launch.variant.far for launch in few.launches)
    assert all(launch.variant.far for launch in many.launches)
    assert_same_bits(got, expected, op)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", ["large window by threads", "box"])
def test_chunks_change_no_bit(name, recipe):
    shape = {"box": (1, 17, 8)}.get(name, (2, 67, 4))
    _, _, axis, before, after, *_ = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 1.0)
    x, g = arrays(shape, "float32", recipe)
    expected, whole = run(op, recipe, x, g, device=SMALL._replace(multiprocessors=0))
    got, plan = run(op, recipe, x, g, device=LARGE)
    assert all(launch.grid[1] == 1 for launch in whole.launches)
    assert all(launch.grid[1] > 1 for launch in plan.launches)
    assert_same_bits(got, expected, op)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (9, 6), (8, 9), (0, 17)])
@pytest.mark.parametrize("axis", [1, 2])
def test_tiles_change_no_bit(axis, before, after, recipe, monkeypatch):
    shape = (1, 171, 2) if axis == 1 else (2, 3, 201)
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 1.0)
    x, g = arrays(shape, "float32", recipe)
    expected, whole = run(op, recipe, x, g)
    small_blocks(monkeypatch)
    got, plan = run(op, recipe, x, g)
    assert whole.launches[0].variant.form == plan.launches[0].variant.form
    assert whole.launches[0].grid[1] == 1 < plan.launches[0].grid[1]
    assert_same_bits(got, expected, op)
    assert_accurate(op, recipe, got, x, g)


def test_more_tiles_than_a_grid_has_rows(monkeypatch):
    op = LocalResponseNorm(5, alpha=1.0, axis=1)
    x, _ = arrays((1, 1000), "float32", "forward")
    small_blocks(monkeypatch)
    monkeypatch.setattr(blocks, "MAX_GRID", 3)
    got, plan = run(op, "forward", x)
    assert plan.launches[0].grid[1:] == (3, 3)
    assert_accurate(op, "forward", got, x, None)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", MAIN)
def test_the_batch_changes_no_bit(name, recipe):
    shape, order, axis, before, after, *_ = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 1.0)
    x, g = arrays((3, *shape[1:]), "float32", recipe)
    whole, _ = run(op, recipe, x, g, order=order)
    for item in range(3):
        one = slice(item, item + 1)
        alone, _ = run(op, recipe, x[one], None if g is None else g[one], order=order)
        assert_same_bits(np.ascontiguousarray(alone), np.ascontiguousarray(whole[one]), op)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", MAIN)
@pytest.mark.parametrize("beta", [0.75, 0.6, 1.7, -0.3])
def test_nan_and_inf_stay_in_their_windows(beta, name, bad, recipe):
    shape, order, axis, before, after, *_ = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, beta, 1.0)
    x, g = arrays(shape, "float32", recipe)
    x[tuple(extent // 2 for extent in shape)] = bad
    got, _ = run(op, recipe, x, g, order=order)
    assert_same_places(op, recipe, got, x, g)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("name", ["across channels", "odd planes", "channels last", "large window"])
def test_in_place(name, dtype):
    shape, order, axis, before, after, *_ = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 1.0)
    for recipe, into in (("forward", "x"), ("backward", "x"), ("backward", "g")):
        x, g = arrays(shape, dtype, recipe)
        expected, _ = run(op, recipe, x, g, order=order)
        got, _ = run(op, recipe, x, g, order=order, into=into)
        assert_same_bits(got, expected, op)


@pytest.mark.parametrize("into", ["x", "g"])
@pytest.mark.parametrize("name", ["large window by threads", "box"])
def test_in_place_of_several_launches(name, into):
    shape, _, axis, before, after, *_ = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 1.0)
    x, g = arrays(shape, "float32", "backward")
    expected, _ = run(op, "backward", x, g)
    assert_same_bits(run(op, "backward", x, g, into=into)[0], expected, op)


@pytest.mark.parametrize("name", ["large window by threads", "box, channels last"])
def test_what_cannot_run_in_place_says_so(name):
    shape, order, axis, before, after, *_ = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 1.0)
    assert not plan_of(op, "forward", shape, "float32", order=order).in_place


def test_tiles_cannot_run_in_place(monkeypatch):
    small_blocks(monkeypatch)
    assert not plan_of(LocalResponseNorm(3), "forward", (1, 640, 4), "float32").in_place


@pytest.mark.parametrize("recipe", RECIPES)
def test_sums_that_exceed_shared_memory(recipe, monkeypatch):
    op = LocalResponseNorm(19, alpha=1.0)
    x, g = arrays((2, 45, 4), "float32", recipe)
    prefer_threads(monkeypatch)
    expected, _ = run(op, recipe, x, g, device=LARGE)
    monkeypatch.setattr(blocks, "SHARED_BYTES", 0)
    got, plan = run(op, recipe, x, g, device=LARGE)
    assert {launch.variant.form for launch in plan.launches} == {"prefix_scratch"}
    assert_same_bits(got, expected, op)


BETAS = (0.25, 0.5, 0.75, 1.0, 0.6, 1.7, -0.5, -1.5)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_power(beta, dtype, recipe):
    x, g = arrays((2, 7, 4), dtype, recipe)
    for scale, k in ((1.0, 1.0), (0.5, 1e-3), (1.0, 0.0)):
        op = LocalResponseNorm.from_window(1, 1, 1, scale, beta, k)
        assert_accurate(op, recipe, run(op, recipe, x, g)[0], x, g)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("beta", BETAS)
def test_powers_at_zero_and_below(beta, recipe):
    x, g = arrays((1, 7, 4), "float32", recipe)
    x[:, :4, 0] = 0
    for scale, k in ((1.0, 0.0), (-1.0, 0.5)):
        op = LocalResponseNorm.from_window(1, 1, 1, scale, beta, k)
        got, _ = run(op, recipe, x, g)
        truth = reference.forward(op, x) if g is None else reference.backward(op, g, x)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(truth))
        np.testing.assert_array_equal(np.isinf(got), np.isinf(truth))
        np.testing.assert_allclose(got, truth.astype(np.float32), rtol=1e-4)


@pytest.mark.parametrize("name", MAIN)
def test_nothing_comes_from_beyond_the_axis(name):
    """With k = 0, d is 0 beyond an axis that begins and ends with zeros, and d is not 0 on it."""
    shape, order, axis, before, after, *_ = CASES[name]
    first, ahead, behind = (axis[0], after[0], before[0]) if isinstance(axis, tuple) else (axis, after, before)
    op = LocalResponseNorm.from_window(axis, before, after, 1.0, 0.75, 0.0)
    x, g = arrays(shape, "float32", "backward")
    rows = np.moveaxis(x, first, 0)
    rows[:ahead] = 0
    rows[len(rows) - behind :] = 0
    assert np.isfinite(reference.backward(op, g, x)).all()
    assert_accurate(op, "backward", run(op, "backward", x, g, order=order)[0], x, g)


@pytest.mark.parametrize("recipe", RECIPES)
def test_large_numbers(recipe):
    for magnitude in (1e-18, 1e3, 1e12, 1e17):
        op = LocalResponseNorm(5, alpha=1.0, beta=0.75, k=1.0)
        x, g = arrays((2, 9, 4), "float32", recipe, magnitude)
        assert_accurate(op, recipe, run(op, recipe, x, g)[0], x, g)


def wrong_square(v, total):
    """A term of W(|x|): what a wrong formula looks like."""
    return fma(v, real(0.5), total)  # noqa: F821  names of algorithm/formulas.py


wrong_square.__module__ = formulas.__name__


def test_the_formulas_are_those_of_the_cpu(monkeypatch):
    from numba_lrn.backends.cpu import kernels as cpu_kernels
    from numba_lrn.backends.cpu import launch as cpu_launch

    op = LocalResponseNorm(3, alpha=3.0, beta=0.75, k=1.0)
    x = np.abs(random_array(5, (1, 6, 4)))
    monkeypatch.setenv("NUMBA_LRN_CACHE", "0")  # the cache looks at the files alone

    def results():
        for cached in (cpu_kernels._mathematics, cpu_kernels.kernel, cpu_launch._route, kernels.build):
            cached.cache_clear()
        return op(x), run(op, "forward", x)[0]

    cpu, simulated = results()
    np.testing.assert_allclose(simulated, cpu, rtol=1e-6)
    monkeypatch.setattr(formulas, "add_square", wrong_square)
    try:
        wrong_cpu, wrong_simulated = results()
    finally:
        monkeypatch.undo()
        results()
    np.testing.assert_allclose(wrong_simulated, wrong_cpu, rtol=1e-6)
    assert np.abs(wrong_cpu - cpu).max() > 0.01
