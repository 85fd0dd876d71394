"""Arrays of a CUDA device in and out: checks, memory order, the copies that cannot be avoided, and the launches.

All work goes on the caller's stream (arrays.py says which) of the device that the arrays are on, which is made current
for the call where it is not. Nothing waits for the device: what a call needs only itself is kept by its owner until
the work that uses it is on the stream, and by the stream's order until that work is done.
"""

import contextlib
import functools
import itertools
import operator
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np

from numba_lrn.algorithm.geometry import canonical, dense_order
from numba_lrn.backends.cuda import copies, kernels, toolkit
from numba_lrn.backends.cuda.arrays import Kind, Layout, View, dense_strides, driver, kind_of, known
from numba_lrn.backends.cuda.memory import is_broadcast, lies, overlap, same_order
from numba_lrn.backends.cuda.plan import Device, Plan, make_plan
from numba_lrn.operator import LocalResponseNorm, check_device, check_dtype, check_kind, check_like, check_writeable

VECTOR_BYTES = 16  # to a multiple of which addresses must be aligned for the widest accesses
TEMPORARY_BYTES = 256  # likewise for each temporary

# How the kernels see a dtype in the simulator: half types by their bits, told apart by the sign of the integer type.
CARRIERS = {"float16": np.dtype(np.uint16), "bfloat16": np.dtype(np.int16)}


class Route(NamedTuple):
    """What is known of a call before its arrays' addresses are."""

    nbytes: int  # of an array
    steps: tuple[tuple[Callable[..., None], Callable], ...]  # a launch, and which of the addresses it takes
    workspace: int  # bytes of all temporaries
    offsets: tuple[int, ...]  # where each begins
    in_place: bool


def forward(op: LocalResponseNorm, x: Any, out: Any = None) -> Any:
    """y of ``op`` for an array on a CUDA device."""
    return _run(op, "forward", x, x, out)


def backward(op: LocalResponseNorm, grad_output: Any, x: Any, out: Any = None) -> Any:
    """dx of ``op`` for arrays on a CUDA device."""
    return _run(op, "backward", x, grad_output, out)


def jvp(op: LocalResponseNorm, x: Any, tangent: Any, out: Any = None) -> Any:
    """Not on a CUDA device."""
    _refuse("jvp")


def backward_parameters(op: LocalResponseNorm, grad_output: Any, x: Any) -> Any:
    """Not on a CUDA device."""
    _refuse("backward_parameters")


def backward_all(op: LocalResponseNorm, grad_output: Any, x: Any) -> Any:
    """Not on a CUDA device."""
    _refuse("backward_all")


def double_backward(op: LocalResponseNorm, grad_output: Any, x: Any, cotangent: Any) -> Any:
    """Not on a CUDA device."""
    _refuse("double_backward")


def _refuse(method: str) -> NoReturn:
    msg = f"{method} has no CUDA kernel; copy the arrays to the host and call it there"
    raise NotImplementedError(msg)


def _run(op: LocalResponseNorm, recipe: str, x: Any, g: Any, out: Any) -> Any:
    """The usual case, arrays alike on the current device; the others go on to _prepare."""
    kind = kind_of(x)
    source = kind.view(x, "x")
    layout = source.layout
    gradient = source if g is x else _beside(layout, g, "grad_output")
    target = _beside(layout, out, "out") if out is not None else source if kind.makes_results else None
    if gradient is None or target is None or layout.device != driver.current_device():
        return _prepare(op, recipe, x, g, out)
    low_bits = (source.pointer | gradient.pointer | target.pointer) % VECTOR_BYTES
    route = _route(op, recipe, layout, low_bits)
    if route is None or (out is not None and not _may_write(target, source, gradient, route)):
        return _prepare(op, recipe, x, g, out)
    handle = kind.current_stream(layout.device) if layout.stream is None else layout.stream
    stream = driver.stream(layout.device, handle)
    if out is None:
        out = kind.empty_like(x, "x")
        target = kind.view(out, "out")
    _launch(route, kind, layout.device, stream, source.pointer, gradient.pointer, target.pointer)
    return out


def _beside(layout: Layout, array: Any, name: str) -> View | None:
    """Where an array lies that has this layout; None for others."""
    kind = known(array)
    if kind is None:
        return None
    view = kind.view(array, name)
    return view if view.layout == layout and (view.writeable or name != "out") else None


def _may_write(target: View, source: View, gradient: View, route: Route) -> bool:
    """Whether dense arrays of one size are apart from the target, or it is one of them and that is provided for."""
    distance = abs(target.pointer - source.pointer)
    if distance < route.nbytes and (distance or not route.in_place):
        return False
    return gradient is source or _may_write(target, gradient, gradient, route)


@functools.lru_cache(maxsize=1024)
def _route(op: LocalResponseNorm, recipe: str, layout: Layout, low_bits: int) -> Route | None:
    """The route of dense arrays that need computing; None for others. Refuses what cannot be computed.

    ``low_bits`` are those of the addresses, modulo 16 bytes.
    """
    plan = _plan(op, recipe, layout, low_bits)
    if plan is None:
        return None
    dtype, elements = layout.dtype, layout.size
    carrier = CARRIERS.get(dtype.name, dtype)
    real = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    names = ["x", "g", "out"]
    memory = [(carrier, elements)] * 3
    offsets, workspace = [], 0
    for number, nbytes in enumerate(plan.temporaries):
        names.append(f"temporary {number}")
        memory.append((real, nbytes // real.itemsize))
        offsets.append(workspace)
        workspace += -(-nbytes // TEMPORARY_BYTES) * TEMPORARY_BYTES
    steps = []
    for launch in plan.launches:
        places = tuple(names.index(name) for name in launch.operands)
        run = driver.prepare(kernels, launch, tuple(memory[place] for place in places), layout.device)
        steps.append((run, operator.itemgetter(*places)))
    return Route(elements * dtype.itemsize, tuple(steps), workspace, tuple(offsets), plan.in_place)


def _plan(op: LocalResponseNorm, recipe: str, layout: Layout, low_bits: int) -> Plan | None:
    shape, strides, dtype, device, _ = layout
    check_dtype(dtype, "x")
    windows = op.windows(len(shape))
    order = dense_order(shape, strides, dtype.itemsize)
    if order is None or 0 in shape or op.beta == 0.0 or low_bits % dtype.itemsize:
        return None
    card = driver.device(device)
    plan = make_plan(
        canonical(shape, order, windows),
        recipe,
        op,
        dtype,
        low_bits == 0,
        Device(card.compute_capability, card.multiprocessors),
    )
    if DEBUG:
        _report(recipe, dtype, shape, plan)
    return plan


def plan_of(op: LocalResponseNorm, recipe: str, x: Any) -> Plan | None:
    """What a call on ``x`` with other arrays like it runs; None where it only copies."""
    view = kind_of(x).view(x, "x")
    return _plan(op, recipe, view.layout, view.pointer % VECTOR_BYTES)


def warmup(dtypes: tuple[np.dtype, ...], ndim: int) -> None:
    """Compile, or take from the disk, and load on the current device what the usual calls need.

    That is β = 0.75 and five channels, forward and backward, channels first and last, planes of a number of elements
    that 16 bytes divide and of an odd one. It needs no arrays.
    """
    ordinal = driver.current_device() or 0
    driver.device(ordinal)  # tells what is missing, if anything is
    first = max(ndim - 3, 0)
    usual = (((64, 56, 56), first), ((64, 55, 55), first), ((56, 56, 64), ndim - 1))
    with driver.on_device(ordinal):
        for dtype, (extents, axis), recipe in itertools.product(dtypes, usual, ("forward", "backward")):
            shape = (1,) * (ndim - 3) + extents[-ndim:]
            strides = dense_strides(shape, tuple(range(ndim, 0, -1)), dtype.itemsize)
            _route(LocalResponseNorm(5, axis=axis), recipe, Layout(shape, strides, dtype, ordinal, None), 0)


def _launch(route: Route, kind: Kind, device: int, stream: Any, *pointers: int) -> None:
    """Put the launches of a route on a stream; ``pointers`` are x, grad_output and out."""
    if route.workspace:
        # The owner goes at the end, when all that uses the memory is on the stream.
        start, _owner = kind.allocate(route.workspace, device, stream)
        pointers += tuple(start + offset for offset in route.offsets)
    for run, operands in route.steps:
        run(stream, *operands(pointers))


def _prepare(op: LocalResponseNorm, recipe: str, x: Any, g: Any, out: Any) -> Any:
    """Checks all; copies what is not dense or not in the order of ``x``; uses temporaries where memory overlaps."""
    kind = kind_of(x)
    source = kind.view(x, "x")
    layout = source.layout
    check_dtype(layout.dtype, "x")
    op.windows(len(layout.shape))
    gradient = source if g is x else _checked(g, "grad_output", x, layout)
    target = None
    if out is not None:
        target = _checked(out, "out", x, layout)
        check_writeable(target.writeable and not is_broadcast(target.layout))
    if layout.size == 0:
        return kind.empty_like(x, "x") if out is None else out
    here = driver.current_device() == layout.device
    with contextlib.nullcontext() if here else driver.on_device(layout.device):
        if target is None:
            out = kind.empty_like(x, "x")
            target = kind.view(out, "out")
        handle = _stream_of(kind, layout)
        call = _Call(kind, layout.device, driver.stream(layout.device, handle))
        others = []
        for array, view in ((g, gradient), (out, target)):
            other = _stream_of(kind_of(array), view.layout)
            if other != handle:
                others.append(driver.stream(layout.device, other))
        for other in others:
            driver.wait(call.stream, other)
        call.run(op, recipe, source, gradient, target)
        for other in others:
            driver.wait(other, call.stream)
    return out


def _stream_of(kind: Kind, layout: Layout) -> int:
    return kind.current_stream(layout.device) if layout.stream is None else layout.stream


def _checked(array: Any, name: str, x: Any, layout: Layout) -> View:
    """Where a second array lies, which matches ``x``, whose layout is given."""
    check_kind(array, name, x)
    view = kind_of(array).view(array, name)
    check_like(view.layout, name, layout)
    check_device(view.layout.device, name, layout.device)
    return view


class _Call:
    """One operation on a stream, with the temporaries that it needs."""

    def __init__(self, kind: Kind, device: int, stream: Any):
        self.kind, self.device, self.stream = kind, device, stream
        self.owners: list[Any] = []  # kept until all is on the stream

    def run(self, op: LocalResponseNorm, recipe: str, source: View, gradient: View, target: View) -> None:
        """Compute into ``target``, whatever its strides and whatever it overlaps."""
        if op.beta == 0.0:
            self._copy_over(target, source if recipe == "forward" else gradient)
            return
        shape, strides, dtype, _, _ = source.layout
        strides = dense_strides(shape, strides, dtype.itemsize)
        forward = gradient is source
        source = self._in_order(source, strides)
        gradient = source if forward else self._in_order(gradient, strides)
        if lies(target, strides):
            route = self._route(op, recipe, source, gradient, target)
            if _may_write(target, source, gradient, route):
                self._start(route, source, gradient, target)
                return
        result = self._temporary(source, strides)
        self._start(self._route(op, recipe, source, gradient, result), source, gradient, result)
        self._copy(target, result)

    def _route(self, op: LocalResponseNorm, recipe: str, source: View, gradient: View, target: View) -> Route:
        low_bits = (source.pointer | gradient.pointer | target.pointer) % VECTOR_BYTES
        route = _route(op, recipe, source.layout, low_bits)
        assert route is not None, "dense arrays always have a route"
        return route

    def _start(self, route: Route, source: View, gradient: View, target: View) -> None:
        _launch(route, self.kind, self.device, self.stream, source.pointer, gradient.pointer, target.pointer)

    def _in_order(self, view: View, strides: tuple[int, ...]) -> View:
        """The array, or its copy, dense with these strides."""
        if lies(view, strides):
            return view._replace(layout=view.layout._replace(strides=strides))
        copy = self._temporary(view, strides)
        self._copy(copy, view)
        return copy

    def _temporary(self, like: View, strides: tuple[int, ...]) -> View:
        nbytes = like.layout.size * like.layout.dtype.itemsize
        pointer, owner = self.kind.allocate(nbytes, self.device, self.stream)
        self.owners.append(owner)
        return View(like.layout._replace(strides=strides), pointer, True)

    def _copy_over(self, target: View, source: View) -> None:
        """Copy between arrays that may overlap."""
        shape, strides, dtype, _, _ = source.layout
        if target.pointer == source.pointer and same_order(target.layout.strides, strides, shape):
            return
        if overlap(target, source):
            copy = self._temporary(source, dense_strides(shape, strides, dtype.itemsize))
            self._copy(copy, source)
            source = copy
        self._copy(target, source)

    def _copy(self, target: View, source: View) -> None:
        """Copy between arrays that are apart."""
        shape, strides, dtype, _, _ = source.layout
        aligned = (target.pointer | source.pointer) % dtype.itemsize == 0
        for move, run in _moves(shape, target.layout.strides, strides, dtype.itemsize, aligned, self.device):
            run(self.stream, target.pointer + move.target_offset, source.pointer + move.source_offset)


@functools.lru_cache(maxsize=256)
def _moves(
    shape: tuple[int, ...],
    target: tuple[int, ...],
    source: tuple[int, ...],
    itemsize: int,
    aligned: bool,
    device: int,
) -> tuple[tuple[copies.Move, Callable[..., None]], ...]:
    """The launches of a copy."""
    found = []
    for move in copies.moves(shape, target, source, itemsize, aligned):
        word = np.dtype(f"u{move.launch.variant.word}")
        memory = ((word, move.target_words), (word, move.source_words))
        found.append((move, driver.prepare(copies, move.launch, memory, device)))
    return tuple(found)


# NUMBA_LRN_DEBUG=1 tells on standard error which path the first call of each kind takes.
DEBUG = os.environ.get("NUMBA_LRN_DEBUG", "0") != "0"


def _report(recipe: str, dtype: np.dtype, shape: tuple[int, ...], plan: Plan) -> None:
    for launch in plan.launches:
        print(
            f"numba_lrn: cuda {recipe} {dtype.name} {shape} {launch.variant} grid={launch.grid} block={launch.block}"
            f"{' simulated' if toolkit.SIMULATED else ''}",
            file=sys.stderr,
        )
