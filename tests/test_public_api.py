"""The public names, their signatures and documentation, and the operator as a value."""

import copy
import importlib
import inspect
import math
import pickle
import types

import numpy as np
import pytest

import numba_lrn as lrn
from numba_lrn import LocalResponseNorm
from tests.support import modules_below, optional, run_examples

# What an optional module needs; the others need nothing beyond the core.
NEEDS = {"numba_lrn.torch": "torch", "numba_lrn.onnx": "onnx"}
CUDA = "numba_lrn.backends.cuda"  # tests/cuda runs its examples
CONTRACT = {
    "local_response_norm": "(x, size, alpha=0.0001, beta=0.75, k=1.0, *, axis=1, out=None)",
    "local_response_norm_backward": "(grad_output, x, size, alpha=0.0001, beta=0.75, k=1.0, *, axis=1, out=None)",
    "LocalResponseNorm": "(size, alpha=0.0001, beta=0.75, k=1.0, *, axis=1)",
    "LocalResponseNorm.from_window": "(axis, before, after, scale, beta, k)",
    "LocalResponseNorm.__call__": "(self, x, out=None)",
    "LocalResponseNorm.backward": "(self, grad_output, x, out=None)",
    "LocalResponseNorm.describe": "(self)",
    "warmup": "(dtypes=('float32',), ndim=4, device='cpu')",
}


def found(path):
    target = lrn
    for name in path.split("."):
        target = getattr(target, name)
    return target


@pytest.mark.parametrize("path", CONTRACT)
def test_signature(path):
    signature = inspect.signature(found(path))
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == CONTRACT[path]


@pytest.mark.parametrize("path", CONTRACT)
def test_every_argument_and_result_has_a_type(path):
    signature = inspect.signature(found(path))
    for parameter in signature.parameters.values():
        assert parameter.name == "self" or parameter.annotation is not inspect.Parameter.empty
    assert isinstance(found(path), type) or signature.return_annotation is not inspect.Signature.empty


def test_all_is_all():
    public = {name for name, value in vars(lrn).items() if name[0] != "_" and not isinstance(value, types.ModuleType)}
    assert public <= set(lrn.__all__)
    assert len(lrn.__all__) == len(set(lrn.__all__))
    for name in lrn.__all__:
        assert hasattr(lrn, name)
    assert {"LocalResponseNorm", "local_response_norm", "local_response_norm_backward", "reference"} <= set(lrn.__all__)


def test_the_order_of_axes_does_not_matter():
    op = LocalResponseNorm((3, 5), axis=(1, 2))
    assert op == LocalResponseNorm((5, 3), axis=(2, 1))
    assert hash(op) == hash(LocalResponseNorm((5, 3), axis=(2, 1)))
    assert (op.axis, op.before, op.after) == ((1, 2), (1, 2), (1, 2))


@pytest.mark.parametrize("name", lrn.__all__)
def test_every_exported_name_is_documented(name):
    value = getattr(lrn, name)
    assert inspect.getdoc(value)
    if callable(value):
        assert ">>> " in value.__doc__, "an example that runs"


@pytest.mark.parametrize("name", [name for name in dir(LocalResponseNorm) if name[0] != "_"])
def test_every_method_is_documented(name):
    member = inspect.getattr_static(LocalResponseNorm, name)
    if not isinstance(member, types.MemberDescriptorType):  # the fields, which the class itself documents
        assert ">>> " in inspect.getdoc(getattr(LocalResponseNorm, name)), "an example that runs"
    else:
        assert name in LocalResponseNorm.__doc__


def module_of(name):
    for prefix, package in NEEDS.items():
        if name.startswith(prefix):
            optional(package)
    return importlib.import_module(name)


@pytest.mark.parametrize("name", [name for name in modules_below(lrn) if not name.startswith(CUDA)])
def test_examples_run(name, request):
    run_examples(module_of(name), request)


def test_version():
    assert lrn.__version__.count(".") == 2


# The operator as a value.

OPERATORS = [
    LocalResponseNorm(5),
    LocalResponseNorm(4, 1.0, 0.5, 2.0, axis=-1),
    LocalResponseNorm((3, 4), axis=(2, 3)),
    LocalResponseNorm(3, axis=(1, 3)),
    LocalResponseNorm.from_window(-1, 5, 2, 1.0, 0.5, 0.0),
    LocalResponseNorm.from_window((1, 2), (0, 3), 10**9, -1e-30, -0.6, 1e300),
]
EVERY_OPERATOR = pytest.mark.parametrize("op", OPERATORS, ids=str)


def test_attributes():
    op = LocalResponseNorm(4, alpha=2.0, beta=0.5, k=3, axis=-1)
    assert (op.axis, op.before, op.after, op.scale, op.beta, op.k) == (-1, 2, 1, 0.5, 0.5, 3.0)
    op = LocalResponseNorm((3, 4), alpha=6.0, axis=(2, 3))
    assert (op.axis, op.before, op.after, op.scale) == ((2, 3), (1, 2), (1, 1), 0.5)
    op = LocalResponseNorm(3, alpha=9.0, axis=(2, 3))
    assert (op.axis, op.before, op.after, op.scale) == ((2, 3), (1, 1), (1, 1), 1.0)
    op = LocalResponseNorm.from_window((0, 1), 1, (2, 3), 0.1, 1, 2)
    assert (op.before, op.after, op.scale, op.beta, op.k) == ((1, 1), (2, 3), 0.1, 1.0, 2.0)


def test_window_of_an_even_size_is_that_of_pytorch():
    for n in range(1, 10):
        op = LocalResponseNorm(n)
        assert (op.before, op.after) == (n // 2, (n - 1) // 2)


@EVERY_OPERATOR
def test_repr_makes_the_operator_again(op):
    text = repr(op).replace("LocalResponseNorm(", "LocalResponseNorm.from_window(", 1)
    assert eval(text) == op
    assert str(op) == repr(op)


@EVERY_OPERATOR
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(op, protocol):
    again = pickle.loads(pickle.dumps(op, protocol))
    assert again == op
    assert hash(again) == hash(op)
    assert type(again) is LocalResponseNorm


@EVERY_OPERATOR
def test_copies(op):
    assert copy.copy(op) == op
    assert copy.deepcopy([op]) == [op]
    assert hash(copy.deepcopy(op)) == hash(op)


@EVERY_OPERATOR
def test_describe_names_everything(op):
    text = op.describe()
    for value in (op.scale, op.k, -op.beta):
        assert repr(value) in text
    axes = op.axis if isinstance(op.axis, tuple) else (op.axis,)
    for axis in axes:
        assert f"axis {axis}: " in text


def test_equality_and_hash():
    assert len(set(OPERATORS)) == len(OPERATORS)
    assert LocalResponseNorm(5) == LocalResponseNorm(np.int64(5), np.float64(1e-4), axis=(1,))
    assert hash(LocalResponseNorm(5)) == hash(LocalResponseNorm(np.int8(5), axis=np.int16(1)))
    different = [LocalResponseNorm(6), LocalResponseNorm(5, 1e-3), LocalResponseNorm(5, beta=0.5)]
    different += [LocalResponseNorm(5, k=2.0), LocalResponseNorm(5, axis=2), LocalResponseNorm(5, axis=(1, 2))]
    assert all(op != LocalResponseNorm(5) for op in different)
    assert LocalResponseNorm(5) != "LocalResponseNorm(5)"
    assert LocalResponseNorm(5).__eq__(5) is NotImplemented


def test_negative_zeros_are_zeros():
    """Else results would depend on which of two equal operators came first."""
    for op in (LocalResponseNorm(3, -0.0, -0.0, -0.0), LocalResponseNorm.from_window(1, 1, 1, -0.0, -0.0, -0.0)):
        assert [math.copysign(1.0, number) for number in (op.scale, op.beta, op.k)] == [1.0] * 3
    x = np.full((1, 4, 3), 1e-30, np.float32)
    for k in (-0.0, 0.0):
        assert (lrn.local_response_norm(x, 3, alpha=-1.0, beta=3.0, k=k) == np.inf).all()


@EVERY_OPERATOR
def test_immutable(op):
    before = repr(op)
    for name in ("axis", "before", "after", "scale", "beta", "k", "_hash", "new"):
        with pytest.raises(AttributeError):
            setattr(op, name, 1)
        with pytest.raises(AttributeError):
            delattr(op, name)
    assert not hasattr(op, "__dict__")
    assert repr(op) == before


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int32, np.int64, np.uint64])
def test_integers_of_numpy(kind):
    x = np.random.default_rng(0).standard_normal((2, 6, 40), dtype=np.float32)
    expected = lrn.local_response_norm(x, 3, axis=2)
    np.testing.assert_array_equal(lrn.local_response_norm(x, kind(3), axis=kind(2)), expected)
    np.testing.assert_array_equal(lrn.local_response_norm(x, (kind(3),), axis=(kind(2),)), expected)
    op = LocalResponseNorm(kind(3), axis=kind(2))
    assert {type(value) for value in (op.axis, op.before, op.after)} == {int}
    op = LocalResponseNorm.from_window(kind(2), kind(1), kind(1), 1e-4 / 3, 0.75, 1.0)
    assert op == LocalResponseNorm(3, axis=2)


def test_functions_are_the_operator():
    x, g = np.random.default_rng(0).standard_normal((2, 2, 6, 40), dtype=np.float32)
    op = LocalResponseNorm(4, 2.0, 0.5, 3.0, axis=-2)
    np.testing.assert_array_equal(lrn.local_response_norm(x, 4, 2.0, 0.5, 3.0, axis=-2), op(x))
    np.testing.assert_array_equal(lrn.local_response_norm_backward(g, x, 4, 2.0, 0.5, 3.0, axis=-2), op.backward(g, x))
    out = np.empty_like(x)
    assert op(x, out) is out
    assert op.backward(g, x, out) is out
    assert lrn.local_response_norm(x, 4, out=out) is out
    assert lrn.local_response_norm_backward(g, x, 4, out=out) is out
