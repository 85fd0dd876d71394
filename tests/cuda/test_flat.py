"""Blocks that take tiles of a line (forms/flat.py), in the simulator, against the kernels of columns; see lines.py."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import blocks, variants
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.forms import line
from tests.cuda import lines
from tests.cuda.lines import DTYPES, WINDOWS, make_small, no_lines, operator
from tests.cuda.plans import LARGE, SMALL, plan_of, run
from tests.support import assert_accurate, assert_same_bits, random_array

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]

SHAPES = {**lines.SHAPES, "long rows": (2, 5, 17, 23)}  # windows that reach further than a tile
TILE = 256  # elements: 32 threads, with 8 each


@pytest.fixture
def _short_tiles(monkeypatch):
    make_small("flat", monkeypatch)


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
