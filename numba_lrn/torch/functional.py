"""``local_response_norm`` for tensors: checks, and which way a call goes."""

import operator
from collections.abc import Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from numba_lrn.functional import operator_of
from numba_lrn.operator import Axes
from numba_lrn.torch import arrays, autograd, composite, export, kernels, operators, parameters

Parameter: TypeAlias = "float | Tensor"


def local_response_norm(
    input: Tensor,  # noqa: A002  PyTorch's name
    size: Axes,
    alpha: Parameter = 1e-4,
    beta: Parameter = 0.75,
    k: Parameter = 1.0,
    *,
    axis: Axes = 1,
) -> Tensor:
    r"""Local Response Normalization: ``torch.nn.functional.local_response_norm`` by the kernels of this library.

    ::

        y[c] = x[c] · (k + alpha/size · Σ x[j]²)^(−beta)      j from c − size//2 to c + (size − 1)//2, clipped

    Parameters
    ----------
    input : torch.Tensor
        float16, bfloat16, float32 or float64 on the CPU or a CUDA device, of shape (N, C, …): at least three
        dimensions, as in PyTorch, unless ``axis`` names another axis than 1. Any strides.
    size : int or tuple of int
        Elements of the window, at least 1, even or larger than the axis too. A tuple gives one for each axis.
    alpha, beta, k : float or torch.Tensor
        Tensors receive gradients; those with dimensions broadcast against ``input`` and take PyTorch's own formula.
    axis : int or tuple of int
        The axis to sum along; a tuple for a box, (2, 3) within channels.

    Returns
    -------
    torch.Tensor
        A new tensor of the device, dtype and memory format of ``input``; float32 for half types under autocast.
        Half types are computed in float32 and rounded once.

    Raises
    ------
    TypeError
        A dtype, layout or argument of a kind that is not supported: integers too, which PyTorch computes wrong.
    ValueError
        Less than three dimensions; a size below 1; a wrong axis; numbers that are not finite.

    Notes
    -----
    Differentiable in reverse and forward mode to any order, under ``torch.func`` and ``torch.compile``; what takes the
    kernels and what PyTorch's own operations is told in docs/torch.md. An even size has its extra element before the
    centre, as in PyTorch. A NaN or Inf reaches exactly the windows that contain it. An empty input gives a new empty
    tensor, where PyTorch returns its input.

    Examples
    --------
    >>> import torch
    >>> from numba_lrn.torch import local_response_norm
    >>> x = torch.arange(1.0, 5.0).reshape(1, 4, 1)
    >>> local_response_norm(x, size=2, alpha=2.0, beta=1.0, k=0.0).flatten()
    tensor([1.0000, 0.4000, 0.2308, 0.1600])
    """
    if has_torch_function_unary(input):
        result: Tensor = handle_torch_function(
            local_response_norm, (input,), input, size, alpha=alpha, beta=beta, k=k, axis=axis
        )
        return result
    arrays.check_tensor(input, "input")
    if axis == 1 and input.dim() < 3:
        msg = (
            f"input has {input.dim()} dimensions; expected 3 or more, (N, C, ...), as in PyTorch. To normalise along "
            "the last axis of a smaller tensor, say so: axis=-1"
        )
        raise ValueError(msg)
    if input.dtype in _HALF and input.device.type != "meta" and torch.is_autocast_enabled(input.device.type):
        input = input.float()  # noqa: A001
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # torch.jit.trace records no Function
        return _recorded(input, size, alpha, beta, k, axis)
    if isinstance(alpha, Tensor) or isinstance(beta, Tensor) or isinstance(k, Tensor):
        return kernels.keeping_tangents(_with_tensors, input, size, alpha, beta, k, axis)
    return autograd.forward(operator_of(size, alpha, beta, k, axis), input)


_HALF = (torch.float16, torch.bfloat16)


def _with_tensors(x: Tensor, size: Axes, alpha: Parameter, beta: Parameter, k: Parameter, axis: Axes) -> Tensor:
    """Outside a compiled function, with alpha, beta or k given as tensors."""
    given = _checked_parameters(alpha, beta, k)
    window = operator_of(size, *_numbers(given, 1.0), axis)
    tensors = [value for value in given if isinstance(value, Tensor)]
    if any(tensor.ndim for tensor in tensors):
        return composite.of_window(x, operators.window(window), *given)
    if autograd.differentiated(*tensors) or not kernels.applies(x, *tensors):
        scale, beta_value, k_value = _as_tensors(operators.window(window), *given)
        return parameters.forward(x, scale, beta_value, k_value, window)
    return autograd.forward(operator_of(size, *_numbers(given), axis), x)


def _recorded(x: Tensor, size: Axes, alpha: Parameter, beta: Parameter, k: Parameter, axis: Axes) -> Tensor:
    """Inside torch.compile or torch.export: one node of the graph, or PyTorch's own operations."""
    kernels.refuse_tangents_from_outside()
    transforms = kernels.transforms()
    given = _checked_parameters(alpha, beta, k)
    # A size that varies is a symbol to the compiler; index makes it a number that the graph is guarded by.
    window = _window(_whole(size), _whole(axis))
    if export.is_wanted():
        return export.local_response_norm(x, window, given)
    tensors = [value for value in given if isinstance(value, Tensor)]
    if transforms or any(tensor.ndim for tensor in tensors):
        return composite.of_window(x, window, *given)
    result: Tensor
    if tensors:
        result = torch.ops.numba_lrn.forward_with_parameters(x, *_as_tensors(window, *given), *window)
    else:
        result = torch.ops.numba_lrn.forward(x, *window, alpha / composite.elements(window), beta, k)
    return result


def _whole(given: Axes) -> Axes:
    if isinstance(given, tuple):
        return tuple([operator.index(value) for value in given])
    return operator.index(given)


@kernels.constant
def _window(size: Axes, axis: Axes) -> operators.Window:
    return operators.window(operator_of(size, 1.0, 1.0, 1.0, axis))


def _checked_parameters(*given: Parameter) -> tuple[Parameter, ...]:
    """alpha, beta and k; operator.py checks those that are no tensors."""
    for name, value in zip(("alpha", "beta", "k"), given, strict=True):
        if isinstance(value, Tensor) and (value.dtype.is_complex or value.dtype is torch.bool):
            msg = f"{name} has dtype {value.dtype}; a parameter must be real: convert it, as with {name}.float()"
            raise TypeError(msg)
    return given


def _numbers(given: Iterable[Parameter], of_tensors: float | None = None) -> tuple[float, float, float]:
    """alpha, beta and k as numbers, tensors by their values or all by ``of_tensors``."""
    alpha, beta, k = (
        value if not isinstance(value, Tensor) else value.item() if of_tensors is None else of_tensors
        for value in given
    )
    return alpha, beta, k


def _number(value: Any) -> Any:
    """A number that torch.full takes; one that varies in a compiled function stays what it is."""
    return value if isinstance(value, (float, torch.SymFloat)) else float(value)


def _as_tensors(window: operators.Window, alpha: Parameter, beta: Parameter, k: Parameter) -> list[Tensor]:
    """scale, beta and k as tensors of no dimension, in double precision where something is computed of them."""
    values = [
        value.to(torch.float64) if isinstance(value, Tensor) else torch.full((), _number(value), dtype=torch.float64)
        for value in (alpha, beta, k)
    ]
    return [values[0] / composite.elements(window), *values[1:]]
