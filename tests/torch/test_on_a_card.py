"""Tensors on a GPU: the same numbers as on the CPU, gradients kept, on PyTorch's stream. Skipped without a card."""

import pytest

import numba_lrn
from numba_lrn.torch import LocalResponseNorm
from tests.torch.common import (
    ALPHA,
    ARGUMENTS,
    BETA,
    EVERY_DTYPE,
    SHAPE,
    SIZE,
    K,
    close,
    local_response_norm,
    ours,
    random,
    torch,
)

if not torch.cuda.is_available():
    pytest.skip("PyTorch sees no CUDA device", allow_module_level=True)
pytest.importorskip("numba_cuda")

TOLERANCES = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 2e-6, "float64": 1e-12}
FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


@EVERY_DTYPE
@pytest.mark.parametrize("form", FORMATS)
def test_forward_and_backward(dtype, form):
    """In the memory format of the input, as exactly as the dtype can tell."""
    x, g = random(1, dtype=dtype), random(2, dtype=dtype)
    exact = x.double().requires_grad_()
    expected = ours(exact)
    (gradient,) = torch.autograd.grad(expected, exact, g.double())
    there = x.cuda().contiguous(memory_format=FORMATS[form]).requires_grad_()
    y = ours(there)
    (dx,) = torch.autograd.grad(y, there, g.cuda())
    assert (y.device, y.dtype, y.stride()) == (there.device, there.dtype, there.stride())
    assert dx.stride() == there.stride()
    close(y.double().cpu(), expected, TOLERANCES[dtype])
    close(dx.double().cpu(), gradient, TOLERANCES[dtype])


def test_gradcheck():
    x = random(3, (2, 5, 3)).cuda().requires_grad_()
    assert torch.autograd.gradcheck(ours, x, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(ours, x, check_fwd_over_rev=True)


def test_gradients_of_the_parameters():
    numbers = [torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (ALPHA, BETA, K)]
    x, g = random(4, requires_grad=True), random(5)
    expected = torch.autograd.grad(local_response_norm(x, SIZE, *numbers), (x, *numbers), g)
    there = x.detach().cuda().requires_grad_()
    moved = [number.detach().cuda().requires_grad_() for number in numbers]
    got = torch.autograd.grad(local_response_norm(there, SIZE, *moved), (there, *moved), g.cuda())
    for one, other in zip(got, expected, strict=True):
        assert one.is_cuda
        close(one.cpu(), other)


def test_within_channels_and_wide_windows():
    for size, axis in ((3, (2, 3)), (63, 1), (2, 0)):
        op = numba_lrn.LocalResponseNorm(size, ALPHA, axis=axis)
        x = random(6)
        close(op(x.cuda()).cpu(), op(x))


def test_compile():
    x, g = random(7, dtype="float32").cuda().requires_grad_(), random(8, dtype="float32").cuda()
    y = torch.compile(ours, fullgraph=True)(x)
    expected = ours(x)
    close(y, expected, 1e-6)
    close(torch.autograd.grad(y, x, g)[0], torch.autograd.grad(expected, x, g)[0], 1e-6)


def test_vmap_is_the_loop():
    x = random(9).cuda()
    close(torch.vmap(ours)(x), torch.stack([ours(one) for one in x]))


def test_another_stream():
    x = random(10, (8, 64, 28, 28), "float32")
    expected = ours(x)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        there = x.cuda()
        for _ in range(20):
            there = there * 1.0
        y = ours(there)
    stream.synchronize()
    close(y.cpu(), expected, 2e-6)


def test_graph_capture():
    x = random(11, dtype="float32").cuda()
    ours(x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = ours(x)
    x.copy_(random(12, dtype="float32"))
    graph.replay()
    torch.cuda.synchronize()
    close(y.cpu(), ours(random(12, dtype="float32")), 2e-6)


def test_graph_capture_of_what_takes_temporaries():
    """An expanded gradient, which is copied, and a box that goes axis by axis."""
    op = numba_lrn.LocalResponseNorm(13, ALPHA, axis=(2, 3))
    x, g = random(11, (2, 3, 40, 30), "float32").cuda(), torch.ones((), device="cuda").expand(2, 3, 40, 30)
    op.backward(g, x)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        dx = op.backward(g, x)
    other = random(12, (2, 3, 40, 30), "float32")
    x.copy_(other)
    graph.replay()
    graph.replay()
    torch.cuda.synchronize()
    close(dx.cpu(), op.backward(torch.ones_like(other), other), 2e-6)


def test_a_module_moves():
    module = LocalResponseNorm(*ARGUMENTS, learnable=("alpha", "beta", "k")).cuda()
    x = random(13, dtype="float32").cuda()
    module(x).sum().backward()
    assert all(parameter.grad.is_cuda for parameter in module.parameters())
    assert x.shape == SHAPE


def test_autocast():
    x = random(14, dtype="float16").cuda()
    with torch.autocast("cuda", dtype=torch.float16):
        y = ours(x)
    close(y.double().cpu(), ours(random(14, dtype="float16").double()), TOLERANCES["float16"])
