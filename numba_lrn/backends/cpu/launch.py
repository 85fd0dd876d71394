"""NumPy arrays in, NumPy arrays out: checks, the copies that cannot be avoided, and the call."""

import functools
import os
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numba_lrn.algorithm.geometry import canonical, dense_order, same_order
from numba_lrn.algorithm.recipes import RECIPES, SUMS
from numba_lrn.backends.cpu.memory import (
    CARRIERS,
    alike,
    dense,
    flat,
    in_order_of,
    same_memory,
    workspace,
)
from numba_lrn.backends.cpu.plan import SERIAL, Plan, make_plan
from numba_lrn.backends.cpu.processor import check_half
from numba_lrn.backends.cpu.results import new_like, new_on_a_line
from numba_lrn.backends.cpu.threads import available_workers
from numba_lrn.checks import check_dtype, check_same, check_writeable
from numba_lrn.operator import LocalResponseNorm


class Route(NamedTuple):
    """What is known of a call before its arrays' memory is looked at."""

    order: tuple[int, ...] | None  # the axes from the slowest to the fastest, where that is not their own order
    carrier: np.dtype | None
    plan: Plan


def forward(op: LocalResponseNorm, x: Any, out: Any = None) -> Any:
    """y of ``op`` for a NumPy array."""
    return _run(op, "forward", x, x, out)


def backward(op: LocalResponseNorm, grad_output: Any, x: Any, out: Any = None) -> Any:
    """dx of ``op`` for NumPy arrays."""
    return _run(op, "backward", x, grad_output, out)


def jvp(op: LocalResponseNorm, x: Any, tangent: Any, out: Any = None) -> Any:
    """The tangent of y of ``op`` for NumPy arrays."""
    return _run(op, "jvp", x, tangent, out)


def backward_parameters(op: LocalResponseNorm, grad_output: Any, x: Any) -> tuple[float, float, float]:
    """The gradients of scale, β and k of ``op`` for NumPy arrays."""
    _, sums = _derive(op, "backward_parameters", x, grad_output=grad_output)
    return _parameter_gradients(op, sums)


def backward_all(op: LocalResponseNorm, grad_output: Any, x: Any) -> tuple[Any, float, float, float]:
    """dx and the gradients of scale, β and k of ``op`` for NumPy arrays."""
    if op.beta == 0.0:
        gradients = backward_parameters(op, grad_output, x)
        return backward(op, grad_output, x), *gradients
    (dx,), sums = _derive(op, "backward_all", x, grad_output=grad_output)
    return dx, *_parameter_gradients(op, sums)


def double_backward(op: LocalResponseNorm, grad_output: Any, x: Any, cotangent: Any) -> tuple[Any, Any]:
    """The gradients of ⟨cotangent, dx⟩ with respect to grad_output and x, for NumPy arrays."""
    (for_g, for_x), _ = _derive(op, "double_backward", x, grad_output=grad_output, cotangent=cotangent)
    if op.beta == 0.0:
        np.copyto(for_g, cotangent)
        for_x.fill(0)
    return for_g, for_x


# Scratch memory of a call in place: in arrays, and bytes that the caches hold, for small arrays.
MOST_SCRATCH, CACHED_SCRATCH = 2, 1024 * 1024

# What the second input of a recipe is called where it is refused.
SECOND_INPUT = {"backward": "grad_output", "jvp": "tangent"}


def _run(op: LocalResponseNorm, recipe: str, x: NDArray, g: NDArray, out: NDArray | None) -> NDArray:
    """The usual case, arrays alike and apart, takes 2 µs from here to the kernel; the others go on to _prepare."""
    route = _route_of(op, recipe, x)
    if route is not None and x.flags.behaved and (g is x or alike(g, x)):
        if out is None:
            out = new_like(x)
            _launch(route, x, g, out)
            return out
        if alike(out, x) and not np.may_share_memory(out, x) and (g is x or not np.may_share_memory(out, g)):
            _launch(route, x, g, out)
            return out
    return _prepare(op, recipe, x, g, out)


def _route_of(op: LocalResponseNorm, recipe: str, x: NDArray, in_place: bool = False) -> Route | None:
    """The route of ``x``. Small arrays tell first if threads matter: to count them starts them, and takes 0.2 µs."""
    if x.size < SERIAL:
        route = _route(op, recipe, x.shape, x.strides, x.dtype, 1, in_place)
        if route is None or not route.plan.shared:
            return route
    return _route(op, recipe, x.shape, x.strides, x.dtype, available_workers(), in_place)


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
    if order is None or 0 in shape or (op.beta == 0.0 and recipe != "backward_parameters"):
        return None
    check_half(dtype)
    plan = make_plan(canonical(shape, order, windows), recipe, op, dtype, threads, in_place)
    return Route(None if order == tuple(range(len(shape))) else order, CARRIERS.get(dtype.name), plan)


def plan_of(op: LocalResponseNorm, recipe: str, x: NDArray) -> Plan | None:
    """What a call on ``x`` with other arrays like it runs; None where it only copies."""
    route = _route_of(op, recipe, x)
    return None if route is None else route.plan


def _prepare(op: LocalResponseNorm, recipe: str, x: NDArray, g: NDArray, out: NDArray | None) -> NDArray:
    """Copies what is not dense or not in the order of ``x``; computes in place or into a temporary where asked."""
    if g is not x:
        check_same(g, SECOND_INPUT[recipe], x)
    if out is not None:
        check_same(out, "out", x)
        check_writeable(out.flags.writeable, out.shape, out.strides)
    x, g = np.asarray(x), g if g is x else np.asarray(g)
    if x.size == 0:
        return new_like(x) if out is None else out
    if op.beta == 0.0:
        result = new_like(x) if out is None else out
        np.copyto(result, x if recipe == "forward" else g)
        return result
    source = dense(x)
    second = source if recipe == "forward" else in_order_of(source, g)
    target, route = out, None
    if target is not None:
        same = [same_memory(target, array) for array in (source, second)]
        overlaps = [np.may_share_memory(target, array) for array in (source, second)]
        in_place = any(same)
        # The last window of jvp reads x, and its strips that hold an extreme d are emitted twice, from the tangent.
        unsuitable = same != overlaps or (recipe == "jvp" and in_place)
        if unsuitable or not same_order(target.strides, source.strides, source.shape) or not target.flags.aligned:
            target = None
        elif in_place:
            route = _route_in_place(op, recipe, source)
            target = target if route is not None else None
    if target is None:
        target = new_like(source)
    route = route or _route_of(op, recipe, source)
    assert route is not None, "a dense copy always has a route"
    _launch(route, source, second, target)
    if out is None or out is target:
        return target
    np.copyto(out, target)
    return out


def _route_in_place(op: LocalResponseNorm, recipe: str, source: NDArray) -> Route | None:
    """The route into one of the inputs; None where it takes much more scratch memory than a temporary.

    Tiles must hold their axis, and where there are few, the scratch memory is some arrays. A temporary and its copy
    take 0.65 to 0.85 of the time where it is three arrays and more, 1.1 to 1.7 times as long where it is one or two.
    """
    route = _route_of(op, "forward_in_place" if recipe == "forward" else recipe, source, in_place=True)
    if route is None or route.plan.scratch_bytes > MOST_SCRATCH * source.nbytes + CACHED_SCRATCH:
        return None
    return route


def _derive(
    op: LocalResponseNorm, recipe: str, x: NDArray, **others: NDArray
) -> tuple[list[NDArray], NDArray[np.float64]]:
    """New arrays for the results of ``recipe``, and its sums, one row a tile; not computed where there is no route."""
    check_dtype(x.dtype, "x")
    op.windows(x.ndim)
    for name, array in others.items():
        check_same(array, name, x)
    source = dense(np.asarray(x))
    inputs = [source, *(in_order_of(source, np.asarray(array)) for array in others.values())]
    results = [new_on_a_line(source) for name in RECIPES[recipe].names if name.startswith("out")]
    route = _route_of(op, recipe, source)
    if route is None:
        return results, np.zeros((0, SUMS))
    sums = np.zeros((route.plan.tiles, SUMS))
    arrays = [flat(array, route.order, route.carrier) for array in (*inputs, *results)]
    _call(route, x, (*arrays, sums.reshape(-1)) if RECIPES[recipe].sums else tuple(arrays))
    return results, sums


def _parameter_gradients(op: LocalResponseNorm, sums: NDArray[np.float64]) -> tuple[float, float, float]:
    """(d_scale, d_beta, d_k) from the sums of the tiles, added pairwise."""
    with np.errstate(invalid="ignore"):  # Inf − Inf
        columns = np.ascontiguousarray(sums.T).sum(axis=1).reshape(3, 2)
    # What a sum that is not finite was rounded by is NaN.
    for_k, for_scale, for_beta = (float(total + rest if np.isfinite(total) else total) for total, rest in columns)
    if op.beta == 0.0:  # y does not depend on d, were it NaN
        return 0.0, -for_beta, 0.0
    return -op.beta * for_scale, -for_beta, -op.beta * for_k


def _launch(route: Route, x: NDArray, g: NDArray, out: NDArray) -> None:
    """Run dense arrays of one memory order; ``out`` is apart from the others, or the route is made for it."""
    first = flat(x, route.order, route.carrier)
    second = first if g is x else flat(g, route.order, route.carrier)
    _call(route, x, (first, second, flat(out, route.order, route.carrier)))


def _call(route: Route, x: NDArray, arrays: tuple[NDArray, ...]) -> None:
    """Run the kernel on the flat arrays of its recipe."""
    plan = route.plan
    if DEBUG:
        _report(x, plan)
    scratch = workspace(plan.workspace * plan.workers, plan.variant.real)
    plan.kernel(plan.workers, arrays, scratch, plan.positions, plan.scalars, plan.layout)


# NUMBA_LRN_DEBUG=1 tells on standard error which path each call takes.
DEBUG = os.environ.get("NUMBA_LRN_DEBUG", "0") != "0"


def _report(x: NDArray, plan: Plan) -> None:
    variant = plan.variant
    print(
        f"numba_lrn: {variant.recipe} {x.dtype.name} {x.shape} form={variant.form} power={variant.power} "
        f"workers={plan.workers} tiles={plan.tiles}",
        file=sys.stderr,
    )
