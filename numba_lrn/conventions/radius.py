"""Frameworks that take a radius: [c − r, c + r], 2r + 1 elements, alpha divided by nothing."""

from numba_lrn.checks import finite
from numba_lrn.conventions.translate import convention, radii
from numba_lrn.conventions.windows import choice, integer, named_variant, rounded_up, windowed
from numba_lrn.operator import LocalResponseNorm


@convention("TensorFlow", "depth_radius", k="bias", sizes=radii)
def tensorflow(depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5) -> LocalResponseNorm:
    """``tf.nn.local_response_normalization``; also tfjs and NNAPI (whose axis defaults to the last).

    ::

        y_c = x_c · (bias + alpha · Σ x_j²)^(−beta)        j = c − depth_radius … c + depth_radius

    Mapping: axis −1, before = after = depth_radius, scale alpha (not divided), beta, k = bias.
    Refused: depth_radius < 0. Limits: 4-D NHWC; float16 and float32; on a GPU also beta ≥ 0.01, bias ≥ 1e-5 and
    depth_radius 1 … 7. A NaN spreads to every channel of its pixel there; ``LRNGrad`` masks it where dy is 0.
    Source: tensorflow/core/kernels/lrn_op.cc, python/ops/nn_grad.py.
    Evidence: run, forward and backward (LRN, LRNGrad).
    """
    radius = integer(depth_radius, "depth_radius", "TensorFlow", 0)
    return windowed(-1, rounded_up, 2 * radius + 1, alpha, beta, bias, divide=False)


@convention("Keras", "depth_radius", k="bias", sizes=radii)
def keras(depth_radius: int = 5, bias: float = 1.0, alpha: float = 1.0, beta: float = 0.5) -> LocalResponseNorm:
    """Keras, which has no such layer of its own: models call ``tf.nn.local_response_normalization``.

    ::

        y_c = x_c · (bias + alpha · Σ x_j²)^(−beta)        j = c − depth_radius … c + depth_radius

    Mapping: axis −1, before = after = depth_radius, scale alpha (not divided), beta, k = bias, as :func:`tensorflow`.
    Refused: depth_radius < 0. Limits: as for TensorFlow.
    Source: as for TensorFlow.
    Evidence: run, as TensorFlow.
    """
    return tensorflow(depth_radius, bias, alpha, beta)


@convention("TFLite", "radius", k="bias", sizes=radii, choices=({"variant": "optimized"}, {"variant": "reference"}))
def tflite(radius: int, bias: float, alpha: float, beta: float, *, variant: str | None = None) -> LocalResponseNorm:
    """TensorFlow Lite's ``LOCAL_RESPONSE_NORMALIZATION``.

    ::

        y_c = x_c · (bias + alpha · Σ x_j²)^(−beta)
        variant="optimized":  j = c − radius … c + radius
        variant="reference":  j = c − radius … c + radius − 1

    Mapping: axis −1, before radius, after radius (reference: radius − 1), scale alpha (not divided), beta, k = bias.
    The default resolver runs the optimized kernel, ``BUILTIN_REF`` the reference kernel, whose window ends one channel
    early: an upstream defect. At radius 0 that window is empty: scale 0.
    Refused: no variant; radius < 0. Limits: 4-D; float32.
    Source: tensorflow/lite/kernels/local_response_norm.cc, kernels/internal/reference/reference_ops.h.
    Evidence: run, forward, both variants.
    """
    allowed = ("optimized", "reference")
    named_variant(variant, allowed, "TFLite", because="the window of its reference kernel ends one channel early")
    reach = integer(radius, "radius", "TFLite", 0)
    if variant == "optimized":
        return windowed(-1, rounded_up, 2 * reach + 1, alpha, beta, bias, divide=False)
    scale = finite(alpha, "alpha") if reach else 0.0
    return LocalResponseNorm.from_window(-1, reach, max(reach - 1, 0), scale, beta, bias)


@convention("MindSpore", "depth_radius", k="bias", sizes=radii)
def mindspore(
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    norm_region: str = "ACROSS_CHANNELS",
) -> LocalResponseNorm:
    """MindSpore's ``nn.LRN`` and ``ops.LRN``.

    ::

        y_c = x_c · (bias + alpha · Σ x_j²)^(−beta)        j = c − depth_radius … c + depth_radius

    Mapping: axis 1, before = after = depth_radius, scale alpha, beta, k = bias.
    The page's formula prints alpha/n, its example is undivided; this is the example.
    Refused: depth_radius < 0; any norm_region but "ACROSS_CHANNELS". Limits: 4-D NCHW; float16 and float32.
    Source: mindspore.cn, the page of nn.LRN.
    Evidence: documentation (its example, recomputed).
    """
    choice(norm_region, ("ACROSS_CHANNELS",), "norm_region", "MindSpore")
    radius = integer(depth_radius, "depth_radius", "MindSpore", 0)
    return windowed(1, rounded_up, 2 * radius + 1, alpha, beta, bias, divide=False)
