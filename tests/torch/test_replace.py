"""Modules swapped in a model, and back."""

import copy
import pickle

import pytest

from numba_lrn.torch import LocalResponseNorm, replace_local_response_norm, restore_local_response_norm
from tests.torch.common import close, random, torch

nn = torch.nn


class Block(nn.Module):
    """A shared instance, a list, a dictionary and a subclass."""

    def __init__(self):
        super().__init__()
        self.first = nn.LocalResponseNorm(4, 1.0, k=2.0)
        self.again = self.first
        self.several = nn.ModuleList([nn.Conv2d(7, 7, 1), nn.LocalResponseNorm(3, 1.0)])
        self.named = nn.ModuleDict({"norm": self.first, "other": nn.LocalResponseNorm(2)})
        self.special = Special(3)

    def forward(self, x):
        for module in (self.first, self.again, *self.several, *self.named.values(), self.special):
            x = module(x)
        return x


class Special(nn.LocalResponseNorm):
    pass


def test_replaces_and_restores():
    torch.manual_seed(0)
    model, x = Block(), random(1, (2, 7, 3, 4), "float32")
    expected, text = model(x), repr(model)
    replaced = replace_local_response_norm(model)
    assert replaced == 3
    assert (replaced.model, replaced.left) == (model, 1)
    assert model.first is model.again is model.named["norm"]
    assert type(model.first) is type(model.several[1]) is type(model.named["other"]) is LocalResponseNorm
    assert type(model.special) is Special
    assert repr(model) == text
    close(model(x), expected, 1e-5)
    assert replace_local_response_norm(model) == 0
    restored = restore_local_response_norm(model)
    assert restored == 3
    assert model.first is model.again is model.named["norm"]
    assert type(model.first) is type(model.several[1]) is type(model.named["other"]) is nn.LocalResponseNorm
    assert torch.equal(model(x), expected)
    assert set(vars(model.first)) == set(vars(nn.LocalResponseNorm(3)))


def test_hooks_mode_and_attributes_are_kept():
    calls = []
    model = nn.Sequential(nn.LocalResponseNorm(3)).eval()
    model[0].note = "kept"
    handle = model[0].register_forward_hook(lambda *_: calls.append("forward"))
    model[0].register_full_backward_hook(lambda *_: calls.append("backward"))
    replace_local_response_norm(model)
    assert model[0].note == "kept"
    assert model[0].training is False
    model(random(2, requires_grad=True)).sum().backward()
    assert calls == ["forward", "backward"]
    handle.remove()
    model(random(2))
    assert calls == ["forward", "backward"]


def test_a_root_is_returned_replaced():
    root = nn.LocalResponseNorm(4, 1.0)
    replaced = replace_local_response_norm(root)
    assert replaced == 1
    assert isinstance(replaced.model, LocalResponseNorm)
    assert repr(replaced.model) == repr(root)
    restored = restore_local_response_norm(replaced.model)
    assert type(restored.model) is nn.LocalResponseNorm


def test_a_model_of_its_own_kind_inside_itself_twice():
    shared = nn.Sequential(nn.LocalResponseNorm(3))
    model = nn.Sequential(shared, shared)
    assert replace_local_response_norm(model) == 1
    assert model[0] is model[1] is shared
    assert type(shared[0]) is LocalResponseNorm


def test_a_size_that_is_a_tuple_of_one_is_restored_as_a_number():
    model = nn.Sequential(LocalResponseNorm((3,), 1.5))
    x = torch.randn(2, 5, 4)
    expected = model(x)
    assert restore_local_response_norm(model) == 1
    assert model[0].size == 3
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("options", [{"axis": -1}, {"learnable": "alpha"}])
def test_what_pytorch_cannot_have_is_not_restored(options):
    model = nn.Sequential(LocalResponseNorm(3), LocalResponseNorm(3, **options))
    with pytest.raises(ValueError, match=r"the module '1', LocalResponseNorm\(3, .*, has no counterpart in PyTorch"):
        restore_local_response_norm(model)
    assert type(model[0]) is LocalResponseNorm


def test_the_result_can_be_copied():
    found = replace_local_response_norm(nn.Sequential(nn.LocalResponseNorm(5), nn.ReLU()))
    for copied in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert (copied, copied.left) == (1, 0)
        assert type(copied.model[0]) is LocalResponseNorm
