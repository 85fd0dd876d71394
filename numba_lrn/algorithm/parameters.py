"""From the operator's numbers to the scalars that the formulas take, rounded to the type that computes."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The powers that are made of roots, by the part of their functions' names.
NAMED_POWERS = {0.25: "power_quarter", 0.5: "power_half", 0.75: "power_three_quarters"}
# Below this β 2^(−β·log2 d) cannot overflow; above the second, in float32, β·log2 d has no fraction left.
GENERAL_BETA = 0.98
WIDE_BETA = 1000.0
# In float64 the platform's pow is right for any β; ours has 4.3 ulp up to this one. Below −GENERAL_BETA d^(-β) may
# overflow where d^(-β-1) does not, which pow tells apart: gradients are Inf there, not NaN.
WIDE_BETA64 = 4.0


def general_power(beta: float) -> str:
    """The power that is made of polynomials, for any β."""
    return "power_general" if 0.0 <= beta < GENERAL_BETA else "power_wide"


def scalars_of(scale: float, beta: float, k: float, real: Any) -> NDArray:
    """The fields of formulas.Parameters."""
    largest = float(np.finfo(real).max)  # for all d but 1 d^(-β) is 0 or Inf long before
    beta = min(max(beta, -largest), largest)
    # 15 bits, so that a product with an exponent of up to 9 bits is exact; in float64 42, for exponents of 11.
    if real is np.float32:
        high = float((np.float32(-beta).view(np.uint32) & np.uint32(0xFFFFFE00)).view(np.float32))
    else:
        high = float((np.float64(-beta).view(np.uint64) & ~np.uint64(0x7FF)).view(np.float64))
    at_infinity = math.inf if beta < 0 else 0.0 if beta > 0 else 1.0
    next_at_infinity = math.inf if beta < -1 else 0.0 if beta > -1 else 1.0
    with np.errstate(over="ignore"):
        fields = (
            *parts_of_scale(scale, real), k, 2 * scale * beta, -beta, high, -beta - high,
            at_infinity, next_at_infinity, 2 * scale * (beta + 1),
        )  # fmt: skip
        return np.array(fields, real)


def parts_of_scale(scale: float, real: Any) -> tuple[float, float]:
    """``scale`` cut to the computing type, and what that leaves of it, of the same sign.

    Neither is 0, but for a scale that is 0 in that type. So a·S, computed by both, is Inf where S is, and nobody need
    look: a rest of 0 would add 0·Inf. Where nothing is left the rest is too small to be seen in any finite sum.
    """
    smallest = float(np.finfo(real).smallest_subnormal)
    cut = abs(float(real(scale)))
    if cut > abs(scale):
        cut = max(float(np.nextafter(real(cut), real(0.0))), smallest)
    rest = max(abs(scale) - cut, cut * 2.0**-80, smallest) if cut else 0.0
    return math.copysign(cut, scale), math.copysign(rest, scale)


def never_subnormal(scale: float, k: float, real: Any) -> bool:
    """Whether d = k + scale·S is normal and positive, or Inf, or NaN, whatever x is."""
    return k >= float(np.finfo(real).tiny) and scale >= 0.0
