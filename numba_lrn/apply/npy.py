"""A .npy file, block by block: mapped into memory, so that it may be larger."""

import contextlib
import errno
import importlib.util
import itertools
import math
import os
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray

from numba_lrn.apply.errors import InputError
from numba_lrn.operator import LocalResponseNorm

BLOCK_BYTES = 64 * 1024 * 1024  # far more than a call needs to run at full speed, little beside any memory
DTYPES = ("float16", "float32", "float64")


class Block(NamedTuple):
    """A part of the result, and what it is computed from; slices along every axis."""

    core: tuple[slice, ...]  # the part of the result
    reach: tuple[slice, ...]  # the core and all that its windows reach
    inside: tuple[slice, ...]  # the core within the reach


def map_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file, mapped into memory; its dtype may be any but objects."""
    with path.open("rb") as file:
        try:
            read_header = (
                npy_format.read_array_header_1_0
                if npy_format.read_magic(file) == (1, 0)
                else npy_format.read_array_header_2_0
            )
            shape, fortran_order, dtype = read_header(file)
        except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is not a .npy file, or a damaged one: {reason}") from None
        offset = file.tell()
        held = file.seek(0, os.SEEK_END) - offset
    if dtype.hasobject:
        msg = f"{path} holds Python objects; save it as an array of numbers, for example with x.astype('float32')"
        raise InputError(msg)
    whole = all(type(extent) is int for extent in shape)
    if not whole or math.prod(max(extent, 1) for extent in shape) * dtype.itemsize > sys.maxsize:
        msg = f"{path} is not a .npy file, or a damaged one: its shape is {shape}"
        raise InputError(msg)
    promised = math.prod(shape) * dtype.itemsize
    if held < promised or min(shape, default=0) < 0:
        msg = f"{path} is truncated: its header promises {promised:,} bytes of {dtype} {shape}, {held:,} are there"
        raise InputError(msg)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran_order else "C")


def computed_dtype(path: Path, stored: np.dtype[Any], wanted: str | None) -> np.dtype[Any]:
    """The dtype to compute in; what is stored may also differ in byte order."""
    if stored.kind == "f" and (stored.name in DTYPES or wanted):
        return np.dtype(wanted or stored.name)
    if stored.kind in "fiub":
        if wanted:
            return np.dtype(wanted)
        msg = f"{path} holds {stored}; supported are {', '.join(DTYPES)}: add --dtype float32 to convert it"
    elif stored.kind == "V" and stored.names is None and stored.itemsize == 2:
        msg = (
            f"{path} holds raw items of 2 bytes, which is how bfloat16 is saved: .npy has no type for it. "
            "Save x.astype('float32') instead"
        )
    else:
        msg = f"{path} holds {stored}, which are not real numbers; supported are {', '.join(DTYPES)}"
    raise InputError(msg)


def blocks(op: LocalResponseNorm, x: NDArray[Any], elements: int) -> list[Block]:
    """Blocks of about this many elements that cover ``x``, each with what its windows reach.

    Axes without a window are divided first, the slowest in memory before the others, so that a block is one piece
    of the file. As long as only axes before the windowed ones are divided, the results are, to the bit, those of the
    whole. Windowed axes are divided only if that is not enough, and never so finely that more is computed beside a
    block than in it.

    >>> op = LocalResponseNorm(3, axis=0)
    >>> [(block.core, block.reach) for block in blocks(op, np.zeros(8), 6)]
    [((slice(0, 4, None),), (slice(0, 5, None),)), ((slice(4, 8, None),), (slice(3, 8, None),))]
    """
    windows = op.windows(x.ndim)
    sides = [
        tuple(min(side, max(extent - 1, 0)) for side in windows.get(axis, (0, 0)))
        for axis, extent in enumerate(x.shape)
    ]
    order = sorted(range(x.ndim), key=lambda axis: (axis in windows, -abs(x.strides[axis])))
    steps = list(x.shape)
    for axis in order:
        if math.prod(steps) > elements:
            beside = sum(sides[axis])
            rows = elements // (math.prod(steps) // steps[axis])
            steps[axis] = min(steps[axis], max(rows - beside, beside, 1))
    ranges = [range(0, extent, max(step, 1)) for extent, step in zip(x.shape, steps, strict=True)]
    found = []
    for starts in itertools.product(*ranges):
        core, reach, inside = [], [], []
        for start, step, extent, (before, after) in zip(starts, steps, x.shape, sides, strict=True):
            stop = min(start + step, extent)
            first = max(start - before, 0)
            core.append(slice(start, stop))
            reach.append(slice(first, min(stop + after, extent)))
            inside.append(slice(start - first, stop - first))
        found.append(Block(tuple(core), tuple(reach), tuple(inside)))
    return found


def write_npy(
    op: LocalResponseNorm,
    x: NDArray[Any],
    dtype: np.dtype[Any],
    part: Path,
    block_bytes: int,
    check_interrupt: Callable[[], None],
) -> str:
    """Compute block by block into a new .npy file of the memory order of ``x``."""
    fortran_order = x.flags.f_contiguous and not x.flags.c_contiguous
    result = npy_format.open_memmap(part, "w+", dtype, x.shape, fortran_order)
    _reserve(part)
    parts = blocks(op, x, max(1, block_bytes // max(dtype.itemsize, x.dtype.itemsize)))
    with _progress(len(parts)) as advance:
        for core, reach, inside in parts:
            source = _converted(x[reach], dtype)
            if core == reach:
                op(source, out=result[core])
            else:
                result[core] = op(source)[inside]
            check_interrupt()
            advance()
    result.flush()
    return f"{dtype} {x.shape}"


def _converted(x: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """``x`` in a dtype and this machine's byte order; what is too large becomes infinite, as asked for."""
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(dtype, copy=False)


def _reserve(path: Path) -> None:
    """Take the disk space of a file now: running out of it in a mapped file would kill the process later."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # not every file system can
                    raise


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], object]]:
    """A function to call after each of ``total`` steps; it moves a bar if there is a terminal, and rich."""
    if total < 2 or not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("normalising", total=total)
        yield lambda: bar.advance(task)
