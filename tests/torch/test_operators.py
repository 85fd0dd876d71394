"""The registered operators, by PyTorch's own check of schema, autograd, fake tensors and dynamic shapes."""

import pytest

from tests.torch.common import random, torch

import numba_lrn.torch  # noqa: F401  isort: skip  registers them

INPUTS = {
    "contiguous": lambda: random(1, dtype="float32"),
    "channels last": lambda: random(2, dtype="float32").contiguous(memory_format=torch.channels_last),
    "slice": lambda: random(3, dtype="float32")[:, 1:, ::2],
    "expanded": lambda: random(4, (2, 1, 5), "float32").expand(2, 6, 5),
    "empty": lambda: torch.empty(0, 3, 4),
    "bfloat16": lambda: random(5, dtype="bfloat16"),
}
WINDOW = ([1], [2], [1])
NUMBERS = (0.4, 0.75, 0.7)
every_input = pytest.mark.parametrize("name", INPUTS)
operators = torch.ops.numba_lrn


def check(operator, *arguments):
    assert set(torch.library.opcheck(operator.default, arguments).values()) == {"SUCCESS"}


@every_input
def test_forward(name):
    check(operators.forward, INPUTS[name](), *WINDOW, *NUMBERS)
    check(operators.forward, INPUTS[name]().requires_grad_(), *WINDOW, *NUMBERS)


@every_input
def test_backward(name):
    x = INPUTS[name]()
    check(operators.backward, torch.ones_like(x), x, *WINDOW, *NUMBERS)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_parameters(requires_grad):
    x = random(6, dtype="float32")
    numbers = [torch.tensor(value, requires_grad=requires_grad) for value in NUMBERS]
    check(operators.forward_with_parameters, x, *numbers, *WINDOW)
    if not requires_grad:
        check(operators.backward_with_parameters, torch.ones_like(x), x, *numbers, *WINDOW)
