"""Columns that are apart (forms/spread.py), in the simulator, against the reference and the kernels of neighbours."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import blocks, variants
from numba_lrn.backends.cuda.blocks import Device, most_threads
from tests.cuda.lines import no_lines
from tests.cuda.plans import plan_of, run
from tests.support import assert_accurate, assert_same_bits, assert_same_places, random_array

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]

RECIPES = ("forward", "backward")
ODD = (2, 19, 9, 11)  # rows of 99 elements
HALF = (2, 19, 4, 25)  # of 100, which is no multiple of the eight of a sector
WINDOWS = {"small": (2, 2), "even": (1, 2), "one-sided": (0, 3), "edges of groups": (5, 4), "wide": (9, 8)}


def arrays(shape, recipe):
    return random_array(1, shape), random_array(2, shape) if recipe == "backward" else None


def operator(window):
    return LocalResponseNorm.from_window(1, *WINDOWS[window], 1.0, 0.75, 1.0)


def neighbours_only(monkeypatch):
    monkeypatch.setattr(variants, "SPREAD_FROM", 2**62)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("window", WINDOWS)
def test_like_neighbours(window, recipe, monkeypatch):
    op = operator(window)
    x, g = arrays(ODD, recipe)
    got, plan = run(op, recipe, x, g)
    (launch,) = plan.launches
    assert launch.variant.form == ("wide_spread" if window == "wide" else "small_spread")
    assert launch.variant.columns > 1
    assert_accurate(op, recipe, got, x, g)
    neighbours_only(monkeypatch)
    expected, plan = run(op, recipe, x, g)
    assert not plan.launches[0].variant.spread
    assert_same_bits(got, expected, op)


def test_rows_that_begin_within_sectors():
    """Forward they go by columns apart, though vectors are aligned; backward by vectors."""
    op = operator("small")
    for recipe in RECIPES:
        x, g = arrays(HALF, recipe)
        got, plan = run(op, recipe, x, g)
        assert plan.launches[0].variant.spread == (recipe == "forward")
        assert_accurate(op, recipe, got, x, g)


@pytest.mark.parametrize("recipe", RECIPES)
def test_unaligned_arrays(recipe):
    op = operator("small")
    x, g = arrays((2, 19, 8, 16), recipe)
    expected, vectors = run(op, recipe, x, g)
    got, plan = run(op, recipe, x, g, aligned=False)
    assert vectors.launches[0].variant.adjacent
    assert plan.launches[0].variant.spread
    assert_same_bits(got, expected, op)


@pytest.mark.parametrize("extent", [96, 97, 127, 128, 129, 255])
def test_every_end_of_a_row(extent):
    op = operator("small")
    for recipe in RECIPES:
        x, g = arrays((2, 9, extent), recipe)
        assert_accurate(op, recipe, run(op, recipe, x, g, aligned=False)[0], x, g)


@pytest.mark.parametrize("window", ["small", "one-sided", "edges of groups"])
def test_tiles_change_no_bit(window, monkeypatch):
    no_lines(monkeypatch)
    op = operator(window)
    x, _ = arrays((2, 59, 99), "forward")
    expected, whole = run(op, "forward", x)
    monkeypatch.setattr(blocks, "SPREAD_GROUPS", 4)
    got, plan = run(op, "forward", x)
    assert whole.launches[0].grid[1] == 1 < plan.launches[0].grid[1]
    assert whole.in_place
    assert not plan.in_place
    assert_same_bits(got, expected, op)
    assert_accurate(op, "forward", got, x, None)


@pytest.mark.parametrize(("recipe", "into"), [("forward", "x"), ("backward", "x"), ("backward", "g")])
def test_in_place(recipe, into):
    op = operator("even")
    x, g = arrays(ODD, recipe)
    expected, _ = run(op, recipe, x, g)
    assert_same_bits(run(op, recipe, x, g, into=into)[0], expected, op)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_inf_stay_in_their_windows(bad, recipe):
    op = operator("even")
    x, g = arrays(ODD, recipe)
    x[1, 9, 4, 5] = bad
    got, _ = run(op, recipe, x, g)
    assert_same_places(op, recipe, got, x, g)


@pytest.mark.parametrize("n", [3, 5, 9, 16, 63])
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    "shape", [(128, 96, 55, 55), (128, 256, 27, 27), (1, 512, 11, 11), (2, 3000, 13, 13), (1, 5, 101, 1)]
)
def test_blocks_cover_rows(shape, recipe, n, monkeypatch):
    no_lines(monkeypatch)
    (launch,) = plan_of(LocalResponseNorm(n, axis=1), recipe, shape, "float32", device=Device()).launches
    span, high = launch.block[:2]
    assert launch.variant.spread
    assert span * high <= most_threads(launch.variant)
    assert span & (span - 1) == 0
    row = shape[2] * shape[3]
    blocks = launch.grid[0] // shape[0]
    assert blocks * span * launch.variant.columns >= row > (blocks - 1) * span * launch.variant.columns
    tile, lead = int(launch.scalars[3]), int(launch.scalars[4])
    assert launch.grid[1] * tile >= shape[1] > (launch.grid[1] - 1) * tile
    reach = min(n, shape[1]) // 2 * (2 if recipe == "backward" else 1)
    if launch.grid[1] > 1:
        assert lead * launch.variant.steps >= reach
        assert (high - lead) * launch.variant.steps - tile >= reach


def test_spread_columns_are_for_float32_and_one_window():
    others = (("forward", "float16"), ("forward", "float64"), ("jvp", "float32"), ("backward_all", "float32"))
    for recipe, dtype in others:
        (launch,) = plan_of(operator("small"), recipe, ODD, dtype).launches
        assert not launch.variant.spread
