"""What the forms share: the array and its tiles, and the names that are injected into them."""

from typing import Any, NamedTuple

from numba_lrn.algorithm.binding import injected, loop
from numba_lrn.algorithm.primitives import load, store

# Injected constants, by which a compiler drops what a stage does not need.
STREAMS = False  # whether the stage writes a result, which may go past the caches
FETCHES = False  # whether the stage asks ahead for what it or a later one reads
RAISES = True  # whether ``emit`` returns the d that it raised to a power
REDUCES = False  # whether ``emit`` then returns three numbers to be added up
TERMS = 0  # elements of a full window, where a kernel is made for one window, else 0
BEFORE = 0  # those before its centre


class Space(NamedTuple):
    """The array in memory order, (outer, length, inner), and the window of the stage at hand.

    For a box, ``length`` is the first windowed axis and ``inner`` all that follows it, of which the last ``unit``
    elements are plain; otherwise unit = inner.
    """

    length: Any
    inner: Any
    unit: Any
    before: Any
    after: Any
    transposed: Any  # 1 where before and after are swapped
    axes: Any  # the table of the passes


class Tile(NamedTuple):
    """A part of the array that one call works on.

    ``outer`` … ``outer_end`` are outer indices, ``lane`` … ``lane + lanes`` a part of the unit. The tile's buffers
    hold ``rows`` rows for each outer index, beginning with row ``base``.
    """

    outer: Any
    outer_end: Any
    lane: Any
    lanes: Any
    base: Any
    rows: Any
    strip: Any
    streaming: Any  # 1 where the result goes past the caches
    ahead: Any  # how many elements ahead of a strip those lie that are asked for; 0 where none are


def based(tile, base):
    """The tile, its buffers beginning with row ``base``."""
    return Tile(
        tile.outer, tile.outer_end, tile.lane, tile.lanes, base, tile.rows, tile.strip, tile.streaming, tile.ahead
    )  # fmt: skip


@loop
def move(room, held, source, target, count):
    """In each buffer of ``held`` elements of ``room``: ``count`` elements from ``source`` on to ``target``.

    They may overlap where the target comes first.
    """
    if source != target:
        for start in range(0, room.size, held):
            for j in range(count):
                store(room, start + target + j, load(room, start + source + j))


@injected
def add_term(arrays, buffers, at, slot, total):
    """``total`` plus one term; injected."""
    raise NotImplementedError("a backend injects the stage's term")


@injected
def emit(arrays, buffers, par, at, slot, total):
    """What becomes of a window sum; injected. Returns the d that it raised to a power, if any, and what is added up."""
    raise NotImplementedError("a backend injects the stage's end")


@injected
def emit_extremes(arrays, buffers, par, at, slot, total):
    """``emit`` with a power that is right for an infinite d and for NaN too; injected."""
    raise NotImplementedError("a backend injects the stage's end")


@injected
def fetch_ahead(arrays, at, count):
    """Ask for ``count`` neighbours of arrays that will be read, for the caches to have them then; injected."""
    raise NotImplementedError("a backend injects the function")


@injected
def misalignment_of_result(arrays, at):
    """Elements from a place in the result to the next cache line; injected."""
    raise NotImplementedError("a backend injects the function")
