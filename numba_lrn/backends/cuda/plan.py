"""The one place that chooses: which kernels run, on which grid, with which arguments and temporaries.

How the launch side uses it::

    plan = make_plan(dimensions, recipe, op, dtype, aligned, device)
    for launch in plan.launches:
        code, name = kernels.cubin(launch.variant, device.compute_capability)
        # grid, block and shared_bytes as they are; the arguments are one pointer for each name in
        # launch.operands, in that order, then launch.scalars as they are (their NumPy types are the kernel's).

Names of operands: "x", "g" (grad_output; "x" stands in where an operation has none), "out", and "temporary 0",
"temporary 1", …, whose sizes in bytes are ``plan.temporaries``; each must start on a multiple of 256 bytes.

The kernels' choice follows from the geometry and the alignment, that of the grid and the chunks also from the
batch and the card. No choice changes the order in which a window is added up.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from numba_lrn.algorithm.geometry import Dimension
from numba_lrn.algorithm.parameters import GENERAL_BETA, NAMED_POWERS, WIDE_BETA, never_subnormal, scalars_of
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.backends.cuda.forms import last
from numba_lrn.backends.cuda.kernels import END, REALS, Variant
from numba_lrn.operator import LocalResponseNorm

VECTOR_BYTES = 16
DIRECT = 16  # windows up to this many elements are added term by term, from registers or L1
# Elements of the rows that a thread keeps in registers, (forward, both stages of backward): more lanes would take
# more than about 130 registers. docs/cuda.md has the figures.
RING = {"float16": (64, 20), "bfloat16": (64, 20), "float32": (64, 36), "float64": (32, 18)}
SPREAD_LANES = 2  # 4 take 96 to 156 registers, as every lane has addresses of its own
STEPS = 2
BOX_ROWS, BOX_ROW = 11, 9  # the largest boxes of two axes that are summed in one kernel
BOX_RING = 48
GROUP = 4  # rows that a thread of the prefix form works on at a time
BLOCK = 128
SMALL_BLOCK = 32
THREADS = 1024  # a multiprocessor: below it, the axis is cut into chunks
SHARED_BYTES = 48 * 1024
MAX_CHUNKS = 65535
# Within this factor of 1 the power by the approximate logarithm and exponential is good to 0.01 ulp of float16; for
# bfloat16 it is everywhere.
ROUGH_RANGE = 2.0**20
LARGEST_FLOAT16 = 65504.0


class Device(NamedTuple):
    """What a plan must know of the card."""

    compute_capability: tuple[int, int] = (9, 0)
    multiprocessors: int = 132


class Launch(NamedTuple):
    """One kernel launch, but for the addresses of its arrays."""

    variant: Variant
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int  # dynamic; at most 48 KiB
    operands: tuple[str, ...]
    scalars: tuple[Any, ...]  # np.int64, np.float32 or np.float64, after the pointers


class Plan(NamedTuple):
    """The launches of one operation, in order, on one stream."""

    launches: tuple[Launch, ...]
    temporaries: tuple[int, ...]  # bytes
    in_place: bool  # whether "out" may be "x" or "g" itself; partial overlap never is allowed


def power_function(op: LocalResponseNorm, dtype: np.dtype, elements: int, differentiates: bool) -> str:
    """The power function for a window of ``elements``: by approximations where d is normal, else by IEEE arithmetic.

    A derivative of half types takes the refined ones, as its terms may cancel.
    """
    real = np.float64 if dtype == np.float64 else np.float32
    name = "power_one" if op.beta == 1.0 else NAMED_POWERS.get(op.beta)
    safe = never_subnormal(op.scale, op.k, real)
    if dtype == np.float64:
        if name is None:
            return "power_platform"
        return name if safe or op.beta == 1.0 else f"{name}_guarded"
    if not safe or abs(op.beta) > WIDE_BETA:
        return "power_one" if op.beta == 1.0 else f"{name}_guarded" if name else "power_platform"
    half = dtype.itemsize == 2 and not differentiates
    if name is not None:
        return f"{name}_rough" if half else f"{name}_refined"
    if half and abs(op.beta) <= 1.0:
        largest = op.k + op.scale * elements * LARGEST_FLOAT16**2
        if dtype != np.float16 or (op.k >= 1 / ROUGH_RANGE and largest <= ROUGH_RANGE):
            return "power_any_rough"
    return "power_general_refined" if abs(op.beta) < GENERAL_BETA else "power_wide_refined"


class _Axis(NamedTuple):
    """One windowed axis of the array in memory order, (outer, length, inner)."""

    outer: int
    length: int
    inner: int
    before: int
    after: int

    @property
    def n(self) -> int:
        return self.before + self.after + 1

    @property
    def mirrored(self) -> "_Axis":
        return self._replace(before=self.after, after=self.before)


def make_plan(
    dimensions: tuple[Dimension, ...],
    recipe: str,
    op: LocalResponseNorm,
    dtype: np.dtype,
    aligned: bool,
    device: Device,
) -> Plan:
    """The plan for dense arrays of these dimensions (algorithm/geometry.py), none of them empty, β ≠ 0.

    ``aligned``: every array starts on a multiple of 16 bytes.
    """
    return _Planner(dimensions, recipe, op, dtype, aligned, device).plan()


class _Planner:
    """Collects the launches of one plan."""

    def __init__(
        self,
        dimensions: tuple[Dimension, ...],
        recipe: str,
        op: LocalResponseNorm,
        dtype: np.dtype,
        aligned: bool,
        device: Device,
    ):
        self.axes = _windowed(dimensions)
        self.stages = RECIPES[recipe].stages
        self.dtype = dtype
        self.aligned = aligned
        self.device = device
        self.elements = math.prod(dimension.extent for dimension in dimensions)
        self.real = np.dtype(REALS[dtype.name])
        window = math.prod(axis.n for axis in self.axes)
        self.power = power_function(op, dtype, window, len(self.stages) > 1)
        self.scalars = tuple(scalars_of(op.scale, op.beta, op.k, self.real.type))
        self.launches: list[Launch] = []
        self.temporaries: list[int] = []

    def plan(self) -> Plan:
        """One kernel for the whole operation where there is one, else one for each axis of each stage."""
        if len(self.axes) == 1 and self.axes[0].n <= DIRECT:
            return self._whole(self.axes[0])
        source, kept = "x", "out"
        for stage in self.stages:
            axes = [axis.mirrored for axis in self.axes] if stage.transposed else list(self.axes)
            if END[stage.emit].keeps:
                kept = self._temporary(self.elements)
            if len(axes) == 2 and axes[0].n <= BOX_ROWS and axes[1].n <= BOX_ROW:
                source = self._box(axes[0], axes[1], stage.add, stage.emit, source, kept)
                continue
            term = stage.add
            for axis in reversed(axes[1:]):
                source = self._pass(axis, term, "emit_plane", source, kept)
                term = "plane_term"
            source = self._pass(axes[0], term, stage.emit, source, kept)
        reads_behind = self.launches[-1].variant.source == "array"
        return Plan(tuple(self.launches), tuple(self.temporaries), in_place=not reads_behind)

    def _temporary(self, elements: int) -> str:
        self.temporaries.append(elements * self.real.itemsize)
        return f"temporary {len(self.temporaries) - 1}"

    def _whole(self, axis: _Axis) -> Plan:
        """All stages in one kernel."""
        twice = len(self.stages) > 1
        stages = tuple((stage.add, stage.emit) for stage in self.stages)
        form = ("last" if axis.inner == 1 else "walk") + ("_twice" if twice else "")
        lanes, adjacent = self._lanes(axis, form)
        variant = Variant(
            form,
            stages,
            "array",
            self.power,
            self.dtype.name,
            lanes,
            adjacent,
            self._steps(form),
            axis.before,
            axis.after,
        )
        grid, block, chunk = self._grid(axis, variant)
        integers = self._integers(axis, chunk)
        launch = Launch(variant, grid, block, 0, ("x", "g", "out"), integers + self.scalars)
        return Plan((launch,), (), in_place=axis.inner > 1 and grid[1] == 1)

    def _pass(self, axis: _Axis, term: str, end: str, source: str, kept: str) -> str:
        """One stage along one axis; returns the name of what it makes."""
        kind = "array" if source == "x" else "plane"
        target = "out" if END[end].target == "array" else self._temporary(self.elements)
        form = "prefix" if axis.n > DIRECT else "last" if axis.inner == 1 else "walk"
        power = self.power if end in ("emit_normalized", "keep_residual") else ""
        lanes, adjacent = self._lanes(axis, form)
        before, after = (0, 0) if form == "prefix" else (axis.before, axis.after)
        variant = Variant(
            form, ((term, end),), kind, power, self.dtype.name, lanes, adjacent, self._steps(form), before, after
        )
        grid, block, chunk = self._grid(axis, variant)
        shared, scratch = 0, target
        if form == "prefix":
            sums = -(-axis.n // variant.steps) * lanes * self.real.itemsize
            width = min(block[0], max(SMALL_BLOCK, SHARED_BYTES // sums // SMALL_BLOCK * SMALL_BLOCK))
            grid, block, chunk = self._grid(axis, variant, width)
            shared = sums * width
            if shared > SHARED_BYTES:
                shared = 0
                variant = variant._replace(form="prefix_scratch")
                threads = grid[0] * grid[1] * block[0]
                scratch = self._temporary(sums // self.real.itemsize * threads)
        integers = (*self._integers(axis, chunk), np.int64(axis.before), np.int64(axis.after))
        operands: tuple[str, ...] = (source, "x", "g", target, kept if kept != "out" else target, scratch)
        if variant.whole:
            integers, operands = integers[:4], ("x", "g", "out")
        self.launches.append(Launch(variant, grid, block, shared, operands, integers + self.scalars))
        return target

    def _box(self, axis: _Axis, beside: _Axis, term: str, end: str, source: str, kept: str) -> str:
        """One stage over two axes; returns the name of what it makes."""
        contiguous = beside.inner == 1
        lanes = VECTOR_BYTES // self.dtype.itemsize if self.aligned else 1
        while lanes > 1 and ((beside.length if contiguous else beside.inner) % lanes or lanes * axis.n > BOX_RING):
            lanes //= 2
        variant = Variant(
            "box_contiguous" if contiguous else "box_strided",
            ((term, end),),
            "array" if source == "x" else "plane",
            self.power if END[end].reads != ("x", "kept") else "",
            self.dtype.name,
            lanes,
            True,
            STEPS if lanes <= 4 else 1,
            axis.before,
            axis.after,
            (beside.before, beside.after),
        )
        target = "out" if END[end].target == "array" else self._temporary(self.elements)
        grid, block, chunk = self._grid(axis, variant)
        integers = (*self._integers(axis, chunk), np.int64(beside.length), np.int64(beside.inner))
        operands = (source, "x", "g", target, kept if kept != "out" else target, target)
        self.launches.append(Launch(variant, grid, block, 0, operands, integers + self.scalars))
        return target

    def _integers(self, axis: _Axis, chunk: int) -> tuple[Any, ...]:
        columns = self.elements if axis.inner == 1 and not chunk else axis.outer * axis.inner
        return tuple(np.int64(value) for value in (columns, axis.length, axis.inner, chunk))

    def _lanes(self, axis: _Axis, form: str) -> tuple[int, bool]:
        """Lanes a thread, and whether they are neighbours."""
        extent = axis.length if form.startswith("last") else axis.inner
        lanes = VECTOR_BYTES // self.dtype.itemsize
        if form.startswith("walk"):
            limit = RING[self.dtype.name][form == "walk_twice"]
            while lanes > 1 and lanes * axis.n > limit:
                lanes //= 2
        elif form == "prefix":
            lanes = min(lanes, 4)
        while lanes > 1 and extent % lanes:
            lanes //= 2
        if form.startswith("last"):
            return (lanes if self.aligned else 1), True
        if lanes > 1 and self.aligned:
            return lanes, True
        return (SPREAD_LANES if axis.outer * axis.inner > SPREAD_LANES * BLOCK else 1), False

    def _steps(self, form: str) -> int:
        """Rows that are loaded at a time."""
        if form.startswith("last"):
            return 1
        if form == "prefix":
            return GROUP
        return 2 * STEPS if form == "walk" and self.dtype.itemsize == 4 else STEPS

    def _grid(
        self, axis: _Axis, variant: Variant, width: int | None = None
    ) -> tuple[tuple[int, int, int], tuple[int, int, int], int]:
        """(grid, block, rows of a chunk); a chunk of 0 rows means that ``columns`` counts elements."""
        if variant.form == "last":
            return (-(-self.elements // (variant.lanes * last.BLOCK)), 1, 1), (last.BLOCK, 1, 1), 0
        if variant.form == "last_twice":
            useful = last.BLOCK - last.halo(variant)  # type: ignore[no-untyped-call]
            return (-(-self.elements // (variant.lanes * useful)), 1, 1), (last.BLOCK, 1, 1), 0
        threads = -(-axis.outer * axis.inner // variant.lanes)
        wanted = self.device.multiprocessors * THREADS
        if width is None:
            width = BLOCK if threads >= self.device.multiprocessors * 2 * BLOCK else SMALL_BLOCK
        # A chunk reads up to 2(n − 1) rows that its neighbours read too, and one of the prefix form begins at a
        # multiple of n.
        unit = axis.n if variant.form.startswith("prefix") else 2 * axis.n
        chunks = max(1, min(-(-wanted // threads), axis.length // unit, MAX_CHUNKS))
        chunk = -(-axis.length // chunks)
        if variant.form.startswith("prefix"):
            chunk = -(-chunk // axis.n) * axis.n
        chunks = -(-axis.length // chunk)
        return (-(-threads // width), chunks, 1), (width, 1, 1), chunk


def _windowed(dimensions: tuple[Dimension, ...]) -> tuple[_Axis, ...]:
    """The windowed axes, from the slowest in memory; where there is none, a window of one element."""
    axes = []
    for index, dimension in enumerate(dimensions):
        if dimension.windowed:
            outer = math.prod(other.extent for other in dimensions[:index])
            inner = math.prod(other.extent for other in dimensions[index + 1 :])
            axes.append(_Axis(outer, dimension.extent, inner, dimension.before, dimension.after))
    if not axes:
        axes.append(_Axis(1, math.prod(dimension.extent for dimension in dimensions), 1, 0, 0))
    return tuple(axes)
