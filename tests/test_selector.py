"""From an array's type to its backend, by a registry that imports nothing by itself."""

import sys
import types

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends import selector
from numba_lrn.backends.cpu import launch


@pytest.fixture
def registry(monkeypatch):
    """The registry, whose changes end with the test."""
    monkeypatch.setattr(selector, "_REGISTRY", dict(selector._REGISTRY))
    monkeypatch.setattr(selector, "_found", {})


@pytest.mark.parametrize("kind", [np.ndarray, np.memmap])
def test_numpy_arrays_go_to_the_cpu(kind, tmp_path):
    array = np.ones(3, np.float32) if kind is np.ndarray else np.memmap(tmp_path / "x", np.float32, "w+", shape=3)
    assert type(array) is kind
    assert selector.backend_of(array) is launch


@pytest.mark.usefixtures("registry")
def test_a_class_is_registered_by_name_and_its_backend_imported_when_needed(monkeypatch):
    class Array:
        pass

    Array.__module__ = "some_library.arrays"
    backend = types.ModuleType("some_backend")
    backend.forward = lambda op, x, out: ("forward", op, x, out)
    backend.backward = lambda op, grad_output, x, out: ("backward", op, grad_output, x, out)
    with pytest.raises(TypeError, match=r"x is of type some_library\.arrays\..*Array; supported are NumPy arrays"):
        selector.backend_of(Array())
    selector.register("some_library", "Array", "some_backend")
    with pytest.raises(ModuleNotFoundError, match="some_backend"):
        selector.backend_of(Array())
    monkeypatch.setitem(sys.modules, "some_backend", backend)
    op, x, g = LocalResponseNorm(3), Array(), Array()
    assert selector.backend_of(x) is backend
    assert op(x) == ("forward", op, x, None)
    assert op.backward(g, x, x) == ("backward", op, g, x, x)


@pytest.mark.usefixtures("registry")
def test_registering_again_takes_effect(monkeypatch):
    array = np.ones(3, np.float32)
    assert selector.backend_of(array) is launch
    monkeypatch.setitem(sys.modules, "some_backend", types.ModuleType("some_backend"))
    selector.register("numpy", "ndarray", "some_backend")
    assert selector.backend_of(array).__name__ == "some_backend"


@pytest.mark.usefixtures("registry")
def test_a_subclass_is_not_its_base():
    class Labelled(np.ndarray):
        pass

    with pytest.raises(TypeError, match="what it adds to an array would be lost"):
        selector.backend_of(np.ones(3).view(Labelled))


@pytest.mark.usefixtures("registry")
def test_a_refused_type_is_not_remembered():
    for _ in range(2):
        with pytest.raises(TypeError, match="x is of type list; supported are"):
            selector.backend_of([1.0])
    assert not selector._found


def test_arrays_of_two_backends_do_not_meet(registry, monkeypatch):
    class Array:
        shape, dtype, ndim = (2, 3), np.dtype("f4"), 2

    Array.__module__ = "some_library"
    monkeypatch.setitem(sys.modules, "some_backend", types.ModuleType("some_backend"))
    selector.register("some_library", "Array", "some_backend")
    text = r"grad_output is a some_library\..*Array and x a numpy\.ndarray; both must be of one kind on one device"
    with pytest.raises(TypeError, match=text):
        LocalResponseNorm(3).backward(Array(), np.ones((2, 3), np.float32))
