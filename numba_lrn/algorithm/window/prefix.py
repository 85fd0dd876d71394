"""Windows of any size by prefix sums that are restarted every n rows."""

from numba_lrn.algorithm.binding import injected, loop
from numba_lrn.algorithm.primitives import load, real, store
from numba_lrn.algorithm.window.contract import RAISES, STREAMS, add_term
from numba_lrn.algorithm.window.strips import (
    add_up,
    clear,
    emit_noted,
    extreme,
    extremes_strip,
    is_streamed,
    no_notes,
    strip_count,
    write_row,
)

GROUP = 8  # rows that are added plainly, then in two floats


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


@loop
def suffix_rows(arrays, buffers, space, tile, row, start, n):
    """suffix[t] = the terms of padded rows start + t … start + n − 1, for t from n − 1 down to row − start."""
    lanes = tile.lanes
    running, suffix = buffers.running, buffers.suffix
    clear(running, 2 * lanes)
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
        if (n - 1 - t) % GROUP == 0:
            carry(running, lanes)


@loop
def suffix_group(arrays, buffers, at, step, slot, lanes, place):
    """GROUP rows of suffix sums, downwards. Row by row, the running sums went through memory each time."""
    running, suffix = buffers.running, buffers.suffix
    for j in range(lanes):
        run, base = load(running, j), load(running, lanes + j)
        for i in range(GROUP):
            run = add_term(arrays, buffers, at - i * step + j, slot - i * lanes + j, run)
            store(suffix, place - i * lanes + j, base + run)
        store(running, j, run)


@loop
def carry(running, lanes):
    """After GROUP rows: their sum is added to that of the others, and what this is rounded by begins the next.

    In ``running`` lie one after the other, ``lanes`` each: the sum of the last rows, and that of the others.
    """
    for j in range(lanes):
        run, base = load(running, j), load(running, lanes + j)
        both = base + run
        share = both - base
        rest = (base - (both - share)) + (run - share)
        store(running, lanes + j, both)
        store(running, j, rest if rest == rest else real(0.0))  # Inf − Inf, where the sum itself is what it must be


@loop
def prefix_rows(arrays, buffers, par, space, tile, row, stop, source):
    """Emit rows ``row`` … ``stop − 1`` of one block; ``source`` is the first row of the block after it."""
    lanes = tile.lanes
    n = space.before + space.after + 1
    clear(buffers.running, 2 * lanes)
    begin = row // n * n
    for i in range(begin, stop):
        t = i - begin
        at = (tile.outer * space.length + i) * space.inner + tile.lane
        slot = (i - tile.base) * lanes
        following = source + t
        next_at = (tile.outer * space.length + following) * space.inner + tile.lane
        next_slot = (following - tile.base) * lanes
        goes_on = following >= 0 and following < space.length and i + 1 < stop
        prefix_row(arrays, buffers, par, tile, at, slot, t * lanes, next_at, next_slot, i >= row, goes_on)
        if (t + 1) % GROUP == 0:
            carry(buffers.running, lanes)


def prefix_row(arrays, buffers, par, tile, at, slot, place, next_at, next_slot, emits, goes_on):
    """One row: emitted, and the next row's terms added to the running sums, each where it is asked for."""
    lanes = tile.lanes
    running, suffix, total = buffers.running, buffers.suffix, buffers.total
    if emits and goes_on:
        j = 0
        while j < lanes:
            count = strip_count(arrays, tile, at + j, lanes - j)
            if STREAMS:
                if is_streamed(arrays, tile, at + j):
                    streamed_prefix_strip(
                        arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, j, j + count
                    )
                    j += count
                    continue
            prefix_strip(arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, j, j + count)
            j += count
    elif emits:
        for j in range(lanes):
            store(total, j, load(suffix, place + j) + (load(running, lanes + j) + load(running, j)))
        write_row(arrays, buffers, par, tile, at, slot, total, 0, lanes)
    elif goes_on:
        for j in range(lanes):
            store(running, j, add_term(arrays, buffers, next_at + j, next_slot + j, load(running, j)))


@loop
def prefix_strip(arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, first, last):
    """Lanes ``first`` … ``last − 1`` of a row of window sums; the next row's terms go into the running sums."""
    running, suffix, totals = buffers.running, buffers.suffix, buffers.total
    notes = no_notes()
    for j in range(last - first):
        run = load(running, first + j)
        total = load(suffix, place + first + j) + (load(running, lanes + first + j) + run)
        if RAISES:
            store(totals, j, total)
        store(running, first + j, add_term(arrays, buffers, next_at + first + j, next_slot + first + j, run))
        notes = emit_noted(arrays, buffers, par, at + first + j, slot + first + j, total, notes)
    if RAISES:
        if extreme(notes):
            extremes_strip(arrays, buffers, par, at + first, slot + first, totals, 0, last - first)
            return
    add_up(buffers, notes)


@injected
def streamed_prefix_strip(arrays, buffers, par, at, slot, place, next_at, next_slot, lanes, first, last):
    """``prefix_strip`` past the caches; injected."""
    raise NotImplementedError("a backend injects the function")
