"""Loads and stores of the half types: every bit pattern, every rounding, in machine code and in the plain twins."""

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
