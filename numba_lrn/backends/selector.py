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


CPU = "numba_lrn.backends.cpu.launch"
CUDA = "numba_lrn.backends.cuda.launch"

# A class is known by (top module, name), so that it need not be imported to be registered.
_REGISTRY: dict[tuple[str, str], str] = {
    ("numpy", "ndarray"): CPU,
    ("numpy", "memmap"): CPU,
    ("cupy", "ndarray"): CUDA,
    ("numba", "DeviceNDArray"): CUDA,
    ("numba", "FakeCUDAArray"): CUDA,  # the simulator's
    ("torch", "Tensor"): "numba_lrn.torch.backend",
    ("torch", "Parameter"): "numba_lrn.torch.backend",
}
_found: dict[type, Backend] = {}

SUPPORTED = (
    "NumPy arrays (numpy.ndarray, numpy.memmap), PyTorch tensors and, on a CUDA device, CuPy and Numba device arrays"
)


def register(top_module: str, class_name: str, backend_module: str) -> None:
    """Let arrays of a class be run by the module ``backend_module``."""
    _REGISTRY[top_module, class_name] = backend_module
    _found.clear()


def backend_of(array: Any, name: str = "x") -> Backend:
    """The backend of an array, which an error calls ``name``.

    Raises
    ------
    TypeError
        For anything that is not a supported array, with what is supported and what to do.
    ImportError
        For an array on a CUDA device where the packages of the CUDA backend are not installed.
    """
    return _found.get(type(array)) or _find(array, name)


def _find(array: Any, name: str) -> Backend:
    kind = type(array)
    module = _REGISTRY.get((_top(kind), kind.__name__))
    if module is None and not _is_any(kind, "torch", "Tensor") and hasattr(array, "__cuda_array_interface__"):
        module = CUDA
    if module is None:
        raise TypeError(_refusal(kind, name))
    try:
        backend = importlib.import_module(module)
    except ImportError as error:
        if module != CUDA:
            raise
        msg = f"{name} is of type {full_name(kind)}, an array on a CUDA device: {error}; or copy it to the host"
        raise ImportError(msg) from error
    _found[kind] = backend
    return backend


def _refusal(kind: type, name: str) -> str:
    got = f"{name} is of type {full_name(kind)}"
    if _is_any(kind, "numpy", "MaskedArray"):
        return f"{got}, whose mask would be ignored; fill it first, for example with {name}.filled(0)"
    if _is_any(kind, "torch", "Tensor"):
        return f"{got}, a kind of tensor; numba_lrn.torch.local_response_norm takes it where PyTorch's own would"
    hint = f"convert it first, for example with numpy.asarray({name})"
    if _is_any(kind, "numpy", "ndarray"):
        hint = f"what it adds to an array would be lost; pass numpy.asarray({name}) if that is meant"
    return f"{got}; supported are {SUPPORTED}: {hint}"


def _top(kind: type) -> str:
    return kind.__module__.partition(".")[0]


def full_name(kind: type) -> str:
    """The name of a class with its module: numpy.ndarray, cupy.ndarray."""
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _is_any(kind: type, top_module: str, class_name: str) -> bool:
    """Whether a class is, or descends from, one that need not be imported to be known."""
    return any(_top(base) == top_module and base.__name__ == class_name for base in kind.__mro__)
