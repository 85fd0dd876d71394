"""Shape, memory order and axes reduced to what a loop sees; which form a window takes; tiles that cover everything."""

import itertools
import math
import types

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.algorithm.binding import rebind
from numba_lrn.algorithm.geometry import Dimension, canonical, dense_order
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.algorithm.window import interleaved, planes, scanned, strips
from numba_lrn.algorithm.window.contract import Space
from numba_lrn.algorithm.window.planes import Planes
from numba_lrn.algorithm.window.prefix import RUNNING, blocks_of, period_of
from numba_lrn.algorithm.window.scanned import SLACK
from numba_lrn.backends.cpu import worker
from numba_lrn.backends.cpu.plan import choose_form, make_plan
from numba_lrn.backends.cpu.tiles import BOX_TILE
from numba_lrn.backends.cpu.worker import Layout
from tests.support import layout_of


def plain(extent):
    return Dimension(extent, 0, 0)


# Memory order.


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (3, 3, 3), (1, 4, 1), (1, 1, 1), (2, 1, 3, 1, 2)])
def test_every_permutation_is_dense(shape):
    for order in itertools.permutations(range(len(shape))):
        array = np.empty([shape[axis] for axis in order], np.float32).transpose(np.argsort(order))
        found = dense_order(array.shape, array.strides, array.itemsize)
        assert found is not None
        assert sorted(found) == list(range(len(shape)))
        assert array.transpose(found).flags.c_contiguous


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::2],
        lambda a: a[:, ::2],
        lambda a: a[:, :3],
        lambda a: a[..., :3],
        lambda a: a[:, ::-1],
        lambda a: a[::-1],
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: np.broadcast_to(a[..., :1], a.shape),
        lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=0),
        lambda a: a.view("f4").reshape(4, 4, 8)[..., ::2],
    ],
)
def test_gaps_repeats_and_negative_steps_are_not_dense(view):
    array = view(np.empty((4, 4, 4)))
    assert dense_order(array.shape, array.strides, array.itemsize) is None


def test_strides_of_axes_of_one_element_say_nothing():
    assert dense_order((2, 1, 3), (12, 10**6, 4), 4) is not None
    assert dense_order((2, 1, 3), (12, 0, 4), 4) is not None
    assert dense_order((2, 1, 3), (12, -4, 4), 4) is not None
    assert dense_order((1,), (-8,), 4) == (0,)


# (outer, length, inner).


@pytest.mark.parametrize(
    ("shape", "order", "windows", "expected"),
    [
        ((2, 96, 55, 55), (0, 1, 2, 3), {1: (2, 2)}, (plain(2), Dimension(96, 2, 2), plain(3025))),
        ((2, 96, 55, 55), (0, 2, 3, 1), {1: (2, 1)}, (plain(6050), Dimension(96, 2, 1), plain(1))),
        ((2, 96, 55, 55), (0, 1, 2, 3), {0: (1, 0)}, (plain(1), Dimension(2, 1, 0), plain(290400))),
        ((7,), (0,), {0: (2, 2)}, (plain(1), Dimension(7, 2, 2), plain(1))),
        (
            (2, 3, 8, 9),
            (0, 1, 2, 3),
            {2: (1, 1), 3: (2, 1)},
            (plain(6), Dimension(8, 1, 1), Dimension(9, 2, 1), plain(1)),
        ),
        (
            (2, 3, 8, 9),
            (0, 2, 3, 1),
            {2: (1, 1), 3: (2, 1)},
            (plain(2), Dimension(8, 1, 1), Dimension(9, 2, 1), plain(3)),
        ),
        (
            (2, 3, 8, 9),
            (0, 1, 2, 3),
            {1: (1, 1), 3: (2, 1)},
            (plain(2), Dimension(3, 1, 1), plain(8), Dimension(9, 2, 1), plain(1)),
        ),
        ((4, 5, 6), (0, 1, 2), {1: (0, 0)}, (plain(120),)),
        ((4, 1, 6), (0, 1, 2), {1: (3, 3)}, (plain(24),)),
        ((4, 5, 6), (0, 1, 2), {1: (5 * 10**8, 5 * 10**8)}, (plain(4), Dimension(5, 4, 4), plain(6))),
    ],
)
def test_dimensions(shape, order, windows, expected):
    assert canonical(shape, order, windows) == expected


@pytest.mark.parametrize("axes", [(0,), (2,), (0, 1), (0, 2), (1, 3), (0, 1, 2, 3), (3, 0)])
def test_dimensions_sum_the_same_windows(axes):
    shape, rng = (2, 3, 4, 5), np.random.default_rng(0)
    windows = dict(zip(axes, [(1, 0), (2, 5), (0, 1), (9, 9)], strict=False))
    for order in itertools.permutations(range(4)):
        memory = rng.integers(0, 100, [shape[axis] for axis in order]).astype(float)
        dimensions = canonical(shape, order, windows)
        assert dimensions[0].windowed is dimensions[-1].windowed is False
        flat = {index: dimension[1:] for index, dimension in enumerate(dimensions) if dimension.windowed}
        got = reference.window_sum(memory.reshape([dimension.extent for dimension in dimensions]), flat)
        expected = reference.window_sum(memory.transpose(np.argsort(order)), windows)
        np.testing.assert_array_equal(got.reshape(memory.shape).transpose(np.argsort(order)), expected)


# Which form.


@pytest.mark.parametrize(
    ("shape", "axis", "size", "form"),
    [
        ((2, 96, 55, 55), 1, 5, "direct"),
        ((2, 96, 55, 55), 1, 63, "prefix"),
        ((2, 55, 55, 96), -1, 5, "masked"),
        ((2, 55, 55, 96), -1, 24, "masked"),
        ((2, 55, 55, 96), -1, 25, "scanned"),
        ((2, 55, 55, 21), -1, 40, "masked"),
        ((2, 96, 55, 55), (2, 3), 3, "box"),
        ((2, 96, 55, 55), (1, 3), 3, "box"),
        ((2, 96, 55, 55), 1, 1, "direct"),
        ((10**6,), 0, 5, "direct"),
        ((10**6,), 0, 40, "direct"),
        ((10**6,), 0, 41, "turned"),
        ((10**6, 2), 0, 10**9, "turned"),
    ],
)
def test_form(shape, axis, size, form):
    op = LocalResponseNorm(size, axis=axis)
    assert choose_form(canonical(shape, tuple(range(len(shape))), op.windows(len(shape)))) == form


def test_form_does_not_follow_from_the_batch():
    """The same numbers give the same bits whatever the batch."""
    for size, axis, shape in itertools.product((3, 20, 100), (1, 2, (1, 2)), ((24, 6, 6), (300, 2, 16), (7, 64, 1))):
        op = LocalResponseNorm(size, axis=axis)
        forms = {
            choose_form(canonical((batch, *shape), (0, 1, 2, 3), op.windows(4))) for batch in (1, 2, 7, 64, 4096, 10**6)
        }
        assert len(forms) == 1, (op, shape, forms)


# Tiles.


def plan_of(shape, op, recipe, threads, in_place):
    dimensions = canonical(shape, tuple(range(len(shape))), op.windows(len(shape)))
    return dimensions, make_plan(dimensions, recipe, op, np.dtype(np.float32), threads, in_place)


def tiles_of(plan, number, workers):
    """(tile, first, last) of each tile of a worker, as the kernel walks them."""
    found = []

    def run(arrays, buffers, par, space, tile, part, positions):
        found.append((type(tile)(*map(int, tile)), int(part.first), int(part.last)))

    def values(*fields):
        return fields

    def leading(array, count):
        return tuple(array[:count])

    namespace = {**vars(worker), "run_ahead": run, "run_behind": run, "leading": leading}
    namespace.update(Parameters=values, Arrays=values, fence=values)
    namespace.update((f"{name}_of", values) for name in worker.Buffers._fields)
    run_worker = rebind(worker.run_worker, namespace, "run_worker")
    run_worker((None,), np.empty(0, np.float32), plan.positions, plan.scalars, plan.layout, number, workers)
    return found


CASES = [
    ((3, 20, 40), 1, 5),
    ((2, 64, 300), 1, 5),
    ((1, 3, 70000), 1, 3),
    ((2, 3000, 64), 1, 4),
    ((2, 5000, 40), 1, 20),
    ((2, 500, 700), 1, 101),
    ((40, 60, 2), 1, 4),
    ((1000, 7), 1, 4),
    ((90000,), 0, 3),
    ((90000,), 0, 50),
    ((300, 65), 1, 30),
    ((3, 600, 9), 1, 18),
    ((2, 3, 30, 31), (2, 3), 3),
    ((1, 700, 600), (1, 2), 5),
    ((2, 20, 30, 70), (1, 2), 3),
    ((2, 40, 3, 5000), (1, 2), 3),
    ((4, 1, 50), 1, 3),
]
EVERY_RECIPE = pytest.mark.parametrize(
    ("recipe", "in_place"),
    [("forward", False), ("forward_in_place", True), ("backward", False), ("backward", True)]
    + [(recipe, False) for recipe in ("jvp", "backward_parameters", "backward_all", "double_backward")],
)


@EVERY_RECIPE
@pytest.mark.parametrize(("shape", "axis", "size"), CASES)
def test_tiles_cover_every_element_once(shape, axis, size, recipe, in_place):
    op = LocalResponseNorm(size, axis=axis)
    for threads in (1, 2, 5):
        _, plan = plan_of(shape, op, recipe, threads, in_place)
        layout = layout_of(plan)
        seen = np.zeros((layout.outers, layout.length, layout.inner // layout.unit, layout.unit), np.int8)
        assert seen.size == math.prod(shape)
        assert 1 <= plan.workers <= threads
        for number in range(plan.workers):
            tiles = tiles_of(plan, number, plan.workers)
            assert tiles, "a worker without work"
            for tile, first, last in tiles:
                assert tile.lanes > 0
                assert 0 <= tile.base <= first < last <= tile.base + tile.rows <= layout.length
                # The buffers hold every row whose residual a window of the tile reaches.
                assert tile.base == max(first - layout.after, 0)
                assert tile.base + tile.rows == min(last + layout.before, layout.length)
                seen[tile.outer : tile.outer_end, first:last, :, tile.lane : tile.lane + tile.lanes] += 1
                # Where the stages take turns, the rows of one turn.
                rows = min(tile.rows, layout.step + layout.before + layout.after)
                held = (tile.outer_end - tile.outer) * rows * (layout.inner // layout.unit) * tile.lanes
                for name in RECIPES[recipe].kept:
                    assert held <= getattr(layout, name)
                if in_place:
                    assert (first, last) == (0, layout.length), "in place, a tile must hold whole windows"
        assert (seen == 1).all()
        sizes = plan.layout[Layout._fields.index("total") : len(Layout._fields)]
        assert plan.workspace == sizes.sum()


@pytest.mark.parametrize("size", [3, 5, 40, 10**9])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((2**12, 2**8, 2**7, 2**7), 1),
        ((2**12, 2**7, 2**7, 2**8), -1),
        ((2**33 + 5, 2), 1),
        ((2, 2**7, 2**26), 1),
        ((1, 3, 2**33), 1),
        ((2**12, 2**8, 2**7, 2**7), (2, 3)),
    ],
)
@pytest.mark.parametrize("recipe", ["forward", "backward"])
def test_more_than_two_to_the_31_elements(shape, axis, size, recipe):
    """The first, a middle and the last tile, in 64-bit integers throughout; nothing of the array's size is held."""
    op = LocalResponseNorm(size, axis=axis)
    dimensions, plan = plan_of(shape, op, recipe, 4, False)
    assert math.prod(dimension.extent for dimension in dimensions) == math.prod(shape) > 2**31
    assert plan.layout.dtype == np.int64
    layout = layout_of(plan)
    assert layout.outers * layout.length * layout.inner == math.prod(shape)
    # A whole window of 128 × 128 or 256 rows at most.
    assert plan.workspace <= 64 * BOX_TILE
    count = layout.tiles
    assert count > 4
    (first,) = tiles_of(plan, 0, count)
    (middle,) = tiles_of(plan, count // 2, count)
    (last,) = tiles_of(plan, count - 1, count)
    assert (first[0].outer, first[0].lane, first[1]) == (0, 0, 0)
    assert last[0].outer_end == layout.outers
    assert last[0].lane + last[0].lanes == layout.unit
    assert last[2] == layout.length
    lane_tiles, row_tiles = -(-layout.unit // layout.tile_lanes), -(-layout.length // layout.tile_rows)
    assert middle[0].lane == count // 2 % lane_tiles * layout.tile_lanes
    assert middle[1] == count // 2 // lane_tiles % row_tiles * layout.tile_rows
    assert middle[0].outer == count // 2 // lane_tiles // row_tiles * layout.tile_outers


def test_one_axis_of_more_than_two_to_the_31_elements():
    _, plan = plan_of((2**33 + 1,), LocalResponseNorm(5, axis=0), "backward", 4, False)
    layout = layout_of(plan)
    (last,) = tiles_of(plan, layout.tiles - 1, layout.tiles)
    assert last[2] == 2**33 + 1
    assert plan.workspace <= 4 * BOX_TILE


# Buffers: kernels do not check their bounds.


def planes_of(plan, layout):
    """What ``turned`` asks of the planes of each tile, ahead and behind: outers, rows, space, first and last row."""
    n = layout.before + layout.after + 1
    for number in range(plan.workers):
        for tile, first, last in tiles_of(plan, number, plan.workers):
            ahead = (tile.base, tile.base + tile.rows, layout.before, layout.after)
            behind = (first, last, layout.after, layout.before)
            for start, stop, reach, tail in (ahead, behind):
                period = n if layout.inner == 1 else period_of(n)
                begin = start // period * period
                low, high = max(begin - reach, 0), min(stop + tail, layout.length)
                space = Space(high - low, layout.inner, layout.inner, reach, tail, 0, 0)
                yield tile.outer_end - tile.outer, high - low, space, begin - low, stop - low


class Recorder:
    """A buffer that remembers how far it was cut."""

    def __init__(self):
        self.used = 0

    def __getitem__(self, part):
        self.used = max(self.used, part.stop)
        return self


@pytest.mark.parametrize("shape", [(40, 31, 2), (5, 2000, 7), (2, 70001, 3), (1, 4097, 2)])
def test_turned_blocks_stay_within_their_buffers(shape, monkeypatch):
    block, seen = Recorder(), {"suffix": 0, "running": 0}

    def prefix_turned(terms, sums, buffers, rows, lanes, before, after, last):
        seen["suffix"] = max(seen["suffix"], blocks_of(before + after + 1) * lanes)
        seen["running"] = max(seen["running"], RUNNING * lanes)

    monkeypatch.setattr("numba_lrn.backends.cpu.tiles.address_of", lambda form, real: 0)  # compiles nothing
    monkeypatch.setattr(planes, "prefix_turned", prefix_turned)
    for name in ("turn", "turn_part", "turn_back"):
        monkeypatch.setattr(planes, name, lambda *arguments: None)
    buffers, arrays = types.SimpleNamespace(turned=block), Planes(None, None)
    for before, after, in_place in itertools.product((10, 30, 400, 10**6), (32, 63, 1000), (False, True)):
        op = LocalResponseNorm.from_window(1, before, after, 1.0, 0.75, 1.0)
        _, plan = plan_of(shape, op, "backward", 2, in_place)
        assert plan.variant.form == "turned"
        layout = layout_of(plan)
        for outers, rows, space, first, last in planes_of(plan, layout):
            assert outers * rows * layout.inner + SLACK <= layout.planes // 2
            planes.plane_turned(arrays, buffers, space, outers, 0, first, last)
        assert block.used <= layout.turned
        assert seen["suffix"] <= layout.suffix
        assert seen["running"] <= layout.running
        block.used, seen = 0, dict.fromkeys(seen, 0)


class Part:
    """A buffer that begins somewhere in another."""

    def __init__(self, buffer, first=0):
        self.buffer = buffer
        self.first = first

    def __getitem__(self, part):
        return Part(self.buffer, self.first + part.start)


@pytest.mark.parametrize("shape", [(300, 96), (1, 4097), (3, 70001), (2, 300001), (7, 27)])
def test_scans_stay_within_their_buffers(shape, monkeypatch):
    """Whole vectors are read and written: up to 15 elements beyond what is asked for, which must be there."""
    used = {"turned": [], "planes": []}

    def use(part, start, stop):
        used[part.buffer] += [part.first + start, part.first + stop]

    def whole(count):
        return -(-count // 16) * 16

    def pad(source, terms, place, start, first, length, rows):
        use(terms, place, place + rows)

    def sum_suffixes(source, end, target, target_end, count):
        assert count > 0
        use(source, end - whole(count), end)
        use(target, target_end - whole(count), target_end)
        if source.buffer == target.buffer:
            assert source.first + end <= target.first + target_end - whole(count), "they must not overlap"

    def join_prefixes(source, at, suffixes, suffix_at, target, place, count):
        use(source, at, at + whole(count))
        use(suffixes, suffix_at, suffix_at + whole(count))
        use(target, place, place + whole(count))

    monkeypatch.setattr("numba_lrn.backends.cpu.tiles.address_of", lambda form, real: 0)  # compiles nothing
    monkeypatch.setattr(planes, "pad", pad)
    for function in (sum_suffixes, join_prefixes):
        monkeypatch.setattr(scanned, function.__name__, function)
    buffers = types.SimpleNamespace(turned=Part("turned"))
    for before, after, in_place in itertools.product((10, 30, 400, 10**6), (32, 63, 1000), (False, True)):
        op = LocalResponseNorm.from_window(1, before, after, 1.0, 0.75, 1.0)
        _, plan = plan_of(shape, op, "backward", 2, in_place)
        layout = layout_of(plan)
        for outers, rows, space, first, last in planes_of(plan, layout):
            if plan.variant.form == "scanned":
                scan = scanned.scan_of(rows, layout.before + layout.after + 1)
                # The sums follow the padded terms, and have room for a vector more.
                arrays = Planes(Part("planes"), Part("planes", scan.group * scan.terms))
                planes.plane_joined(arrays, buffers, space, min(scan.group, outers), 0, first, last)
            else:
                arrays = Planes(None, Part("planes", layout.planes // 2))
                planes.plane_scanned(arrays, buffers, space, outers, 0, first, last)
            assert max(used["planes"]) <= layout.planes
        assert min(used["turned"] + used["planes"]) >= 0
        assert max(used["turned"]) <= layout.turned
        used["turned"].clear()
        used["planes"].clear()


@pytest.mark.parametrize("window", [(0, 40), (40, 0), (15, 15), (54, 54), (7, 8)])
@pytest.mark.parametrize("real", ["float32", "float64"])
def test_windows_over_vectors_stay_within_their_buffers(window, real, monkeypatch):
    """By the plain twins, on arrays that have no more room than the plan gives them; what they sum is right, too."""
    monkeypatch.setattr("numba_lrn.backends.cpu.tiles.address_of", lambda form, real: 0)  # compiles nothing
    monkeypatch.setattr(strips, "real", getattr(np, real))
    op = LocalResponseNorm.from_window((1, 2), (1, window[0]), (0, window[1]), 1.0, 0.75, 1.0)
    dimensions = canonical((3, 2, 55), (0, 1, 2), op.windows(3))
    plan = make_plan(dimensions, "backward", op, np.dtype(real), 2, False)
    assert plan.variant.form == "interleaved"
    layout, lanes = layout_of(plan), 64 // np.dtype(real).itemsize
    assert layout.tile_outers == lanes
    assert 2 * 55 * lanes <= layout.planes // 2
    terms = np.random.default_rng(1).uniform(0.5, 1.5, (2, 55, lanes)).astype(real)
    for before, after in (window, window[::-1]):
        sums = np.zeros(terms.size, real)
        buffers = types.SimpleNamespace(turned=np.full(layout.turned, np.nan, real))
        space = Space(55, lanes, lanes, before, after, 0, 0)
        interleaved.plane_vectors(Planes(terms.reshape(-1), sums), buffers, space, 2, 0, 0, 55)
        expected = [terms[:, max(i - before, 0) : i + after + 1].sum(axis=1, dtype=np.float64) for i in range(55)]
        np.testing.assert_allclose(sums.reshape(terms.shape), np.stack(expected, axis=1), rtol=1e-5)


@pytest.mark.parametrize("block", [16, 17, 55, 64])
def test_interleaved_and_back(block):
    lanes = 16
    planes_apart = np.arange(lanes * block, dtype=np.float32)
    vectors, back = np.zeros_like(planes_apart), np.zeros_like(planes_apart)
    space = Space(block, lanes, lanes, 0, 0, 0, 0)
    interleaved.plane_interleaved(Planes(planes_apart, vectors), None, space, 1, 0, 0, block)
    assert (vectors.reshape(block, lanes) == planes_apart.reshape(lanes, block).T).all()
    interleaved.plane_separated(Planes(vectors, back), None, space, 1, 0, 0, block)
    assert (back == planes_apart).all()
