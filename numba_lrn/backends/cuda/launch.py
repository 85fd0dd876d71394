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
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from numba_lrn.algorithm.geometry import canonical, dense_order, same_order
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.backends.cuda import copies, kernels, sums, toolkit
from numba_lrn.backends.cuda.arrays import Kind, Layout, View, dense_strides, driver, kind_of, known
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.forms.line import VECTOR_BYTES
from numba_lrn.backends.cuda.kernels import CARRIERS, REALS
from numba_lrn.backends.cuda.memory import lies, overlap
from numba_lrn.backends.cuda.plan import Plan, make_plan
from numba_lrn.backends.selector import full_name
from numba_lrn.checks import check_device, check_dtype, check_kind, check_like, check_writeable
from numba_lrn.operator import LocalResponseNorm

TEMPORARY_BYTES = 256  # to a multiple of which the address of each temporary is aligned


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
    """The tangent of y of ``op`` for arrays on a CUDA device."""
    return _run(op, "jvp", x, tangent, out)


def backward_parameters(op: LocalResponseNorm, grad_output: Any, x: Any, into: Any = None) -> tuple[Any, Any, Any]:
    """The gradients of scale, β and k of ``op``: arrays of no dimensions, or the three elements of ``into``."""
    _, gradients = _derive(op, "backward_parameters", x, (grad_output,), (into,))
    return gradients


def backward_all(
    op: LocalResponseNorm, grad_output: Any, x: Any, into: tuple[Any, Any] = (None, None)
) -> tuple[Any, Any, Any, Any]:
    """dx and the gradients of scale, β and k of ``op``; ``into`` are an array for dx and one of three elements."""
    (dx,), gradients = _derive(op, "backward_all", x, (grad_output,), into)
    return dx, *gradients


def double_backward(
    op: LocalResponseNorm, grad_output: Any, x: Any, cotangent: Any, into: tuple[Any, Any] = (None, None)
) -> tuple[Any, Any]:
    """The gradients of ⟨cotangent, dx⟩ with respect to grad_output and x, in new arrays or in those of ``into``."""
    (for_g, for_x), _ = _derive(op, "double_backward", x, (grad_output, cotangent), into)
    return for_g, for_x


# What the inputs of a recipe beside x are called where they are refused.
INPUTS = {
    "forward": (),
    "backward": ("grad_output",),
    "jvp": ("tangent",),
    "backward_parameters": ("grad_output",),
    "backward_all": ("grad_output",),
    "double_backward": ("grad_output", "cotangent"),
}


def _run(op: LocalResponseNorm, recipe: str, x: Any, g: Any, out: Any) -> Any:
    """The usual case, arrays alike on the current device; the others go on to _prepare."""
    kind = kind_of(x)
    source = kind.view(x, "x")
    layout = source.layout
    gradient = source if g is x else _beside(kind, source, g, INPUTS[recipe][0])
    target = _beside(kind, source, out, "out") if out is not None else source if kind.makes_results else None
    if gradient is None or target is None or layout.device != driver.current_device():
        return _prepare(op, recipe, x, g, out)
    low_bits = (source.pointer | gradient.pointer | target.pointer) % VECTOR_BYTES
    route = _route(op, recipe, layout, low_bits)
    if route is None or (out is not None and not _may_write(target, (source, gradient), route)):
        return _prepare(op, recipe, x, g, out)
    stream = driver.stream(layout.device, _stream_of(kind, source))
    if out is None:
        out = kind.empty_like(x, "x")
        target = kind.view(out, "out")
    _launch(route, kind, layout.device, stream, source.pointer, gradient.pointer, target.pointer)
    return out


def _beside(kind: Kind, source: View, array: Any, name: str) -> View | None:
    """Where an array of this kind lies that has the layout and the stream of ``source``; None for others: what names no
    stream of its own is on CuPy's current one, or on none.
    """
    if known(array) is not kind:
        return None
    view = kind.view(array, name)
    alike = view.layout == source.layout and view.stream == source.stream
    return view if alike and (view.writeable or name != "out") else None


def _may_write(target: View, inputs: Sequence[View], route: Route) -> bool:
    """Whether dense arrays of one size are apart from the target, or it is one of them and that is provided for."""
    for view in inputs:
        distance = abs(target.pointer - view.pointer)
        if distance < route.nbytes and (distance or not route.in_place):
            return False
    return True


@functools.lru_cache(maxsize=1024)
def _route(op: LocalResponseNorm, recipe: str, layout: Layout, low_bits: int, in_place: bool = False) -> Route | None:
    """The route of dense arrays that need computing; None for others. Refuses what cannot be computed.

    ``low_bits`` are those of the addresses, modulo 16 bytes; ``in_place`` asks for kernels that may write where they
    read, if there are any.
    """
    plan = _plan(op, recipe, layout, low_bits, in_place)
    if plan is None:
        return None
    dtype, elements = layout.dtype, layout.size
    carrier, real = np.dtype(CARRIERS[dtype.name]), np.dtype(REALS[dtype.name])
    names = list(RECIPES[recipe].names)
    memory = [(np.dtype(np.float64), sums.RESULTS) if name == "sums" else (carrier, elements) for name in names]
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
        steps.append((run, _taker(places)))
    if plan.partials:
        places = names.index(plan.partials), names.index("sums")
        last = sums.launch_for(real.name, plan.blocks, op.beta)
        run = driver.prepare(sums, last, tuple(memory[place] for place in places), layout.device)
        steps.append((run, _taker(places)))
    return Route(elements * dtype.itemsize, tuple(steps), workspace, tuple(offsets), plan.in_place)


def _taker(places: tuple[int, ...]) -> Callable:
    """What takes those at the places, as a tuple."""
    return operator.itemgetter(*places) if len(places) > 1 else lambda pointers: (pointers[places[0]],)


def _plan(op: LocalResponseNorm, recipe: str, layout: Layout, low_bits: int, in_place: bool = False) -> Plan | None:
    shape, strides, dtype, device = layout
    check_dtype(dtype, "x")
    windows = op.windows(len(shape))
    order = dense_order(shape, strides, dtype.itemsize)
    copies_alone = op.beta == 0.0 and recipe != "backward_parameters"
    if order is None or 0 in shape or copies_alone or low_bits % dtype.itemsize:
        return None
    card = driver.device(device)
    plan = make_plan(
        canonical(shape, order, windows),
        recipe,
        op,
        dtype,
        low_bits == 0,
        Device(card.multiprocessors),
        in_place,
    )
    if DEBUG:
        _report(recipe, dtype, shape, plan)
    return plan


def plan_of(op: LocalResponseNorm, recipe: str, x: Any) -> Plan | None:
    """What a call on ``x`` with other arrays like it runs; None where it only copies."""
    view = kind_of(x).view(x, "x")
    return _plan(op, recipe, view.layout, view.pointer % VECTOR_BYTES)


def warmup(dtypes: tuple[np.dtype, ...]) -> None:
    """Compile, or take from the disk, and load on the current device what the usual calls need.

    That is β = 0.75 and five channels, forward and backward, channels first and last, planes of a number of elements
    that 16 bytes divide and of an odd one. It needs no arrays.
    """
    ordinal = driver.current_device() or 0
    driver.device(ordinal)  # tells what is missing, if anything is
    usual = (((64, 56, 56), 0), ((64, 55, 55), 0), ((56, 56, 64), 2))
    with driver.on_device(ordinal):
        for dtype, (shape, axis), recipe in itertools.product(dtypes, usual, ("forward", "backward")):
            strides = dense_strides(shape, (3, 2, 1), dtype.itemsize)
            _route(LocalResponseNorm(5, axis=axis), recipe, Layout(shape, strides, dtype, ordinal), 0)


def _launch(route: Route, kind: Kind, device: int, stream: Any, *pointers: int) -> None:
    """Put the launches of a route on a stream; ``pointers`` are those of the recipe's arrays, in their order."""
    if route.workspace:
        # The owner goes at the end, when all that uses the memory is on the stream.
        start, _owner = kind.allocate(route.workspace, device, stream)
        pointers += tuple(start + offset for offset in route.offsets)
    for run, operands in route.steps:
        run(stream, *operands(pointers))


def _prepare(op: LocalResponseNorm, recipe: str, x: Any, g: Any, out: Any) -> Any:
    """What ``_run`` does not: see ``_derive``."""
    (result,), _ = _derive(op, recipe, x, (g,) if INPUTS[recipe] else (), (out,))
    return result


def _derive(
    op: LocalResponseNorm, recipe: str, x: Any, others: tuple[Any, ...], into: tuple[Any, ...]
) -> tuple[list[Any], tuple[Any, ...]]:
    """The results of any recipe, and the gradients of the parameters where it has them.

    Checks all; copies what is not dense or not in the order of ``x``; uses temporaries where memory overlaps. ``into``
    are arrays for the results, or None for new ones; last that of the three gradients.
    """
    kind = kind_of(x)
    source = kind.view(x, "x")
    layout = source.layout
    check_dtype(layout.dtype, "x")
    op.windows(len(layout.shape))
    inputs = [source]
    for name, other in zip(INPUTS[recipe], others, strict=True):
        inputs.append(_checked(other, name, x, layout))
    outs = list(into[:-1] if RECIPES[recipe].sums else into)
    for out in outs:
        if out is not None:
            target = _checked(out, "out", x, layout)
            check_writeable(target.writeable, layout.shape, target.layout.strides)
    if any(array is None for array in into) and not kind.makes_results and recipe not in ("forward", "backward", "jvp"):
        msg = f"x is of type {full_name(type(x))}; results of that type cannot be made here: pass cupy.asarray(x)"
        raise TypeError(msg)
    here = layout.device in (-1, driver.current_device())
    with contextlib.nullcontext() if here else driver.on_device(layout.device):
        outs = [kind.empty_like(x, "x") if out is None else out for out in outs]
        targets = [kind_of(out).view(out, "out") for out in outs]
        gradients: tuple[Any, ...] = ()
        pointers: tuple[int, ...] = ()
        if RECIPES[recipe].sums:
            gradients, pointer = kind.numbers(sums.RESULTS, x) if into[-1] is None else _numbers(into[-1])
            pointers = (pointer,)
        if layout.size == 0 and not gradients:
            return outs, ()
        device = layout.device if layout.device >= 0 else driver.current_device() or 0
        handle = _stream_of(kind, source)
        call = _Call(kind, device, driver.stream(device, handle))
        waiting = []
        for array, view in zip((*others, *outs), (*inputs[1:], *targets), strict=True):
            stream = kind_of(array).awaited_stream(view)
            if stream not in (None, handle):
                waiting.append(driver.stream(device, stream))
        for stream in waiting:
            driver.wait(call.stream, stream)
        call.run(op, recipe, inputs, targets, pointers)
        for stream in waiting:
            driver.wait(stream, call.stream)
    return outs, gradients


def _numbers(array: Any) -> tuple[tuple[Any, ...], int]:
    """The elements of an array for the gradients of the parameters, which its library indexes, and its address."""
    return (array,), kind_of(array).view(array, "into").pointer


def _stream_of(kind: Kind, view: View) -> int:
    return kind.current_stream(view.layout.device) if view.stream is None else view.stream


def _checked(array: Any, name: str, x: Any, layout: Layout) -> View:
    """Where a second array lies, which matches ``x``, whose layout is given."""
    check_kind(array, name, x)
    view = kind_of(array).view(array, name)
    check_like(view.layout, name, layout)
    if layout.size:  # else it may lie nowhere
        check_device(view.layout.device, name, layout.device)
    return view


# The input that the first result is where β = 0: y is x.
IDENTITY = {"forward": 0, "backward": 1, "jvp": 1, "backward_all": 1, "double_backward": 2}


class _Call:
    """One operation on a stream, with the temporaries that it needs."""

    def __init__(self, kind: Kind, device: int, stream: Any):
        self.kind, self.device, self.stream = kind, device, stream
        self.owners: list[Any] = []  # kept until all is on the stream

    def run(
        self,
        op: LocalResponseNorm,
        recipe: str,
        inputs: Sequence[View],
        targets: Sequence[View],
        sums_at: tuple[int, ...],
    ) -> None:
        """Compute into ``targets``, whatever their strides and whatever they overlap."""
        shape, strides, dtype, _ = inputs[0].layout
        strides = dense_strides(shape, strides, dtype.itemsize)
        if inputs[0].layout.size == 0:
            self._no_sums(op, *sums_at)
            return
        if op.beta == 0.0 and targets:
            self._copy_over(targets[0], inputs[IDENTITY[recipe]])
            for target in targets[1:]:
                self._fill_with_zeros(target, strides)
            if not sums_at:
                return
            recipe, targets = "backward_parameters", ()
        inputs = [self._in_order(view, strides) for view in inputs]
        results = [view if lies(view, strides) else self._temporary(view, strides) for view in targets]
        in_place = any(result.pointer == view.pointer for result in results for view in inputs)
        route = self._route(op, recipe, (*inputs, *results), in_place)
        if not all(_may_write(result, inputs, route) for result in results):
            results = [self._temporary(view, strides) for view in targets]
            route = self._route(op, recipe, (*inputs, *results))
        arrays = [view.pointer for view in (*inputs, *results)]
        if recipe == "forward":
            arrays.insert(1, inputs[0].pointer)  # its kernels read no second array
        _launch(route, self.kind, self.device, self.stream, *arrays, *sums_at)
        for target, result in zip(targets, results, strict=True):
            if target is not result:
                self._copy(target, result)

    def _route(self, op: LocalResponseNorm, recipe: str, views: Sequence[View], in_place: bool = False) -> Route:
        low_bits = functools.reduce(operator.or_, (view.pointer for view in views)) % VECTOR_BYTES
        route = _route(op, recipe, views[0].layout, low_bits, in_place)
        assert route is not None, "dense arrays always have a route"
        return route

    def _no_sums(self, op: LocalResponseNorm, pointer: int) -> None:
        """The sums of nothing."""
        memory = ((np.dtype(np.float64), sums.RESULTS),) * 2
        run = driver.prepare(sums, sums.launch_for("float64", 0, op.beta), memory, self.device)
        run(self.stream, pointer, pointer)

    def _fill_with_zeros(self, target: View, strides: tuple[int, ...]) -> None:
        result = target if lies(target, strides) else self._temporary(target, strides)
        driver.fill_with_zeros(result.pointer, target.layout.size * target.layout.dtype.itemsize, self.stream)
        if result is not target:
            self._copy(target, result)

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
        shape, strides, dtype, _ = source.layout
        if target.pointer == source.pointer and same_order(target.layout.strides, strides, shape):
            return
        if overlap(target, source):
            copy = self._temporary(source, dense_strides(shape, strides, dtype.itemsize))
            self._copy(copy, source)
            source = copy
        self._copy(target, source)

    def _copy(self, target: View, source: View) -> None:
        """Copy between arrays that are apart."""
        shape, strides, dtype, _ = source.layout
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
