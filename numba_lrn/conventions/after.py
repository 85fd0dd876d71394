"""Frameworks whose even window has its extra element after the centre: [c − (n − 1)//2, c + n//2]."""

import math
from collections.abc import Sequence

from numba_lrn.checks import divided, finite
from numba_lrn.conventions.translate import Windows, convention
from numba_lrn.conventions.windows import (
    any_axis,
    at_least,
    choice,
    extra_after,
    integer,
    no_axis,
    odd,
    positive,
    windowed,
    within_axes,
)
from numba_lrn.operator import Axes, LocalResponseNorm


@convention("ONNX", k="bias")
def onnx(size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> LocalResponseNorm:
    """ONNX ``LRN`` (opset 1 and 13); also tract, tinygrad, Burn and Sentis.

    ::

        y_c = x_c · (bias + alpha/size · Σ x_j²)^(−beta)        j = c − ⌊(size − 1)/2⌋ … c + ⌈(size − 1)/2⌉

    Mapping: axis 1, before (size − 1)//2, after size//2, scale alpha/size, beta, k = bias.
    The mirror image of PyTorch for even sizes. ``ReferenceEvaluator`` of onnx ≤ 1.23.2 loops over the batch instead of
    the channels; :class:`numba_lrn.onnx.LRN` takes its place.
    Refused: size < 1. Limits: (N, C, D1, …); float16, float32, float64, bfloat16.
    Source: onnx/defs/nn/defs.cc.
    Evidence: run (ReferenceEvaluator where N = C, ONNX Runtime at odd sizes).
    """
    return windowed(1, extra_after, integer(size, "size", "ONNX"), alpha, beta, bias)


@convention("ONNX Runtime", k="bias")
def onnxruntime(size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> LocalResponseNorm:
    """ONNX ``LRN`` as ONNX Runtime's CPU and CUDA providers take it.

    ::

        y_c = x_c · (bias + alpha/size · Σ x_j²)^(−beta)        j = c − size//2 … c + size//2

    Mapping: axis 1, before = after = size//2, scale alpha/size, beta, k = bias.
    Refused: even size, alpha ≤ 0, beta ≤ 0. Limits: rank 4 (CUDA: 4 and 5); float32, on CUDA float16 and float64 too.
    Its running sum gives inf for some finite inputs and carries a NaN to every later channel; this library does not.
    Source: onnxruntime/core/providers/cpu/nn/lrn.h and lrn.cc, 1.31.1.
    Evidence: run, forward.
    """
    n = odd(size, "size", "ONNX Runtime", "size_ % 2 == 1 was false")
    positive(alpha, "alpha", "ONNX Runtime")
    positive(beta, "beta", "ONNX Runtime")
    return windowed(1, extra_after, n, alpha, beta, bias)


@convention(
    "DirectML",
    "local_size",
    k="bias",
    choices=(
        {"cross_channel": True},
        {"cross_channel": False},
        {"cross_channel": False, "divisor": "region"},
    ),
)
def directml(
    cross_channel: bool,
    local_size: int,
    alpha: float,
    beta: float,
    bias: float,
    *,
    divisor: str = "local_size",
    axis: Axes | None = None,
) -> LocalResponseNorm:
    """``DML_LOCAL_RESPONSE_NORMALIZATION_OPERATOR_DESC`` and its ``_GRAD_`` twin.

    ::

        y = x · (Bias + (Alpha/LocalSize) · Σ x_j²)^(−Beta)        j = c − (LocalSize − 1)//2 … c + LocalSize//2

    ``cross_channel=True`` sums LocalSize channels; ``False`` sums LocalSize × LocalSize over height and width.

    Mapping: axis 1, or ``axis``, by default (2, 3), for ``cross_channel=False``; before (local_size − 1)//2, after
    local_size//2; scale alpha/local_size, or alpha/local_size² for the spatial window with ``divisor="region"``;
    beta; k = bias.

    The documentation is garbled in one sentence: LocalSize is called "the number of elements to sum over per
    dimension: Width, Height, and optionally Channel (if CrossChannel is set)". The first edition of the page (ONNX's
    text), the gradient page's sentence on CrossChannel, and all known callers (ONNX Runtime, Unreal Engine, the
    TensorFlow plug-in) agree that a set CrossChannel sums across channels alone.
    Unverified, no caller being known: that the spatial window divides by LocalSize as the formula prints it, not by
    its square, as every other library does; and the side of an even spatial window.
    Recommended, not default: alpha 1e-4, beta 0.75, bias 1.
    Refused: local_size < 1; divisor="region" across channels. Limits: 4-D, any strides; float16 and float32.
    Source: learn.microsoft.com (directml.h pages); ONNX Runtime's and the TensorFlow plug-in's calls.
    Evidence: documentation and callers; the spatial window unverified.
    """
    choice(cross_channel, (True, False, 1, 0), "cross_channel", "DirectML")
    choice(divisor, ("local_size", "region"), "divisor", "DirectML")
    size = integer(local_size, "local_size", "DirectML")
    if cross_channel:
        no_axis(axis, "DirectML")
        if divisor == "region":
            msg = (
                "DirectML: divisor='region' is for cross_channel=False; across channels alpha is divided by local_size"
            )
            raise ValueError(msg)
        return windowed(1, extra_after, size, alpha, beta, bias)
    axes = within_axes(axis, (2, 3), "DirectML")
    if divisor == "region":
        return windowed(axes, extra_after, size, alpha, beta, bias)
    return windowed(axes, extra_after, size, divided(finite(alpha, "alpha"), size), beta, bias, divide=False)


@convention("cuDNN", "lrn_n", "lrn_alpha", "lrn_beta", "lrn_k", choices=({}, {"divisive": True}))
def cudnn(
    lrn_n: int = 5,
    lrn_alpha: float = 1e-4,
    lrn_beta: float = 0.75,
    lrn_k: float = 2.0,
    *,
    divisive: bool = False,
    axis: Axes | None = None,
) -> LocalResponseNorm:
    """``cudnnLRNCrossChannelForward``; ``divisive=True``: ``cudnnDivisiveNormalizationForward`` without means.

    ::

        y = x · (lrnK + lrnAlpha/n · Σ x_j²)^(−lrnBeta)        j = c − ⌊(lrnN − 1)/2⌋ … c + lrnN − ⌊(lrnN − 1)/2⌋ − 1
        n: lrnN across channels, lrnN^(number of spatial dimensions) for the divisive kind

    Mapping: axis 1, or ``axis``, by default (2, 3), for the divisive kind ((2, 3, 4) for 5-D); before (lrn_n − 1)//2,
    after lrn_n//2; scale lrn_alpha/n; beta; k. The alpha and beta *pointers* of the call only blend the outputs.
    Refused: lrn_n outside 1 … 16, lrn_k < 1e-5, lrn_beta < 0.01 (CUDNN_LRN_MIN_N, MAX_N, MIN_K, MIN_BETA).
    Limits: 4-D and 5-D; float16, float32, float64. Unverified: its backward for an even lrn_n.
    Source: cudnn.h; the API pages on the divisors, at second hand.
    Evidence: documentation.
    """
    n = integer(lrn_n, "lrn_n", "cuDNN", 1, 16)
    at_least(lrn_beta, 0.01, "lrn_beta", "cuDNN")
    at_least(lrn_k, 1e-5, "lrn_k", "cuDNN")
    choice(divisive, (True, False, 1, 0), "divisive", "cuDNN")
    if divisive:
        return windowed(within_axes(axis, (2, 3), "cuDNN", (2, 3)), extra_after, n, lrn_alpha, lrn_beta, lrn_k)
    no_axis(axis, "cuDNN")
    return windowed(1, extra_after, n, lrn_alpha, lrn_beta, lrn_k)


@convention(
    "MIOpen",
    "lrn_n",
    "lrn_alpha",
    "lrn_beta",
    "lrn_k",
    choices=({"mode": "cross_channel"}, {"mode": "within_channel"}),
)
def miopen(
    mode: str, lrn_n: int, lrn_alpha: float, lrn_beta: float, lrn_k: float, *, axis: Axes | None = None
) -> LocalResponseNorm:
    """``miopenSetLRNDescriptor`` with mode "cross_channel" (miopenLRNCrossChannel) or "within_channel".

    ::

        y = x · (lrnK + lrnAlpha/n · Σ x_j²)^(−lrnBeta)        j = c − (lrnN − 1)//2 … c + lrnN//2
        n: lrnN, or lrnN² within channels

    Mapping: axis 1, or ``axis``, by default (2, 3), within; before (lrn_n − 1)//2, after lrn_n//2; scale lrn_alpha/n;
    beta; k. The header claims odd sizes, its own test runs even ones.
    Refused: lrn_n < 1 ("Wrong LRN kernel size"), lrn_k = 0 ("Expect non-zero bias/K").
    Limits: packed 4-D NCHW; float32, and float16 accumulated in half.
    Source: src/lrn_api.cpp, src/ocl/lrn_ocl.cpp, src/kernels/MIOpenLRNFwd.cl.
    Evidence: source.
    """
    choice(mode, ("cross_channel", "within_channel"), "mode", "MIOpen")
    n = integer(lrn_n, "lrn_n", "MIOpen")
    if finite(lrn_k, "lrn_k") == 0:
        msg = "MIOpen: lrn_k must not be 0 (Expect non-zero bias/K)"
        raise ValueError(msg)
    if mode == "within_channel":
        return windowed(within_axes(axis, (2, 3), "MIOpen"), extra_after, n, lrn_alpha, lrn_beta, lrn_k)
    no_axis(axis, "MIOpen")
    return windowed(1, extra_after, n, lrn_alpha, lrn_beta, lrn_k)


@convention("MATLAB", "window_channel_size")
def matlab(
    window_channel_size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, *, axis: int = 2
) -> LocalResponseNorm:
    """MATLAB's ``crossChannelNormalizationLayer`` and ``crosschannelnorm``.

    ::

        y = x / (K + Alpha·ss/windowChannelSize)^Beta
        ss: the squares of ⌊(w − 1)/2⌋ channels before to ⌊w/2⌋ after

    Mapping: ``axis``, by default the third ("SSCB"), before (w − 1)//2, after w//2, scale alpha/w, beta, k.
    Refused: w outside 1 … 16, beta < 0.01, k < 1e-5 (the limits of the pages that name any).
    Unverified: the defaults 1e-4, 0.75 and 2. Limits: single and double.
    Source: mathworks.com, the pages of both functions.
    Evidence: documentation; defaults unverified.
    """
    n = integer(window_channel_size, "window_channel_size", "MATLAB", 1, 16)
    along = any_axis(axis, "MATLAB")
    at_least(beta, 0.01, "beta", "MATLAB")
    at_least(k, 1e-5, "k", "MATLAB")
    return windowed(along, extra_after, n, alpha, beta, k)


def _nnef_sizes(windows: Windows) -> tuple[list[int], ...]:
    """One size an axis of a tensor of at least four axes; a single axis from the end becomes the channels."""
    rank = max(4, *(axis + 1 for axis, _, _ in windows))
    size = [1] * rank
    for axis, before, after in windows:
        size[1 if len(windows) == 1 and axis < 0 else axis] = before + after + 1
    return (size,)


@convention("NNEF", k="bias", sizes=_nnef_sizes)
def nnef(size: Sequence[int], alpha: float = 1.0, beta: float = 0.5, bias: float = 1.0) -> LocalResponseNorm:
    """NNEF ``local_response_normalization``: one size for every axis of the tensor, such as [1, 5, 1, 1].

    ::

        sigma = bias + alpha · box(sqr(x), size = size, normalize = true)
        y = x / sigma^beta

    Mapping: the axes whose size is over 1; before (n − 1)//2, after n//2 on each (the floor rule of automatic
    padding); scale alpha divided by the product of the sizes; beta; k = bias. The box counts the padding.
    Refused: a size < 1.
    Source: the NNEF 1.0 specification, local_response_normalization, box and its padding.
    Evidence: documentation.
    """
    counts = tuple(integer(n, "size", "NNEF") for n in size)
    if not counts:
        msg = "NNEF: size is empty; give one entry for every axis of the tensor"
        raise ValueError(msg)
    axes = tuple(axis for axis, n in enumerate(counts) if n > 1) or (0,)
    before, after = zip(*(extra_after(counts[axis]) for axis in axes), strict=True)
    scale = divided(finite(alpha, "alpha"), math.prod(counts))
    return LocalResponseNorm.from_window(axes, before, after, scale, beta, bias)
