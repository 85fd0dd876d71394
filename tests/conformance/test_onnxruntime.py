"""ONNX Runtime's CPU provider, and the reference evaluator of onnx."""

import numpy as np
import pytest

from numba_lrn import conventions, reference
from tests.conformance.harness import agree, cases, framework, running_sum_limit

onnxruntime = framework("onnxruntime")
onnx = framework("onnx")
helper = framework("onnx.helper")
evaluator = framework("onnx.reference").ReferenceEvaluator

LIMIT = 16


def model(shape, size, alpha, beta, bias):
    node = helper.make_node("LRN", ["X"], ["Y"], size=size, alpha=alpha, beta=beta, bias=bias)
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in "XY"]
    graph = helper.make_graph([node], "lrn", values[:1], values[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 9
    return made


def run(x, size, alpha=1e-4, beta=0.75, bias=1.0):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    graph = model(x.shape, size, alpha, beta, bias).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": x})[0]


def test_forward():
    for case in cases(3, odd=True):
        parameters = (case.n, case.alpha, case.beta, case.k)
        op = conventions.onnxruntime(*parameters)
        agree("ONNX Runtime", op, case, run(case.x, *parameters), limit=LIMIT + running_sum_limit(op, case.x))
        assert op == conventions.onnx(*parameters)


@pytest.mark.parametrize(
    ("arguments", "reason"), [((4,), "size_ % 2 == 1"), ((3, 0.0), "alpha_ > 0"), ((3, 1.0, 0.0), "beta_ > 0")]
)
def test_refuses_what_the_convention_refuses(arguments, reason):
    x = np.ones((1, 2, 3, 3), np.float32)
    with pytest.raises(Exception, match=reason):
        run(x, *arguments)
    with pytest.raises(ValueError, match="ONNX Runtime"):
        conventions.onnxruntime(*arguments)


def test_reference_evaluator_where_batch_and_channels_are_equal():
    """The only arrays on which the stock evaluator is right; even sizes with the extra channel after."""
    for case in cases(4):
        x = case.x[:1].repeat(case.x.shape[1], axis=0)
        case.x = case.g = x * np.linspace(0.5, 1.5, len(x), dtype=np.float32).reshape(-1, 1, 1, 1)
        parameters = (case.n, case.alpha, case.beta, case.k)
        (y,) = evaluator(model(case.x.shape, *parameters)).run(None, {"X": case.x})
        agree("ReferenceEvaluator", conventions.onnx(*parameters), case, y, limit=LIMIT)


def test_defect_reference_evaluator_loops_over_the_batch():
    """onnx#7805: with N < C the later channels stay as they were; with N > C it fails."""
    x = np.random.default_rng(5).standard_normal((2, 5, 3, 3)).astype(np.float32)
    (y,) = evaluator(model(x.shape, 3, 3.0, 0.75, 1.0)).run(None, {"X": x})
    truth = reference.forward(conventions.onnx(3, 3.0), x)
    assert np.abs(y[:, :2] - truth[:, :2]).max() < 1e-6
    np.testing.assert_array_equal(y[:, 2:], x[:, 2:])
    assert np.abs(y - truth).max() > 0.1
    many = np.ones((6, 5, 3, 3), np.float32)
    with pytest.raises(IndexError):
        evaluator(model(many.shape, 3, 3.0, 0.75, 1.0)).run(None, {"X": many})


def test_defect_reference_evaluator_takes_four_dimensions_only():
    x = np.ones((3, 3, 4), np.float32)
    with pytest.raises(RuntimeError, match="LRN only applies on 4D tensors"):
        evaluator(model(x.shape, 3, 1.0, 0.75, 1.0)).run(None, {"X": x})


def test_defect_running_sum_spreads_nan():
    """One NaN reaches every channel; in this library the windows that contain it."""
    x = np.ones((1, 8, 1, 1), np.float32)
    x[0, 1] = np.nan
    assert np.isnan(run(x, 3)).all()
    assert np.isnan(conventions.onnx(3)(x)).ravel().tolist() == [True, True, True] + [False] * 5


def test_defect_running_sum_cancels_to_infinity():
    """Finite input, infinite output."""
    x = np.full((1, 8, 1, 1), 0.01, np.float32)
    x[0, 0] = 1e4
    assert np.isinf(run(x, 3, 3e4)).any()
    assert np.isfinite(conventions.onnx(3, 3e4)(x)).all()
