"""The choice of kernels and grids: what follows from the geometry, and limits of the card."""

import pickle

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.backends.cuda import plan as plan_module
from numba_lrn.backends.cuda.phases import CALLERS
from numba_lrn.backends.cuda.plan import Device, power_function
from tests.cuda.plans import plan_of
from tests.support import DTYPES

pytestmark = pytest.mark.simulated  # once is enough
H200 = Device((9, 0), 132)
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
                assert launch.grid[2] == 1
                assert launch.block[0] <= 1024
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
    """Elements that the threads of a walking grid own."""
    columns, length, _, chunk = (int(value) for value in launch.scalars[:4])
    assert columns * length == elements
    return launch.grid[0] * launch.block[0] * launch.variant.lanes >= columns and launch.grid[1] * chunk >= length


def test_grids_cover_the_array_and_no_chunk_is_empty():
    for shape in ((64, 256, 56, 56), (1, 64, 56, 56), (3, 1000, 7, 7), (1, 4096, 2, 2)):
        for n in (5, 63):
            plan = plan_of(LocalResponseNorm(n), "forward", shape, "float32", device=H200)
            (launch,) = plan.launches
            assert covered(launch, np.prod(shape))
            assert (launch.grid[1] - 1) * int(launch.scalars[3]) < shape[1]
            if n > plan_module.DIRECT and launch.grid[1] > 1:
                assert int(launch.scalars[3]) % n == 0


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
                for d in (H200, Device((7, 5), 40))
            }
            assert len(found) == 1


@pytest.mark.parametrize(
    ("dtype", "beta", "k", "differentiates", "name"),
    [
        ("float32", 0.75, 1.0, False, "power_three_quarters_refined"),
        ("float32", 0.75, 0.0, False, "power_three_quarters_guarded"),
        ("float32", 1.0, 1.0, False, "power_one_refined"),
        ("float32", 1.0, 0.0, False, "power_one"),
        ("float32", 0.6, 1.0, True, "power_general_refined"),
        ("float32", -1.5, 1.0, True, "power_wide_refined"),
        ("float32", 0.6, 0.0, True, "power_platform"),
        ("float32", 5000.0, 1.0, True, "power_platform"),
        ("float16", 0.75, 1.0, False, "power_three_quarters_rough"),
        ("float16", 0.75, 1.0, True, "power_three_quarters_refined"),
        ("float16", 0.6, 1.0, False, "power_general_refined"),
        ("bfloat16", 0.6, 1.0, False, "power_any_rough"),
        ("bfloat16", 1.5, 1.0, False, "power_wide_refined"),
        ("float64", 0.75, 1.0, True, "power_three_quarters"),
        ("float64", 0.6, 1.0, True, "power_platform"),
    ],
)
def test_power_functions(dtype, beta, k, differentiates, name):
    op = LocalResponseNorm.from_window(1, 2, 2, 1.0, beta, k)
    assert power_function(op, DTYPES[dtype], 5, differentiates) == name


def test_the_rough_power_serves_float16_where_d_stays_near_one():
    op = LocalResponseNorm.from_window(1, 2, 2, 1e-6, 0.6, 1.0)
    assert power_function(op, DTYPES["float16"], 5, False) == "power_any_rough"
