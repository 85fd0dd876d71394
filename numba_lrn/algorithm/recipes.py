"""Every operation as stages: pointwise → window → pointwise.

A stage adds terms over a window and, with the total, emits: ``add`` says what one term is, ``emit`` what becomes
of the total. ``at`` is the place of an element in the arrays, ``slot`` its place in the tile's own buffers.
An ``emit`` returns the d that it raised to a power, or 1: where that is Inf or NaN, its strip is emitted again with
``denominator`` and ``inverse_power`` bound to functions that are right there too, so that the usual ones need not
look.
A recipe names its stages; the backends supply the windows.
"""

from typing import Any, NamedTuple

from numba_lrn.algorithm.formulas import (
    add_square,
    gradient,
    residual,
)
from numba_lrn.algorithm.primitives import load, real, store


class Arrays(NamedTuple):
    """The caller's arrays, each flat and in the same memory order. An operation without g is given x again."""

    x: Any
    g: Any
    out: Any


class Stage(NamedTuple):
    """One window and what surrounds it; ``transposed`` swaps before and after."""

    add: str
    emit: str
    transposed: bool = False


class Recipe(NamedTuple):
    """An operation: its stages in order, and the tile buffers that it keeps from one stage to the next."""

    stages: tuple[Stage, ...]
    kept: tuple[str, ...] = ()


RECIPES = {
    "forward": Recipe((Stage("square_term", "emit_normalized"),)),
    # In place, no output may be written before the last window that needs its input has been read.
    "forward_in_place": Recipe((Stage("square_term", "keep_normalized"), Stage("", "emit_kept")), ("kept",)),
    "backward": Recipe(
        (Stage("square_term", "keep_residual"), Stage("residual_term", "emit_gradient", transposed=True)),
        ("residual", "kept"),
    ),
}


def denominator(total, par):
    """d; every backend injects one of algorithm/formulas.py."""
    raise NotImplementedError("a backend injects the function")


def inverse_power(d, par):
    """(p, s, q): d^(-β), and d^(-β-1) in two factors; every backend injects one of algorithm/power.py."""
    raise NotImplementedError("a backend injects the function")


def normalized(x, d, par):
    """y = x·d^(-β); every backend injects one of algorithm/power.py."""
    raise NotImplementedError("a backend injects the function")


def square_term(arrays, buffers, at, slot, total):
    """W(x²)"""
    return add_square(load(arrays.x, at), total)


def residual_term(arrays, buffers, at, slot, total):
    """Wᵀ(r)"""
    return total + load(buffers.residual, slot)


def emit_normalized(arrays, buffers, par, at, slot, total):
    """y = x·d^(-β)"""
    d = denominator(total, par)
    store(arrays.out, at, normalized(load(arrays.x, at), d, par))
    return d


def keep_normalized(arrays, buffers, par, at, slot, total):
    """y = x·d^(-β), for later"""
    d = denominator(total, par)
    store(buffers.kept, slot, normalized(load(arrays.x, at), d, par))
    return d


def emit_kept(arrays, buffers, par, at, slot, total):
    """y, as it was kept"""
    store(arrays.out, at, load(buffers.kept, slot))
    return real(1.0)


def keep_residual(arrays, buffers, par, at, slot, total):
    """r and g·d^(-β), for the transposed window"""
    x = load(arrays.x, at)
    g = load(arrays.g, at)
    d = denominator(total, par)
    p, s, q = inverse_power(d, par)
    store(buffers.residual, slot, residual(g, x, s, q))
    store(buffers.kept, slot, g * p)
    return d


def emit_gradient(arrays, buffers, par, at, slot, total):
    """dx = g·d^(-β) − 2aβ·x·Wᵀ(r)"""
    store(arrays.out, at, gradient(load(arrays.x, at), load(buffers.kept, slot), total, par))
    return real(1.0)
