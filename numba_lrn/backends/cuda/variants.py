"""Which kernel: its form, how many lanes and rows a thread has, and its power function.

The choice follows from the geometry, the dtype and the alignment, never from the card; nor from the batch, but for how
many columns a thread on its own has, which changes no bit.
"""

import math
from typing import NamedTuple

import numpy as np

from numba_lrn.algorithm.parameters import (
    GENERAL_BETA,
    NAMED_POWERS,
    WIDE_BETA,
    WIDE_BETA64,
    general_power,
    never_subnormal,
)
from numba_lrn.backends.cuda import blocks
from numba_lrn.backends.cuda.axes import Axis
from numba_lrn.backends.cuda.forms import line
from numba_lrn.backends.cuda.forms.whole import GROUP, LONG_GROUP
from numba_lrn.backends.cuda.kernels import REALS, Variant
from numba_lrn.backends.cuda.phases import CALLERS, Phase
from numba_lrn.operator import LocalResponseNorm

DIRECT = 16  # windows up to this many elements are added term by term
# Wide windows: groups are long for windows of this many rows and more; across columns, where an axis has no more rows
# than this, for which a block has threads (n = 1023 over 1024 channels of 56 × 56 reaches 53 % of the copy's speed
# instead of 27, n = 63 over 2048 of 28 × 28, which would be cut, 38 instead of 58).
LONG_GROUPS_FROM, LONG_GROUPS_ROWS = 32, 1024
LEAST_STEPS = 4
SPREAD_FROM = 96  # columns of a thread are apart (forms/spread.py) in rows of this many elements and more
# Elements of a sample that blocks take as a line: 32 bits hold its places, and a grid its bands of skewed rows.
LONGEST_SAMPLE = 2**27
# Blocks take tiles of a line (forms/flat.py). By the bytes of an element: elements of a thread; the largest windows
# (float16 over 13 × 13: n = 6 64 % of the copy's speed, n = 7 59, columns 60); how far these reach at most, in elements
# (float16 over 31 × 31 76 %, columns 69; over 55 × 55 58 and 66).
FLAT_ELEMENTS, FLAT_LARGEST, FLAT_FARTHEST = {2: 32, 4: 16}, {2: 6, 4: 9}, {2: 4096, 4: 3064}
# Threads, fewer where windows reach no further than so many elements: over 27 × 27 384 reach 90 % and 256 reach 89
# (with n = 9 73 and 61), over 13 × 13 85 and 94; float16 256 and 128 76 and 71, 69 and 78.
FLAT_THREADS, FLAT_NEAR = {2: (128, 256), 4: (256, 384)}, 512
# The part of the threads of a sample's tiles that must have work: of samples of 5184 elements 63 % have, and reach 65 %
# of the copy's speed, columns 69; of 6272 77 %, and reach 80, columns 72.
FLAT_FULL = 0.7
# Blocks take tiles of skewed rows (forms/skew.py). By the bytes of an element: where windows reach further than so many
# elements (half types over 55 × 55 reach 84 %, columns 69, over 27 × 27 74, flat 77; float32 94 and 93, others 91 and
# 89, over 13 × 13 92, flat 94); rows of a thread for windows of up to five, and for larger ones (9 over 27 × 27 80 %
# with 8 rows, flat 71); the largest windows.
SKEW_FROM, SKEW_STEPS, SKEW_LARGEST = {2: 4096, 4: 512}, {2: (8, 8), 4: (4, 8)}, {2: 6, 4: 9}
SKEW_ROW = 2**22  # elements, at most, so that places in a tile are numbers of 32 bits
# Blocks walk along memory (forms/ring.py): elements of a thread in a stride; the largest windows (backward over 13 × 13
# with 256 channels reaches 89 % of the copy's speed with n = 5, and 69 with 7, where columns that are apart reach 76);
# axes that are longer than this, else columns that are apart are as fast or faster (27 × 27 with 96 channels 91 %
# instead of 86), but for narrow rows; the strides of a sample, at least.
RING_ELEMENTS, RING_LARGEST, RING_FROM, RING_STRIDES = 8, 5, 128, 4
# Boxes of two axes up to this many rows and elements of a row are summed in one kernel: by blocks that walk
# (forms/walk.py), the smallest by threads on their own (forms/box.py).
BOX_ROWS, BOX_ROW = 11, 9
BOX_BY_THREADS, BOX_STEPS = 4, 4
# Of blocks that walk: bytes of a row that a thread has; registers for the sums of its last n rows, at most; those sums
# times the rows at a time, at most.
WALK_BYTES = 8
WALK_RING = 22
WALK_STEPS, WALK_SUMS = 4, 40
# Prefix sums by a thread on its own: rows at a time; lanes that are apart, of which 4 take 96 to 156 registers, as each
# has addresses of its own.
PREFIX_ROWS, PREFIX_LANES = 4, 2
LONG_POWERS = ("power_general", "power_wide")  # which take more instructions than the rest
# What a quotient in place of ten terms of log2 costs in ulp grows with β: up to this one, forward keeps within the four
# that are promised, with every approximation off by all that its maker allows, and derivatives within eight for any.
DIVIDED_BETA = 0.65
# While |β·log2 d| is no more than this the power by the approximate logarithm and exponential is good to 0.01 ulp of
# float16; for bfloat16 it is everywhere.
ROUGH_EXPONENT = 20.0
LARGEST_FLOAT16 = 65504.0


def power_function(op: LocalResponseNorm, dtype: np.dtype, elements: int, differentiates: bool) -> str:
    """The power function for a window of ``elements``: by approximations where d is normal, else by IEEE arithmetic.

    A derivative of half types takes the refined ones, as its terms may cancel.
    """
    real = np.float64 if dtype == np.float64 else np.float32
    name = "power_one" if op.beta == 1.0 else NAMED_POWERS.get(op.beta)
    safe = never_subnormal(op.scale, op.k, real)
    if dtype == np.float64:
        if name is None:
            within = safe and -GENERAL_BETA < op.beta <= WIDE_BETA64
            general = general_power(op.beta) if within else "power_platform"
            return f"{general}_refined" if within and op.beta > 0.0 else general
        return f"{name}_refined" if safe else name if op.beta == 1.0 else f"{name}_guarded"
    if not safe or abs(op.beta) > WIDE_BETA:
        return "power_one" if op.beta == 1.0 else f"{name}_guarded" if name else "power_platform"
    half = dtype.itemsize == 2 and not differentiates
    if name is not None:
        return f"{name}_rough" if half else f"{name}_refined"
    if half and abs(op.beta) <= 1.0:
        largest = op.k + op.scale * elements * LARGEST_FLOAT16**2
        exponent = abs(op.beta) * max(abs(math.log2(op.k)), math.log2(largest))
        if dtype != np.float16 or exponent <= ROUGH_EXPONENT:
            return "power_any_rough"
    general = general_power(op.beta)
    if general == "power_general" and (differentiates or op.beta <= DIVIDED_BETA):
        general = "power_general_divided"
    return f"{general}_refined" if op.beta > 0.0 else "power_wide"


def is_small_box(axes: tuple[Axis, ...]) -> bool:
    """Whether one kernel sums the windows of two axes."""
    return len(axes) == 2 and axes[0].n <= BOX_ROWS and axes[1].n <= BOX_ROW


class Portion(NamedTuple):
    """What a thread has; see Variant."""

    lanes: int
    steps: int
    adjacent: bool = True
    span: int = 1


class Chooser:
    """Chooses the kernels of one operation."""

    def __init__(self, dtype: np.dtype, aligned: bool, power: str, lines: bool = True):
        """``lines``: whether blocks may take samples as lines, of which each reads what others write."""
        self.dtype = dtype
        self.lines = lines
        self.aligned = aligned
        self.power = power
        self.real = np.dtype(REALS[dtype.name])

    def variant(self, axis: Axis, phases: tuple[Phase, ...], beside: Axis | None) -> Variant:
        """Which form, with how many lanes and rows at a time."""
        if beside is None:
            return self._held(self.form(axis, phases), axis, phases)
        form, find = "box", self._box_portion
        if _walks(phases, axis, beside):
            form, find = "walk_contiguous" if beside.inner == 1 else "walk_strided", self._walk_portion
        portion = find(axis, phases, beside)
        return self._variant(form, phases, portion, axis.before, axis.after, (beside.before, beside.after))

    def _variant(
        self,
        form: str,
        phases: tuple[Phase, ...],
        portion: Portion,
        before: int,
        after: int,
        beside: tuple[int, int] = (0, 0),
    ) -> Variant:
        lanes, steps, adjacent, span = portion
        power = self.power if any(phase.powers for phase in phases) else ""
        return Variant(form, phases, power, self.dtype.name, lanes, adjacent, steps, before, after, beside, span)

    def _held(self, form: str, axis: Axis, phases: tuple[Phase, ...]) -> Variant:
        """The variant of a form for one axis."""
        portion = getattr(self, f"_{form}_portion")(axis, phases)
        before, after = axis.before, axis.after
        if form.startswith("wide"):
            before, after = before % portion.steps, after % portion.steps
        elif form == "prefix":
            before = after = 0
        variant = self._variant(form, phases, portion, before, after)
        return variant._replace(span=blocks.span(axis, variant)) if variant.spread else variant

    def form(self, axis: Axis, phases: tuple[Phase, ...]) -> str:
        """Which form sums windows along one axis."""
        form = "small" if axis.n <= DIRECT else "wide"
        if axis.inner == 1:
            form += "_last"
        elif self._is_skew(axis, phases):
            form = "skew"
        elif self._is_flat(axis, phases):
            form = "flat"
        elif self._is_ring(axis, phases):
            form = "ring"
        elif self._is_spread(axis, phases):
            form += "_spread"
        if axis.n > DIRECT:
            # Whether shares are summed too does not count: dx has the same bits with and without. A block that sums
            # them has threads for fewer groups, of which some must be its own still.
            for reduces, part in (("", 2 / 4), ("share", 3 / 4)):
                variant = self._held(form, axis, (phases[0]._replace(reduces=reduces), *phases[1:]))
                most, reach = blocks.most_groups(variant), sum(blocks.halo(axis, phases, variant.steps))
                if -(-axis.length // variant.steps) > most and reach > part * most:
                    return "prefix"
        return form

    def _lanes(self, most: int, extent: int) -> int:
        """A power of two of neighbours up to ``most`` by which an extent can be divided, 1 in memory that is askew."""
        lanes = 1
        while self.aligned and 2 * lanes <= most and extent % (2 * lanes) == 0:
            lanes *= 2
        return lanes

    # Those of a form are found by its name.

    def _box_portion(self, axis: Axis, phases: tuple[Phase, ...], beside: Axis) -> Portion:
        lanes = self._lanes(line.VECTOR_BYTES // self.dtype.itemsize, beside.inner)
        return Portion(lanes, 1 if lanes > 4 else BOX_STEPS)

    def _walk_portion(self, axis: Axis, phases: tuple[Phase, ...], beside: Axis) -> Portion:
        extent = beside.length if beside.inner == 1 else beside.inner
        ring = axis.n * _windows(phases) * (self.real.itemsize // 4)
        lanes = self._lanes(min(WALK_BYTES // self.dtype.itemsize, WALK_RING // ring), extent)
        steps = WALK_STEPS
        while steps > 1 and steps * lanes * ring > WALK_SUMS:
            steps //= 2
        return Portion(lanes, steps)

    def _small_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        most = {2: 4, 4: 2, 8: 1}[self.dtype.itemsize]
        simple = _is_simple(phases)
        if self.dtype.itemsize == 2 and (_windows(phases) > 1 or phases[0].reduces):
            most = 2  # with 4, two windows take more than 200 registers, and loops that make shares are not unrolled
        long = self.power.startswith(LONG_POWERS)
        if self.dtype.itemsize == 4 and simple and long:
            most = 4  # β = 0.6 at 94 % of the roof instead of 84
        lanes, steps = self._lanes(most, axis.inner), GROUP
        if self.dtype.itemsize == 2 and simple and not long:
            lanes, steps = min(lanes, 2), LONG_GROUP  # float16 over 56 × 56 91 % instead of 86, over 28 × 28 87 and 75
        if lanes == 1 and self.dtype.itemsize < 8 and not (simple and self.dtype.itemsize == 4):
            steps = LONG_GROUP
        return Portion(lanes, _steps(steps, axis))

    def _small_last_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        lanes = self._lanes(line.VECTOR_BYTES // self.dtype.itemsize, axis.length)
        # What a block's sums of shares take is a fourth of all instructions with groups of eight rows.
        long = self.dtype.itemsize == 2 or (self.dtype.itemsize == 4 and phases[0].reduces)
        return Portion(lanes, _steps(LONG_GROUP if long else GROUP, axis))

    def _wide_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        if self._has_long_groups(axis):
            # Several windows, or shares, have no registers for two columns.
            lanes = 1 if _windows(phases) > 1 or phases[0].reduces else 2
            return Portion(self._lanes(lanes, axis.inner), LONG_GROUP)
        lanes = 1 if self.dtype.itemsize == 8 else 4 if _is_simple(phases) else 2
        # Four columns show so much that there is shared memory for 384 threads only, which hold shorter axes.
        threads = blocks.SHARED_BYTES // (4 * GROUP * self.real.itemsize)
        if lanes == 4 and -(-axis.length // GROUP) * blocks.LEAST_COLUMNS > threads:
            lanes = 2
        return Portion(self._lanes(lanes, axis.inner), GROUP)

    def _is_ring(self, axis: Axis, phases: tuple[Phase, ...]) -> bool:
        """Whether blocks walk along memory, where rows begin within a sector."""
        stride = blocks.RING_THREADS * RING_ELEMENTS
        return (
            self.lines
            and len(phases) > 1
            and self._has_one_window(phases)
            and self._is_askew(axis)
            and axis.n <= RING_LARGEST
            and _reach(axis) <= stride
            and (axis.inner < SPREAD_FROM or axis.length > RING_FROM)
            and RING_STRIDES * stride <= axis.length * axis.inner <= LONGEST_SAMPLE
        )

    def _is_askew(self, axis: Axis) -> bool:
        """Whether rows begin within a sector."""
        sector = blocks.SECTOR_BYTES // self.dtype.itemsize
        return self._lanes(sector, axis.inner) < sector

    def _is_flat(self, axis: Axis, phases: tuple[Phase, ...]) -> bool:
        """Whether blocks take tiles of a line, where rows begin within a sector."""
        if not self._takes_lines(axis, phases):
            return False
        tile = self._flat_threads(axis) * FLAT_ELEMENTS[self.dtype.itemsize]
        sample = axis.length * axis.inner
        return (
            axis.n <= FLAT_LARGEST[self.dtype.itemsize]
            and _reach(axis) <= FLAT_FARTHEST[self.dtype.itemsize]
            and sample >= FLAT_FULL * tile * -(-line.extent_of(sample) // tile)
        )

    def _takes_lines(self, axis: Axis, phases: tuple[Phase, ...]) -> bool:
        """Whether *flat* and *skew* have kernels: of aligned vectors, where rows begin within a sector."""
        return bool(
            self.lines
            and _is_simple(phases)
            and self.aligned
            and self._is_askew(axis)
            and self.dtype.itemsize <= 4
            and axis.length * axis.inner <= LONGEST_SAMPLE
            and self._reads_one_array(phases[0])
        )

    def _is_skew(self, axis: Axis, phases: tuple[Phase, ...]) -> bool:
        """Whether blocks take tiles of skewed rows: of samples of whole vectors, windows reach into one beside."""
        if not self._takes_lines(axis, phases):
            return False
        lanes = line.VECTOR_BYTES // self.dtype.itemsize
        return (
            axis.n <= SKEW_LARGEST[self.dtype.itemsize]
            and _reach(axis) > SKEW_FROM[self.dtype.itemsize]
            and max(axis.before, axis.after) * abs(self._skew_of(axis)) <= lanes
            and axis.length * axis.inner % lanes == 0
            and self._skew_of(axis) < axis.inner <= SKEW_ROW
        )

    def _skew_of(self, axis: Axis) -> int:
        """How much longer rows are than whole sectors, or shorter."""
        sector = blocks.SECTOR_BYTES // self.dtype.itemsize
        return (axis.inner + sector // 2) % sector - sector // 2

    def _skew_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        few, many = SKEW_STEPS[self.dtype.itemsize]
        lanes = line.VECTOR_BYTES // self.dtype.itemsize
        return Portion(lanes, few if axis.n <= 5 else many, span=self._skew_of(axis))

    def _reads_one_array(self, phase: Phase) -> bool:
        """Whether all that it reads is one array, whose elements are as large as the caller's."""
        names = {*phase.summed, *phase.read}
        return len(names) == 1 and (names <= set(CALLERS) or self.dtype == self.real)

    def _flat_threads(self, axis: Axis) -> int:
        near, far = FLAT_THREADS[self.dtype.itemsize]
        return near if _reach(axis) <= FLAT_NEAR else far

    def _is_spread(self, axis: Axis, phases: tuple[Phase, ...]) -> bool:
        """Whether a thread's columns are better apart: where vectors, or whole sectors forward, are not aligned."""
        if not self._has_one_window(phases) or axis.inner < SPREAD_FROM:
            return False
        aligned = blocks.SECTOR_BYTES // self.dtype.itemsize if len(phases) == 1 and axis.n <= DIRECT else 2
        return self._lanes(aligned, axis.inner) < aligned

    def _has_one_window(self, phases: tuple[Phase, ...]) -> bool:
        """Whether *ring* and *spread* have kernels: of float32, and of one window in each phase.

        Half types gain nothing: 60 and 67 % of the copy's speed forward over 55 × 55, where vectors reach 66.
        """
        return bool(self.dtype == np.float32 and _windows(phases) == 1 and not phases[0].reduces)

    def _flat_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        lanes = line.VECTOR_BYTES // self.dtype.itemsize
        return Portion(lanes, FLAT_ELEMENTS[self.dtype.itemsize] // lanes, span=self._flat_threads(axis))

    def _ring_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        lanes = self._lanes(line.VECTOR_BYTES // self.dtype.itemsize, RING_ELEMENTS)
        return Portion(lanes, RING_ELEMENTS // lanes, span=blocks.RING_THREADS)

    def _small_spread_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        if len(phases) == 1:
            return Portion(4, _steps(GROUP, axis), adjacent=False)
        return Portion(2, _steps(GROUP if axis.length <= LONG_GROUP * GROUP else LONG_GROUP, axis), adjacent=False)

    def _wide_spread_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        lanes, steps = (1, LONG_GROUP) if self._has_long_groups(axis) else (2, GROUP)
        return Portion(lanes, steps, adjacent=False)

    def _has_long_groups(self, axis: Axis) -> bool:
        """Whether wide windows across columns are summed in groups of sixteen rows: in every recipe, for equal bits.

        Forward and backward have two columns, or one that is apart: n = 63, float32 over 56 × 56 reaches 89 and 88 %
        (by groups of eight 88 and 69), over 27 × 27 68 and 62 (57 and 58); n = 255 85 and 84 (79 and 60), 68 and 57 (58
        and 48); float16 over 56 × 56 61 and 36 (49 and 37), n = 255 57 and 34 (42 and 30).
        """
        return self.dtype.itemsize < 8 and axis.n >= LONG_GROUPS_FROM and axis.length <= LONG_GROUPS_ROWS

    def _wide_last_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        lanes = self._lanes(line.VECTOR_BYTES // self.dtype.itemsize, axis.length)
        # Of float64, 16 rows take all registers, or fall into local memory.
        return Portion(lanes, LONG_GROUP if axis.n >= LONG_GROUPS_FROM and self.dtype.itemsize < 8 else GROUP)

    def _prefix_portion(self, axis: Axis, phases: tuple[Phase, ...]) -> Portion:
        # With four lanes of float64 what sums shares spills.
        lanes = self._lanes(max(min(4, line.VECTOR_BYTES // self.dtype.itemsize) // _windows(phases), 1), axis.inner)
        if lanes == 1 and axis.outer * axis.inner > PREFIX_LANES * blocks.BLOCK:
            return Portion(PREFIX_LANES, PREFIX_ROWS, adjacent=False)
        return Portion(lanes, PREFIX_ROWS, adjacent=lanes > 1)


def _walks(phases: tuple[Phase, ...], axis: Axis, beside: Axis) -> bool:
    """Whether blocks walk down the planes of a small box, and not threads on their own.

    Forward, n × n, channels last, blocks reach 63, 62, 63, 63, 58 and 61 % of the copy's speed with n = 2, 3, 4, 5, 7
    and 9, threads 80, 68, 68, 53, 44 and 27; channels first blocks 87 to 69, threads 77 to 53.
    """
    return not _is_simple(phases) or beside.inner == 1 or axis.n > BOX_BY_THREADS


def _reach(axis: Axis) -> int:
    """How far its windows reach, in elements along memory."""
    return max(axis.before, axis.after) * axis.inner


def _is_simple(phases: tuple[Phase, ...]) -> bool:
    """Whether a thread has registers for many elements: one window, and nothing that is summed over all elements."""
    return len(phases) == _windows(phases) == 1 and not phases[0].reduces


def _steps(most: int, axis: Axis) -> int:
    """Rows of a thread: fewer along short axes."""
    while most > LEAST_STEPS and most >= 2 * axis.length:
        most //= 2
    return most


def _windows(phases: tuple[Phase, ...]) -> int:
    """How many windows are summed at the same time."""
    return max(phase.windows for phase in phases)
