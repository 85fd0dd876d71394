"""The choice of kernels and grids: what follows from the geometry, and limits of the card."""

import itertools
import math
import pickle

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.backends.cuda import blocks, kernels
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.forms import line
from numba_lrn.backends.cuda.phases import CALLERS
from numba_lrn.backends.cuda.variants import power_function
from tests.cuda import sanitized
from tests.cuda.plans import plan_of
from tests.support import DTYPES

pytestmark = pytest.mark.simulated  # once is enough
H200 = Device(132)
SHAPES = ((1, 1, 1), (3, 5), (64, 256, 56, 56), (1, 96, 55, 55), (2**20, 7, 3, 3), (2, 3, 2**31 + 6))


@pytest.mark.parametrize("axis", [0, 1, -1, (-2, -1)])
@pytest.mark.parametrize("n", [1, 5, 63, 255, 10**9])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", ["forward", "backward", "jvp", "backward_all", "double_backward"])
def test_limits_of_the_card(recipe, dtype, n, axis):
    op = LocalResponseNorm(n, axis=axis)
    for shape in SHAPES:
        for aligned in (True, False):
            plan = plan_of(op, recipe, shape, DTYPES[dtype], aligned=aligned, device=H200)
            for launch in plan.launches:
                assert 1 <= launch.grid[0] < 2**31
                assert 1 <= launch.grid[1] <= 65535
                assert 1 <= launch.grid[2] <= 65535
                assert np.prod(launch.block) <= 512
                assert 0 <= launch.shared_bytes <= 48 * 1024
                assert {type(scalar) for scalar in launch.scalars[:4]} == {np.int64}
                assert type(launch.scalars[-1]) is np.dtype(launch.variant.real).type
                assert hash(pickle.loads(pickle.dumps(launch.variant))) == hash(launch.variant)
                assert len(launch.operands) == len(launch.variant.pointers)
                for name in launch.operands:
                    assert name in RECIPES[recipe].names or int(name.split()[1]) < len(plan.temporaries)
            written = [
                name
                for launch in plan.launches
                for phase in launch.variant.phases
                for name in launch.variant.stored(phase)
                if name in CALLERS
            ]
            assert written == [name for name in RECIPES[recipe].names if name.startswith("out")]
            assert all(number > 0 for number in plan.temporaries)
            assert bool(plan.partials) == RECIPES[recipe].sums


def covered(launch, elements):
    """Whether the threads of a grid own all elements, and no tile of the axis is empty."""
    columns, length, inner, tile = (int(value) for value in launch.scalars[:4])
    assert columns * length == elements
    if launch.variant.form == "ring":  # blocks take chunks of samples, which begin up to a sector before these
        chunks, _, samples = launch.grid
        assert samples == columns // inner
        return chunks * tile >= line.extent_of(length * inner) > (chunks - 1) * tile
    if launch.variant.form == "flat":  # and here tiles, of which the fourth number is how many there are
        tiles, tile = tile, launch.variant.span * launch.variant.elements
        assert launch.grid == (tiles, 1, columns // inner)
        return tiles * tile >= line.extent_of(length * inner) > (tiles - 1) * tile
    contiguous = launch.variant.contiguous
    across = launch.block[1] if contiguous else launch.block[0] * launch.variant.columns
    rows = columns // inner if launch.variant.spread else 1  # blocks end where rows do
    blocks, columns = launch.grid[0] // rows, columns // rows
    assert launch.grid[0] == blocks * rows
    assert blocks * across >= columns > (blocks - 1) * across
    return launch.grid[1] * launch.grid[2] * tile >= length > (launch.grid[1] * launch.grid[2] - 1) * tile


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("n", [5, 63, 255])
def test_grids_cover_the_array(n, axis):
    for shape in ((64, 256, 56, 56), (1, 64, 56, 56), (3, 1000, 7, 7), (1, 40960, 2, 2), (2, 3, 5, 99_999)):
        plan = plan_of(LocalResponseNorm(n, axis=axis), "forward", shape, "float32", device=H200)
        (launch,) = plan.launches
        assert covered(launch, np.prod(shape))


@pytest.mark.parametrize("recipe", ["forward", "backward"])
@pytest.mark.parametrize("n", [5, 16, 17, 63, 255])
def test_tiles_leave_room_for_what_windows_reach(n, recipe):
    """A block has threads for the groups before and after a tile that its windows, and those of its windows, need."""
    for axis, shape in ((1, (1, 100_000, 8)), (2, (1, 3, 100_000))):
        for launch in plan_of(LocalResponseNorm(n, axis=axis), recipe, shape, "float32", device=H200).launches:
            *_, tile, lead, _, _ = (int(value) for value in launch.scalars[:7])
            groups = launch.block[0] if launch.variant.contiguous else launch.block[1]
            reach = (n - 1) // 2 * (2 if recipe == "backward" else 1)
            assert launch.variant.form != "prefix"
            assert lead * launch.variant.steps >= reach
            assert (groups - lead) * launch.variant.steps - tile >= reach


@pytest.mark.parametrize("recipe", ["forward", "backward", "backward_parameters"])
@pytest.mark.parametrize("aligned", [True, False])
def test_grids_of_the_largest_boxes(aligned, recipe):
    """2³⁵ elements, which make more blocks than a grid is wide: 64 GiB of a half type."""
    op = LocalResponseNorm(3, axis=(0, 1))
    for columns in (2**33, 2**33 + 1, 2**35 + 1):
        for dtype in (np.float16, np.float32):
            for launch in plan_of(op, recipe, (2, 2, columns), dtype, aligned=aligned, device=H200).launches:
                assert launch.grid[0] < 2**31
                assert max(launch.grid[1:]) <= blocks.MAX_GRID
                threads = math.prod(launch.grid) * math.prod(launch.block)
                assert threads * launch.variant.lanes * launch.variant.steps >= 4 * columns // 2


def test_the_gradients_of_parameters_change_no_form():
    """Nor, so, a bit of dx: longer axes of wide windows, of which a block holds fewer groups where it sums shares."""
    found = set()
    columns = [(1, length, inner) for length in (1025, 1072, 3000) for inner in (1, 2, 3, 4)]
    along = [(2, length) for length in (3000, 6145, 8190, 8192)]
    for n, shape in (
        *itertools.product((255, 386, 449, 511, 513, 601), columns),
        *itertools.product((3057, 3058, 4095, 6113, 16383), along),
    ):
        op = LocalResponseNorm(n, axis=1)
        for dtype in ("float32", "float16", "float64"):
            plans = {}
            for recipe in ("backward", "backward_all", "backward_parameters"):
                plans[recipe] = plan_of(op, recipe, shape, dtype, device=H200)
                for launch in plans[recipe].launches:
                    elements = math.prod(launch.grid) * math.prod(launch.block) * launch.variant.elements
                    # A tile is no smaller than a fourth of its block, and the array may be.
                    assert elements <= 4 * math.prod(shape) + 2**16
            forms, others = (
                [launch.variant.form for launch in plans[recipe].launches] for recipe in ("backward", "backward_all")
            )
            assert forms == others
            found |= set(forms)
    assert {"wide", "wide_last", "prefix"} <= found


def test_results_that_an_earlier_launch_writes_cannot_lie_in_an_input():
    """The second derivative writes one of its results before it has read the last of its inputs."""
    op = LocalResponseNorm(19, axis=(2, 3))
    assert not plan_of(op, "double_backward", (2, 8, 40, 44), "float32").in_place
    assert plan_of(op, "backward", (2, 8, 40, 44), "float32").in_place


def test_windows_that_no_block_can_hold_go_to_threads():
    plan = plan_of(LocalResponseNorm(100_001), "forward", (1, 200_000, 8), "float32", device=H200)
    assert [launch.variant.form for launch in plan.launches] == ["prefix_scratch"]


@pytest.mark.parametrize(("axis", "n"), [(1, 5), (1, 33), ((1, 2), 5)])
@pytest.mark.parametrize("recipe", ["forward", "backward"])
def test_columns_are_counted_in_64_bits_where_there_are_many(recipe, axis, n):
    """From 2³¹ on, whatever the number of channels."""
    for width, far in ((2**27 - 1, False), (2**27, True)):
        plan = plan_of(LocalResponseNorm(n, axis=axis), recipe, (2, 64, 8, width), "float32", device=H200)
        assert {launch.variant.far for launch in plan.launches} == {far}


def test_the_sanitizer_watches_every_form():
    found = set()
    for shape, axis, n in sanitized.CASES.values():
        for recipe in RECIPES:
            plan = plan_of(LocalResponseNorm(n, axis=axis), recipe, shape, "float32", device=H200)
            found |= {launch.variant.form for launch in plan.launches}
    assert found == set(kernels.FORMS)


@pytest.mark.parametrize("recipe", ["forward", "backward", "jvp", "backward_all", "double_backward"])
def test_groups_of_wide_windows_follow_from_the_geometry(recipe):
    """So do the bits: not from the recipe, nor from the alignment."""

    def steps(n, length, inner, dtype="float32", aligned=True):
        plan = plan_of(LocalResponseNorm(n, axis=1), recipe, (4, length, inner), dtype, aligned=aligned, device=H200)
        return {launch.variant.steps for launch in plan.launches}

    for inner in (56 * 56, 27 * 27):
        for aligned in (True, False):
            for dtype in ("float32", "float16"):
                assert steps(32, 256, inner, dtype, aligned) == steps(255, 1024, inner, dtype, aligned) == {16}
                assert steps(31, 256, inner, dtype, aligned) == steps(32, 1025, inner, dtype, aligned) == {8}
            assert steps(63, 256, inner, "float64", aligned) == {8}


def test_kernels_do_not_depend_on_the_batch_or_the_card():
    for n in (5, 63):
        for axis in (1, (2, 3)):
            op = LocalResponseNorm(n, axis=axis)
            found = {
                tuple(
                    launch.variant
                    for launch in plan_of(op, "backward", (batch, 64, 14, 14), "float32", device=d).launches
                )
                for batch in (2, 32, 1024)
                for d in (H200, Device(40))
            }
            assert len(found) == 1


@pytest.mark.parametrize(
    ("dtype", "beta", "k", "differentiates", "name"),
    [
        ("float32", 0.75, 1.0, False, "power_three_quarters_refined"),
        ("float32", 0.75, 0.0, False, "power_three_quarters_guarded"),
        ("float32", 1.0, 1.0, False, "power_one_refined"),
        ("float32", 1.0, 0.0, False, "power_one"),
        ("float32", 0.64, 1.0, False, "power_general_divided_refined"),
        ("float32", 0.66, 1.0, False, "power_general_refined"),
        ("float32", 0.97, 1.0, True, "power_general_divided_refined"),
        ("float32", 1.5, 1.0, True, "power_wide_refined"),
        ("float32", -0.99, 1.0, True, "power_wide"),
        ("float32", -1.5, 1.0, True, "power_wide"),
        ("float32", 0.6, 0.0, True, "power_platform"),
        ("float32", 5000.0, 1.0, True, "power_platform"),
        ("float16", 0.75, 1.0, False, "power_three_quarters_rough"),
        ("float16", 0.75, 1.0, True, "power_three_quarters_refined"),
        ("float16", 0.6, 1.0, False, "power_general_divided_refined"),
        ("float16", 0.6, 1.0, True, "power_general_divided_refined"),
        ("bfloat16", 0.6, 1.0, False, "power_any_rough"),
        ("bfloat16", 1.5, 1.0, False, "power_wide_refined"),
        ("float64", 0.75, 1.0, True, "power_three_quarters_refined"),
        ("float64", 0.6, 1.0, True, "power_general_refined"),
        ("float64", 0.6, 0.0, True, "power_platform"),
        ("float64", 3.0, 1.0, False, "power_wide_refined"),
        ("float64", -0.5, 1.0, False, "power_wide"),
        ("float64", 0.0, 1.0, False, "power_general"),
        ("float64", 1.0, 1.0, True, "power_one_refined"),
        ("float64", 1.0, 0.0, True, "power_one"),
        ("float64", 0.5, 0.0, True, "power_half_guarded"),
        ("float64", 5.0, 1.0, False, "power_platform"),
        ("float64", -0.99, 1.0, True, "power_platform"),
    ],
)
def test_power_functions(dtype, beta, k, differentiates, name):
    op = LocalResponseNorm.from_window(1, 2, 2, 1.0, beta, k)
    assert power_function(op, DTYPES[dtype], 5, differentiates) == name


def test_the_rough_power_serves_float16_where_d_stays_near_one():
    for op, rough in (
        (LocalResponseNorm.from_window(1, 2, 2, 1e-6, 0.6, 1.0), True),
        (LocalResponseNorm(5, 1.0, 0.6), True),
        (LocalResponseNorm(5, 1.0, 0.7), False),  # d reaches 2³²
        (LocalResponseNorm(5, 1e-6, 0.6, k=2.0**-40), False),
    ):
        assert (power_function(op, DTYPES["float16"], 5, False) == "power_any_rough") == rough
