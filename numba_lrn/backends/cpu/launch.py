"""NumPy arrays in, NumPy arrays out: checks, memory order, the copies that cannot be avoided, and the call."""

import ctypes
import functools
import os
import sys
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_lrn.algorithm.geometry import canonical, dense_order
from numba_lrn.backends.cpu.kernels import Layout
from numba_lrn.backends.cpu.plan import SERIAL_BYTES, Plan, make_plan
from numba_lrn.backends.cpu.threads import available_workers
from numba_lrn.operator import LocalResponseNorm, check_dtype, check_same, check_writeable

# How the kernels see a dtype: half types by their bits, told apart by the sign of the integer type.
CARRIERS = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.int16)}

_thread = threading.local()


class Route(NamedTuple):
    """What is known of a call before its arrays' memory is looked at."""

    order: tuple[int, ...]  # the axes from the slowest to the fastest
    contiguous: bool  # whether that is the order of the axes
    carrier: np.dtype | None
    plan: Plan


def forward(op: LocalResponseNorm, x: Any, out: Any = None) -> Any:
    """y of ``op`` for a NumPy array."""
    return _run(op, "forward", x, x, out)


def backward(op: LocalResponseNorm, grad_output: Any, x: Any, out: Any = None) -> Any:
    """dx of ``op`` for NumPy arrays."""
    return _run(op, "backward", x, grad_output, out)


def _run(op: LocalResponseNorm, recipe: str, x: NDArray, g: NDArray, out: NDArray | None) -> NDArray:
    """The usual case, arrays alike and apart, takes 2 µs from here to the kernel; the others go on to _prepare."""
    route = _route(op, recipe, x.shape, x.strides, x.dtype, _threads(x.nbytes), False)
    if route is not None and x.flags.behaved and (g is x or _alike(g, x)):
        if out is None:
            out = np.empty_like(x, subok=False)
            _launch(route, x, g, out)
            return out
        if _alike(out, x) and not np.may_share_memory(out, x) and (g is x or not np.may_share_memory(out, g)):
            _launch(route, x, g, out)
            return out
    return _prepare(op, recipe, x, g, out)


def _threads(nbytes: int) -> int:
    return 1 if nbytes < SERIAL_BYTES else available_workers()


@functools.lru_cache(maxsize=1024)
def _route(
    op: LocalResponseNorm,
    recipe: str,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype,
    threads: int,
    in_place: bool,
) -> Route | None:
    """The route of a dense array that needs computing; None for the others. Refuses what cannot be computed."""
    check_dtype(dtype, "x")
    windows = op.windows(len(shape))
    order = dense_order(shape, strides, dtype.itemsize)
    if order is None or 0 in shape or op.beta == 0.0:
        return None
    plan = make_plan(canonical(shape, order, windows), recipe, op, dtype, threads, in_place)
    return Route(order, order == tuple(range(len(shape))), CARRIERS.get(dtype.name), plan)


def _prepare(op: LocalResponseNorm, recipe: str, x: NDArray, g: NDArray, out: NDArray | None) -> NDArray:
    """Copies what is not dense or not in the order of ``x``; computes in place or into a temporary where asked."""
    if g is not x:
        check_same(g, "grad_output", x)
    if out is not None:
        check_same(out, "out", x)
        check_writeable(out.flags.writeable)
    x, g = np.asarray(x), g if g is x else np.asarray(g)
    if x.size == 0:
        return np.empty_like(x) if out is None else out
    if op.beta == 0.0:
        result = np.empty_like(x) if out is None else out
        np.copyto(result, x if recipe == "forward" else g)
        return result
    dense = x.flags.aligned and dense_order(x.shape, x.strides, x.itemsize) is not None
    source = x if dense else x.copy(order="K")
    gradient = source if recipe == "forward" else _in_order_of(source, g)
    in_place = False
    target = out
    if target is not None:
        same = [_same_memory(target, array) for array in (source, gradient)]
        overlaps = [np.may_share_memory(target, array) for array in (source, gradient)]
        in_place = any(same)
        if same != overlaps or not _same_order(target, source) or not target.flags.aligned:
            target, in_place = None, False
    if target is None:
        target = np.empty_like(source)
    if in_place and recipe == "forward":
        recipe = "forward_in_place"
    route = _route(op, recipe, source.shape, source.strides, source.dtype, _threads(source.nbytes), in_place)
    assert route is not None, "a dense copy always has a route"
    _launch(route, source, gradient, target)
    if out is None or out is target:
        return target
    np.copyto(out, target)
    return out


def _launch(route: Route, x: NDArray, g: NDArray, out: NDArray) -> None:
    """Run dense arrays of one memory order; ``out`` is apart from the others, or the route is made for it."""
    plan = route.plan
    flat = _flat(x, route)
    if DEBUG:
        _report(x, plan)
    plan.kernel(
        plan.workers,
        flat,
        flat if g is x else _flat(g, route),
        _flat(out, route),
        _workspace(plan),
        plan.positions,
        plan.scalars,
        plan.layout,
    )


def _alike(array: Any, x: NDArray) -> bool:
    """Whether an array lies in memory as ``x`` does, and can be read and written as it is."""
    return (
        type(array) is np.ndarray
        and array.dtype == x.dtype
        and array.strides == x.strides
        and array.shape == x.shape
        and array.flags.behaved
    )


def _same_order(array: NDArray, other: NDArray) -> bool:
    """Whether both lie in memory alike; the stride of an axis of one element says nothing."""
    return all(a == b for a, b, extent in zip(array.strides, other.strides, other.shape, strict=True) if extent > 1)


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


def _flat(array: NDArray, route: Route) -> NDArray:
    """A writable one-dimensional view in memory order, half types as the integers that carry their bits.

    Numba compiles a kernel again for read-only arrays; a view that does not know it is read-only spares that.
    """
    flat = array.reshape(-1) if route.contiguous else array.transpose(route.order).reshape(-1)
    if route.carrier is not None:
        flat = flat.view(route.carrier)
    if not flat.flags.writeable:
        memory: Any = (ctypes.c_char * flat.nbytes).from_address(_address(flat))
        flat = np.frombuffer(memory, flat.dtype)
    return flat


def _workspace(plan: Plan) -> NDArray:
    """This thread's scratch memory: kept from call to call, because fresh pages cost more than small calls take."""
    needed = plan.workspace * plan.workers
    held = getattr(_thread, plan.variant.real, None)
    if held is None or held.size < needed:
        held = np.empty(needed, plan.variant.real)
        setattr(_thread, plan.variant.real, held)
    return held


# NUMBA_LRN_DEBUG=1 tells on standard error which path each call takes.
DEBUG = os.environ.get("NUMBA_LRN_DEBUG", "0") != "0"


def _report(x: NDArray, plan: Plan) -> None:
    variant = plan.variant
    print(
        f"numba_lrn: {variant.recipe} {x.dtype.name} {x.shape} form={variant.form} power={variant.power} "
        f"workers={plan.workers} tiles={plan.layout[Layout._fields.index('tiles')]}",
        file=sys.stderr,
    )
