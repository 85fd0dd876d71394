"""From arrays to launches and back: memory order, copies, in place, overlap, streams, devices, lifetimes."""

import itertools

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import launch
from tests.cuda import toy
from tests.cuda.hardware import Foreign, Hardware, Memory
from tests.support import DTYPES, ORDERS, in_order

OP = LocalResponseNorm(3)
COPYING = LocalResponseNorm(3, beta=0.0)
SHAPE = (2, 3, 4)


@pytest.fixture(params=[toy.direct, toy.staged], ids=["direct", "staged"])
def _kernels(request, monkeypatch):
    toy.install(monkeypatch, launch, request.param)
    yield
    launch._route.cache_clear()


usefixtures = pytest.mark.usefixtures("_kernels")


def numbers(seed, shape, dtype="float32"):
    """Small integers, which the stand-ins for the kernels add without rounding."""
    return np.random.default_rng(seed).integers(-50, 50, shape).astype(DTYPES[dtype])


def memory_order(array):
    return tuple(sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]), axis)))


@usefixtures
@pytest.mark.parametrize("order", ORDERS)
def test_forward_of_every_memory_order(device, order):
    x = in_order(numbers(0, SHAPE), order)
    expected = toy.expected(x, x, memory_order(x))
    out = device.empty(SHAPE, "f4")
    assert OP(device.put(x), out) is out
    np.testing.assert_array_equal(device.get(out), expected)
    if device.results:
        y = device.get(OP(device.put(x)))
        np.testing.assert_array_equal(y, expected)
        assert memory_order(y) == memory_order(x)


@usefixtures
@pytest.mark.parametrize(("order", "gradient", "result"), list(itertools.product(ORDERS[::2], ORDERS, ("C", "gaps"))))
def test_backward_of_mixed_memory_orders(device, order, gradient, result):
    x, g = in_order(numbers(1, SHAPE), order), in_order(numbers(2, SHAPE), gradient)
    out = device.put(in_order(np.full(SHAPE, 7, np.float32), result))
    assert OP.backward(device.put(g), device.put(x), out) is out
    np.testing.assert_array_equal(device.get(out), toy.expected(x, g, memory_order(x)))


@usefixtures
@pytest.mark.parametrize("order", ["C", "channels last", "gaps"])
def test_in_place(device, order):
    x, g = in_order(numbers(3, SHAPE), order), in_order(numbers(4, SHAPE), order)
    for target in range(2):
        arrays = [device.put(x), device.put(g)]
        result = OP.backward(arrays[1], arrays[0], arrays[target])
        assert result is arrays[target]
        np.testing.assert_array_equal(device.get(result), toy.expected(x, g, memory_order(x)))
    array = device.put(x)
    assert OP(array, array) is array
    np.testing.assert_array_equal(device.get(array), toy.expected(x, x, memory_order(x)))


@usefixtures
@pytest.mark.parametrize("distance", [-5, -1, 1, 3, 24])
@pytest.mark.parametrize("op", [OP, COPYING], ids=["computed", "copied"])
def test_out_that_overlaps_the_input(device, distance, op):
    base = numbers(5, 24 + abs(distance))
    first, second = max(-distance, 0), max(distance, 0)
    x, out = (base[start : start + 24].reshape(SHAPE) for start in (first, second))
    on_device, target = device.views(base, x, out)
    op(on_device, target)
    expected = x if op is COPYING else toy.expected(x, x, (0, 1, 2))
    np.testing.assert_array_equal(device.get(target), expected)


@usefixtures
@pytest.mark.parametrize("op", [OP, COPYING], ids=["computed", "copied"])
def test_out_that_is_the_input_reversed_or_transposed(device, op):
    base = numbers(6, 36)
    x = base.reshape(6, 6)
    for out in (x[::-1], x.T, x[:, ::-1].T):
        on_device, target = device.views(base, x, out)
        op(on_device, target)
        np.testing.assert_array_equal(device.get(target), x if op is COPYING else toy.expected(x, x, (0, 1)))


@usefixtures
def test_out_between_the_elements_of_the_input(device):
    base = numbers(7, 48)
    on_device, target = device.views(base, base[::2], base[1::2])
    LocalResponseNorm(3, axis=0)(on_device, target)
    np.testing.assert_array_equal(device.get(target), toy.expected(base[::2], base[::2], (0,)))


@usefixtures
def test_gradient_in_the_middle_of_out(device):
    base = numbers(8, 30)
    x = numbers(9, SHAPE)
    g, out = base[:24].reshape(SHAPE), base[6:].reshape(SHAPE)
    gradient, target = device.views(base, g, out)
    OP.backward(gradient, device.put(x), target)
    np.testing.assert_array_equal(device.get(target), toy.expected(x, g, (0, 1, 2)))


@pytest.mark.parametrize("order", ORDERS)
def test_beta_zero_copies(device, order):
    x, g = in_order(numbers(10, SHAPE), order), numbers(11, SHAPE)
    x[0, 0, 0] = np.nan
    out = device.empty(SHAPE, "f4")
    np.testing.assert_array_equal(device.get(COPYING(device.put(x), out)), x)
    np.testing.assert_array_equal(device.get(COPYING.backward(device.put(g), device.put(x), out)), g)


@pytest.mark.parametrize("lies", ["x", "grad_output", "out"])
def test_empty_arrays_of_which_one_lies_within_another(device, lies):
    whole = Memory(numbers(0, SHAPE))

    def empty(name):
        return Foreign((2, 0, 4), (48, 16, 4), "f4", whole.address if name == lies else 0, whole)

    out = empty("out")
    assert OP.backward(empty("grad_output"), empty("x"), out) is out


@usefixtures
@pytest.mark.parametrize("shape", [(0,), (2, 0, 4), (0, 3, 4)])
def test_arrays_of_no_elements_launch_nothing(device, shape, monkeypatch):
    monkeypatch.setattr(launch, "_launch", None)
    op = LocalResponseNorm(3, axis=0)
    x, out = device.put(np.empty(shape, np.float32)), device.put(np.empty(shape, np.float32))
    assert op(x, out) is out
    assert op.backward(x, x, out) is out
    if device.results:
        y = op(x)
        assert type(y) is type(x)
        assert tuple(y.shape) == shape
        assert y.dtype == np.float32


@usefixtures
def test_results_are_of_the_kind_of_the_input(device):
    x = device.put(numbers(12, SHAPE))
    if not device.results:
        pytest.skip("has no results")
    for result in (OP(x), OP.backward(x, x)):
        assert type(result) is type(x)
        assert result.dtype == np.float32
        assert tuple(result.shape) == SHAPE


@usefixtures
def test_arrays_of_several_kinds(cupy_device, numba_device):
    """All of one device, they may meet; x decides what a result is."""
    x, g = numbers(13, SHAPE), numbers(14, SHAPE)
    expected = toy.expected(x, g, (0, 1, 2))
    for a, b in itertools.permutations((cupy_device, numba_device)):
        on_device = a.put(x)
        result = OP.backward(b.put(g), on_device)
        assert type(result) is type(on_device)
        np.testing.assert_array_equal(a.get(result), expected)


def low_bits_of_the_plans(monkeypatch):
    seen = []
    make_plan = launch.make_plan

    def spy(dimensions, recipe, op, dtype, aligned, *others):
        seen.append(aligned)
        return make_plan(dimensions, recipe, op, dtype, aligned, *others)

    monkeypatch.setattr(launch, "make_plan", spy)
    return seen


@usefixtures
@pytest.mark.parametrize("elements", [0, 1, 2, 4])
@pytest.mark.parametrize("which", ["x", "grad_output", "out"])
def test_the_plan_is_told_when_an_array_is_not_aligned(device, elements, which, monkeypatch):
    seen = low_bits_of_the_plans(monkeypatch)
    arrays = {}
    values = {name: numbers(seed, SHAPE) for seed, name in enumerate(("x", "grad_output", "out"))}
    for name, value in values.items():
        base = np.zeros(32, np.float32)
        start = elements if name == which else 0
        view = base[start : start + 24].reshape(SHAPE)
        view[...] = value
        (arrays[name],) = device.views(base, view)
    OP.backward(**arrays)
    assert seen == [elements % 4 == 0]
    expected = toy.expected(values["x"], values["grad_output"], (0, 1, 2))
    np.testing.assert_array_equal(device.get(arrays["out"]), expected)


@usefixtures
@pytest.mark.parametrize("which", ["x", "grad_output", "out"])
def test_elements_that_lie_askew(device, which):
    """A field of packed records begins on any byte; such arrays are copied by bytes."""
    if device.kind == "cupy":
        pytest.skip("CuPy has no such arrays")
    values = {name: numbers(seed, SHAPE) for seed, name in enumerate(("x", "grad_output", "out"))}
    arrays = {}
    for name, value in values.items():
        base = np.zeros(24 * 5 + 1, np.uint8)
        view = np.ndarray(SHAPE, np.float32, base, 1, (60, 20, 5)) if name == which else value
        view[...] = value
        (arrays[name],) = device.views(base if name == which else value, view)
    OP.backward(**arrays)
    expected = toy.expected(values["x"], values["grad_output"], (0, 1, 2))
    np.testing.assert_array_equal(device.get(arrays["out"]), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_copies_of_other_dtypes(device, dtype):
    x = in_order(numbers(15, SHAPE, dtype), "gaps")
    out = device.empty(SHAPE, x.dtype)
    COPYING(device.put(x), out)
    assert device.get(out).tobytes() == np.ascontiguousarray(x).tobytes()


def test_broadcast_inputs(device):
    x = np.broadcast_to(np.arange(4, dtype=np.float32), SHAPE)
    out = device.empty(SHAPE, "f4")
    COPYING(device.put(x), out)
    np.testing.assert_array_equal(device.get(out), x)


def test_four_bytes_need_no_dtype():
    """Only two bytes could be one half type or the other."""
    values = numbers(16, SHAPE)
    memories = Memory(values), Memory(np.zeros_like(values))
    x, out = (Foreign(SHAPE, None, "f4", memory.address, memory) for memory in memories)
    del x.dtype
    COPYING(x, out)
    np.testing.assert_array_equal(Hardware("foreign").get(out), values)
