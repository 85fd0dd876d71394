"""Small boxes over two axes: a thread walks down the first with the sums of its last n rows in registers.

``inner`` is a row: all that follows the first windowed axis, of which the second has ``width`` elements, ``unit``
apart. The elements beside the thread's own are reloaded through L1, as in last.py; so is the row in the middle of the
window. The second axis is contiguous and its width a multiple of LANES, or ``unit`` is; else LANES is 1.
"""

HELPERS = ("load_beside", "sum_beside")


def constants(variant):
    """The vectors beside the thread's own: CONTIGUOUS ones hold neighbours, the others are ``unit`` apart."""
    lanes = variant.lanes
    before, after = variant.beside
    contiguous = variant.form == "box_contiguous"
    left, right = (-(-before // lanes), -(-after // lanes)) if contiguous else (before, after)
    return {
        "CONTIGUOUS": contiguous,
        "BESIDE": before,
        "LEFT": left,
        "NEAR": left + 1 + right,
        "SPAN": (left + 1 + right) * lanes,
        "NEAR_BATCH": (left + 1 + right) * lanes * variant.steps,
        "TERMS": (before + 1 + after) * lanes,
    }


def load_beside(source, at, inside, place, width, unit, near, slot):
    """The vectors beside ``at``, which is element ``place`` of the second axis; zeros beyond it."""
    for filled in range(SPAN):
        near[slot + filled] = real(0.0)
    for vector in range(NEAR):
        shift = (vector - LEFT) * (LANES if CONTIGUOUS else 1)
        if inside and place + shift >= 0 and place + shift < width:
            load_lanes(source, at + shift * (1 if CONTIGUOUS else unit), near, slot + vector * LANES)


def sum_beside(near, slot, totals):
    """totals[lane] = the terms beside one another in a row."""
    for lane in range(LANES):
        totals[lane] = real(0.0)
    for index in range(TERMS):
        term = slot + (LEFT * LANES - BESIDE + index // LANES + index % LANES if CONTIGUOUS else index)
        lane = index % LANES
        totals[lane] = add_term(Arrays(near, near, near), Buffers(near, near), term, term, totals[lane])


def box(source, x, g, out, kept, scratch, columns, length, inner, chunk, width, unit, par):
    """One stage."""
    bases = cuda.local.array(BASES, np.int64)
    place(columns, length, inner, bases)
    if bases[0] < 0:
        return
    beside = bases[0] % inner // unit % width
    first = cuda.blockIdx.y * chunk
    last = min(first + chunk, length)
    ring = cuda.local.array(RING, real)
    near = cuda.local.array(NEAR_BATCH, real)
    batch_x = cuda.local.array(BATCH, real)
    batch_g = cuda.local.array(BATCH, real)
    batch_kept = cuda.local.array(BATCH, real)
    result = cuda.local.array(BATCH, real)
    totals = cuda.local.array(LANES, real)
    row = first - BEFORE
    while row < first + AFTER:
        # The ring is moved here too: with another place for every row, sm_100 and sm_120 keep it in local memory.
        for slot in range(RING - LANES):
            ring[slot] = ring[slot + LANES]
        load_beside(source, bases[0] + row * inner, row >= 0 and row < length, beside, width, unit, near, 0)
        sum_beside(near, 0, totals)
        for lane in range(LANES):
            ring[RING - LANES + lane] = totals[lane]
        row += 1
    row = first
    while row < last:
        for step in range(STEPS):
            ahead = row + step + AFTER
            load_beside(source, bases[0] + ahead * inner, ahead < length, beside, width, unit, near, step * SPAN)
            if READS_X:
                load_row(x, bases, row + step, length, inner, batch_x, step * LANES)
            if READS_G:
                load_row(g, bases, row + step, length, inner, batch_g, step * LANES)
            if READS_KEPT:
                load_row(kept, bases, row + step, length, inner, batch_kept, step * LANES)
        for step in range(STEPS):
            for slot in range(RING - LANES):
                ring[slot] = ring[slot + LANES]
            sum_beside(near, step * SPAN, totals)
            for lane in range(LANES):
                ring[RING - LANES + lane] = totals[lane]
                totals[lane] = real(0.0)
            for slot in range(RING):
                totals[slot % LANES] = totals[slot % LANES] + ring[slot]
            for lane in range(LANES):
                at = step * LANES + lane
                emit(Arrays(batch_x, batch_g, result), Buffers(result, batch_kept), par, at, at, totals[lane])
            if row + step < last:
                store_row(out, bases, row + step, inner, result, step * LANES)
                if WRITES_KEPT:
                    store_row(kept, bases, row + step, inner, batch_kept, step * LANES)
        row += STEPS
