"""PyTorch's modules for ours in a model, and back."""

from collections.abc import Callable

from torch import nn

from numba_lrn.torch.module import LocalResponseNorm


class Replaced(int):
    """How many modules were replaced.

    Attributes
    ----------
    model : torch.nn.Module
        The model; what took its place, if it was itself a module to replace.
    left : int
        How many modules of a subclass were left alone, since what the subclass does is not known.
    """

    model: nn.Module
    left: int

    def __new__(cls, count: int, model: nn.Module, left: int) -> "Replaced":  # noqa: D102, PYI034
        self = super().__new__(cls, count)
        self.model = model
        self.left = left
        return self

    def __reduce__(self) -> tuple[type["Replaced"], tuple[int, nn.Module, int]]:
        return Replaced, (int(self), self.model, self.left)


def replace_local_response_norm(model: nn.Module) -> Replaced:
    """Put :class:`LocalResponseNorm` in the place of every ``torch.nn.LocalResponseNorm`` of a model.

    The model is changed in place. Hooks, the training mode and other attributes are kept; a module that occurs in
    several places is replaced once and shared again; modules of a subclass are left alone and counted apart.

    Calls of ``torch.nn.functional.local_response_norm`` inside a ``forward`` cannot be found: replace those by hand.

    Parameters
    ----------
    model : torch.nn.Module
        Where it is itself a ``torch.nn.LocalResponseNorm``, the ``model`` of the result is what replaces it.

    Returns
    -------
    Replaced
        The number of modules replaced, with the attributes ``model`` and ``left``.

    Notes
    -----
    Nothing is refused here: arguments that PyTorch takes and this library does not are told by the first call.

    Examples
    --------
    >>> model = nn.Sequential(nn.ReLU(), nn.LocalResponseNorm(5), nn.LocalResponseNorm(3))
    >>> replace_local_response_norm(model)
    2
    >>> restore_local_response_norm(model)
    2
    """
    return _replace(model, nn.LocalResponseNorm, _ours)


def restore_local_response_norm(model: nn.Module) -> Replaced:
    """Put ``torch.nn.LocalResponseNorm`` back in the place of every :class:`LocalResponseNorm` of a model.

    The inverse of :func:`replace_local_response_norm`, with the same result.

    Raises
    ------
    ValueError
        A module has an axis or learnable numbers, which PyTorch's cannot have. Nothing is changed then.
    """
    for name, module in model.named_modules():
        if type(module) is LocalResponseNorm and (module.axis != 1 or module.learnable):
            msg = f"the module {name!r}, {module}, has no counterpart in PyTorch: its axis or learnable numbers"
            raise ValueError(msg)
    return _replace(model, LocalResponseNorm, _theirs)


def _replace(model: nn.Module, kind: type[nn.Module], convert: Callable[[nn.Module], nn.Module]) -> Replaced:
    converted: dict[nn.Module, nn.Module] = {}
    left = 0
    for module in list(model.modules()):
        if type(module) is kind:
            converted[module] = convert(module)
        elif isinstance(module, kind):
            left += 1
    for parent in list(model.modules()):
        for name, child in parent._modules.items():  # named_children leaves out what it has seen
            if child in converted:
                parent._modules[name] = converted[child]
    return Replaced(len(converted), converted.get(model, model), left)


def _ours(module: nn.Module) -> nn.Module:
    new = LocalResponseNorm(1)
    new.__dict__.update(module.__dict__)
    new.alpha, new.beta, new.k = module.alpha, module.beta, module.k  # as the module takes them
    return new


def _theirs(module: nn.Module) -> nn.Module:
    new = nn.LocalResponseNorm(1)
    new.__dict__.update({name: value for name, value in module.__dict__.items() if name not in ("axis", "learnable")})
    if isinstance(new.size, tuple) and len(new.size) == 1:
        (new.size,) = new.size
    return new
