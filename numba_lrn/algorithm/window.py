"""Window sums that never subtract.

Each function below walks the rows of a tile, forms the window sums of a strip of neighbouring elements in
``buffers.total`` and hands the strip to ``emit``. ``add_term`` and ``emit`` are injected: they are the two ends of
a stage of algorithm/recipes.py. One contract, several forms:

* ``direct``: every window added term by term. Small windows.
* ``masked``: the same along an axis with so few neighbours in memory that rows make no loops; a table tells each
  element its position on the axis.
* ``prefix``: prefix sums restarted every n rows. In coordinates padded by ``before`` zero rows in front, the axis
  is cut into blocks of n; the window that starts at row i is the suffix of i's block from i on, plus the exclusive
  prefix of the next block up to i + n. Three additions an element for any n, nothing is ever subtracted, and a NaN
  stays in the windows that hold it. Inside a block the running sums are kept in three parts, of which the first is
  restarted every 8 or 16 rows and the second every 64 or 256. Largest rounding error of a sum of n = 17, 255, 1000
  and 4000 squares, in half-ulps: 3.7, 3.6, 4.4 and 4.3; with two parts of 16 rows 5.4, 4.4, 7.9 and 11.2.
* ``ladder``: along a contiguous axis, sums of 4, 16, 64, … neighbours by shifted additions, then the digits of n
  in base 4. Largest error for n = 63 to 1000: 3.4 half-ulps.
* ``box``: several axes, one after the other on a tile of terms, each by ``direct``, ``prefix`` or ``ladder``.

Which form runs is decided by the backend from (n, length, layout, dtype) alone; every form adds in an order that
depends on the position along the axis alone, so the bits depend on neither batch, threads nor tiles.
"""

from typing import Any, NamedTuple

import numpy as np

from numba_lrn.algorithm.power import INFINITE, unsigned
from numba_lrn.algorithm.primitives import accumulate, bits_of, fence, load, load_integer, real, store

GROUP = 8  # rows of suffix sums that are made in one loop

# Injected: whether the stage writes a result, which may go past the caches; the elements of a full window, and those
# before its centre, where a kernel is made for one window (the ``fused`` forms), else 0.
STREAMS = False
TERMS = 0
BEFORE = 0

# The functions that consist of loops over neighbours; a backend may compile the others into their callers.
LOOPS = (
    "sum_strip",
    "sum_few",
    "chased_strip",
    "move_to_front",
    "extremes_strip",
    "fused_emit_strip",
    "fused_plain_strip",
    "masked_emit_strip",
    "masked_plain_strip",
    "emit_strip",
    "suffix_rows",
    "suffix_group",
    "carry",
    "prefix_rows",
    "prefix_emit_strip",
    "prefix_plain_strip",
    "box_emit_strip",
    "box_plain_strip",
    "sum_few_planes",
    "padded_terms",
    "climb",
    "masked_strip",
    "plane_terms",
    "plain_strip",
    "reduce_strip",
)


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
    axes: Any  # the table of the axes of a box


class Planes(NamedTuple):
    """The two planes of a box, in the place of the caller's arrays."""

    x: Any
    out: Any


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


def based(tile, base):
    """The tile, its buffers beginning with row ``base``."""
    return Tile(
        tile.outer, tile.outer_end, tile.lane, tile.lanes, base, tile.rows, tile.strip, tile.streaming
    )  # fmt: skip


def move_to_front(room, held, source, count):
    """In each buffer of ``held`` elements of ``room``: the ``count`` elements from ``source`` on to its beginning."""
    for start in range(0, room.size, held):
        for j in range(count):
            store(room, start + j, load(room, start + source + j))


def add_term(arrays, buffers, at, slot, total):
    """``total`` plus one term; injected."""
    raise NotImplementedError("a backend injects the stage's term")


def emit(arrays, buffers, par, at, slot, total):
    """What becomes of a window sum; injected. Returns the d that it raised to a power, if any."""
    raise NotImplementedError("a backend injects the stage's end")


def emit_extremes(arrays, buffers, par, at, slot, total):
    """``emit`` with a power that is right for an infinite d and for NaN too; injected."""
    raise NotImplementedError("a backend injects the stage's end")


def emit_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """Emit ``count`` neighbours; their window sums begin at totals[offset].

    The strip is emitted again if one of its d was Inf or NaN. Selecting these element by element would take
    16 cycles for 16 elements, β = 3/4, where a maximum of the bits takes 12.
    """
    highest = unsigned(0)
    for j in range(count):
        bits = unsigned(bits_of(emit(arrays, buffers, par, at + j, slot + j, load(totals, offset + j))))
        highest = highest if highest > bits else bits
    if highest >= INFINITE:
        extremes_strip(arrays, buffers, par, at, slot, totals, offset, count)


def extremes_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """Emit a strip once more, with a power that is right for an infinite d and for NaN too."""
    fence()
    for j in range(count):
        emit_extremes(arrays, buffers, par, at + j, slot + j, load(totals, offset + j))


def plain_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """The same for an ``emit`` that raises nothing to a power."""
    for j in range(count):
        emit(arrays, buffers, par, at + j, slot + j, load(totals, offset + j))


SUMMED = 512  # elements whose terms are added plainly, 16 or 32 to a lane of a vector


def reduce_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """Let ``emit`` prepare ``count`` neighbours, then add what three of the buffers hold to the tile's sums.

    In one loop, float64 sums would halve the lanes of a vector for the logarithm too: 2.1 ns an element against 0.8.
    """
    residual, squares, kept = buffers.residual, buffers.squares, buffers.kept
    for j in range(count):
        emit(arrays, buffers, par, at + j, slot + j, real(0.0))
    for start in range(0, count, SUMMED):
        a, b, c = np.float64(0.0), np.float64(0.0), np.float64(0.0)
        for j in range(slot + start, slot + min(start + SUMMED, count)):
            a = accumulate(a, load(residual, j))
            b = accumulate(b, load(squares, j))
            c = accumulate(c, load(kept, j))
        add_compensated(buffers.sums, 0, a)
        add_compensated(buffers.sums, 2, b)
        add_compensated(buffers.sums, 4, c)


def add_compensated(sums, place, value):
    """sums[place] += value, and to sums[place + 1] what the result was rounded by."""
    before = sums[place]
    after = before + value
    share = after - before
    sums[place] = after
    sums[place + 1] += (before - (after - share)) + (value - share)


def misalignment_of_result(arrays, at):
    """Elements from a place in the result to the next cache line; injected."""
    raise NotImplementedError("a backend injects the function")


def strip_count(arrays, tile, at, left):
    """How many of ``left`` elements the next strip takes. A result that goes past the caches does so by whole lines."""
    if STREAMS:
        if tile.streaming:
            gap = misalignment_of_result(arrays, at)
            if gap > 0:
                return min(gap, left)
    return min(tile.strip, left)


def is_streamed(arrays, tile, at):
    """Whether a strip that begins here goes past the caches."""
    return tile.streaming and misalignment_of_result(arrays, at) == 0


def write_strip(arrays, buffers, par, tile, at, slot, totals, offset, count):
    """Emit a strip as ``strip_count`` cut it."""
    if STREAMS:
        if is_streamed(arrays, tile, at):
            streamed_strip(arrays, buffers, par, at, slot, totals, offset, count)
            return
    emit_strip(arrays, buffers, par, at, slot, totals, offset, count)


def write_row(arrays, buffers, par, tile, at, slot, totals, offset, count):
    """Emit any number of neighbours."""
    j = 0
    while j < count:
        strip = strip_count(arrays, tile, at + j, count - j)
        write_strip(arrays, buffers, par, tile, at + j, slot + j, totals, offset + j, strip)
        j += strip


def streamed_strip(arrays, buffers, par, at, slot, totals, offset, count):
    """``emit_strip`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


def sum_strip(arrays, buffers, at, step, slot, slot_step, terms, count):
    """total[j] = the sum of ``terms`` terms, ``step`` apart, the first at at + j."""
    total = buffers.total
    if terms >= 5:
        # In two chains: fewer roundings of large sums, and a shorter wait for each.
        for j in range(count):
            t = add_term(arrays, buffers, at + j, slot + j, real(0.0))
            t = add_term(arrays, buffers, at + step + j, slot + slot_step + j, t)
            u = add_term(arrays, buffers, at + 2 * step + j, slot + 2 * slot_step + j, real(0.0))
            u = add_term(arrays, buffers, at + 3 * step + j, slot + 3 * slot_step + j, u)
            t = add_term(arrays, buffers, at + 4 * step + j, slot + 4 * slot_step + j, t + u)
            store(total, j, t)
        term = 5
    else:
        for j in range(count):
            store(total, j, add_term(arrays, buffers, at + j, slot + j, real(0.0)))
        term = 1
    while term + 4 <= terms:
        a0 = at + term * step
        s0 = slot + term * slot_step
        for j in range(count):
            t = add_term(arrays, buffers, a0 + j, s0 + j, real(0.0))
            t = add_term(arrays, buffers, a0 + step + j, s0 + slot_step + j, t)
            u = add_term(arrays, buffers, a0 + 2 * step + j, s0 + 2 * slot_step + j, real(0.0))
            u = add_term(arrays, buffers, a0 + 3 * step + j, s0 + 3 * slot_step + j, u)
            t = t + u
            store(total, j, load(total, j) + t)
        term += 4
    if term + 2 <= terms:
        a0 = at + term * step
        s0 = slot + term * slot_step
        for j in range(count):
            t = add_term(arrays, buffers, a0 + j, s0 + j, real(0.0))
            t = add_term(arrays, buffers, a0 + step + j, s0 + slot_step + j, t)
            store(total, j, load(total, j) + t)
        term += 2
    if term < terms:
        a0 = at + term * step
        s0 = slot + term * slot_step
        for j in range(count):
            store(total, j, add_term(arrays, buffers, a0 + j, s0 + j, load(total, j)))


def direct(arrays, buffers, par, space, tile, positions, first, last):
    """Rows ``first`` … ``last − 1`` of a tile of one outer index."""
    lanes = tile.lanes
    whole = lanes == space.inner
    row = first
    while row < last:
        lead = min(space.before, row)
        tail = min(space.after, space.length - 1 - row)
        rows = 1
        if whole and lead == space.before and tail == space.after:
            # Full windows on rows that are neighbours in memory are one long run.
            rows = min(last, space.length - space.after) - row
        at = (tile.outer * space.length + row) * space.inner + tile.lane
        slot = (row - tile.base) * lanes
        end = rows * lanes
        j = 0
        while j < end:
            count = strip_count(arrays, tile, at + j, end - j)
            window_strip(arrays, buffers, par, tile, at + j, space.inner, slot + j, lanes, lead, lead + tail + 1, count)
            j += count
        row += rows


def window_strip(arrays, buffers, par, tile, at, step, slot, slot_step, lead, terms, count):
    """Sum a strip, then emit it."""
    sum_strip(arrays, buffers, at - lead * step, step, slot - lead * slot_step, slot_step, terms, count)
    write_strip(arrays, buffers, par, tile, at, slot, buffers.total, 0, count)


def fused_or_summed(arrays, buffers, par, tile, at, step, slot, slot_step, lead, terms, count):
    """In one loop where the window is full, in two at the ends of the axis; stands in for ``window_strip``."""
    if terms < TERMS:
        sum_few(arrays, buffers, at - lead * step, step, slot - lead * slot_step, slot_step, terms, count)
        emit_strip(arrays, buffers, par, at, slot, buffers.total, 0, count)
        return
    if STREAMS:
        if is_streamed(arrays, tile, at):
            streamed_fused(arrays, buffers, par, at, step, slot, slot_step, count)
            return
    fused(arrays, buffers, par, at, step, slot, slot_step, count)


def window_sum(arrays, buffers, at, step, slot, slot_step):
    """The sum of a full window of TERMS terms around one element, in two chains."""
    low, high = real(0.0), real(0.0)
    for i in range(-BEFORE, 0):
        low = add_term(arrays, buffers, at + i * step, slot + i * slot_step, low)
    for i in range(TERMS - BEFORE):
        high = add_term(arrays, buffers, at + i * step, slot + i * slot_step, high)
    return low + high


def fused_emit_strip(arrays, buffers, par, at, step, slot, slot_step, count):
    """Sum and emit ``count`` neighbours in one loop: memory is read while powers are taken, not before."""
    highest = unsigned(0)
    for j in range(count):
        total = window_sum(arrays, buffers, at + j, step, slot + j, slot_step)
        bits = unsigned(bits_of(emit(arrays, buffers, par, at + j, slot + j, total)))
        highest = highest if highest > bits else bits
    if highest >= INFINITE:
        for j in range(count):
            store(buffers.total, j, window_sum(arrays, buffers, at + j, step, slot + j, slot_step))
        extremes_strip(arrays, buffers, par, at, slot, buffers.total, 0, count)


def fused_plain_strip(arrays, buffers, par, at, step, slot, slot_step, count):
    """The same for an ``emit`` that raises nothing to a power."""
    for j in range(count):
        emit(arrays, buffers, par, at + j, slot + j, window_sum(arrays, buffers, at + j, step, slot + j, slot_step))


def fused(arrays, buffers, par, at, step, slot, slot_step, count):
    """One of the two above; injected."""
    raise NotImplementedError("a backend injects the function")


def streamed_fused(arrays, buffers, par, at, step, slot, slot_step, count):
    """``fused`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


def chase(arrays, buffers, par, space, tile, first, last):
    """Rows ``first`` … ``last − 1`` of one stage, and each time the row of the next that has just become complete.

    The windows of both must be full. Two stages in one loop keep the adders busy while the buffers are read: over 74 MB
    backward takes 1.65 × its roof so, 2.05 with the stages one after the other. In cache there is no difference.
    """
    lanes = tile.lanes
    row = first
    while row < last:
        rows = last - row if lanes == space.inner else 1
        at = (tile.outer * space.length + row) * space.inner + tile.lane
        slot = (row - tile.base) * lanes
        end = rows * lanes
        j = 0
        while j < end:
            # No longer than a row: a strip must not read the results that it keeps.
            behind = at + j - BEFORE * space.inner
            count = strip_count(arrays, tile, behind, min(end - j, lanes))
            if is_streamed(arrays, tile, behind):
                streamed_chase(arrays, buffers, par, at + j, space.inner, slot + j, lanes, count)
            else:
                fused(arrays, buffers, par, at + j, space.inner, slot + j, lanes, count)
                slot_behind = slot + j - BEFORE * lanes
                fused_behind(arrays, buffers, par, behind, space.inner, slot_behind, lanes, count)
            j += count
        row += rows


def chased_strip(arrays, buffers, par, at, step, slot, slot_step, count):
    """Sum and emit ``count`` neighbours, and those BEFORE rows before them in the next stage."""
    behind_at, behind_slot = at - BEFORE * step, slot - BEFORE * slot_step
    highest = unsigned(0)
    for j in range(count):
        total = window_sum(arrays, buffers, at + j, step, slot + j, slot_step)
        d, newest = emit_and_pass(arrays, buffers, par, at + j, slot + j, total)
        bits = unsigned(bits_of(d))
        highest = highest if highest > bits else bits
        total = window_sum_with(arrays, buffers, behind_at + j, step, behind_slot + j, slot_step, newest)
        emit_behind(arrays, buffers, par, behind_at + j, behind_slot + j, total)
    if highest >= INFINITE:
        for j in range(count):
            store(buffers.total, j, window_sum(arrays, buffers, at + j, step, slot + j, slot_step))
        extremes_strip(arrays, buffers, par, at, slot, buffers.total, 0, count)
        fused_behind(arrays, buffers, par, behind_at, step, behind_slot, slot_step, count)


def streamed_chase(arrays, buffers, par, at, step, slot, slot_step, count):
    """``chased_strip`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


def window_sum_with(arrays, buffers, at, step, slot, slot_step, newest):
    """``window_sum`` of the next stage, its last term at hand. Read back from memory it would stop vectorisation."""
    low, high = real(0.0), real(0.0)
    for i in range(1 + BEFORE - TERMS, 0):
        low = add_term_behind(arrays, buffers, at + i * step, slot + i * slot_step, low)
    for i in range(BEFORE):
        high = add_term_behind(arrays, buffers, at + i * step, slot + i * slot_step, high)
    return low + (high + newest)


def add_term_behind(arrays, buffers, at, slot, total):
    """``add_term`` of the next stage; injected."""
    raise NotImplementedError("a backend injects the stage's term")


def emit_and_pass(arrays, buffers, par, at, slot, total):
    """``emit`` that also returns the term that the next stage sums; injected."""
    raise NotImplementedError("a backend injects the stage's end")


def emit_behind(arrays, buffers, par, at, slot, total):
    """``emit`` of the next stage; injected."""
    raise NotImplementedError("a backend injects the function")


def fused_behind(arrays, buffers, par, at, step, slot, slot_step, count):
    """``fused`` of the next stage; injected."""
    raise NotImplementedError("a backend injects the function")


def sum_few(arrays, buffers, at, step, slot, slot_step, terms, count):
    """``sum_strip`` for the few rows at the ends of an axis, in less machine code."""
    total = buffers.total
    for j in range(count):
        store(total, j, add_term(arrays, buffers, at + j, slot + j, real(0.0)))
    for term in range(1, terms):
        a, s = at + term * step, slot + term * slot_step
        for j in range(count):
            store(total, j, add_term(arrays, buffers, a + j, s + j, load(total, j)))


def masked(arrays, buffers, par, space, tile, positions, first, last):
    """All rows of a tile of whole outer indices, as one flat run; ``positions`` gives each element its row."""
    block = space.length * space.inner
    start = tile.outer * block
    end = (tile.outer_end - tile.outer) * block
    j = 0
    while j < end:
        count = strip_count(arrays, tile, start + j, end - j)
        masked_window_strip(arrays, buffers, par, space, tile, start, positions, j, count)
        j += count


def masked_window_strip(arrays, buffers, par, space, tile, start, positions, first, count):
    """Sum a strip, then emit it."""
    masked_strip(arrays, buffers, space, start, positions, first, count)
    write_strip(arrays, buffers, par, tile, start + first, first, buffers.total, 0, count)


def masked_fused_strip(arrays, buffers, par, space, tile, start, positions, first, count):
    """Both in one loop; stands in for ``masked_window_strip``."""
    if STREAMS:
        if is_streamed(arrays, tile, start + first):
            streamed_masked(arrays, buffers, par, space, start, positions, first, count)
            return
    fused_masked(arrays, buffers, par, space, start, positions, first, count)


def masked_sum(arrays, buffers, at, step, slot, row, length):
    """The sum of a window of TERMS terms around one element; neighbours beyond the axis are not read."""
    low, high = real(0.0), real(0.0)
    for i in range(1, BEFORE + 1):
        here = row >= np.int32(i)
        low = add_term(arrays, buffers, at - i * step, slot - i * step, low) if here else low
    high = add_term(arrays, buffers, at, slot, high)
    for i in range(1, TERMS - BEFORE):
        here = row < np.int32(length - i)
        high = add_term(arrays, buffers, at + i * step, slot + i * step, high) if here else high
    return low + high


def masked_emit_strip(arrays, buffers, par, space, start, positions, first, count):
    """Sum and emit ``count`` elements in one loop."""
    step, length, at = space.inner, space.length, start + first
    highest = unsigned(0)
    for j in range(count):
        row = load_integer(positions, first + j)
        total = masked_sum(arrays, buffers, at + j, step, first + j, row, length)
        bits = unsigned(bits_of(emit(arrays, buffers, par, at + j, first + j, total)))
        highest = highest if highest > bits else bits
    if highest >= INFINITE:
        for j in range(count):
            row = load_integer(positions, first + j)
            store(buffers.total, j, masked_sum(arrays, buffers, at + j, step, first + j, row, length))
        extremes_strip(arrays, buffers, par, at, first, buffers.total, 0, count)


def masked_plain_strip(arrays, buffers, par, space, start, positions, first, count):
    """The same for an ``emit`` that raises nothing to a power."""
    step, length, at = space.inner, space.length, start + first
    for j in range(count):
        row = load_integer(positions, first + j)
        emit(
            arrays, buffers, par, at + j, first + j,
            masked_sum(arrays, buffers, at + j, step, first + j, row, length),
        )  # fmt: skip


def fused_masked(arrays, buffers, par, space, start, positions, first, count):
    """One of the two above; injected."""
    raise NotImplementedError("a backend injects the function")


def streamed_masked(arrays, buffers, par, space, start, positions, first, count):
    """``fused_masked`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


def masked_strip(arrays, buffers, space, start, positions, first, count):
    """total[j] = the window sum of element ``first + j``; neighbours beyond the axis are not read.

    The terms are added outwards from the centre, a pair at a time: one comparison tells whether a left neighbour is
    there, one whether a right one is.
    """
    total = buffers.total
    step = space.inner
    at = start + first
    pairs = min(space.before, space.after)
    pair = 0
    if pairs >= 2:
        left1, left2 = np.int32(1), np.int32(2)
        right1, right2 = np.int32(space.length - 1), np.int32(space.length - 2)
        for j in range(count):
            row = load_integer(positions, first + j)
            a = at + j
            s = first + j
            t = add_term(arrays, buffers, a, s, real(0.0))
            t = add_term(arrays, buffers, a - step, s - step, t) if row >= left1 else t
            t = add_term(arrays, buffers, a + step, s + step, t) if row < right1 else t
            u = real(0.0)
            u = add_term(arrays, buffers, a - 2 * step, s - 2 * step, u) if row >= left2 else u
            u = add_term(arrays, buffers, a + 2 * step, s + 2 * step, u) if row < right2 else u
            t = t + u
            store(total, j, t)
        pair = 2
    else:
        for j in range(count):
            store(total, j, add_term(arrays, buffers, at + j, first + j, real(0.0)))
    while pair < pairs:
        pair += 1
        left, right = np.int32(pair), np.int32(space.length - pair)
        for j in range(count):
            row = load_integer(positions, first + j)
            a = at + j
            s = first + j
            t = real(0.0)
            t = add_term(arrays, buffers, a - pair * step, s - pair * step, t) if row >= left else t
            t = add_term(arrays, buffers, a + pair * step, s + pair * step, t) if row < right else t
            store(total, j, load(total, j) + t)
    for shift in range(pairs + 1, max(space.before, space.after) + 1):
        # What an even or asymmetric window has on one side only.
        sign = -1 if space.before > space.after else 1
        low = np.int32(shift if sign < 0 else 0)
        high = np.int32(space.length - (shift if sign > 0 else 0))
        offset = sign * shift * step
        for j in range(count):
            row = load_integer(positions, first + j)
            t = load(total, j)
            here = row >= low and row < high
            store(total, j, add_term(arrays, buffers, at + offset + j, first + offset + j, t) if here else t)


def pointwise(arrays, buffers, par, space, tile, positions, first, last):
    """A stage without a window: emit every element of the tile."""
    pieces = space.inner // space.unit
    width = pieces * tile.lanes
    # Where the tile has all lanes, its rows are one run in memory; where it has all rows, its outer indices are too.
    whole = tile.lanes == space.unit
    outers = tile.outer_end - tile.outer
    joined = outers if whole and last - first == space.length else 1
    for outer in range(0, outers, joined):
        run = first * pieces
        end = run + (last - first) * pieces * joined
        while run < end:
            runs = end - run if whole else 1
            at = ((tile.outer + outer) * space.length * pieces + run) * space.unit + tile.lane
            slot = outer * tile.rows * width + (run - tile.base * pieces) * tile.lanes
            count = runs * tile.lanes
            for j in range(0, count, tile.strip):
                emit_strip(arrays, buffers, par, at + j, slot + j, buffers.total, 0, min(tile.strip, count - j))
            run += runs


def clear(buffer, count):
    """Zeros."""
    for j in range(count):
        store(buffer, j, real(0.0))


def prefix(arrays, buffers, par, space, tile, positions, first, last):
    """Rows ``first`` … ``last − 1`` of a tile of one outer index, by prefix sums restarted every n rows."""
    n = space.before + space.after + 1
    row = first
    while row < last:
        start = row // n * n
        stop = min(last, start + n)
        suffix_rows(arrays, buffers, space, tile, row, start, n)
        prefix_rows(arrays, buffers, par, space, tile, row, stop, start + n - space.before)
        row = stop


def suffix_rows(arrays, buffers, space, tile, row, start, n):
    """suffix[t] = the terms of padded rows start + t … start + n − 1, for t from n − 1 down to row − start."""
    lanes = tile.lanes
    running, suffix = buffers.running, buffers.suffix
    clear(running, 4 * lanes)
    last = row - start
    t = n - 1
    while t >= last:
        source = start + t - space.before
        at = (tile.outer * space.length + source) * space.inner + tile.lane
        slot = (source - tile.base) * lanes
        place = t * lanes
        if (n - 1 - t) % GROUP == 0 and t - GROUP + 1 >= last and GROUP - 1 <= source < space.length:
            suffix_group(arrays, buffers, at, space.inner, slot, lanes, place)
            t -= GROUP
        else:
            if source >= 0 and source < space.length:
                for j in range(lanes):
                    store(running, j, add_term(arrays, buffers, at + j, slot + j, load(running, j)))
            for j in range(lanes):
                store(suffix, place + j, load(running, lanes + j) + load(running, j))
            t -= 1
        carry(running, lanes, n - 1 - t, n)


def suffix_group(arrays, buffers, at, step, slot, lanes, place):
    """GROUP rows of suffix sums, downwards. Row by row, the running sums went through memory each time."""
    running, suffix = buffers.running, buffers.suffix
    for j in range(lanes):
        run, base = load(running, j), load(running, lanes + j)
        for i in range(GROUP):
            run = add_term(arrays, buffers, at - i * step + j, slot - i * lanes + j, run)
            store(suffix, place - i * lanes + j, base + run)
        store(running, j, run)


def carry(running, lanes, rows, n):
    """After ``rows`` rows of a block of n: the first part into the second, or the second into the third.

    In ``running`` lie one after the other, ``lanes`` each: the first part, the sum of the others, these others.
    """
    short = 8 if n <= 512 else 16
    if rows % short == 0:
        both, second, third = lanes, 2 * lanes, 3 * lanes
        if rows % (short * short) == 0:
            for j in range(lanes):
                part = load(running, third + j) + (load(running, second + j) + load(running, j))
                store(running, third + j, part)
                store(running, both + j, part)
            clear(running, lanes)
            for j in range(lanes):
                store(running, second + j, real(0.0))
        else:
            for j in range(lanes):
                part = load(running, second + j) + load(running, j)
                store(running, second + j, part)
                store(running, both + j, load(running, third + j) + part)
            clear(running, lanes)


def prefix_rows(arrays, buffers, par, space, tile, row, stop, source):
    """Emit rows ``row`` … ``stop − 1`` of one block; ``source`` is the first row of the block after it."""
    lanes = tile.lanes
    n = space.before + space.after + 1
    running, suffix, total = buffers.running, buffers.suffix, buffers.total
    clear(running, 4 * lanes)
    begin = row // n * n
    for i in range(begin, stop):
        t = i - begin
        place = t * lanes
        at = (tile.outer * space.length + i) * space.inner + tile.lane
        slot = (i - tile.base) * lanes
        following = source + t
        goes_on = following >= 0 and following < space.length and i + 1 < stop
        next_at = (tile.outer * space.length + following) * space.inner + tile.lane
        next_slot = (following - tile.base) * lanes
        if i >= row and goes_on:
            j = 0
            while j < lanes:
                count = strip_count(arrays, tile, at + j, lanes - j)
                if STREAMS:
                    if is_streamed(arrays, tile, at + j):
                        streamed_prefix(arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, j, j + count)
                        j += count
                        continue
                prefix_strip(arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, j, j + count)
                j += count
        elif i >= row:
            for j in range(lanes):
                store(total, j, load(suffix, place + j) + (load(running, lanes + j) + load(running, j)))
            write_row(arrays, buffers, par, tile, at, slot, total, 0, lanes)
        elif goes_on:
            for j in range(lanes):
                store(running, j, add_term(arrays, buffers, next_at + j, next_slot + j, load(running, j)))
        carry(running, lanes, t + 1, n)


def prefix_emit_strip(arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, first, last):
    """Lanes ``first`` … ``last − 1`` of a row of window sums; the next row's terms go into the running sums."""
    running, suffix, totals = buffers.running, buffers.suffix, buffers.total
    highest = unsigned(0)
    for j in range(last - first):
        run = load(running, first + j)
        total = load(suffix, place + first + j) + (load(running, lanes + first + j) + run)
        store(totals, j, total)
        store(running, first + j, add_term(arrays, buffers, next_at + first + j, next_slot + first + j, run))
        bits = unsigned(bits_of(emit(arrays, buffers, par, at + first + j, slot + first + j, total)))
        highest = highest if highest > bits else bits
    if highest >= INFINITE:
        extremes_strip(arrays, buffers, par, at + first, slot + first, totals, 0, last - first)


def prefix_plain_strip(arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, first, last):
    """The same for an ``emit`` that raises nothing to a power."""
    running, suffix = buffers.running, buffers.suffix
    for j in range(first, last):
        run = load(running, j)
        total = load(suffix, place + j) + (load(running, lanes + j) + run)
        store(running, j, add_term(arrays, buffers, next_at + j, next_slot + j, run))
        emit(arrays, buffers, par, at + j, slot + j, total)


def prefix_strip(arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, first, last):
    """One of the two above; injected."""
    raise NotImplementedError("a backend injects the function")


def streamed_prefix(arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, first, last):
    """``prefix_strip`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


def ladder(arrays, buffers, par, space, tile, positions, first, last):
    """Rows ``first`` … ``last − 1`` of whole outer indices, along a contiguous axis, by sums of powers of four."""
    inner = space.inner
    n = space.before + space.after + 1
    rows = last - first + n - 1
    pitch = rows * inner
    size = (tile.outer_end - tile.outer) * pitch
    padded_terms(arrays, buffers, space, tile, first, last, pitch)
    climb(buffers.rungs, buffers.total, size, inner, n)
    count = (last - first) * inner
    for outer in range(tile.outer, tile.outer_end):
        at = (outer * space.length + first) * inner
        slot = ((outer - tile.outer) * tile.rows + first - tile.base) * inner
        write_row(arrays, buffers, par, tile, at, slot, buffers.total, (outer - tile.outer) * pitch, count)


def padded_terms(arrays, buffers, space, tile, first, last, pitch):
    """The terms of rows first − before … last − 1 + after of each outer index; zeros beyond the axis."""
    terms = buffers.rungs
    inner = space.inner
    low = max(first - space.before, 0)
    high = min(last + space.after, space.length)
    head = (low - (first - space.before)) * inner
    count = (high - low) * inner
    for outer in range(tile.outer, tile.outer_end):
        place = (outer - tile.outer) * pitch
        at = (outer * space.length + low) * inner
        slot = ((outer - tile.outer) * tile.rows + low - tile.base) * inner
        for j in range(head):
            store(terms, place + j, real(0.0))
        for j in range(count):
            store(terms, place + head + j, add_term(arrays, buffers, at + j, slot + j, real(0.0)))
        for j in range(head + count, pitch):
            store(terms, place + j, real(0.0))


def climb(rungs, total, size, inner, n):
    """total[j] = the sum of n terms, ``inner`` apart, from j on.

    ``rungs`` holds the terms in its first ``size`` places and has room for as many again: a rung is made from the
    one before, and its share of the total added at once. The last places of each rung lack neighbours and are not
    used by any window. From the last digit of n up the small sums are added first: 3.4 half-ulps for n = 255
    against 6.7 from the first digit down.
    """
    reach = (n - 1) * inner
    clear(total, size)
    offset = n
    width = 1
    source = 0
    left = n
    while left > 0:
        for _ in range(left % 4):
            offset -= width
            shifted = source + offset * inner
            for j in range(size - reach):
                store(total, j, load(total, j) + load(rungs, shifted + j))
        left //= 4
        if left > 0:
            step = width * inner
            target = size - source
            for j in range(size - 3 * step):
                t = load(rungs, source + j) + load(rungs, source + step + j)
                u = load(rungs, source + 2 * step + j) + load(rungs, source + 3 * step + j)
                store(rungs, target + j, t + u)
            source = target
            width *= 4


def sum_plane(axis, buffers, source, target, outers, unit, mirrored, strip, length, positions, first, last):
    """One axis of a box, from one plane to the other; injected: it runs the form that ``axis`` names."""
    raise NotImplementedError("a backend injects the call of plane_direct, plane_masked, plane_prefix or plane_ladder")


def plane_term(arrays, buffers, at, slot, total):
    """A term that a plane already holds."""
    return total + load(arrays.x, at)


def emit_plane(arrays, buffers, par, at, slot, total):
    """A window sum into the other plane."""
    store(arrays.out, at, total)


PLANE_LANES = 1024


class Axis(NamedTuple):
    """One windowed axis of a box, after the first: what is summed along it, and by which form."""

    form: Any
    count: Any  # how many of these axes a row of the first axis holds
    length: Any
    units: Any  # how many units one step along it spans
    before: Any
    after: Any


AXIS_FIELDS = 6


def axis_of(axes, index):
    """Entry ``index`` of a table of axes."""
    place = index * AXIS_FIELDS
    return Axis(axes[place], axes[place + 1], axes[place + 2], axes[place + 3], axes[place + 4], axes[place + 5])


def box(arrays, buffers, par, space, tile, positions, first, last):
    """Rows ``first`` … ``last − 1`` of the first windowed axis of a box, for one outer index.

    ``space.axes`` lists the windowed axes from the innermost to the first.
    """
    pieces = space.inner // space.unit
    width = pieces * tile.lanes
    low = max(first - space.before, 0)
    high = min(last + space.after, space.length)
    rows = high - low
    size = rows * width
    source = buffers.planes[:size]
    target = buffers.planes[size : 2 * size]
    plane_terms(arrays, buffers, source, space, tile, low, high)
    entries = space.axes.size // AXIS_FIELDS
    for index in range(entries - 1):
        axis = axis_of(space.axes, index)
        unit = axis.units * tile.lanes
        outers = rows * axis.count
        length = axis.length
        sum_plane(
            axis, buffers, source, target, outers, unit, space.transposed, tile.strip, length, positions, 0, length
        )
        source, target = target, source
    if TERMS > 0:
        if tile.lanes == space.unit:
            box_rows(arrays, buffers, par, space, tile, source, width, low, first, last)
            return
    axis = axis_of(space.axes, entries - 1)
    sum_plane(
        axis, buffers, source, target, 1, width, space.transposed, tile.strip, rows, positions, first - low, last - low
    )
    run = first * pieces
    while run < last * pieces:
        # Where the tile has all lanes, its rows are one run in memory.
        runs = last * pieces - run if tile.lanes == space.unit else 1
        at = (tile.outer * space.length * pieces + run) * space.unit + tile.lane
        place = run * tile.lanes
        slot = place - tile.base * width
        write_row(arrays, buffers, par, tile, at, slot, target, place - low * width, runs * tile.lanes)
        run += runs


def plane_terms(arrays, buffers, plane, space, tile, low, high):
    """The terms of rows ``low`` … ``high − 1``, densely into a plane."""
    pieces = space.inner // space.unit
    run = low * pieces
    while run < high * pieces:
        runs = high * pieces - run if tile.lanes == space.unit else 1
        at = (tile.outer * space.length * pieces + run) * space.unit + tile.lane
        slot = (run - tile.base * pieces) * tile.lanes
        place = (run - low * pieces) * tile.lanes
        for j in range(runs * tile.lanes):
            store(plane, place + j, add_term(arrays, buffers, at + j, slot + j, real(0.0)))
        run += runs


def box_rows(arrays, buffers, par, space, tile, plane, width, low, first, last):
    """The last axis of a box, summed from the plane of the others and emitted in one loop where windows are full."""
    row = first
    while row < last:
        lead = min(space.before, row)
        tail = min(space.after, space.length - 1 - row)
        rows = 1
        if lead == space.before and tail == space.after:
            rows = min(last, space.length - space.after) - row
        at = (tile.outer * space.length + row) * width
        place = (row - low) * width
        slot = (row - tile.base) * width
        end = rows * width
        j = 0
        while j < end:
            count = strip_count(arrays, tile, at + j, end - j)
            if lead + tail + 1 < TERMS:
                sum_few_planes(buffers, plane, place - lead * width + j, width, lead + tail + 1, count)
                emit_strip(arrays, buffers, par, at + j, slot + j, buffers.total, 0, count)
            else:
                box_window_strip(arrays, buffers, par, tile, plane, at + j, place + j, width, slot + j, count)
            j += count
        row += rows


def sum_few_planes(buffers, plane, place, width, terms, count):
    """total[j] = the sum of ``terms`` terms of a plane, ``width`` apart."""
    total = buffers.total
    for j in range(count):
        store(total, j, load(plane, place + j))
    for term in range(1, terms):
        for j in range(count):
            store(total, j, load(total, j) + load(plane, place + term * width + j))


def box_window_strip(arrays, buffers, par, tile, plane, at, place, width, slot, count):
    """A strip of full windows, past the caches where that is asked for."""
    if STREAMS:
        if is_streamed(arrays, tile, at):
            streamed_box(arrays, buffers, par, plane, at, place, width, slot, count)
            return
    box_strip(arrays, buffers, par, plane, at, place, width, slot, count)


def plane_sum(plane, place, width):
    """The sum of TERMS terms of a plane, ``width`` apart."""
    low, high = real(0.0), real(0.0)
    for i in range(-BEFORE, 0):
        low = low + load(plane, place + i * width)
    for i in range(TERMS - BEFORE):
        high = high + load(plane, place + i * width)
    return low + high


def box_emit_strip(arrays, buffers, par, plane, at, place, width, slot, count):
    """Sum and emit ``count`` neighbours in one loop."""
    highest = unsigned(0)
    for j in range(count):
        total = plane_sum(plane, place + j, width)
        bits = unsigned(bits_of(emit(arrays, buffers, par, at + j, slot + j, total)))
        highest = highest if highest > bits else bits
    if highest >= INFINITE:
        for j in range(count):
            store(buffers.total, j, plane_sum(plane, place + j, width))
        extremes_strip(arrays, buffers, par, at, slot, buffers.total, 0, count)


def box_plain_strip(arrays, buffers, par, plane, at, place, width, slot, count):
    """The same for an ``emit`` that raises nothing to a power."""
    for j in range(count):
        emit(arrays, buffers, par, at + j, slot + j, plane_sum(plane, place + j, width))


def box_strip(arrays, buffers, par, plane, at, place, width, slot, count):
    """One of the two above; injected."""
    raise NotImplementedError("a backend injects the function")


def streamed_box(arrays, buffers, par, plane, at, place, width, slot, count):
    """``box_strip`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


class Sums(NamedTuple):
    """Where a pass of a box puts its sums: straight into the other plane."""

    total: Any


def plane_window_strip(planes, buffers, par, tile, at, step, slot, slot_step, lead, terms, count):
    """A strip of window sums from one plane to the other; stands in for ``window_strip``."""
    sum_strip(planes, Sums(planes.out[at : at + count]), at - lead * step, step, 0, 0, terms, count)


def plane_masked(planes, buffers, space, outers, strip, positions, first, last):
    """All rows of each of ``outers`` blocks of a plane, by ``masked``."""
    block = space.length * space.unit
    group = positions.size // block
    for outer in range(0, outers, group):
        start = outer * block
        end = min(group, outers - outer) * block
        for j in range(0, end, strip):
            count = min(strip, end - j)
            masked_strip(planes, Sums(planes.out[start + j : start + j + count]), space, start, positions, j, count)


def plane_direct(planes, buffers, space, outers, strip, positions, first, last):
    """Rows ``first`` … ``last − 1`` of each of ``outers`` blocks of a plane, by ``direct``."""
    for outer in range(outers):
        tile = Tile(outer, outer + 1, 0, space.unit, 0, space.length, strip, 0)
        direct(planes, buffers, 0, space, tile, 0, first, last)


def plane_prefix(planes, buffers, space, outers, strip, positions, first, last):
    """The same by ``prefix``."""
    for outer in range(outers):
        for lane in range(0, space.unit, PLANE_LANES):
            tile = Tile(outer, outer + 1, lane, min(PLANE_LANES, space.unit - lane), 0, space.length, strip, 0)
            prefix(planes, buffers, 0, space, tile, 0, first, last)


def plane_ladder(planes, buffers, space, outers, strip, positions, first, last):
    """The same by ``ladder``, several blocks at a time."""
    group = max(1, PLANE_LANES // (space.length * space.unit))
    for outer in range(0, outers, group):
        tile = Tile(outer, min(outer + group, outers), 0, space.unit, 0, space.length, strip, 0)
        ladder(planes, buffers, 0, space, tile, 0, first, last)
