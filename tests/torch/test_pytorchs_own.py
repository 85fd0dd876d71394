"""PyTorch's own samples for its function and module, with ours in its place.

A smoke test: their alpha is 3e-5, which hides a wrong window. The samples come with PyTorch's wheel.
"""

import pytest

from numba_lrn.torch import LocalResponseNorm
from tests.support import optional
from tests.torch.common import local_response_norm, theirs, torch

optional("expecttest")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def info():
    from torch.testing._internal import common_methods_invocations

    (found,) = (i for i in common_methods_invocations.op_db if i.name == "nn.functional.local_response_norm")
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_samples(info, dtype):
    for sample in info.sample_inputs("cpu", dtype):
        got = local_response_norm(sample.input, *sample.args, **sample.kwargs)
        expected = theirs(sample.input.double(), *sample.args, **sample.kwargs)  # theirs rounds halves at every step
        torch.testing.assert_close(got, expected.to(dtype))


def test_gradients_of_the_samples(info):
    samples = info.sample_inputs("cpu", torch.float64, requires_grad=True)
    for sample in (sample for sample in samples if "beta" not in sample.kwargs):  # each beta is kernels to compile

        def function(x, sample=sample):
            return local_response_norm(x, *sample.args, **sample.kwargs)

        assert torch.autograd.gradcheck(function, sample.input, check_forward_ad=True, fast_mode=True)
        assert torch.autograd.gradgradcheck(function, sample.input, check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("training", [False, True])
def test_module_inputs(training):
    from torch.testing._internal import common_modules

    (found,) = (i for i in common_modules.module_db if i.module_cls is torch.nn.LocalResponseNorm)
    for sample in found.module_inputs_func(found, "cpu", torch.float64, requires_grad=True, training=training):
        made, given = sample.constructor_input, sample.forward_input
        kinds = LocalResponseNorm, torch.nn.LocalResponseNorm
        modules = [kind(*made.args, **made.kwargs).train(training) for kind in kinds]
        results = [module(*given.args, **given.kwargs) for module in modules]
        torch.testing.assert_close(*results)
        gradients = [torch.autograd.grad(result.sum(), given.args[0])[0] for result in results]
        torch.testing.assert_close(*gradients)
