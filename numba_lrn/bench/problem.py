"""One problem: a case in one layout and dtype, its arrays, its call, its reference and its error in ulp."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_lrn import reference
from numba_lrn.bench.cases import Case
from numba_lrn.operator import LocalResponseNorm

# Elements compared with the reference; a longer batch repeats these, and the repeats are compared bit by bit.
CHECKED = 2**20
HALF_TYPES = ("float16", "bfloat16")
HALF_BOUND = 0.51  # rounded once from float32: half an ulp and a little
# arrays read and written by a call
STREAMS = {"forward": 2, "backward": 3, "jvp": 3, "parameters": 3, "double_backward": 5}


class Problem:
    """A case in one layout and dtype.

    The batch repeats its first ``period`` items, so that the whole result is checked though only those are computed
    by the slow reference: the library gives the same bits to the same numbers wherever they stand.
    """

    def __init__(self, case: Case, layout: str, dtype: str, seed: int = 0):
        self.case, self.layout, self.dtype = case, layout, dtype
        self.shape = case.array_shape(layout)
        self.op = LocalResponseNorm(case.size, case.alpha, case.beta, case.k, axis=case.axis(layout))
        item = math.prod(self.shape[1:])
        self.period = min(self.shape[0], max(1, CHECKED // item))
        self._seed = seed

    @functools.cached_property
    def inputs(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """(x, grad_output): normal numbers of both signs."""
        return self._array(0), self._array(1)

    @functools.cached_property
    def tangent(self) -> NDArray[Any]:
        """The tangent of x (jvp), the cotangent of dx (double_backward)."""
        return self._array(2)

    def _array(self, index: int) -> NDArray[Any]:
        generator = np.random.default_rng((self._seed, index))
        repeats = -(-self.shape[0] // self.period)
        items = generator.standard_normal((self.period, *self.shape[1:]), dtype=np.float32)
        array = items.astype(numpy_dtype(self.dtype))
        return np.concatenate([array] * repeats)[: self.shape[0]] if repeats > 1 else array

    def second(self, direction: str) -> Any:
        """What a direction takes besides x: nothing, an array, or two."""
        if direction == "forward":
            return None
        if direction == "jvp":
            return self.tangent
        return (self.inputs[1], self.tangent) if direction == "double_backward" else self.inputs[1]

    @property
    def nbytes(self) -> int:
        """Bytes of one array."""
        return math.prod(self.shape) * numpy_dtype(self.dtype).itemsize

    def moved(self, direction: str) -> int:
        """Bytes that a call must read and write: every array once."""
        return STREAMS[direction] * self.nbytes

    def call(self, direction: str) -> Callable[..., Any]:
        """The call to time: ``call(x, second, out)``; with several results it allocates them."""
        calls: dict[str, Callable[..., Any]] = {
            "forward": lambda x, second, out: self.op(x, out),
            "backward": lambda x, second, out: self.op.backward(second, x, out),
            "jvp": lambda x, second, out: self.op.jvp(x, second, out),
            "parameters": lambda x, second, out: self.op.backward_all(second, x),
            "double_backward": lambda x, second, out: self.op.double_backward(second[0], x, second[1]),
        }
        return calls[direction]

    @functools.cache  # noqa: B019  a problem lives as long as its rows
    def truths(self, direction: str) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """(value, ulp) of each result: of the first ``period`` items, or of a gradient of a parameter.

        The ulp of a derivative is the spacing at the sum of its absolute terms, since they cancel. A derivative in a
        half type is rounded once more: half an ulp of the value itself, besides 8 float32 ulp of that sum.
        """
        op, (x, g), u = self.op, (array[: self.period] for array in self.inputs), self.tangent[: self.period]
        if direction == "forward":
            value = reference.forward(op, x)
            return [(value, spacing(value, self.dtype))]
        if direction == "jvp":
            return [self._unit(reference.jvp(op, x, u), reference.jvp_magnitude(op, x, u))]
        if direction == "double_backward":
            both = reference.double_backward(op, g, x, u)
            return list(map(self._unit, both, reference.double_backward_magnitude(op, g, x, u)))
        found = [self._unit(reference.backward(op, g, x), reference.backward_magnitude(op, g, x))]
        if direction == "parameters":
            values = self._over_the_batch(reference.backward_parameters)
            magnitudes = self._over_the_batch(reference.backward_parameters_magnitude)
            wide = "float64" if self.dtype == "float64" else "float32"
            share = 8 / HALF_BOUND if self.dtype in HALF_TYPES else 1.0
            found += [
                (value, share * spacing(magnitude, wide)) for value, magnitude in zip(values, magnitudes, strict=True)
            ]
        return found

    def _unit(self, value: NDArray[Any], magnitude: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        if self.dtype in HALF_TYPES:
            return value, spacing(value, self.dtype) + 8 / HALF_BOUND * spacing(magnitude, "float32")
        return value, spacing(magnitude, self.dtype)

    def _over_the_batch(self, function: Callable[..., tuple[Any, ...]]) -> list[NDArray[Any]]:
        """The sums over all items, of which those beyond ``period`` repeat the first."""
        whole, rest = divmod(self.shape[0], self.period)
        x, g = self.inputs
        sums = [whole * np.array(function(self.op, g[: self.period], x[: self.period]))]
        if rest:
            sums.append(np.array(function(self.op, g[:rest], x[:rest])))
        return [np.asarray(total).reshape(1) for total in sum(sums[1:], start=sums[0])]

    def error(self, direction: str, result: Any, *, repeats: bool = True) -> float:
        """The largest error of ``result`` in ulp; infinite where a repeat differs from the item that it repeats."""
        results = [np.atleast_1d(part) for part in (result if isinstance(result, tuple) else (result,))]
        largest = 0.0
        for part, (value, unit) in zip(results, self.truths(direction), strict=True):
            items = part.shape == self.shape
            if items and repeats and not self._repeats_alike(part):
                return math.inf
            largest = max(largest, largest_error(part[: self.period] if items else part, value, unit))
        return largest

    def _repeats_alike(self, result: NDArray[Any]) -> bool:
        bits = np.ascontiguousarray(result).view(np.dtype(f"u{result.itemsize}"))
        return all(np.array_equal(part, bits[: len(part)]) for part in _parts(bits, self.period))

    def bound(self, direction: str) -> float:
        """The ulp that the library promises for this problem."""
        return bound_of(self.dtype, self.case.beta, direction)


def _parts(array: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    for start in range(size, len(array), size):
        yield array[start : start + size]


def numpy_dtype(name: str) -> "np.dtype[Any]":
    """The NumPy dtype of a name; bfloat16 by ml_dtypes.

    Raises
    ------
    ImportError
        For bfloat16 without ml_dtypes, with the extra to install.
    """
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            msg = "bfloat16 needs ml_dtypes: pip install 'numba-lrn[bench]'"
            raise ImportError(msg, name="ml_dtypes") from None
        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    return np.dtype(name)


# dtype -> (bits of the significand, smallest exponent of a normal number)
_FORMATS = {"float16": (11, -14), "bfloat16": (8, -126), "float32": (24, -126), "float64": (53, -1022)}


def spacing(magnitude: NDArray[Any], dtype: str) -> NDArray[Any]:
    """The distance between neighbouring numbers of ``dtype`` at ``magnitude``.

    >>> spacing(np.array([1.0, 1.9, 2.0]), "float16") * 1024
    array([1., 1., 2.])
    """
    bits, smallest = _FORMATS[dtype]
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, smallest)
    distance: NDArray[Any] = np.ldexp(np.ones_like(magnitude), exponent - (bits - 1))
    return distance


def largest_error(result: NDArray[Any], value: NDArray[Any], unit: NDArray[Any]) -> float:
    """The largest |result − value| / unit; infinite for a NaN where none belongs.

    >>> largest_error(np.array([1.0, 2.5]), np.array([1.0, 2.0]), np.array([1.0, 0.25]))
    2.0
    """
    wide = np.asarray(result).astype(value.dtype)
    with np.errstate(all="ignore"):
        error = np.abs(wide - value) / unit
    error[np.isnan(wide) & np.isnan(value) | (wide == value)] = 0.0
    error[np.isnan(error)] = math.inf
    return float(error.max(initial=0.0))


def bound_of(dtype: str, beta: float, direction: str) -> float:
    """The largest error in ulp that the library promises.

    Beyond |β| = 2 (1 for float64) nothing is promised, and 16 ulp for each unit of β tell a wrong result from a
    right one.
    """
    derivative = direction != "forward"
    if dtype in HALF_TYPES:
        return HALF_BOUND
    if dtype == "float64":
        return (16.0 if derivative else 8.0) if abs(beta) <= 1 else 16 * abs(beta)
    if abs(beta) <= 1:
        return 8.0 if derivative else 4.0
    if abs(beta) <= 2:
        return 12.0 if derivative else 8.0
    return 16 * abs(beta)
