"""Derivatives of the first, second and third order, in every order of reverse and forward mode."""

import itertools

import numpy as np
import pytest

from tests.support import assert_accurate
from tests.torch.common import (
    ALPHA,
    BETA,
    OPERATOR,
    SIZE,
    K,
    array,
    close,
    local_response_norm,
    ours,
    random,
    theirs,
    torch,
)

SMALL = (2, 5, 3)
jacfwd, jacrev = torch.func.jacfwd, torch.func.jacrev
TRANSFORMS = [
    pytest.param(chain, id=" of ".join(transform.__name__ for transform in reversed(chain)))
    for order in (1, 2, 3)
    for chain in itertools.product((jacrev, jacfwd), repeat=order)
]


def parameters(**options):
    return [torch.tensor(value, dtype=torch.float64, **options) for value in (ALPHA, BETA, K)]


def of_parameters(x, alpha, beta, k, function=local_response_norm):
    return function(x, SIZE, alpha, beta, k)


def test_gradcheck():
    x = random(1, SMALL, requires_grad=True)
    assert torch.autograd.gradcheck(ours, x, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(ours, x, check_fwd_over_rev=True, check_rev_over_rev=True)


def test_gradcheck_of_parameters():
    inputs = random(2, (1, 5, 2), requires_grad=True), *parameters(requires_grad=True)
    assert torch.autograd.gradcheck(of_parameters, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(of_parameters, inputs, check_fwd_over_rev=True)


# Every chain of three: PyTorch's own rules lose tangents of nested forward mode without an error.
@pytest.mark.parametrize("chain", TRANSFORMS)
def test_every_order_of_modes(chain):
    def derivative(function):
        def scalar(x):
            return function(x, 2, ALPHA, BETA, K).pow(3).sum()

        for transform in chain:
            scalar = transform(scalar)
        return scalar(random(3, (1, 3, 2)))

    close(derivative(local_response_norm), derivative(theirs))


@pytest.mark.parametrize("chain", TRANSFORMS)
@pytest.mark.parametrize("argument", [0, 2])
def test_every_order_of_modes_with_parameters(chain, argument):
    def derivative(function):
        def scalar(*inputs):
            return of_parameters(*inputs, function=function).pow(3).sum()

        for transform, place in zip(chain, (argument, 1, 3), strict=False):
            scalar = transform(scalar, place)
        return scalar(random(4, (1, 3, 2)), *parameters())

    close(derivative(local_response_norm), derivative(theirs), 1e-11)


def test_double_backward_in_float32():
    x, g, u = (random(seed, dtype="float32", requires_grad=True) for seed in (5, 6, 7))
    second = []
    for function in (local_response_norm, theirs):
        (dx,) = torch.autograd.grad(ours(x, function), x, g, create_graph=True)
        second.append(torch.autograd.grad(dx, (g, x), u))
    for got, expected in zip(*second, strict=True):
        close(got, expected, 2e-6)


def test_forward_mode_gives_the_jvp():
    x, v = random(8), random(9)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, v)
        got = torch.autograd.forward_ad.unpack_dual(ours(dual))
        expected = torch.autograd.forward_ad.unpack_dual(ours(dual, theirs))
    close(got.primal, expected.primal)
    close(got.tangent, expected.tangent)


def test_forward_mode_of_a_tensor_that_also_requires_grad():
    x, v = random(10, requires_grad=True), random(11)
    results = []
    for function in (local_response_norm, theirs):
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(x, v)
            tangent = torch.autograd.forward_ad.unpack_dual(ours(dual, function)).tangent
        results.append(torch.autograd.grad(tangent.pow(2).sum(), x)[0])
    close(*results)


def test_gradients_that_come_expanded_and_in_another_memory_order():
    x = random(12, dtype="float32", requires_grad=True)
    (dx,) = torch.autograd.grad(ours(x).sum(), x)
    assert_accurate(OPERATOR, "backward", array(dx), array(x), array(torch.ones_like(x)))
    g = random(13, dtype="float32").contiguous(memory_format=torch.channels_last)
    (dx,) = torch.autograd.grad(ours(x), x, g)
    assert_accurate(OPERATOR, "backward", array(dx), array(x), array(g))


def test_jacobians_of_the_older_interface():
    x = random(14, (1, 4, 2))
    for vectorize in (False, True):
        got = torch.autograd.functional.jacobian(ours, x, vectorize=vectorize)
        close(got, torch.autograd.functional.jacobian(lambda x: ours(x, theirs), x))


def test_checkpointing_computes_it_again():
    x = random(15, requires_grad=True)
    y = torch.utils.checkpoint.checkpoint(ours, x, use_reentrant=False)
    close(torch.autograd.grad(y.sum(), x)[0], torch.autograd.grad(ours(x, theirs).sum(), x)[0])


@pytest.mark.parametrize("beta", [np.array(0.75), np.float32(0.75), 1, 10**20])
def test_numbers_of_every_kind_beside_a_parameter(beta):
    x, alpha = random(31), torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    close(local_response_norm(x, 3, alpha, beta), local_response_norm(x, 3, 1.5, beta))


def test_gradients_of_numbers_are_on_the_device_of_x_whatever_is_usual():
    with torch.device("meta"):
        assert {gradient.device.type for gradient in OPERATOR.backward_all(random(32), random(33))} == {"cpu"}
