"""Copies from one memory layout to another, on the device: of what is truly strided, and into such an ``out``.

They are made by a kernel of our own, so that every kind of array is copied alike, on the stream of the operation and
under graph capture. It moves bits, in words of one element.
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from numba_lrn.backends.cuda import toolkit
from numba_lrn.backends.cuda.toolkit import cuda

AXES = 4  # that one launch copies; arrays that do not merge to so few take several
THREADS = 256  # a block
BLOCKS = 2048  # a launch at most, more than any card runs at once; threads take turns


class Variant(NamedTuple):
    """What a copy is compiled for."""

    name: str
    word: int  # bytes


class Launch(NamedTuple):
    """One launch, but for the two addresses: target, source."""

    variant: Variant
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    scalars: tuple[Any, ...]


class Move(NamedTuple):
    """A launch, and where the memory that it touches begins and how many words that is, for target and source."""

    launch: Launch
    target_offset: int  # bytes from the address of the first element
    source_offset: int
    target_words: int
    source_words: int


class Axis(NamedTuple):
    """One axis of a copy; strides in words."""

    extent: int
    target: int
    source: int


def copy_words(
    target: Any,
    source: Any,
    target_start: int,
    source_start: int,
    n0: int,
    n1: int,
    n2: int,
    n3: int,
    t0: int,
    t1: int,
    t2: int,
    t3: int,
    s0: int,
    s1: int,
    s2: int,
    s3: int,
) -> None:
    """Copy four axes; the innermost along the threads, the others by rows."""
    row = cuda.blockIdx.y * cuda.blockDim.y + cuda.threadIdx.y
    while row < n0 * n1 * n2:
        i2 = row % n2
        i1 = row // n2 % n1
        i0 = row // n2 // n1
        to = target_start + i0 * t0 + i1 * t1 + i2 * t2
        start = source_start + i0 * s0 + i1 * s1 + i2 * s2
        i3 = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
        while i3 < n3:
            target[to + i3 * t3] = source[start + i3 * s3]
            i3 += cuda.blockDim.x * cuda.gridDim.x
        row += cuda.blockDim.y * cuda.gridDim.y


def build(variant: Variant) -> Any:
    """The kernel as a ``cuda.jit`` dispatcher; the simulator runs it as such."""
    return cuda.jit(copy_words)


def ptx(variant: Variant, compute_capability: tuple[int, int]) -> str:
    """The kernel for words of this size."""
    types = toolkit.types
    pointer = types.CPointer(getattr(types, f"uint{8 * variant.word}"))
    signature = (pointer, pointer) + (types.int64,) * (2 + 3 * AXES)
    return toolkit.compile_ptx(copy_words, signature, compute_capability)


@functools.lru_cache(maxsize=256)
def moves(
    shape: tuple[int, ...], target: tuple[int, ...], source: tuple[int, ...], itemsize: int, aligned: bool
) -> tuple[Move, ...]:
    """The launches that copy an array of this shape from strides ``source`` to strides ``target``, in bytes.

    ``aligned``: both addresses are multiples of the element's size, without which bytes are moved.
    """
    word = itemsize
    axes = [Axis(*axis) for axis in zip(shape, target, source, strict=True)]
    if not aligned or any(stride % itemsize for stride in (*target, *source)):
        axes.append(Axis(itemsize, 1, 1))
        word = 1
    axes = merge([Axis(axis.extent, axis.target // word, axis.source // word) for axis in axes])
    # A launch for each place along the shortest axes, but for the last one.
    shortest = sorted(range(len(axes) - 1), key=lambda index: axes[index].extent)[: max(len(axes) - AXES, 0)]
    outer = [axes[index] for index in shortest]
    inner = [axis for index, axis in enumerate(axes) if index not in shortest]
    inner = [Axis(1, 0, 0)] * (AXES - len(inner)) + inner
    found = []
    for index in np.ndindex(*(axis.extent for axis in outer)):
        target_start = sum(i * axis.target for i, axis in zip(index, outer, strict=True))
        source_start = sum(i * axis.source for i, axis in zip(index, outer, strict=True))
        found.append(_move(inner, target_start, source_start, word))
    return tuple(found)


def merge(axes: list[Axis]) -> list[Axis]:
    """The axes from the slowest to the fastest of the target, without those of one element, neighbours merged.

    >>> merge([Axis(2, 12, 24), Axis(3, 4, 8), Axis(1, 9, 9), Axis(4, 1, 2)])
    [Axis(extent=24, target=1, source=2)]
    """
    merged: list[Axis] = []
    for axis in sorted(axes, key=lambda axis: -abs(axis.target)):
        if axis.extent == 1:
            continue
        last = merged[-1] if merged else None
        if last and (last.target, last.source) == (axis.extent * axis.target, axis.extent * axis.source):
            merged[-1] = Axis(last.extent * axis.extent, axis.target, axis.source)
        else:
            merged.append(axis)
    return merged


def _move(axes: list[Axis], target_start: int, source_start: int, word: int) -> Move:
    """Indices count from the lowest word that is touched, so that none is negative."""
    target_low = sum(min((axis.extent - 1) * axis.target, 0) for axis in axes)
    source_low = sum(min((axis.extent - 1) * axis.source, 0) for axis in axes)
    columns = axes[-1].extent
    rows = axes[0].extent * axes[1].extent * axes[2].extent
    width = min(THREADS, 1 << (columns - 1).bit_length())
    height = min(THREADS // width, 1 << (rows - 1).bit_length())
    blocks = min(-(-columns // width), BLOCKS)
    numbers = (
        -target_low,
        -source_low,
        *(axis.extent for axis in axes),
        *(axis.target for axis in axes),
        *(axis.source for axis in axes),
    )
    launch = Launch(
        Variant("copy", word),
        (blocks, min(-(-rows // height), BLOCKS // blocks or 1), 1),
        (width, height, 1),
        0,
        tuple(np.int64(number) for number in numbers),
    )
    return Move(
        launch,
        (target_start + target_low) * word,
        (source_start + source_low) * word,
        1 + sum((axis.extent - 1) * abs(axis.target) for axis in axes),
        1 + sum((axis.extent - 1) * abs(axis.source) for axis in axes),
    )
