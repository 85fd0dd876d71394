"""The windowed axes of an array in memory order, each as (outer, length, inner)."""

import math
from typing import NamedTuple

from numba_lrn.algorithm.geometry import Dimension


class Axis(NamedTuple):
    """One windowed axis: ``inner`` elements lie between two neighbours along it, ``outer`` is what comes before."""

    outer: int
    length: int
    inner: int
    before: int
    after: int

    @property
    def n(self) -> int:
        """The elements of a window."""
        return self.before + self.after + 1

    @property
    def mirrored(self) -> "Axis":
        """With the transposed window."""
        return self._replace(before=self.after, after=self.before)


def windowed(dimensions: tuple[Dimension, ...]) -> tuple[Axis, ...]:
    """The windowed axes, from the slowest in memory; where there is none, a window of one element."""
    axes = []
    for index, dimension in enumerate(dimensions):
        if dimension.windowed:
            outer = math.prod(other.extent for other in dimensions[:index])
            inner = math.prod(other.extent for other in dimensions[index + 1 :])
            axes.append(Axis(outer, dimension.extent, inner, dimension.before, dimension.after))
    if not axes:
        axes.append(Axis(1, math.prod(dimension.extent for dimension in dimensions), 1, 0, 0))
    return tuple(axes)
