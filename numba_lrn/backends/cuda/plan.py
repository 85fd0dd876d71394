"""Which launches an operation takes, with which arguments and temporaries: the one place that chooses, with
variants.py (which kernel) and blocks.py (which blocks).

How the launch side uses it::

    plan = make_plan(dimensions, recipe, op, dtype, aligned, device)
    for launch in plan.launches:
        ptx = kernels.ptx(launch.variant, compute_capability)
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
from numba_lrn.algorithm.parameters import scalars_of
from numba_lrn.algorithm.recipes import SUMS
from numba_lrn.backends.cuda import blocks
from numba_lrn.backends.cuda.axes import Axis, windowed
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.kernels import FORMS, REALS, Variant
from numba_lrn.backends.cuda.phases import CALLERS, Phase, phases_of, single_stages
from numba_lrn.backends.cuda.variants import Chooser, is_small_box, power_function
from numba_lrn.operator import LocalResponseNorm

# From so many columns on they are counted in 64 bits; what a grid has beyond the last is fewer than as many again.
FAR_COLUMNS = 2**31


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


def make_plan(
    dimensions: tuple[Dimension, ...],
    recipe: str,
    op: LocalResponseNorm,
    dtype: np.dtype,
    aligned: bool,
    device: Device,
    in_place: bool = False,
) -> Plan:
    """The plan for dense arrays of these dimensions (algorithm/geometry.py), none of them empty, β ≠ 0.

    ``aligned``: every array starts on a multiple of 16 bytes. ``in_place``: "out" is one of the arrays that are read,
    and kernels whose blocks read what others write are not wanted; there may be no others.
    """
    return _Planner(dimensions, recipe, op, dtype, aligned, device, in_place).plan()


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
        in_place: bool,
    ):
        self.axes = windowed(dimensions)
        self.recipe = recipe
        self.device = device
        self.elements = math.prod(dimension.extent for dimension in dimensions)
        self.real = np.dtype(REALS[dtype.name])
        window = math.prod(axis.n for axis in self.axes)
        power = power_function(op, dtype, window, recipe != "forward")
        self.chooser = Chooser(dtype, aligned, power, lines=not in_place)
        self.scalars = tuple(scalars_of(op.scale, op.beta, op.k, self.real.type))
        self.launches: list[Launch] = []
        self.temporaries: list[int] = []
        self.operands = {name: name for name in CALLERS}  # what the arrays of a recipe are for the launches
        self.blocks = 0
        self.reads_first = False  # of the last launch

    def plan(self) -> Plan:
        """One kernel for the whole operation where there is one, else one for each phase, or for each axis of it."""
        phases = phases_of(self.recipe)
        if len(self.axes) == 1 and self.chooser.form(self.axes[0], phases) != "prefix":
            self._launch(self.axes[0], phases)
        elif is_small_box(self.axes):
            self._launch(self.axes[0], phases, beside=self.axes[1])
        elif len(self.axes) == 1:
            for phase in phases:
                self._phase(phase)
        else:
            for phase in single_stages(self.recipe):
                self._phase(phase)
        *earlier, last = self.launches
        summed = {name for phase in last.variant.phases[:1] for name in phase.summed}
        written = {name for launch in earlier for phase in launch.variant.phases for name in phase.stored}
        in_place = (self.reads_first and not earlier) or not (summed | written) & set(CALLERS)
        return Plan(
            tuple(self.launches), tuple(self.temporaries), in_place, self.operands.get("partials", ""), self.blocks
        )

    def _phase(self, phase: Phase) -> None:
        """One phase: a kernel, or one for each axis of its only window."""
        axes = [axis.mirrored for axis in self.axes] if phase.transposed else list(self.axes)
        for axis in reversed(axes[1:]):
            (term, end), *others = phase.stages
            self._launch(axis, (Phase(((term, "emit_sum"),), phase.transposed, ("sum",)),))
            self.operands["plane"] = self.operands["sum"]
            phase = phase._replace(stages=(("plane_term", end), *others))
        self._launch(axes[0], (phase,))

    def _temporary(self, elements: int) -> str:
        self.temporaries.append(elements * self.real.itemsize)
        return f"temporary {len(self.temporaries) - 1}"

    def _launch(self, axis: Axis, phases: tuple[Phase, ...], beside: Axis | None = None) -> None:
        """One kernel: its variant, its grid, and where what it writes goes."""
        columns = axis.outer * axis.inner
        variant = self.chooser.variant(axis, phases, beside)._replace(far=columns >= FAR_COLUMNS)
        found = blocks.blocks_of(axis, beside, variant, self.device)
        self.reads_first, shared = found.reads_first, found.shared_bytes
        if beside is not None and variant.walks:
            columns //= beside.length
        if found.scratch_bytes:
            variant = variant._replace(form="prefix_scratch")
            self.operands["scratch"] = self._temporary(found.scratch_bytes // self.real.itemsize)
        for name in (name for phase in variant.phases for name in variant.stored(phase)):
            if name not in CALLERS and name not in variant.loaded:  # else in place: each element is read before
                self.operands[name] = self._temporary(self.elements)
        if variant.reduces:
            self.blocks = math.prod(found.grid)
            self.operands["partials"] = self._temporary(SUMS * self.blocks)
            shared = max(shared, SUMS * math.prod(found.block) * self.real.itemsize)
        operands = tuple(self.operands[name] for name in variant.pointers)
        numbers = (columns, axis.length, axis.inner, found.chunk, *found.rest)
        assert len(numbers) == FORMS[variant.form][2]
        integers = tuple(np.int64(number) for number in numbers)
        self.launches.append(Launch(variant, found.grid, found.block, shared, operands, integers + self.scalars))
