"""Frameworks that take odd sizes only: [c − n//2, c + n//2]."""

from numba_lrn.checks import finite
from numba_lrn.conventions.translate import convention
from numba_lrn.conventions.windows import (
    any_axis,
    at_least,
    choice,
    extra_before,
    named_variant,
    no_axis,
    odd,
    windowed,
    within_axes,
)
from numba_lrn.operator import Axes, LocalResponseNorm

_WITHIN = {"norm_region": "WITHIN_CHANNEL"}


@convention(
    "Caffe",
    "local_size",
    choices=({}, _WITHIN, {**_WITHIN, "variant": "caffe"}, {**_WITHIN, "variant": "cudnn"}),
)
def caffe(
    local_size: int = 5,
    alpha: float = 1.0,
    beta: float = 0.75,
    norm_region: str = "ACROSS_CHANNELS",
    k: float = 1.0,
    *,
    axis: Axes | None = None,
    variant: str | None = None,
) -> LocalResponseNorm:
    """Caffe's ``LRN`` layer, norm_region "ACROSS_CHANNELS" or "WITHIN_CHANNEL".

    ::

        y = x · (k + alpha/n · Σ x_j²)^(−beta)        j = c − local_size//2 … c + local_size//2
        n: local_size, or local_size² within channels

    Mapping: axis 1, or ``axis``, by default (2, 3), within; before = after = local_size//2; scale alpha/n; beta; k.
    Within channels Caffe's own engine ignores k and adds 1, its cuDNN engine uses k (up to local_size 16; larger ones
    fall back to Caffe's): where k is not 1, ``variant`` must be "caffe" or "cudnn".
    Refused: even local_size. Limits: 4-D NCHW; float32 and float64.
    Source: src/caffe/layers/lrn_layer.cpp, src/caffe/proto/caffe.proto.
    Evidence: source.
    """
    size = odd(local_size, "local_size", "Caffe", "LRN only supports odd values for local_size")
    choice(norm_region, ("ACROSS_CHANNELS", "WITHIN_CHANNEL"), "norm_region", "Caffe")
    if norm_region == "ACROSS_CHANNELS":
        no_axis(axis, "Caffe")
        named_variant(variant, ("caffe", "cudnn"), "Caffe")
        return windowed(1, extra_before, size, alpha, beta, k)
    differ = finite(k, "k") != 1 and size <= 16
    because = f"within channels its own engine takes k as 1, its cuDNN engine as the {k!r} given" if differ else ""
    named_variant(variant, ("caffe", "cudnn"), "Caffe", because=because)
    used = k if variant == "cudnn" and size <= 16 else 1.0
    return windowed(within_axes(axis, (2, 3), "Caffe"), extra_before, size, alpha, beta, used)


@convention("Caffe2", k="bias", choices=({}, {"order": "NHWC"}))
def caffe2(
    size: int, alpha: float = 0.0, beta: float = 0.0, bias: float = 1.0, order: str = "NCHW"
) -> LocalResponseNorm:
    """Caffe2's ``LRN`` operator.

    ::

        y_c = x_c · (bias + alpha/size · Σ x_j²)^(−beta)        j = c − size//2 … c + size//2

    Mapping: axis 1, or −1 for order "NHWC"; before = after = size//2; scale alpha/size; beta; k = bias.
    alpha and beta default to 0, which makes it the identity (for bias 1): always give them.
    Refused: even size (a check of its debug builds only). Limits: 4-D; float32; on CUDA size at most the channels.
    Source: caffe2/operators/local_response_normalization_op.h and .cc.
    Evidence: source.
    """
    n = odd(size, "size", "Caffe2", "DCHECK_EQ(size_ % 2, 1)")
    choice(order, ("NCHW", "NHWC"), "order", "Caffe2")
    return windowed(-1 if order == "NHWC" else 1, extra_before, n, alpha, beta, bias)


@convention("MXNet", "nsize", k="knorm")
def mxnet(alpha: float = 1e-4, beta: float = 0.75, knorm: float = 2.0, *, nsize: int) -> LocalResponseNorm:
    """``mx.nd.LRN``.

    ::

        y_c = x_c · (knorm + alpha/nsize · Σ x_j²)^(−beta)        j = c − nsize//2 … c + nsize//2

    Mapping: axis 1, before = after = nsize//2, scale alpha/nsize, beta, k = knorm.
    Refused: even nsize. Limits: 4-D NCHW; float32; nsize at most the channels.
    Source: src/operator/nn/lrn-inl.h.
    Evidence: source.
    """
    n = odd(nsize, "nsize", "MXNet", "LRN only supports odd values for local_size")
    return windowed(1, extra_before, n, alpha, beta, knorm)


@convention("TensorRT", "window")
def tensorrt(window: int, alpha: float, beta: float, k: float) -> LocalResponseNorm:
    """TensorRT's ``ILRNLayer`` (``INetworkDefinition::addLRN``).

    ::

        y_c = x_c · (k + alpha/window · Σ x_j²)^(−beta)        j = c − window//2 … c + window//2

    Mapping: axis −3, before = after = window//2, scale alpha/window, beta, k.
    The operator's page prints alpha undivided and a window of 2·window + 1; its own example is the formula above.
    Refused: window even or outside 1 … 15; alpha outside ±1e20; beta outside 0.01 … 1e5; k outside 1e-5 … 1e10.
    Limits: rank ≥ 3; float32 and float16.
    Source: NvInfer.h and the LRN page of the operators' reference.
    Evidence: documentation (its example, recomputed).
    """
    n = odd(window, "window", "TensorRT", "the window size must be odd", 15)
    at_least(alpha, -1e20, "alpha", "TensorRT", 1e20)
    at_least(beta, 0.01, "beta", "TensorRT", 1e5)
    at_least(k, 1e-5, "k", "TensorRT", 1e10)
    return windowed(-3, extra_before, n, alpha, beta, k)


@convention("TVM", k="bias")
def tvm(size: int = 5, axis: int = 1, bias: float = 2.0, alpha: float = 1e-5, beta: float = 0.75) -> LocalResponseNorm:
    """``tvm.relay.nn.lrn`` and ``topi.nn.lrn``.

    ::

        y = x · (bias + alpha/size · Σ x_j²)^(−beta)        j = c − size//2 … c + size//2 along axis

    Mapping: axis, before = after = size//2, scale alpha/size, beta, k = bias. alpha's default is 1e-5, not 1e-4.
    Refused: even size. Limits: 4-D; floats.
    Source: python/tvm/relay/op/nn/nn.py, topi/include/topi/nn/local_response_norm.h.
    Evidence: source.
    """
    n = odd(size, "size", "TVM", "size should be odd number")
    return windowed(any_axis(axis, "TVM"), extra_before, n, alpha, beta, bias)


@convention("Torch7")
def torch7(size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> LocalResponseNorm:
    """Torch7's ``nn.SpatialCrossMapLRN``.

    ::

        y_c = x_c · (k + alpha/size · Σ x_j²)^(−beta)        j = c − size//2 … c + size//2

    Mapping: axis −3 (3-D and 4-D inputs), before = after = size//2, scale alpha/size, beta, k.
    Refused: even size, for which its code uses fractional indices. Limits: rank 3 and 4; float and double.
    Source: torch/nn, SpatialCrossMapLRN.lua.
    Evidence: source.
    """
    n = odd(size, "size", "Torch7", "half of an even size is a fractional index there")
    return windowed(-3, extra_before, n, alpha, beta, k)


@convention("Lasagne", "n")
def lasagne(alpha: float = 1e-4, k: float = 2.0, beta: float = 0.75, n: int = 5) -> LocalResponseNorm:
    """Lasagne's ``LocalResponseNormalization2DLayer``; also pylearn2 and Paddle's old ``lrn`` operator.

    ::

        y_c = x_c · (k + alpha · Σ x_j²)^(−beta)        j = c − n//2 … c + n//2

    Mapping: axis 1, before = after = n//2, scale alpha (not divided), beta, k.
    Refused: even n. Limits: 4-D BC01.
    Source: lasagne/layers/normalization.py.
    Evidence: source.
    """
    size = odd(n, "n", "Lasagne", "Only works with odd n")
    return windowed(1, extra_before, size, alpha, beta, k, divide=False)


_ACL_AXES: dict[str, Axes] = {"CROSS_MAP": -3, "IN_MAP_1D": -1, "IN_MAP_2D": (-2, -1)}


@convention(
    "Arm Compute Library",
    "norm_size",
    k="kappa",
    choices=tuple({"type": kind, **scaled} for kind in _ACL_AXES for scaled in ({}, {"is_scaled": False})),
)
def acl(
    type: str,  # noqa: A002 - the library's own name
    norm_size: int = 5,
    alpha: float = 1e-4,
    beta: float = 0.5,
    kappa: float = 1.0,
    is_scaled: bool = True,
    *,
    axis: Axes | None = None,
) -> LocalResponseNorm:
    """Arm Compute Library's ``NormalizationLayerInfo``: type "CROSS_MAP", "IN_MAP_1D" or "IN_MAP_2D".

    ::

        y = x · (kappa + coefficient · Σ x_j²)^(−beta)        j = c − norm_size//2 … c + norm_size//2
        coefficient: alpha/norm_size, for IN_MAP_2D alpha/norm_size²; alpha where is_scaled is false

    Mapping: ``axis``, by default that of NCHW: −3 for CROSS_MAP (NHWC: −1), −1 (the width) for IN_MAP_1D, (−2, −1) for
    IN_MAP_2D; before = after = norm_size//2; scale the coefficient; beta; k = kappa.
    Refused: even norm_size. Limits: float16 and float32.
    Source: arm_compute/core/Types.h.
    Evidence: source.
    """
    choice(type, tuple(_ACL_AXES), "type", "Arm Compute Library")
    n = odd(norm_size, "norm_size", "Arm Compute Library", "Normalization size should be odd")
    axes = _ACL_AXES[type] if axis is None else axis
    choice(is_scaled, (True, False, 1, 0), "is_scaled", "Arm Compute Library")
    if (len(axes) if isinstance(axes, tuple) else 1) != (2 if type == "IN_MAP_2D" else 1):
        msg = f"Arm Compute Library: axis={axes!r} does not fit type {type!r}; IN_MAP_2D takes two axes, the others one"
        raise ValueError(msg)
    return windowed(axes, extra_before, n, alpha, beta, kappa, divide=bool(is_scaled))
