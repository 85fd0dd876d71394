"""Wrong arrays on a CUDA device are refused with the texts of the CPU, before anything is launched."""

import re

import numpy as np
import pytest

import numba_lrn as lrn
from numba_lrn import LocalResponseNorm
from numba_lrn.backends import selector
from numba_lrn.backends.cuda import launch, toolkit
from numba_lrn.backends.cuda.arrays import driver
from tests.cuda.hardware import Foreign, Memory
from tests.support import unsupported

SHAPE = (2, 6, 4)
OP = LocalResponseNorm(3)


@pytest.fixture(autouse=True)
def _nothing_is_launched(monkeypatch):
    def refuse(*arguments):
        pytest.fail("something was launched")

    monkeypatch.setattr(driver, "prepare", refuse)
    launch._route.cache_clear()


def refused(error, text):
    """pytest.raises for a text, not a pattern."""
    return pytest.raises(error, match=re.escape(text))


def ones(device, shape=SHAPE, dtype="f4"):
    return device.put(np.ones(shape, dtype))


@pytest.mark.parametrize("dtype", ["i4", "u1", "?", "c8"])
def test_dtypes_that_cannot_be_computed(device, dtype):
    x = ones(device, dtype=dtype)
    for call in (lambda: OP(x, x), lambda: OP.backward(x, x, x)):
        with refused(TypeError, unsupported(dtype)):
            call()


def test_other_byte_order():
    x = Foreign(SHAPE, None, ">f4", Memory(np.ones(SHAPE, ">f4")).address)
    with refused(TypeError, "x has dtype >f4, not in this machine's byte order; use x.astype('float32')"):
        OP(x, x)


@pytest.mark.parametrize("axis", [3, -4])
def test_axis_out_of_range(device, axis):
    text = f"axis {axis} is out of range for an array of 3 dimensions; allowed: -3 to 2"
    with refused(ValueError, text):
        LocalResponseNorm(3, axis=axis)(ones(device), ones(device))


@pytest.mark.parametrize("name", ["grad_output", "out"])
def test_another_shape_or_dtype_than_x(device, name):
    for shape, dtype, error, text in (
        ((2, 6, 5), "f4", ValueError, f"{name} has shape (2, 6, 5) and x {SHAPE}; both must be the same"),
        ((2, 24), "f4", ValueError, f"{name} has shape (2, 24) and x {SHAPE}; both must be the same"),
        (SHAPE, "f8", TypeError, f"{name} has dtype float64 and x float32; convert one of them"),
        (SHAPE, "i4", TypeError, f"{name} has dtype int32 and x float32; convert one of them"),
    ):
        arrays = {"x": ones(device), "grad_output": ones(device), "out": ones(device)}
        arrays[name] = ones(device, shape, dtype)
        with refused(error, text):
            OP.backward(**arrays)


@pytest.mark.parametrize("name", ["grad_output", "out"])
def test_an_array_on_the_host(device, name):
    arrays = {"x": ones(device), "grad_output": ones(device), "out": ones(device)}
    arrays[name] = np.ones(SHAPE, np.float32)
    kind = selector.full_name(type(arrays["x"]))
    with refused(TypeError, f"{name} is a numpy.ndarray and x a {kind}; both must be of one kind on one device"):
        OP.backward(**arrays)


@pytest.mark.parametrize("name", ["grad_output", "out"])
def test_x_on_the_host(device, name):
    arrays = dict.fromkeys(("x", "grad_output", "out"), np.ones(SHAPE, np.float32))
    arrays[name] = ones(device)
    kind = selector.full_name(type(arrays[name]))
    with refused(TypeError, f"{name} is a {kind} and x a numpy.ndarray; both must be of one kind on one device"):
        OP.backward(**arrays)


@pytest.mark.parametrize("wrong", [None, [1.0], "x"])
def test_no_array_for_the_gradient(device, wrong):
    x = ones(device)
    with refused(TypeError, f"grad_output is of type {type(wrong).__name__}; supported are NumPy arrays"):
        lrn.local_response_norm_backward(wrong, x, 3, out=x)


def test_out_read_only(device):
    if device.kind == "cupy":
        pytest.skip("CuPy has no read-only arrays")
    if device.kind == "numba" and not toolkit.SIMULATED:
        pytest.skip("Numba has no read-only device arrays")
    values = np.ones(SHAPE, np.float32)
    values.flags.writeable = False
    for shape in (SHAPE, (2, 0, 4)):
        out = np.broadcast_to(np.float32(1), shape) if 0 in shape else values
        with refused(ValueError, "out is read-only; pass an array that can be written, or leave out away"):
            OP(ones(device, shape), device.put(out))


def test_out_whose_elements_share_memory(device):
    """NumPy's broadcast views are read-only; CuPy's do not tell, and would hold whichever value came last."""
    out = np.lib.stride_tricks.as_strided(np.zeros(24, np.float32), SHAPE, (0, 16, 4))
    with refused(ValueError, "elements of out share memory (its strides are (0, 16, 4)); pass an array that has each"):
        OP(ones(device), device.put(out))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("tangent", lambda x, other: OP.jvp(x, other, x)),
        ("grad_output", lambda x, other: OP.backward_parameters(other, x)),
        ("grad_output", lambda x, other: OP.backward_all(other, x)),
        ("grad_output", lambda x, other: OP.double_backward(other, x, x)),
        ("cotangent", lambda x, other: OP.double_backward(x, x, other)),
    ],
)
def test_derivatives_of_arrays_that_do_not_match(device, name, call):
    """In the words of the CPU."""
    x = ones(device)
    kind = selector.full_name(type(x))
    for other, error, text in (
        (ones(device, (2, 6, 5)), ValueError, f"{name} has shape (2, 6, 5) and x {SHAPE}; both must be the same"),
        (ones(device, SHAPE, "f8"), TypeError, f"{name} has dtype float64 and x float32; convert one of them"),
        (np.ones(SHAPE, np.float32), TypeError, f"{name} is a numpy.ndarray and x a {kind}; both must be of one kind"),
    ):
        with refused(error, text):
            call(x, other)
    with refused(ValueError, "axis 3 is out of range"):
        LocalResponseNorm(3, axis=3).double_backward(x, x, x)


@pytest.mark.parametrize("method", ["backward_parameters", "backward_all", "double_backward"])
def test_new_arrays_of_an_unknown_kind(method):
    x = foreign()
    text = "x is of type tests.cuda.hardware.Foreign; results of that type cannot be made here: pass cupy.asarray(x)"
    with refused(TypeError, text):
        getattr(OP, method)(*(x,) * (3 if method == "double_backward" else 2))


# What only a bare array interface can get wrong.


def foreign(**changes):
    memory = Memory(np.ones(SHAPE, np.float32))
    found = Foreign(SHAPE, None, "f4", memory.address, memory)
    found.__cuda_array_interface__.update(changes)
    return found


def test_results_of_an_unknown_kind():
    text = (
        "x is of type tests.cuda.hardware.Foreign; a result of that type cannot be made here: pass out=, an array on "
        "the same device, or pass cupy.asarray(x)"
    )
    with refused(TypeError, text):
        OP(foreign())
    with refused(TypeError, text):
        OP.backward(foreign(), foreign())


@pytest.mark.parametrize("name", ["x", "grad_output", "out"])
def test_a_masked_array(name):
    arrays = {"x": foreign(), "grad_output": foreign(), "out": foreign()}
    arrays[name] = foreign(mask=foreign())
    text = f"{name} is of type tests.cuda.hardware.Foreign, whose mask would be ignored; fill it first"
    with refused(TypeError, text):
        OP.backward(**arrays)


@pytest.mark.parametrize("typestr", ["<f2", "<V2"])
def test_two_bytes_without_a_dtype(typestr):
    x = foreign(typestr=typestr)
    del x.dtype
    text = (
        f"x is of type tests.cuda.hardware.Foreign, whose array interface says {typestr!r}, which float16 and "
        "bfloat16 share; pass an array whose dtype attribute tells, such as one of CuPy"
    )
    with refused(TypeError, text):
        OP(x, x)


def test_an_interface_that_is_withdrawn():
    """Some libraries have the attribute on every array, and raise where it is on the host."""

    class OnTheHost:
        @property
        def __cuda_array_interface__(self):
            raise AttributeError("only for NVidia GPUs")

    wrong = OnTheHost()
    with refused(TypeError, "OnTheHost; supported are NumPy arrays"):
        OP(wrong)
    selector._found[OnTheHost] = launch  # as after an array of this class that was on a device
    try:
        with refused(TypeError, "OnTheHost, which is not on a CUDA device (only for NVidia GPUs)"):
            OP(wrong)
    finally:
        del selector._found[OnTheHost]
