"""The one place that chooses: which kernels run, on which grid, with which arguments and temporaries.

How the launch side uses it::

    plan = make_plan(dimensions, recipe, op, dtype, aligned, device)
    for launch in plan.launches:
        ptx = kernels.ptx(launch.variant, device.compute_capability)
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
from numba_lrn.backends.cuda.forms import walk
from numba_lrn.backends.cuda.kernels import FORMS, PARTS, REALS, Variant
from numba_lrn.backends.cuda.phases import CALLERS, Phase, phases_of, single_stages
from numba_lrn.operator import LocalResponseNorm

VECTOR_BYTES = 16
DIRECT = 16  # windows up to this many elements are added term by term
# Blocks that hold axes (forms/whole.py). docs/cuda.md has what was measured.
GROUP = 8  # rows of a thread, and of the groups of wide windows
LONG_GROUP = 16  # along a contiguous axis, for windows of this many rows and more
LONG_GROUPS_FROM = 32
MOST_THREADS = 512  # of a block; fewer where a thread has more than 128 of the 65536 registers of a block
LEAST_THREADS = 64
LEAST_STEPS = 4
LEAST_COLUMNS = 4  # threads side by side
ROW_BYTES = 128  # that threads side by side have of a row, in the type that computes, and no more
SECTOR_BYTES = 32
# Columns of a thread that are apart (forms/spread.py), in rows of this many elements or more: how far, with one phase
# and two; groups of rows of a block, which is rather wide than long; threads of a block with wide windows.
SPREAD_FROM = 96
SPREAD_SPAN, SPREAD_TWICE_SPAN = 32, 16
SPREAD_GROUPS = 13
SPREAD_WIDE_THREADS = 256
# Boxes of two axes up to this many rows and elements of a row are summed in one kernel; the sums of its last rows that
# a thread may keep in registers.
BOX_ROWS, BOX_ROW = 11, 9
BOX_RING = 48
BOX_STEPS = 4
# Both phases of such a box in one kernel (forms/walk.py): bytes of a row that a thread has; registers for the sums of
# its last n rows, at most; those sums times the rows at a time, at most; threads of a block.
WALK_BYTES = 8
WALK_RING = 22
WALK_STEPS, WALK_SUMS = 4, 40
WALK_THREADS, WALK_MOST_THREADS = 128, 256
# Prefix sums by a thread on its own.
PREFIX_ROWS = 4  # at a time
SPREAD_LANES = 2  # 4 take 96 to 156 registers, as every lane has addresses of its own
BLOCK = 128
SMALL_BLOCK = 32
THREADS = 1024  # a multiprocessor: below it, the axis is cut into chunks
SHARED_BYTES = 48 * 1024
MAX_GRID = 65535  # of the second and third extents
MAX_ROWS = 2**30  # of a chunk: they are counted in 32 bits
LONG_POWERS = ("power_general", "power_wide")  # which take more instructions than the rest
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
        self.ahead = False  # whether the threads of the last launch have read all that they need before they write

    def plan(self) -> Plan:
        """One kernel for the whole operation where there is one, else one for each phase, or for each axis of it."""
        phases = phases_of(self.recipe)
        if len(self.axes) == 1 and self._form(self.axes[0], phases) != "prefix":
            self._launch(self.axes[0], phases)
        elif len(phases) > 1 and self._is_small_box():
            self._launch(self.axes[0], phases, beside=self.axes[1])
        elif len(self.axes) == 1 or self._is_small_box():
            for phase in phases:
                self._phase(phase)
        else:
            for phase in single_stages(self.recipe):
                self._phase(phase)
        *earlier, last = self.launches
        summed = {name for phase in last.variant.phases[:1] for name in phase.summed}
        written = {name for launch in earlier for phase in launch.variant.phases for name in phase.stored}
        in_place = (self.ahead and not earlier) or not (summed | written) & set(CALLERS)
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
        columns = axis.outer * axis.inner
        rest: tuple[int, ...]
        if beside is not None and variant.twice:
            columns //= beside.length
            grid, block, chunk, rest, shared = self._walk(axis, beside, variant)
            self.ahead = (grid[1], rest[2]) == (1, 1)
        elif beside is not None:
            grid, block, chunk = self._grid(axis, variant, 2 * axis.n)
            rest, shared = (beside.length, beside.inner), 0
        elif variant.form == "prefix":
            rest = (axis.before, axis.after)
            variant, grid, block, chunk, shared = self._prefix(axis, variant)
        else:
            grid, block, chunk, lead = self._tiles(axis, variant)
            rest = (lead, axis.before // variant.steps, axis.after // variant.steps)
            shared = _shown(variant) * math.prod(block)
            self.ahead = grid[1:] == (1, 1)  # a block that holds whole axes
        for name in (name for phase in variant.phases for name in variant.stored(phase)):
            if name not in CALLERS and name not in variant.loaded:  # else in place: each element is read before
                self.operands[name] = self._temporary(self.elements)
        if variant.reduces:
            self.blocks = math.prod(grid)
            self.operands["partials"] = self._temporary(PARTS * self.blocks)
            shared = max(shared, PARTS * math.prod(block) * self.real.itemsize)
        operands = tuple(self.operands[name] for name in variant.pointers)
        numbers = (columns, axis.length, axis.inner, chunk, *rest)
        assert len(numbers) == FORMS[variant.form][2]
        integers = tuple(np.int64(number) for number in numbers)
        self.launches.append(Launch(variant, grid, block, shared, operands, integers + self.scalars))

    def _variant(self, axis: _Axis, phases: tuple[Phase, ...], beside: _Axis | None) -> Variant:
        """Which form, with how many lanes and rows at a time."""
        if beside is None:
            return self._held(self._form(axis, phases), axis, phases)
        if len(phases) > 1:
            return self._walking(axis, phases, beside)
        extent = beside.length if beside.inner == 1 else beside.inner
        lanes = self._lanes(min(BOX_RING // (axis.n * _windows(phases)), VECTOR_BYTES // self.dtype.itemsize), extent)
        return Variant(
            "box_contiguous" if beside.inner == 1 else "box_strided",
            phases,
            self._power_of(phases),
            self.dtype.name,
            lanes,
            True,
            1 if lanes > 4 else BOX_STEPS // _windows(phases),
            axis.before,
            axis.after,
            (beside.before, beside.after),
        )

    def _walking(self, axis: _Axis, phases: tuple[Phase, ...], beside: _Axis) -> Variant:
        """The variant that runs both phases of a box."""
        contiguous = beside.inner == 1
        ring = axis.n * _windows(phases) * (self.real.itemsize // 4)
        most = min(WALK_BYTES // self.dtype.itemsize, WALK_RING // ring)
        lanes = self._lanes(most, beside.length if contiguous else beside.inner)
        steps = WALK_STEPS
        while steps > 1 and steps * lanes * ring > WALK_SUMS:
            steps //= 2
        return Variant(
            "walk_contiguous" if contiguous else "walk_strided",
            phases,
            self._power_of(phases),
            self.dtype.name,
            lanes,
            True,
            steps,
            axis.before,
            axis.after,
            (beside.before, beside.after),
        )

    def _held(self, form: str, axis: _Axis, phases: tuple[Phase, ...]) -> Variant:
        """The variant of a form for one axis."""
        lanes, steps, adjacent = getattr(self, f"_{form}_rows")(axis, phases)
        before, after = axis.before, axis.after
        if form.startswith("wide"):
            before, after = before % steps, after % steps
        elif form == "prefix":
            before = after = 0
        power, name = self._power_of(phases), self.dtype.name
        variant = Variant(form, phases, power, name, lanes, adjacent, steps, before, after)
        return variant._replace(span=_span(axis, variant)) if variant.spread else variant

    def _power_of(self, phases: tuple[Phase, ...]) -> str:
        return self.power if any(phase.powers for phase in phases) else ""

    def _form(self, axis: _Axis, phases: tuple[Phase, ...]) -> str:
        """Which form sums windows along one axis."""
        form = "small" if axis.n <= DIRECT else "wide"
        if axis.inner == 1:
            form += "_last"
        elif self._is_spread(axis, phases):
            form += "_spread"
        if axis.n > DIRECT:
            variant = self._held(form, axis, phases)
            most = _most_groups(variant)
            if -(-axis.length // variant.steps) > most and sum(_halo(axis, phases, variant.steps)) > most // 2:
                return "prefix"
        return form

    def _lanes(self, most: int, extent: int) -> int:
        """A power of two of neighbours up to ``most`` by which an extent can be divided, 1 in memory that is askew."""
        lanes = 1
        while self.aligned and 2 * lanes <= most and extent % (2 * lanes) == 0:
            lanes *= 2
        return lanes

    def _small_rows(self, axis: _Axis, phases: tuple[Phase, ...]) -> tuple[int, int, bool]:
        """(lanes, rows of a thread, whether lanes are neighbours)."""
        most = {2: 4, 4: 2, 8: 1}[self.dtype.itemsize]
        simple = _is_simple(phases)
        if self.dtype.itemsize == 2 and (_windows(phases) > 1 or phases[0].reduces):
            most = 2  # with 4, two windows take more than 200 registers, and loops that make shares are not unrolled
        elif self.dtype.itemsize == 4 and simple and self.power.startswith(LONG_POWERS):
            most = 4  # β = 0.6 at 92 % of the roof instead of 86
        lanes, steps = self._lanes(most, axis.inner), GROUP
        if lanes == 1 and self.dtype.itemsize < 8 and not (simple and self.dtype.itemsize == 4):
            steps = LONG_GROUP
        return lanes, _steps(steps, axis), True

    def _small_last_rows(self, axis: _Axis, phases: tuple[Phase, ...]) -> tuple[int, int, bool]:
        lanes = self._lanes(VECTOR_BYTES // self.dtype.itemsize, axis.length)
        return lanes, _steps(LONG_GROUP if self.dtype.itemsize == 2 else GROUP, axis), True

    def _wide_rows(self, axis: _Axis, phases: tuple[Phase, ...]) -> tuple[int, int, bool]:
        lanes = 1 if self.dtype.itemsize == 8 else 4 if _is_simple(phases) else 2
        # Four columns show so much that there is shared memory for 384 threads only, which hold shorter axes.
        if lanes == 4 and -(-axis.length // GROUP) * LEAST_COLUMNS > SHARED_BYTES // (4 * GROUP * self.real.itemsize):
            lanes = 2
        return self._lanes(lanes, axis.inner), GROUP, True

    def _is_spread(self, axis: _Axis, phases: tuple[Phase, ...]) -> bool:
        """Whether a thread's columns are better apart: where vectors, or whole sectors forward, are not aligned.

        Half types gain nothing: 67 % of the copy's speed forward over 55 × 55 either way.
        """
        if self.dtype != np.float32 or axis.inner < SPREAD_FROM or _windows(phases) > 1 or phases[0].reduces:
            return False
        aligned = SECTOR_BYTES // self.dtype.itemsize if len(phases) == 1 and axis.n <= DIRECT else 2
        return self._lanes(aligned, axis.inner) < aligned

    def _small_spread_rows(self, axis: _Axis, phases: tuple[Phase, ...]) -> tuple[int, int, bool]:
        if len(phases) == 1:
            return 4, _steps(GROUP, axis), False
        return 2, _steps(GROUP if axis.length <= LONG_GROUP * GROUP else LONG_GROUP, axis), False

    def _wide_spread_rows(self, axis: _Axis, phases: tuple[Phase, ...]) -> tuple[int, int, bool]:
        return 2, GROUP, False

    def _wide_last_rows(self, axis: _Axis, phases: tuple[Phase, ...]) -> tuple[int, int, bool]:
        lanes = self._lanes(VECTOR_BYTES // self.dtype.itemsize, axis.length)
        # Of float64, 16 rows take all registers, or fall into local memory.
        return lanes, LONG_GROUP if axis.n >= LONG_GROUPS_FROM and self.dtype.itemsize < 8 else GROUP, True

    def _prefix_rows(self, axis: _Axis, phases: tuple[Phase, ...]) -> tuple[int, int, bool]:
        lanes = self._lanes(max(4 // _windows(phases), 1), axis.inner)
        if lanes == 1 and axis.outer * axis.inner > SPREAD_LANES * BLOCK:
            return SPREAD_LANES, PREFIX_ROWS, False
        return lanes, PREFIX_ROWS, lanes > 1

    def _tiles(self, axis: _Axis, variant: Variant) -> tuple[tuple[int, int, int], tuple[int, int, int], int, int]:
        """(grid, block, rows of a tile, groups before the tile's own) where blocks hold axes or tiles of them."""
        groups = -(-axis.length // variant.steps)
        most = _groups_wanted(variant)
        lead, lag = _halo(axis, variant.phases, variant.steps) if groups > most else (0, 0)
        tiles = -(-groups // (most - lead - lag))
        tile = -(-groups // tiles)
        high = lead + tile + lag
        columns = -(-axis.outer * axis.inner // variant.columns)
        wanted, across = self._threads(axis, variant)
        wanted = min(wanted, most_threads(variant))
        if variant.spread:
            wide = variant.span
        elif variant.contiguous:
            wide = max(1, min(wanted // high, columns))
        else:
            wide = LEAST_COLUMNS
            while wide < columns and 2 * wide * high <= (wanted if wide < across else LEAST_THREADS):
                wide *= 2
            # A small batch in more blocks, so that no multiprocessor is idle, as long as they read 32 bytes in a row.
            while wide > 8 and -(-columns // wide) * tiles < 2 * self.device.multiprocessors:
                wide //= 2
        block = (high, wide, 1) if variant.contiguous else (wide, high, 1)
        deep = -(-tiles // MAX_GRID)
        across = axis.outer * -(-axis.inner // (wide * variant.columns)) if variant.spread else -(-columns // wide)
        return (across, -(-tiles // deep), deep), block, tile * variant.steps, lead

    def _threads(self, axis: _Axis, variant: Variant) -> tuple[int, int]:
        """(threads of a block, threads side by side at most) that are worth having."""
        if variant.form == "wide_last":
            return (32 if variant.steps == LONG_GROUP else 64), 1
        if variant.form == "small_last":
            return (192 if self.dtype.itemsize == 4 else 128), 1
        across = ROW_BYTES // (variant.columns * self.real.itemsize)
        if variant.form == "wide":
            return (128 if variant.lanes > 1 else 256), across
        if axis.inner * self.dtype.itemsize % SECTOR_BYTES == 0 or variant.lanes > 1:
            return 256, across
        # Rows begin askew, and what a warp writes of one ends askew: the fewer ends the better.
        if variant.steps == GROUP:
            return 512, 32
        return (512 if not variant.twice else 384 if self.dtype.itemsize == 4 else 256), 64

    def _prefix(
        self, axis: _Axis, variant: Variant
    ) -> tuple[Variant, tuple[int, int, int], tuple[int, int, int], int, int]:
        """(variant, grid, block, rows of a chunk, shared bytes); the sums go to memory where they are too many."""
        grid, block, chunk = self._grid(axis, variant, axis.n)
        sums = -(-axis.n // variant.steps) * variant.lanes * variant.windows * self.real.itemsize
        width = min(block[0], max(SMALL_BLOCK, SHARED_BYTES // sums // SMALL_BLOCK * SMALL_BLOCK))
        grid, block, chunk = self._grid(axis, variant, axis.n, width)
        if sums * width <= SHARED_BYTES:
            return variant, grid, block, chunk, sums * width
        self.operands["scratch"] = self._temporary(sums // self.real.itemsize * grid[0] * grid[1] * block[0])
        return variant._replace(form="prefix_scratch"), grid, block, chunk, 0

    def _walk(
        self, axis: _Axis, beside: _Axis, variant: Variant
    ) -> tuple[tuple[int, int, int], tuple[int, int, int], int, tuple[int, ...], int]:
        """(grid, block, rows of a chunk, what else the form takes, shared bytes) of blocks that walk down both axes.

        A block has planes side by side where the second axis is the last in memory, channels otherwise.
        """
        contiguous = beside.inner == 1
        width = variant.lanes if contiguous else 1  # of a thread, along the second axis
        columns = axis.outer * axis.inner // beside.length * width // variant.lanes
        side = walk.side(variant)
        edges = 2 * walk.edge(variant)
        nbytes = walk.hop(variant) * variant.lanes * self.real.itemsize
        most = min(WALK_MOST_THREADS // side, SHARED_BYTES // (nbytes * side) - edges)
        threads = -(-beside.length // width)
        lead = 0 if threads <= most else -(-(beside.n - 1) // width)
        tiles = -(-threads // (most - 2 * lead))
        tile = -(-threads // tiles)
        across = lead + tile + lead
        if contiguous:
            room = SHARED_BYTES // (nbytes * (across + edges))
            side = _full_warps(across, min(max(1, WALK_THREADS // across), room, columns))
        groups = -(-columns // side)
        wanted = self.device.multiprocessors * THREADS
        chunks = min(-(-wanted // (groups * side * tiles * across)), axis.length // (2 * axis.n), MAX_GRID)
        chunk = -(-axis.length // max(chunks, 1, -(-axis.length // MAX_ROWS)))
        grid = (groups * tiles, -(-axis.length // chunk), 1)
        block = (across, side, 1) if contiguous else (side, across, 1)
        rest = (beside.length, beside.inner, tiles, tile * width, lead)
        return grid, block, chunk, rest, nbytes * side * (across + edges)

    def _grid(
        self, axis: _Axis, variant: Variant, unit: int, width: int | None = None
    ) -> tuple[tuple[int, int, int], tuple[int, int, int], int]:
        """(grid, block, rows of a chunk) of threads that walk down the axis, or down chunks of it.

        A chunk has at least ``unit`` rows, as it reads up to 2(n − 1) that its neighbours read too; one of the prefix
        form begins at a multiple of n.
        """
        threads = -(-axis.outer * axis.inner // variant.lanes)
        wanted = self.device.multiprocessors * THREADS
        if width is None:
            width = BLOCK if threads >= self.device.multiprocessors * 2 * BLOCK else SMALL_BLOCK
        chunks = max(1, min(-(-wanted // threads), axis.length // unit, MAX_GRID))
        chunk = -(-axis.length // chunks)
        if variant.form == "prefix":
            chunk = -(-chunk // unit) * unit
        return (-(-threads // width), -(-axis.length // chunk), 1), (width, 1, 1), chunk


def most_threads(variant: Variant) -> int:
    """The threads of a block that holds axes: as many as there are registers and shared memory for.

    tests/cuda/test_compiled.py compares it with the registers of the compiled kernels.
    """
    threads = MOST_THREADS
    if variant.real == "float64" or (variant.twice and (variant.windows > 1 or variant.columns > 2)):
        threads = MOST_THREADS // 2
    elif variant.windows > 1 or variant.reduces:
        threads = MOST_THREADS * 3 // 4
    return min(threads, SHARED_BYTES // _shown(variant))


def _groups_wanted(variant: Variant) -> int:
    """The groups of rows of a block, at most."""
    if variant.form == "small_spread" and not variant.twice:
        return min(SPREAD_GROUPS, most_threads(variant) // SPREAD_SPAN)
    return _most_groups(variant)


def _span(axis: _Axis, variant: Variant) -> int:
    """How far apart the columns of a thread lie: a power of two, as warps of other widths are slow.

    Forward over 27 × 27, rows of 32 threads reach 77 % of the copy's speed, of 31 threads 61, of 46 threads 45.
    """
    span = SPREAD_TWICE_SPAN if variant.twice else SPREAD_SPAN
    idle, idle_of_half = (-axis.inner % (width * variant.columns) for width in (span, span // 2))
    if 4 * (idle - idle_of_half) > axis.inner:
        span //= 2
    threads = SPREAD_WIDE_THREADS if variant.form == "wide_spread" else most_threads(variant)
    high = min(-(-axis.length // variant.steps), _groups_wanted(variant))
    while span > LEAST_COLUMNS and span * high > threads:
        span //= 2
    return span


def _shown(variant: Variant) -> int:
    """The bytes that a thread shows its neighbours."""
    rows, fields = variant.steps, 1
    if not variant.form.startswith("wide"):
        rows = min(rows, variant.before + variant.after)
        fields = max(len(phase.summed) for phase in variant.phases)
    return int(fields * rows * variant.columns * np.dtype(variant.real).itemsize)


def _most_groups(variant: Variant) -> int:
    """The groups of rows that a block has threads for."""
    return most_threads(variant) if variant.contiguous else most_threads(variant) // LEAST_COLUMNS


def _is_simple(phases: tuple[Phase, ...]) -> bool:
    """Whether a thread has registers for many elements: one window, and nothing that is summed over all elements."""
    return len(phases) == _windows(phases) == 1 and not phases[0].reduces


def _steps(most: int, axis: _Axis) -> int:
    """Rows of a thread: fewer along short axes."""
    while most > LEAST_STEPS and most >= 2 * axis.length:
        most //= 2
    return most


def _halo(axis: _Axis, phases: tuple[Phase, ...], steps: int) -> tuple[int, int]:
    """Groups before and after a tile's own: what windows reach, and what the windows of what they reach do."""
    both = axis.before + axis.after
    before, after = (both, both) if len(phases) > 1 else (axis.before, axis.after)
    return -(-before // steps), -(-after // steps)


def _full_warps(threads: int, most: int) -> int:
    """How many groups of so many threads fill their warps best."""
    return max(range(1, most + 1), key=lambda groups: (groups * threads / -(-groups * threads // 32), groups))


def _windows(phases: tuple[Phase, ...]) -> int:
    """How many windows are summed at the same time."""
    return max(sum(bool(term) for term, _ in phase.stages) for phase in phases)


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
