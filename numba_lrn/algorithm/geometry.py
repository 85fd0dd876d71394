"""Shape, memory order and windowed axes reduced to what a loop sees.

An array that is dense in some order of its axes is looked at in that order, never copied. There a windowed axis
splits the shape into (outer, length, inner): NCHW across channels is (N, C, H·W), NHWC is (N·H·W, C, 1). A box
over several axes keeps one dimension for each of them and one for each group of plain axes between.
"""

from typing import NamedTuple


class Dimension(NamedTuple):
    """A run of neighbouring axes in memory order: one windowed axis, or any number of plain ones merged."""

    extent: int
    before: int
    after: int

    @property
    def windowed(self) -> bool:
        """Whether its elements are summed with their neighbours."""
        return self.before > 0 or self.after > 0


def same_order(strides: tuple[int, ...], others: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether arrays of these strides lie in memory alike; the stride of an axis of one element says nothing."""
    return all(a == b for a, b, extent in zip(strides, others, shape, strict=True) if extent > 1)


def is_broadcast(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether elements share memory along an axis."""
    return 0 not in shape and any(stride == 0 and extent > 1 for stride, extent in zip(strides, shape, strict=True))


def dense_order(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, ...] | None:
    """The axes from the slowest to the fastest, if the array fills its memory without gaps; else None.

    >>> dense_order((2, 3, 4), (48, 4, 12), 4)
    (0, 2, 1)
    >>> dense_order((2, 3), (24, 8), 4) is None
    True
    """
    order = sorted(range(len(shape)), key=lambda axis: (-strides[axis], axis))
    expected = itemsize
    for axis in reversed(order):
        if shape[axis] == 1:
            continue
        if strides[axis] != expected:
            return None
        expected *= shape[axis]
    return tuple(order)


def canonical(
    shape: tuple[int, ...], order: tuple[int, ...], windows: dict[int, tuple[int, int]]
) -> tuple[Dimension, ...]:
    """The dimensions in memory order: windows clipped to the axis, plain neighbours merged, plain first and last.

    ``windows`` maps an axis to (before, after). Clipping to length − 1 changes no sum, and lets size = 10⁹ cost
    no more than the whole axis.

    >>> canonical((2, 96, 55, 55), (0, 1, 2, 3), {1: (2, 2)})
    (Dimension(extent=2, before=0, after=0), Dimension(extent=96, before=2, after=2),
    Dimension(extent=3025, before=0, after=0))
    """
    dimensions = [Dimension(1, 0, 0)]
    for axis in order:
        before, after = windows.get(axis, (0, 0))
        dimension = Dimension(shape[axis], min(before, shape[axis] - 1), min(after, shape[axis] - 1))
        if dimension.windowed or dimensions[-1].windowed:
            dimensions.append(dimension)
        else:
            dimensions[-1] = Dimension(dimensions[-1].extent * dimension.extent, 0, 0)
    if dimensions[-1].windowed:
        dimensions.append(Dimension(1, 0, 0))
    return tuple(dimensions)
