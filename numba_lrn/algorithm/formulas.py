"""The pointwise formulas of Local Response Normalization, one a line, in the symbols of the definition.

    S = W(x²)     d = k + a·S     y = x·d^(-β)                            p = d^(-β), s·q = d^(-β-1)
    backward      r = g·s·x·q     dx = g·p − 2aβ·x·Wᵀ(r)

docs/derivation.md derives them.
"""

import math
from typing import Any, NamedTuple

from numba_lrn.algorithm.primitives import fma, real


class Parameters(NamedTuple):
    """The scalars of one operator, in the type that it computes in."""

    scale: Any  # a, rounded to the computing type
    scale_rest: Any  # and what that leaves of it
    k: Any
    factor: Any  # 2aβ
    negative_beta: Any  # −β, rounded to the computing type
    beta_high: Any  # −β = beta_high + beta_low; beta_high times an exponent is exact
    beta_low: Any
    at_infinity: Any  # d^(-β) and d^(-β-1) where d is Inf
    next_at_infinity: Any


def add_square(v, total):
    """A term of W(x²), added."""
    return fma(v, v, total)


def denominator(total, par):
    """d = k + a·S for a finite S. Rounding a to one float would cost up to one of the four ulp."""
    return fma(par.scale, total, fma(par.scale_rest, total, par.k))


def denominator_at_extremes(total, par):
    """The same for any S, with the same bits where it is finite: the rest of a may be 0, and 0·Inf is NaN."""
    rest = fma(par.scale_rest, total, par.k)
    return fma(par.scale, total, rest if total < real(math.inf) else par.k)


def residual(g, x, s, q):
    """r = g·x·d^(-β-1), multiplied so that no product leaves the range before r does."""
    return (g * s) * (x * q)


def gradient(x, gp, total, par):
    """dx = g·d^(-β) − 2aβ·x·Wᵀ(r)."""
    return fma(-par.factor, x * total, gp)
