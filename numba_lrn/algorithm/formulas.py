"""The pointwise formulas of Local Response Normalization, one a line, in the symbols of the definition.

    S = W(x²)     d = k + a·S     y = x·d^(-β)                            p = d^(-β), s·q = d^(-β-1)
    backward      r = g·s·x·q     dx = g·p − 2aβ·x·Wᵀ(r)
    jvp           ẏ = v·p − 2aβ·x·s·q·C         C = W(x·v), "cross"
    parameters    Σ r, Σ r·S, Σ g·p·x·ln d: −β times the first two are dk and da, minus the third is dβ
    second order  for g: the jvp with u; for x: −2aβ·(x·Wᵀ(m) + u·Wᵀ(r) + c), C = W(x·u)
                  m = g·s·q·u − 2a(β+1)·g·x·s·q·C/d      c = g·s·q·C

docs/derivation.md derives them.
"""

from typing import Any, NamedTuple

from numba_lrn.algorithm.primitives import fma, real


class Parameters(NamedTuple):
    """The scalars of one operator, in the type that it computes in."""

    scale: Any  # a, cut to the computing type
    scale_rest: Any  # and what that leaves of it, of the same sign
    k: Any
    factor: Any  # 2aβ
    negative_beta: Any  # −β, rounded to the computing type
    beta_high: Any  # −β = beta_high + beta_low; beta_high times an exponent is exact
    beta_low: Any
    at_infinity: Any  # d^(-β) and d^(-β-1) where d is Inf
    next_at_infinity: Any
    next_factor: Any  # 2a(β + 1)


def add_square(v, total):
    """A term of W(x²), added."""
    return fma(v, v, total)


def denominator(total, par):
    """d = k + a·S. Rounding a to one float would cost up to one of the four ulp.

    Where S is Inf both parts of a make d so: neither is 0, and they have one sign.
    """
    return fma(par.scale, total, fma(par.scale_rest, total, par.k))


def denominator_rounded(total, par):
    """d for results that are rounded to a half type, which hides what is left of a."""
    return fma(par.scale, total, par.k)


def residual(g, x, s, q):
    """r = g·x·d^(-β-1), multiplied so that no product leaves the range before r does."""
    return (g * s) * (x * q)


def gradient(x, gp, total, par):
    """dx = g·d^(-β) − 2aβ·x·Wᵀ(r)."""
    return fma(-par.factor, x * total, gp)


def add_product(x, v, total):
    """A term of W(x·v), added."""
    return fma(x, v, total)


def tangent(x, v, p, s, q, cross, par):
    """ẏ = v·d^(-β) − 2aβ·x·d^(-β-1)·W(x·v)."""
    return fma(-par.factor, (x * q) * (s * cross), v * p)


def rounded_off(total, d, par):
    """k + a·S − d: what d was rounded by, where k is near d."""
    return fma(par.scale, total, fma(par.scale_rest, total, par.k - d))


def log_denominator(log_d, d, q, rest):
    """ln(d + rest). Near d = 1 the logarithm is as small as what d was rounded by."""
    return log_d + rest if abs(d - real(1.0)) < real(0.5) else log_d


def log_denominator_by_reciprocal(log_d, d, q, rest):
    """The same by powers whose q is 1/d. Where d is Inf or NaN so is ``rest``, and ``rest`` times 1/d is NaN."""
    return fma(rest, q, log_d)


def lost(before, value, after):
    """What after = before + value was rounded by."""
    part = after - before
    return (before - (after - part)) + (value - part)


def scale_share(r, total):
    """r·S: what an element adds to −da/β; r itself is what it adds to −dk/β."""
    return r * total


def beta_share(x, gp, log_d):
    """g·d^(-β)·x·ln d: what an element adds to −dβ."""
    return gp * x * log_d


def mixed(g, x, u, d, s, q, cross, par):
    """m = g·u·d^(-β-1) − 2a(β+1)·g·x·d^(-β-2)·W(x·u)."""
    return (g * s) * fma(-par.next_factor, (x * q) * over_d(cross, d, q), u * q)


def over_d(value, d, q):
    """value/d."""
    return value / d


def over_d_by_reciprocal(value, d, q):
    """The same by powers whose q is 1/d: an IEEE division on a card branches, and takes 24 instructions."""
    return value * q


def crossed(g, s, q, cross):
    """c = g·d^(-β-1)·W(x·u)."""
    return (g * s) * (q * cross)


def curvature(x, total, rest, par):
    """−2aβ·(x·Wᵀ(m) + rest), where rest is u·Wᵀ(r) + c."""
    return -par.factor * fma(x, total, rest)
