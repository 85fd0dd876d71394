"""NumPy arrays in, NumPy arrays out: checks, memory order, the copies that cannot be avoided, and the call."""

import ctypes
import os
import sys
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_lrn.algorithm.geometry import canonical, dense_order
from numba_lrn.backends.cpu.plan import Plan, make_plan
from numba_lrn.backends.cpu.threads import available_workers
from numba_lrn.operator import LocalResponseNorm, check_dimensions, check_dtype, check_out, check_same

# How the kernels see a dtype: half types by their bits, told apart by the sign of the integer type.
CARRIERS = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.int16)}

_thread = threading.local()


def forward(op: LocalResponseNorm, x: Any, out: Any = None) -> Any:
    """y of ``op`` for a NumPy array."""
    _check(op, x)
    return _run(op, "forward", x, x, out)


def backward(op: LocalResponseNorm, grad_output: Any, x: Any, out: Any = None) -> Any:
    """dx of ``op`` for NumPy arrays."""
    _check(op, x)
    check_same(grad_output, "grad_output", x)
    return _run(op, "backward", x, grad_output, out)


def _check(op: LocalResponseNorm, x: Any) -> None:
    check_dtype(x, "x")
    check_dimensions(x, "x")
    op.windows(x.ndim)


def _run(op: LocalResponseNorm, recipe: str, x: NDArray, g: NDArray, out: NDArray | None) -> NDArray:
    if out is not None:
        check_out(out, x, out.flags.writeable)
    x, g = np.asarray(x), np.asarray(g)
    if x.size == 0:
        return np.empty_like(x) if out is None else out
    source = x if _dense(x) and x.flags.aligned else x.copy(order="K")
    gradient = source if g is x else _in_order_of(source, g)
    target = out
    in_place = False
    if target is not None:
        in_place = _same_memory(target, source) or _same_memory(target, gradient)
        overlaps = np.may_share_memory(target, source) or np.may_share_memory(target, gradient)
        if not _same_order(target, source) or not target.flags.aligned or (overlaps and not in_place):
            target, in_place = None, False
    if target is None:
        target = np.empty_like(source)
    if op.beta == 0.0:
        np.copyto(target, x if recipe == "forward" else g)
    else:
        _launch(op, recipe, source, gradient, target, in_place)
    if out is None or target is out:
        return target if out is None else out
    np.copyto(out, target)
    return out


def _launch(
    op: LocalResponseNorm, recipe: str, x: NDArray, g: NDArray, out: NDArray, in_place: bool
) -> None:
    """Run a recipe on dense arrays of one memory order; ``out`` is apart from the others, or one of them."""
    order = dense_order(x.shape, x.strides, x.itemsize)
    assert order is not None
    dimensions = canonical(x.shape, order, op.windows(x.ndim))
    if in_place and recipe == "forward":
        recipe = "forward_in_place"
    plan = make_plan(
        dimensions, recipe, op.scale, op.beta, op.k, x.dtype.name, x.itemsize, available_workers(), in_place
    )
    workspace = _workspace(plan)
    if _debug():
        _report(recipe, x, plan)
    plan.kernel(
        plan.workers,
        _flat(x, order),
        _flat(g, order),
        _flat(out, order),
        workspace,
        plan.positions,
        plan.scalars,
        plan.layout,
    )


def _dense(array: NDArray) -> bool:
    return array.flags.c_contiguous or dense_order(array.shape, array.strides, array.itemsize) is not None


def _same_order(array: NDArray, other: NDArray) -> bool:
    """Whether both lie in memory alike; the stride of an axis of one element says nothing."""
    return all(
        a == b for a, b, extent in zip(array.strides, other.strides, other.shape, strict=True) if extent > 1
    )


def _in_order_of(source: NDArray, array: NDArray) -> NDArray:
    """``array``, or its copy in the memory order of ``source``."""
    if _same_order(array, source) and array.flags.aligned:
        return array
    copy = np.empty_like(source)
    np.copyto(copy, array)
    return copy


def _same_memory(array: NDArray, other: NDArray) -> bool:
    return _same_order(array, other) and _address(array) == _address(other)


def _address(array: NDArray) -> int:
    return array.__array_interface__["data"][0]


def _flat(array: NDArray, order: tuple[int, ...]) -> NDArray:
    """A writable one-dimensional view in memory order, half types as the integers that carry their bits.

    Numba compiles a kernel again for read-only arrays; a view that does not know it is read-only spares that.
    """
    flat = array.reshape(-1) if array.flags.c_contiguous else array.transpose(order).reshape(-1)
    carrier = CARRIERS.get(array.dtype.name)
    if carrier is not None:
        flat = flat.view(carrier)
    if not flat.flags.writeable:
        memory = (ctypes.c_char * flat.nbytes).from_address(_address(flat))
        flat = np.frombuffer(memory, flat.dtype)
    return flat


def _workspace(plan: Plan) -> NDArray:
    """This thread's scratch memory: kept from call to call, because fresh pages cost more than small calls take."""
    needed = plan.workspace * plan.workers
    name = plan.variant.real
    held = getattr(_thread, name, None)
    if held is None or held.size < needed:
        held = np.empty(needed, name)
        setattr(_thread, name, held)
    return held[: needed]


def _debug() -> bool:
    """NUMBA_LRN_DEBUG=1 tells on standard error which path each call takes."""
    return os.environ.get("NUMBA_LRN_DEBUG", "0") != "0"


def _report(recipe: str, x: NDArray, plan: Plan) -> None:
    print(
        f"numba_lrn: {recipe} {x.dtype.name} {x.shape} form={plan.variant.form} power={plan.variant.power} "
        f"workers={plan.workers} tiles={plan.layout[9]}",
        file=sys.stderr,
    )
