"""``LocalResponseNorm`` as a module."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from numba_lrn.checks import finite
from numba_lrn.operator import Axes
from numba_lrn.torch.functional import Parameter, local_response_norm

_NUMBERS = ("alpha", "beta", "k")


class LocalResponseNorm(nn.Module):
    r"""Local Response Normalization: a drop-in for ``torch.nn.LocalResponseNorm``.

    ::

        y[c] = x[c] · (k + alpha/size · Σ x[j]²)^(−beta)      j from c − size//2 to c + (size − 1)//2, clipped

    Parameters
    ----------
    size : int or tuple of int
        Elements of the window.
    alpha, beta, k : float
        As for :func:`local_response_norm`, tensors too.
    axis : int or tuple of int
        The axis to sum along: 1 for channels; a tuple for a box, (2, 3) within channels.
    learnable : iterable of str
        Which of "alpha", "beta" and "k" are parameters of the module. They stay positive: what is learnt is the
        logarithm, ``log_alpha`` for alpha = exp(log_alpha), so that a step of the optimiser is a relative change, the
        same for an alpha of 1e-4 and a k of 1. They must be positive from the start.

    Raises
    ------
    ValueError
        A name in ``learnable`` that is none of the three, or one of them that is to be learnt and is not positive. What
        is wrong with ``size``, ``axis`` and the other numbers is refused at the first call, as by
        :func:`local_response_norm`, whose dtypes, even sizes, NaN and Inf are this module's too.

    Notes
    -----
    Without ``learnable`` the module has no state, as PyTorch's. The attributes ``alpha``, ``beta`` and ``k`` are the
    values, computed from the logarithm where learnt; to set one of these sets its logarithm.

    Shape: input and output (N, C, …), as for :func:`local_response_norm`.

    Examples
    --------
    >>> import torch
    >>> LocalResponseNorm(5, k=2.0)
    LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=2.0)
    >>> LocalResponseNorm(5)(torch.ones(1, 8, 4, 4)).shape
    torch.Size([1, 8, 4, 4])
    >>> module = LocalResponseNorm(5, alpha=1.0, learnable=("alpha",))
    >>> [name for name, _ in module.named_parameters()]
    ['log_alpha']
    """

    # The attributes that PyTorch's module has too, and by which replace.py makes one of the other.
    size: Axes
    axis: Axes
    learnable: tuple[str, ...]

    def __init__(
        self,
        size: Axes,
        alpha: Parameter = 1e-4,
        beta: Parameter = 0.75,
        k: Parameter = 1.0,
        *,
        axis: Axes = 1,
        learnable: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.size = size
        self.axis = axis
        chosen = (learnable,) if isinstance(learnable, str) else tuple(learnable)
        for name in chosen:
            if name not in _NUMBERS:
                msg = f"learnable names {name!r}; allowed are 'alpha', 'beta' and 'k'"
                raise ValueError(msg)
        self.learnable = tuple(name for name in _NUMBERS if name in chosen)
        for name, value in zip(_NUMBERS, (alpha, beta, k), strict=True):
            if name in self.learnable:
                self.register_parameter(f"log_{name}", nn.Parameter(torch.tensor(_logarithm(name, value))))
            else:
                setattr(self, name, value)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  PyTorch's name
        """The normalised input."""
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k, axis=self.axis)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _NUMBERS and isinstance(value, np.generic):
            value = value.item()  # one of NumPy's would be an array to the compiler
        if name not in self.__dict__.get("learnable", ()):
            super().__setattr__(name, value)
            return
        with torch.no_grad():
            getattr(self, f"log_{name}").fill_(_logarithm(name, value))

    def __getattr__(self, name: str) -> Any:
        if name in _NUMBERS and name in self.learnable:
            logarithm = getattr(self, f"log_{name}")
            return (logarithm.float() if logarithm.itemsize < 4 else logarithm).exp()
        return super().__getattr__(name)

    def extra_repr(self) -> str:
        """The arguments; as PyTorch's where those are its own."""
        numbers = [f"{name}={_shown(getattr(self, name))}" for name in _NUMBERS]
        further = [f"axis={self.axis}"] * (self.axis != 1) + [f"learnable={self.learnable}"] * bool(self.learnable)
        return ", ".join([str(self.size), *numbers, *further])


def _shown(number: Any) -> str:
    """A number, or the value of a learnt one, which has none on the device meta."""
    if not isinstance(number, Tensor):
        return str(number)
    return "?" if number.is_meta else f"{number.item():.6g}"


def _logarithm(name: str, value: Any) -> float:
    """Of a number that is learnt."""
    number = finite(value.detach() if isinstance(value, Tensor) else value, name)
    if number > 0:
        return math.log(number)
    msg = f"a learnable {name} is kept positive, got {number!r}; take a positive one"
    raise ValueError(msg)
