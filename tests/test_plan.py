"""How many threads an array is shared among, and along what it is cut for them."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cpu.plan import HEAVIEST, SERIAL
from numba_lrn.backends.cpu.tiles import SHARED_LANES, SUM_TILE
from tests.support import DTYPES, layout_of, plan_of

HEAVY = {
    "forward, n = 5": (5, 0.75, "forward", "float32", 1),
    "forward, float16": (5, 0.75, "forward", "float16", 1),
    "backward": (5, 0.75, "backward", "float32", 2),
    "forward, any exponent": (5, 0.6, "forward", "float32", 2),
    "forward, float64": (5, 0.75, "forward", "float64", 2),
    "forward, n = 9": (9, 0.75, "forward", "float32", 2),
    "forward, prefix sums": (63, 0.75, "forward", "float32", 2),
    "backward, any exponent": (5, 0.6, "backward", "float32", 4),
    "backward, prefix sums, any exponent, float64": (63, 0.6, "backward", "float64", HEAVIEST),
}


@pytest.mark.parametrize(("n", "beta", "recipe", "dtype", "weight"), HEAVY.values(), ids=HEAVY)
def test_what_takes_longer_is_shared_when_smaller(n, beta, recipe, dtype, weight):
    op, lanes = LocalResponseNorm(n, beta=beta), 64
    least = SERIAL // weight // lanes
    for length, workers in ((least, 2), (least - 1, 1)):
        assert plan_of(op, recipe, (1, length, lanes), dtype).workers == workers


@pytest.mark.parametrize("threads", [2, 3, 16])
@pytest.mark.parametrize("n", [3, 5, 11, 63, 200])
@pytest.mark.parametrize("recipe", ["forward", "backward"])
def test_one_image_of_short_rows_is_shared_by_rows(threads, n, recipe):
    """Parts of rows of 169 elements took two threads 2.4 times as long as whole ones took one."""
    layout = layout_of(plan_of(LocalResponseNorm(n, beta=1.25), recipe, (1, 640, 13, 13), threads=threads))
    assert layout.tile_lanes == layout.inner == 169
    assert 1 < layout.tiles <= threads


def test_a_long_axis_has_a_part_for_each_of_many_threads():
    layout = layout_of(plan_of(LocalResponseNorm(5, axis=1), "forward", (1, 3_200_001), threads=16))
    assert 16 <= layout.tiles <= 32


def test_rows_that_threads_share_are_not_cut_again():
    """By 16 threads, 194 rows in parts of 13: 15 tiles."""
    layout = layout_of(plan_of(LocalResponseNorm(3), "forward", (1, 194, 340), threads=16))
    assert (layout.tile_rows, layout.tiles) == (13, 15)


@pytest.mark.parametrize(("shape", "n"), [((1, 64, 1100), 63), ((1, 128, 1100), 63), ((1, 64, 1600), 21)])
def test_long_rows_are_shared_by_lanes_where_windows_would_be_summed_again(shape, n):
    for recipe in ("forward", "backward"):
        layout = layout_of(plan_of(LocalResponseNorm(n), recipe, shape))
        assert layout.tile_rows == layout.length
        assert layout.tiles % 2 == 0


@pytest.mark.parametrize("n", [3, 5, 9])
def test_no_part_of_a_row_is_short_in_place_either(n):
    """Rows cannot be shared there."""
    layout = layout_of(plan_of(LocalResponseNorm(n), "backward", (1, 256, 27, 27), threads=16, in_place=True))
    assert layout.tile_rows == layout.length
    assert layout.tile_lanes >= SHARED_LANES


@pytest.mark.parametrize("recipe", ["forward", "backward", "backward_all"])
def test_one_box_with_many_channels_last_is_shared_by_lanes(recipe):
    op = LocalResponseNorm(5, axis=(1, 2))
    layout = layout_of(plan_of(op, recipe, (1, 14, 14, 512)))
    assert (layout.tile_rows, layout.tile_lanes) == (14, 128 if recipe == "backward_all" else 256)
    layout = layout_of(plan_of(op, recipe, (2, 14, 14, 512)))
    assert layout.tile_lanes >= SHARED_LANES


@pytest.mark.parametrize(
    "shape", [(1, 580, 13, 13), (1, 96, 27, 27), (1, 27, 27, 96), (4, 96, 27, 27), (1, 512, 55, 55)]
)
@pytest.mark.parametrize("n", [5, 9, 63])
def test_tiles_of_sums_do_not_depend_on_threads_and_are_not_too_small(shape, n):
    axis = 3 if shape[-1] == 96 else 1
    layouts = [
        layout_of(plan_of(LocalResponseNorm(n, axis=axis), "backward_all", shape, threads=threads))
        for threads in (1, 2, 16)
    ]
    assert len(set(layouts)) == 1
    (layout,) = set(layouts)
    if axis == 1:
        assert layout.tile_lanes >= min(layout.inner, SHARED_LANES)
        assert np.prod(shape) / layout.tiles >= SUM_TILE / 2


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((3, 256, 13, 13), 1),
        ((3, 96, 27, 27), 1),
        ((3, 96, 55, 55), 1),
        ((3, 14, 14, 512), (1, 2)),
        ((3, 50, 27, 27), 1),
    ],
)
@pytest.mark.parametrize("n", [3, 5, 11])
@pytest.mark.parametrize("recipe", ["forward", "backward"])
def test_three_images_are_shared_evenly_among_two_threads(shape, axis, n, recipe):
    """One thread with two of them and one with one took 1.25 to 1.5 times as long."""
    layout = layout_of(plan_of(LocalResponseNorm(n, axis=axis), recipe, shape))
    shares = [layout.tiles * (worker + 1) // 2 - layout.tiles * worker // 2 for worker in range(2)]
    assert shares[1] <= 1.25 * shares[0]


def test_many_images_are_not_cut():
    for threads, images in ((2, 19), (2, 21), (3, 31), (7, 66), (16, 157)):
        layout = layout_of(plan_of(LocalResponseNorm(5), "forward", (images, 96, 13, 13), threads=threads))
        assert layout.tiles == images


@pytest.mark.parametrize(("dtype", "lanes"), [("float16", 1024), ("bfloat16", 1024), ("float32", 256)])
def test_parts_of_rows_of_half_types_are_longer_beyond_the_caches(dtype, lanes):
    op = LocalResponseNorm(9)
    layout = layout_of(plan_of(op, "backward", (64, 96, 55, 55), DTYPES[dtype]))
    assert (layout.tile_lanes, layout.streaming) == (lanes, 0)
    layout = layout_of(plan_of(op, "backward", (1, 96, 55, 55), DTYPES[dtype], threads=1))
    assert layout.tile_lanes == 256
