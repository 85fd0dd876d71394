"""The one place that chooses: which kernels run, on which grid, with which arguments and temporaries.

How the launch side uses it::

    plan = make_plan(dimensions, recipe, op, dtype, aligned, device)
    for launch in plan.launches:
        code, name = kernels.cubin(launch.variant, device.compute_capability)
        # grid, block and shared_bytes as they are; the arguments are one pointer for each name in
        # launch.operands, in that order, then launch.scalars as they are (their NumPy types are the kernel's).

Names of operands: those of the recipe's arrays, and "temporary 0", "temporary 1", …, whose sizes in bytes are
``plan.temporaries``; each must start on a multiple of 256 bytes. Where a recipe sums something over all elements,
sums.py adds up what the blocks of a launch leave in ``plan.partials``.

The kernels' choice follows from the geometry and the alignment, that of the grid and the chunks also from the
batch and the card. No choice changes the order in which a window is added up.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from numba_lrn.algorithm.geometry import Dimension
from numba_lrn.algorithm.parameters import GENERAL_BETA, NAMED_POWERS, WIDE_BETA, never_subnormal, scalars_of
from numba_lrn.backends.cuda.forms import last, whole
from numba_lrn.backends.cuda.kernels import FORMS, PARTS, REALS, Variant
from numba_lrn.backends.cuda.phases import CALLERS, Phase, phases_of, single_stages
from numba_lrn.operator import LocalResponseNorm

VECTOR_BYTES = 16
DIRECT = 16  # windows up to this many elements are added term by term, from registers or L1
# Elements of all rings that a thread keeps in registers, (of one phase, of both): more lanes would take more than about
# 130 registers. docs/cuda.md has the figures.
RING = {"float16": (64, 60), "bfloat16": (64, 60), "float32": (64, 108), "float64": (32, 54)}
SPREAD_RING = 128  # where lanes are apart
SPREAD_LANES = 2  # 4 take 96 to 156 registers, as every lane has addresses of its own
STEPS = 2
BOX_ROWS, BOX_ROW = 11, 9  # the largest boxes of two axes that are summed in one kernel
BOX_RING = 48
BATCH = {"float16": 32, "bfloat16": 32, "float32": 16, "float64": 8}  # elements of a thread
MOST_THREADS = 512  # of a block that holds an axis
THREADS_A_BLOCK = 256
LEAST_COLUMNS = 4
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
    in_place: bool  # whether "out" may be one of the arrays that are read; partial overlap never is allowed
    partials: str = ""  # the temporary in which a launch leaves its blocks' parts of the sums over all elements
    blocks: int = 0  # and how many blocks it has


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
        self.recipe = recipe
        self.dtype = dtype
        self.aligned = aligned
        self.device = device
        self.elements = math.prod(dimension.extent for dimension in dimensions)
        self.real = np.dtype(REALS[dtype.name])
        window = math.prod(axis.n for axis in self.axes)
        self.power = power_function(op, dtype, window, recipe != "forward")
        self.scalars = tuple(scalars_of(op.scale, op.beta, op.k, self.real.type))
        self.launches: list[Launch] = []
        self.temporaries: list[int] = []
        self.operands = {name: name for name in CALLERS}  # what the arrays of a recipe are for the launches
        self.blocks = 0

    def plan(self) -> Plan:
        """One kernel for the whole operation where there is one, else one for each phase, or for each axis of it."""
        phases = phases_of(self.recipe)
        if len(self.axes) == 1 and self._form(self.axes[0], phases) != "prefix":
            self._launch(self.axes[0], phases)
        elif len(self.axes) == 1 or self._is_small_box():
            for phase in phases:
                self._phase(phase)
        else:
            for phase in single_stages(self.recipe):
                self._phase(phase)
        last = self.launches[-1]
        summed = {name for phase in last.variant.phases[:1] for name in phase.summed}
        ahead = FORMS[last.variant.form][0] is whole and last.grid[1] == 1
        in_place = not summed & set(CALLERS) or (ahead and len(self.launches) == 1)
        return Plan(
            tuple(self.launches), tuple(self.temporaries), in_place, self.operands.get("partials", ""), self.blocks
        )

    def _is_small_box(self) -> bool:
        return len(self.axes) == 2 and self.axes[0].n <= BOX_ROWS and self.axes[1].n <= BOX_ROW

    def _phase(self, phase: Phase) -> None:
        """One phase: a kernel, or one for each axis of its only window."""
        axes = [axis.mirrored for axis in self.axes] if phase.transposed else list(self.axes)
        if len(axes) > 1 and self._is_small_box():
            self._launch(axes[0], (phase,), beside=axes[1])
            return
        for axis in reversed(axes[1:]):
            (term, end), *others = phase.stages
            self._launch(axis, (Phase(((term, "emit_sum"),), phase.transposed, ("sum",)),))
            self.operands["plane"] = self.operands["sum"]
            phase = phase._replace(stages=(("plane_term", end), *others))
        self._launch(axes[0], (phase,))

    def _temporary(self, elements: int) -> str:
        self.temporaries.append(elements * self.real.itemsize)
        return f"temporary {len(self.temporaries) - 1}"

    def _launch(self, axis: _Axis, phases: tuple[Phase, ...], beside: _Axis | None = None) -> None:
        """One kernel: its variant, its grid, and where what it writes goes."""
        variant = self._variant(axis, phases, beside)
        shared = 0
        rest: tuple[int, ...] = ()
        if FORMS[variant.form][0] is whole:
            grid, block, chunk, lead = self._whole_grid(axis, variant)
            rest = (lead, axis.before // variant.steps, axis.after // variant.steps)
            fields = 1 if variant.form.startswith("wide") else max(len(phase.summed) for phase in phases)
            threads = block[0] * block[1]
            shared = fields * variant.steps * variant.columns * threads * self.real.itemsize
        else:
            grid, block, chunk = self._grid(axis, variant)
        if beside is not None:
            rest = (beside.length, beside.inner)
        elif variant.form == "prefix":
            rest = (axis.before, axis.after)
            sums = -(-axis.n // variant.steps) * variant.lanes * variant.windows * self.real.itemsize
            limit = SHARED_BYTES - (PARTS * last.BLOCK * self.real.itemsize if variant.reduces else 0)
            width = min(block[0], max(SMALL_BLOCK, limit // sums // SMALL_BLOCK * SMALL_BLOCK))
            grid, block, chunk = self._grid(axis, variant, width)
            shared = sums * width
            if shared > limit:
                shared = 0
                variant = variant._replace(form="prefix_scratch")
                threads = grid[0] * grid[1] * block[0]
                self.operands["scratch"] = self._temporary(sums // self.real.itemsize * threads)
        for name in (name for phase in variant.phases for name in variant.stored(phase)):
            if name not in CALLERS and name not in variant.loaded:  # else in place: each element is read before
                self.operands[name] = self._temporary(self.elements)
        if variant.reduces:
            self.blocks = grid[0] * grid[1]
            self.operands["partials"] = self._temporary(PARTS * self.blocks)
        operands = tuple(self.operands[name] for name in variant.pointers)
        integers = (*self._integers(axis, chunk), *(np.int64(number) for number in rest))
        assert len(integers) == FORMS[variant.form][2]
        self.launches.append(Launch(variant, grid, block, shared, operands, integers + self.scalars))

    def _variant(self, axis: _Axis, phases: tuple[Phase, ...], beside: _Axis | None) -> Variant:
        """Which form, with how many lanes and rows at a time."""
        power = self.power if any(phase.powers for phase in phases) else ""
        if beside is not None:
            contiguous = beside.inner == 1
            form = "box_contiguous" if contiguous else "box_strided"
            lanes, rows = VECTOR_BYTES // self.dtype.itemsize if self.aligned else 1, axis.n * _windows(phases)
            while lanes > 1 and ((beside.length if contiguous else beside.inner) % lanes or lanes * rows > BOX_RING):
                lanes //= 2
            adjacent, steps, sides = True, STEPS if lanes <= 4 else 1, (beside.before, beside.after)
        else:
            form = self._form(axis, phases)
            lanes, adjacent = self._lanes(axis, form, phases)
            steps, sides = self._steps(axis, form, phases), (0, 0)
        before, after = axis.before, axis.after
        if form.startswith("wide"):
            before, after = before % steps, after % steps
        elif form.startswith("prefix"):
            before, after = 0, 0
        return Variant(form, phases, power, self.dtype.name, lanes, adjacent, steps, before, after, sides)

    def _form(self, axis: _Axis, phases: tuple[Phase, ...]) -> str:
        """Which form sums windows along one axis."""
        contiguous = axis.inner == 1
        if axis.n <= DIRECT:
            return "last" if contiguous else "small"
        form = "wide_last" if contiguous else "wide"
        groups = -(-axis.length // self._steps(axis, form, phases))
        most = MOST_THREADS if contiguous else MOST_THREADS // LEAST_COLUMNS
        lead, lag = _halo(axis, phases, self._steps(axis, form, phases))
        return form if groups <= most or most - lead - lag >= most // 2 else "prefix"

    def _whole_grid(
        self, axis: _Axis, variant: Variant
    ) -> tuple[tuple[int, int, int], tuple[int, int, int], int, int]:
        """(grid, block, rows of a tile, groups before the tile's own)."""
        groups = -(-axis.length // variant.steps)
        most = MOST_THREADS if variant.contiguous else MOST_THREADS // LEAST_COLUMNS
        lead = lag = 0
        if groups > most:
            lead, lag = _halo(axis, variant.phases, variant.steps)
        tile = min(groups, most - lead - lag)
        tiles = -(-groups // tile)
        tile = -(-groups // tiles)
        high = tile + (lead + lag if tiles > 1 else 0)
        columns = -(-axis.outer * axis.inner // variant.columns)
        wide = LEAST_COLUMNS
        while wide * 2 * high <= THREADS_A_BLOCK and wide < columns:
            wide *= 2
        if variant.contiguous:
            wide = max(1, min(THREADS_A_BLOCK // high, columns))
        else:
            wide = min(wide, 32)
            while wide > 8 and -(-columns // wide) * tiles < 2 * self.device.multiprocessors:
                wide //= 2
        block = (high, wide, 1) if variant.contiguous else (wide, high, 1)
        return (-(-columns // wide), tiles, 1), block, tile * variant.steps, lead if tiles > 1 else 0

    def _integers(self, axis: _Axis, chunk: int) -> tuple[Any, ...]:
        columns = self.elements if axis.inner == 1 and not chunk else axis.outer * axis.inner
        return tuple(np.int64(value) for value in (columns, axis.length, axis.inner, chunk))

    def _lanes(self, axis: _Axis, form: str, phases: tuple[Phase, ...]) -> tuple[int, bool]:
        """Lanes a thread, and whether they are neighbours."""
        extent = axis.length if form.endswith("last") else axis.inner
        lanes = VECTOR_BYTES // self.dtype.itemsize
        if form in ("small", "wide"):
            lanes = max(1, BATCH[self.dtype.name] // self._steps(axis, form, phases) // _windows(phases))
        rows = axis.n * _rings(phases)
        if form == "walk":
            while lanes > 1 and lanes * rows > RING[self.dtype.name][len(phases) - 1]:
                lanes //= 2
        elif form == "prefix":
            lanes = min(lanes, max(4 // _windows(phases), 1))
        while lanes > 1 and extent % lanes:
            lanes //= 2
        if form.endswith("last"):
            return (lanes if self.aligned else 1), True
        if form in ("small", "wide"):
            return (lanes, True) if self.aligned else (1, True)
        if lanes > 1 and self.aligned:
            return lanes, True
        spread = axis.outer * axis.inner > SPREAD_LANES * BLOCK and (
            form == "prefix" or SPREAD_LANES * rows <= SPREAD_RING
        )
        return (SPREAD_LANES if spread else 1), False

    def _steps(self, axis: _Axis, form: str, phases: tuple[Phase, ...]) -> int:
        """Rows that are loaded at a time."""
        if form in ("small", "wide", "wide_last"):
            return 16 if form == "wide_last" and axis.n >= 32 else 8
        if form == "last":
            return 1
        if form == "prefix":
            return GROUP
        return 2 * STEPS if len(phases) == 1 and _windows(phases) == 1 and self.dtype.itemsize == 4 else STEPS

    def _grid(
        self, axis: _Axis, variant: Variant, width: int | None = None
    ) -> tuple[tuple[int, int, int], tuple[int, int, int], int]:
        """(grid, block, rows of a chunk); a chunk of 0 rows means that ``columns`` counts elements."""
        if variant.form == "last":
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


def _halo(axis: _Axis, phases: tuple[Phase, ...], steps: int) -> tuple[int, int]:
    """Groups before and after the own ones of a tile: what windows reach, and what those of what they reach reach."""
    both = axis.before + axis.after
    lead, lag = (both, both) if len(phases) > 1 else (axis.before, axis.after)
    return -(-lead // steps), -(-lag // steps)


def _windows(phases: tuple[Phase, ...]) -> int:
    """How many windows are summed at the same time."""
    return max(sum(bool(term) for term, _ in phase.stages) for phase in phases)


def _rings(phases: tuple[Phase, ...]) -> int:
    """How many arrays a walking thread keeps the last n rows of, or nearly so."""
    kept = phases[0].stored if len(phases) > 1 else ()
    return len({*phases[0].summed, *(name for name in kept if name not in CALLERS)})


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
