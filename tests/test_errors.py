"""Wrong input is refused before any work, with what was received, what is allowed and how to mend it."""

import importlib.util
import math
import re
import sys

import numpy as np
import pytest

import numba_lrn as lrn
from numba_lrn import LocalResponseNorm
from numba_lrn.backends import selector
from tests.support import optional, unsupported

SHAPE = (2, 6, 4)


@pytest.fixture
def x():
    return np.ones(SHAPE, np.float32)


def refused(error, text):
    """pytest.raises for a text, not a pattern."""
    return pytest.raises(error, match=re.escape(text))


# Sizes, axes and numbers, through each door.


def by_constructor(x, size=5, alpha=1e-4, beta=0.75, k=1.0, axis=1):
    LocalResponseNorm(size, alpha, beta, k, axis=axis)


def by_function(x, size=5, alpha=1e-4, beta=0.75, k=1.0, axis=1):
    lrn.local_response_norm(x, size, alpha, beta, k, axis=axis)


def by_backward_function(x, size=5, alpha=1e-4, beta=0.75, k=1.0, axis=1):
    lrn.local_response_norm_backward(x, x, size, alpha, beta, k, axis=axis)


def by_window(x, size=5, alpha=1e-4, beta=0.75, k=1.0, axis=1):
    LocalResponseNorm.from_window(axis, 2, 2, alpha, beta, k)


EVERY_DOOR = pytest.mark.parametrize("door", [by_constructor, by_function, by_backward_function, by_window])
SIZED_DOOR = pytest.mark.parametrize("door", [by_constructor, by_function, by_backward_function])
ARRAY_DOOR = pytest.mark.parametrize("door", [by_function, by_backward_function])


@SIZED_DOOR
@pytest.mark.parametrize("size", [0, -1, np.int64(0), (3, 0), (-(10**9), 3)])
def test_size_below_one(door, x, size):
    axis = (0, 1) if isinstance(size, tuple) else 1
    with refused(ValueError, f"size must be at least 1, got {size!r}"):
        door(x, size=size, axis=axis)


@SIZED_DOOR
@pytest.mark.parametrize(
    "size", [5.0, np.float32(5), "5", None, True, False, np.True_, [5], {5}, np.array([5]), (3, 2.0), (3, True), 1j]
)
def test_size_not_an_integer(door, x, size):
    axis = (0, 1) if isinstance(size, tuple) else 1
    text = f"size must be an integer or a tuple of integers, got {size!r} of type {type(size).__name__}"
    with refused(TypeError, text):
        door(x, size=size, axis=axis)


@SIZED_DOOR
def test_size_empty(door, x):
    with refused(ValueError, "size is empty; give one integer, or one for each axis"):
        door(x, size=(), axis=(0, 1))


@SIZED_DOOR
@pytest.mark.parametrize(("size", "axis"), [((3, 3), 1), ((3,), (0, 1)), ((3, 3, 3), (0, 1))])
def test_sizes_of_another_number_than_the_axes(door, x, size, axis):
    count = len(axis) if isinstance(axis, tuple) else 1
    text = f"size has {len(size)} entries for {count} axes; give one size, or one for each axis"
    with refused(ValueError, text):
        door(x, size=size, axis=axis)


@SIZED_DOOR
def test_size_of_hundreds_of_digits_is_only_large(door, x):
    door(x, size=10**400)


@EVERY_DOOR
@pytest.mark.parametrize("axis", [1.0, "1", None, True, np.False_, [1], (0, 1.0), (0, True)])
def test_axis_not_an_integer(door, x, axis):
    text = f"axis must be an integer or a tuple of integers, got {axis!r} of type {type(axis).__name__}"
    with refused(TypeError, text):
        door(x, axis=axis)


@EVERY_DOOR
def test_axis_empty(door, x):
    with refused(ValueError, "axis is empty; name at least one axis to sum along"):
        door(x, axis=())


@EVERY_DOOR
@pytest.mark.parametrize("axis", [(1, 1), (0, 1, 0), (-1, -1)])
def test_axis_repeated(door, x, axis):
    with refused(ValueError, f"axis repeats an axis: {axis}; name each axis once"):
        door(x, axis=axis)


@ARRAY_DOOR
@pytest.mark.parametrize("axis", [(-1, 2), (2, 0, -3)])
def test_axis_repeated_by_its_negative(door, x, axis):
    with refused(ValueError, f"axis {tuple(sorted(axis))} names axis {axis[-1] % 3} twice in an array of 3 dimensions"):
        door(x, axis=axis)


@ARRAY_DOOR
@pytest.mark.parametrize("axis", [3, -4, 10**20, (0, 3)])
def test_axis_out_of_range(door, x, axis):
    wrong = axis[1] if isinstance(axis, tuple) else axis
    text = f"axis {wrong} is out of range for an array of 3 dimensions; allowed: -3 to 2"
    with refused(ValueError, text):
        door(x, axis=axis)


def test_axis_out_of_range_for_an_empty_array():
    with refused(ValueError, "axis 1 is out of range for an array of 1 dimensions; allowed: -1 to 0"):
        lrn.local_response_norm(np.ones(0, np.float32), 3)


@EVERY_DOOR
@pytest.mark.parametrize("name", ["alpha", "beta", "k"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("inf"), 10**400])
def test_number_not_finite(door, x, name, value):
    name_there = "scale" if door is by_window and name == "alpha" else name
    with refused(ValueError, f"{name_there} must be finite, got {value!r}"):
        door(x, **{name: value})


NO_NUMBERS = [
    "1",
    b"1",
    bytearray(b"1"),
    None,
    True,
    np.True_,
    np.timedelta64(1),
    1j,
    np.complex64(1),
    np.complex128(1),
]
NO_SCALARS = [[1.0], (1.0,), np.ones(1), np.ones((1, 1))]


@EVERY_DOOR
@pytest.mark.parametrize("name", ["alpha", "beta", "k"])
@pytest.mark.parametrize("value", NO_NUMBERS + NO_SCALARS, ids=lambda value: type(value).__name__)
def test_number_not_real(door, x, name, value):
    name_there = "scale" if door is by_window and name == "alpha" else name
    with refused(TypeError, f"{name_there} must be a real number, got {value!r} of type {type(value).__name__}"):
        door(x, **{name: value})


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-1, ValueError, "{} must not be negative, got -1"),
        ((1, -1), ValueError, "{} must not be negative, got (1, -1)"),
        (1.0, TypeError, "{} must be an integer or a tuple of integers, got 1.0 of type float"),
        (True, TypeError, "{} must be an integer or a tuple of integers, got True of type bool"),
        ([1, 1], TypeError, "{} must be an integer or a tuple of integers, got [1, 1] of type list"),
        ((), ValueError, "{} is empty; give one integer, or one for each axis"),
        ((1, 1, 1), ValueError, "{} has 3 entries for 2 axes; give one, or one for each axis"),
        ((1,), ValueError, "{} has 1 entries for 2 axes; give one, or one for each axis"),
    ],
)
def test_sides_of_a_window(side, value, error, text):
    sides = {"before": 1, "after": 1} | {side: value}
    with refused(error, text.format(side)):
        LocalResponseNorm.from_window((0, 1), sides["before"], sides["after"], 1.0, 0.75, 1.0)


# Arrays. Each must be refused as x, as grad_output and as out.


def as_x(wrong, x):
    lrn.local_response_norm(wrong, 3)


def as_x_of_the_operator(wrong, x):
    LocalResponseNorm(3)(wrong)


def as_x_of_backward(wrong, x):
    lrn.local_response_norm_backward(x, wrong, 3)


def as_x_of_the_operators_backward(wrong, x):
    LocalResponseNorm(3).backward(x, wrong)


def as_gradient(wrong, x):
    lrn.local_response_norm_backward(wrong, x, 3)


def as_out(wrong, x):
    lrn.local_response_norm(x, 3, out=wrong)


def as_out_of_backward(wrong, x):
    lrn.local_response_norm_backward(x, x, 3, out=wrong)


INPUTS = [as_x, as_x_of_the_operator, as_x_of_backward, as_x_of_the_operators_backward]
EVERY_PLACE = pytest.mark.parametrize("place", [*INPUTS, as_gradient, as_out, as_out_of_backward])
AS_INPUT = pytest.mark.parametrize("place", INPUTS)
MATCHED = [as_gradient, as_out, as_out_of_backward]
NAMES = dict.fromkeys(INPUTS, "x") | {as_gradient: "grad_output", as_out: "out", as_out_of_backward: "out"}
AS_MATCHED = pytest.mark.parametrize("place", MATCHED)

KINDS = (
    "supported are NumPy arrays (numpy.ndarray, numpy.memmap), PyTorch tensors and, on a CUDA device, CuPy and Numba "
    "device arrays"
)


OTHER_DTYPES = ["i1", "u1", "i4", "u8", "?", "c8", "c16", "O", "g", "M8[s]", "m8[s]", "U3", [("a", "f4")], "V4"]


@AS_INPUT
@pytest.mark.parametrize("dtype", OTHER_DTYPES, ids=str)
def test_dtypes_that_cannot_be_computed(place, x, dtype):
    wrong = np.zeros(SHAPE, dtype)
    with refused(TypeError, unsupported(wrong.dtype)):
        place(wrong, x)


@AS_INPUT
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_other_byte_order(place, x, dtype):
    native = np.dtype(dtype)
    wrong = np.zeros(SHAPE, native.newbyteorder("S"))
    text = f"x has dtype {wrong.dtype.str}, not in this machine's byte order; use x.astype('{native}')"
    with refused(TypeError, text):
        place(wrong, x)


@AS_INPUT
@pytest.mark.parametrize("dtype", ["i4", "c8"])
def test_other_byte_order_of_what_cannot_be_computed_either_way(place, x, dtype):
    wrong = np.zeros(SHAPE, np.dtype(dtype).newbyteorder("S"))
    with refused(TypeError, unsupported(wrong.dtype)):
        place(wrong, x)


@AS_MATCHED
@pytest.mark.parametrize("dtype", ["f2", "f8", "i4", "c8", "?", np.dtype("f4").newbyteorder("S")])
def test_another_dtype_than_x(place, x, dtype):
    wrong = np.ones(SHAPE, dtype)
    name = "grad_output" if place is as_gradient else "out"
    with refused(TypeError, f"{name} has dtype {wrong.dtype} and x float32; convert one of them"):
        place(wrong, x)


@AS_MATCHED
@pytest.mark.parametrize("shape", [(), (6,), (2, 6), (2, 6, 5), (1, 2, 6, 4), (2, 1, 4), (4, 6, 2), (0,)])
def test_another_shape_than_x(place, x, shape):
    name = "grad_output" if place is as_gradient else "out"
    with refused(ValueError, f"{name} has shape {shape} and x {SHAPE}; both must be the same"):
        place(np.ones(shape, np.float32), x)


@AS_INPUT
def test_no_dimensions(place, x):
    with refused(ValueError, "x has no dimensions; there is no axis to sum along"):
        place(np.array(1.0, np.float32), x)


@pytest.mark.parametrize("place", [as_out, as_out_of_backward])
def test_out_read_only(place, x):
    out = np.empty_like(x)
    out.flags.writeable = False
    with refused(ValueError, "out is read-only; pass an array that can be written, or leave out away"):
        place(out, x)


@pytest.mark.parametrize("place", [as_out, as_out_of_backward])
def test_out_whose_elements_share_memory(place, x):
    """It would hold whichever value came last."""
    out = np.lib.stride_tricks.as_strided(np.zeros(24, np.float32), SHAPE, (0, 16, 4))
    with refused(ValueError, "elements of out share memory (its strides are (0, 16, 4)); pass an array that has each"):
        place(out, x)


def test_out_read_only_and_of_no_elements():
    x = np.ones((2, 0, 3), np.float32)
    out = np.empty_like(x)
    out.flags.writeable = False
    with refused(ValueError, "out is read-only"):
        lrn.local_response_norm(x, 3, out=out)


def test_wrong_out_is_not_written(x):
    out = np.full((2, 6, 5), 7, np.float32)
    with refused(ValueError, "out has shape"):
        lrn.local_response_norm(x, 3, out=out)
    assert (out == 7).all()


@EVERY_PLACE
@pytest.mark.parametrize(
    "wrong", [[1.0, 2.0], ([1.0],), 3.0, 3, "x", b"x", np.float32(3), object(), {}, range(3), memoryview(b"1234")]
)
def test_not_an_array(place, x, wrong):
    kind = type(wrong)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    text = (
        f"{NAMES[place]} is of type {name}; {KINDS}: convert it first, for example with numpy.asarray({NAMES[place]})"
    )
    with refused(TypeError, text):
        place(wrong, x)


@pytest.mark.parametrize("place", [*INPUTS, as_gradient])
def test_none(place, x):
    with refused(TypeError, f"{NAMES[place]} is of type NoneType; {KINDS}"):
        place(None, x)


@EVERY_PLACE
def test_masked_array(place, x):
    name, kind = NAMES[place], f"{np.ma.MaskedArray.__module__}.MaskedArray"
    text = f"{name} is of type {kind}, whose mask would be ignored; fill it first, for example with {name}.filled(0)"
    with refused(TypeError, text):
        place(np.ma.masked_array(x), x)


class Masked(np.ma.MaskedArray):
    """A masked array of the user's."""


class Labelled(np.ndarray):
    """An array that carries more than its numbers."""


@EVERY_PLACE
def test_subclass_of_a_masked_array(place, x):
    with refused(TypeError, "tests.test_errors.Masked, whose mask would be ignored"):
        place(x.view(Masked), x)


@EVERY_PLACE
@pytest.mark.parametrize("kind", [np.matrix, np.recarray, Labelled], ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_subclass_of_an_array(place, x, kind):
    wrong = x[0].view(kind)
    text = f"{KINDS}: what it adds to an array would be lost; pass numpy.asarray({NAMES[place]}) if that is meant"
    with refused(TypeError, f"{kind.__qualname__}; {text}"):
        place(wrong, x)


class OnDevice:
    """What CuPy and Numba device arrays look like from outside."""

    shape, dtype, ndim = SHAPE, np.dtype("f4"), 3

    @property
    def __cuda_array_interface__(self):
        return {"shape": self.shape, "typestr": "<f4", "data": (0, False), "version": 3}


@EVERY_PLACE
def test_array_on_a_cuda_device_without_the_backend(place, x, monkeypatch):
    monkeypatch.setitem(sys.modules, selector.CUDA, None)  # as if one of its imports failed
    text = f"{NAMES[place]} is of type tests.test_errors.OnDevice, an array on a CUDA device: "
    with refused(ImportError, text):
        place(OnDevice(), x)


def test_the_packages_for_cuda_are_not_there():
    if importlib.util.find_spec("numba_cuda"):
        pytest.skip("numba-cuda is installed")
    with pytest.raises(
        ImportError, match=r"x is of type .*OnDevice, an array on a CUDA device: .*numba-lrn\[cuda1[23]\]"
    ):
        LocalResponseNorm(3)(OnDevice())


@pytest.mark.parametrize("place", [as_gradient, as_out, as_x_of_backward, as_out_of_backward])
def test_a_tensor_among_arrays(place, x):
    """Tensors alone are welcome: tests/torch/test_top_level.py."""
    torch = optional("torch")
    with refused(TypeError, "both must be of one kind on one device"):
        place(torch.ones(SHAPE), x)


def test_attributes_cannot_be_set_or_deleted():
    op = LocalResponseNorm(3)
    with refused(AttributeError, "LocalResponseNorm is immutable; make another with another beta"):
        op.beta = 1.0
    with refused(AttributeError, "LocalResponseNorm is immutable"):
        del op.beta
    with refused(AttributeError, "LocalResponseNorm is immutable"):
        op.something = 1.0


# Compiling ahead.


@pytest.mark.parametrize("dtypes", [("int32",), ("float32", "nothing"), "fp32", ("c8",), (">f4",)])
def test_warmup_of_other_dtypes(dtypes):
    name = dtypes if isinstance(dtypes, str) else dtypes[-1]
    with refused(TypeError, f"dtypes names {name!r}; supported are float16, bfloat16, float32 and float64"):
        lrn.warmup(dtypes)


@pytest.mark.parametrize("ndim", ["4", 2.5, None, True])
def test_warmup_of_a_number_of_dimensions_that_is_none(ndim):
    with refused(TypeError, f"ndim must be an integer, got {ndim!r} of type {type(ndim).__name__}"):
        lrn.warmup(ndim=ndim)


def test_warmup_of_no_dimensions():
    with refused(ValueError, "ndim must be at least 1, got 0"):
        lrn.warmup(ndim=0)


# What looks wrong and is allowed.


@pytest.mark.parametrize(("alpha", "k"), [(-0.5, 1.0), (1e-4, 0.0), (1e-4, -1.0), (0.0, 0.0)])
def test_signs_are_the_users_choice(x, alpha, k):
    with np.errstate(all="ignore"):
        expected = lrn.reference.forward(LocalResponseNorm(3, alpha, 0.75, k), x).astype(np.float32)
    np.testing.assert_allclose(lrn.local_response_norm(x, 3, alpha, 0.75, k), expected, rtol=1e-6)


@pytest.mark.parametrize("value", [1, np.float32(1), np.float64(1), np.int64(1), np.array(1.0), np.float16(1)])
def test_numbers_of_every_kind(value):
    op = LocalResponseNorm(3, value, value, value)
    assert (op.scale, op.beta, op.k) == (1 / 3, 1.0, 1.0)
    assert type(op.scale) is type(op.beta) is type(op.k) is float
