"""torch.compile without a graph break, and the calls that a compiled function cannot make right."""

import numpy as np
import pytest

import numba_lrn
from numba_lrn.torch import LocalResponseNorm, replace_local_response_norm
from tests.torch.common import ALPHA, ARGUMENTS, BETA, SHAPE, K, close, local_response_norm, ours, random, theirs, torch

forward_ad = torch.autograd.forward_ad


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()


def compiled(function, **options):
    return torch.compile(function, fullgraph=True, backend=options.pop("backend", "aot_eager"), **options)


def test_inductor_forward_and_backward():
    x, g = random(1, dtype="float32", requires_grad=True), random(2, dtype="float32")
    for tensor in (x, x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()):
        y = compiled(ours, backend="inductor")(tensor)
        assert y.stride() == tensor.stride()
        close(y, ours(tensor, theirs), 2e-6)
        close(torch.autograd.grad(y, tensor, g)[0], torch.autograd.grad(ours(tensor, theirs), tensor, g)[0], 2e-6)


def test_a_module_with_learnable_numbers():
    x, g = random(3, requires_grad=True), random(4)
    module = LocalResponseNorm(4, ALPHA, learnable=("alpha", "beta", "k")).double()
    inputs = (x, *module.parameters())
    got = torch.autograd.grad(compiled(module)(x), inputs, g)
    for one, other in zip(got, torch.autograd.grad(module(x), inputs, g), strict=True):
        close(one, other)


def test_arguments_that_vary():
    function = compiled(local_response_norm)
    for size, alpha, shape in ((3, 1.0, SHAPE), (4, 1.5, SHAPE), (5, 2.0, (3, 8, 4, 2)), (6, 2.5, (4, 9, 4, 2))):
        x = random(5, shape)
        close(function(x, size, alpha, 0.75, 0.7), theirs(x, size, alpha, 0.75, 0.7))


def test_axes_and_sizes_that_vary():
    function = compiled(lambda x, size, axis: local_response_norm(x, size, 1.5, axis=axis))
    x = random(5)
    for size, axis in ((3, 1), (4, 2), (5, -1)):
        close(function(x, size, axis), theirs(x.movedim(axis, 1), size, 1.5).movedim(1, axis))
    for dynamic in (None, True):
        function = compiled(lambda x, n: local_response_norm(x, (n, x.shape[3]), 1.5, axis=(2, 3)), dynamic=dynamic)
        for n, shape in ((3, SHAPE), (4, SHAPE), (4, (2, 3, 6, 5))):
            x = random(6, shape)
            close(function(x, n), local_response_norm(x, (n, shape[3]), 1.5, axis=(2, 3)))


def test_parameters_with_dimensions():
    x, alpha = random(6), random(7, (4,)).abs()
    close(compiled(lambda x, a: local_response_norm(x, 4, a))(x, alpha), theirs(x, 4, alpha))


def test_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compiled(ours)(random(8, dtype="bfloat16")).dtype == torch.float32


def scalar(function):
    return lambda x: ours(x, function).pow(3).sum()


TRANSFORMS = {
    "jvp": lambda f: lambda x: torch.func.jvp(lambda x: ours(x, f), (x,), (x.flip(1),))[1],
    "grad of vmap": lambda f: torch.func.grad(lambda x: torch.vmap(lambda x: ours(x, f))(x[None]).pow(3).sum()),
    "hessian": lambda f: torch.func.hessian(scalar(f)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_inside(name):
    x = random(9, (1, 3, 2))
    close(compiled(TRANSFORMS[name](local_response_norm))(x), TRANSFORMS[name](theirs)(x))


# A compiled function drops tangents from outside without an error, PyTorch's own operations among them.


def top_level(x):
    return numba_lrn.local_response_norm(x, *ARGUMENTS)


def by_tensors(x):
    return local_response_norm(
        x, 4, torch.tensor(ALPHA, dtype=torch.float64), BETA, torch.full((1, 1, 1), K, dtype=x.dtype)
    )


@pytest.mark.parametrize("warm", [False, True], ids=["first call", "compiled before"])
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("ours", [ours, top_level], ids=["torch", "top level"])
def test_forward_mode_from_outside_is_refused(ours, warm):
    x = random(10)
    ours(x)  # the selector imports what it finds, which a graph cannot
    function = compiled(ours)
    if warm:
        function(x)
    with (
        forward_ad.dual_level(),
        pytest.raises((NotImplementedError, torch._dynamo.exc.Unsupported), match=r"forward|Observed exception"),
    ):
        function(forward_ad.make_dual(x, x.flip(1)))
    if warm:
        close(function(x), theirs(x, *ARGUMENTS))


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("warm", [False, True], ids=["first call", "compiled before"])
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("ours", [ours, top_level, by_tensors], ids=["torch", "top level", "tensors"])
def test_forward_mode_from_outside_where_graphs_may_break(ours, warm, backend):
    """The call is not compiled then, nor what it calls: what inductor makes of PyTorch's operations drops tangents."""
    x = random(10)
    function = torch.compile(ours, backend=backend)
    if warm:
        function(x)
    found = []
    for either in (function, ours):
        with forward_ad.dual_level():
            found.append(forward_ad.unpack_dual(either(forward_ad.make_dual(x, x.flip(1)))))
    close(found[0].primal, found[1].primal)
    close(found[0].tangent, found[1].tangent)
    close(function(x), theirs(x, *ARGUMENTS))


def test_forward_mode_from_outside_is_refused_for_pytorchs_formula_too():
    """Parameters with dimensions: no operator of ours is there to refuse, and the compiler would drop the tangent."""
    x, alpha = random(14), random(15, (4,)).abs()
    function = compiled(lambda x: local_response_norm(x, 4, alpha))
    close(function(x), theirs(x, 4, alpha))
    with forward_ad.dual_level(), pytest.raises(torch._dynamo.exc.Unsupported, match="Observed exception"):
        function(forward_ad.make_dual(x, x.flip(1)))


def test_jvp_from_outside_is_refused():
    x = random(11)
    with pytest.raises(torch._dynamo.exc.Unsupported, match="functorch"):
        torch.func.jvp(compiled(ours), (x,), (x,))


def test_second_derivatives_are_refused():
    x = random(12, requires_grad=True)
    (dx,) = torch.autograd.grad(compiled(ours)(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        dx.sum().backward()


def test_a_model_trains_as_without():
    def losses(wrap):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), LocalResponseNorm(4, ALPHA, k=2.0), torch.nn.Flatten()
        )
        step, optimiser = wrap(model), torch.optim.SGD(model.parameters(), 0.1)
        found = []
        for seed in range(4):
            loss = step(random(seed, (2, 3, 6, 6), "float32")).pow(2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            found.append(loss.detach())
        return torch.stack(found)

    close(losses(compiled), losses(lambda model: model), 1e-5)


def test_arguments_are_checked_while_tracing():
    with pytest.raises(Exception, match="size must be at least 1"):
        compiled(lambda x: local_response_norm(x, 0, *ARGUMENTS[1:]))(random(13))


def test_axes_are_checked_while_tracing():
    with pytest.raises(Exception, match=r"axis 7 .* 4 dimensions"):
        compiled(lambda x: local_response_norm(x, 3, axis=7))(random(13))
    with pytest.raises(ValueError, match=r"axis 7 .* 4 dimensions"):
        local_response_norm(torch.empty(SHAPE, device="meta"), 3, axis=7)


def test_numbers_of_numpy():
    x = random(16)
    module = LocalResponseNorm(5, alpha=np.float64(0.5), k=np.float32(2.0))
    close(compiled(module)(x), module(x))
    model = torch.nn.Sequential(torch.nn.LocalResponseNorm(5, alpha=np.float64(0.5), k=np.float32(2.0)))
    replace_local_response_norm(model)
    close(compiled(model)(x), module(x))
