"""torch.func: vmap over every argument, alone and together with derivatives."""

import pytest

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
