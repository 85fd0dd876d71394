"""The smallest boxes over two axes of which none is the last in memory, forward: by threads on their own.

A thread walks down the first axis with the sums of its last n rows in registers. All other boxes are faster by walk.py.

``inner`` is a row: all that follows the first windowed axis, of which the second has ``width`` elements, ``unit``
apart. LANES are neighbours along what follows it. The elements beside the thread's own are reloaded through L1; so is
the row in the middle of the window.
"""

from numba_lrn.backends.cuda.forms.columns import loading, storing
from numba_lrn.backends.cuda.forms.stages import adding, emitting


def local_sizes(variant):
    """The vectors beside of the array that is summed, and the rows of the others."""
    (phase,) = variant.phases
    near = (sum(variant.beside) + 1) * variant.lanes * variant.steps
    return [near for _ in phase.summed] + [variant.steps * variant.lanes for _ in variant.own]


def constants(variant):
    """The vectors of a row, and the sums of the last n rows."""
    (phase,) = variant.phases
    before, after = variant.beside
    return {
        "Near": variant.tuple_of(phase.summed),
        "Values": variant.tuple_of(variant.own),
        "SUMMED": len(phase.summed),
        "LEFT": before,
        "NEAR": before + 1 + after,
        "TERMS": (before + 1 + after) * variant.lanes,
        "RING": (variant.before + 1 + variant.after) * variant.lanes,
    }


def helpers(variant):
    """What is done for each array and each stage."""
    (phase,) = variant.phases
    lanes = variant.lanes
    return {
        "load_all_beside": [
            (load_beside, {"FIELD": place, "POINTER": variant.pointers.index(name)})
            for place, name in enumerate(phase.summed)
        ],
        "load_rows": loading(variant, phase.read, variant.own),
        "push_rows": adding(phase, lanes, push_row),
        "add_rows": adding(phase, lanes, add_ring),
        "emit_stages": emitting(phase, lanes),
        "store_rows": storing(variant, phase.stored, variant.own),
    }


def load_beside(pointers, at, inside, place, width, unit, near, slot):
    """The vectors beside ``at``, which is element ``place`` of the second axis; zeros beyond it."""
    for filled in range(TERMS):
        near[FIELD][slot + filled] = real(0.0)
    for vector in range(NEAR):
        shift = vector - LEFT
        if inside and place + shift >= 0 and place + shift < width:
            load_lanes(pointers[POINTER], at + shift * unit, near[FIELD], slot + vector * LANES)


def push_row(near, slot, ring, row_sums):
    """The sums over the second axis become the newest row of the window's ring.

    The ring is moved for every row, before the first window is whole too, and takes the sums by way of a small array:
    with a place that varies, sm_100 and sm_120 keep it in local memory.
    """
    for place in range(RING - LANES):
        ring[place] = ring[place + LANES]
    for lane in range(LANES):
        row_sums[lane] = EMPTY
    for index in range(TERMS):
        lane = index % LANES
        row_sums[lane] = add_term(near, near, slot + index, slot + index, row_sums[lane])
    for lane in range(LANES):
        ring[RING - LANES + lane] = row_sums[lane]


def add_ring(ring, totals):
    """The sum over the first axis."""
    for slot in range(RING):
        totals[slot % LANES] = totals[slot % LANES] + ring[slot]


def box(local, pointers, integers, par, sums):
    """One phase."""
    columns, length, inner, chunk, width, unit = integers
    near = Near(*local[:SUMMED])
    values = Values(*local[SUMMED:])
    bases = cuda.local.array(BASES, np.int64)
    place(columns, length, inner, bases)
    if bases[0] < 0:
        return
    column = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * LANES
    position = column_quotient(column, unit)
    beside = position - column_quotient(position, width) * width
    first = cuda.blockIdx.y * chunk
    last = min(first + chunk, length)
    ring = cuda.local.array(RING, real)
    row_sums = cuda.local.array(LANES, real)
    totals = cuda.local.array(TOTALS, real)
    shares = cuda.local.array(3, real)
    row = first - BEFORE
    while row < first + AFTER:
        inside = row >= 0 and row < length
        load_all_beside(pointers, bases[0] + row * inner, inside, beside, width, unit, near, 0)
        push_rows(near, 0, ring, row_sums)
        row += 1
    row = first
    while row < last:
        for step in range(STEPS):
            ahead = row + step + AFTER
            start = bases[0] + ahead * inner
            load_all_beside(pointers, start, ahead < length, beside, width, unit, near, step * TERMS)
            load_rows(pointers, bases, row + step, length, inner, values, step * LANES)
        for step in range(STEPS):
            push_rows(near, step * TERMS, ring, row_sums)
            clear(totals)
            add_rows(ring, totals)
            for lane in range(LANES):
                at = step * LANES + lane
                emit_stages(values, par, at, at, totals, lane, False, shares)
            if row + step < last:
                store_rows(pointers, bases, row + step, inner, values, step * LANES)
        row += STEPS
