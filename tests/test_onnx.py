"""The ONNX face: a model's LRN nodes through this library."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from numba_lrn import conventions, reference
from tests.support import optional

onnx = optional("onnx")
helper = pytest.importorskip("onnx.helper")
evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
LRN = pytest.importorskip("numba_lrn.onnx").LRN

FLOAT = onnx.TensorProto.FLOAT


def lrn_model(shape, dtype=FLOAT, opset=13, **attributes):
    node = helper.make_node("LRN", ["X"], ["Y"], **attributes)
    values = [helper.make_tensor_value_info(name, dtype, shape) for name in "XY"]
    graph = helper.make_graph([node], "lrn", values[:1], values[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def run(model, x):
    (y,) = evaluator(model, new_ops=[LRN]).run(None, {"X": x})
    return y


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (6, 5, 3, 4), (2, 5), (2, 5, 7), (2, 5, 3, 2, 2)])
@pytest.mark.parametrize("size", [3, 4])
def test_batch_and_channels_of_different_length(shape, size):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    y = run(lrn_model(shape, alpha=2.0, beta=0.75, bias=1.5, size=size), x)
    truth = reference.forward(conventions.onnx(size, 2.0, 0.75, 1.5), x)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, truth, rtol=1e-6)


def test_window_by_hand():
    # size 2 sums [c, c + 1]: 1 + 4, 4 + 16, 16; alpha/size = 1/2; beta 1; bias 1
    y = run(lrn_model((1, 3), alpha=1.0, beta=1.0, bias=1.0, size=2), np.array([[1, 2, 4]], np.float32))
    np.testing.assert_allclose(y, [[1 / (1 + 2.5), 2 / (1 + 10), 4 / (1 + 8)]], rtol=1e-6)


def test_defaults_are_those_of_the_schema():
    x = np.random.default_rng(1).standard_normal((2, 5, 3, 4)).astype(np.float32) * 100
    attributes = {name: float(np.float32(value)) for name, value in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))}
    np.testing.assert_array_equal(run(lrn_model(x.shape, size=3), x), conventions.onnx(3, **attributes)(x))


@pytest.mark.parametrize("opset", [1, 13])
def test_both_versions_of_the_operator(opset):
    x = np.random.default_rng(2).standard_normal((2, 5, 3, 4)).astype(np.float32)
    y = run(lrn_model(x.shape, opset=opset, size=3, alpha=2.0), x)
    np.testing.assert_allclose(y, reference.forward(conventions.onnx(3, 2.0), x), rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "element"),
    [
        (np.float16, onnx.TensorProto.FLOAT16),
        (np.float64, onnx.TensorProto.DOUBLE),
        (ml_dtypes.bfloat16, onnx.TensorProto.BFLOAT16),
    ],
)
def test_dtypes(dtype, element):
    x = np.random.default_rng(3).standard_normal((2, 5, 3, 4)).astype(dtype)
    y = run(lrn_model(x.shape, element, size=4, alpha=2.0), x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, conventions.onnx(4, 2.0)(x))


def _convolution(name, x, weights, pads, strides):
    node = helper.make_node("Conv", [x, f"{name}_w"], [f"{name}_y"], pads=[pads] * 4, strides=[strides] * 2)
    return node, onnx.numpy_helper.from_array(weights, f"{name}_w")


def test_a_model_of_alexnet_s_shape():
    """Conv, Relu, LRN, MaxPool twice over, in small, with N = 2 ≠ C = 8."""
    rng = np.random.default_rng(4)
    weights = [rng.standard_normal(shape).astype(np.float32) / 4 for shape in [(8, 3, 5, 5), (12, 8, 3, 3)]]
    lrn = {"alpha": 1.5, "beta": 0.75, "bias": 2.0, "size": 5}
    first, first_w = _convolution("conv1", "image", weights[0], 2, 2)
    second, second_w = _convolution("conv2", "pool1_y", weights[1], 1, 1)
    pool = {"kernel_shape": [3, 3], "strides": [2, 2]}
    nodes = [
        first,
        helper.make_node("Relu", ["conv1_y"], ["relu1_y"]),
        helper.make_node("LRN", ["relu1_y"], ["norm1_y"], **lrn),
        helper.make_node("MaxPool", ["norm1_y"], ["pool1_y"], **pool),
        second,
        helper.make_node("Relu", ["conv2_y"], ["relu2_y"]),
        helper.make_node("LRN", ["relu2_y"], ["norm2_y"], **lrn),
    ]
    names = ["relu1_y", "norm1_y", "relu2_y", "norm2_y"]
    graph = helper.make_graph(
        nodes,
        "alexnet in small",
        [helper.make_tensor_value_info("image", FLOAT, (2, 3, 32, 32))],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in names],
        [first_w, second_w],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    image = rng.standard_normal((2, 3, 32, 32)).astype(np.float32)
    relu1, norm1, relu2, norm2 = evaluator(model, new_ops=[LRN]).run(None, {"image": image})
    op = conventions.onnx(5, 1.5, 0.75, 2.0)
    assert relu1.shape[:2] == (2, 8)
    assert relu2.shape[:2] == (2, 12)
    np.testing.assert_allclose(norm1, reference.forward(op, relu1), rtol=1e-6)
    np.testing.assert_allclose(norm2, reference.forward(op, relu2), rtol=1e-6)
    assert np.abs(norm1 - relu1 * 2**-0.75).max() > 0.1  # the window sum matters here


def test_without_onnx_the_import_says_what_to_install():
    code = "import sys; sys.modules['onnx'] = None; import numba_lrn.onnx"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode != 0
    assert "pip install 'numba-lrn[onnx]'" in result.stderr
