"""Small boxes over two axes, all phases in one kernel: each array is read once or written once, and no other is.

A block walks down the first axis, STEPS rows at a time. It has the whole second axis, or a tile of it, of several
planes or channels side by side; a thread has LANES elements of each row. Rows are summed along the second axis, with
the neighbours' elements from shared memory, then down the first, with the sums of the last n rows in the thread's
registers. So the middle of a window lies ``after`` rows behind the row that enters it, and that of the transposed
window ``before`` rows behind the middle of the first; the thread keeps its own elements as long. It asks for the next
rows before it computes.

A tile has ``lead`` threads before its own, and as many after, which compute what its windows need and no result. A
chunk of the first axis begins and ends beyond its own by what its windows reach. Neither changes a bit. Where planes
are not cut, no thread reads from memory what another writes, and each reads an element before it writes it.

``inner`` is a row: all that follows the first windowed axis, of which the second has ``width`` elements, ``unit``
apart. Lanes are neighbours along the second axis where it is the last in memory, else along what follows it.
"""

from typing import Any, NamedTuple

from numba_lrn.backends.cuda.forms.stages import adding, emitting

SIDE_THREADS = 4  # that have one element of the second axis, where that is not the last in memory


class Part(NamedTuple):
    """A phase, and where its rows lie among those that a thread keeps."""

    name: str
    phase: Any
    newest: int  # the first of the rows that enter the windows
    middle: int  # the first of the rows in the middle of windows
    beside: int  # elements before the middle along the second axis
    plane: int  # the first of its arrays in shared memory
    window: int  # the first of its windows


def is_contiguous(variant):
    """Whether the second axis is the last in memory."""
    return variant.form.endswith("_contiguous")


def parts(variant):
    """The phases."""
    first, *rest = variant.phases  # at most one more
    before, (left, right) = variant.before, variant.beside
    return (
        Part("first", first, before + variant.after, before, left, 0, 0),
        *(Part("last", last, before, 0, right, len(first.summed), first.windows) for last in rest),
    )


def delay(variant, part):
    """How many rows the middle of a window lies behind the row that is read."""
    return variant.before + variant.after - part.middle


def fields_of(variant):
    """The arrays of which a thread keeps its own elements."""
    return tuple(dict.fromkeys((*variant.phases[0].summed, *variant.own)))


def planes_of(variant):
    """How many arrays lie in shared memory."""
    return sum(len(phase.summed) for phase in variant.phases)


def rows_of(variant):
    """The rows from the oldest in a window to the newest of those that are summed together."""
    return variant.before + variant.after + variant.steps


def vectors(variant, elements):
    """The vectors beside the thread's own in which so many elements lie."""
    return -(-elements // variant.lanes) if is_contiguous(variant) else elements


def near(variant):
    """The vectors of a row that a thread sums."""
    left, right = variant.beside
    return vectors(variant, left) + 1 + vectors(variant, right)


def edge(variant: Any) -> int:
    """The vectors of zeros at both ends of a row in shared memory."""
    return vectors(variant, max(variant.beside))


def side(variant: Any) -> int:
    """Threads side by side that have the same element of the second axis."""
    return 1 if is_contiguous(variant) else SIDE_THREADS


def hop(variant: Any) -> int:
    """The vectors between neighbours along the second axis in shared memory: odd, so that no two meet in one bank."""
    return planes_of(variant) * variant.steps | 1


def local_sizes(variant):
    """The thread's own rows of every array, with those ahead; one row, and what is beside it, of all that is summed."""
    own = (rows_of(variant) + variant.steps) * variant.lanes
    return [own for _ in fields_of(variant)] + [near(variant) * variant.lanes] * planes_of(variant)


def constants(variant):
    """Sizes of local arrays."""
    windows = sum(phase.windows for phase in variant.phases)
    return {
        "Values": variant.tuple_of(fields_of(variant)),
        "FIELDS": len(fields_of(variant)),
        "CONTIGUOUS": is_contiguous(variant),
        "TWICE": variant.twice,
        "REACH": variant.before + variant.after,
        "LEAD": variant.before + (variant.after if variant.twice else 0),
        "TRAIL": delay(variant, parts(variant)[-1]),
        "EDGE": edge(variant),
        "SIDE": side(variant),
        "LINE": side(variant) * variant.lanes,
        "HOP": hop(variant) * side(variant) * variant.lanes,
        "NEAR": near(variant),
        "TERMS": (sum(variant.beside) + 1) * variant.lanes,
        "RING": (variant.before + variant.after + 1) * variant.lanes,
        "ROWS": rows_of(variant) * variant.lanes,
        "RINGS": rows_of(variant) * variant.lanes * windows,
    }


def helpers(variant):
    """What is done for each array, each stage and each phase."""
    fields, pointer, summed = fields_of(variant), variant.pointers.index, variant.phases[0].summed
    found = {
        "clear_rows": [(clear_rows, {"FIELD": field}) for field in range(len(fields))],
        # What is summed is asked for before the rows that now enter the windows, the others with these: they are needed
        # when the rows are in the middle of windows.
        "load_summed": [
            (load_rows, {"FIELD": fields.index(name), "POINTER": pointer(name), "AHEAD": variant.steps})
            for name in summed
        ],
        "load_others": [
            (load_rows, {"FIELD": fields.index(name), "POINTER": pointer(name), "AHEAD": 0})
            for name in variant.loaded
            if name not in summed
        ],
        "move_rows": [(move_rows, {"FIELD": field}) for field in range(len(fields))],
        "move_sums": [(move_sums, {})],
    }
    for part in parts(variant):
        found.update(_helpers_of(variant, part))
    own = ("show_all", "see_all", "push_all", "add_all", "emit_all", "store_all", "keep_all")
    found["walk_phases"] = [
        (
            walk_phase,
            {
                "Near": variant.tuple_of(part.phase.summed),
                "FIRST": len(fields) + part.plane,
                "LAST": len(fields) + part.plane + len(part.phase.summed),
                "MIDDLE": part.middle * variant.lanes,
                "DELAY": delay(variant, part),
                "SHARES": bool(part.phase.reduces),
                **{name: f"{name}_{part.name}" for name in own},
            },
        )
        for part in parts(variant)
    ]
    return found


def _helpers_of(variant, part):
    """Those of one phase."""
    fields, pointer, phase = fields_of(variant), variant.pointers.index, part.phase
    lanes, left = variant.lanes, vectors(variant, part.beside)
    middle = part.middle * lanes
    summed = [
        {"FIELD": fields.index(name), "NEWEST": part.newest * lanes, "PLANE": part.plane + place, "PLACE": place}
        for place, name in enumerate(phase.summed)
    ]
    ring = rows_of(variant) * lanes
    # Where the first element of a window lies.
    term = left * lanes - part.beside if is_contiguous(variant) else 0
    rings = [
        {**constants, "START": constants["START"] + part.window * ring, "TERM": term}
        for _, constants in adding(phase, lanes, push_row, START=ring)
    ]
    kept = variant.phases[-1].summed if variant.twice and part.name == "first" else ()
    return {
        # A function for each row: sm_100 and sm_120 keep them in local memory where a loop shows them.
        f"show_all_{part.name}": [
            (show_row, {**constants, "NUMBER": step}) for step in range(variant.steps) for constants in summed
        ],
        f"see_all_{part.name}": [(see_row, {**constants, "LEFT": left}) for constants in summed],
        f"push_all_{part.name}": [(push_row, constants) for constants in rings],
        f"add_all_{part.name}": [(add_ring, constants) for constants in rings],
        f"emit_all_{part.name}": emitting(phase, lanes),
        f"store_all_{part.name}": [
            (store_rows, {"FIELD": fields.index(name), "POINTER": pointer(name), "MIDDLE": middle})
            for name in variant.stored(phase)
        ],
        f"keep_all_{part.name}": [(keep_if_inside, {"FIELD": fields.index(name), "MIDDLE": middle}) for name in kept],
    }


def clear_rows(values):
    """Zeros, before the first rows."""
    for slot in range(ROWS):
        values[FIELD][slot] = real(0.0)


def load_rows(pointers, at, rows, inner, values):
    """The next rows of one array; zeros beyond the plane.

    Asking for each row whether it is there takes as many instructions as finding its address.
    """
    if rows >= AHEAD + STEPS:
        for step in range(STEPS):
            row = AHEAD + step
            load_lanes(pointers[POINTER], at + row * inner, values[FIELD], (REACH + row) * LANES)
    else:
        for slot in range(STEPS * LANES):
            values[FIELD][(REACH + AHEAD) * LANES + slot] = real(0.0)
        for step in range(STEPS):
            row = AHEAD + step
            if row < rows:
                load_lanes(pointers[POINTER], at + row * inner, values[FIELD], (REACH + row) * LANES)


def store_rows(pointers, at, first, last, inner, values):
    """Write the rows from ``first`` to ``last`` of those in the middle of windows."""
    if first <= 0 and last >= STEPS:
        for step in range(STEPS):
            store_lanes(pointers[POINTER], at + step * inner, values[FIELD], MIDDLE + step * LANES)
    else:
        for step in range(STEPS):
            if step >= first and step < last:
                store_lanes(pointers[POINTER], at + step * inner, values[FIELD], MIDDLE + step * LANES)


def move_rows(values):
    """Make room for the next rows of one array."""
    for slot in range(ROWS):
        values[FIELD][slot] = values[FIELD][slot + STEPS * LANES]


def move_sums(rings):
    """Make room for the sums of the next rows."""
    for slot in range(RINGS - STEPS * LANES):
        rings[slot] = rings[slot + STEPS * LANES]


def show_row(values, shared, place):
    """Put a row that enters the windows into shared memory."""
    store_lanes(shared, place + (PLANE * STEPS + NUMBER) * LINE, values[FIELD], NEWEST + NUMBER * LANES)


def see_row(values, shared, place, step, near):
    """One of these rows: the vectors beside the thread's own from shared memory."""
    start = place + (PLANE * STEPS + step) * LINE
    for vector in range(NEAR):
        if vector != LEFT:
            load_lanes(shared, start + (vector - LEFT) * HOP, near[PLACE], vector * LANES)
    for lane in range(LANES):
        near[PLACE][LEFT * LANES + lane] = values[FIELD][NEWEST + step * LANES + lane]


def push_row(near, step, rings):
    """The sums over the second axis."""
    sums = cuda.local.array(LANES, real)
    for lane in range(LANES):
        sums[lane] = EMPTY
    for index in range(TERMS):
        term = TERM + (index // LANES + index % LANES if CONTIGUOUS else index)
        lane = index % LANES
        sums[lane] = add_term(near, near, term, term, sums[lane])
    for lane in range(LANES):
        rings[START + (REACH + step) * LANES + lane] = sums[lane]


def add_ring(rings, step, totals):
    """The sum over the first axis."""
    for slot in range(RING):
        totals[TOTAL + slot % LANES] = totals[TOTAL + slot % LANES] + rings[START + step * LANES + slot]


def keep_if_inside(values, first, last):
    """Nothing is kept from beyond the plane. Selected, not multiplied by 0: there d may be 0, where k is."""
    for slot in range(STEPS * LANES):
        kept = values[FIELD][MIDDLE + slot]
        values[FIELD][MIDDLE + slot] = kept if slot // LANES >= first and slot // LANES < last else real(0.0)


def walk_phase(local, values, rings, shared, pointers, at, row, bounds, place, inner, par, shares, sums):
    """A phase of STEPS rows. Rows are counted from the first of the chunk."""
    near = Near(*local[FIRST:LAST])
    totals = cuda.local.array(TOTALS, real)
    begin, end, rows = bounds
    middle = np.int32(row - DELAY)
    show_all(values, shared, place)
    cuda.syncthreads()
    for step in range(STEPS):
        see_all(values, shared, place, step, near)
        push_all(near, step, rings)
        clear(totals)
        add_all(rings, step, totals)
        counts = middle + step >= 0 and middle + step < rows
        for lane in range(LANES):
            slot = MIDDLE + step * LANES + lane
            emit_all(values, par, slot, slot, totals, lane, counts, shares)
        if SHARES:
            add_shares(shares, sums)
    store_all(pointers, at - DELAY * inner, np.int32(-middle), np.int32(rows - middle), inner, values)
    keep_all(values, np.int32(begin - middle), np.int32(end - middle))


def walk(local, pointers, integers, par, sums):
    """All phases."""
    columns, length, inner, chunk, width, unit, tiles, tile, lead = integers
    values = Values(*local[:FIELDS])
    # Numbers of threads and rows are of 32 bits: comparing in 64 takes two instructions.
    across, down = np.int32(cuda.threadIdx.x), np.int32(cuda.threadIdx.y)
    number = block_number()
    group = column_quotient(number, tiles)
    tile_start = (number - group * tiles) * tile
    if CONTIGUOUS:
        positions = np.int32((cuda.blockDim.x + 2 * EDGE) * cuda.blockDim.y)
        place = np.int32((down * (cuda.blockDim.x + 2 * EDGE) + EDGE + across) * HOP)
        column = group * cuda.blockDim.y + down
        beside = tile_start + (across - lead) * LANES
    else:
        positions = np.int32(cuda.blockDim.y + 2 * EDGE)
        place = np.int32((EDGE + down) * HOP + across * LANES)
        column = (group * SIDE + across) * LANES
        beside = tile_start + down - lead
    inside = column < columns and beside >= 0 and beside < width
    mine = inside and beside >= tile_start and beside < tile_start + tile
    plane = column_quotient(column, unit)
    along = column_quotient(inner, width * unit)  # planes that share their rows
    outer = column_quotient(plane, along)
    first = cuda.blockIdx.y * chunk
    # The rows that are read, and those of results.
    row = np.int32(-min(first, LEAD))
    last = np.int32(min(chunk, length - first))
    end = np.int32(min(length - first, chunk + REACH))
    bounds = row, (end if inside else row), (last if mine else np.int32(0))
    start = outer * length * inner + (plane - outer * along) * width * unit + (column - plane * unit)
    at = start + beside * unit + (first + row) * inner
    shared = cuda.shared.array(0, real_type, alignment=SHARED_ALIGNMENT)
    rings = cuda.local.array(RINGS, real)
    shares = cuda.local.array(3, real)
    for index in range(3):
        shares[index] = real(0.0)
    for slot in range(RINGS):
        rings[slot] = real(0.0)
    clear_rows(values)
    load_summed(pointers, at - STEPS * inner, np.int32(bounds[1] - row + STEPS), inner, values)
    move_rows(values)
    threads = np.int32(cuda.blockDim.x * cuda.blockDim.y)
    index = np.int32(down * cuda.blockDim.x + across)
    while index < positions * HOP:
        shared[index] = real(0.0)
        index = np.int32(index + threads)
    cuda.syncthreads()
    while row < np.int32(last + TRAIL):
        load_summed(pointers, at, np.int32(bounds[1] - row), inner, values)
        load_others(pointers, at, np.int32(bounds[1] - row), inner, values)
        walk_phases(local, values, rings, shared, pointers, at, row, bounds, place, inner, par, shares, sums)
        if not TWICE:  # a second phase waits, in other memory, until all have read these rows
            cuda.syncthreads()
        move_rows(values)
        move_sums(rings)
        row = np.int32(row + STEPS)
        at += STEPS * inner
