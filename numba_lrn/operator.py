"""The operator: what is computed."""

import math
from collections.abc import Iterator
from typing import Any

from numba_lrn.backends.selector import backend_of
from numba_lrn.checks import divided, finite, integers

Axes = int | tuple[int, ...]


class LocalResponseNorm:
    r"""Local Response Normalization with fixed parameters, forward and backward.

    ::

        S = W(x²)            W: sum over the box window [i − before, i + after] along each windowed axis,
                             clipped at the borders
        d = k + scale·S
        y = x · d^(−β)

    The constructor takes PyTorch's parameters: a window of ``size`` elements, [c − size//2, c + (size − 1)//2], so
    that an even size has its extra element *before* c, and scale = alpha / (number of elements of the full window,
    borders included). :meth:`from_window` takes any window and the scale itself.

    Parameters
    ----------
    size : int or tuple of int
        Elements of the window along each windowed axis, at least 1; may exceed the axis.
    alpha, beta, k : float
        Finite. k ≤ 0 and negative alpha are allowed and follow IEEE arithmetic.
    axis : int or tuple of int
        The windowed axis (1: across channels in NCHW), or several for a box (within channels: (2, 3)).
        Negative axes count from the end.

    Attributes
    ----------
    axis, before, after : int, or tuples of int for a box, by ascending axis
    scale, beta, k : float

    Raises
    ------
    TypeError
        A size or an axis that is no integer, an alpha, beta or k that is no real number.
    ValueError
        A size below 1, an axis named twice or none, sizes for another number of axes, a number that is not finite.

    Notes
    -----
    Immutable, hashable, picklable. float16 and bfloat16 are computed in float32 and rounded once; float32 and
    float64 are computed in their own type; results have the dtype of ``x``. All this holds for every method. A NaN or
    Inf reaches exactly the windows that contain it, forward and in every gradient; β = 0 gives the factor 1 even
    there. Sources: Krizhevsky et al. 2012, section 3.3; ``torch.nn.LocalResponseNorm``.

    Examples
    --------
    >>> import numpy as np
    >>> import numba_lrn as lrn
    >>> op = lrn.LocalResponseNorm(3, alpha=3.0, beta=0.5, k=1.0)
    >>> op
    LocalResponseNorm(axis=1, before=1, after=1, scale=1.0, beta=0.5, k=1.0)
    >>> op(np.array([[1.0, 1.0, 1.0]])).round(4)
    array([[0.5774, 0.5   , 0.5774]])
    """

    __slots__ = ("__weakref__", "_hash", "after", "axis", "before", "beta", "k", "scale")

    axis: Axes
    before: Axes
    after: Axes
    scale: float
    beta: float
    k: float
    _hash: int

    def __init__(self, size: Axes, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, axis: Axes = 1) -> None:
        axes = _axes(axis)
        sizes = integers(size, "size")
        if isinstance(size, tuple) and len(sizes) != len(axes):
            msg = f"size has {len(sizes)} entries for {len(axes)} axes; give one size, or one for each axis"
            raise ValueError(msg)
        if len(sizes) == 1:
            sizes *= len(axes)
        for n in sizes:
            if n < 1:
                msg = f"size must be at least 1, got {size!r}"
                raise ValueError(msg)
        scale = divided(finite(alpha, "alpha"), math.prod(sizes))
        before = tuple(n // 2 for n in sizes)
        after = tuple((n - 1) // 2 for n in sizes)
        self._set(axes, before, after, scale, finite(beta, "beta"), finite(k, "k"))

    @classmethod
    def from_window(
        cls, axis: Axes, before: Axes, after: Axes, scale: float, beta: float, k: float
    ) -> "LocalResponseNorm":
        """The general operator: ``before`` and ``after`` elements beside the centre along each axis, any scale.

        Parameters
        ----------
        axis : int or tuple of int
        before, after : int or tuple of int
            At least 0; one a windowed axis, or one for all.
        scale, beta, k : float
            Finite. ``scale`` multiplies the window sum; it is the alpha of a framework that divides by nothing.

        Returns
        -------
        LocalResponseNorm

        Raises
        ------
        TypeError, ValueError
            As for the constructor; also for a side below 0.

        Examples
        --------
        >>> LocalResponseNorm.from_window(-1, 5, 5, 1.0, 0.5, 1.0)  # TensorFlow's defaults
        LocalResponseNorm(axis=-1, before=5, after=5, scale=1.0, beta=0.5, k=1.0)
        """
        axes = _axes(axis)
        sides = []
        for name, side in (("before", before), ("after", after)):
            values = integers(side, name)
            if isinstance(side, tuple) and len(values) != len(axes):
                msg = f"{name} has {len(values)} entries for {len(axes)} axes; give one, or one for each axis"
                raise ValueError(msg)
            if len(values) == 1:
                values *= len(axes)
            if min(values) < 0:
                msg = f"{name} must not be negative, got {side!r}"
                raise ValueError(msg)
            sides.append(values)
        self = cls.__new__(cls)
        self._set(axes, sides[0], sides[1], finite(scale, "scale"), finite(beta, "beta"), finite(k, "k"))
        return self

    def _set(
        self,
        axes: tuple[int, ...],
        before: tuple[int, ...],
        after: tuple[int, ...],
        scale: float,
        beta: float,
        k: float,
    ) -> None:
        axes, before, after = zip(*sorted(zip(axes, before, after, strict=True)), strict=True)
        single = len(axes) == 1
        state = (
            axes[0] if single else axes,
            before[0] if single else before,
            after[0] if single else after,
            # −0 becomes 0: operators that are equal give equal results.
            scale + 0.0,
            beta + 0.0,
            k + 0.0,
        )
        for name, value in zip(("axis", "before", "after", "scale", "beta", "k"), state, strict=True):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_hash", hash(state))

    @property
    def _state(self) -> tuple:
        return (self.axis, self.before, self.after, self.scale, self.beta, self.k)

    def __setattr__(self, name: str, value: Any) -> None:
        msg = f"LocalResponseNorm is immutable; make another with another {name}"
        raise AttributeError(msg)

    def __delattr__(self, name: str) -> None:
        msg = "LocalResponseNorm is immutable"
        raise AttributeError(msg)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LocalResponseNorm):
            return NotImplemented
        return self is other or self._state == other._state

    def __reduce__(self) -> tuple:
        return LocalResponseNorm.from_window, self._state

    def __repr__(self) -> str:
        return (
            f"LocalResponseNorm(axis={self.axis}, before={self.before}, after={self.after}, "
            f"scale={self.scale!r}, beta={self.beta!r}, k={self.k!r})"
        )

    def describe(self) -> str:
        """The operator in words, and in the terms of every framework that can express it.

        >>> print(LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0).describe())  # doctest: +ELLIPSIS
        y = x * (2.0 + 2e-05 * S)**-0.75
        S: the sum of x**2 over the window
          axis 1: 5 elements, 2 before and 2 after
        ...
        """
        from numba_lrn import conventions  # only here: conventions imports this module

        lines = [f"y = x * ({self.k!r} + {self.scale!r} * S)**{-self.beta!r}", "S: the sum of x**2 over the window"]
        for axis, before, after in self.each_window():
            lines.append(f"  axis {axis}: {before + after + 1} elements, {before} before and {after} after")
        return "\n".join([*lines, conventions.describe(self)])

    def each_window(self) -> Iterator[tuple[int, int, int]]:
        """(axis, before, after) of each windowed axis.

        >>> list(LocalResponseNorm((3, 5), axis=(-2, -1)).each_window())
        [(-2, 1, 1), (-1, 2, 2)]
        """
        if isinstance(self.axis, tuple):
            yield from zip(self.axis, self.before, self.after, strict=True)  # type: ignore[arg-type]
        else:
            yield self.axis, self.before, self.after  # type: ignore[misc]

    def windows(self, ndim: int) -> dict[int, tuple[int, int]]:
        """{axis: (before, after)} for an array of ``ndim`` dimensions, axes counted from the front.

        Raises
        ------
        ValueError
            An axis that such an array does not have, or has twice.

        Examples
        --------
        >>> LocalResponseNorm(4, axis=-1).windows(4)
        {3: (2, 1)}
        """
        if ndim == 0:
            msg = "x has no dimensions; there is no axis to sum along"
            raise ValueError(msg)
        found: dict[int, tuple[int, int]] = {}
        for axis, before, after in self.each_window():
            if not -ndim <= axis < ndim:
                msg = f"axis {axis} is out of range for an array of {ndim} dimensions; allowed: {-ndim} to {ndim - 1}"
                raise ValueError(msg)
            if axis % ndim in found:
                msg = f"axis {self.axis} names axis {axis % ndim} twice in an array of {ndim} dimensions"
                raise ValueError(msg)
            found[axis % ndim] = (before, after)
        return found

    def __call__(self, x: Any, out: Any = None) -> Any:
        """y = x · (k + scale·S)^(−β).

        Parameters
        ----------
        x : array of any number of dimensions ≥ 1
            float16, bfloat16, float32 or float64; any strides; may be read-only.
        out : array of the same shape, dtype and device, optional
            Any strides; may be ``x`` itself or overlap it.

        Returns
        -------
        array
            ``out``, or a new array of the kind, device, dtype and memory order of ``x``.

        Raises
        ------
        TypeError
            An array type or dtype that is not supported.
        ValueError
            A wrong axis for ``x``; an ``out`` of another shape or that cannot be written.

        Examples
        --------
        >>> import numpy as np
        >>> op = LocalResponseNorm(3, alpha=3.0, beta=1.0, k=1.0, axis=0)
        >>> op(np.array([1.0, 2.0, 3.0])).round(4)
        array([0.1667, 0.1333, 0.2143])
        """
        return backend_of(x).forward(self, x, out)

    def backward(self, grad_output: Any, x: Any, out: Any = None) -> Any:
        """dx for the loss whose gradient with respect to y is ``grad_output``.

        ::

            r = g·x·d^(−β−1)        dx = g·d^(−β) − 2·scale·β·x·Wᵀ(r)

        Wᵀ is the window with before and after swapped.

        Parameters
        ----------
        grad_output, x : arrays of the same shape, dtype and kind
        out : array of the same shape, dtype and device, optional
            Any strides; may be ``grad_output`` or ``x``, or overlap them.

        Returns
        -------
        array
            ``out``, or a new array of the kind, device, dtype and memory order of ``x``.

        Raises
        ------
        TypeError, ValueError
            As for the call; also where ``grad_output`` and ``x`` differ in kind, shape or dtype.

        Notes
        -----
        Only ``x`` and ``grad_output`` are needed: d is computed again, never recovered from y.

        Examples
        --------
        >>> import numpy as np
        >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0)  # y = x/(1 + x²), y' = (1 − x²)/(1 + x²)²
        >>> op.backward(np.ones((1, 3)), np.array([[0.0, 1.0, 2.0]]))
        array([[ 1.  ,  0.  , -0.12]])
        """
        return backend_of(x).backward(self, grad_output, x, out)

    def jvp(self, x: Any, tangent: Any, out: Any = None) -> Any:
        """The directional derivative of y along ``tangent``, forward mode.

        ::

            ẏ = v·d^(−β) − 2·scale·β·x·d^(−β−1)·W(x·v)

        Parameters
        ----------
        x, tangent : arrays of the same shape, dtype and kind
        out : array of the same shape, dtype and device, optional
            Any strides; may be ``x`` or ``tangent``, or overlap them.

        Returns
        -------
        array
            ``out``, or a new array of the kind, device, dtype and memory order of ``x``.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`backward`, of which this is the transpose: ⟨u, jvp(x, v)⟩ = ⟨backward(u, x), v⟩.

        Examples
        --------
        >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0)  # y = x/(1 + x²), y' = (1 − x²)/(1 + x²)²
        >>> import numpy as np
        >>> op.jvp(np.array([[0.0, 1.0, 2.0]]), np.ones((1, 3)))
        array([[ 1.  ,  0.  , -0.12]])
        """
        return backend_of(x).jvp(self, x, tangent, out)

    def backward_parameters(self, grad_output: Any, x: Any) -> tuple[Any, Any, Any]:
        """The gradients of scale, β and k for the loss whose gradient with respect to y is ``grad_output``.

        ::

            r = g·x·d^(−β−1)     d_scale = −β·Σ r·S     d_beta = −Σ g·x·d^(−β)·ln d     d_k = −β·Σ r

        Parameters
        ----------
        grad_output, x : arrays of the same shape, dtype and kind

        Returns
        -------
        d_scale, d_beta, d_k : float, or on a CUDA device arrays of no dimensions
            ``d_scale`` is the derivative with respect to ``scale``, which multiplies the window sum. Where
            scale = alpha / (elements of the window), d_alpha = d_scale / (elements of the window). The arrays are of
            the kind and device of ``x``, of float64 whatever its dtype; nothing waits for them before ``float(d_k)``.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`backward`.

        Notes
        -----
        Up to 256 elements are summed in the type that computes, the rest in float64, in an order that depends on the
        shape alone: any number of threads gives the same bits. On a CUDA device each block sums in the type that
        computes, with what each sum was rounded by beside it, and in an order that depends on the shape and the card.
        A NaN or Inf in any window makes the sums NaN or Inf. With β = 0, d_scale and d_k are 0, d_beta is not.

        Examples
        --------
        >>> import numpy as np
        >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0)  # y = x/(1 + x²) at x = 1
        >>> [round(gradient, 6) for gradient in op.backward_parameters(np.ones((1, 1)), np.ones((1, 1)))]
        [-0.25, -0.346574, -0.25]
        """
        return backend_of(x).backward_parameters(self, grad_output, x)

    def backward_all(self, grad_output: Any, x: Any) -> tuple[Any, Any, Any, Any]:
        """:meth:`backward` and :meth:`backward_parameters` in one pass over the arrays, as a training step wants them.

        Parameters
        ----------
        grad_output, x : arrays of the same shape, dtype and kind

        Returns
        -------
        dx : array
            As from :meth:`backward`.
        d_scale, d_beta, d_k : float, or on a CUDA device arrays of no dimensions
            As from :meth:`backward_parameters`.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`backward`.

        Examples
        --------
        >>> import numpy as np
        >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0)
        >>> dx, d_scale, d_beta, d_k = op.backward_all(np.ones((1, 1)), np.full((1, 1), 2.0))
        >>> dx, round(d_scale, 6)
        (array([[-0.12]]), -0.32)
        """
        return backend_of(x).backward_all(self, grad_output, x)

    def double_backward(self, grad_output: Any, x: Any, cotangent: Any) -> tuple[Any, Any]:
        """The gradients of ⟨cotangent, dx⟩, where dx is the result of :meth:`backward`.

        ::

            C = W(x·u)
            for g:  u·d^(−β) − 2aβ·x·d^(−β−1)·C                                       the jvp, with u
            for x:  −2aβ·[ x·Wᵀ(g·u·d^(−β−1)) + g·d^(−β−1)·C + u·Wᵀ(g·x·d^(−β−1)) ]
                    + 4a²β(β+1)·x·Wᵀ(g·x·d^(−β−2)·C)

        with u the cotangent and a the scale. The second is the Hessian of ⟨g, y(x)⟩ times u: it is symmetric, so
        that the tangent of ``backward(g, x)`` along (ġ, ẋ) is backward(ġ, x) + double_backward(g, x, ẋ)[1].

        Parameters
        ----------
        grad_output, x, cotangent : arrays of the same shape, dtype and kind

        Returns
        -------
        for_grad_output, for_x : arrays
            New arrays of the kind, device, dtype and memory order of ``x``.

        Raises
        ------
        TypeError, ValueError
            As for :meth:`backward`.

        Examples
        --------
        >>> import numpy as np
        >>> op = LocalResponseNorm(1, alpha=1.0, beta=1.0, k=1.0)  # y'' = (2x³ − 6x)/(1 + x²)³
        >>> one = np.ones((1, 1))
        >>> op.double_backward(one, one, one)
        (array([[0.]]), array([[-0.5]]))
        """
        return backend_of(x).double_backward(self, grad_output, x, cotangent)


def _axes(axis: Any) -> tuple[int, ...]:
    """The axes, at least one, none twice."""
    axes = integers(axis, "axis")
    if not axes:
        msg = "axis is empty; name at least one axis to sum along"
        raise ValueError(msg)
    if len(set(axes)) != len(axes):
        msg = f"axis repeats an axis: {axes}; name each axis once"
        raise ValueError(msg)
    return axes
