"""Small windows with a stride: a thread walks down its columns with the last n rows in registers.

``ring`` holds those rows, the oldest first; after every row it moves by one place, which costs nothing where the
compiler has unrolled the steps and renames registers instead. (row, lane) is one index, ``slot``, in every local
array: on sm_100 and sm_120 loops nested three deep are not unrolled, and the ring would fall into local memory.
The rows of STEPS steps are loaded before any of them is used: the compiler cannot move a load above a store, as it
does not know that the arrays are apart.
"""

HELPERS = ()


def constants(variant):
    """Nothing beside what every form has."""
    return {}


def walk(source, x, g, out, kept, scratch, columns, length, inner, chunk, before, after, par):
    """One stage: rows of one chunk of ``out``, and of ``kept`` where the stage keeps."""
    bases = cuda.local.array(BASES, np.int64)
    place(columns, length, inner, bases)
    if bases[0] < 0:
        return
    first = cuda.blockIdx.y * chunk
    last = min(first + chunk, length)
    ring = cuda.local.array(RING, real)
    ahead = cuda.local.array(BATCH, real)
    batch_x = cuda.local.array(BATCH, real)
    batch_g = cuda.local.array(BATCH, real)
    batch_kept = cuda.local.array(BATCH, real)
    result = cuda.local.array(BATCH, real)
    totals = cuda.local.array(CHAINS, real)
    for row in range(N - 1):
        load_row(source, bases, first - BEFORE + row, length, inner, ring, (row + 1) * LANES)
    row = first
    while row < last:
        for step in range(STEPS):
            load_row(source, bases, row + step + AFTER, length, inner, ahead, step * LANES)
            if READS_X:
                load_row(x, bases, row + step, length, inner, batch_x, step * LANES)
            if READS_G:
                load_row(g, bases, row + step, length, inner, batch_g, step * LANES)
            if READS_KEPT:
                load_row(kept, bases, row + step, length, inner, batch_kept, step * LANES)
        for step in range(STEPS):
            for slot in range(RING - LANES):
                ring[slot] = ring[slot + LANES]
            for lane in range(LANES):
                ring[RING - LANES + lane] = ahead[step * LANES + lane]
                if not READS_X:
                    batch_x[step * LANES + lane] = ring[BEFORE * LANES + lane]
            for slot in range(CHAINS):
                totals[slot] = real(0.0)
            for slot in range(RING):
                chain = slot % CHAINS
                totals[chain] = add_term(Arrays(ring, ring, ring), Buffers(ring, ring), slot, slot, totals[chain])
            for lane in range(LANES):
                at = step * LANES + lane
                total = totals[lane] + totals[LANES + lane] if CHAINS > LANES else totals[lane]
                emit(Arrays(batch_x, batch_g, result), Buffers(result, batch_kept), par, at, at, total)
            if row + step < last:
                store_row(out, bases, row + step, inner, result, step * LANES)
                if WRITES_KEPT:
                    store_row(kept, bases, row + step, inner, batch_kept, step * LANES)
        row += STEPS


def walk_twice(source, x, g, out, kept, scratch, columns, length, inner, chunk, before, after, par):
    """Both stages in one pass: the first leads, the transposed window of the second follows BEFORE rows behind.

    When the first stage has row j, the ring of x holds rows j − BEFORE to j + AFTER, and the rings of what it keeps
    hold rows j − (n − 1) to j: all that row j − BEFORE of ``out`` needs.
    """
    bases = cuda.local.array(BASES, np.int64)
    place(columns, length, inner, bases)
    if bases[0] < 0:
        return
    first = cuda.blockIdx.y * chunk
    last = min(first + chunk, length)
    ring = cuda.local.array(RING, real)
    residual_ring = cuda.local.array(RING, real)
    kept_ring = cuda.local.array(RING, real)
    g_ring = cuda.local.array(RING, real)
    result = cuda.local.array(RING, real)
    ahead = cuda.local.array(BATCH, real)
    batch_g = cuda.local.array(BATCH, real)
    totals = cuda.local.array(CHAINS, real)
    for slot in range(RING):
        residual_ring[slot] = real(0.0)
        kept_ring[slot] = real(0.0)
    for row in range(N - 1):
        load_row(x, bases, first - AFTER - BEFORE + row, length, inner, ring, (row + 1) * LANES)
    row = first - AFTER
    while row < last + BEFORE:
        for step in range(STEPS):
            load_row(x, bases, row + step + AFTER, length, inner, ahead, step * LANES)
            load_row(g, bases, row + step, length, inner, batch_g, step * LANES)
        for step in range(STEPS):
            for slot in range(RING - LANES):
                ring[slot] = ring[slot + LANES]
                residual_ring[slot] = residual_ring[slot + LANES]
                kept_ring[slot] = kept_ring[slot + LANES]
            for lane in range(LANES):
                ring[RING - LANES + lane] = ahead[step * LANES + lane]
                g_ring[BEFORE * LANES + lane] = batch_g[step * LANES + lane]
            arrays = Arrays(ring, g_ring, result)
            buffers = Buffers(residual_ring, kept_ring)
            for slot in range(CHAINS):
                totals[slot] = real(0.0)
            for slot in range(RING):
                chain = slot % CHAINS
                totals[chain] = add_term(arrays, buffers, slot, slot, totals[chain])
            inside = row + step >= 0 and row + step < length
            for lane in range(LANES):
                total = totals[lane] + totals[LANES + lane] if CHAINS > LANES else totals[lane]
                newest = RING - LANES + lane
                emit(arrays, buffers, par, BEFORE * LANES + lane, newest, total)
                # Selected, not multiplied by 0: beyond the axis d = k, which may be 0.
                residual_ring[newest] = residual_ring[newest] if inside else real(0.0)
            for slot in range(CHAINS):
                totals[slot] = real(0.0)
            for slot in range(RING):
                chain = slot % CHAINS
                totals[chain] = add_second(arrays, buffers, slot, slot, totals[chain])
            for lane in range(LANES):
                total = totals[lane] + totals[LANES + lane] if CHAINS > LANES else totals[lane]
                emit_second(arrays, buffers, par, lane, AFTER * LANES + lane, total)
            target = row + step - BEFORE
            if target >= first and target < last:
                store_row(out, bases, target, inner, result, 0)
        row += STEPS
