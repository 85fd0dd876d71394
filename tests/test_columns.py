"""Backward down columns of vectors: the same bits as by rows, whatever the numbers, and where it is taken."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cpu import launch, plan, tiles
from numba_lrn.backends.cpu.processor import Processor
from tests.support import DTYPES, assert_accurate, assert_same_bits, layout_of, plan_of, random_array

BETAS = (0.25, 0.5, 0.6, 0.75, 0.97, 1.0)
EVERY_DTYPE = pytest.mark.parametrize("dtype", DTYPES)
EVERY_BETA = pytest.mark.parametrize("beta", BETAS)
# (outer, length, inner): the shortest axis and rows, vectors that overlap, images of 55×55, several outer indices.
SHAPES = [(1, 6, 64), (2, 7, 65), (3, 8, 79), (2, 13, 777), (1, 96, 3025), (5, 11, 12, 12)]


@pytest.fixture(autouse=True)
def _roots(monkeypatch):
    """A processor that takes powers by roots, whatever this one does."""
    monkeypatch.setattr(plan, "processor", lambda: Processor(roots=True, narrow=True))
    launch._route.cache_clear()
    yield
    launch._route.cache_clear()


def operator(beta=0.75, k=1.0):
    return LocalResponseNorm(5, alpha=4.0, beta=beta, k=k)


def by_rows(monkeypatch, op, g, x):
    """What the stages give in turns or in pairs of rows."""
    with monkeypatch.context() as patch:
        patch.setattr(tiles, "_column_lanes", lambda *_: 0)
        launch._route.cache_clear()
        assert not layout_of(launch.plan_of(op, "backward", x)).columns
        result = op.backward(g, x)
    launch._route.cache_clear()
    assert layout_of(launch.plan_of(op, "backward", x)).columns
    return result


@EVERY_DTYPE
@EVERY_BETA
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_bits_of_rows(shape, beta, dtype, monkeypatch):
    op, x, g = operator(beta), random_array(1, shape, dtype), random_array(2, shape, dtype)
    expected = by_rows(monkeypatch, op, g, x)
    assert_same_bits(op.backward(g, x), expected, op)


@EVERY_DTYPE
@pytest.mark.parametrize("beta", [0.25, 0.6, 0.75])
def test_accurate(beta, dtype):
    op, x, g = operator(beta), random_array(3, (2, 13, 130), dtype), random_array(4, (2, 13, 130), dtype)
    assert layout_of(launch.plan_of(op, "backward", x)).columns
    assert_accurate(op, "backward", op.backward(g, x), x, g)


EXTREMES = {"inf": np.inf, "-inf": -np.inf, "nan": np.nan}
# Finite numbers whose squares are not; none of float16 is so large.
HUGE = {"float16": 6e4, "bfloat16": 1e30, "float32": 1e30, "float64": 1e200}
PLACES = [(0, 0, 0), (0, 1, 70), (1, 6, 33), (1, 12, 129), (0, 12, 114), (1, 0, 113)]


@EVERY_DTYPE
@EVERY_BETA
@pytest.mark.parametrize("value", [*EXTREMES, "huge"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_bits_of_rows_where_some_d_is_not_finite(value, beta, dtype, workers, monkeypatch):
    """Also in the lanes that two columns share, and beside tiles of other threads."""
    monkeypatch.setattr(launch, "available_workers", lambda: workers)
    monkeypatch.setattr(plan, "SERIAL", 0)
    monkeypatch.setattr(launch, "SERIAL", 0)
    op, x, g = operator(beta), random_array(5, (2, 13, 130), dtype), random_array(6, (2, 13, 130), dtype)
    number = EXTREMES.get(value, HUGE.get(dtype))
    for place in PLACES:
        changed = x.copy()
        changed[place] = number
        expected = by_rows(monkeypatch, op, g, changed)
        assert_same_bits(op.backward(g, changed), expected, op)


@pytest.mark.parametrize("value", [np.inf, np.nan, -0.0])
def test_the_bits_of_rows_for_any_g(value, monkeypatch):
    op, x, g = operator(), random_array(7, (2, 9, 100)), random_array(8, (2, 9, 100))
    g[0, 3, 50:] = value
    g[1, :, ::3] = value
    x[:, ::2, ::2] = -0.0
    assert_same_bits(op.backward(g, x), by_rows(monkeypatch, op, g, x), op)


@pytest.mark.parametrize("k", [0.0, -3.0])
@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_any_d_of_an_exponent_of_one(scale, k, monkeypatch):
    """Its power is right for every d: zero, negative, or infinite in the same lane as negative."""
    op = LocalResponseNorm.from_window(1, 2, 2, scale, 1.0, k)
    x, g = random_array(11, (1, 20, 90)), random_array(12, (1, 20, 90))
    x[0, 4:11] = 0.0
    x[0, 15, 40:43] = 1e30
    x[0, 16, 45] = np.inf
    with np.errstate(all="ignore"):
        assert_same_bits(op.backward(g, x), by_rows(monkeypatch, op, g, x), op)


@pytest.mark.parametrize("workers", [2, 3, 7, 32])
def test_any_number_of_workers(workers, monkeypatch):
    op, x, g = operator(), random_array(9, (1, 40, 3025)), random_array(10, (1, 40, 3025))
    expected = op.backward(g, x)
    monkeypatch.setattr(launch, "available_workers", lambda: workers)
    layout = layout_of(launch.plan_of(op, "backward", x))
    assert layout.columns
    assert layout.tiles >= min(workers, 3025 // 64)
    assert_same_bits(op.backward(g, x), expected, op)


def test_no_tile_has_less_than_a_vector():
    """What such a tile shared with its neighbour might be computed again by one and not by the other."""
    for inner in [*range(64, 700), 1041, 3025, 12544 + 1]:
        for threads in (1, 2, 3, 4, 5, 7, 8, 16, 61):
            layout = layout_of(plan_of(operator(), "backward", (1, 300, inner), threads=threads))
            if layout.columns:
                last = inner - (layout.tiles - 1) * layout.tile_lanes
                assert layout.tile_lanes >= last >= 16, (inner, threads)


TAKEN = {
    "AlexNet's first": ((1, 96, 55, 55), "float32", True),
    "AlexNet's second": ((1, 256, 27, 27), "float32", True),
    "GoogLeNet's second": ((1, 192, 56, 56), "float32", True),
    "a batch": ((8, 256, 13, 13), "float32", True),
    "a batch beyond the caches": ((20, 96, 55, 55), "float32", True),
    "a larger one": ((32, 96, 55, 55), "float32", False),
    "the same of float64": ((32, 96, 55, 55), "float64", True),
    "the same of float16": ((128, 96, 55, 55), "float16", True),
    "any exponent": ((128, 96, 55, 55), "float32", True, 0.6),
    "rows that begin at four places of a page": ((1, 64, 112, 112), "float32", True),
    "all at the same place": ((1, 64, 64, 64), "float32", False),
    "few such": ((1, 12, 64, 64), "float32", True),
    "rows half as long": ((1, 64, 2048), "bfloat16", False),
    "at two places": ((1, 64, 1024), "float16", False),
    "at four": ((1, 64, 512), "float16", True),
    "short rows": ((1, 96, 7, 9), "float32", False),
    "a short axis": ((1, 5, 55, 55), "float32", False),
}


@pytest.mark.parametrize("case", TAKEN.values(), ids=TAKEN)
def test_where_it_is_taken(case):
    shape, dtype, taken, *beta = case
    assert layout_of(plan_of(operator(*beta), "backward", shape, DTYPES[dtype])).columns == taken


def test_one_thread_does_not_wait_for_memory():
    for threads, taken in ((1, True), (2, False)):
        assert layout_of(plan_of(operator(), "backward", (64, 96, 55, 55), threads=threads)).columns == taken


def test_where_it_is_not():
    shape = (1, 96, 55, 55)
    assert not layout_of(plan_of(operator(), "backward", shape, in_place=True)).columns
    for op in (operator(1.25), operator(-0.5), operator(0.6, k=0.0), operator(k=0.0)):
        assert not layout_of(plan_of(op, "backward", shape)).columns
    for recipe in ("forward", "jvp", "backward_all", "double_backward"):
        assert not layout_of(plan_of(operator(), recipe, shape)).columns
    # By rows of the axis, more threads have something to do.
    assert layout_of(plan_of(operator(), "backward", (1, 1000, 70), threads=1)).columns
    assert not layout_of(plan_of(operator(), "backward", (1, 1000, 70), threads=2)).columns


def test_another_processor_goes_by_rows(monkeypatch):
    monkeypatch.setattr(plan, "processor", Processor)
    assert not layout_of(plan_of(operator(), "backward", (1, 96, 55, 55))).columns
