"""Every operation as stages: pointwise → window → pointwise.

A stage adds terms over a window and, with the total, emits: ``add`` says what one term is, ``emit`` what becomes
of the total. ``at`` is the place of an element in the arrays, ``slot`` its place in the tile's own buffers.
An ``emit`` that raises d to a power returns d, first: where that is Inf or NaN, its strip is emitted again with
``inverse_power`` and ``normalized`` bound to functions that are right there too, so that the usual ones need not look.
A recipe names its stages; the backends supply the windows.
"""

from typing import Any, NamedTuple

from numba_lrn.algorithm.binding import injected
from numba_lrn.algorithm.formulas import (
    add_product,
    add_square,
    beta_share,
    crossed,
    curvature,
    gradient,
    log_denominator,
    mixed,
    residual,
    rounded_off,
    scale_share,
    tangent,
)
from numba_lrn.algorithm.primitives import fma, load, store


class Arrays(NamedTuple):
    """The caller's arrays, each flat and in the same memory order. An operation without g is given x again."""

    x: Any
    g: Any
    out: Any


class TangentArrays(NamedTuple):
    """Those of forward mode: the tangent v of x, and that of y."""

    x: Any
    v: Any
    out: Any


class SummedArrays(NamedTuple):
    """Those of the gradients of the parameters: ``sums`` has SUMS numbers of float64 for each tile."""

    x: Any
    g: Any
    sums: Any


class GradientArrays(NamedTuple):
    """Those of all gradients in one pass."""

    x: Any
    g: Any
    out: Any
    sums: Any


class SecondOrderArrays(NamedTuple):
    """Those of the second derivative: in the place of a tangent v the cotangent u of dx, and results for g and x."""

    x: Any
    g: Any
    v: Any
    out: Any
    out_x: Any


class Stage(NamedTuple):
    """One window and what surrounds it; ``transposed`` swaps before and after. Without ``add`` there is no window.

    ``raises`` says that ``emit`` raises a d to a power and returns it, ``reduces`` that it also returns three numbers
    that are added up over all elements. ``result`` names the array that it writes, if that is one of the caller's.
    ``passes`` names a second ``emit``, if there is one, that returns (d, term), the term being what the next stage
    sums: with it both stages may run in one loop.
    """

    add: str
    emit: str
    raises: bool = True
    reduces: bool = False
    transposed: bool = False
    result: str = ""
    passes: str = ""


class Recipe(NamedTuple):
    """An operation: its stages in order, the tile buffers that it keeps from one stage to the next, its arrays.

    Stages of transposed windows come last; what comes after one of them counts as transposed too.
    """

    stages: tuple[Stage, ...]
    kept: tuple[str, ...] = ()
    arrays: type[tuple] = Arrays

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its arrays."""
        return self.arrays._fields  # type: ignore[attr-defined]

    @property
    def sums(self) -> bool:
        """Whether it adds up something over all elements."""
        return "sums" in self.names


# Σ r, Σ r·S, Σ g·d^(-β)·x·ln d, each with its compensation.
SUMS = 6


RECIPES = {
    "forward": Recipe((Stage("square_term", "emit_normalized", result="out"),)),
    # In place, no output may be written before the last window that needs its input has been read.
    "forward_in_place": Recipe(
        (Stage("square_term", "keep_normalized"), Stage("", "emit_kept", raises=False)), ("kept",)
    ),
    "backward": Recipe(
        (
            Stage("square_term", "keep_residual", passes="keep_and_pass_residual"),
            Stage("residual_term", "emit_gradient", raises=False, transposed=True, result="out"),
        ),
        ("residual", "kept"),
    ),
    "jvp": Recipe(
        (Stage("product_term", "keep_cross", raises=False), Stage("square_term", "emit_tangent", result="out")),
        ("cross",),
        TangentArrays,
    ),
    "backward_parameters": Recipe((Stage("square_term", "share", reduces=True),), arrays=SummedArrays),
    "backward_all": Recipe(
        (
            Stage("square_term", "keep_residual_and_share", reduces=True, passes="keep_residual_and_share"),
            Stage("residual_term", "emit_gradient", raises=False, transposed=True, result="out"),
        ),
        ("residual", "kept"),
        GradientArrays,
    ),
    "double_backward": Recipe(
        (
            Stage("product_term", "keep_cross", raises=False),
            Stage("square_term", "emit_tangent_and_keep", result="out"),
            Stage("residual_term", "keep_rest", raises=False, transposed=True),
            Stage("mixed_term", "emit_curvature", raises=False, transposed=True, result="out_x"),
        ),
        ("cross", "residual", "mixed", "kept"),
        SecondOrderArrays,
    ),
}


@injected
def denominator(total, par):
    """d; every backend injects one of algorithm/formulas.py."""
    raise NotImplementedError("a backend injects the function")


@injected
def inverse_power(d, par):
    """(p, s, q): d^(-β), and d^(-β-1) in two factors; every backend injects one of algorithm/power.py."""
    raise NotImplementedError("a backend injects the function")


@injected
def logarithm(d):
    """ln d; every backend injects one of algorithm/power.py."""
    raise NotImplementedError("a backend injects the function")


@injected
def normalized(x, d, par):
    """y = x·d^(-β); every backend injects one of algorithm/power.py."""
    raise NotImplementedError("a backend injects the function")


@injected
def store_result(array, index, value):
    """array[index] = value in one of the caller's arrays; every backend injects the way there."""
    raise NotImplementedError("a backend injects the function")


def square_term(arrays, buffers, at, slot, total):
    """W(x²)"""
    return add_square(load(arrays.x, at), total)


def product_term(arrays, buffers, at, slot, total):
    """W(x·v)"""
    return add_product(load(arrays.x, at), load(arrays.v, at), total)


def residual_term(arrays, buffers, at, slot, total):
    """Wᵀ(r)"""
    return total + load(buffers.residual, slot)


def mixed_term(arrays, buffers, at, slot, total):
    """Wᵀ(m)"""
    return total + load(buffers.mixed, slot)


def emit_normalized(arrays, buffers, par, at, slot, total):
    """y = x·d^(-β)"""
    d = denominator(total, par)
    store_result(arrays.out, at, normalized(load(arrays.x, at), d, par))
    return d


def keep_normalized(arrays, buffers, par, at, slot, total):
    """y = x·d^(-β), for later"""
    d = denominator(total, par)
    store(buffers.kept, slot, normalized(load(arrays.x, at), d, par))
    return d


def emit_kept(arrays, buffers, par, at, slot, total):
    """y, as it was kept"""
    store_result(arrays.out, at, load(buffers.kept, slot))


def keep_residual(arrays, buffers, par, at, slot, total):
    """r and g·d^(-β), for the transposed window"""
    d, _ = keep_and_pass_residual(arrays, buffers, par, at, slot, total)
    return d


def keep_and_pass_residual(arrays, buffers, par, at, slot, total):
    """The same, with r for a window that just ends here"""
    x = load(arrays.x, at)
    g = load(arrays.g, at)
    d = denominator(total, par)
    p, s, q = inverse_power(d, par)
    r = residual(g, x, s, q)
    store(buffers.residual, slot, r)
    store(buffers.kept, slot, g * p)
    return d, r


def emit_gradient(arrays, buffers, par, at, slot, total):
    """dx = g·d^(-β) − 2aβ·x·Wᵀ(r)"""
    store_result(arrays.out, at, gradient(load(arrays.x, at), load(buffers.kept, slot), total, par))


def keep_cross(arrays, buffers, par, at, slot, total):
    """C = W(x·v), for the stage of d"""
    store(buffers.cross, slot, total)


def emit_tangent(arrays, buffers, par, at, slot, total):
    """ẏ = v·d^(-β) − 2aβ·x·d^(-β-1)·C"""
    x = load(arrays.x, at)
    v = load(arrays.v, at)
    d = denominator(total, par)
    p, s, q = inverse_power(d, par)
    store_result(arrays.out, at, tangent(x, v, p, s, q, load(buffers.cross, slot), par))
    return d


def share(arrays, buffers, par, at, slot, total):
    """r, r·S and g·d^(-β)·x·ln d, for the sums"""
    d, r, _, scale_part, beta_part = shares(arrays, par, at, total)
    return d, r, scale_part, beta_part


def keep_residual_and_share(arrays, buffers, par, at, slot, total):
    """The same, and r and g·d^(-β) for the transposed window"""
    d, r, gp, scale_part, beta_part = shares(arrays, par, at, total)
    store(buffers.residual, slot, r)
    store(buffers.kept, slot, gp)
    return d, r, scale_part, beta_part


def shares(arrays, par, at, total):
    """d, r, g·d^(-β), and what an element adds to the gradients of a and β"""
    x = load(arrays.x, at)
    g = load(arrays.g, at)
    d = denominator(total, par)
    p, s, q = inverse_power(d, par)
    r, gp = residual(g, x, s, q), g * p
    log_d = log_denominator(logarithm(d), d, q, rounded_off(total, d, par))
    return d, r, gp, scale_share(r, total), beta_share(x, gp, log_d)


def emit_tangent_and_keep(arrays, buffers, par, at, slot, total):
    """The result for g, and r, m and c for the transposed windows.

    Tiles that share rows write the same numbers there.
    """
    x = load(arrays.x, at)
    g = load(arrays.g, at)
    u = load(arrays.v, at)
    cross = load(buffers.cross, slot)
    d = denominator(total, par)
    p, s, q = inverse_power(d, par)
    store_result(arrays.out, at, tangent(x, u, p, s, q, cross, par))
    store(buffers.residual, slot, residual(g, x, s, q))
    store(buffers.mixed, slot, mixed(g, x, u, d, s, q, cross, par))
    store(buffers.kept, slot, crossed(g, s, q, cross))
    return d


def keep_rest(arrays, buffers, par, at, slot, total):
    """u·Wᵀ(r) + c"""
    store(buffers.kept, slot, fma(load(arrays.v, at), total, load(buffers.kept, slot)))


def emit_curvature(arrays, buffers, par, at, slot, total):
    """−2aβ·(x·Wᵀ(m) + u·Wᵀ(r) + c)"""
    store_result(arrays.out_x, at, curvature(load(arrays.x, at), total, load(buffers.kept, slot), par))
