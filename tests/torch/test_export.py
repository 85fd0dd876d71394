"""torch.export, tracing, and ONNX models run in ONNX Runtime."""

import io

import numpy as np
import pytest

from numba_lrn.torch import LocalResponseNorm
from tests.support import optional
from tests.torch.common import ALPHA, ARGUMENTS, BETA, OPERATOR, K, close, local_response_norm, random, theirs, torch


class Calls(torch.nn.Module):
    """The functional form inside a model."""

    def __init__(self, *arguments, **options):
        super().__init__()
        self.arguments, self.options = arguments, options

    def forward(self, x):
        return local_response_norm(x, *self.arguments, **self.options)


def test_torch_export_records_one_operator():
    x = random(1)
    batch = torch.export.Dim.DYNAMIC
    program = torch.export.export(LocalResponseNorm(*ARGUMENTS), (x,), dynamic_shapes=({0: batch},))
    called = [node.target for node in program.graph.nodes if node.op == "call_function"]
    assert called == [torch.ops.numba_lrn.forward.default]
    other = random(2, (5, *x.shape[1:]))
    close(program.module()(other), theirs(other, *ARGUMENTS))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    close(torch.export.load(buffer).module()(x), theirs(x, *ARGUMENTS))


def test_tracing_records_one_operator():
    x = random(3)
    traced = torch.jit.trace(LocalResponseNorm(*ARGUMENTS), x)
    assert "numba_lrn::forward" in str(traced.graph)
    close(traced(2 * x), theirs(2 * x, *ARGUMENTS))


@pytest.mark.parametrize("learnable", [(), ("alpha", "beta")])
def test_traced_models_keep_their_weights(learnable):
    """Saved and loaded, with gradients, learnt numbers among them."""
    x = random(3)

    def model(alpha):
        torch.manual_seed(0)
        layer = LocalResponseNorm(4, alpha, learnable=learnable)
        return torch.nn.Sequential(torch.nn.Conv2d(7, 6, 1), layer).double()

    buffer = io.BytesIO()
    torch.jit.save(torch.jit.trace(model(1.5), x), buffer)
    buffer.seek(0)
    loaded, own = torch.jit.load(buffer), model(2.5 if learnable else 1.5)
    loaded.load_state_dict(own.state_dict())
    close(loaded(2 * x), own(2 * x))
    for either in (loaded, own):
        either(x).pow(2).sum().backward()
    for got, expected in zip(loaded.parameters(), own.parameters(), strict=True):
        close(got.grad, expected.grad)


def test_tracing_freezes_no_number_without_a_gradient():
    x = random(3)
    with torch.no_grad():
        traced = torch.jit.trace(lambda x, alpha: local_response_norm(x, 3, alpha), (x, torch.tensor(1.0)))
    close(traced(x, torch.tensor(50.0)), theirs(x, 3, 50.0))


def test_tracing_operators_of_the_package():
    x = random(3, requires_grad=True)
    traced = torch.jit.trace(lambda x: OPERATOR(2 * x), x)
    close(traced(x), theirs(2 * x, *ARGUMENTS))
    close(*(torch.autograd.grad(function(x).sum(), x)[0] for function in (traced, lambda x: OPERATOR(2 * x))))


def in_onnxruntime(model, x, **options):
    """(node types, result) of the exported model."""
    onnx, runtime, _ = optional("onnx"), optional("onnxruntime"), optional("onnxscript")
    program = torch.onnx.export(model, (x,), dynamo=True, verbose=False, **options)
    buffer = io.BytesIO()
    program.save(buffer)
    nodes = [node.op_type for node in onnx.load_from_string(buffer.getvalue()).graph.node]
    session = runtime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return nodes, result


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


def exported_close(result, expected):
    np.testing.assert_allclose(result, expected.detach().numpy(), rtol=2e-6, atol=1e-6)


def test_onnx_has_the_lrn_node():
    model = torch.nn.Sequential(torch.nn.Conv2d(7, 8, 3), LocalResponseNorm(5, ALPHA, BETA, K))
    x = random(4, dtype="float32")
    nodes, result = in_onnxruntime(model, x)
    assert nodes == ["Conv", "LRN"]
    exported_close(result, theirs(model[0](x), 5, ALPHA, BETA, K))


def test_onnx_of_other_ranks_and_axes_reshapes():
    x = random(5, (2, 7, 5), "float32")
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC}
    nodes, result = in_onnxruntime(Calls(3, ALPHA, axis=1), x, dynamic_shapes=(sizes,))
    assert "LRN" in nodes
    exported_close(result, theirs(x, 3, ALPHA))


# ONNX's even windows are the mirror images of PyTorch's, and ONNX Runtime refuses them.
@pytest.mark.parametrize("size", [2, 4, 10])
def test_onnx_of_even_sizes_takes_other_nodes(size):
    x = random(6, dtype="float32")
    nodes, result = in_onnxruntime(Calls(size, ALPHA, BETA, K), x)
    assert "LRN" not in nodes
    exported_close(result, theirs(x, size, ALPHA, BETA, K))


def test_onnx_of_a_box_and_of_what_is_learnt():
    x = random(7, dtype="float32")
    nodes, result = in_onnxruntime(Calls((3, 2), ALPHA, axis=(2, 3)), x)
    assert "LRN" not in nodes
    exported_close(result, local_response_norm(x, (3, 2), ALPHA, axis=(2, 3)))
    module = LocalResponseNorm(3, ALPHA, learnable="alpha")
    nodes, result = in_onnxruntime(module, x)
    exported_close(result, module(x))
