"""Loads and stores of the half types: every bit pattern, every rounding, in machine code and in the plain twins."""

import math

import ml_dtypes
import numba
import numpy as np
import pytest

from numba_lrn.algorithm import primitives as plain
from numba_lrn.backends.cpu import primitives as compiled
from numba_lrn.backends.cpu.compiler import OPTIONS

CARRIERS = {"float16": (np.float16, np.uint16), "bfloat16": (ml_dtypes.bfloat16, np.int16)}
HALF_TYPES = pytest.mark.parametrize("name", CARRIERS)
PATTERNS = np.arange(65536, dtype=np.uint16)

_load, _store = compiled.load, compiled.store


@numba.njit(**OPTIONS)
def load_all(bits, values):
    for i in range(bits.size):
        values[i] = _load(bits, i)


@numba.njit(**OPTIONS)
def store_all(values, bits):
    for i in range(bits.size):
        _store(bits, i, values[i])


def plain_load_all(bits, values):
    for i in range(bits.size):
        values[i] = plain.load(bits, i)


def plain_store_all(values, bits):
    for i in range(bits.size):
        plain.store(bits, i, values[i])


LOADS = pytest.mark.parametrize("load", [load_all, plain_load_all], ids=["compiled", "plain"])
STORES = pytest.mark.parametrize("store", [store_all, plain_store_all], ids=["compiled", "plain"])


def stored(store, values, carrier):
    bits = np.empty(values.size, carrier)
    with np.errstate(over="ignore", invalid="ignore"):
        store(values, bits)
    return bits


def roundings(half):
    """float32 numbers around every decision: each half number, the midpoints between neighbours, one step aside."""
    finite = PATTERNS.view(half).astype(np.float32)
    finite = np.unique(finite[np.isfinite(finite)]).astype(np.float64)
    middle = ((finite[1:] + finite[:-1]) / 2).astype(np.float32)
    beyond = np.float32(finite[-1] + (finite[-1] - finite[-2]) / 2)  # from here on Inf is nearer
    exact = finite.astype(np.float32)
    ends = np.array([beyond, -beyond, np.inf, -np.inf, 0.0, -0.0, 3.4e38, -3.4e38, 1e-45, -1e-45], np.float32)
    points = np.concatenate([exact, middle, ends])
    up, down = np.nextafter(points, np.float32(np.inf)), np.nextafter(points, np.float32(-np.inf))
    anything = np.random.default_rng(3).integers(0, 2**32, 40000, dtype=np.uint32).view(np.float32)
    return np.concatenate([points, up, down, anything])


@HALF_TYPES
@LOADS
def test_load_of_every_pattern(name, load):
    half, carrier = CARRIERS[name]
    values = np.empty(PATTERNS.size, np.float32)
    load(PATTERNS.view(carrier), values)
    expected = PATTERNS.view(half).astype(np.float32)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(values), ~number)
    np.testing.assert_array_equal(values[number].view(np.uint32), expected[number].view(np.uint32))


@HALF_TYPES
@STORES
def test_every_pattern_comes_back(name, store):
    half, carrier = CARRIERS[name]
    values = PATTERNS.view(half).astype(np.float32)
    bits = stored(store, values, carrier).view(np.uint16)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(bits[number], PATTERNS[number])
    assert np.isnan(bits[~number].view(half).astype(np.float32)).all()


@HALF_TYPES
@STORES
def test_store_rounds_to_nearest_even(name, store):
    half, carrier = CARRIERS[name]
    values = roundings(half)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(half)
    bits = stored(store, values, carrier).view(np.uint16)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(bits[number], expected[number].view(np.uint16))
    assert np.isnan(bits[~number].view(half).astype(np.float32)).all()


@HALF_TYPES
@STORES
def test_nan_is_kept_whatever_its_payload(name, store):
    """The payload's only bit may lie among those that are cut; adding the rounding to it may carry into the sign."""
    half, carrier = CARRIERS[name]
    payloads = np.array([1, 2**12, 2**15, 2**16, 2**21, 2**22, 2**23 - 1], np.uint32)
    nan = np.concatenate([payloads | 0x7F800000, payloads | 0xFF800000]).astype(np.uint32).view(np.float32)
    bits = stored(store, nan, carrier)
    assert np.isnan(bits.view(half).astype(np.float32)).all()


def test_the_two_halves_of_a_real_are_its_bits():
    for value in (0.0, -0.0, 1.5, -3.25e-39, np.inf):
        bits = plain.bits_of(np.float32(value))
        assert bits.dtype == np.int32
        assert plain.real_of(bits).view(np.int32) == np.float32(value).view(np.int32)


_bits_of, _real_of, _fma = compiled.bits_of, compiled.real_of, compiled.fma


@numba.njit(**OPTIONS)
def through_bits(values, bits, back):
    for i in range(values.size):
        bits[i] = _bits_of(values[i])
        back[i] = _real_of(bits[i])


@numba.njit(**OPTIONS)
def fused(a, b, c):
    return _fma(a, b, c)


@pytest.mark.parametrize(("real", "integer"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_compiled_bits_are_the_plain_ones(real, integer, monkeypatch):
    monkeypatch.setattr(plain, "real", real)
    values = np.random.default_rng(4).standard_normal(100).astype(real)
    bits, back = np.empty(values.size, integer), np.empty_like(values)
    through_bits(values, bits, back)
    np.testing.assert_array_equal(bits, [plain.bits_of(value) for value in values])
    np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_fma_rounds_once(real):
    """(1 + ε)² − (1 + 2ε) = ε², which a rounded product loses."""
    eps = np.finfo(real).eps
    a, c = real(1 + eps), real(-(1 + 2 * eps))
    assert fused(a, a, c) == real(eps) ** 2
    assert a * a + c == 0


# Vectors as values.

_load_lanes, _store_lanes, _lanes_of = compiled.load_lanes, compiled.store_lanes, compiled.lanes_of
_higher_bits, _any_extreme = compiled.higher_bits, compiled.any_extreme
ARRAYS = {"float16": np.uint16, "bfloat16": np.int16, "float32": np.float32, "float64": np.float64}
EVERY_ARRAY = pytest.mark.parametrize("name", ARRAYS)


def lanes_of_dtype(name):
    return 8 if name == "float64" else 16


def carried(name, values):
    """An array as kernels are given it, of numbers that its dtype holds."""
    dtype = np.dtype(CARRIERS[name][0] if name in CARRIERS else name)
    return values.astype(dtype).view(ARRAYS[name])


@numba.njit(**OPTIONS)
def copy_lanes(source, first, target, place):
    _store_lanes(target, place, _load_lanes(source, first))


@EVERY_ARRAY
@pytest.mark.parametrize("copy", [copy_lanes, None], ids=["compiled", "plain"])
def test_a_vector_is_loaded_and_stored_anywhere(name, copy, monkeypatch):
    monkeypatch.setattr(plain, "real", np.float64 if name == "float64" else np.float32)
    lanes = lanes_of_dtype(name)
    source = carried(name, np.random.default_rng(5).standard_normal(40))
    for first, place in ((0, 3), (7, 0), (40 - lanes, 11)):
        target = np.zeros_like(source)
        if copy is None:
            plain.store_lanes(target, place, plain.load_lanes(source, first))
        else:
            copy(source, first, target, place)
        expected = np.zeros_like(source)
        expected[place : place + lanes] = source[first : first + lanes]
        np.testing.assert_array_equal(target, expected)


@HALF_TYPES
def test_vectors_of_half_types_are_rounded_as_elements_are(name):
    half, carrier = CARRIERS[name]
    values = roundings(half)
    values = values[: values.size // 16 * 16]
    bits = np.empty(values.size, carrier)
    store_vectors(values, bits)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(bits[number], stored(store_all, values, carrier)[number])
    assert np.isnan(bits[~number].view(half).astype(np.float32)).all()
    back = np.empty_like(values)
    store_vectors(bits, back)
    np.testing.assert_array_equal(back[number], bits[number].view(half).astype(np.float32))


@numba.njit(**OPTIONS)
def store_vectors(source, target):
    for first in range(0, source.size, 16):
        _store_lanes(target, first, _load_lanes(source, first))


@numba.njit(**OPTIONS)
def arithmetic(a, b, number, out):
    x, y = _load_lanes(a, 0), _load_lanes(b, 0)
    lanes = a.size
    for index, value in enumerate((x + y, x - y, x * y, x / y, number + x, x - number, number * x, number / x)):
        _store_lanes(out, index * lanes, value)
    roots = math.sqrt(y), _fma(x, y, number), _fma(number, x, y), _fma(number, number, x), _lanes_of(number)
    for index, value in enumerate(roots):
        _store_lanes(out, (8 + index) * lanes, value)


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_arithmetic_of_vectors_and_numbers(real):
    lanes = 64 // real().itemsize
    a, b = np.random.default_rng(6).standard_normal((2, lanes)).astype(real)
    b, number = abs(b), real(1.7)
    out = np.empty(13 * lanes, real)
    arithmetic(a, b, number, out)
    expected = [a + b, a - b, a * b, a / b, number + a, a - number, number * a, number / a, np.sqrt(b)]
    expected += [
        [fused(*terms) for terms in zip(*np.broadcast_arrays(*args), strict=True)]
        for args in ((a, b, number), (number, a, b), (number, number, a))
    ]
    np.testing.assert_array_equal(out.reshape(13, lanes), [*expected, np.full(lanes, number)])


def bits_as_integers(real):
    """A function of vectors by the casts of one type of reals, and of their bits."""
    as_real = compiled.CASTS[numba.from_dtype(np.dtype(real))]
    as_integer = compiled.CASTS[compiled.INTEGERS[numba.from_dtype(np.dtype(real))]]

    @numba.njit(**OPTIONS)
    def run(a, three, out):
        x = _load_lanes(a, 0)
        bits = _bits_of(x)
        lanes = a.size
        _store_lanes(out, 0, as_real(as_integer(bits - three) >> as_integer(2)))
        _store_lanes(out, lanes, _real_of(as_integer((bits << as_integer(1)) + three)))
        _store_lanes(out, 2 * lanes, -x)
        _store_lanes(out, 3 * lanes, as_real(as_integer(x * as_real(7.0))))

    return run


@pytest.mark.parametrize(("real", "integer"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_integers_of_vectors(real, integer):
    lanes = 64 // real().itemsize
    a = np.random.default_rng(8).standard_normal(lanes).astype(real)
    out = np.empty(4 * lanes, real)
    bits_as_integers(real)(a, integer(3), out)
    bits = a.view(integer)
    expected = (bits - 3) >> 2, ((bits << 1) + 3).view(real), -a, (a * real(7.0)).astype(integer)
    np.testing.assert_array_equal(out.reshape(4, lanes), [each.astype(real) for each in expected])


@numba.njit(**OPTIONS)
def highest_lanes(a, b, out):
    highest = _higher_bits(_load_lanes(a, 0), _load_lanes(b, 0))
    _store_lanes(out, 0, highest)
    return _any_extreme(highest)


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_the_higher_bits_of_vectors(real, monkeypatch):
    monkeypatch.setattr(plain, "real", real)
    lanes = 64 // real().itemsize
    a, b = np.random.default_rng(7).uniform(0, 10, (2, lanes)).astype(real)
    cases = [(a, b, False)]
    for lane, value in ((0, np.nan), (lanes - 1, np.inf), (3, -np.nan), (5, -1.0)):
        changed = a.copy()
        changed[lane] = value
        cases += [(changed, b, True), (b, changed, True)]
    for first, second, extreme in cases:
        out = np.empty(lanes, real)
        assert highest_lanes(first, second, out) == extreme
        assert plain.any_extreme(plain.higher_bits(first, second)) == extreme
        np.testing.assert_array_equal(out, plain.higher_bits(first, second))
        finite = (first >= 0) & (second >= 0) & np.isfinite(first + second)
        np.testing.assert_array_equal(out[finite], np.maximum(first, second)[finite])
