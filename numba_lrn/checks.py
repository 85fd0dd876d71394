"""What is refused of parameters and arrays, in the words of the one who called."""

import math
import operator
from typing import Any

from numba_lrn.algorithm.geometry import is_broadcast
from numba_lrn.backends.selector import backend_of, full_name

DTYPES = ("float16", "bfloat16", "float32", "float64")


def index(value: Any) -> int:
    """A Python int; TypeError for what is no integer, booleans among them."""
    if isinstance(value, bool) or type(value).__name__ in ("bool_", "bool"):
        raise TypeError
    return operator.index(value)


def integer(value: Any, name: str, low: int, high: int | None = None) -> int:
    """An integer from ``low`` to ``high``."""
    try:
        count = index(value)
    except TypeError:
        msg = f"{name} must be an integer, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg) from None
    if count < low or (high is not None and count > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        msg = f"{name} must be {allowed}, got {count}"
        raise ValueError(msg)
    return count


def integers(value: Any, name: str) -> tuple[int, ...]:
    """One integer or a tuple of them, as a tuple of Python ints."""
    values = value if isinstance(value, tuple) else (value,)
    found = []
    for item in values:
        try:
            found.append(index(item))
        except TypeError:
            msg = f"{name} must be an integer or a tuple of integers, got {value!r} of type {type(value).__name__}"
            raise TypeError(msg) from None
    if not found and name != "axis":
        msg = f"{name} is empty; give one integer, or one for each axis"
        raise ValueError(msg)
    return tuple(found)


def divided(alpha: float, elements: int) -> float:
    """alpha / elements, also for a window that no float can count."""
    return alpha / elements if elements.bit_length() < 1024 else math.copysign(0.0, alpha)


def finite(value: Any, name: str) -> float:
    """A finite Python float."""
    if getattr(value, "requires_grad", False):
        msg = f"{name} requires a gradient, which would be lost; call numba_lrn.torch's function, or pass {name}.item()"
        raise TypeError(msg)
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    text = isinstance(value, (bool, str, bytes, bytearray, complex))
    if text or kind not in "iufV" or getattr(value, "ndim", 0) != 0:
        msg = f"{name} must be a real number, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg)
    try:
        number = float(value)
    except (TypeError, ValueError):
        msg = f"{name} must be a real number, got {value!r} of type {type(value).__name__}"
        raise TypeError(msg) from None
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        msg = f"{name} must be finite, got {value!r}"
        raise ValueError(msg)
    return number


def check_dtype(dtype: Any, name: str) -> None:
    """Refuse dtypes that cannot be normalised, and say what to do."""
    supported = dtype.name in DTYPES and (dtype.kind == "f" or dtype.name == "bfloat16")
    native = getattr(dtype, "isnative", True)
    if supported and native:
        return
    if supported:
        msg = f"{name} has dtype {dtype.str}, not in this machine's byte order; use {name}.astype('{dtype.name}')"
        raise TypeError(msg)
    hint = f"convert it first, for example with {name}.astype('float32')"
    if dtype.kind == "c":
        hint = f"take {name}.real, {name}.imag or abs({name})"
    msg = f"{name} has dtype {dtype}; supported are float16, bfloat16 (ml_dtypes), float32 and float64: {hint}"
    raise TypeError(msg)


def check_same(array: Any, name: str, x: Any) -> None:
    """Refuse an array that does not match ``x`` in kind, shape and dtype."""
    check_kind(array, name, x)
    check_like(array, name, x)


def check_kind(array: Any, name: str, x: Any) -> None:
    """Refuse an array of another backend than that of ``x``."""
    if backend_of(array, name) is not backend_of(x):
        kinds = f"{name} is a {full_name(type(array))} and x a {full_name(type(x))}"
        msg = f"{kinds}; both must be of one kind on one device"
        raise TypeError(msg)


def check_like(array: Any, name: str, x: Any) -> None:
    """Refuse what has another shape or dtype than ``x``."""
    if array.shape != x.shape:
        msg = f"{name} has shape {array.shape} and x {x.shape}; both must be the same"
        raise ValueError(msg)
    if array.dtype != x.dtype:
        msg = f"{name} has dtype {array.dtype} and x {x.dtype}; convert one of them"
        raise TypeError(msg)


def check_device(device: int, name: str, device_of_x: int) -> None:
    """Refuse an array on another device than that of ``x``."""
    if device != device_of_x:
        msg = f"{name} is on CUDA device {device} and x on {device_of_x}; copy one of them, both must be on one device"
        raise ValueError(msg)


def check_writeable(writeable: bool, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Refuse an ``out`` that cannot be written, or that would hold whichever of several results came last."""
    if not writeable:
        msg = "out is read-only; pass an array that can be written, or leave out away"
        raise ValueError(msg)
    if is_broadcast(shape, strides):
        msg = f"elements of out share memory (its strides are {strides}); pass an array that has each of its own"
        raise ValueError(msg)
