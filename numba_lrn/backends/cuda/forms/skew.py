"""Small windows over rows that begin anywhere in a sector of memory: blocks take tiles of skewed rows.

A sector of 32 bytes of which two blocks write a part each is slow (docs/cuda-kernels.md), and rows of an odd number of
elements begin within one. Here a *sample*, all rows of one outer index, is cut into rows that are SKEW elements shorter
than those of the axis (longer, where it is negative), so that each begins with a sector. What lies k rows further along
the axis lies k skewed rows further, and k·SKEW elements beside.

A block has a tile of skewed rows. It reads the tile, the rows before and after that windows reach, and EDGE vectors on
either side, into shared memory as they are. A thread computes a vector of LANES elements in each of STEPS rows, one row
after another, so that the windows of two rows that follow each other share all rows but one. A sample is a whole number
of vectors, so that each that is read or written is all there or not at all.
"""

from typing import Any

from numba_lrn.backends.cuda.forms import line
from numba_lrn.backends.cuda.forms.stages import adding, chains, emitting

BEYOND = 1  # vectors of a thread that are under way, beside those of its rows: of rows that windows reach
THREADS = 1024  # side by side, for which the compiler keeps registers in half types: 84 % over 55 × 55 instead of 79
# The powers for which it can: with the others of half types, β = 1/4 and 1/2, it keeps 16 to 64 bytes in local memory.
BOUNDED = ("power_three_quarters_rough", "power_one_rough", "power_any_rough")


def edge(variant: Any) -> int:
    """The vectors that windows reach on either side."""
    return -(-max(variant.before, variant.after) * abs(variant.span) // variant.lanes)


def pitch_of(rows: Any) -> Any:
    """The vectors of a column in shared memory: an odd number, so that neighbours do not meet in one bank."""
    return rows | 1


def launch_bounds(variant: Any, compute_capability: tuple[int, int]) -> tuple[int, int] | None:
    """(threads, blocks side by side) that the compiler keeps registers for: 64 a thread, where powers take no more.

    For sm_100 and sm_120 it would keep up to 64 bytes in local memory so, and needs few more registers without.
    """
    bounded = variant.power in BOUNDED and compute_capability < (10, 0)
    return (256, THREADS // 256) if bounded else None


def local_sizes(variant):
    """What windows sum; the thread's own elements of a row."""
    near = (variant.steps + variant.before + variant.after) * (2 * edge(variant) + 1) * variant.lanes
    return [near, *(variant.lanes for _ in variant.own)]


def constants(variant):
    """Sizes of local arrays."""
    return {
        **chains(variant),
        "Near": variant.tuple_of(variant.phases[0].summed),
        "Values": variant.tuple_of(variant.own),
        "SKEW": variant.span,
        "EDGE": edge(variant),
        "WIDTH": (2 * edge(variant) + 1) * variant.lanes,
        "TOTALS": variant.lanes,
        "LOADS": variant.steps + BEYOND,
        "WORDS": line.WORDS,
        "UNDER_WAY": (variant.steps + BEYOND) * line.WORDS,
        "SECTOR": line.SECTOR,
    }


def helpers(variant):
    """What is done for each row: where all of a tile and of what it reads is there, nothing is asked."""
    (phase,) = variant.phases
    (summed,) = phase.summed
    place = {"POINTER": variant.pointers.index(summed)}
    return {
        "part_of": [(line.part_of, {})],
        "ground_of": [(line.ground_of, {})],
        "emit_stages": emitting(phase, variant.lanes),
        "pitch_of": [(pitch_of, {})],
        "fetch": [(fetch, {**place, "CHECKED": False})],
        "fetch_checked": [(fetch, {**place, "CHECKED": True})],
        "fetch_one": [(fetch, {**place, "CHECKED": True, "LOADS": 1, "STEPS": 1})],
        "show": [(show, {})],
        "emit_rows": _rows(variant, phase, summed, False),
        "emit_rows_checked": _rows(variant, phase, summed, True),
    }


def _rows(variant, phase, summed, checked):
    """One row of a thread after another."""
    field, pointer = variant.own.index, variant.pointers.index
    terms = variant.before + 1 + variant.after
    found = [(see, _seen(variant, row)) for row in range(terms - 1)]
    for step in range(variant.steps):
        found.append((see, _seen(variant, step + terms - 1)))
        found += [(function, {**own, "STEP": step}) for function, own in adding(phase, variant.lanes, add)]
        found += [(take, {"FIELD": field(name), "STEP": step}) for name in variant.own if name == summed]
        found.append((emit_row, {}))
        found += [
            (store_row, {"FIELD": field(name), "POINTER": pointer(name), "STEP": step, "CHECKED": checked})
            for name in variant.stored(phase)
        ]
    return found


def _seen(variant, row):
    """Which vectors of a row, counted from a thread's own, have terms of its windows."""
    terms = variant.before + 1 + variant.after
    reached = [(term - variant.before) * variant.span for term in range(terms) if 0 <= row - term < variant.steps]
    first = min(reached) // variant.lanes
    return {"ROW": row, "FIRST": first, "COUNT": (max(reached) + variant.lanes - 1) // variant.lanes - first + 1}


def fetch(pointers, start, at, hop, low, high, more, words):
    """Read a thread's vectors of the tile's rows and, where there is ``more``, of what lies beyond; zeros beyond the
    sample.
    """
    for step in range(LOADS):
        place = np.int32(at + step * hop)
        if CHECKED:
            for word in range(WORDS):
                words[step * WORDS + word] = np.int32(0)
        if (step < STEPS or more) and (not CHECKED or (low <= place and place < high)):
            load_words(pointers[POINTER], start + place, words, step * WORDS)


def show(shared, to, hop, more, words):
    """Put them into shared memory."""
    for step in range(LOADS):
        if step < STEPS or more:
            store_words(shared, np.int32(to + step * hop), words, step * WORDS)


def see(pointers, ground, shared, place, pitch, near, totals, own, par, shares):
    """A row of what windows sum."""
    for vector in range(COUNT):
        source = place + (FIRST + vector) * pitch + ROW * LANES
        load_lanes(shared, source, near[0], ROW * WIDTH + (EDGE + FIRST + vector) * LANES)


def add(pointers, ground, shared, place, pitch, near, totals, own, par, shares):
    """The windows of a row."""
    parts = cuda.local.array(2, real)
    for lane in range(LANES):
        parts[0] = EMPTY
        parts[1] = EMPTY
        for term in range(TERMS):
            at = (STEP + term) * WIDTH + (EDGE * LANES + lane) + (term - BEFORE) * SKEW
            parts[term % CHAINS] = add_term(near, near, at, at, parts[term % CHAINS])
        totals[TOTAL + lane] = parts[0] + parts[1]


def take(pointers, ground, shared, place, pitch, near, totals, own, par, shares):
    """The thread's own elements of what is summed."""
    for lane in range(LANES):
        own[FIELD][lane] = near[0][(STEP + BEFORE) * WIDTH + EDGE * LANES + lane]


def emit_row(pointers, ground, shared, place, pitch, near, totals, own, par, shares):
    """What becomes of the sums."""
    for lane in range(LANES):
        emit_stages(own, par, lane, lane, totals, lane, False, shares)


def store_row(pointers, ground, shared, place, pitch, near, totals, own, par, shares):
    """Write a row of one array."""
    start, first, row, low, high = ground
    at = np.int32(first + STEP * row)
    if not CHECKED or (low <= at and at < high):
        store_lanes(pointers[POINTER], start + at, own[FIELD], 0)


def skew(local, pointers, integers, par, sums):
    """A tile of skewed rows."""
    _, length, inner, across, tiles, samples = integers
    near = Near(local[0])
    own = Values(*local[1:])
    x, y = np.int32(cuda.threadIdx.x), np.int32(cuda.threadIdx.y)
    wide, groups = np.int32(cuda.blockDim.x), np.int32(cuda.blockDim.y)
    row = np.int32(inner - SKEW)
    tile, sample = part_of(cuda.blockIdx.x, np.int32(tiles))
    if sample >= np.int32(samples):
        return
    left = np.int32(tile * np.int32(across))
    band = np.int32(cuda.blockIdx.y * groups * STEPS)
    elements = np.int32(np.int32(length) * np.int32(inner))
    start, low, high = ground_of(sample, elements, np.int32(band * row + left))
    column = np.int32((x - EDGE) * LANES)
    rows = np.int32(groups * STEPS + (BEFORE + AFTER))
    pitch = np.int32(pitch_of(rows) * LANES)
    shared = cuda.shared.array(0, carrier_type, alignment=SHARED_ALIGNMENT)
    words = cuda.local.array(UNDER_WAY, np.int32)
    totals = cuda.local.array(TOTALS, real)
    shares = cuda.local.array(3, real)
    at, to = np.int32((y - BEFORE) * row + column), np.int32(x * pitch + y * LANES)
    number = np.int32(y + LOADS * groups)
    more = np.int32(number - groups) < rows
    if low <= np.int32(-BEFORE * row - EDGE * LANES) and np.int32(rows * row + wide * LANES) <= high:
        fetch(pointers, start, at, np.int32(groups * row), low, high, more, words)
    else:
        fetch_checked(pointers, start, at, np.int32(groups * row), low, high, more, words)
    show(shared, to, np.int32(groups * LANES), more, words)
    while number < rows:
        at = np.int32((number - BEFORE) * row + column)
        fetch_one(pointers, start, at, 0, low, high, False, words)
        store_words(shared, np.int32(x * pitch + number * LANES), words, 0)
        number = np.int32(number + groups)
    cuda.syncthreads()
    first = np.int32(y * STEPS * row + column)
    # Threads that have read what a neighbour's windows reach compute nothing, nor do those beyond the sample.
    if x >= EDGE and x < np.int32(wide - EDGE) and np.int32(left + column) < row and first < high:
        place = np.int32(x * pitch + y * (STEPS * LANES))
        ground = start, first, row, low, high
        if low <= first and np.int32(first + (STEPS - 1) * row) < high:
            emit_rows(pointers, ground, shared, place, pitch, near, totals, own, par, shares)
        else:
            emit_rows_checked(pointers, ground, shared, place, pitch, near, totals, own, par, shares)
