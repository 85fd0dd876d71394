"""Frameworks that round half of an even size, so that it covers one element fewer or more than it divides by."""

from collections.abc import Sequence

from numba_lrn.checks import finite
from numba_lrn.conventions.translate import convention
from numba_lrn.conventions.windows import (
    choice,
    extra_after,
    extra_before,
    integer,
    named_variant,
    no_axis,
    rounded_down,
    rounded_up,
    windowed,
    within_axes,
)
from numba_lrn.operator import Axes, LocalResponseNorm


@convention(
    "oneDNN",
    "local_size",
    choices=({"algorithm": "lrn_across_channels"}, {"algorithm": "lrn_within_channel"}),
)
def onednn(
    algorithm: str, local_size: int, alpha: float, beta: float, k: float, *, axis: Axes | None = None
) -> LocalResponseNorm:
    """The lrn primitive of oneDNN, algorithm "lrn_across_channels" or "lrn_within_channel".

    ::

        y = x · (k + alpha/n · Σ x_j²)^(−beta)        j = c − (local_size − 1)//2 … c + (local_size − 1)//2
        n: local_size, or local_size^(number of spatial dimensions) within channels

    Mapping: axis 1, or ``axis``, by default (2, 3), within; before = after = (local_size − 1)//2; scale alpha/n;
    beta; k. An even local_size covers local_size − 1 elements and is divided by local_size; the documentation prints
    alpha/local_size for both algorithms.
    Refused: local_size < 1; one axis that is not 2. Limits: rank ≥ 2 across, 3 to 5 within; float32, bfloat16, float16.
    Source: src/cpu/ref_lrn.cpp, src/common/lrn.cpp.
    Evidence: run, forward and backward.
    """
    choice(algorithm, ("lrn_across_channels", "lrn_within_channel"), "algorithm", "oneDNN")
    size = integer(local_size, "local_size", "oneDNN")
    if algorithm == "lrn_within_channel":
        axes = within_axes(axis, (2, 3), "oneDNN", (1, 2, 3))
        if len(axes) == 1 and axes != (2,):
            msg = f"oneDNN: axis={axes} is not the one spatial axis of its rank 3, which is (2,)"
            raise ValueError(msg)
        return windowed(axes, rounded_down, size, alpha, beta, k)
    no_axis(axis, "oneDNN")
    return windowed(1, rounded_down, size, alpha, beta, k)


@convention(
    "OpenVINO",
    k="bias",
    choices=(
        {"axes": (1,)},
        {"axes": (2, 3)},
        {"axes": ()},
        {"axes": (1,), "variant": "reference"},
        {"axes": (1,), "variant": "cpu"},
        {"axes": (2, 3), "variant": "reference"},
        {"axes": (2, 3), "variant": "cpu"},
    ),
)
def openvino(
    axes: int | Sequence[int],
    alpha: float = 1.0,
    beta: float = 0.5,
    bias: float = 1.0,
    size: int = 5,
    *,
    variant: str | None = None,
) -> LocalResponseNorm:
    """OpenVINO's LRN-1 (``openvino.opset1.lrn``) over any set of axes.

    ::

        y = x · (bias + alpha/n · Σ x_j²)^(−beta)        j = c − (size − 1)//2 … c + (size − 1)//2 along each axis
        n: size^(number of axes)

    Mapping: axes; before = after = (size − 1)//2; scale alpha/n; beta; k = bias. No axes: the element alone, alpha
    undivided (here: axis −1). The specification writes size/2 on both sides; the code rounds down.
    The CPU plug-in stores bias as an integer, cut off towards 0, and computes the spatial axes alone where the
    channels are named among several: there ``variant`` must be "reference" or "cpu"; "cpu" takes bias as cut off.
    Refused: size < 1; negative axes; the channels and other axes with variant="cpu".
    Limits of the CPU plug-in: axes (1,) or all spatial axes; rank 2 to 5; computes in float32.
    Source: src/core/reference/include/openvino/reference/lrn.hpp, src/plugins/intel_cpu/src/nodes/lrn.cpp.
    Evidence: run, forward (the CPU plug-in).
    """
    named = axes if isinstance(axes, Sequence) else (axes,)
    along = tuple(integer(axis, "axes", "OpenVINO", 0) for axis in named)
    n = integer(size, "size", "OpenVINO")
    mixed = len(along) > 1 and 1 in along
    because = ""
    if not finite(bias, "bias").is_integer():
        because = f"its CPU plug-in takes bias={bias!r} as {int(bias)}, its reference as given"
    elif mixed:
        because = "its CPU plug-in sums over the spatial axes alone where the channels are among several"
    named_variant(variant, ("reference", "cpu"), "OpenVINO", because=because)
    if mixed and variant == "cpu":
        msg = f"OpenVINO: axes={along} are refused with variant='cpu', whose plug-in computes the spatial axes alone"
        raise ValueError(msg)
    k = float(int(bias)) if variant == "cpu" else bias
    if not along:
        return windowed(-1, rounded_down, 1, alpha, beta, k)
    return windowed(along, rounded_down, n, alpha, beta, k)


@convention("Chainer", "n", choices=({}, {"variant": "cpu"}, {"variant": "gpu"}))
def chainer(
    n: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75, *, variant: str | None = None
) -> LocalResponseNorm:
    """``chainer.functions.local_response_normalization``.

    ::

        y_c = x_c · (k + alpha · Σ x_j²)^(−beta)
        variant="cpu":  j = c − n//2 … c + n//2 (an even n covers n + 1 channels)
        variant="gpu":  j = c − (n − 1)//2 … c + n//2

    Mapping: axis 1, before and after as above, scale alpha (not divided), beta, k. For even n, where the two
    disagree, ``variant`` must name one. The GPU's own gradient does not transpose the window of an even n; the
    gradient of this operator does.
    Refused: n < 1. Limits: rank ≥ 2; floats.
    Source: chainer/functions/normalization/local_response_normalization.py.
    Evidence: source.
    """
    size = integer(n, "n", "Chainer")
    because = "" if size % 2 else f"for the even n={size} its CPU sums {size + 1} channels and its GPU {size}"
    named_variant(variant, ("cpu", "gpu"), "Chainer", because=because)
    return windowed(1, rounded_up if variant == "cpu" else extra_after, size, alpha, beta, k, divide=False)


@convention(
    "ncnn",
    "local_size",
    k="bias",
    choices=({}, {"variant": "cpu"}, {"variant": "vulkan"}, {"region_type": 1}),
)
def ncnn(
    region_type: int = 0,
    local_size: int = 5,
    alpha: float = 1.0,
    beta: float = 0.75,
    bias: float = 1.0,
    *,
    axis: Axes | None = None,
    variant: str | None = None,
) -> LocalResponseNorm:
    """The ``LRN`` layer of ncnn: region_type 0 across channels, 1 within.

    ::

        y = x · (bias + alpha/n · Σ x_j²)^(−beta)
        across, variant="cpu":     j = q − local_size//2 … q + local_size//2 (an even size covers one more)
        across, variant="vulkan":  j = q − local_size//2 … q + (local_size − 1)//2
        within:                    the same as vulkan's along height and width, on both
        n: local_size, or local_size² within channels

    Mapping: axis −3 (c, h, w), or ``axis``, by default (−2, −1), within; before and after as above; scale alpha/n;
    beta; k = bias. Across an even local_size, where the two disagree, ``variant`` must name one.
    Refused: local_size < 1. Limits: 3-D; float32 (vulkan: also float16).
    Source: src/layer/lrn.cpp, src/layer/vulkan/shader/lrn_norm.comp.
    Evidence: source.
    """
    choice(region_type, (0, 1), "region_type", "ncnn")
    size = integer(local_size, "local_size", "ncnn")
    if region_type == 1:
        named_variant(variant, ("cpu", "vulkan"), "ncnn")
        return windowed(within_axes(axis, (-2, -1), "ncnn"), extra_before, size, alpha, beta, bias)
    no_axis(axis, "ncnn")
    because = "" if size % 2 else f"for the even local_size={size} its CPU sums {size + 1} channels and Vulkan {size}"
    named_variant(variant, ("cpu", "vulkan"), "ncnn", because=because)
    return windowed(-3, rounded_up if variant == "cpu" else extra_before, size, alpha, beta, bias)
