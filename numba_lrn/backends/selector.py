"""Array type → backend, by a registry that imports nothing the user has not imported."""

import importlib
from typing import Any, Protocol

from numba_lrn.backends import forked  # noqa: F401  notes forks from the import of the package on


class Backend(Protocol):
    """What a backend module offers."""

    def forward(self, op: Any, x: Any, out: Any) -> Any:
        """y of the operator ``op``, in ``out`` or in a new array."""

    def backward(self, op: Any, grad_output: Any, x: Any, out: Any) -> Any:
        """dx, likewise."""

    def jvp(self, op: Any, x: Any, tangent: Any, out: Any) -> Any:
        """The tangent of y, likewise."""

    def backward_parameters(self, op: Any, grad_output: Any, x: Any) -> Any:
        """(d_scale, d_beta, d_k)."""

    def backward_all(self, op: Any, grad_output: Any, x: Any) -> Any:
        """(dx, d_scale, d_beta, d_k)."""

    def double_backward(self, op: Any, grad_output: Any, x: Any, cotangent: Any) -> Any:
        """The gradients of ⟨cotangent, dx⟩ with respect to grad_output and x."""


# A class is known by (top module, name), so that it need not be imported to be registered.
_REGISTRY: dict[tuple[str, str], str] = {
    ("numpy", "ndarray"): "numba_lrn.backends.cpu.launch",
    ("numpy", "memmap"): "numba_lrn.backends.cpu.launch",
    ("torch", "Tensor"): "numba_lrn.torch.backend",
    ("torch", "Parameter"): "numba_lrn.torch.backend",
}
_found: dict[type, Backend] = {}

SUPPORTED = "NumPy arrays (numpy.ndarray, numpy.memmap) and PyTorch tensors"


def register(top_module: str, class_name: str, backend_module: str) -> None:
    """Let arrays of a class be run by the module ``backend_module``."""
    _REGISTRY[top_module, class_name] = backend_module
    _found.clear()


def backend_of(array: Any) -> Backend:
    """The backend of an array.

    Raises
    ------
    TypeError
        For anything that is not a supported array, with what is supported and what to do.
    """
    kind = type(array)
    backend = _found.get(kind)
    if backend is None:
        module = _REGISTRY.get((kind.__module__.partition(".")[0], kind.__name__))
        if module is None:
            raise TypeError(_refusal(array))
        backend = _found[kind] = importlib.import_module(module)
    return backend


def _refusal(array: Any) -> str:
    kind = type(array)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if any(base.__module__.partition(".")[0] == "numpy" and base.__name__ == "MaskedArray" for base in kind.__mro__):
        return f"got {name}, whose mask would be ignored; fill it first, for example with x.filled(0)"
    if any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in kind.__mro__):
        return f"got {name}, a kind of tensor; numba_lrn.torch.local_response_norm takes it where PyTorch's own would"
    if hasattr(kind, "__cuda_array_interface__"):
        return (
            f"got {name}, an array on a CUDA device; install the CUDA backend with pip install 'numba-lrn[cuda12]' or "
            "'numba-lrn[cuda13]', or copy the array to the host"
        )
    hint = "convert it first, for example with numpy.asarray(x)"
    if any(base.__module__.partition(".")[0] == "numpy" and base.__name__ == "ndarray" for base in kind.__mro__):
        hint = "what it adds to an array would be lost; pass numpy.asarray(x) if that is meant"
    return f"got {name}; supported are {SUPPORTED}: {hint}"
