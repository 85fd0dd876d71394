"""Memory for new arrays: that of earlier results which are gone, where it is as large.

glibc keeps freed blocks of up to 32 MiB for the next of their size; larger ones go back to the system, which clears
their pages anew each time: a fresh result of 30 MB takes 1.06 times as long as one into ``out=``, of 35 MB 2.1 times,
of 74 MB 1.8 times. Here such memory is kept too, but marked as free (MADV_FREE): the system takes it when it wants
some, and where it did not, the next result finds its pages in place: 1.2 times.
"""

import contextlib
import mmap
import os
import sys
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numba_lrn.backends.cpu.memory import LINE

MALLOC_KEEPS = 32 * 1024 * 1024  # bytes: glibc's DEFAULT_MMAP_THRESHOLD_MAX
HUGE_PAGE = 2 * 1024 * 1024  # bytes; a part of one would be marked as free page by page
# Blocks kept at most: forward and backward of two layers, as AlexNet and GoogLeNet have.
MOST_KEPT = 4

# NUMBA_LRN_REUSE=0 leaves all memory to NumPy.
REUSES = sys.platform == "linux" and os.environ.get("NUMBA_LRN_REUSE", "1") != "0"

_kept: deque[mmap.mmap] = deque(maxlen=MOST_KEPT)  # the latest last; its methods need no lock


def new_like(source: NDArray) -> NDArray:
    """A new array with the shape, dtype and memory order of ``source``."""
    array = _on_a_block(source)
    return np.empty_like(source, subok=False) if array is None else array


def new_on_a_line(source: NDArray) -> NDArray:
    """``new_like`` that begins with a cache line.

    Results that go past the caches are written in strips of whole lines; what is added up strip by strip must not
    depend on where in memory these begin.
    """
    array = _on_a_block(source)
    if array is None:
        room = np.empty(source.nbytes + LINE, np.uint8)
        array = _in_memory(source, room[-room.ctypes.data % LINE :])
    return array


def _on_a_block(source: NDArray) -> NDArray | None:
    """The new array on a block of its own; None where NumPy's memory is as good, or there is none left."""
    if not REUSES or source.nbytes <= MALLOC_KEEPS:
        return None
    try:
        lent = _Lent(_block(-(-source.nbytes // HUGE_PAGE) * HUGE_PAGE))
    except OSError:
        return None
    return _in_memory(source, np.asarray(lent))


def _in_memory(source: NDArray, memory: NDArray[np.uint8]) -> NDArray:
    """An array that begins where ``memory`` does, with the strides that NumPy would give it."""
    usual = source.flags.c_contiguous
    strides = None if usual else np.empty_like(source, subok=False).strides  # untouched memory costs next to nothing
    return np.ndarray(source.shape, source.dtype, memory, 0, strides)


def _block(size: int) -> mmap.mmap:
    """A kept block of this size, or a new one in the place of the oldest kept: they do not add up."""
    for block in tuple(_kept):
        if len(block) == size:
            try:
                _kept.remove(block)
            except ValueError:  # another thread has it
                continue
            return block
    with contextlib.suppress(IndexError):  # nothing is kept
        _kept.popleft()
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        block.madvise(mmap.MADV_HUGEPAGE)
    return block


class _Lent:
    """A block while a result, or a view of one, lies in it."""

    def __init__(self, block: mmap.mmap) -> None:
        self._block = block
        address = np.frombuffer(block, np.uint8).__array_interface__["data"][0]
        self.__array_interface__ = {"version": 3, "shape": (len(block),), "typestr": "|u1", "data": (address, False)}

    def __del__(self, kept: Any = _kept, free: int = getattr(mmap, "MADV_FREE", -1)) -> None:
        try:
            self._block.madvise(free)
        except OSError:  # locked into memory, or a kernel without it: not to be kept
            return
        kept.append(self._block)
