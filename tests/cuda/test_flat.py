"""Blocks that take tiles of a line (forms/flat.py), in the simulator, against the reference and the kernels of columns.

Tiles are short here, so that small arrays have many; every access of shared memory is checked, and what is read before
it is written is NaN.
"""

import ml_dtypes
import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.backends.cuda import blocks, variants
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.forms import line
from tests.cuda import lines
from tests.cuda.lines import WINDOWS, no_lines, operator
from tests.cuda.plans import LARGE, SMALL, guard_shared, plan_of, run
from tests.support import assert_accurate, assert_same_bits, random_array

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
SHAPES = {**lines.SHAPES, "long rows": (2, 5, 17, 23)}  # windows that reach further than a tile
TILE = 256  # elements: 32 threads, with 8 each


@pytest.fixture
def _short_tiles(monkeypatch):
    monkeypatch.setattr(variants, "FLAT_ELEMENTS", {2: 8, 4: 8})
    monkeypatch.setattr(variants, "FLAT_THREADS", {2: (32, 32), 4: (32, 32)})
    monkeypatch.setattr(variants, "FLAT_FULL", 0.0)
    guard_shared(monkeypatch)


short_tiles = pytest.mark.usefixtures("_short_tiles")


def tiles_of(plan):
    """Of a sample; the plan has one launch."""
    (launch,) = plan.launches
    assert launch.variant.form == "flat"
    return int(launch.scalars[3])


@short_tiles
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_like_columns(shape, window, dtype, monkeypatch):
    op = operator(window)
    x = random_array(1, shape).astype(dtype)
    got, plan = run(op, "forward", x)
    assert tiles_of(plan) == -(-line.extent_of(int(np.prod(shape[1:]))) // TILE)
    assert_accurate(op, "forward", got, x)
    no_lines(monkeypatch)
    expected, plan = run(op, "forward", x)
    assert plan.launches[0].variant.form.startswith("small")
    assert_same_bits(got, expected, op)


@short_tiles
@pytest.mark.parametrize("elements", [8, 16, 24])
def test_tiles_of_other_sizes(elements, monkeypatch):
    """As many vectors under way as a tile has, and fewer; all that a thread computes in one turn, and in several."""
    op = operator("small")
    for shape in SHAPES.values():
        x = random_array(1, shape)
        expected, _ = run(op, "forward", x)
        with monkeypatch.context() as patched:
            patched.setattr(variants, "FLAT_ELEMENTS", {4: elements})
            got, plan = run(op, "forward", x)
        assert plan.launches[0].variant.elements == elements
        assert_same_bits(got, expected, op)


@short_tiles
def test_more_samples_than_a_grid_is_high(monkeypatch):
    monkeypatch.setattr(blocks, "MAX_GRID", 3)
    x = random_array(1, (7, 41, 5, 5))
    got, plan = run(operator("even"), "forward", x)
    assert tiles_of(plan) == 5
    assert plan.launches[0].grid == (15, 1, 3)  # nine samples, of which two are not there
    assert_accurate(operator("even"), "forward", got, x)


@short_tiles
def test_unaligned_arrays_go_by_columns():
    op = operator("small")
    x = random_array(1, SHAPES["odd planes"])
    expected, _ = run(op, "forward", x)
    got, plan = run(op, "forward", x, aligned=False)
    assert plan.launches[0].variant.form.startswith("small")
    assert_same_bits(got, expected, op)


@short_tiles
def test_in_place():
    op = operator("even")
    for shape, tiles in (((2, 41, 5, 5), 5), ((3, 7, 5, 5), 1)):
        x = random_array(1, shape)
        expected, plan = run(op, "forward", x, device=LARGE)
        assert tiles_of(plan) == tiles
        assert plan.in_place == (tiles == 1)
        if plan.in_place:
            assert_same_bits(run(op, "forward", x, into="x")[0], expected, op)


def test_in_place_by_columns():
    """Where a plan for arrays apart would need a temporary."""
    op = LocalResponseNorm(5, axis=1)
    for shape, dtype in (
        ((128, 96, 14, 14), "float32"),
        ((128, 256, 27, 27), "float16"),
        ((512, 256, 13, 13), "float16"),
    ):
        usual, other = (plan_of(op, "forward", shape, dtype, device=Device(), in_place=each) for each in (False, True))
        assert tiles_of(usual) > 1
        assert not usual.in_place
        assert other.launches[0].variant.form.startswith("small")
        assert other.in_place


@short_tiles
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("beta", [0.75, 0.6, 1.7])
def test_nan_and_inf_stay_in_their_windows(beta, bad, dtype):
    op = operator("even", beta=beta)
    x = random_array(1, SHAPES["odd planes"]).astype(dtype)
    x[1, 0, 0, 0] = x[0, 20, 4, 3] = bad
    got, _ = run(op, "forward", x)
    truth = reference.forward(op, x)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(truth))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(truth))


@short_tiles
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("how", [{"beta": 0.6}, {"beta": 1.7}, {"beta": 0.5}, {"k": 0.0}], ids=str)
def test_other_parameters(how, dtype):
    op = operator("small", **how)
    x = random_array(1, SHAPES["odd planes"]).astype(dtype)
    got, plan = run(op, "forward", x)
    assert tiles_of(plan) > 1
    assert_accurate(op, "forward", got, x)


@short_tiles
def test_other_orders_of_axes():
    op = LocalResponseNorm(5, 1.0, axis=2)
    x = random_array(1, (5, 3, 19, 7))
    for order in ((0, 2, 1, 3), (3, 2, 0, 1), (1, 0, 2, 3)):
        got, plan = run(op, "forward", x, order=order)
        assert tiles_of(plan) > 0
        assert_accurate(op, "forward", got, x)


@short_tiles
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_passes_of_a_box(dtype):
    """From the caller's array into a plane of sums, and from one plane to the next where they are of one type."""
    op = LocalResponseNorm(3, 1.0, axis=(1, 2, 3))
    x = random_array(1, (2, 7, 11, 9, 5)).astype(dtype)
    got, plan = run(op, "forward", x)
    forms = [launch.variant.form for launch in plan.launches]
    assert forms.count("flat") == (2 if dtype is np.float32 else 1)
    assert_accurate(op, "forward", got, x)


@pytest.mark.parametrize("shape", [(1024, 1024, 2, 2), (3, 2048, 1, 2)])
def test_samples_of_whole_sectors_have_no_empty_tile(shape):
    plan = plan_of(LocalResponseNorm(5, axis=1), "forward", shape, "float32")
    assert tiles_of(plan) == 1
    assert plan.in_place


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize(
    "shape", [(128, 256, 13, 13), (1, 256, 15, 15), (512, 300, 13, 13), (1, 1024, 7, 7), (1, 44_739_242, 3)]
)
def test_tiles_cover_samples(shape, dtype):
    plans = [plan_of(LocalResponseNorm(5, axis=1), "forward", shape, dtype, device=each) for each in (Device(), SMALL)]
    assert plans[0] == plans[1]  # whatever the card
    (launch,) = plans[0].launches
    tile, tiles = launch.variant.span * launch.variant.elements, tiles_of(plans[0])
    assert launch.grid == (tiles, 1, shape[0])
    assert launch.block == (launch.variant.span, 1, 1)
    assert tiles * tile >= line.extent_of(int(np.prod(shape[1:], dtype=object))) > (tiles - 1) * tile
    assert launch.shared_bytes <= blocks.SHARED_BYTES


def test_where_blocks_take_tiles_of_a_line():
    def form(shape, recipe="forward", n=5, dtype="float32", aligned=True):
        op = LocalResponseNorm(n, axis=1)
        return plan_of(op, recipe, shape, dtype, aligned=aligned).launches[0].variant.form

    for dtype in DTYPES.values():
        assert form((128, 256, 13, 13), dtype=dtype) == "flat"
        assert form((128, 96, 15, 15), dtype=dtype) == "flat"
        assert form((128, 512, 7, 7), dtype=dtype) == "flat"
        assert form((128, 256, 28, 28), dtype=dtype) == "small"
        assert form((128, 32, 7, 7), dtype=dtype) == "small"  # tiles are hardly filled
        assert form((128, 27, 27, 256), dtype=dtype) == "small"  # rows of whole sectors
    assert form((128, 256, 14, 14)) == "flat"  # rows of 24 sectors and a half
    assert form((128, 254, 27, 27)) == form((128, 254, 27, 27), n=9) == "flat"  # not of whole vectors
    assert form((128, 256, 27, 27), dtype="float16") == "flat"
    assert form((128, 256, 13, 13), n=7, dtype="float16") == "small"
    assert form((128, 256, 13, 13), n=10) == "small_spread"
    assert form((128, 90, 55, 55)) == "small_spread"  # windows reach too far
    assert form((128, 90, 55, 55), dtype="float16") == "small"
    assert form((128, 256, 27, 27), aligned=False) == "small_spread"
    assert form((1, variants.LONGEST_SAMPLE // 3, 3)) == "flat"
    assert form((1, variants.LONGEST_SAMPLE // 3 + 1, 3)) == "small"  # 32 bits hold no further place in a sample
    assert form((128, 256, 27, 27), dtype="float64") == "small"
    for recipe in ("jvp", "backward_parameters"):
        assert form((128, 256, 27, 27), recipe) == "small"
