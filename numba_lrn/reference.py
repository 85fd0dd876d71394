"""The truth: the same operations in plain NumPy, slow and plain, written from the definition.

One window helper, direct sums, no differences of prefix sums. Parameters are used as given, everything is computed
in float64 (in longdouble for float64 and longdouble input) and returned in that type. Tests, ``numba_lrn check``
and the benchmark measure against it.

Each function takes an operator, which says on which side an even window has its extra element, and arrays of one
shape, of any number of dimensions that has the operator's axes (else its ValueError), in any float type. Results have
that shape; those of the parameters are numbers. NaN and Inf go where the formula takes them, without a warning, but
with β = 0 y is x, dx is g, and what d is does not matter. The functions ``…_magnitude`` sum the absolute terms of a
derivative, whose spacing is the unit of its error. In the examples y = x/(1 + x²).
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
    """dx = g·d^(−β) − 2·scale·β·x·Wᵀ(g·x·d^(−β−1)).

    >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0, axis=0)
    >>> backward(op, np.ones(1, "f4"), np.full(1, 2.0, "f4")).round(6)  # (1 − x²)/(1 + x²)²
    array([-0.12])
    """
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
        r = g * wide * _next_power(op, d)
        if magnitude:
            r = np.abs(r)
        total = window_sum(r, op.windows(x.ndim), transposed=True)
        return g * _power(d, -op.beta), _factor(op, wide) * wide * total


def jvp(op: LocalResponseNorm, x: NDArray, tangent: NDArray) -> NDArray:
    """ẏ = v·d^(−β) − 2·scale·β·x·d^(−β−1)·W(x·v).

    >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0, axis=0)
    >>> jvp(op, np.full(1, 2.0, "f4"), np.ones(1, "f4")).round(6)
    array([-0.12])
    """
    first, second = _jvp_terms(op, x, tangent, magnitude=False)
    with np.errstate(all="ignore"):
        return first if op.beta == 0 else first - second


def jvp_magnitude(op: LocalResponseNorm, x: NDArray, tangent: NDArray) -> NDArray:
    """|v·d^(−β)| + 2·|scale·β·x·d^(−β−1)|·W(|x·v|)."""
    first, second = _jvp_terms(op, x, tangent, magnitude=True)
    return np.abs(first) + np.abs(second)


def _jvp_terms(op: LocalResponseNorm, x: NDArray, tangent: NDArray, *, magnitude: bool) -> tuple[NDArray, NDArray]:
    v, wide, d = widen(tangent), widen(x), denominator(op, x)
    with np.errstate(all="ignore"):
        cross = window_sum(np.abs(wide * v) if magnitude else wide * v, op.windows(x.ndim))
        return v * _power(d, -op.beta), _factor(op, wide) * wide * _next_power(op, d) * cross


def backward_parameters(op: LocalResponseNorm, grad_output: NDArray, x: NDArray) -> tuple[Any, Any, Any]:
    """(d_scale, d_beta, d_k) = (−β·Σ r·S, −Σ g·x·d^(−β)·ln d, −β·Σ r), where r = g·x·d^(−β−1).

    >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0, axis=0)
    >>> [float(number.round(4)) for number in backward_parameters(op, np.ones(1, "f4"), np.full(1, 2.0, "f4"))]
    [-0.32, -0.6438, -0.08]
    """
    for_scale, for_beta, for_k = _parameter_terms(op, grad_output, x)
    with np.errstate(all="ignore"):
        return -for_scale.sum(), -for_beta.sum(), -for_k.sum()


def backward_parameters_magnitude(op: LocalResponseNorm, grad_output: NDArray, x: NDArray) -> tuple[Any, Any, Any]:
    """The sums of the absolute terms, whose spacings are the units of the errors."""
    for_scale, for_beta, for_k = _parameter_terms(op, grad_output, x)
    return np.abs(for_scale).sum(), np.abs(for_beta).sum(), np.abs(for_k).sum()


def _parameter_terms(op: LocalResponseNorm, grad_output: NDArray, x: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    g, wide, d = widen(grad_output), widen(x), denominator(op, x)
    with np.errstate(all="ignore"):
        total = window_sum(wide * wide, op.windows(x.ndim))
        # Near d = 1 the logarithm is as small as what d was rounded by.
        above_one = wide.dtype.type(op.k) - 1 + wide.dtype.type(op.scale) * total
        log_d = np.where(np.abs(above_one) < 0.5, np.log1p(above_one), np.log(d))
        for_beta = g * wide * _power(d, -op.beta) * log_d
        if op.beta == 0:
            return np.zeros_like(d), for_beta, np.zeros_like(d)
        for_k = wide.dtype.type(op.beta) * g * wide * _next_power(op, d)
        return for_k * total, for_beta, for_k


def backward_all(op: LocalResponseNorm, grad_output: NDArray, x: NDArray) -> tuple[NDArray, Any, Any, Any]:
    """(dx, d_scale, d_beta, d_k).

    >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0, axis=0)
    >>> len(backward_all(op, np.ones(1, "f4"), np.full(1, 2.0, "f4")))
    4
    """
    return backward(op, grad_output, x), *backward_parameters(op, grad_output, x)


def double_backward(
    op: LocalResponseNorm, grad_output: NDArray, x: NDArray, cotangent: NDArray
) -> tuple[NDArray, NDArray]:
    """The gradients of ⟨u, dx⟩ with respect to g (the jvp, with u) and to x.

    For x: −2·scale·β·[x·Wᵀ(g·u·d^(−β−1)) + g·d^(−β−1)·C + u·Wᵀ(g·x·d^(−β−1))]
    + 4·scale²·β·(β+1)·x·Wᵀ(g·x·d^(−β−2)·C), with C = W(x·u).

    >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0, axis=0)
    >>> one = np.ones(1, "f4")
    >>> [part.round(6).tolist() for part in double_backward(op, one, 2 * one, one)]  # y′ and y″ at 2
    [[-0.12], [0.032]]
    """
    for_x = np.zeros_like(widen(x))
    if op.beta != 0:
        with np.errstate(all="ignore"):
            for_x = sum(_second_order_terms(op, grad_output, x, cotangent, magnitude=False), start=for_x)
    return jvp(op, x, cotangent), for_x


def double_backward_magnitude(
    op: LocalResponseNorm, grad_output: NDArray, x: NDArray, cotangent: NDArray
) -> tuple[NDArray, NDArray]:
    """The sums of the absolute terms of both."""
    terms = _second_order_terms(op, grad_output, x, cotangent, magnitude=True)
    return jvp_magnitude(op, x, cotangent), sum((np.abs(term) for term in terms), start=np.zeros_like(widen(x)))


def _second_order_terms(
    op: LocalResponseNorm, grad_output: NDArray, x: NDArray, cotangent: NDArray, *, magnitude: bool
) -> tuple[NDArray, ...]:
    g, wide, u, d = widen(grad_output), widen(x), widen(cotangent), denominator(op, x)
    sign = np.abs if magnitude else np.positive
    windows = op.windows(x.ndim)
    with np.errstate(all="ignore"):
        factor, p1, p2 = _factor(op, wide), _next_power(op, d), _power(d, -np.longdouble(op.beta) - 2)
        cross = window_sum(sign(wide * u), windows)
        curved = 2 * wide.dtype.type(op.scale) * (wide.dtype.type(op.beta) + 1)
        return (
            -factor * wide * window_sum(sign(g * u * p1), windows, transposed=True),
            -factor * g * p1 * cross,
            -factor * u * window_sum(sign(g * wide * p1), windows, transposed=True),
            factor * curved * wide * window_sum(sign(g * wide * p2 * cross), windows, transposed=True),
        )


def _factor(op: LocalResponseNorm, wide: NDArray) -> Any:
    """2·scale·β in the type that the reference computes in."""
    return 2 * wide.dtype.type(op.scale) * wide.dtype.type(op.beta)


def _next_power(op: LocalResponseNorm, d: NDArray) -> NDArray:
    """d^(−β−1). −β − 1 rounded to float64 would cost 400 ulp of float64 where d is 1e300."""
    return _power(d, -np.longdouble(op.beta) - 1)
