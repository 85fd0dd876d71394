"""How arrays lie in memory, and beside each other."""

from numba_lrn.algorithm.geometry import same_order
from numba_lrn.backends.cuda.arrays import View


def lies(view: View, strides: tuple[int, ...]) -> bool:
    """Whether an array has these strides and can be accessed by elements."""
    aligned = view.pointer % view.layout.dtype.itemsize == 0
    return aligned and same_order(view.layout.strides, strides, view.layout.shape)


def overlap(view: View, other: View) -> bool:
    """Whether the memory from the first to the last byte of two arrays has a part in common."""
    start, end = _bounds(view)
    other_start, other_end = _bounds(other)
    return start < other_end and other_start < end


def _bounds(view: View) -> tuple[int, int]:
    shape, strides, dtype, _ = view.layout
    reaches = [(extent - 1) * stride for extent, stride in zip(shape, strides, strict=True)]
    low = view.pointer + sum(min(reach, 0) for reach in reaches)
    return low, view.pointer + sum(max(reach, 0) for reach in reaches) + dtype.itemsize
