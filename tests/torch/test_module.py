"""The module: what it prints, saves, copies and learns."""

import copy
import io
import math
import pickle

import pytest

from numba_lrn.torch import LocalResponseNorm
from tests.torch.common import ALPHA, ARGUMENTS, BETA, SIZE, K, close, local_response_norm, random, theirs, torch


@pytest.mark.parametrize("arguments", [(5,), (2, 1e-3), (3, 1.0, 0.5, 2.0)], ids=str)
def test_prints_as_pytorchs(arguments):
    assert repr(LocalResponseNorm(*arguments)) == repr(torch.nn.LocalResponseNorm(*arguments))


def test_prints_what_pytorch_lacks():
    module = LocalResponseNorm((3, 5), 0.5, axis=(2, 3), learnable=["k", "alpha"])
    assert repr(module) == (
        "LocalResponseNorm((3, 5), alpha=0.5, beta=0.75, k=1, axis=(2, 3), learnable=('alpha', 'k'))"
    )


def test_has_no_state():
    module = LocalResponseNorm(5)
    assert not module.state_dict()
    module.load_state_dict(torch.nn.LocalResponseNorm(5).state_dict())


def round_trips(module):
    yield copy.deepcopy(module)
    yield pickle.loads(pickle.dumps(module))
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    yield torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("learnable", [(), ("alpha", "k")], ids=str)
def test_copies_and_files(learnable):
    module = LocalResponseNorm(*ARGUMENTS, axis=-1, learnable=learnable).eval()
    x = random(1)
    for again in round_trips(module):
        assert repr(again) == repr(module)
        assert again.training is False
        assert torch.equal(again(x), module(x))
    other = LocalResponseNorm(SIZE, 1.0, BETA, 1.0, axis=-1, learnable=learnable)
    other.load_state_dict(module.state_dict())
    assert not learnable or torch.equal(other(x), module(x))


def test_numbers_can_be_changed():
    module = LocalResponseNorm(5)
    module.alpha, module.size = ALPHA, SIZE
    close(module(random(2)), theirs(random(2), SIZE, ALPHA))


def test_a_learnable_number_is_set_in_its_logarithm():
    module = LocalResponseNorm(5, 1.0, learnable=("alpha",))
    x = random(2, requires_grad=False)
    module.alpha = ALPHA
    assert module.state_dict()["log_alpha"].item() == pytest.approx(math.log(ALPHA), rel=1e-6)
    assert module(x).requires_grad
    assert f"alpha={ALPHA:.6g}" in repr(module)
    with pytest.raises(ValueError, match=r"a learnable alpha is kept positive, got -1\.0; take a positive one"):
        module.alpha = -1.0
    module.alpha = module.alpha * 2
    assert module.alpha.item() == pytest.approx(2 * ALPHA, rel=1e-6)


def test_learnable_numbers_are_exponentials():
    module = LocalResponseNorm(*ARGUMENTS, learnable=("alpha", "beta", "k")).double()
    assert [name for name, _ in module.named_parameters()] == ["log_alpha", "log_beta", "log_k"]
    for name, value in (("alpha", ALPHA), ("beta", BETA), ("k", K)):
        assert getattr(module, name).item() == pytest.approx(value, rel=1e-6)
        assert getattr(module, f"log_{name}").item() == pytest.approx(math.log(value), rel=1e-6)
    x = random(3, requires_grad=True)
    module(x).pow(3).sum().backward()
    numbers = [getattr(module, name).detach().requires_grad_() for name in ("alpha", "beta", "k")]
    expected = torch.autograd.grad(theirs(x, SIZE, *numbers).pow(3).sum(), (x, *numbers))
    close(x.grad, expected[0])
    for number, gradient, parameter in zip(numbers, expected[1:], module.parameters(), strict=True):
        close(parameter.grad, gradient * number)


def test_learns_the_numbers_of_another():
    goal, module = LocalResponseNorm(5, 2.0, 0.5, 1.5), LocalResponseNorm(5, 1.0, 0.5, 1.0, learnable=("alpha", "k"))
    optimiser = torch.optim.Adam(module.parameters(), 0.05)
    x = random(4, (2, 9, 3, 2), "float32")
    losses = []
    for _ in range(100):
        optimiser.zero_grad()
        loss = (module(x) - goal(x)).pow(2).mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-3 * losses[0]
    assert module.alpha.item() == pytest.approx(2, rel=0.1)
    assert module.k.item() == pytest.approx(1.5, rel=0.1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_models(dtype):
    """Their logarithms are rounded to the half type, their numbers are not rounded again."""
    module = LocalResponseNorm(*ARGUMENTS, learnable="alpha").to(getattr(torch, dtype))
    x = random(5, dtype=dtype, requires_grad=True)
    y = module(x)
    assert y.dtype == x.dtype
    y.sum().backward()
    assert module.log_alpha.grad.dtype == x.dtype
    expected = local_response_norm(x.double(), SIZE, math.exp(module.log_alpha.item()), BETA, K)
    close(y.double(), expected, 2.0**-8 if dtype == "bfloat16" else 2.0**-11)
