"""Copies between any two memory layouts, and what the copying kernel compiles to."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import copies, launch, toolkit

COPYING = LocalResponseNorm(3, beta=0.0, axis=0)


def layouts(generator, ndim):
    """An array of integers whose axes are permuted, reversed and have gaps, as chance wills."""
    extents = generator.integers(1, 5, ndim)
    steps = generator.choice([1, 2, 3, -1, -2], ndim)
    whole = generator.integers(0, 1000, [extent * abs(step) for extent, step in zip(extents, steps, strict=True)])
    view = whole.astype(np.float32)[tuple(slice(None, None, step) for step in steps)]
    return view.transpose(generator.permutation(ndim))


@pytest.mark.parametrize("seed", range(25))
def test_between_any_two_layouts(device, seed):
    generator = np.random.default_rng(seed)
    ndim = int(generator.integers(1, 8))
    source = layouts(generator, ndim)
    steps = tuple(slice(None, None, int(step)) for step in generator.choice([1, 2, -1, -3], ndim))
    order = generator.permutation(ndim)
    shape = [source.shape[axis] * abs(steps[axis].step) for axis in order]
    target = np.full(shape, -1, np.float32).transpose(np.argsort(order))[steps]
    out = device.put(target)
    COPYING(device.put(source), out)
    np.testing.assert_array_equal(device.get(out), source)


@pytest.mark.simulated
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_threads_take_turns(device, blocks, threads, monkeypatch):
    """Where there are more words than a launch has threads: along rows, and from row to row."""
    monkeypatch.setattr(copies, "BLOCKS", blocks)
    monkeypatch.setattr(copies, "THREADS", threads)
    copies.moves.cache_clear()
    launch._moves.cache_clear()
    source = np.arange(7 * 9 * 50, dtype=np.float32).reshape(7, 9, 50)[::2, ::-1, ::3].transpose(1, 0, 2)
    out = device.put(np.full((9, 4, 17), -1, np.float32))
    COPYING(device.put(source), out)
    np.testing.assert_array_equal(device.get(out), source)
    copies.moves.cache_clear()
    launch._moves.cache_clear()


def test_the_gaps_of_out_are_left_alone(cupy_device):
    base = np.full(48, -1, np.float32)
    whole, out = cupy_device.views(base, base, base[1::2])
    COPYING(cupy_device.put(np.arange(24, dtype=np.float32)), out)
    found = cupy_device.get(whole)
    np.testing.assert_array_equal(found[1::2], np.arange(24))
    np.testing.assert_array_equal(found[::2], -1)


def words(shape, target, source, itemsize=4, aligned=True):
    return copies.moves(shape, target, source, itemsize, aligned)


def test_dense_arrays_are_one_row():
    (move,) = words((3, 4, 5), (80, 20, 4), (80, 20, 4))
    assert move.launch.scalars[2:6] == (1, 1, 1, 60)
    assert (move.target_offset, move.source_offset, move.target_words, move.source_words) == (0, 0, 60, 60)


def test_rows_that_are_long_are_shared_among_blocks():
    (move,) = words((2, 1_000_000), (4_000_000, 4), (8_000_000, 8))
    assert move.launch.grid[0] * move.launch.block[0] >= min(1_000_000, copies.BLOCKS * copies.THREADS)
    assert move.launch.block[0] * move.launch.block[1] <= copies.THREADS


def test_more_axes_than_a_launch_takes():
    shape = (2, 3, 2, 2, 2, 2)
    strides = tuple(np.zeros(shape, np.float32)[...].strides)
    found = words(shape, strides, tuple(2 * s + 4 * (i == 2) for i, s in enumerate(strides)))
    assert sum(np.prod([int(n) for n in move.launch.scalars[2:6]]) for move in found) == np.prod(shape)


def test_the_shortest_axes_take_the_launches():
    shape = (256, 16, 8, 9, 7, 2)
    strides = np.zeros([2 * extent for extent in shape], np.uint8)[tuple(slice(None, None, 2) for _ in shape)].strides
    found = words(shape, tuple(4 * stride for stride in strides), tuple(8 * stride for stride in strides))
    assert len(found) == 7 * 8
    assert {move.launch.scalars[5] for move in found} == {2}  # the last axis stays, for neighbouring threads
    places = {(move.target_offset, move.source_offset) for move in found}
    assert places == {(4 * at, 8 * at) for at in (i * strides[2] + j * strides[4] for i in range(8) for j in range(7))}


def test_no_index_is_negative():
    for target, source in (((-4,), (8,)), ((4,), (-8,)), ((-4,), (-8,))):
        (move,) = words((5,), target, source)
        start, step = int(move.launch.scalars[0]), int(move.launch.scalars[9])
        assert {start + i * step for i in range(5)} == set(range(5))
        assert move.target_offset == min(4 * target[0], 0)
        assert move.source_offset == min(4 * source[0], 0)


def test_elements_askew_are_moved_by_bytes():
    assert {move.launch.variant.word for move in words((2, 3), (15, 5), (12, 4))} == {1}
    assert {move.launch.variant.word for move in words((2, 3), (12, 4), (12, 4), aligned=False)} == {1}
    assert {move.launch.variant.word for move in words((2, 3), (12, 4), (12, 4))} == {4}


@pytest.mark.compiled
@pytest.mark.parametrize("word", [1, 2, 4, 8])
@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0), (10, 0), (12, 0)])
def test_the_kernel_compiles(word, capability):
    ptx = copies.ptx(copies.Variant("copy", word), capability)
    bits = {1: "8", 2: "16", 4: "32", 8: "64"}[word]
    assert f"st.global.b{bits}" in ptx or f"st.global.u{bits}" in ptx
    assert ".f64" not in ptx
    assert ".local" not in ptx
    linked = toolkit.link(ptx, capability)
    assert linked.spilled_bytes == 0
    assert linked.code
