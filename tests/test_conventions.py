"""Every convention against its framework's formula and published values, its refusals, and the way back."""

import inspect
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, conventions
from numba_lrn.conventions import translate
from numba_lrn.conventions.__main__ import renewed

# The squares of 1, 2, 3 are 1, 4, 9. With alpha = 2, beta = 1, k = 1 and a size of 2, y = x / (1 + a·S):
BEFORE_2 = [1 / (1 + 1), 2 / (1 + 1 + 4), 3 / (1 + 4 + 9)]  # a = 2/2, S over [c − 1, c]
AFTER_2 = [1 / (1 + 1 + 4), 2 / (1 + 4 + 9), 3 / (1 + 9)]  # a = 2/2, S over [c, c + 1]
DOWN_2 = [1 / (1 + 1), 2 / (1 + 4), 3 / (1 + 9)]  # a = 2/2, S over [c, c]
UP_2 = [1 / (1 + 1 + 4), 2 / (1 + 1 + 4 + 9), 3 / (1 + 4 + 9)]  # a = 2/2, S over [c − 1, c + 1]
AFTER_2_WHOLE = [1 / (1 + 2 * 5), 2 / (1 + 2 * 13), 3 / (1 + 2 * 9)]  # a = 2
UP_2_WHOLE = [1 / (1 + 2 * 5), 2 / (1 + 2 * 14), 3 / (1 + 2 * 13)]  # a = 2
# A size of 3 covers [c − 1, c + 1]: S = 5, 14, 13. With alpha = 3, beta = 1, k = 1:
ODD_3 = [1 / (1 + 5), 2 / (1 + 14), 3 / (1 + 13)]  # a = 3/3
ODD_3_WHOLE = [1 / (1 + 3 * 5), 2 / (1 + 3 * 14), 3 / (1 + 3 * 13)]  # a = 3

ACROSS = {
    "pytorch even": (conventions.pytorch(2, 2.0, 1.0, 1.0), 1, BEFORE_2),
    "pytorch odd": (conventions.pytorch(3, 3.0, 1.0, 1.0), 1, ODD_3),
    "paddle even": (conventions.paddle(2, 2.0, 1.0, 1.0), 1, BEFORE_2),
    "paddle channels last": (conventions.paddle(2, 2.0, 1.0, 1.0, "NDHWC"), -1, BEFORE_2),
    "coreml odd": (conventions.coreml(3, 3.0, 1.0, 1.0), -3, ODD_3),
    "mps even": (conventions.mps(2, 2.0, 1.0, 1.0), -1, BEFORE_2),
    "mnn even": (conventions.mnn(0, 2, 2.0, 1.0, 1.0), 1, BEFORE_2),
    "cuda_convnet even": (conventions.cuda_convnet(2, 2.0, 1.0, 1.0), 0, BEFORE_2),
    "alexnet trained": (conventions.alexnet(1.0, 2, 2.0, 1.0, variant="trained"), 1, BEFORE_2),
    "alexnet paper": (conventions.alexnet(1.0, 3, 3.0, 1.0, variant="paper"), 1, ODD_3_WHOLE),
    "onnx even": (conventions.onnx(2, 2.0, 1.0, 1.0), 1, AFTER_2),
    "onnx odd": (conventions.onnx(3, 3.0, 1.0, 1.0), 1, ODD_3),
    "onnxruntime": (conventions.onnxruntime(3, 3.0, 1.0, 1.0), 1, ODD_3),
    "directml even": (conventions.directml(True, 2, 2.0, 1.0, 1.0), 1, AFTER_2),
    "cudnn even": (conventions.cudnn(2, 2.0, 1.0, 1.0), 1, AFTER_2),
    "miopen even": (conventions.miopen("cross_channel", 2, 2.0, 1.0, 1.0), 1, AFTER_2),
    "matlab even": (conventions.matlab(2, 2.0, 1.0, 1.0), 2, AFTER_2),
    "nnef even": (conventions.nnef([1, 2, 1, 1], 2.0, 1.0, 1.0), 1, AFTER_2),
    "caffe": (conventions.caffe(3, 3.0, 1.0, k=1.0), 1, ODD_3),
    "caffe2": (conventions.caffe2(3, 3.0, 1.0, 1.0), 1, ODD_3),
    "caffe2 channels last": (conventions.caffe2(3, 3.0, 1.0, 1.0, "NHWC"), -1, ODD_3),
    "mxnet": (conventions.mxnet(3.0, 1.0, 1.0, nsize=3), 1, ODD_3),
    "tensorrt": (conventions.tensorrt(3, 3.0, 1.0, 1.0), -3, ODD_3),
    "tvm": (conventions.tvm(3, 2, 1.0, 3.0, 1.0), 2, ODD_3),
    "torch7": (conventions.torch7(3, 3.0, 1.0, 1.0), -3, ODD_3),
    "lasagne": (conventions.lasagne(3.0, 1.0, 1.0, 3), 1, ODD_3_WHOLE),
    "acl": (conventions.acl("CROSS_MAP", 3, 3.0, 1.0, 1.0), -3, ODD_3),
    "acl along the width": (conventions.acl("IN_MAP_1D", 3, 3.0, 1.0, 1.0), -1, ODD_3),
    "acl not scaled": (conventions.acl("CROSS_MAP", 3, 3.0, 1.0, 1.0, False), -3, ODD_3_WHOLE),
    "tensorflow": (conventions.tensorflow(1, 1.0, 3.0, 1.0), -1, ODD_3_WHOLE),
    "keras": (conventions.keras(1, 1.0, 3.0, 1.0), -1, ODD_3_WHOLE),
    "mindspore": (conventions.mindspore(1, 1.0, 3.0, 1.0), 1, ODD_3_WHOLE),
    "tflite optimized": (conventions.tflite(1, 1.0, 3.0, 1.0, variant="optimized"), -1, ODD_3_WHOLE),
    # [c − 1, c], undivided: S = 1, 5, 13
    "tflite reference": (
        conventions.tflite(1, 1.0, 3.0, 1.0, variant="reference"),
        -1,
        [1 / (1 + 3 * 1), 2 / (1 + 3 * 5), 3 / (1 + 3 * 13)],
    ),
    # [c, c − 1] is empty
    "tflite reference, radius 0": (conventions.tflite(0, 2.0, 3.0, 1.0, variant="reference"), -1, [0.5, 1.0, 1.5]),
    "onednn even": (conventions.onednn("lrn_across_channels", 2, 2.0, 1.0, 1.0), 1, DOWN_2),
    "onednn odd": (conventions.onednn("lrn_across_channels", 3, 3.0, 1.0, 1.0), 1, ODD_3),
    "openvino even": (conventions.openvino((1,), 2.0, 1.0, 1.0, 2), 1, DOWN_2),
    "openvino cpu": (conventions.openvino((1,), 2.0, 1.0, 1.9, 2, variant="cpu"), 1, DOWN_2),
    "chainer cpu": (conventions.chainer(2, 1.0, 2.0, 1.0, variant="cpu"), 1, UP_2_WHOLE),
    "chainer gpu": (conventions.chainer(2, 1.0, 2.0, 1.0, variant="gpu"), 1, AFTER_2_WHOLE),
    "chainer odd": (conventions.chainer(3, 1.0, 3.0, 1.0), 1, ODD_3_WHOLE),
    "ncnn cpu": (conventions.ncnn(0, 2, 2.0, 1.0, 1.0, variant="cpu"), -3, UP_2),
    "ncnn vulkan": (conventions.ncnn(0, 2, 2.0, 1.0, 1.0, variant="vulkan"), -3, BEFORE_2),
    "ncnn odd": (conventions.ncnn(0, 3, 3.0, 1.0, 1.0), -3, ODD_3),
}

# x = [[1, 2], [3, 4]], squares [[1, 4], [9, 16]]. With alpha = 4, beta = 1, k = 1 and a size of 2, y = x / (1 + S·4/4):
BEFORE_2X2 = [[1 / (1 + 1), 2 / (1 + 5)], [3 / (1 + 10), 4 / (1 + 30)]]
AFTER_2X2 = [[1 / (1 + 30), 2 / (1 + 20)], [3 / (1 + 25), 4 / (1 + 16)]]
DOWN_2X2 = [[1 / (1 + 1), 2 / (1 + 4)], [3 / (1 + 9), 4 / (1 + 16)]]
# With alpha = 9 and a size of 3 every window holds all four: y = x / (1 + 30·9/9).
ODD_3X3 = [[1 / 31, 2 / 31], [3 / 31, 4 / 31]]

WITHIN = {
    "mps": (conventions.mps(2, 4.0, 1.0, 1.0, spatial=True), (-3, -2), BEFORE_2X2),
    "mnn": (conventions.mnn(1, 2, 4.0, 1.0, 1.0), (2, 3), BEFORE_2X2),
    "ncnn": (conventions.ncnn(1, 2, 4.0, 1.0, 1.0), (-2, -1), BEFORE_2X2),
    "cuda_convnet": (conventions.cuda_convnet(2, 4.0, 1.0, 1.0, type="rnorm"), (1, 2), BEFORE_2X2),
    "directml as printed": (conventions.directml(False, 2, 2.0, 1.0, 1.0), (2, 3), AFTER_2X2),  # 2/2
    "directml by the region": (conventions.directml(False, 2, 4.0, 1.0, 1.0, divisor="region"), (2, 3), AFTER_2X2),
    "cudnn divisive": (conventions.cudnn(2, 4.0, 1.0, 1.0, divisive=True), (2, 3), AFTER_2X2),
    "miopen": (conventions.miopen("within_channel", 2, 4.0, 1.0, 1.0), (2, 3), AFTER_2X2),
    "nnef": (conventions.nnef([1, 1, 2, 2], 4.0, 1.0, 1.0), (2, 3), AFTER_2X2),
    "onednn": (conventions.onednn("lrn_within_channel", 2, 4.0, 1.0, 1.0), (2, 3), DOWN_2X2),
    "onednn, channels last": (
        conventions.onednn("lrn_within_channel", 2, 4.0, 1.0, 1.0, axis=(1, 2)),
        (1, 2),
        DOWN_2X2,
    ),
    "openvino": (conventions.openvino((2, 3), 4.0, 1.0, 1.0, 2), (2, 3), DOWN_2X2),
    "openvino, channels too": (conventions.openvino((1, 2), 4.0, 1.0, 1.0, 2, variant="reference"), (1, 2), DOWN_2X2),
    "caffe": (conventions.caffe(3, 9.0, 1.0, "WITHIN_CHANNEL"), (2, 3), ODD_3X3),
    "caffe ignores k": (conventions.caffe(3, 9.0, 1.0, "WITHIN_CHANNEL", 5.0, variant="caffe"), (2, 3), ODD_3X3),
    "caffe by cudnn": (
        conventions.caffe(3, 9.0, 1.0, "WITHIN_CHANNEL", 10.0, variant="cudnn"),
        (2, 3),
        [[1 / 40, 2 / 40], [3 / 40, 4 / 40]],  # k = 10
    ),
    "acl": (conventions.acl("IN_MAP_2D", 3, 9.0, 1.0, 1.0), (-2, -1), ODD_3X3),
    "acl not scaled": (conventions.acl("IN_MAP_2D", 3, 1.0, 1.0, 1.0, False), (-2, -1), ODD_3X3),
}


@pytest.mark.parametrize("name", ACROSS)
def test_across_channels_by_hand(name):
    op, axis, expected = ACROSS[name]
    assert op.axis == axis
    shape = [1, 1, 1, 1]
    shape[axis] = 3
    y = op(np.array([1.0, 2.0, 3.0]).reshape(shape))
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-14)


@pytest.mark.parametrize("name", WITHIN)
def test_within_channels_by_hand(name):
    op, axes, expected = WITHIN[name]
    assert op.axis == axes
    shape = [1, 1, 1, 1]
    for axis in axes:
        shape[axis] = 2
    y = op(np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(shape))
    np.testing.assert_allclose(y.reshape(2, 2), expected, rtol=1e-14)


DEFAULTS = {
    # (before, scale, beta, k) of a call that gives nothing but what must be given
    "pytorch": (conventions.pytorch(5), 2, 1e-4 / 5, 0.75, 1),
    "paddle": (conventions.paddle(5), 2, 1e-4 / 5, 0.75, 1),
    "coreml": (conventions.coreml(5), 2, 1e-4 / 5, 0.75, 1),
    "mps": (conventions.mps(5), 2, 1 / 5, 5, 1),
    "mnn": (conventions.mnn(0, 5, 1.0, 0.75), 2, 1 / 5, 0.75, 1),
    "cuda_convnet": (conventions.cuda_convnet(5, 1e-4, 0.75), 2, 1e-4 / 5, 0.75, 1),
    "alexnet trained": (conventions.alexnet(variant="trained"), 2, 1e-4 / 5, 0.75, 2),
    "alexnet paper": (conventions.alexnet(variant="paper"), 2, 1e-4, 0.75, 2),
    "onnx": (conventions.onnx(5), 2, 1e-4 / 5, 0.75, 1),
    "cudnn": (conventions.cudnn(), 2, 1e-4 / 5, 0.75, 2),
    "matlab": (conventions.matlab(5), 2, 1e-4 / 5, 0.75, 2),
    "nnef": (conventions.nnef((1, 5)), 2, 1 / 5, 0.5, 1),
    "caffe": (conventions.caffe(), 2, 1 / 5, 0.75, 1),
    "caffe2": (conventions.caffe2(5), 2, 0, 0, 1),
    "mxnet": (conventions.mxnet(nsize=5), 2, 1e-4 / 5, 0.75, 2),
    "tvm": (conventions.tvm(), 2, 1e-5 / 5, 0.75, 2),
    "torch7": (conventions.torch7(5), 2, 1e-4 / 5, 0.75, 1),
    "lasagne": (conventions.lasagne(), 2, 1e-4, 0.75, 2),
    "acl": (conventions.acl("CROSS_MAP"), 2, 1e-4 / 5, 0.5, 1),
    "tensorflow": (conventions.tensorflow(), 5, 1, 0.5, 1),
    "mindspore": (conventions.mindspore(), 5, 1, 0.5, 1),
    "openvino": (conventions.openvino((1,)), 2, 1 / 5, 0.5, 1),
    "chainer": (conventions.chainer(), 2, 1e-4, 0.75, 2),
    "ncnn": (conventions.ncnn(), 2, 1 / 5, 0.75, 1),
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_defaults(name):
    op, before, scale, beta, k = DEFAULTS[name]
    assert (op.before, op.after, op.scale, op.beta, op.k) == (before, before, scale, beta, k)


# Values that the frameworks publish --------------------------------------------------------------------------------


def test_tensorrt_example():
    """The example of TensorRT's LRN page, printed from float32: window 3, alpha 1, beta 1, k 0.1."""
    x = np.arange(5.0).reshape(1, 5, 1, 1)
    y = conventions.tensorrt(3, 1.0, 1.0, 0.1)(x)
    np.testing.assert_allclose(y.ravel(), [0, 0.56603765, 0.4195804, 0.3071672, 0.47430828], rtol=2e-7)


def test_burn_example_is_the_mirror_image_of_pytorch():
    """The test of burn-nn's local_response.rs (ONNX's window), and PyTorch's answer to it."""
    x = np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(conventions.onnx(2, 1.0, 1.0, 0.0)(x).ravel(), [0.4, 0.2, 0.5], rtol=1e-14)
    np.testing.assert_allclose(conventions.pytorch(2, 1.0, 1.0, 0.0)(x).ravel(), [2, 0.8, 0.4], rtol=1e-14)


@pytest.mark.parametrize(
    ("radius", "bias", "alpha", "expected"),
    [
        (20, 0.0, 1.0, [-0.55, 0.3, 0.35, 0.6, -0.35, 0.05]),
        (20, 0.0, 4.0, [-0.275, 0.15, 0.175, 0.3, -0.175, 0.025]),
        (20, 9.0, 4.0, [-0.22, 0.12, 0.14, 0.24, -0.14, 0.02]),
        (2, 9.0, 4.0, [-0.264926, 0.125109, 0.140112, 0.267261, -0.161788, 0.0244266]),
    ],
)
def test_tflite_published(radius, bias, alpha, expected):
    """tensorflow/lite/kernels/local_response_norm_test.cc."""
    x = np.array([-1.1, 0.6, 0.7, 1.2, -0.7, 0.1]).reshape(1, 1, 1, 6)
    op = conventions.tflite(radius, bias, alpha, 0.5, variant="optimized")
    assert op == conventions.tensorflow(radius, bias, alpha, 0.5)
    np.testing.assert_allclose(op(x).ravel(), expected, rtol=5e-6)


OPENVINO = {
    (1,): "0 .3015113 .4364358 .5 .8728716 .8451542 .5970223 .6115928 .5642765 .5669467 .7784989 .7720487",
    (2,): "0 .7071068 .5345225 .8017837 .6172134 .7715167 .6469966 .7548294 .6620847 .7448453 .671156 .7382717",
    (2, 3):
    "0 .8660254 .8660254 1.2990381 1.0444659 1.3055824 1.1078234 1.2924607 1.1389896 1.2813632 1.1572751 1.2730026",
    (0, 1, 2, 3):
    "0 .3156438 .4501407 .675211 .9830783 1.2288479 1.8938627 2.2095065 1.8005627 2.0256331 2.4576957 2.7034652",
    (0, 3):
    "0 .2379155 .4111132 .5388159 .6351073 .7094756 1.6641006 1.6654084 1.6444529 1.6164477 1.5877683 1.5608464",
    (): "0 .5 .5547002 .5669467 .5714286 .5735393 .5746958 .5753965 .5758526 .576166 .5763904 .5765567",
}  # fmt: skip


@pytest.mark.parametrize("axes", OPENVINO)
def test_openvino_published(axes):
    """op_reference/lrn.cpp of OpenVINO: alpha 3, beta 0.5, bias 1, size 3 on (2, 3, 2, 1)."""
    variant = "reference" if len(axes) > 1 and 1 in axes else None
    op = conventions.openvino(axes, 3.0, 0.5, 1.0, 3, variant=variant)
    y = op(np.arange(12.0).reshape(2, 3, 2, 1))
    np.testing.assert_allclose(y.ravel(), np.array(OPENVINO[axes].split(), float), rtol=2e-7)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (2, [0.99996257, -6.98716545, 4.99531746, -5.99191284, -2.99898791, -4.99531746]),
        (3, [0.99997497, -6.99143696, 4.99687672, -5.99460602, -2.99932504, -4.99687672]),
    ],
)
def test_coreml_published(size, expected):
    """coremltools, ops/tests/iOS14/test_normalization.py: rank 3, where each channel is alone at axis −3."""
    x = np.array([[[1.0, -7.0], [5.0, -6.0], [-3.0, -5.0]]])
    np.testing.assert_allclose(conventions.coreml(size)(x).ravel(), expected, rtol=1e-6)


def test_mindspore_and_pytorch_published():
    """MindSpore's page on the differences of nn.LRN from torch.nn.LocalResponseNorm."""
    x = np.array([2.4, 3.51, 1.3, -4.4]).reshape(1, 2, 2, 1)
    torch, mindspore = conventions.pytorch(2, 1e-4), conventions.mindspore(1, 1.0, 1e-4, 0.75)
    np.testing.assert_allclose(torch(x).ravel(), [2.3994818, 3.5083795, 1.2996368, -4.39478], rtol=2e-7)
    np.testing.assert_allclose(mindspore(x).ravel(), [2.39866, 3.5016835, 1.2992741, -4.3895745], rtol=2e-7)


def test_matlab_example():
    """crosschannelnorm's example, ones in three channels; the divisor stays 3 at the borders."""
    y = conventions.matlab(3, 1.0, 1.0, 1e-5)(np.ones((1, 1, 3, 1)))
    np.testing.assert_allclose(y.ravel(), [1 / (1e-5 + 2 / 3), 1 / (1e-5 + 3 / 3), 1 / (1e-5 + 2 / 3)], rtol=1e-14)


# Refusals ----------------------------------------------------------------------------------------------------------

REFUSED = {
    "pytorch: size 0": (lambda: conventions.pytorch(0), "PyTorch: size must be at least 1, got 0"),
    "paddle: format": (lambda: conventions.paddle(3, data_format="NCHWC"), "PaddlePaddle: data_format must be one of"),
    "cuda_convnet: size 1": (lambda: conventions.cuda_convnet(1, 1.0, 1.0), "size must be at least 2, got 1"),
    "cuda_convnet: type": (lambda: conventions.cuda_convnet(3, 1.0, 1.0, type="x"), "type must be one of 'cmrnorm'"),
    "mnn: region": (lambda: conventions.mnn(2, 3, 1.0, 1.0), "MNN: region_type must be one of 0, 1, got 2"),
    "alexnet: no variant": (lambda: conventions.alexnet(), "variant='trained' or variant='paper'"),
    "alexnet: even paper": (lambda: conventions.alexnet(n=4, variant="paper"), "n must be odd, got 4"),
    "onnxruntime: even": (lambda: conventions.onnxruntime(4), "size_ % 2 == 1 was false"),
    "onnxruntime: alpha": (lambda: conventions.onnxruntime(3, 0.0), "alpha must be greater than 0, got 0.0"),
    "onnxruntime: beta": (lambda: conventions.onnxruntime(3, 1.0, -1.0), "beta must be greater than 0, got -1.0"),
    "directml: flag": (lambda: conventions.directml("yes", 3, 1.0, 1.0, 1.0), "cross_channel must be one of True"),
    "directml: divisor": (
        lambda: conventions.directml(True, 3, 1.0, 1.0, 1.0, divisor="region"),
        "divisor='region' is for cross_channel=False",
    ),
    "directml: axis": (lambda: conventions.directml(True, 3, 1.0, 1.0, 1.0, axis=(2, 3)), "leave axis out"),
    "cudnn: n": (lambda: conventions.cudnn(17), "cuDNN: lrn_n must be from 1 to 16, got 17"),
    "cudnn: k": (lambda: conventions.cudnn(5, lrn_k=0.0), "cuDNN: lrn_k must be at least 1e-05, got 0.0"),
    "cudnn: beta": (lambda: conventions.cudnn(5, lrn_beta=0.005), "lrn_beta must be at least 0.01, got 0.005"),
    "cudnn: axes": (lambda: conventions.cudnn(5, divisive=True, axis=2), "axis must be a tuple of 2 or 3 axes"),
    "miopen: k": (lambda: conventions.miopen("cross_channel", 3, 1.0, 1.0, 0.0), "Expect non-zero bias/K"),
    "matlab: beta": (lambda: conventions.matlab(3, beta=0.0), "MATLAB: beta must be at least 0.01, got 0.0"),
    "nnef: empty": (lambda: conventions.nnef([]), "NNEF: size is empty"),
    "nnef: size": (lambda: conventions.nnef([1, 0]), "NNEF: size must be at least 1, got 0"),
    "caffe: even": (lambda: conventions.caffe(4), "LRN only supports odd values for local_size"),
    "caffe: variant": (
        lambda: conventions.caffe(3, norm_region="WITHIN_CHANNEL", k=2.0),
        "takes k as 1, its cuDNN engine as the 2.0 given; name one with variant='caffe' or variant='cudnn'",
    ),
    "caffe2: even": (lambda: conventions.caffe2(4), "DCHECK_EQ"),
    "mxnet: even": (lambda: conventions.mxnet(nsize=4), "MXNet: nsize must be odd, got 4"),
    "tensorrt: even": (lambda: conventions.tensorrt(4, 1.0, 1.0, 1.0), "TensorRT: window must be odd, got 4"),
    "tensorrt: n": (lambda: conventions.tensorrt(17, 1.0, 1.0, 1.0), "window must be from 1 to 15, got 17"),
    "tensorrt: alpha": (lambda: conventions.tensorrt(3, 1e21, 1.0, 1.0), "alpha must be from -1e+20 to 1e+20"),
    "tensorrt: beta": (lambda: conventions.tensorrt(3, 1.0, 0.0, 1.0), "beta must be from 0.01 to 100000"),
    "tensorrt: k": (lambda: conventions.tensorrt(3, 1.0, 1.0, 0.0), "k must be from 1e-05 to 1e+10"),
    "tvm: even": (lambda: conventions.tvm(4), "TVM: size must be odd, got 4"),
    "torch7: even": (lambda: conventions.torch7(4), "fractional index"),
    "lasagne: even": (lambda: conventions.lasagne(n=4), "Only works with odd n"),
    "acl: even": (lambda: conventions.acl("CROSS_MAP", 4), "Normalization size should be odd"),
    "acl: axes": (lambda: conventions.acl("IN_MAP_2D", 3, axis=1), "IN_MAP_2D takes two axes"),
    "acl: axes of three": (lambda: conventions.acl("IN_MAP_2D", 3, axis=(1, 2, 3)), "IN_MAP_2D takes two axes"),
    "acl: flag": (lambda: conventions.acl("CROSS_MAP", 3, is_scaled="no"), "is_scaled must be one of True, False"),
    "cudnn: flag": (lambda: conventions.cudnn(3, divisive="no"), "cuDNN: divisive must be one of True, False"),
    "mps: flag": (lambda: conventions.mps(3, spatial="x"), "spatial must be one of True, False, 1, 0, got 'x'"),
    "tensorflow: radius": (lambda: conventions.tensorflow(-1), "depth_radius must be at least 0, got -1"),
    "tflite: variant": (
        lambda: conventions.tflite(2, 1.0, 1.0, 0.5),
        "name one with variant='optimized' or variant='reference'",
    ),
    "mindspore: region": (lambda: conventions.mindspore(norm_region="WITHIN_CHANNEL"), "norm_region must be one of"),
    "onednn: size": (
        lambda: conventions.onednn("lrn_across_channels", 0, 1.0, 1.0, 1.0),
        "local_size must be at least 1, got 0",
    ),
    "onednn: algorithm": (lambda: conventions.onednn("across", 3, 1.0, 1.0, 1.0), "algorithm must be one of"),
    "openvino: bias": (lambda: conventions.openvino((1,), bias=1.5), "takes bias=1.5 as 1, its reference as given"),
    "openvino: axes": (lambda: conventions.openvino((1, 2, 3)), "the spatial axes alone"),
    "openvino: axes on the CPU": (
        lambda: conventions.openvino((1, 2, 3), variant="cpu"),
        "axes=(1, 2, 3) are refused with variant='cpu'",
    ),
    "openvino: negative": (lambda: conventions.openvino((-1,)), "axes must be at least 0, got -1"),
    "chainer: even": (lambda: conventions.chainer(4), "its CPU sums 5 channels and its GPU 4; name one"),
    "ncnn: even": (lambda: conventions.ncnn(local_size=4), "its CPU sums 5 channels and Vulkan 4; name one"),
    "unknown variant": (
        lambda: conventions.chainer(4, variant="tpu"),
        "variant must be one of 'cpu', 'gpu', got 'tpu'",
    ),
    "infinite alpha": (lambda: conventions.pytorch(5, math.inf), "alpha must be finite, got inf"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, text = REFUSED[name]
    with pytest.raises(ValueError, match=re.escape(text)):
        call()


@pytest.mark.parametrize("size", [2.0, "3", True, None, np.bool_(True)])
def test_sizes_are_integers(size):
    with pytest.raises(TypeError, match="size must be an integer"):
        conventions.onnx(size)


def test_sizes_of_numpy_are_taken():
    assert conventions.onnx(np.int32(4)) == conventions.onnx(4)


@pytest.mark.parametrize("alpha", ["1", bytearray(b"1"), True, np.True_, 1j, np.complex64(1), np.ones(2)])
def test_parameters_are_real_numbers(alpha):
    with pytest.raises(TypeError, match="alpha must be a real number"):
        conventions.pytorch(3, alpha)


# The way back ------------------------------------------------------------------------------------------------------


def _random_arguments(known, fixed, rng):
    """Arguments that the framework takes, unless it refuses the size."""
    n = int(rng.integers(1, 16))
    size = [1, n, int(rng.integers(1, 8)), 1] if known.label == "NNEF" else n
    return {
        **fixed,
        known.size: size,
        known.alpha: float(rng.uniform(0.01, 20)),
        known.beta: float(rng.uniform(0.05, 2)),
        known.k: float(rng.uniform(0.1, 4)),
    }


@pytest.mark.parametrize("framework", sorted(translate._REGISTRY))
def test_round_trip(framework):
    known = translate._REGISTRY[framework]
    rng = np.random.default_rng(7)
    returned = 0
    for fixed in known.choices:
        for _ in range(40):
            try:
                op = known.build(**_random_arguments(known, fixed, rng))
            except ValueError:
                continue  # an even size that is refused, or a variant that must be named
            assert known.build(**conventions.convert(op, framework)) == op
            returned += 1
    assert returned >= 15


def test_spatial_axes_return():
    for axis in [(2, 3), (1, 2), (-2, -1), (2, 3, 4), (2,)]:
        op = conventions.onednn("lrn_within_channel", 3, 1.5, 0.6, 1.3, axis=axis)
        assert conventions.onednn(**conventions.convert(op, "onednn")) == op


def test_convert_carries_channels_to_the_framework_own_axis():
    arguments = conventions.convert(conventions.pytorch(5, 1e-4, 0.75, 2.0), "tensorflow")
    assert arguments == {"depth_radius": 2, "bias": 2.0, "alpha": 2e-5, "beta": 0.75}
    x = np.arange(24.0).reshape(1, 6, 2, 2) / 8
    y = conventions.pytorch(5, 1e-4, 0.75, 2.0)(x)
    channels_last = conventions.tensorflow(**arguments)(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    np.testing.assert_array_equal(channels_last.transpose(0, 3, 1, 2), y)


def test_axes_of_a_box_in_any_order():
    for axis in ((3, 2), (2, 3)):
        op = LocalResponseNorm((5, 3) if axis == (2, 3) else (3, 5), 1.0, axis=axis)
        assert conventions.convert(op, "nnef")["size"] == [1, 1, 5, 3]


def test_convert_takes_operators():
    with pytest.raises(TypeError, match="op must be a LocalResponseNorm, got 'x' of type str"):
        conventions.convert("x", "pytorch")


def test_sizes_that_no_float_counts():
    for build in (conventions.pytorch, conventions.onnx, conventions.caffe):
        assert build(10**400 + 1, 1.0).scale == 0.0


def test_convert_returns_the_shortest_alpha():
    assert conventions.convert(LocalResponseNorm(5, alpha=1e-4), "onnx")["alpha"] == 1e-4
    assert conventions.convert(LocalResponseNorm(9, alpha=0.3), "caffe")["alpha"] == 0.3


def test_convert_keeps_the_order_of_the_framework():
    arguments = conventions.convert(conventions.pytorch(3, 1.5, 0.6, 1.3), "lasagne")
    assert list(arguments) == ["alpha", "k", "beta", "n"]


def test_convert_finds_an_even_size_where_it_rounds():
    op = LocalResponseNorm.from_window(1, 1, 1, 0.1 / 4, 0.6, 1.3)
    assert conventions.onednn(**conventions.convert(op, "onednn")) == op


@pytest.mark.parametrize(
    ("op", "framework", "reason"),
    [
        (LocalResponseNorm(4), "onnx", "ONNX cannot express this operator: the extra element is before the centre"),
        (conventions.onnx(4), "pytorch", "the extra element is after the centre"),
        (LocalResponseNorm(4), "mxnet", "nsize must be odd, got 4"),
        (LocalResponseNorm(5, axis=(2, 3)), "tensorflow", "its window lies along one axis"),
        (LocalResponseNorm((3, 5), axis=(2, 3)), "caffe", "the window differs between the axes"),
        (LocalResponseNorm(17, k=2.0, axis=(2, 3)), "caffe", "it does not use k=2.0 as given"),
        (LocalResponseNorm(5, beta=0.001), "cudnn", "lrn_beta must be at least 0.01"),
        (LocalResponseNorm(17), "cudnn", "lrn_n must be from 1 to 16, got 17"),
        (LocalResponseNorm(5, alpha=-1.0), "onnxruntime", "alpha must be greater than 0"),
        (LocalResponseNorm.from_window(1, 0, 3, 1.0, 0.5, 1.0), "onnx", "0 elements before the centre and 3 after"),
        (LocalResponseNorm(5), "caffe3", "unknown framework 'caffe3'; known are acl, alexnet"),
    ],
)
def test_convert_says_why_not(op, framework, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        conventions.convert(op, framework)


def test_describe_names_every_framework_once():
    lines = conventions.describe(LocalResponseNorm(4, alpha=1.0)).splitlines()
    labels = [line.partition(":")[0] for line in lines]
    assert sorted(labels) == sorted(known.label for known in translate._REGISTRY.values())
    assert "PyTorch: size=4, alpha=1.0, beta=0.75, k=1.0" in lines
    assert "ONNX: cannot: the extra element is before the centre" in lines
    assert "Core ML: size=4, alpha=1.0, beta=0.75, k=1.0 (along axis -3)" in lines


def test_directml_flags_are_those_of_the_api():
    assert conventions.directml(1, 3, 1.0, 0.75, 1.0) == conventions.directml(True, 3, 1.0, 0.75, 1.0)
    assert conventions.directml(0, 3, 1.0, 0.75, 1.0) == conventions.directml(False, 3, 1.0, 0.75, 1.0)


# The whole ---------------------------------------------------------------------------------------------------------


def test_every_function_is_registered_public_and_documented():
    functions = set(conventions.__all__) - {"convert", "describe", "table"}
    assert functions == set(translate._REGISTRY)
    for name in functions:
        text = inspect.getdoc(getattr(conventions, name))
        for part in ("::", "Mapping:", "Source:", "Evidence:"):
            assert part in text, (name, part)


def test_the_table_is_worked_out_from_the_functions():
    lines = conventions.table().splitlines()
    call = "`pytorch(size, alpha=0.0001, beta=0.75, k=1.0)`"
    assert f"| PyTorch | {call} | extra before | n | 1 | run, forward and backward |" in lines
    assert {line.split(" | ")[0].removeprefix("| ") for line in lines[2:]} == {
        known.label for known in translate._REGISTRY.values()
    }


def test_the_command_prints_the_table():
    command = [sys.executable, "-m", "numba_lrn.conventions"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert printed.strip() == conventions.table()


def test_the_table_in_the_documentation_is_the_generated_one():
    text = (Path(__file__).parent.parent / "docs" / "conventions.md").read_text(encoding="utf-8")
    assert renewed(text) == text


def test_a_file_without_marks_is_refused():
    with pytest.raises(ValueError, match="the marks <!-- conventions: begin -->"):
        renewed("no marks")
