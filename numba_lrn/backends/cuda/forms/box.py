"""Small boxes over two axes: a thread walks down the first with the sums of its last n rows in registers.

``inner`` is a row: all that follows the first windowed axis, of which the second has ``width`` elements, ``unit``
apart. The elements beside the thread's own are reloaded through L1; so is the row in the middle of the
window. The second axis is contiguous and its width a multiple of LANES, or ``unit`` is; else LANES is 1.
"""

from numba_lrn.backends.cuda.forms.columns import loading, storing
from numba_lrn.backends.cuda.forms.stages import adding, emitting


def reach(variant):
    """Vectors beside the thread's own: CONTIGUOUS ones hold neighbours, the others are ``unit`` apart."""
    before, after = variant.beside
    return (-(-before // variant.lanes), -(-after // variant.lanes)) if is_contiguous(variant) else (before, after)


def ring_of(variant):
    """The sums of the last n rows of one window."""
    return (variant.before + 1 + variant.after) * variant.lanes


def is_contiguous(variant):
    """Whether the second axis is the last in memory."""
    return variant.form.endswith("_contiguous")


def local_sizes(variant):
    """The vectors beside of each array that is summed, the rows of the others, and of each window its ring."""
    (phase,) = variant.phases
    near = (1 + sum(reach(variant))) * variant.lanes * variant.steps
    return [near for _ in phase.summed] + [variant.steps * variant.lanes for _ in variant.own]


def constants(variant):
    """The vectors of a row, and where its terms lie in them."""
    (phase,) = variant.phases
    before, after = variant.beside
    left, right = reach(variant)
    return {
        "Near": variant.tuple_of(phase.summed),
        "Values": variant.tuple_of(variant.own),
        "SUMMED": len(phase.summed),
        "CONTIGUOUS": is_contiguous(variant),
        "BESIDE": before,
        "LEFT": left,
        "NEAR": left + 1 + right,
        "SPAN": (left + 1 + right) * variant.lanes,
        "TERMS": (before + 1 + after) * variant.lanes,
        "RING": ring_of(variant),
        "RINGS": ring_of(variant) * variant.windows,
    }


def helpers(variant):
    """What is done for each array and each stage."""
    (phase,) = variant.phases
    lanes, ring = variant.lanes, ring_of(variant)
    return {
        "load_all_beside": [
            (load_beside, {"FIELD": place, "POINTER": variant.pointers.index(name)})
            for place, name in enumerate(phase.summed)
        ],
        "load_rows": loading(variant, phase.read, variant.own),
        "push_rows": adding(phase, lanes, push_row, START=ring),
        "add_rows": adding(phase, lanes, add_ring, START=ring),
        "emit_stages": emitting(phase, lanes),
        "store_rows": storing(variant, phase.stored, variant.own),
    }


def load_beside(pointers, at, inside, place, width, unit, near, slot):
    """The vectors beside ``at``, which is element ``place`` of the second axis; zeros beyond it."""
    for filled in range(SPAN):
        near[FIELD][slot + filled] = real(0.0)
    for vector in range(NEAR):
        shift = (vector - LEFT) * (LANES if CONTIGUOUS else 1)
        if inside and place + shift >= 0 and place + shift < width:
            step = shift * (1 if CONTIGUOUS else unit)
            load_lanes(pointers[POINTER], at + step, near[FIELD], slot + vector * LANES)


def push_row(near, slot, rings, row_sums):
    """The sums over the second axis become the newest row of a window's ring.

    The ring is moved for every row, before the first window is whole too, and takes the sums by way of a small array:
    with a place that varies, sm_100 and sm_120 keep it in local memory.
    """
    for place in range(RING - LANES):
        rings[START + place] = rings[START + place + LANES]
    for lane in range(LANES):
        row_sums[lane] = real(0.0)
    for index in range(TERMS):
        term = slot + (LEFT * LANES - BESIDE + index // LANES + index % LANES if CONTIGUOUS else index)
        lane = index % LANES
        row_sums[lane] = add_term(near, near, term, term, row_sums[lane])
    for lane in range(LANES):
        rings[START + RING - LANES + lane] = row_sums[lane]


def add_ring(rings, totals):
    """The sum over the first axis."""
    for slot in range(RING):
        totals[TOTAL + slot % LANES] = totals[TOTAL + slot % LANES] + rings[START + slot]


def box(local, pointers, integers, par, sums):
    """One phase."""
    columns, length, inner, chunk, width, unit = integers
    near = Near(*local[:SUMMED])
    values = Values(*local[SUMMED:])
    bases = cuda.local.array(BASES, np.int64)
    place(columns, length, inner, bases)
    if bases[0] < 0:
        return
    beside = bases[0] % inner // unit % width
    first = cuda.blockIdx.y * chunk
    last = min(first + chunk, length)
    rings = cuda.local.array(RINGS, real)
    row_sums = cuda.local.array(LANES, real)
    totals = cuda.local.array(TOTALS, real)
    shares = cuda.local.array(3, real)
    for index in range(3):
        shares[index] = real(0.0)
    row = first - BEFORE
    while row < first + AFTER:
        inside = row >= 0 and row < length
        load_all_beside(pointers, bases[0] + row * inner, inside, beside, width, unit, near, 0)
        push_rows(near, 0, rings, row_sums)
        row += 1
    row = first
    while row < last:
        for step in range(STEPS):
            ahead = row + step + AFTER
            start = bases[0] + ahead * inner
            load_all_beside(pointers, start, ahead < length, beside, width, unit, near, step * SPAN)
            load_rows(pointers, bases, row + step, length, inner, values, step * LANES)
        for step in range(STEPS):
            push_rows(near, step * SPAN, rings, row_sums)
            clear(totals)
            add_rows(rings, totals)
            for lane in range(LANES):
                at = step * LANES + lane
                emit_stages(values, par, at, at, totals, lane, row + step < last, shares)
            if SUMS:
                add_shares(shares, sums)
            if row + step < last:
                store_rows(pointers, bases, row + step, inner, values, step * LANES)
        row += STEPS
