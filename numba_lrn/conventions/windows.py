"""What every convention is made of: the side an even window takes, the divisor of alpha, and the refusals."""

import math
from collections.abc import Callable
from typing import Any

from numba_lrn import checks
from numba_lrn.checks import divided, finite
from numba_lrn.operator import Axes, LocalResponseNorm

Window = Callable[[int], tuple[int, int]]


def extra_before(n: int) -> tuple[int, int]:
    """[c − n//2, c + (n − 1)//2]: n elements, an even size has its extra one before the centre."""
    return n // 2, (n - 1) // 2


def extra_after(n: int) -> tuple[int, int]:
    """[c − (n − 1)//2, c + n//2]: n elements, an even size has its extra one after the centre."""
    return (n - 1) // 2, n // 2


def rounded_down(n: int) -> tuple[int, int]:
    """[c − (n − 1)//2, c + (n − 1)//2]: an even size covers n − 1 elements (and still divides by n)."""
    return (n - 1) // 2, (n - 1) // 2


def rounded_up(n: int) -> tuple[int, int]:
    """[c − n//2, c + n//2]: an even size covers n + 1 elements (and still divides by n, where it divides)."""
    return n // 2, n // 2


def windowed(
    axis: Axes, window: Window, size: int, alpha: float, beta: float, k: float, *, divide: bool = True
) -> LocalResponseNorm:
    """``size`` elements along each axis; alpha divided by the full element count of the window, or by nothing."""
    before, after = window(size)
    dimensions = len(axis) if isinstance(axis, tuple) else 1
    scale = divided(finite(alpha, "alpha"), size**dimensions if divide else 1)
    return LocalResponseNorm.from_window(axis, before, after, scale, beta, k)


def integer(value: Any, name: str, framework: str, low: int = 1, high: int | None = None) -> int:
    """An integer from ``low`` to ``high``, or the framework's refusal."""
    return checks.integer(value, f"{framework}: {name}", low, high)


def odd(value: Any, name: str, framework: str, reason: str, high: int | None = None) -> int:
    """An odd integer from 1, or a refusal with the framework's reason."""
    count = integer(value, name, framework, 1, high)
    if count % 2 == 0:
        msg = f"{framework}: {name} must be odd, got {count} ({reason}); take {count - 1} or {count + 1}"
        raise ValueError(msg)
    return count


def at_least(value: Any, low: float, name: str, framework: str, high: float = math.inf) -> float:
    """A number from ``low`` to ``high``, or the framework's refusal."""
    real = finite(value, name)
    if not low <= real <= high:
        allowed = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        msg = f"{framework}: {name} must be {allowed}, got {real!r}"
        raise ValueError(msg)
    return real


def positive(value: Any, name: str, framework: str) -> float:
    """A number above 0, or the framework's refusal."""
    real = finite(value, name)
    if real <= 0:
        msg = f"{framework}: {name} must be greater than 0, got {real!r}"
        raise ValueError(msg)
    return real


def choice(value: Any, allowed: tuple[Any, ...], name: str, framework: str) -> None:
    """Refuse a value that is not one of those allowed."""
    if not any(value is item or (type(value) is type(item) and value == item) for item in allowed):
        names = ", ".join(repr(item) for item in allowed)
        msg = f"{framework}: {name} must be one of {names}, got {value!r}"
        raise ValueError(msg)


def named_variant(variant: str | None, allowed: tuple[str, ...], framework: str, *, because: str = "") -> None:
    """Refuse an unknown ``variant``; and a missing one where ``because`` says that the backends disagree."""
    if variant is not None:
        choice(variant, allowed, "variant", framework)
    elif because:
        names = " or ".join(f"variant={name!r}" for name in allowed)
        msg = f"{framework}: {because}; name one with {names}"
        raise ValueError(msg)


def within_axes(
    axis: Axes | None, default: tuple[int, ...], framework: str, dimensions: tuple[int, ...] = (2,)
) -> tuple[int, ...]:
    """The axes of a window within channels, as many as the framework has there."""
    if axis is None:
        return default
    if not isinstance(axis, tuple) or len(axis) not in dimensions:
        count = " or ".join(str(number) for number in dimensions)
        msg = f"{framework}: axis must be a tuple of {count} axes for a window within channels, got {axis!r}"
        raise ValueError(msg)
    return axis


def any_axis(axis: Axes, framework: str) -> int:
    """One axis, counted from either end."""
    if isinstance(axis, tuple):
        msg = f"{framework}: axis must be one integer, got {axis!r}"
        raise ValueError(msg)
    return axis


def no_axis(axis: Axes | None, framework: str) -> None:
    """Refuse ``axis`` for a window across channels, whose axis is the framework's own."""
    if axis is not None:
        msg = f"{framework}: axis={axis!r} is for a window within channels; across channels leave axis out"
        raise ValueError(msg)
