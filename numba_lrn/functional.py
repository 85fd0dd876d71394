"""The two functions: arguments → operator → run."""

import functools
from typing import Any

from numba_lrn.operator import Axes, LocalResponseNorm


def local_response_norm(
    x: Any,
    size: Axes,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    axis: Axes = 1,
    out: Any = None,
) -> Any:
    r"""Local Response Normalization, as ``torch.nn.functional.local_response_norm``.

    ::

        y[c] = x[c] · (k + alpha/size · Σ x[j]²)^(−beta)      j from c − size//2 to c + (size − 1)//2, clipped

    Parameters
    ----------
    x : array of any number of dimensions ≥ 1
        float16, bfloat16 (ml_dtypes), float32 or float64; any strides; may be read-only.
    size : int or tuple of int
        Elements of the window, at least 1, even or larger than the axis too. A tuple gives one for each axis.
    alpha, beta, k : float
        Finite. alpha is divided by the number of elements of the full window, at the borders too.
    axis : int or tuple of int
        The axis to sum along: 1 for channels in NCHW, −1 in NHWC; a tuple for a box, (2, 3) within channels.
    out : array like ``x``, optional
        Where to write; may be ``x`` itself or overlap it.

    Returns
    -------
    array
        ``out``, or a new array of the kind, dtype and memory order of ``x``. Half types are computed in float32
        and rounded once; float32 and float64 are computed in their own type.

    Raises
    ------
    TypeError
        Arrays or numbers of a kind that is not supported, with what is.
    ValueError
        A size below 1, a wrong axis, numbers that are not finite, an unsuitable ``out``.

    Notes
    -----
    An even size has its extra element before the centre, as in PyTorch; ONNX has it after. A NaN or Inf reaches
    exactly the windows that contain it. Other conventions: :mod:`numba_lrn.conventions`. Sources: Krizhevsky et al.
    2012, section 3.3; ``torch.nn.functional.local_response_norm``.

    Examples
    --------
    >>> import numpy as np
    >>> import numba_lrn as lrn
    >>> x = np.arange(1.0, 5.0).reshape(1, 4)
    >>> lrn.local_response_norm(x, size=2, alpha=2.0, beta=1.0, k=0.0).round(4)
    array([[1.    , 0.4   , 0.2308, 0.16  ]])
    """
    return operator_of(size, alpha, beta, k, axis)(x, out)


def local_response_norm_backward(
    grad_output: Any,
    x: Any,
    size: Axes,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    axis: Axes = 1,
    out: Any = None,
) -> Any:
    r"""The gradient of :func:`local_response_norm` with respect to ``x``.

    ::

        r = g·x·d^(−beta−1)      dx = g·d^(−beta) − 2·alpha/size·beta·x·Wᵀ(r)      d = k + alpha/size·W(x²)

    Parameters
    ----------
    grad_output : array of the shape, dtype and kind of ``x``
        The gradient of the loss with respect to the forward result.
    x : array
        The forward input.
    size, alpha, beta, k, axis, out
        As for :func:`local_response_norm`; ``out`` may be ``grad_output`` or ``x``, or overlap them.

    Returns
    -------
    array
        dx: ``out``, or a new array of the kind, dtype and memory order of ``x``.

    Raises
    ------
    TypeError, ValueError
        As for :func:`local_response_norm`; also where ``grad_output`` and ``x`` do not match.

    Notes
    -----
    Wᵀ is the window mirrored: for an even size it has its extra element *after* the centre. Dtypes, NaN and Inf as for
    :func:`local_response_norm`. Only ``x`` and ``grad_output`` are needed: d is computed again, never recovered from
    the result.

    Examples
    --------
    >>> import numpy as np
    >>> import numba_lrn as lrn
    >>> x = np.array([[1.0, 2.0, 3.0]])
    >>> lrn.local_response_norm_backward(np.ones_like(x), x, size=1, alpha=0.0, beta=0.5, k=4.0)
    array([[0.5, 0.5, 0.5]])
    """
    return operator_of(size, alpha, beta, k, axis).backward(grad_output, x, out)


def operator_of(size: Axes, alpha: float, beta: float, k: float, axis: Axes) -> LocalResponseNorm:
    """The operator of these arguments; making one takes 5 µs, finding the last one again 0.2 µs.

    Found again by numbers alone: a tensor of no dimension may have another value by then.
    """
    whole = type(size) is int and type(axis) is int
    if whole and type(alpha) in _NUMBERS and type(beta) in _NUMBERS and type(k) in _NUMBERS:
        return _cached_operator(size, alpha, beta, k, axis)
    return LocalResponseNorm(size, alpha, beta, k, axis=axis)


_NUMBERS = (float, int)


@functools.lru_cache(maxsize=256, typed=True)
def _cached_operator(size: int, alpha: float, beta: float, k: float, axis: int) -> LocalResponseNorm:
    return LocalResponseNorm(size, alpha, beta, k, axis=axis)
