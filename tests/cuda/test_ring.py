"""Blocks that walk along memory (forms/ring.py), in the simulator, against the kernels of columns; see lines.py.

Strides are short, so that the ring of strides turns.
"""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import blocks, variants
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.forms import line
from tests.cuda.lines import SHAPES, WINDOWS, make_small, no_lines, operator
from tests.cuda.plans import LARGE, SMALL, plan_of, run
from tests.support import assert_accurate, assert_same_bits, random_array

pytestmark = [
    pytest.mark.simulated,
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]

STRIDE = 256  # elements: 32 threads, with 8 each


@pytest.fixture
def _short_strides(monkeypatch):
    make_small("ring", monkeypatch)


short_strides = pytest.mark.usefixtures("_short_strides")


def arrays(shape):
    return random_array(1, shape), random_array(2, shape)


def ring_of(plan):
    """The only launch, and how many chunks a sample has."""
    (launch,) = plan.launches
    assert launch.variant.form == "ring"
    return launch, int(launch.scalars[4])


@short_strides
@pytest.mark.parametrize("device", [SMALL, LARGE], ids=["few blocks", "many blocks"])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_like_columns(shape, window, device, monkeypatch):
    op = operator(window)
    x, g = arrays(shape)
    got, plan = run(op, "backward", x, g, device=device)
    launch, chunks = ring_of(plan)
    assert device is SMALL or chunks == -(-line.extent_of(int(np.prod(shape[1:]))) // STRIDE)
    assert launch.variant.lanes > 1
    assert_accurate(op, "backward", got, x, g)
    no_lines(monkeypatch)
    expected, plan = run(op, "backward", x, g)
    assert plan.launches[0].variant.form.startswith("small")
    assert_same_bits(got, expected, op)


@short_strides
def test_unaligned_arrays():
    op = operator("small")
    x, g = arrays(SHAPES["odd planes"])
    expected, _ = run(op, "backward", x, g)
    got, plan = run(op, "backward", x, g, aligned=False)
    assert ring_of(plan)[0].variant.lanes == 1
    assert_same_bits(got, expected, op)


@short_strides
@pytest.mark.parametrize("window", [(2, 2), (2, 1), (0, 2)])
def test_windows_that_reach_a_whole_stride(window):
    row = STRIDE // 2
    op = LocalResponseNorm.from_window(1, *window, 1.0, 0.75, 1.0)
    for longer, form in ((0, "ring"), (1, "small_spread")):
        # Rows of whole sectors are rows that begin within one where the array does.
        x, g = arrays((1, 13, row + longer))
        got, plan = run(op, "backward", x, g, aligned=False)
        assert plan.launches[0].variant.form == form
        assert_accurate(op, "backward", got, x, g)


@short_strides
@pytest.mark.parametrize("into", ["x", "g"])
def test_in_place(into, monkeypatch):
    op = operator("even")
    x, g = arrays(SHAPES["odd planes"])
    expected, plan = run(op, "backward", x, g, device=LARGE)
    assert ring_of(plan)[1] > 1
    assert not plan.in_place
    # As many blocks as samples: each takes all of one.
    monkeypatch.setattr(blocks, "RING_TIMES", (0.0, 1.0, 2.0, 3.0, 4.0))
    got, plan = run(op, "backward", x, g, into=into)
    assert ring_of(plan)[1] == 1
    assert_same_bits(got, expected, op)


@pytest.mark.parametrize("device", [Device(), Device(40), SMALL], ids=["H200", "small card", "one"])
@pytest.mark.parametrize(
    "shape", [(128, 256, 27, 27), (1, 256, 27, 27), (512, 300, 13, 13), (1, 1024, 7, 7), (1, 44_739_242, 3)]
)
def test_chunks_cover_samples(shape, device):
    plan = plan_of(LocalResponseNorm(5, axis=1), "backward", shape, "float32", device=device)
    launch, chunks = ring_of(plan)
    stride = launch.variant.span * launch.variant.elements
    chunk, sample = int(launch.scalars[3]), int(np.prod(shape[1:], dtype=object))
    assert launch.grid == (chunks, 1, shape[0])
    assert launch.block == (launch.variant.span, 1, 1)
    assert chunk % stride == 0
    assert chunks * chunk >= line.extent_of(sample) > (chunks - 1) * chunk
    assert launch.shared_bytes <= blocks.SHARED_BYTES
    assert plan.in_place == (chunks == 1)


def test_where_blocks_walk_along_memory():
    def form(shape, recipe="backward", n=5, dtype="float32"):
        return plan_of(LocalResponseNorm(n, axis=1), recipe, shape, dtype, device=Device()).launches[0].variant.form

    assert form((128, 256, 27, 27)) == "ring"
    assert form((128, 256, 14, 14)) == "ring"  # rows of 24 sectors and a half
    assert form((128, 512, 7, 7)) == "ring"
    assert form((128, 256, 28, 28)) == "small"
    assert form((128, 96, 27, 27)) == "small_spread"  # blocks hold the whole axis
    assert form((128, 256, 55, 55)) == "small_spread"  # windows reach too far
    assert form((1, variants.LONGEST_SAMPLE // 3, 3)) == "ring"
    assert form((1, variants.LONGEST_SAMPLE // 3 + 1, 3)) == "small"  # 32 bits hold no further place in a sample
    assert form((128, 3, 7, 7)) == "small"  # hardly anything to walk along
    assert form((128, 256, 27, 27), n=63) == "wide_spread"
    assert form((128, 256, 13, 13), n=9) == "small_spread"
    for dtype in ("float16", "float64"):
        assert form((128, 256, 27, 27), dtype=dtype) == "small"
    for recipe in ("jvp", "backward_all", "double_backward"):
        assert form((128, 256, 27, 27), recipe) == "small"
