"""Tensors given to numba_lrn's own functions and operators: with gradients, and into ``out``."""

import numpy as np
import pytest

import numba_lrn as lrn
from numba_lrn import LocalResponseNorm
from tests.support import assert_same_bits
from tests.torch.common import ALPHA, ARGUMENTS, BETA, OPERATOR, SIZE, K, array, close, ours, random, theirs, torch


def test_functions_keep_gradients():
    x, g = random(1, requires_grad=True), random(2, requires_grad=True)
    close(lrn.local_response_norm(x, *ARGUMENTS), ours(x, theirs))
    (expected,) = torch.autograd.grad(ours(x, theirs), x, g, create_graph=True)
    dx = lrn.local_response_norm_backward(g, x, *ARGUMENTS)
    close(dx, expected)
    u = random(3)
    for got, wanted in zip(torch.autograd.grad(dx, (g, x), u), torch.autograd.grad(expected, (g, x), u), strict=True):
        close(got, wanted)


def test_any_rank_and_parameters_of_a_module():
    x = torch.nn.Parameter(random(4, (6,)))
    y = lrn.local_response_norm(x, 3, 1.0, axis=0)
    np.testing.assert_array_equal(array(y), lrn.local_response_norm(array(x), 3, 1.0, axis=0))
    assert y.requires_grad


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_out(dtype):
    x, g = random(5, dtype=dtype), random(6, dtype=dtype)
    y, dx = OPERATOR(x), OPERATOR.backward(g, x)
    out = torch.empty_like(x)
    version = out._version
    assert OPERATOR(x, out=out) is out
    assert out._version > version
    assert_same_bits(array(out), array(y))
    assert OPERATOR.backward(g, x, out=g) is g
    assert_same_bits(array(g), array(dx))
    OPERATOR(x, out=x)
    assert_same_bits(array(x), array(y))


def test_out_whose_memory_has_the_other_sign():
    x, g = random(5, dtype="float32"), random(6, dtype="float32")
    for compute in (lambda out: OPERATOR(x, out=out), lambda out: OPERATOR.backward(g, x, out=out)):
        out = torch.zeros(x.shape, dtype=torch.complex64).conj().imag
        assert out.is_neg()
        version = out._version
        assert compute(out) is out
        assert out._version > version
        assert torch.equal(out, compute(None))


def test_numbers_that_are_tensors():
    """Their values at the call; a gradient that would be lost is refused."""
    x, alpha = random(5), torch.tensor(1.0)
    before = lrn.local_response_norm(x, 3, alpha, 1.0, 1.0)
    alpha.fill_(100.0)
    after = lrn.local_response_norm(x, 3, alpha, 1.0, 1.0)
    assert torch.equal(after, lrn.local_response_norm(x, 3, 100.0, 1.0, 1.0))
    assert not torch.equal(after, before)
    with pytest.raises(TypeError, match=r"alpha requires a gradient.*numba_lrn\.torch's function, or pass alpha\.item"):
        lrn.local_response_norm(x, 3, torch.nn.Parameter(alpha), 1.0, 1.0)


def test_a_change_through_out_is_noticed_by_autograd():
    x = random(7, requires_grad=True)
    saved = random(8)
    y = x * saved
    OPERATOR(saved, out=saved)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_out_refuses_what_it_would_lose():
    x = random(9, requires_grad=True)
    with pytest.raises(RuntimeError, match="out= takes no part in automatic differentiation"):
        OPERATOR(x, out=torch.empty_like(x))
    with torch.no_grad():
        OPERATOR(x, out=torch.empty_like(x))
    with pytest.raises(TypeError, match=r"out is a numpy\.ndarray and x a torch\.Tensor"):
        OPERATOR(x.detach(), out=np.empty(x.shape))
    with pytest.raises(ValueError, match="out has shape"):
        OPERATOR(x.detach(), out=torch.empty(3, dtype=x.dtype))
    with pytest.raises(TypeError, match=r"out has dtype torch\.float32 and x torch\.float64"):
        OPERATOR(x.detach(), out=torch.empty(x.shape))


def test_subclasses_are_named():
    class Labelled(torch.Tensor):
        pass

    with pytest.raises(TypeError, match=r"Labelled, a kind of tensor; numba_lrn\.torch\.local_response_norm takes it"):
        LocalResponseNorm(3)(torch.ones(1, 2, 3).as_subclass(Labelled))


def test_other_derivatives_of_the_operator():
    from numba_lrn.torch import backend

    x, g, u = (random(seed, requires_grad=True) for seed in (10, 11, 12))
    numbers = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (ALPHA, BETA, K)]
    (dx,) = torch.autograd.grad(ours(x, theirs), x, g, create_graph=True)
    for got, expected in zip(
        backend.double_backward(OPERATOR, g, x, u), torch.autograd.grad(dx, (g, x), u, retain_graph=True), strict=True
    ):
        close(got, expected)
    close(backend.jvp(OPERATOR, x, u), torch.func.jvp(lambda x: ours(x, theirs), (x,), (u,))[1])
    expected = torch.autograd.grad(theirs(x, SIZE, *numbers), (x, *numbers), g)
    got = backend.backward_all(OPERATOR, g, x)
    close(got[0], expected[0])
    close(got[1] / SIZE, expected[1])
    close(torch.stack(got[2:]), torch.stack(expected[2:]))
    close(torch.stack(backend.backward_parameters(OPERATOR, g, x)), torch.stack(got[1:]))
