"""What the tests share: dtypes, arrays in every memory order, the unit of the error, asserts that say where."""

import doctest
import os
import pkgutil
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.algorithm.geometry import canonical
from numba_lrn.backends.cpu.plan import make_plan
from numba_lrn.backends.cpu.worker import Layout

DTYPES = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
HALF_TYPES = ("float16", "bfloat16")


def optional(name):
    """A module that may be absent: its tests skip, or fail under NUMBA_LRN_CI=1, which promises it."""
    if os.environ.get("NUMBA_LRN_CI") != "1":
        return pytest.importorskip(name, reason=f"{name} is not installed")
    try:
        return __import__(name)
    except ImportError as error:
        return pytest.fail(f"{name} must be installed where NUMBA_LRN_CI=1: {error}", pytrace=False)


def unsupported(dtype):
    """How an array x of a dtype that cannot be computed is refused, on every device."""
    complex_hint, hint = "take x.real, x.imag or abs(x)", "convert it first, for example with x.astype('float32')"
    known = "supported are float16, bfloat16 (ml_dtypes), float32 and float64"
    return f"x has dtype {np.dtype(dtype)}; {known}: {complex_hint if np.dtype(dtype).kind == 'c' else hint}"


# Plans of the CPU backend.


def plan_of(op, recipe, shape, dtype="float32", threads=2, in_place=False):
    """The plan for an array in the usual memory order, which need not exist."""
    dimensions = canonical(shape, tuple(range(len(shape))), op.windows(len(shape)))
    return make_plan(dimensions, recipe, op, np.dtype(dtype), threads, in_place)


def layout_of(plan):
    """What a plan tells its kernel, by names."""
    return Layout(*map(int, plan.layout[: len(Layout._fields)]))


# Examples in docstrings.


def modules_below(package):
    """The names of a package and of every module in it, except those that run something when imported."""
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.", onerror=lambda _: None)
    names = [package.__name__, *(module.name for module in found)]
    return sorted(name for name in names if not name.endswith("__main__"))


def run_examples(module, request):
    """The module says what it is for, and its examples print what they say."""
    assert module.__doc__
    fixtures = {"getfixture": request.getfixturevalue}
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE, extraglobs=fixtures)
    assert results.failed == 0


# The unit of the error.


class Format(NamedTuple):
    """A binary floating-point format: bits after the point, smallest exponent, largest number."""

    fraction: int
    smallest: int
    largest: float


FORMATS = {
    "float16": Format(10, -14, 65504.0),
    "bfloat16": Format(7, -126, float(ml_dtypes.finfo(ml_dtypes.bfloat16).max)),
    "float32": Format(23, -126, float(np.finfo(np.float32).max)),
    "float64": Format(52, -1022, float(np.finfo(np.float64).max)),
}


def computing_type(dtype):
    """The type that arrays of ``dtype`` are computed in."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def spacing(values, dtype):
    """The distance between the neighbours of ``dtype`` around each value, which keeps its wider type.

    Below the smallest normal number the distance no longer shrinks; a spacing taken from the exponent alone would
    call a correctly rounded subnormal half wrong by more than half a unit.
    """
    form = FORMATS[np.dtype(dtype).name]
    _, exponent = np.frexp(np.abs(values))
    exponent = np.where(values == 0, form.smallest, exponent - 1)
    return np.ldexp(np.ones_like(values), np.maximum(exponent, form.smallest) - form.fraction)


def ulp_error(got, reference, magnitude, dtype):
    """|got − reference| in spacings of ``magnitude``, which is the reference itself where no terms cancel."""
    return np.abs(got.astype(reference.dtype) - reference) / spacing(magnitude, dtype)


# Arrays.

ORDERS = ("C", "F", "channels last", "gaps", "negative step", "offset")


def in_order(array, order):
    """The same values, laid out in memory in another way."""
    if order == "C":
        return np.ascontiguousarray(array)
    if order == "F":
        return np.asfortranarray(array)
    if order == "channels last":
        axis = min(1, array.ndim - 1)
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, axis, -1)), -1, axis)
    if order == "gaps":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if order == "negative step":
        return np.ascontiguousarray(array[::-1])[::-1]
    if order == "offset":
        return shifted(array, 3)
    raise ValueError(order)


def shifted(array, elements):
    """A C-contiguous copy that starts ``elements`` after the start of its buffer."""
    buffer = np.zeros(array.size + elements, array.dtype)
    view = buffer[elements:].reshape(array.shape)
    view[...] = array
    return view


def random_array(seed, shape, dtype="float32", magnitude=1.0):
    """Normal numbers of both signs, reproducible."""
    return (np.random.default_rng(seed).standard_normal(shape) * magnitude).astype(DTYPES[dtype])


class Case(NamedTuple):
    """An array geometry and a window that together select one form of the window sum."""

    form: str
    shape: tuple
    axis: int | tuple
    before: int | tuple
    after: int | tuple
    beta: float = 0.75

    def operator(self, scale=1.0, beta=None, k=1.0):
        """The operator of this window; a scale of order one, since a small one hides a wrong window."""
        beta = self.beta if beta is None else beta
        return LocalResponseNorm.from_window(self.axis, self.before, self.after, scale, beta, k)


# Every form, each with a window that is not symmetric: symmetric ones hide a forgotten transposition.
FORMS = {
    "direct across rows": Case("direct", (2, 9, 5, 8), 1, 2, 1),
    "direct along a long axis": Case("direct", (2, 4099), 1, 1, 3),
    "masked, contiguous axis": Case("masked", (7, 13), 1, 2, 1),
    "masked, many pairs": Case("masked", (5, 37), 1, 11, 12),
    "masked, many on one side": Case("masked", (5, 37), 1, 19, 4),
    "masked, short rows": Case("masked", (5, 6, 3, 4), 1, 1, 4),
    "prefix": Case("prefix", (2, 70, 40), 1, 12, 7),
    "prefix, window beyond the axis": Case("prefix", (3, 24, 36), 1, 40, 17),
    "scanned": Case("scanned", (3, 61), 1, 11, 14),
    "turned, short rows": Case("turned", (2, 40, 3), 1, 27, 14),
    # Of most exponents some processors take two stages down columns, of those above one in pairs of rows.
    "fused across rows": Case("direct", (2, 40, 5, 13), 1, 2, 2, 1.25),
    "fused across rows that are cut": Case("direct", (2, 13, 7, 111), 1, 2, 2, 1.25),
    "fused down columns": Case("direct", (2, 13, 7, 111), 1, 2, 2),
    "fused, contiguous axis": Case("masked", (7, 13), 1, 2, 2),
    "box by masks": Case("box", (3, 2, 6, 7), (2, 3), (1, 2), (2, 0)),
    "box by rows": Case("box", (2, 6, 9, 17), (1, 2), (2, 1), (1, 0)),
    "box by prefixes": Case("box", (2, 17, 18, 33), (1, 2), (16, 11), (9, 14)),
    "box by scans": Case("box", (2, 2, 50, 181), (2, 3), (14, 9), (11, 16)),
    "box of short rows, turned": Case("box", (2, 41, 40, 6), (1, 2), (16, 11), (9, 14)),
    "interleaved": Case("interleaved", (3, 7, 17, 13), (2, 3), (8, 7), (6, 9)),
    "interleaved, one axis direct": Case("interleaved", (2, 2, 9, 31), (2, 3), (2, 9), (1, 16)),
    "interleaved, short rows": Case("interleaved", (5, 9, 13, 3), (1, 2), (6, 9), (7, 8)),
    "interleaved, axes apart": Case("interleaved", (3, 8, 3, 11), (1, 3), (7, 10), (6, 9)),
    "boxes, several a tile": Case("box", (37, 5, 7), (1, 2), (2, 1), (2, 3)),
    "box of many rows": Case("box", (2, 70, 9, 11), (1, 2), (2, 1), (1, 0)),
    "fused box": Case("box", (2, 70, 9, 11), (1, 2), (2, 2), (2, 2)),
    "box of many rows, by prefixes": Case("box", (2, 70, 18, 25), (1, 2), (16, 11), (9, 14)),
    "box, axes apart": Case("box", (2, 5, 3, 6), (1, 3), (2, 0), (1, 3)),
    "box of three axes": Case("box", (4, 5, 2, 6), (0, 1, 3), (1, 0, 2), (0, 3, 1)),
}


# Asserts.


def describe(index, got, expected, op, shape):
    """Where, what, and by which operator."""
    index = tuple(int(i) for i in index)
    return f"at {index} of {shape}: got {got[index]!r}, expected {expected[index]!r}, by {op}"


def first(mask):
    """The first index where ``mask`` holds."""
    return np.unravel_index(int(np.argmax(mask)), mask.shape)


def assert_same_bits(got, expected, op=None):
    """Equal to the last bit, signed zeros and NaN included."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    integer = f"u{got.dtype.itemsize}"
    differ = np.ascontiguousarray(got).view(integer) != np.ascontiguousarray(expected).view(integer)
    if differ.any():
        count = np.count_nonzero(differ)
        pytest.fail(f"{count} elements differ, the first {describe(first(differ), got, expected, op, got.shape)}")


def assert_same_places(op, recipe, got, x, g=None):
    """NaN where the reference has NaN, and Inf where it has Inf."""
    truth = reference.forward(op, x) if g is None else getattr(reference, recipe)(op, g, x)
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(truth), str(op))
    np.testing.assert_array_equal(np.isnan(got), np.isnan(truth), str(op))


def assert_below(error, limit, got, expected, op):
    """Every error finite and at most ``limit``."""
    beyond = ~(error <= limit)
    if beyond.any():
        index = first(beyond)
        where = describe(index, got, expected, op, got.shape)
        largest = np.nanmax(error)
        pytest.fail(f"error {float(error[index]):.4g} where {limit:.4g} is allowed, {where}; largest {largest:.4g}")


# The bounds of the library, forward and backward, in ulp; for half types see table_error.
def limit_of(dtype, beta, recipe):
    """The promised bound for |β| ≤ 2."""
    assert abs(beta) <= 2
    if dtype.name in HALF_TYPES:
        return 0.51 if recipe == "forward" else 8.0
    if dtype == np.float64:
        return 8.0 if recipe == "forward" else 16.0
    if abs(beta) <= 1:
        return 4.0 if recipe == "forward" else 8.0
    return 8.0 if recipe == "forward" else 12.0


def table_error(op, recipe, got, x, g=None):
    """(error, reference): the error of each element in the unit that its bound is given in.

    Half types forward: spacings of the half type. Half types backward: what exceeds 0.51 spacings of the half
    result, in float32 spacings of the sum of the absolute terms.
    """
    if recipe == "forward":
        truth = reference.forward(op, x)
        return ulp_error(got, truth, truth, got.dtype), truth
    truth = reference.backward(op, g, x)
    magnitude = reference.backward_magnitude(op, g, x)
    if got.dtype.name not in HALF_TYPES:
        return ulp_error(got, truth, magnitude, got.dtype), truth
    distance = np.abs(got.astype(truth.dtype) - truth) - 0.51 * spacing(truth, got.dtype)
    return np.maximum(distance, 0) / spacing(magnitude, np.float32), truth


def bounded(op, recipe, x, g=None):
    """Where the bounds are promised: everything on the way, in the computing type, is a normal number.

    For backward the promise needs that of every neighbour whose residual enters, and g·d^(−β−1) normal too.
    """
    real = np.finfo(computing_type(x.dtype))
    largest = real.max / 2
    windows = op.windows(x.ndim)
    wide = reference.widen(x)
    total = reference.window_sum(wide * wide, windows)
    d = op.k + op.scale * total
    good = total <= largest
    if op.k < real.tiny / real.eps:  # otherwise a square that vanishes vanishes beside k
        good &= (wide == 0) | (wide * wide >= real.tiny)
    powers = [d, d**op.beta, d**-op.beta, d ** (-op.beta - 1)]
    if recipe == "backward":
        product = np.abs(reference.widen(g)) * powers[-1]
        powers.append(np.where(product == 0, 1, product))
    for power in powers:
        good &= (power >= real.tiny) & (power <= largest)
    if recipe == "backward":
        good &= reference.window_sum((~good).astype(float), windows, transposed=True) == 0
    return good


def assert_accurate(op, recipe, got, x, g=None, limit=None):
    """Within the promised bound wherever it is promised; returns the largest error there."""
    error, truth = table_error(op, recipe, got, x, g)
    promised = bounded(op, recipe, x, g) & (np.abs(truth) <= FORMATS[got.dtype.name].largest)
    error = np.where(promised, error, 0)
    assert_below(error, limit_of(got.dtype, op.beta, recipe) if limit is None else limit, got, truth, op)
    return float(error.max(initial=0))
