"""Blocks that take tiles of skewed rows (forms/skew.py), in the simulator, against other kernels; see lines.py."""

import math
from collections import Counter

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import blocks, variants
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.forms import line
from tests.cuda.lines import DTYPES, WINDOWS, forms_of, make_small, no_lines, operator
from tests.cuda.plans import LARGE, SMALL, Guarded, plan_of, run
from tests.support import assert_accurate, assert_same_bits, random_array

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]

# shape, and by how much its rows are longer than whole sectors, float32 and half types.
SHAPES = {
    "one longer": ((2, 24, 7, 7), 1, 1),
    "two shorter": ((1, 40, 5, 6), -2, -2),
    "three longer": ((2, 24, 5, 7), 3, 3),
    "samples that begin within a sector": ((3, 24, 3, 11), 1, 1),
    "long rows": ((1, 16, 19, 23), -3, 5),
    "fewer rows than a window has": ((2, 2, 12, 14), 0, -8),
    "tiles of whole rows": ((1, 48, 1, 17), 1, 1),
}
SHAPE = SHAPES["one longer"][0]


@pytest.fixture
def _small_tiles(monkeypatch):
    make_small("skew", monkeypatch)


small_tiles = pytest.mark.usefixtures("_small_tiles")


def blocks_of_a_sample(plan):
    """Tiles side by side, times bands; the plan has one launch, and few samples."""
    return math.prod(plan.launches[0].grid[:2])


def is_skewed(plan):
    return forms_of(plan) == ["skew"]


@small_tiles
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", SHAPES)
def test_like_columns(name, window, dtype, monkeypatch):
    shape, skew, half_skew = SHAPES[name]
    op = operator(window)
    x = random_array(1, shape).astype(dtype)
    got, plan = run(op, "forward", x)
    skew = skew if dtype is np.float32 else half_skew
    lanes = 16 // x.itemsize
    if skew and max(WINDOWS[window]) * abs(skew) <= lanes:
        assert is_skewed(plan)
        assert plan.launches[0].variant.span == skew
        assert blocks_of_a_sample(plan) > 1
    assert_accurate(op, "forward", got, x)
    no_lines(monkeypatch)
    expected, plan = run(op, "forward", x)
    assert plan.launches[0].variant.form.startswith("small")
    assert_same_bits(got, expected, op)


@small_tiles
@pytest.mark.parametrize("threads", [8, 24, 64])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_tiles_of_other_sizes(steps, threads, monkeypatch):
    """More rows that windows reach than groups, and fewer; one band of rows, and several."""
    x = random_array(1, SHAPE)
    expected, _ = run(operator("small"), "forward", x)
    monkeypatch.setattr(variants, "SKEW_STEPS", {4: (steps, steps)})
    monkeypatch.setattr(blocks, "SKEW_THREADS", threads)
    got, plan = run(operator("small"), "forward", x)
    assert is_skewed(plan)
    assert plan.launches[0].variant.steps == steps
    assert_same_bits(got, expected)


@small_tiles
@pytest.mark.parametrize("size", [4, 5, 6, 8, 9])
def test_windows_of_every_size(size):
    """Of rows that are one longer than sectors: windows reach into the vector beside."""
    op = LocalResponseNorm(size, 1.0, axis=1)
    for dtype in (np.float32, np.float16):
        x = random_array(1, SHAPE).astype(dtype)
        got, plan = run(op, "forward", x)
        assert is_skewed(plan) == (size <= variants.SKEW_LARGEST[x.itemsize])
        assert_accurate(op, "forward", got, x)


@small_tiles
def test_in_place():
    op = operator("even")
    for shape, tiles in ((SHAPE, 6), ((3, 4, 3, 3), 1)):
        x = random_array(1, shape)
        expected, plan = run(op, "forward", x, device=LARGE)
        assert is_skewed(plan)
        assert blocks_of_a_sample(plan) == tiles
        assert plan.in_place == (tiles == 1)
        if plan.in_place:
            assert_same_bits(run(op, "forward", x, into="x")[0], expected, op)
    assert not is_skewed(plan_of(op, "forward", SHAPE, "float32", in_place=True))


@small_tiles
def test_what_is_not_skewed():
    """Arrays that are not aligned, samples of part of a vector, windows that reach further than the vector beside."""
    for shape, how, window in (
        (SHAPE, {"aligned": False}, "small"),
        ((2, 25, 7, 7), {}, "small"),
        (SHAPES["three longer"][0], {}, "small"),
    ):
        x = random_array(1, shape)
        got, plan = run(operator(window), "forward", x, **how)
        assert not is_skewed(plan)
        assert_accurate(operator(window), "forward", got, x)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(128, 96, 55, 55), (1, 256, 65, 65), (3, 1024, 47, 49), (1, 8, 2047, 2049)])
def test_tiles_cover_samples(shape, dtype):
    op = LocalResponseNorm(5, axis=1)
    plans = [plan_of(op, "forward", shape, dtype, device=each) for each in (Device(), SMALL)]
    assert plans[0] == plans[1]  # whatever the card
    (launch,) = plans[0].launches
    variant, (tiles, bands, samples) = launch.variant, launch.grid
    across = int(launch.scalars[3])
    assert variant.form == "skew"
    assert samples == shape[0] == launch.scalars[5]
    assert tiles == launch.scalars[4]
    assert launch.shared_bytes <= blocks.SHARED_BYTES
    assert launch.block[0] * launch.block[1] <= blocks.SKEW_THREADS
    assert across * np.dtype(dtype).itemsize % blocks.SECTOR_BYTES == 0
    row = shape[2] * shape[3] - variant.span
    assert row * np.dtype(dtype).itemsize % blocks.SECTOR_BYTES == 0
    assert tiles * across >= row > (tiles - 1) * across
    rows = bands * launch.block[1] * variant.steps
    assert rows * row >= line.extent_of(shape[1] * shape[2] * shape[3])


@pytest.mark.parametrize(
    ("dtype", "before"),
    [*(("float32", reach) for reach in range(1, 5)), *(("float16", reach) for reach in range(1, 6))],
)
def test_the_longest_samples_fit_into_a_grid(dtype, before):
    """Bands of rows are an extent of few blocks."""
    op = LocalResponseNorm.from_window(1, before, 0, 1.0, 0.75, 1.0)
    found = []
    for inner in (64, 65, 72, 88, 129, 136, 171, 512, 520, 1031, 4096, 65537, variants.SKEW_ROW):
        (launch,) = plan_of(op, "forward", (1, variants.LONGEST_SAMPLE // inner // 8 * 8, inner), dtype).launches
        if launch.variant.form == "skew":
            found.append(launch.grid)
    assert found
    assert all(grid[1] <= blocks.MAX_GRID for grid in found)


def test_where_rows_are_skewed():
    def form(shape, n=5, dtype="float32", recipe="forward"):
        return plan_of(LocalResponseNorm(n, axis=1), recipe, shape, dtype).launches[0].variant.form

    for dtype in DTYPES.values():
        assert form((128, 96, 55, 55), dtype=dtype) == "skew"
        assert form((128, 96, 56, 56), dtype=dtype) == "small"
        assert form((128, 90, 55, 55), dtype=dtype) != "skew"  # part of a vector
        assert form((128, 96, 55, 55), recipe="jvp", dtype=dtype) == "small"
    assert form((128, 256, 27, 27)) == form((128, 256, 27, 27), 9) == form((128, 256, 13, 13), 9) == "skew"
    assert form((128, 256, 27, 27), dtype="float16") == form((128, 256, 13, 13)) == "flat"
    assert form((128, 96, 54, 54), dtype="float16") == "skew"
    assert form((128, 96, 54, 54)) == "small_spread"  # windows reach two vectors beside
    assert form((128, 96, 55, 55), dtype="float64") == "small"
    assert form((128, 96, 55, 55), 10) == "small_spread"
    # Longer rows have places in a tile that 32 bits do not hold.
    assert form((1, 4, 1, variants.SKEW_ROW - 1)) == "skew"
    assert form((1, 4, 1, variants.SKEW_ROW + 1)) == "small_spread"
    # So has a longer sample.
    assert form((1, variants.LONGEST_SAMPLE // 3025 // 4 * 4, 55, 55)) == "skew"
    assert form((1, variants.LONGEST_SAMPLE // 3025 // 4 * 4 + 4, 55, 55)) == "small_spread"


@small_tiles
@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        (name, dtype)
        for name, (_, skew, half_skew) in SHAPES.items()
        for dtype in DTYPES
        if 0 < 2 * abs(skew if dtype == "float32" else half_skew) <= (4 if dtype == "float32" else 8)
    ],
)
def test_each_element_is_written_once(name, dtype, monkeypatch):
    written = Counter()
    x = random_array(1, SHAPES[name][0]).astype(DTYPES[dtype])

    def count(self, index, value):
        self._check(index)
        self.array[index] = value
        if self.array.base is not None:  # the result, not shared memory
            written[int(index)] += 1

    monkeypatch.setattr(Guarded, "__setitem__", count)
    _, plan = run(operator("small"), "forward", x)
    assert is_skewed(plan)
    assert set(written) == set(range(x.size))
    assert set(written.values()) == {1}
