"""Frameworks whose even window has its extra element before the centre: [c − n//2, c + (n − 1)//2]."""

from numba_lrn.conventions.translate import convention
from numba_lrn.conventions.windows import (
    choice,
    extra_before,
    integer,
    named_variant,
    no_axis,
    odd,
    windowed,
    within_axes,
)
from numba_lrn.operator import Axes, LocalResponseNorm


@convention("PyTorch")
def pytorch(size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> LocalResponseNorm:
    """``torch.nn.functional.local_response_norm`` and ``torch.nn.LocalResponseNorm``; also LibTorch.

    ::

        y_c = x_c · (k + alpha/size · Σ x_j²)^(−beta)        j = c − size//2 … c + (size − 1)//2

    Mapping: axis 1, before size//2, after (size − 1)//2, scale alpha/size, beta, k.
    Refused: size < 1. Limits: rank ≥ 3, (N, C, …); float32 and float64, on the CPU half types at rank 3 only.
    ``torch.nn.CrossMapLRN2d`` is another operator, wrong forward and backward; it has no convention here.
    Source: torch/nn/functional.py, 2.13.0 (its documentation does not say which side an even size loses).
    Evidence: run, forward and backward.
    """
    return windowed(1, extra_before, integer(size, "size", "PyTorch"), alpha, beta, k)


_PADDLE_FORMATS = ("NCHW", "NHWC", "NCL", "NLC", "NCDHW", "NDHWC")


@convention("PaddlePaddle", choices=({}, {"data_format": "NHWC"}))
def paddle(
    size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, data_format: str = "NCHW"
) -> LocalResponseNorm:
    """``paddle.nn.functional.local_response_norm`` and ``paddle.nn.LocalResponseNorm``.

    ::

        y_c = x_c · (k + alpha/size · Σ x_j²)^(−beta)        j = c − size//2 … c + (size − 1)//2

    Mapping: axis 1, or −1 for a format that ends in C; before size//2, after (size − 1)//2, scale alpha/size, beta, k.
    The printed formula shows alpha undivided and size/2 on both sides; the code averages, as here.
    Refused: size < 1; an unknown data_format. Limits: rank ≥ 3; float32 and float64 on the CPU.
    The old static ``lrn`` operator (n odd, alpha undivided) is :func:`lasagne`'s formula.
    Source: python/paddle/nn/functional/norm.py, 3.3.1.
    Evidence: run, forward and backward.
    """
    choice(data_format, _PADDLE_FORMATS, "data_format", "PaddlePaddle")
    axis = -1 if data_format.endswith("C") else 1
    return windowed(axis, extra_before, integer(size, "size", "PaddlePaddle"), alpha, beta, k)


@convention("Core ML")
def coreml(size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> LocalResponseNorm:
    """Core ML's MIL ``local_response_norm``; ``LRNLayerParams`` with localSize for size, where k = 0 stands for 1.

    ::

        y_c = x_c · (k + alpha/size · Σ x_j²)^(−beta)        j = c − size//2 … c + (size − 1)//2

    Mapping: axis −3, before size//2, after (size − 1)//2, scale alpha/size, beta, k.
    Unverified: the side of an even size, not documented, taken from Metal Performance Shaders; and the axis of rank 3:
    the page says (n, C, D), the published test values fit channels third from last.
    Refused: size < 1. Limits: rank 3 and 4; float16 and float32.
    Source: coremltools, defs/iOS15/normalization.py and NeuralNetwork.proto.
    Evidence: source and documentation; even sizes unverified.
    """
    return windowed(-3, extra_before, integer(size, "size", "Core ML"), alpha, beta, k)


@convention("Metal Performance Shaders", "kernel_size", k="delta", choices=({}, {"spatial": True}))
def mps(
    kernel_size: int,
    alpha: float = 1.0,
    beta: float = 5.0,
    delta: float = 1.0,
    *,
    spatial: bool = False,
    axis: Axes | None = None,
) -> LocalResponseNorm:
    """Apple's ``MPSCNNCrossChannelNormalization``; ``spatial=True``: ``MPSCNNSpatialNormalization``.

    ::

        y = x · (delta + alpha/kernel_size · Σ x_j²)^(−beta)        j = k − ⌊N/2⌋ … k + ⌊(N − 1)/2⌋ across channels
        spatial: a square of kernelWidth = kernelHeight = kernel_size, alpha/(kernelWidth·kernelHeight)

    Mapping: axis −1 (images are H, W, C), or ``axis``, by default (−3, −2), for the spatial kind; before
    kernel_size//2, after (kernel_size − 1)//2; scale alpha divided by the window's elements; beta; k = delta.
    Unverified: the side of an even size of the spatial kind, not documented, taken from the other.
    Refused: kernel_size < 1. Limits: float16 and float32 images.
    Source: Apple's pages of both classes; the defaults of alpha, beta and delta from the headers, at second hand.
    Evidence: documentation; even spatial sizes unverified.
    """
    size = integer(kernel_size, "kernel_size", "Metal Performance Shaders")
    choice(spatial, (True, False, 1, 0), "spatial", "Metal Performance Shaders")
    if spatial:
        return windowed(
            within_axes(axis, (-3, -2), "Metal Performance Shaders"), extra_before, size, alpha, beta, delta
        )
    no_axis(axis, "Metal Performance Shaders")
    return windowed(-1, extra_before, size, alpha, beta, delta)


@convention("MNN", "local_size", k="bias", choices=({"region_type": 0}, {"region_type": 1}))
def mnn(
    region_type: int, local_size: int, alpha: float, beta: float, bias: float = 1.0, *, axis: Axes | None = None
) -> LocalResponseNorm:
    """MNN's ``LRN``: region_type 0 across channels, 1 within.

    ::

        y = x · (bias + alpha/n · Σ x_j²)^(−beta)        j = c − local_size//2 … c + (local_size − 1)//2
        n: local_size, or local_size² within channels

    Mapping: axis 1, or ``axis``, by default (2, 3), within; before local_size//2, after (local_size − 1)//2;
    scale alpha/n; beta; k = bias.
    Refused: local_size < 1. Limits: NCHW and NC4HW4. Its importers drop Caffe's k and TensorFlow's bias.
    Source: source/geometry/GeometryLRN.cpp, schema/default/CaffeOp.fbs (no defaults but bias).
    Evidence: source.
    """
    choice(region_type, (0, 1), "region_type", "MNN")
    size = integer(local_size, "local_size", "MNN")
    if region_type == 1:
        return windowed(within_axes(axis, (2, 3), "MNN"), extra_before, size, alpha, beta, bias)
    no_axis(axis, "MNN")
    return windowed(1, extra_before, size, alpha, beta, bias)


@convention("cuda-convnet2", alpha="scale", beta="pow", k="min_div", choices=({}, {"type": "rnorm"}))
def cuda_convnet(
    size: int,
    scale: float,
    pow: float,  # noqa: A002 - the layer's own name
    min_div: float = 1.0,
    *,
    type: str = "cmrnorm",  # noqa: A002
    axis: Axes | None = None,
) -> LocalResponseNorm:
    """Krizhevsky's cuda-convnet2: layer types cmrnorm (across maps) and rnorm (within maps).

    ::

        y = x · (minDiv + scale/n · Σ x_j²)^(−pow)        j = f − size//2 … f + (size − 1)//2
        n: size, or size² for rnorm

    Mapping: axis 0 (arrays are C01B), or ``axis``, by default (1, 2), for rnorm; before size//2, after (size − 1)//2;
    scale divided by n; beta = pow; k = minDiv.
    Refused: size < 2 of cmrnorm, < 1 of rnorm. Limits: size at most the channels (cmrnorm) or the image; channels in
    multiples of 16; float32. ``blocked`` is another operator (disjoint groups).
    Source: layer.py (NormLayerParser), cudaconv3/src/conv_util.cu.
    Evidence: source.
    """
    choice(type, ("cmrnorm", "rnorm"), "type", "cuda-convnet2")
    if type == "rnorm":
        n = integer(size, "size", "cuda-convnet2")
        return windowed(within_axes(axis, (1, 2), "cuda-convnet2"), extra_before, n, scale, pow, min_div)
    no_axis(axis, "cuda-convnet2")
    return windowed(0, extra_before, integer(size, "size", "cuda-convnet2", 2), scale, pow, min_div)


@convention("AlexNet", "n", choices=({"variant": "trained"}, {"variant": "paper"}))
def alexnet(
    k: float = 2.0, n: int = 5, alpha: float = 1e-4, beta: float = 0.75, *, variant: str | None = None
) -> LocalResponseNorm:
    """AlexNet's normalization: as printed in the paper, or as the network was trained.

    ::

        variant="paper":    y_i = x_i · (k + alpha · Σ x_j²)^(−beta)          j = i − n/2 … i + n/2
        variant="trained":  y_i = x_i · (k + alpha/n · Σ x_j²)^(−beta)        j = i − n//2 … i + (n − 1)//2

    Mapping: axis 1, before n//2, after (n − 1)//2; scale alpha (paper) or alpha/n (trained); beta; k.
    The two differ fivefold in alpha: the shipped configuration (scale=1e-4, size=5, minDiv=2) is divided by size when
    cuda-convnet2 reads it. Frameworks copied the one or the other.
    Refused: no variant; even n of the paper's formula, which says nothing of it.
    Source: Krizhevsky, Sutskever and Hinton 2012, section 3.3; cuda-convnet2, layer.py.
    Evidence: source and documentation.
    """
    named_variant(variant, ("trained", "paper"), "AlexNet", because="the paper's alpha is not divided, the trained is")
    if variant == "paper":
        size = odd(n, "n", "AlexNet", "the paper's formula sums n/2 to either side")
        return windowed(1, extra_before, size, alpha, beta, k, divide=False)
    return windowed(1, extra_before, integer(n, "n", "AlexNet"), alpha, beta, k)
