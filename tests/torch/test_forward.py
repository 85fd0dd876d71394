"""Values, gradients, memory and modes of the function, outside any transform."""

import numpy as np
import pytest

from numba_lrn import reference
from numba_lrn.backends.cpu import results
from tests.support import assert_accurate, assert_same_bits
from tests.torch.common import (
    ARGUMENTS,
    EVERY_DTYPE,
    OPERATOR,
    SHAPE,
    array,
    close,
    local_response_norm,
    random,
    theirs,
    torch,
)


@EVERY_DTYPE
def test_value_and_gradient(dtype):
    x, g = random(1, dtype=dtype, requires_grad=True), random(2, dtype=dtype)
    y = local_response_norm(x, *ARGUMENTS)
    y.backward(g)
    assert y.dtype == x.grad.dtype == x.dtype
    assert_accurate(OPERATOR, "forward", array(y), array(x))
    assert_accurate(OPERATOR, "backward", array(x.grad), array(x), array(g))


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 5, 3, 4), (2, 5, 2, 3, 2), (2, 3, 2, 2, 2, 2)], ids=str)
@pytest.mark.parametrize("size", [1, 2, 3, 4, 9])
def test_pytorchs_numbers(shape, size):
    x, g = random(3, shape, requires_grad=True), random(4, shape)
    results = [function(x, size, 1.5, 0.75, 0.7) for function in (local_response_norm, theirs)]
    close(*results)
    close(*(torch.autograd.grad(y, x, g)[0] for y in results))


def test_defaults_are_pytorchs():
    x = 30 * random(5, dtype="float32")
    close(local_response_norm(x, 5), theirs(x, 5), 1e-6)
    close(local_response_norm(input=x, size=5, k=2.0), theirs(input=x, size=5, k=2.0), 1e-6)


def test_axis():
    x = random(6)
    close(local_response_norm(x.movedim(1, -1), *ARGUMENTS, axis=-1).movedim(-1, 1), theirs(x, *ARGUMENTS))
    box = local_response_norm(x, (3, 2), *ARGUMENTS[1:], axis=(2, 3))
    expected = reference.forward(type(OPERATOR)((3, 2), *ARGUMENTS[1:], axis=(2, 3)), array(x))
    np.testing.assert_allclose(box.numpy(), expected.astype(float), rtol=1e-13)
    close(local_response_norm(x[0, :, 0], *ARGUMENTS, axis=0), theirs(x[:1], *ARGUMENTS)[0, :, 0])


# Memory.

VIEWS = {
    "contiguous": lambda x: x,
    "channels last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 2),
    "gaps": lambda x: x[:, :, 1::2],
    "offset": lambda x: x[1:],
    "expanded": lambda x: x[:, :, :1].expand(SHAPE),
    "flipped": lambda x: x.flip(1),
    "negated view": lambda x: torch._neg_view(x),
    "permuted, an axis of one": lambda x: x[:, :, :1, :1].contiguous(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", VIEWS)
def test_views(name, dtype):
    x = VIEWS[name](random(7, dtype=dtype)).requires_grad_()
    g = random(8, x.shape, dtype)
    y = local_response_norm(x, *ARGUMENTS)
    (dx,) = torch.autograd.grad(y, x, g)
    dense = x.detach().clone(memory_format=torch.contiguous_format)
    assert y.stride() == dx.stride() == torch.empty_like(x).stride()
    assert_same_bits(array(y), array(local_response_norm(dense, *ARGUMENTS)))
    assert_accurate(OPERATOR, "backward", array(dx), array(x), array(g))


def test_channels_last_stays():
    x = random(9, dtype="float32").contiguous(memory_format=torch.channels_last)
    assert local_response_norm(x, *ARGUMENTS).is_contiguous(memory_format=torch.channels_last)
    volume = random(9, (2, 5, 2, 3, 4), "float32").contiguous(memory_format=torch.channels_last_3d)
    assert local_response_norm(volume, 3).is_contiguous(memory_format=torch.channels_last_3d)


@EVERY_DTYPE
def test_memory_is_shared(dtype):
    x = random(10, dtype=dtype)
    shared = array(x)
    assert shared.__array_interface__["data"][0] == x.data_ptr()
    assert shared.dtype.name == dtype


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_results_are_ordinary_tensors(dtype, layout):
    """They live in NumPy's memory; autograd, changes in place and views must not notice."""
    x = VIEWS[layout](random(11, (3, 16, 256, 257), "float32").to(getattr(torch, dtype)))
    assert x.nbytes > 4 << 20
    y = local_response_norm(x.requires_grad_(), *ARGUMENTS)
    assert y.stride() == x.stride()
    assert not y._is_view()
    assert_accurate(OPERATOR, "forward", array(y)[:, :, :2, :3], array(x)[:, :, :2, :3])
    y.relu_().sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_is_used_again_once_all_views_are_gone(dtype):
    if not results.REUSES:
        pytest.skip("all memory is NumPy's here")
    x = torch.ones((35, 1024, 1024), dtype=getattr(torch, dtype))
    if dtype == "bfloat16":
        x = x.repeat(2, 1, 1)
    y = local_response_norm(x, 1, 1.0, 1.0, 1.0)
    held, place = y[3:].view(-1), y.data_ptr()
    del y
    other = local_response_norm(x, 1, 1.0, 1.0, 3.0)
    assert other.data_ptr() != place
    assert (held == 0.5).all()
    del held
    assert local_response_norm(x, 1, 1.0, 1.0, 1.0).data_ptr() == place
    assert (other == 0.25).all()


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 4, 0)], ids=str)
def test_empty_input_gives_a_new_empty_tensor(shape):
    x = torch.empty(shape, requires_grad=True)
    y = local_response_norm(x, *ARGUMENTS)
    assert y is not x
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape


# Modes.


def test_no_grad_and_inference_mode():
    x = random(12, requires_grad=True)
    expected = local_response_norm(x, *ARGUMENTS).detach()
    with torch.no_grad():
        y = local_response_norm(x, *ARGUMENTS)
    assert not y.requires_grad
    with torch.inference_mode():
        z = local_response_norm(x, *ARGUMENTS)
    assert z.is_inference()
    assert torch.equal(y, expected)
    assert torch.equal(z, expected)


def test_a_change_of_the_input_before_backward_is_noticed():
    leaf = random(13, requires_grad=True)
    x = leaf * 1
    y = local_response_norm(x, *ARGUMENTS)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("shape", [(2, 7, 5), SHAPE], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_autocast_gives_float32(dtype, shape):
    x = random(14, shape, dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = local_response_norm(x, *ARGUMENTS)
    y.sum().backward()
    assert y.dtype == torch.float32
    assert x.grad.dtype == x.dtype
    assert_accurate(OPERATOR, "forward", array(y), array(x.float()))


def test_autocast_leaves_float64():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert local_response_norm(random(15), *ARGUMENTS).dtype == torch.float64


def test_half_squares_do_not_overflow():
    x = torch.full((1, 1, 1, 1), 300.0, dtype=torch.float16)
    assert local_response_norm(x, 1, 1.0).item() == pytest.approx(300 / (1 + 300.0**2) ** 0.75, rel=1e-3)


def test_nan_and_inf_stay_in_their_windows():
    x = random(16, (2, 6, 3))
    x[0, 2, 1], x[1, 4, 0] = torch.nan, torch.inf
    torch.testing.assert_close(local_response_norm(x, 3, 1.0), theirs(x, 3, 1.0), equal_nan=True)


def test_default_device_and_function_modes():
    """A mode in force, here the default device's, sees the call, as PyTorch's own."""
    x = random(17)
    with torch.device("cpu"):
        assert torch.equal(local_response_norm(x, *ARGUMENTS), local_response_norm(x.clone(), *ARGUMENTS))
    calls = []

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            calls.append(function)
            return function(*args, **(kwargs or {}))

    with Mode():
        local_response_norm(x, *ARGUMENTS)
    assert local_response_norm in calls


def test_meta_and_fake_tensors():
    x = torch.empty(SHAPE, device="meta").to(memory_format=torch.channels_last)
    y = local_response_norm(x, *ARGUMENTS)
    assert y.device.type == "meta"
    assert y.stride() == x.stride()
