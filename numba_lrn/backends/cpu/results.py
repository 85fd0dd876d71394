"""Memory for new arrays: that of earlier results which are gone, where it is as large.

glibc keeps freed blocks of up to 32 MiB for the next of their size; larger ones go back to the system, which clears
their pages anew each time: a fresh result of 30 MB takes 1.06 times as long as one into ``out=``, of 35 MB 2.1 times,
of 74 MB 1.8 times. Here such memory is kept too, but marked as free (MADV_FREE): the system takes it when it wants
some, and where it did not, the next result finds its pages in place: 1.2 times.
"""

import contextlib
import mmap
import operator
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from numba_lrn.backends.cpu.memory import LINE

MALLOC_KEEPS = 32 * 1024 * 1024  # bytes: glibc's DEFAULT_MMAP_THRESHOLD_MAX
HUGE_PAGE = 2 * 1024 * 1024  # bytes; a part of one would be marked as free page by page
# Blocks kept at most: forward and backward of two layers, as AlexNet and GoogLeNet have.
MOST_KEPT = 4

# NUMBA_LRN_REUSE=0 leaves all memory to NumPy.
REUSES = sys.platform == "linux" and hasattr(mmap, "MADV_FREE") and os.environ.get("NUMBA_LRN_REUSE", "1") != "0"


class _Lent:
    """What a result and all its views refer to: the memory of a block, which it gives back when they are gone."""

    def __init__(self, block: mmap.mmap) -> None:
        address = np.frombuffer(block, np.uint8).__array_interface__["data"][0]
        self.__array_interface__ = {"version": 3, "shape": (len(block),), "typestr": "|u1", "data": (address, False)}
        # The last of these is called first. Neither is Python: an interrupt that came while it runs would be lost.
        self.loans = _Loan(self, _kept.append), _Loan(self, _mark_as_free)
        for loan in self.loans:
            loan.block, loan.madvise = block, block.madvise


class _Loan(weakref.ref):
    """A reference that calls a function when nothing else refers to what was lent, with the block that it was."""

    __slots__ = ("block", "madvise")
    block: mmap.mmap
    madvise: Callable[..., None]


_kept: deque[_Loan] = deque(maxlen=MOST_KEPT)  # the latest last; its methods need no lock
_mark_as_free = operator.methodcaller("madvise", getattr(mmap, "MADV_FREE", None))


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
        memory = room[-room.ctypes.data % LINE :]
        array = np.ndarray(source.shape, source.dtype, memory, 0, _strides(source))
    return array


def _on_a_block(source: NDArray) -> NDArray | None:
    """The new array on a block of its own; None where NumPy's memory is as good, or there is none left."""
    if not REUSES or source.nbytes <= MALLOC_KEEPS:
        return None
    size = -(-source.nbytes // HUGE_PAGE) * HUGE_PAGE
    try:
        strides = _strides(source)
        memory = np.asarray(_Lent(_kept_block(size) or _new_block(size)))
        return np.ndarray(source.shape, source.dtype, memory, 0, strides)
    except (OSError, MemoryError):
        _kept.clear()
        return None


def _strides(source: NDArray) -> tuple[int, ...] | None:
    """Those that NumPy would give a new array like this one; None for the usual ones."""
    return None if source.flags.c_contiguous else np.empty_like(source, subok=False).strides


def _kept_block(size: int) -> mmap.mmap | None:
    """A kept block of this size, now somebody's own."""
    for index in range(len(_kept)):  # an iterator would not bear what a garbage collection puts there meanwhile
        with contextlib.suppress(IndexError, ValueError):  # another thread was faster
            loan = _kept[index]
            if len(loan.block) == size:
                _kept.remove(loan)
                return loan.block
    return None


def _new_block(size: int) -> mmap.mmap:
    """A new block. It takes the place of the oldest kept one, so that sizes which never come again do not add up."""
    with contextlib.suppress(IndexError):  # nothing is kept
        _kept.popleft()
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        block.madvise(mmap.MADV_HUGEPAGE)
    block.madvise(mmap.MADV_FREE)  # which fails here and not later, for example of memory that is locked
    return block
