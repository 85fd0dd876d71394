"""Arrays as they lie in memory: any order without a copy, any strides, any overlap, and how much is allocated."""

import os
import tracemalloc

import numba
import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.backends.cpu import memory, results
from numba_lrn.backends.cpu.kernels import FORM_BUFFERS
from numba_lrn.backends.cpu.launch import plan_of
from tests.support import assert_accurate, optional

# One operator for each form of the window, on arrays of four dimensions in C order.
SHAPE = N, C, H, W = 2, 12, 41, 24
OPERATORS = {
    "direct": LocalResponseNorm(4, alpha=2.0),
    "prefix": LocalResponseNorm(14, alpha=2.0),
    "masked": LocalResponseNorm(4, alpha=2.0, axis=-1),
    "scanned": LocalResponseNorm(26, alpha=2.0, axis=-1),
    "turned": LocalResponseNorm.from_window(-2, 9, 32, 0.1, 0.75, 1.0),
    "box": LocalResponseNorm((3, 4), alpha=2.0, axis=(1, 3)),
    "interleaved": LocalResponseNorm((15, 4), alpha=2.0, axis=(2, 3)),
}
EVERY_FORM = pytest.mark.parametrize("form", OPERATORS)
EVERY_RECIPE = pytest.mark.parametrize("recipe", ["forward", "backward"])


def numbers(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def compute(op, recipe, x, g, out=None):
    return op(x, out=out) if recipe == "forward" else op.backward(g, x, out=out)


def assert_right(got, op, recipe, x, g):
    """Right to single precision; the bounds in ulp are tested elsewhere."""
    expected = reference.forward(op, x) if recipe == "forward" else reference.backward(op, g, x)
    magnitude = np.abs(expected) if recipe == "forward" else reference.backward_magnitude(op, g, x)
    assert (np.abs(got.astype(expected.dtype) - expected) <= 4 * np.finfo(got.dtype).eps * magnitude).all()


def assert_alike(got, x):
    """A plain array of its own, of the shape, dtype and memory order of ``x``."""
    assert type(got) is np.ndarray
    assert got.shape == x.shape
    assert got.dtype == x.dtype
    assert got.strides == np.empty_like(x, subok=False).strides
    assert got.flags.owndata
    assert got.flags.writeable


def check(op, x, g):
    """Forward and backward of arrays that may lie in memory in any way, which they must survive unchanged."""
    x_before, g_before = x.copy(), g.copy()
    for recipe in ("forward", "backward"):
        got = compute(op, recipe, x, g)
        assert_alike(got, x)
        assert_right(got, op, recipe, x_before, g_before)
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(g, g_before)


# Views of one block of numbers, all of SHAPE.

VIEWS = {
    "C": lambda a: a,
    "F": lambda a: a.ravel().reshape(SHAPE[::-1]).T,
    "channels last": lambda a: a.ravel().reshape(N, H, W, C).transpose(0, 3, 1, 2),
    "permuted": lambda a: a.ravel().reshape(W, N, H, C).transpose(1, 3, 2, 0),
    "swapped planes": lambda a: a.ravel().reshape(C, N, H, W).swapaxes(0, 1),
    "gaps": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "gaps inside": lambda a: np.repeat(a, 3, axis=3)[..., 1::3],
    "part of rows": lambda a: np.pad(a, ((0, 0), (1, 2), (0, 0), (0, 3)))[:, 1:-2, :, :-3],
    "backwards": lambda a: a[:, ::-1],
    "all backwards": lambda a: a[::-1, ::-1, ::-1, ::-1],
    "backwards with gaps": lambda a: np.repeat(a, 2, axis=2)[:, :, ::-2],
    "same batches": lambda a: np.broadcast_to(a[:1], SHAPE),
    "same channels": lambda a: np.broadcast_to(a[:, :1], SHAPE),
    "one number": lambda a: np.broadcast_to(a[0, 0, 0, 0], SHAPE),
    "read-only": lambda a: read_only(a),
    "read-only F": lambda a: read_only(a.ravel().reshape(SHAPE[::-1]).T),
    "unaligned": lambda a: unaligned(a),
    "field": lambda a: field(a),
}


def read_only(array):
    array = array.copy(order="K")
    array.flags.writeable = False
    return array


def unaligned(array):
    """The numbers one byte after an address that suits them."""
    raw = np.empty(array.nbytes + 1, np.uint8)
    raw[1:] = array.ravel().view(np.uint8)
    view = np.frombuffer(raw, array.dtype, offset=1).reshape(array.shape)
    assert not view.flags.aligned
    return view


def field(array):
    """A field of a packed structure: neither aligned nor dense."""
    records = np.zeros(array.shape, [("flag", "i1"), ("value", array.dtype)])
    records["value"] = array
    return records["value"]


def test_the_operators_take_every_form():
    assert {form: plan_of(op, "forward", numbers(SHAPE)).variant.form for form, op in OPERATORS.items()} == {
        form: form for form in FORM_BUFFERS
    }


@EVERY_FORM
@pytest.mark.parametrize("view", VIEWS)
def test_any_view(form, view):
    op = OPERATORS[form]
    check(op, VIEWS[view](numbers(SHAPE)), VIEWS[view](numbers(SHAPE, seed=1)))


@pytest.mark.parametrize("view", VIEWS)
def test_gradient_of_another_order(view):
    op, x, g = OPERATORS["direct"], numbers(SHAPE), numbers(SHAPE, seed=1)
    check(op, x, VIEWS[view](g))
    check(op, VIEWS[view](x), g)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("view", ["channels last", "backwards", "read-only", "unaligned", "field", "same channels"])
def test_views_of_other_dtypes(dtype, view):
    dtype = np.dtype(optional("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype)
    x = VIEWS[view](numbers(SHAPE, dtype))
    got = OPERATORS["direct"](x)
    assert_alike(got, x)
    assert_accurate(OPERATORS["direct"], "forward", got, x)


def test_five_dimensions_in_every_order():
    x, g = numbers((2, 3, 4, 5, 6)), numbers((2, 3, 4, 5, 6), seed=1)
    op = LocalResponseNorm(3, alpha=2.0)
    for order in [(0, 1, 2, 3, 4), (0, 2, 3, 4, 1), (4, 3, 2, 1, 0), (1, 0, 2, 3, 4), (2, 4, 1, 0, 3)]:
        back = np.argsort(order)
        check(op, x.transpose(order).copy().transpose(back), g.transpose(order).copy().transpose(back))


@pytest.mark.parametrize("shape", [(5,), (1, 5), (5, 1), (1, 1, 1, 1), (1, 5, 1, 1), (2, 1, 3), (1, 40, 1, 33)])
def test_axes_of_one_element(shape):
    for axis in range(len(shape)):
        for size in (1, 2, 5):
            op = LocalResponseNorm(size, alpha=2.0, axis=axis)
            check(op, numbers(shape), numbers(shape, seed=1))
            # The stride of an axis of one element may be anything.
            if 1 in shape:
                wide = np.repeat(numbers(shape), 3, axis=shape.index(1))
                check(op, wide[tuple(slice(extent) for extent in shape)], numbers(shape, seed=1))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 4, 4), (2, 3, 0, 4), (0, 0), (2, 3, 4, 0, 5)])
@pytest.mark.parametrize("order", "CF")
def test_arrays_without_elements(shape, order):
    x = np.empty(shape, np.float32, order)
    for axis in [*range(len(shape)), tuple(range(len(shape)))]:
        op = LocalResponseNorm(3, axis=axis)
        for recipe in ("forward", "backward"):
            got = compute(op, recipe, x, x)
            assert got is not x
            assert_alike(got, x)
            out = np.empty_like(x)
            assert compute(op, recipe, x, x, out) is out


# Memory maps.


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_memory_map(tmp_path, mode):
    x = numbers((4, 64, 64, 64))
    x.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", np.float32, mode, shape=x.shape)
    check(OPERATORS["direct"], mapped, x)
    check(OPERATORS["direct"], x, mapped)


def test_memory_map_as_out(tmp_path):
    x, op = numbers((4, 64, 64, 64)), OPERATORS["direct"]
    mapped = np.memmap(tmp_path / "y", np.float32, "w+", shape=x.shape)
    assert op(x, out=mapped) is mapped
    mapped.flush()
    np.testing.assert_array_equal(np.fromfile(tmp_path / "y", np.float32).reshape(x.shape), op(x))


def test_memory_map_in_place(tmp_path):
    x, op = numbers((4, 64, 64, 64)), OPERATORS["direct"]
    x.tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", np.float32, "r+", shape=x.shape)
    assert op(mapped, out=mapped) is mapped
    np.testing.assert_array_equal(mapped, op(x))


# out: every array of the right shape and dtype, wherever it lies.


@EVERY_RECIPE
@pytest.mark.parametrize("view", ["C", "F", "channels last", "gaps", "part of rows", "backwards", "unaligned", "field"])
@pytest.mark.parametrize("order", ["C", "channels last"])
def test_out_of_any_strides(recipe, view, order):
    op, x, g = OPERATORS["direct"], VIEWS[order](numbers(SHAPE)), VIEWS[order](numbers(SHAPE, seed=1))
    out = VIEWS[view](np.full(SHAPE, np.nan, np.float32))
    if not out.flags.writeable:
        out.flags.writeable = True
    assert compute(op, recipe, x, g, out) is out
    np.testing.assert_array_equal(out, compute(op, recipe, x, g))


def test_out_touches_nothing_beside_itself():
    x = numbers(SHAPE)
    around = np.full((N, C + 4, H, 2 * W), 7, np.float32)
    inside = np.zeros(around.shape, bool)
    inside[:, 2:-2, :, ::2] = True
    OPERATORS["direct"](x, out=around[:, 2:-2, :, ::2])
    assert (around[~inside] == 7).all()
    around = np.full(x.size + 2, 7, np.float32)
    OPERATORS["direct"](x, out=around[1:-1].reshape(SHAPE))
    assert around[0] == around[-1] == 7


@EVERY_FORM
@pytest.mark.parametrize("order", ["C", "channels last"])
def test_out_is_an_input(form, order):
    op = OPERATORS[form]
    x, g = (VIEWS[order](numbers(SHAPE, seed=seed)) for seed in (0, 1))
    y, dx = op(x), op.backward(g, x)
    out = x.copy(order="K")
    assert op(out, out=out) is out
    np.testing.assert_array_equal(out, y)
    out = x.copy(order="K")
    assert op.backward(g, out, out=out) is out
    np.testing.assert_array_equal(out, dx)
    out = g.copy(order="K")
    assert op.backward(out, x, out=out) is out
    np.testing.assert_array_equal(out, dx)
    out = x.copy(order="K")
    assert op.backward(out, out, out=out) is out
    np.testing.assert_array_equal(out, op.backward(x, x))


def windows_of_memory(shape, shift):
    """Two arrays of one block of memory, the second ``shift`` elements behind the first."""
    size = int(np.prod(shape))
    memory = numbers(size + abs(shift))
    first, second = memory[max(-shift, 0) :], memory[max(shift, 0) :]
    return first[:size].reshape(shape), second[:size].reshape(shape)


# An element, a row of the axis, and more.
SHIFTS = [1, -1, H * W, -H * W, 5000, -5000]


@EVERY_FORM
@pytest.mark.parametrize("shift", SHIFTS)
def test_out_overlaps_x(form, shift):
    op = OPERATORS[form]
    for recipe in ("forward", "backward"):
        x, out = windows_of_memory(SHAPE, shift)
        g = numbers(SHAPE, seed=1)
        expected = compute(op, recipe, x.copy(), g)
        assert compute(op, recipe, x, g, out) is out
        np.testing.assert_array_equal(out, expected)


@EVERY_FORM
@pytest.mark.parametrize("shift", SHIFTS)
def test_out_overlaps_the_gradient(form, shift):
    op, x = OPERATORS[form], numbers(SHAPE, seed=1)
    g, out = windows_of_memory(SHAPE, shift)
    expected = op.backward(g.copy(), x)
    assert op.backward(g, x, out=out) is out
    np.testing.assert_array_equal(out, expected)


@EVERY_FORM
@pytest.mark.parametrize("shift", SHIFTS)
def test_out_is_one_input_and_overlaps_the_other(form, shift):
    op = OPERATORS[form]
    g, x = windows_of_memory(SHAPE, shift)
    expected = op.backward(g.copy(), x.copy())
    assert op.backward(g, x, out=g) is g
    np.testing.assert_array_equal(g, expected)
    g, x = windows_of_memory(SHAPE, shift)
    expected = op.backward(g.copy(), x.copy())
    assert op.backward(g, x, out=x) is x
    np.testing.assert_array_equal(x, expected)


@EVERY_RECIPE
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1, ::-1, ::-1],
        lambda a: a.reshape(SHAPE[::-1]).T,
        lambda a: a.reshape(N, H, W, C).transpose(0, 3, 1, 2),
    ],
    ids=["backwards", "all backwards", "transposed", "channels last"],
)
def test_out_is_another_view_of_x(recipe, view):
    op, x, g = OPERATORS["direct"], numbers(SHAPE), numbers(SHAPE, seed=1)
    expected = compute(op, recipe, x.copy(), g)
    out = view(x)
    assert compute(op, recipe, x, g, out) is out
    np.testing.assert_array_equal(out, expected)


@EVERY_RECIPE
def test_out_and_x_share_a_strided_view(recipe):
    op, g = OPERATORS["direct"], numbers(SHAPE, seed=1)
    memory = numbers((N, C, H, 2 * W))
    x = memory[..., ::2]
    expected = compute(op, recipe, x.copy(), g)
    between = memory[..., 1::2].copy()
    assert compute(op, recipe, x, g, x) is x
    np.testing.assert_array_equal(x, expected)
    np.testing.assert_array_equal(memory[..., 1::2], between)


@pytest.mark.parametrize("beta", [0.0, 0.75])
def test_large_in_place_is_right_in_parallel(beta):
    """Above the size from which threads share the work."""
    op = LocalResponseNorm(5, alpha=2.0, beta=beta)
    x, g = numbers((4, 64, 32, 32)), numbers((4, 64, 32, 32), seed=1)
    dx = op.backward(g, x)
    np.testing.assert_array_equal(op(x.copy(), out=None), op(x, out=x.copy()))
    out = g.copy()
    np.testing.assert_array_equal(op.backward(out, x, out=out), dx)


def test_beta_of_zero_copies():
    op = LocalResponseNorm(5, beta=0.0)
    x, g = numbers(SHAPE), numbers(SHAPE, seed=1)
    assert_alike(op(VIEWS["channels last"](x)), VIEWS["channels last"](x))
    np.testing.assert_array_equal(op(x), x)
    np.testing.assert_array_equal(op.backward(g, x), g)
    for shift in SHIFTS:
        a, out = windows_of_memory(SHAPE, shift)
        expected = a.copy()
        op(a, out=out)
        np.testing.assert_array_equal(out, expected)


# How much is allocated.

MIB = 2**20


@pytest.fixture(autouse=True)
def _all_memory_is_numpys(monkeypatch):
    """Which tracemalloc sees; tests/test_results.py has the other."""
    monkeypatch.setattr(results, "REUSES", False)


def peak(function):
    """Bytes allocated by NumPy and Python at the worst moment of a call in a thread without a workspace."""
    function()
    vars(memory._thread).clear()
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


LARGE = {
    "channels": ((8, 64, 128, 128), (0, 1, 2, 3), 1, 5),
    "wide": ((8, 64, 128, 128), (0, 1, 2, 3), 1, 33),
    "all channels": ((8, 64, 128, 128), (0, 1, 2, 3), 1, 10**9),
    "Fortran": ((8, 64, 128, 128), (3, 2, 1, 0), 1, 5),
    "channels last": ((8, 64, 128, 128), (0, 2, 3, 1), 1, 5),
    "channels last, all": ((8, 64, 128, 128), (0, 2, 3, 1), 1, 10**9),
    "5-D permuted": ((8, 64, 32, 16, 32), (0, 4, 1, 3, 2), 1, 5),
    "within channels": ((8, 64, 128, 128), (0, 1, 2, 3), (2, 3), 3),
    "one long axis": ((2**23,), (0,), 0, 5),
    "one long axis, wide": ((2**23,), (0,), 0, 63),
}


@EVERY_RECIPE
@pytest.mark.parametrize("case", LARGE)
def test_no_temporary_of_full_size(recipe, case):
    shape, order, axis, size = LARGE[case]
    x = np.ones([shape[i] for i in order], np.float32).transpose(np.argsort(order))
    op, out = LocalResponseNorm(size, axis=axis), np.empty_like(x)
    allowed = 4 * MIB * numba.get_num_threads()
    assert 3 * allowed < x.nbytes
    assert peak(lambda: compute(op, recipe, x, x, out)) <= allowed


@EVERY_RECIPE
@pytest.mark.parametrize("case", ["channels", "wide", "channels last", "within channels"])
def test_no_temporary_of_full_size_in_place(recipe, case):
    shape, order, axis, size = LARGE[case]
    x = np.ones([shape[i] for i in order], np.float32).transpose(np.argsort(order))
    op = LocalResponseNorm(size, axis=axis)
    assert peak(lambda: compute(op, recipe, x, x, x)) <= 4 * MIB * numba.get_num_threads()


@EVERY_RECIPE
@pytest.mark.parametrize(("shape", "axis", "size"), [((2000, 2000), (0, 1), 5), ((1, 2**18, 16), 1, 63)])
def test_few_long_axes_in_place_take_a_temporary_instead_of_more(recipe, shape, axis, size):
    """A tile that holds all of them would take three to ten arrays."""
    op = LocalResponseNorm(size, axis=axis)
    x, g = numbers(shape), numbers(shape, seed=1)
    expected, own = compute(op, recipe, x, g), x.copy()
    np.testing.assert_array_equal(compute(op, recipe, own, g, own), expected)
    assert peak(lambda: compute(op, recipe, own, g, own)) <= x.nbytes + 4 * MIB * numba.get_num_threads()


@EVERY_RECIPE
@pytest.mark.parametrize("shape", [(2**20,), (2**18, 4), (1, 2**13, 128)])
def test_a_window_over_everything_costs_a_few_arrays(recipe, shape):
    """size = 10⁹ on an axis that is the whole array: its terms and their sums, both again turned, and the suffix sums
    of an axis padded to twice its length take six arrays; or its terms and their sums, the terms padded to three times
    their length and the suffix sums seven. What backward keeps are two more.
    """
    x = np.ones(shape, np.float32)
    axis = int(np.argmax(shape))
    op, out = LocalResponseNorm(10**9, axis=axis), np.empty_like(x)
    assert peak(lambda: compute(op, recipe, x, x, out)) <= 9 * x.nbytes + 4 * MIB


def test_a_result_is_all_that_stays():
    """Calls of many shapes keep one workspace, not one each."""
    op = OPERATORS["direct"]
    op(numbers((4, 64, 32, 32)))
    tracemalloc.start()
    try:
        for width in range(20, 32):
            op(np.ones((4, 64, 32, width), np.float32))
        assert tracemalloc.get_traced_memory()[0] < MIB
    finally:
        tracemalloc.stop()


# More than 2³¹ elements.


def free_memory():
    """Bytes that a new process could have."""
    with open("/proc/meminfo") as file:  # noqa: PTH123
        fields = dict(line.split(":") for line in file)
    return int(fields["MemAvailable"].split()[0]) * 1024


def test_more_than_two_to_the_31_elements():
    if os.environ.get("NUMBA_LRN_BIG") != "1":
        pytest.skip("takes 13 GB; NUMBA_LRN_BIG=1 runs it")
    if not os.path.exists("/proc/meminfo") or free_memory() < 20 * 2**30:  # noqa: PTH110
        pytest.skip("less than 20 GiB of memory is free")
    block = numbers((1, 8, 1024, 1024), np.float16)
    x = np.empty((260, 8, 1024, 1024), np.float16)
    assert x.size > 2**31
    x[:] = block
    op = LocalResponseNorm(5, alpha=2.0)
    y, dx = op(block)[0], op.backward(block, block)[0]
    out = op(x)
    for index in (0, 100, 255, 256, 258, 259):
        np.testing.assert_array_equal(out[index], y)
    op.backward(x, x, out=out)
    for index in (0, 100, 255, 256, 258, 259):
        np.testing.assert_array_equal(out[index], dx)
    # One axis as long as that.
    flat, out = x.reshape(-1), out.reshape(-1)
    op = LocalResponseNorm(3, alpha=2.0, axis=0)
    op(flat, out=out)
    for start in (0, 2**31 - 500, flat.size - 1000):
        low, high = max(start - 1, 0), min(start + 1001, flat.size)
        np.testing.assert_array_equal(out[start : start + 1000], op(flat[low:high])[start - low :][:1000])
