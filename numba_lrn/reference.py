"""The truth: the same operations in plain NumPy, slow and plain, written from the definition.

One window helper, direct sums, no differences of prefix sums. Parameters are used as given, everything is computed
in float64 (in longdouble for float64 and longdouble input) and returned in that type. Tests, ``numba_lrn check``
and the benchmark measure against it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_lrn.operator import LocalResponseNorm

Windows = dict[int, tuple[int, int]]


def widen(array: Any) -> NDArray:
    """float64 for float32 and the half types, longdouble for the rest."""
    narrow = array.dtype.itemsize <= 4
    return np.asarray(array).astype(np.float64 if narrow else np.longdouble)


def window_sum(values: NDArray, windows: Windows, *, transposed: bool = False) -> NDArray:
    """W(values): the sum over [i − before, i + after] along each axis, clipped at the borders; or Wᵀ.

    >>> window_sum(np.array([1.0, 2.0, 4.0]), {0: (1, 0)})
    array([1., 3., 6.])
    >>> window_sum(np.array([1.0, 2.0, 4.0]), {0: (1, 0)}, transposed=True)
    array([3., 6., 4.])
    """
    for axis, (before, after) in windows.items():
        if transposed:
            before, after = after, before
        rows = np.moveaxis(values, axis, 0)
        total = np.zeros_like(rows)
        for shift in range(-min(before, len(rows) - 1), min(after, len(rows) - 1) + 1):
            if shift < 0:
                total[-shift:] += rows[:shift]
            elif shift == 0:
                total += rows
            else:
                total[:-shift] += rows[shift:]
        values = np.moveaxis(total, 0, axis)
    return values


def _power(base: NDArray, exponent: Any) -> NDArray:
    """base ** exponent; a zero exponent gives 1 even for NaN."""
    with np.errstate(all="ignore"):
        return np.power(base, base.dtype.type(exponent))


def denominator(op: LocalResponseNorm, x: NDArray) -> NDArray:
    """d = k + scale·W(x²)."""
    wide = widen(x)
    with np.errstate(all="ignore"):
        return wide.dtype.type(op.k) + wide.dtype.type(op.scale) * window_sum(wide * wide, op.windows(x.ndim))


def forward(op: LocalResponseNorm, x: NDArray) -> NDArray:
    """y = x·d^(−β).

    >>> forward(LocalResponseNorm(1, alpha=1.0, beta=0.5, k=0.0), np.array([[3.0]], np.float32))
    array([[1.]])
    """
    with np.errstate(all="ignore"):
        return widen(x) * _power(denominator(op, x), -op.beta)


def backward(op: LocalResponseNorm, grad_output: NDArray, x: NDArray) -> NDArray:
    """dx = g·d^(−β) − 2·scale·β·x·Wᵀ(g·x·d^(−β−1))."""
    first, second = _backward_terms(op, grad_output, x, magnitude=False)
    with np.errstate(all="ignore"):
        return first if op.beta == 0 else first - second


def backward_magnitude(op: LocalResponseNorm, grad_output: NDArray, x: NDArray) -> NDArray:
    """|g·d^(−β)| + 2·|scale·β·x|·Wᵀ(|r|): the sum of the absolute terms, whose spacing is the unit of the error."""
    first, second = _backward_terms(op, grad_output, x, magnitude=True)
    return np.abs(first) + np.abs(second)


def _backward_terms(
    op: LocalResponseNorm, grad_output: NDArray, x: NDArray, *, magnitude: bool
) -> tuple[NDArray, NDArray]:
    g, wide, d = widen(grad_output), widen(x), denominator(op, x)
    with np.errstate(all="ignore"):
        # −β − 1 rounded to float64 would cost 400 ulp of float64 where d is 1e300.
        r = g * wide * _power(d, -np.longdouble(op.beta) - 1)
        if magnitude:
            r = np.abs(r)
        total = window_sum(r, op.windows(x.ndim), transposed=True)
        return g * _power(d, -op.beta), 2 * wide.dtype.type(op.scale) * wide.dtype.type(op.beta) * wide * total
