"""Compiling ahead of the first call."""

import numpy as np

from numba_lrn.checks import DTYPES, integer
from numba_lrn.operator import LocalResponseNorm

# Elements of an array that is shared among threads whatever its dtype.
LARGE = 2**18


def warmup(dtypes: str | tuple[str, ...] = ("float32",), ndim: int = 4, device: str = "cpu") -> None:
    """Compile what the usual calls need, or load it from the disk cache, before the first of them.

    That is: forward and backward across channels for β = 0.75 and a window of five elements, on the CPU also any other
    small one, channels first and last, serial and parallel. Other exponents, wide windows and boxes are
    compiled when they are first used.

    Parameters
    ----------
    dtypes : str or tuple of str
        Any of float16, bfloat16, float32, float64.
    ndim : int
        Dimensions of the arrays to come, at least 1: the same kernels serve any number.
    device : str
        "cpu", or "cuda" for the current CUDA device.

    Raises
    ------
    ValueError
        For a device or an ndim that there is not.
    TypeError
        For a dtype that is not supported, or an ndim that is no integer.
    ImportError, RuntimeError
        For a CUDA device where the packages are missing, or the driver or a card that is new enough.

    Examples
    --------
    >>> import numba_lrn as lrn
    >>> lrn.warmup(dtypes=("float32",))
    """
    if device not in ("cpu", "cuda"):
        msg = f"device is {device!r}; supported are 'cpu' and 'cuda'"
        raise ValueError(msg)
    integer(ndim, "ndim", 1)
    found = tuple(_dtype(name) for name in ((dtypes,) if isinstance(dtypes, str) else dtypes))
    if device == "cuda":
        from numba_lrn.backends.cuda import launch  # only here: it imports the CUDA package

        launch.warmup(found)
        return
    for dtype in found:
        for size in (1024, LARGE):
            x = np.zeros((size // 64, 8, 8), dtype)
            for axis in (0, -1):
                for n in (3, 5):  # windows of five elements have kernels of their own
                    op = LocalResponseNorm(n, axis=axis)
                    op.backward(x, op(x))


def _dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        try:
            import ml_dtypes
        except ImportError:
            msg = "bfloat16 needs the package ml_dtypes: pip install ml_dtypes"
            raise TypeError(msg) from None
        return np.dtype(ml_dtypes.bfloat16)
    try:
        dtype = np.dtype(name)
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in DTYPES or not dtype.isnative:
        msg = f"dtypes names {name!r}; supported are float16, bfloat16, float32 and float64"
        raise TypeError(msg)
    return dtype
