"""OpenVINO's CPU plug-in."""

import numpy as np
import pytest

from numba_lrn import conventions
from tests.conformance.harness import agree, cases, framework

openvino = framework("openvino")
opset = framework("openvino.opset13")

LIMIT = 16
core = openvino.Core()


def run(x, axes, alpha, beta, bias, size):
    data = opset.parameter(x.shape, x.dtype, name="data")
    node = opset.lrn(data, opset.constant(np.array(axes, np.int64)), alpha, beta, bias, size)
    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(openvino.Model([node], [data], "lrn"), "CPU", hints)
    return np.array(compiled([x])[0])


@pytest.mark.parametrize(("axes", "ranks"), [((1,), (2, 3, 4, 5)), ((2, 3), (4,))])
def test_forward(axes, ranks):
    for case in cases(6, ranks=ranks, whole_k=True):
        parameters = (axes, case.alpha, case.beta, case.k, case.n)
        agree("OpenVINO", conventions.openvino(*parameters), case, run(case.x, *parameters), limit=LIMIT)


def test_defect_bias_is_cut_to_an_integer():
    """The CPU plug-in holds bias as an int: 1.5 acts as 1, 0.5 as 0; variant="cpu" says so."""
    x = np.ones((1, 1, 1, 1), np.float32)
    for bias, acts_as in [(1.5, 1.0), (0.5, 0.0)]:
        y = run(x, (1,), 1.0, 1.0, bias, 1).item()
        assert y == pytest.approx(1 / (acts_as + 1), rel=1e-6)
        assert conventions.openvino((1,), 1.0, 1.0, bias, 1, variant="cpu")(x).item() == pytest.approx(y, rel=1e-6)
        assert conventions.openvino((1,), 1.0, 1.0, bias, 1, variant="reference").k == bias


def test_defect_channels_among_several_axes_are_left_out():
    """axes {1, 2, 3} compiles and computes {2, 3}."""
    x = np.random.default_rng(7).standard_normal((2, 3, 4, 5)).astype(np.float32)
    y = run(x, (1, 2, 3), 9.0, 0.5, 1.0, 3)
    np.testing.assert_allclose(y, conventions.openvino((2, 3), 9.0, 0.5, 1.0, 3)(x), rtol=1e-5)
    meant = conventions.openvino((1, 2, 3), 9.0, 0.5, 1.0, 3, variant="reference")(x)
    assert np.abs(y - meant).max() > 1e-2


TENSORFLOW_GRAPH = """
node { name: "x" op: "Placeholder" attr { key: "dtype" value { type: DT_FLOAT } } attr { key: "shape"
  value { shape { dim { size: 1 } dim { size: 1 } dim { size: 1 } dim { size: 13 } } } } }
node { name: "y" op: "LRN" input: "x" attr { key: "T" value { type: DT_FLOAT } }
  attr { key: "depth_radius" value { i: RADIUS } } attr { key: "bias" value { f: 1 } }
  attr { key: "alpha" value { f: 1 } } attr { key: "beta" value { f: 0.5 } } }
"""


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 5])
def test_defect_the_import_of_tensorflow_shrinks_odd_radii(radius, tmp_path):
    """An odd depth_radius, TensorFlow's default 5 among them, is imported as one less."""
    graph = tmp_path / "lrn.pbtxt"
    graph.write_text(TENSORFLOW_GRAPH.replace("RADIUS", str(radius)))
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    x = np.random.default_rng(13).standard_normal((1, 1, 1, 13)).astype(np.float32)
    y = np.array(core.compile_model(core.read_model(graph), "CPU", hints)([x])[0])
    imported = radius - radius % 2
    np.testing.assert_allclose(y, conventions.tensorflow(imported)(x), rtol=1e-5)
    if imported != radius:
        assert np.abs(y - conventions.tensorflow(radius)(x)).max() > 1e-2
