"""Small windows along the contiguous axis: a thread owns LANES neighbours and reloads those beside them through L1.

``columns`` is the number of elements. LANES divides ``length``, so that a neighbouring vector is inside the row or
outside as a whole; where nothing else does, LANES is 1.
With two phases a block's threads exchange what the first keeps through shared memory, and the blocks overlap by the
vectors that the transposed windows reach on either side.
"""

from numba_lrn.backends.cuda.forms.stages import adding, emitting

BLOCK = 256


def reach(variant):
    """Whole vectors that hold the ends of a window."""
    return -(-variant.before // variant.lanes), -(-variant.after // variant.lanes)


def halo(variant):
    """Threads of a block that compute no result."""
    return sum(reach(variant)) if variant.twice else 0


def local_sizes(variant):
    """The vectors near each array that the first phase sums, the thread's own of every array, and near those kept."""
    first, last = variant.phases[0], variant.phases[-1]
    span = (1 + sum(reach(variant))) * variant.lanes
    behind = last.summed if variant.twice else ()
    return [span for _ in first.summed] + [variant.lanes for _ in variant.own] + [span for _ in behind]


def constants(variant):
    """Whole vectors that hold the window's ends: of the window, and of the transposed one."""
    lanes = variant.lanes
    left, right = reach(variant)
    first, last = variant.phases[0], variant.phases[-1]
    return {
        "BLOCK": BLOCK,
        "Near": variant.tuple_of(first.summed),
        "Values": variant.tuple_of(variant.own),
        "Behind": variant.tuple_of(last.summed),
        "SUMMED": len(first.summed),
        "FIELDS": len(first.summed) + len(variant.own),
        "TWICE": variant.twice,
        "LEFT": left,
        "NEAR": left + 1 + right,
        "SHARED": BLOCK * lanes * len(last.summed),
        # What the transposed window of a second phase reaches: ``right`` vectors before, ``left`` after.
        "HALO_LEFT": right if variant.twice else 0,
        "HALO_RIGHT": left if variant.twice else 0,
    }


def helpers(variant):
    """What is done for each array and each stage."""
    own, pointer, chains = variant.own.index, variant.pointers.index, variant.chains
    first, last = variant.phases[0], variant.phases[-1]
    behind = list(enumerate(last.summed)) if variant.twice else []
    return {
        "load_all_near": [
            (load_near, {"FIELD": place, "POINTER": pointer(name)}) for place, name in enumerate(first.summed)
        ],
        "load_own": [
            (load_vector, {"FIELD": own(name), "POINTER": pointer(name)})
            for name in variant.loaded
            if name not in first.summed
        ],
        "take_own": [
            (take_middle, {"SOURCE": place, "FIELD": own(name)})
            for place, name in enumerate(first.summed)
            if name in variant.own
        ],
        "add_terms": adding(first, chains),
        "emit_stages": emitting(first, chains),
        "store_own": [(store_vector, {"FIELD": own(name), "POINTER": pointer(name)}) for name in variant.stored(first)],
        "offer_kept": [(offer, {"FIELD": own(name), "START": place * BLOCK * variant.lanes}) for place, name in behind],
        "load_all_kept": [(load_kept, {"FIELD": place, "START": place * BLOCK * variant.lanes}) for place, _ in behind],
        "add_terms_behind": adding(last, chains),
        "emit_stages_behind": emitting(last, chains),
        "store_behind": [
            (store_vector, {"FIELD": own(name), "POINTER": pointer(name)}) for name in variant.stored(last)
        ],
        "second_phase": [(behind_last, {})] if variant.twice else [],
    }


def load_near(pointers, at, position, length, near):
    """The vectors from LEFT before to as many after as the window reaches; zeros beyond the row."""
    for vector in range(NEAR):
        for lane in range(LANES):
            near[FIELD][vector * LANES + lane] = real(0.0)
        shift = (vector - LEFT) * LANES
        if position + shift >= 0 and position + shift < length:
            load_lanes(pointers[POINTER], at + shift, near[FIELD], vector * LANES)


def load_vector(pointers, at, own):
    """The thread's own elements of one array."""
    load_lanes(pointers[POINTER], at, own[FIELD], 0)


def take_middle(near, own):
    """The same, of an array that is summed."""
    for lane in range(LANES):
        own[FIELD][lane] = near[SOURCE][LEFT * LANES + lane]


def store_vector(pointers, at, own):
    """Write the thread's own elements of one array."""
    store_lanes(pointers[POINTER], at, own[FIELD], 0)


def last(local, pointers, integers, par, sums):
    """One phase or both."""
    columns, length, _, _ = integers
    near = Near(*local[:SUMMED])
    own = Values(*local[SUMMED:FIELDS])
    thread = cuda.threadIdx.x
    at = (cuda.blockIdx.x * (BLOCK - HALO_LEFT - HALO_RIGHT) + thread - HALO_LEFT) * LANES
    valid = at >= 0 and at < columns
    useful = valid and thread >= HALO_LEFT and thread < BLOCK - HALO_RIGHT
    position = at % length if valid else 0
    totals = cuda.local.array(TOTALS, real)
    shares = cuda.local.array(3, real)
    for index in range(3):
        shares[index] = real(0.0)
    if valid:
        load_all_near(pointers, at, position, length, near)
        load_own(pointers, at, own)
        take_own(near, own)
        clear(totals)
        for slot in range(RING):
            add_terms(near, LEFT * LANES - BEFORE + slot // LANES + slot % LANES, totals, slot % CHAINS)
        for lane in range(LANES):
            emit_stages(own, par, lane, lane, totals, lane, useful, shares)
        if SUMS:
            add_shares(shares, sums)
        if useful:
            store_own(pointers, at, own)
    second_phase(local, own, pointers, at, position, length, valid, useful, par, totals, shares)


def behind_last(local, own, pointers, at, position, length, valid, useful, par, totals, shares):
    """The second phase."""
    shared = cuda.shared.array(SHARED, real_type, alignment=SHARED_ALIGNMENT)
    near = Behind(*local[FIELDS:])
    offer_kept(own, valid, shared)
    cuda.syncthreads()
    if useful:
        load_all_kept(shared, position, length, near)
        clear(totals)
        for slot in range(RING):
            add_terms_behind(near, HALO_LEFT * LANES - AFTER + slot // LANES + slot % LANES, totals, slot % CHAINS)
        for lane in range(LANES):
            emit_stages_behind(own, par, lane, lane, totals, lane, False, shares)
        store_behind(pointers, at, own)


def offer(own, valid, shared):
    """Show the block what the thread keeps; zeros from beyond the array."""
    for lane in range(LANES):
        own[FIELD][lane] = own[FIELD][lane] if valid else real(0.0)
    store_lanes(shared, START + cuda.threadIdx.x * LANES, own[FIELD], 0)


def load_kept(shared, position, length, near):
    """What the neighbours keep, as far as the transposed window reaches; zeros beyond the row."""
    for vector in range(NEAR):
        for lane in range(LANES):
            near[FIELD][vector * LANES + lane] = real(0.0)
        shift = vector - HALO_LEFT
        if position + shift * LANES >= 0 and position + shift * LANES < length:
            load_lanes(shared, START + (cuda.threadIdx.x + shift) * LANES, near[FIELD], vector * LANES)
