"""Small windows along the contiguous axis: a thread owns LANES neighbours and reloads those beside them through L1.

``columns`` is the number of elements. LANES divides ``length``, so that a neighbouring vector is inside the row or
outside as a whole; where nothing else does, LANES is 1.
"""

BLOCK = 256
HELPERS = ("load_near", "sum_near")


def constants(variant):
    """Whole vectors that hold the window's ends: of the window, and of the transposed one in shared memory."""
    lanes = variant.lanes
    left, right = -(-variant.before // lanes), -(-variant.after // lanes)
    return {
        "BLOCK": BLOCK,
        "LEFT": left,
        "NEAR": left + 1 + right,
        "SPAN": (left + 1 + right) * lanes,
        "SHARED": BLOCK * lanes,
        # What the transposed window of a second stage reaches: ``right`` vectors before, ``left`` after.
        "HALO_LEFT": right,
        "HALO_RIGHT": left,
    }


def halo(variant):
    """Threads of a block of ``last_twice`` that compute no result."""
    return -(-variant.before // variant.lanes) - (-variant.after // variant.lanes)


def last(source, x, g, out, kept, scratch, columns, length, inner, chunk, before, after, par):
    """One stage."""
    at = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * LANES
    if at >= columns:
        return
    position = at % length
    near = cuda.local.array(SPAN, real)
    own_x = cuda.local.array(LANES, real)
    own_g = cuda.local.array(LANES, real)
    own_kept = cuda.local.array(LANES, real)
    result = cuda.local.array(LANES, real)
    totals = cuda.local.array(CHAINS, real)
    for vector in range(NEAR):
        load_near(source, at, position, length, vector - LEFT, near, vector * LANES)
    if READS_X:
        load_lanes(x, at, own_x, 0)
    if READS_G:
        load_lanes(g, at, own_g, 0)
    if READS_KEPT:
        load_lanes(kept, at, own_kept, 0)
    sum_near(near, totals)
    for lane in range(LANES):
        if not READS_X:
            own_x[lane] = near[LEFT * LANES + lane]
        total = totals[lane] + totals[LANES + lane] if CHAINS > LANES else totals[lane]
        emit(Arrays(own_x, own_g, result), Buffers(result, own_kept), par, lane, lane, total)
    store_lanes(out, at, result, 0)
    if WRITES_KEPT:
        store_lanes(kept, at, own_kept, 0)


def load_near(array, at, position, length, vectors, into, slot):
    """The vector so many vectors further on; zeros beyond the row."""
    for lane in range(LANES):
        into[slot + lane] = real(0.0)
    place = position + vectors * LANES
    if place >= 0 and place < length:
        load_lanes(array, at + vectors * LANES, into, slot)


def sum_near(near, totals):
    """totals[lane], in CHAINS // LANES parts: the terms from ``before`` elements before to ``after`` after."""
    for slot in range(CHAINS):
        totals[slot] = real(0.0)
    for slot in range(RING):
        chain = slot % CHAINS
        place = LEFT * LANES - BEFORE + slot // LANES + slot % LANES
        totals[chain] = add_term(Arrays(near, near, near), Buffers(near, near), place, place, totals[chain])


def last_twice(source, x, g, out, kept, scratch, columns, length, inner, chunk, before, after, par):
    """Both stages: a block's threads exchange what the first keeps through shared memory.

    The blocks overlap by the vectors that the transposed window reaches on either side.
    """
    shared = cuda.shared.array(SHARED, real_type, alignment=SHARED_ALIGNMENT)
    thread = cuda.threadIdx.x
    at = (cuda.blockIdx.x * (BLOCK - HALO_LEFT - HALO_RIGHT) + thread - HALO_LEFT) * LANES
    valid = at >= 0 and at < columns
    position = at % length if valid else 0
    near = cuda.local.array(SPAN, real)
    own_x = cuda.local.array(LANES, real)
    own_g = cuda.local.array(LANES, real)
    own_kept = cuda.local.array(LANES, real)
    residual = cuda.local.array(LANES, real)
    result = cuda.local.array(LANES, real)
    totals = cuda.local.array(CHAINS, real)
    for lane in range(LANES):
        residual[lane] = real(0.0)
    if valid:
        for vector in range(NEAR):
            load_near(x, at, position, length, vector - LEFT, near, vector * LANES)
        load_lanes(g, at, own_g, 0)
        sum_near(near, totals)
        for lane in range(LANES):
            own_x[lane] = near[LEFT * LANES + lane]
            total = totals[lane] + totals[LANES + lane] if CHAINS > LANES else totals[lane]
            emit(Arrays(own_x, own_g, result), Buffers(residual, own_kept), par, lane, lane, total)
    store_lanes(shared, thread * LANES, residual, 0)
    cuda.syncthreads()
    if valid and thread >= HALO_LEFT and thread < BLOCK - HALO_RIGHT:
        for vector in range(NEAR):
            slot = vector * LANES
            for lane in range(LANES):
                near[slot + lane] = real(0.0)
            place = position + (vector - HALO_LEFT) * LANES
            if place >= 0 and place < length:
                load_lanes(shared, (thread + vector - HALO_LEFT) * LANES, near, slot)
        for slot in range(CHAINS):
            totals[slot] = real(0.0)
        for slot in range(RING):
            chain = slot % CHAINS
            place = HALO_LEFT * LANES - AFTER + slot // LANES + slot % LANES
            totals[chain] = add_second(Arrays(near, near, near), Buffers(near, near), place, place, totals[chain])
        for lane in range(LANES):
            total = totals[lane] + totals[LANES + lane] if CHAINS > LANES else totals[lane]
            emit_second(Arrays(own_x, own_g, result), Buffers(residual, own_kept), par, lane, lane, total)
        store_lanes(out, at, result, 0)
