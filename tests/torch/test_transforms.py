"""torch.func: vmap over every argument, alone and together with derivatives."""

import pytest

from numba_lrn import LocalResponseNorm as OperatorOfThePackage
from numba_lrn.torch import LocalResponseNorm
from tests.torch.common import ALPHA, ARGUMENTS, BETA, K, close, local_response_norm, ours, random, theirs, torch

vmap, grad = torch.func.vmap, torch.func.grad


@pytest.mark.parametrize("in_dim", [0, 1, 2, -1])
@pytest.mark.parametrize("out_dim", [0, -1])
def test_vmap(in_dim, out_dim):
    x = random(1, (2, 3, 5, 4))
    got, expected = (vmap(lambda x, f=f: ours(x, f), in_dim, out_dim)(x) for f in (local_response_norm, theirs))
    close(got, expected)


@pytest.mark.parametrize("axis", [-1, 2, (0, -1)])
def test_vmap_moves_the_axis(axis):
    x = random(2, (3, 2, 5, 4))
    got = vmap(lambda x: local_response_norm(x, *ARGUMENTS, axis=axis))(x)
    close(got, torch.stack([local_response_norm(sample, *ARGUMENTS, axis=axis) for sample in x]))


def test_vmap_of_vmap():
    x = random(3, (2, 3, 2, 5, 2))
    got, expected = (vmap(vmap(lambda x, f=f: ours(x, f), 1), 2)(x) for f in (local_response_norm, theirs))
    close(got, expected)


def loss(x, alpha=ALPHA, beta=BETA, k=K, function=local_response_norm):
    return function(x, 4, alpha, beta, k).pow(3).sum()


def test_gradients_of_each_sample():
    x = random(4, (3, 2, 5, 4))
    close(vmap(grad(loss))(x), torch.stack([grad(loss)(sample) for sample in x]))


def test_a_cotangent_for_each_row():
    """One input, a batch of cotangents: the rule for what has no batch."""
    x, cotangents = random(5, (2, 5, 3)), random(6, (4, 2, 5, 3))
    got, expected = (
        vmap(torch.func.vjp(lambda x, f=f: ours(x, f), x)[1])(cotangents)[0] for f in (local_response_norm, theirs)
    )
    close(got, expected)


@pytest.mark.parametrize("in_dims", [(0, None, None, None), (None, 0, None, 0), (0, 0, 0, 0)], ids=str)
def test_parameters_in_a_batch(in_dims):
    x = random(7, (3, 2, 5, 2)) if in_dims[0] == 0 else random(7, (2, 5, 2))
    numbers = [
        torch.tensor(value, dtype=torch.float64) * (1 if dim is None else torch.tensor([1.0, 2.0, 3.0]))
        for value, dim in zip((ALPHA, BETA, K), in_dims[1:], strict=True)
    ]
    argnums = tuple(range(4))
    got, expected = (
        vmap(grad(lambda *inputs, f=f: loss(*inputs, function=f), argnums), in_dims)(x, *numbers)
        for f in (local_response_norm, theirs)
    )
    for one, other in zip(got, expected, strict=True):
        close(one, other, 1e-11)


def test_hessian_vector_product():
    x, v = random(8, (1, 5, 3)), random(9, (1, 5, 3))
    forward_over_reverse = torch.func.jvp(grad(loss), (x,), (v,))[1]
    reverse_over_reverse = torch.func.vjp(grad(loss), x)[1](v)[0]
    expected = torch.func.jvp(grad(lambda x: loss(x, function=theirs)), (x,), (v,))[1]
    close(forward_over_reverse, expected)
    close(reverse_over_reverse, expected)


def test_functional_call_of_an_ensemble():
    from numba_lrn.torch import LocalResponseNorm

    modules = [LocalResponseNorm(4, alpha, BETA, K, learnable="alpha").double() for alpha in (0.5, 1.0, 2.0)]
    states, _ = torch.func.stack_module_state(modules)
    x = random(10, (2, 5, 3))
    got = vmap(lambda state: torch.func.functional_call(modules[0], state, x))(states)
    close(got, torch.stack([module(x) for module in modules]))


# Where a mode, a tracer or a device without memory looks on.


class Watching(torch.utils._python_dispatch.TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        return function(*arguments, **(options or {}))


FORWARD_MODE = {
    "jvp": lambda f: lambda x: torch.func.jvp(lambda x: ours(x, f), (x,), (x.flip(1),))[1],
    "jvp of grad": lambda f: (
        lambda x: torch.func.jvp(torch.func.grad(lambda x: ours(x, f).pow(3).sum()), (x,), (x.flip(1),))[1]
    ),
    "grad of jvp": lambda f: torch.func.grad(
        lambda x: torch.func.jvp(lambda x: ours(x, f), (x,), (x.detach().flip(1),))[1].pow(2).sum()
    ),
}


@pytest.mark.parametrize("name", FORWARD_MODE)
def test_forward_mode_under_a_dispatch_mode(name):
    x = random(21, (1, 3, 2))
    expected = FORWARD_MODE[name](theirs)(x)
    with Watching():
        close(FORWARD_MODE[name](local_response_norm)(x), expected)
    traced = torch.fx.experimental.proxy_tensor.make_fx(FORWARD_MODE[name](local_response_norm))(x)
    close(traced(x), expected)


def test_hessian_in_forward_mode_for_every_column():
    x = random(22, (1, 3, 2))
    got, expected = (
        torch.autograd.functional.hessian(
            lambda x, f=f: ours(x, f).pow(3).sum(), x, vectorize=True, outer_jacobian_strategy="forward-mode"
        )
        for f in (local_response_norm, theirs)
    )
    close(got, expected)


def on_meta(*shape, dtype=torch.float32):
    return torch.empty(*shape, dtype=dtype, device="meta")


def test_meta_tensors():
    """Of half types, with learnable numbers, and in derivatives beyond the registered operators."""
    for dtype in (torch.float16, torch.float32):
        y = ours(on_meta(2, 6, 4, 5, dtype=dtype))
        assert (y.device.type, y.dtype, y.shape) == ("meta", dtype, (2, 6, 4, 5))
    module = LocalResponseNorm(3, 1.5, learnable=("alpha", "beta")).to("meta")
    assert "learnable" in repr(module)
    with torch.no_grad():
        assert module(on_meta(1, 4, 2)).device.type == "meta"
    x = on_meta(1, 4, 2)
    assert torch.func.hessian(lambda x: ours(x).pow(3).sum())(x).shape == (1, 4, 2, 1, 4, 2)
    assert local_response_norm(x, 3, on_meta(4, 1)).device.type == "meta"


def test_gradients_of_the_numbers_lie_where_x_does():
    op = OperatorOfThePackage(4, 1.5)
    x = on_meta(1, 4, 2)
    assert {gradient.device.type for gradient in op.backward_all(x, x)} == {"meta"}
    assert {gradient.dtype for gradient in op.backward_parameters(x, x)} == {torch.float64}


def test_numbers_without_a_gradient_in_a_graph():
    x, alpha = random(23), torch.tensor(1.5, dtype=torch.float64)
    traced = torch.fx.experimental.proxy_tensor.make_fx(lambda x, alpha: local_response_norm(x, 3, alpha))(x, alpha)
    close(traced(x, 2 * alpha), theirs(x, 3, 3.0))
