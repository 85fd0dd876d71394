"""All phases of a box in one kernel (forms/walk.py), in the simulator: planes whole and cut, in every layout."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.algorithm import recipes
from numba_lrn.backends.cuda import blocks, plan
from numba_lrn.backends.cuda.forms import walk
from tests.cuda.plans import LARGE, SMALL, plan_of, run_all
from tests.cuda.test_derivatives import TRUTHS, assert_derivatives
from tests.support import DTYPES, assert_accurate, assert_same_bits, random_array

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]

RECIPES = ("backward", "backward_all", "double_backward")
ONE_PHASE = ("forward", "jvp", "backward_parameters")
# No axis is cut into chunks.
FEW = SMALL._replace(multiprocessors=0)
NCHW, NHWC, APART = (0, 1, 2, 3), (0, 2, 3, 1), (0, 2, 1, 3)
# name: shape (N, C, H, W), order in memory, rows and elements of a row before, and after.
CASES = {
    "5 by 5": ((1, 2, 7, 8), NCHW, (2, 2), (2, 2)),
    "5 by 5, channels last": ((1, 4, 8, 5), NHWC, (2, 2), (2, 2)),
    "3 by 3, odd planes": ((3, 3, 6, 5), NCHW, (1, 1), (1, 1)),
    "3 by 3, odd channels": ((2, 5, 4, 7), NHWC, (1, 1), (1, 1)),
    "7 by 5": ((1, 2, 9, 6), NCHW, (3, 2), (3, 2)),
    "more before": ((2, 2, 9, 6), NCHW, (2, 3), (1, 0)),
    "more after": ((2, 2, 7, 9), NHWC, (0, 1), (3, 2)),
    "the largest": ((1, 1, 12, 10), NCHW, (5, 4), (5, 4)),
    "the largest, channels last": ((1, 2, 12, 10), NHWC, (5, 4), (5, 4)),
    "beyond the plane": ((2, 2, 3, 4), NCHW, (5, 4), (5, 3)),
    "beyond the plane, channels last": ((2, 2, 4, 2), NHWC, (9, 9), (9, 9)),
    "axes apart": ((2, 3, 5, 4), APART, (1, 1), (1, 2)),
}


def operator(name, **how):
    """The operator of a case, its shape and its order in memory."""
    shape, order, before, after = CASES[name]
    return LocalResponseNorm.from_window((2, 3), before, after, 1.0, **{"beta": 0.75, "k": 1.0, **how}), shape, order


def compute(op, recipe, given, **how):
    """The results, and the launch that makes all of them."""
    names = recipes.RECIPES[recipe].names
    inputs = {name: array for name, array in zip("xgv", given, strict=False) if name in names}
    results, plan = run_all(op, recipe, inputs, **how)
    (launch,) = plan.launches
    assert launch.variant.form.startswith("walk")
    return results, launch


def arrays(shape, dtype="float32"):
    return tuple(random_array(seed, shape, dtype) for seed in (71, 72, 73))


def tiles_of(launch):
    return int(launch.scalars[6])


def cut(monkeypatch, order):
    """Blocks that have no more of the second axis than what windows reach, and something of their own."""
    monkeypatch.setattr(blocks, "WALK_MOST_THREADS", 12 if order == NCHW else 12 * walk.SIDE_THREADS)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", CASES)
def test_every_window(name, recipe):
    op, shape, order = operator(name)
    given = arrays(shape)
    results, launch = compute(op, recipe, given, order=order)
    assert_derivatives(op, recipe, results, *given)
    assert (tiles_of(launch), launch.grid[1]) == (1, 1)
    # Neither arrays of intermediate results nor any that is read twice.
    assert not [name for name in launch.operands if name.startswith("temporary") and not launch.variant.reduces]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["5 by 5", "more after"])
def test_every_dtype(name, dtype, recipe):
    op, shape, order = operator(name)
    given = arrays(shape, dtype)
    assert_derivatives(op, recipe, compute(op, recipe, given, order=order)[0], *given)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("shape", "order", "before", "after"),
    [
        ((1, 1, 17, 44), NCHW, (1, 2), (2, 1)),
        ((2, 1, 13, 23), NCHW, (1, 1), (1, 2)),
        ((1, 4, 13, 14), NHWC, (1, 2), (1, 1)),
    ],
    ids=["lanes", "odd planes", "channels last"],
)
def test_cut_planes_change_no_bit(shape, order, before, after, recipe, monkeypatch):
    op = LocalResponseNorm.from_window((2, 3), before, after, 1.0, 0.75, 1.0)
    given = arrays(shape)
    whole, launch = compute(op, recipe, given, order=order, device=FEW)
    assert (tiles_of(launch), launch.grid[1]) == (1, 1)
    cut(monkeypatch, order)
    results, launch = compute(op, recipe, given, order=order, device=LARGE)
    assert tiles_of(launch) > 1
    assert launch.grid[1] > 1
    assert_derivatives(op, recipe, results, *given)
    for result in set(whole) - {"sums"}:
        assert_same_bits(results[result], whole[result], op)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("order", [NCHW, NHWC])
def test_more_blocks_than_a_grid_is_wide(order, recipe, monkeypatch):
    """They are so many only where columns are counted in 64 bits."""
    op = LocalResponseNorm.from_window((2, 3), (1, 2), (2, 1), 1.0, 0.75, 1.0)
    given = arrays((3, 5, 7, 9))
    whole, _ = compute(op, recipe, given, order=order, device=LARGE)
    monkeypatch.setattr(plan, "FAR_COLUMNS", 0)
    monkeypatch.setattr(blocks, "MAX_BLOCKS", 3)
    monkeypatch.setattr(blocks, "WALK_THREADS", 16)
    results, launch = compute(op, recipe, given, order=order, device=LARGE)
    assert launch.grid[0] <= 3
    assert launch.grid[2] > 1
    assert_derivatives(op, recipe, results, *given)
    for result in set(whole) - {"sums"}:
        assert_same_bits(results[result], whole[result], op)


ODD = {
    "3 by 3": ((3, 3, 6, 5), (1, 1), (1, 1)),
    "5 by 5": ((1, 2, 7, 9), (2, 2), (2, 2)),
    "more before": ((2, 2, 9, 7), (2, 3), (1, 0)),
    "more after": ((2, 2, 7, 9), (0, 1), (3, 2)),
    "beyond the plane": ((2, 2, 3, 5), (5, 4), (5, 3)),
}


def assert_right(op, recipe, results, given):
    """Whatever the recipe."""
    if recipe == "forward":
        assert_accurate(op, recipe, results["out"], given[0])
    else:
        assert_derivatives(op, recipe, results, *given)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", ONE_PHASE)
@pytest.mark.parametrize("name", ODD)
def test_one_phase_over_odd_planes(name, recipe, dtype):
    shape, before, after = ODD[name]
    op = LocalResponseNorm.from_window((2, 3), before, after, 1.0, 0.75, 1.0)
    given = arrays(shape, dtype)
    results, launch = compute(op, recipe, given, device=FEW)
    assert launch.variant.lanes == 1
    assert launch.grid[1] == 1
    assert_right(op, recipe, results, given)


@pytest.mark.parametrize("recipe", ONE_PHASE)
def test_one_phase_over_cut_planes_changes_no_bit(recipe, monkeypatch):
    op = LocalResponseNorm.from_window((2, 3), (1, 2), (2, 1), 1.0, 0.75, 1.0)
    given = arrays((2, 1, 19, 23))
    whole, launch = compute(op, recipe, given, device=FEW)
    assert (tiles_of(launch), launch.grid[1]) == (1, 1)
    cut(monkeypatch, NCHW)
    results, launch = compute(op, recipe, given, device=LARGE)
    assert tiles_of(launch) > 1
    assert launch.grid[1] > 1
    assert_right(op, recipe, results, given)
    for result in set(whole) - {"sums"}:
        assert_same_bits(results[result], whole[result], op)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_phase_keeps_nan_and_inf_in_their_windows(bad):
    shape, before, after = ODD["more before"]
    op = LocalResponseNorm.from_window((2, 3), before, after, 1.0, 0.75, 1.0)
    given = arrays(shape)
    given[0][1, 1, 4, 3] = bad
    got = compute(op, "forward", given)[0]["out"]
    expected = reference.forward(op, given[0])
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))


def test_one_phase_in_place():
    shape, before, after = ODD["5 by 5"]
    op = LocalResponseNorm.from_window((2, 3), before, after, 1.0, 0.75, 1.0)
    given = arrays(shape)
    expected, _ = compute(op, "forward", given, device=FEW)
    assert_same_bits(compute(op, "forward", given, device=FEW, into="x")[0]["out"], expected["out"], op)


@pytest.mark.parametrize("name", ["5 by 5", "5 by 5, channels last"])
def test_lanes_change_no_bit(name):
    op, shape, order = operator(name)
    given = arrays(shape)
    expected, launch = compute(op, "backward", given, order=order)
    assert launch.variant.lanes > 1
    got, launch = compute(op, "backward", given, order=order, aligned=False)
    assert launch.variant.lanes == 1
    assert_same_bits(got["out"], expected["out"], op)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["3 by 3, odd planes", "5 by 5", "more after"])
def test_nan_and_inf_stay_in_their_windows(name, bad, recipe):
    op, shape, order = operator(name)
    given = arrays(shape)
    given[0][tuple(extent // 2 for extent in shape)] = bad
    got, _ = compute(op, recipe, given, order=order)
    for result, (expected, _) in TRUTHS[recipe](op, *given).items():
        np.testing.assert_array_equal(np.isnan(got[result]), np.isnan(expected), f"{recipe} {result}")
        if result != "sums":
            np.testing.assert_array_equal(np.isfinite(got[result]), np.isfinite(expected), f"{recipe} {result}")


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", ["5 by 5", "more after", "3 by 3, odd channels"])
def test_nothing_comes_from_beyond_the_plane(name, recipe):
    """With k = 0, d is 0 beyond a plane that has zeros along its edges, and d is not 0 on it."""
    op, shape, order = operator(name, k=0.0)
    given = arrays(shape)
    for axis in (0, 1):
        x = np.moveaxis(given[0], 2 + axis, 0)
        x[: op.after[axis]] = 0
        x[len(x) - op.before[axis] :] = 0
    got, _ = compute(op, recipe, given, order=order)
    for result, (expected, _) in TRUTHS[recipe](op, *given).items():
        np.testing.assert_array_equal(np.isfinite(got[result]), np.isfinite(expected), f"{recipe} {result}")


@pytest.mark.parametrize("into", ["x", "g"])
@pytest.mark.parametrize("name", ["5 by 5", "3 by 3, odd planes", "more after"])
def test_in_place(name, into):
    op, shape, order = operator(name)
    given = arrays(shape)
    expected, _ = compute(op, "backward", given, order=order)
    assert_same_bits(compute(op, "backward", given, order=order, into=into)[0]["out"], expected["out"], op)


def test_cut_planes_cannot_run_in_place(monkeypatch):
    op = LocalResponseNorm(3, axis=(2, 3))
    shape = (1, 1, 14, 39)
    assert plan_of(op, "backward", shape, "float32", device=FEW).in_place
    assert not plan_of(op, "backward", shape, "float32", device=LARGE).in_place
    cut(monkeypatch, NCHW)
    assert not plan_of(op, "backward", shape, "float32", device=FEW).in_place


def test_sums_count_each_element_once(monkeypatch):
    """Where every element's share is the same: scale 0 and x = g = 1, whatever the tiles and chunks."""
    op = LocalResponseNorm.from_window((2, 3), (1, 2), (1, 1), 0.0, 1.0, 2.0)
    shape = (2, 1, 13, 23)
    one = np.ones(shape, np.float32)
    for_scale = reference.window_sum(np.ones(shape), op.windows(4)).sum() / -4
    expected = [for_scale, one.size * np.log(2) / -2, one.size / -4]
    for device in (FEW, LARGE):
        got, launch = compute(op, "backward_all", (one, one), device=device)
        assert (tiles_of(launch) > 1, launch.grid[1] > 1) == (device == LARGE,) * 2
        cut(monkeypatch, NCHW)
        np.testing.assert_allclose(got["sums"], expected, rtol=1e-7)


def keep_squares(arrays, buffers, par, at, slot, total):
    """S: an end that no recipe of the package has."""
    store(buffers.residual, slot, total)  # noqa: F821  names of algorithm/recipes.py


def emit_squares(arrays, buffers, par, at, slot, total):
    """Wᵀ(S)"""
    store_result(arrays.out, at, total)  # noqa: F821


keep_squares.__module__ = emit_squares.__module__ = recipes.__name__


@pytest.mark.parametrize("name", ["more before", "more after"])
def test_a_new_recipe_needs_nothing_else(name, monkeypatch):
    stages = (
        recipes.Stage("square_term", "keep_squares", raises=False),
        recipes.Stage("residual_term", "emit_squares", raises=False, transposed=True, result="out"),
    )
    monkeypatch.setattr(recipes, "keep_squares", keep_squares, raising=False)
    monkeypatch.setattr(recipes, "emit_squares", emit_squares, raising=False)
    monkeypatch.setitem(recipes.RECIPES, "squares", recipes.Recipe(stages, ("residual",)))
    op, shape, order = operator(name)
    x = arrays(shape)[0]
    got, _ = compute(op, "squares", (x, x), order=order)
    turned = LocalResponseNorm.from_window(op.axis, op.after, op.before, 1.0, 0.75, 1.0)
    squares = reference.window_sum(x.astype(np.float64) ** 2, op.windows(4))
    np.testing.assert_allclose(got["out"], reference.window_sum(squares, turned.windows(4)), rtol=1e-6)


@pytest.mark.parametrize("order", [NCHW, NHWC], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("n", [(3, 3), (11, 9)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_blocks_cover_the_planes(recipe, dtype, n, order):
    before = tuple((extent - 1) // 2 for extent in n)
    op = LocalResponseNorm.from_window((2, 3), before, before, 1.0, 0.75, 1.0)
    for shape in ((128, 96, 56, 56), (1, 3, 224, 225), (2, 7, 13, 2000), (70_000, 2, 3, 3), (1, 1, 5000, 2)):
        (launch,) = plan_of(op, recipe, shape, DTYPES[dtype], order=order).launches
        columns, length, inner, chunk, width, unit, tiles, tile, lead = map(int, launch.scalars[:9])
        variant, (across, side, _) = launch.variant, launch.block
        along = variant.lanes
        if variant.form == "walk_strided":
            (side, across, _), along = launch.block, 1
            assert side == walk.SIDE_THREADS
            side *= variant.lanes
        assert columns * length * width == np.prod(shape)
        assert inner == width * unit
        assert launch.grid[0] // tiles * side >= columns > (launch.grid[0] // tiles - 1) * side
        assert tiles * tile >= width > (tiles - 1) * tile
        assert launch.grid[1] * chunk >= length > (launch.grid[1] - 1) * chunk
        assert (across - lead) * along >= tile
        # What the windows of a tile reach, and the windows of that.
        assert tiles == 1 or min(lead * along, (across - lead) * along - tile) >= sum(variant.beside)
