"""Several windowed axes, one after the other, on a tile of terms."""

from typing import Any, NamedTuple

from numba_lrn.algorithm.binding import injected, loop
from numba_lrn.algorithm.primitives import load, real, store
from numba_lrn.algorithm.window.contract import BEFORE, RAISES, STREAMS, TERMS, add_term
from numba_lrn.algorithm.window.strips import (
    add_up,
    emit_noted,
    emit_strip,
    extreme,
    extremes_strip,
    is_streamed,
    no_notes,
    strip_count,
    write_row,
)


class Axis(NamedTuple):
    """One pass from plane to plane: along which windowed axis of a box, and by which form."""

    form: Any
    count: Any  # how many of these axes a row of the first axis holds
    length: Any
    units: Any  # how many units one step along it spans
    before: Any
    after: Any
    table: Any  # where the positions of its elements begin, and how many they are: none but for ``masked``
    entries: Any
    period: Any  # rows after which the form adds windows up in the same way again


AXIS_FIELDS = len(Axis._fields)


def axis_of(axes, index):
    """Entry ``index`` of a table of axes."""
    place = index * AXIS_FIELDS
    return Axis(
        axes[place], axes[place + 1], axes[place + 2], axes[place + 3],
        axes[place + 4], axes[place + 5], axes[place + 6], axes[place + 7], axes[place + 8],
    )  # fmt: skip


def box(arrays, buffers, par, space, tile, positions, first, last):
    """Rows ``first`` … ``last − 1`` of the first windowed axis of a box, for one outer index; all rows for several.

    ``space.axes`` lists the windowed axes from the innermost to the first.
    """
    pieces = space.inner // space.unit
    width = pieces * tile.lanes
    entries = space.axes.size // AXIS_FIELDS
    last_axis = axis_of(space.axes, entries - 1)
    # A period begins in the plane where one does in the whole array; rows before ``low`` are there for that only.
    begin = first // last_axis.period * last_axis.period
    low = max(begin - space.before, 0)
    high = min(last + space.after, space.length)
    unused = low % last_axis.period
    rows = high - low
    outers = tile.outer_end - tile.outer
    further = (outers - 1) * space.length
    skipped = unused * width
    source, target = two_planes(buffers, skipped + outers * rows * width)
    plane_terms(arrays, buffers, source[skipped:], space, tile, low, further + high)
    for index in range(entries - 1):
        axis = axis_of(space.axes, index)
        unit = axis.units * tile.lanes
        sum_plane(
            axis, buffers, source[skipped:], target[skipped:], outers * rows * axis.count, unit, space.transposed,
            axis.length, positions, 0, axis.length,
        )  # fmt: skip
        source, target = target, source
    if TERMS > 0:
        box_rows(arrays, buffers, par, space, tile, source[skipped:], width, low, first, last)
        return
    sum_plane(
        last_axis, buffers, source, target, outers, width, space.transposed, unused + rows, positions,
        unused + begin - low, unused + last - low,
    )  # fmt: skip
    run, end = first * pieces, (further + last) * pieces
    while run < end:
        # Where the tile has all lanes, its rows are one run in memory.
        runs = end - run if tile.lanes == space.unit else 1
        at = (tile.outer * space.length * pieces + run) * space.unit + tile.lane
        place = run * tile.lanes
        slot = place - tile.base * width
        write_row(arrays, buffers, par, tile, at, slot, target, skipped + place - low * width, runs * tile.lanes)
        run += runs


def two_planes(buffers, size):
    """The two planes of ``size`` elements, each in its half of their buffer.

    Right behind one another those of 32×32 elements would have the same place in their pages: 16×16 takes 1.0 ns an
    element so, and 0.9 in halves, backward 2.0 and 1.8.
    """
    half = buffers.planes.size // 2
    return buffers.planes[:size], buffers.planes[half : half + size]


@loop
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
    pieces = space.inner // space.unit
    # Where the tile has all lanes, its rows are one run in memory.
    whole = tile.lanes == space.unit
    runs = 1 if whole else pieces
    row = first
    while row < last:
        lead = min(space.before, row)
        tail = min(space.after, space.length - 1 - row)
        rows = 1
        if whole and lead == space.before and tail == space.after:
            rows = min(last, space.length - space.after) - row
        end = rows * width // runs
        for run in range(runs):
            at = ((tile.outer * space.length + row) * pieces + run) * space.unit + tile.lane
            place = (row - low) * width + run * end
            slot = (row - tile.base) * width + run * end
            box_run(arrays, buffers, par, tile, plane, width, at, place, slot, lead, lead + tail + 1, end)
        row += rows


def box_run(arrays, buffers, par, tile, plane, width, at, place, slot, lead, terms, end):
    """``end`` neighbours of ``box_rows``, a strip at a time."""
    j = 0
    while j < end:
        count = strip_count(arrays, tile, at + j, end - j)
        if terms < TERMS:
            sum_few_of_plane(buffers, plane, place - lead * width + j, width, terms, count)
            emit_strip(arrays, buffers, par, at + j, slot + j, buffers.total, 0, count)
        else:
            box_window_strip(arrays, buffers, par, tile, plane, at + j, place + j, width, slot + j, count)
        j += count


@loop
def sum_few_of_plane(buffers, plane, place, width, terms, count):
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
            streamed_box_strip(arrays, buffers, par, plane, at, place, width, slot, count)
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


@loop
def box_strip(arrays, buffers, par, plane, at, place, width, slot, count):
    """Sum and emit ``count`` neighbours in one loop."""
    notes = no_notes()
    for j in range(count):
        notes = emit_noted(arrays, buffers, par, at + j, slot + j, plane_sum(plane, place + j, width), notes)
    if RAISES:
        if extreme(notes):
            for j in range(count):
                store(buffers.total, j, plane_sum(plane, place + j, width))
            extremes_strip(arrays, buffers, par, at, slot, buffers.total, 0, count)
            return
    add_up(buffers, notes)


@injected
def streamed_box_strip(arrays, buffers, par, plane, at, place, width, slot, count):
    """``box_strip`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")


@injected
def sum_plane(axis, buffers, source, target, outers, unit, transposed, length, positions, first, last):
    """One axis of a box, from one plane to the other; injected: it runs the form that ``axis`` names."""
    raise NotImplementedError("a backend injects the call of one of the passes of planes.py and interleaved.py")
