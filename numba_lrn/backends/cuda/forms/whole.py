"""A block holds the whole axis, or a tile of it: every element is read once, whatever the window.

The rows of the axis lie in groups of STEPS. A thread has one group in registers, of LANES columns, or of one column
where the axis is the last in memory. What its windows need of other groups goes through shared memory (small.py and
wide.py), and so does what a first phase keeps for the second.

Columns are neighbours, or *spread* (spread.py): a block's width apart.

Where the axis does not fit into a block it is cut into tiles. A tile has ``lead`` groups before its own, and some
after, which compute what its windows need and no result. Groups begin at multiples of STEPS whatever the tile, so that
tiles change no bit.
"""

from typing import Any

from numba_lrn.backends.cuda.forms import small, spread, wide
from numba_lrn.backends.cuda.forms.stages import emitting

GROUP, LONG_GROUP = 8, 16  # rows of a thread, and of the groups of wide windows
MOST_THREADS = 512  # of a block: each has up to 128 of the 65536 registers then
# Elements in a loop over the ends. Longer ones of derivatives are not unrolled where β has no name, and what they take
# lies in local memory then.
UNROLLED = {"float32": 8, "float64": 4}


def way_of(variant):
    """How windows are summed."""
    return wide if variant.form.startswith("wide") else small


def threads_with_registers(variant: Any) -> int:
    """The threads of a block that there are registers for; tests/cuda/test_compiled.py compares."""
    if variant.real == "float64" or (variant.twice and (variant.windows > 1 or variant.elements > LONG_GROUP)):
        return MOST_THREADS // 2
    return MOST_THREADS * 3 // 4 if variant.windows > 1 or variant.reduces else MOST_THREADS


def launch_bounds(variant: Any, compute_capability: tuple[int, int]) -> tuple[int, int] | None:
    """(threads, blocks side by side) that the compiler keeps registers for.

    The platform's power would take up to 142 of them on sm_100 and sm_120 where 128 are there; no other comes near.
    """
    return (threads_with_registers(variant), 1) if variant.power == "power_platform" else None


def local_sizes(variant):
    """What the first phase sums; the thread's own rows of every array; what the second phase sums."""
    first, last = variant.phases[0], variant.phases[-1]
    batch = variant.steps * variant.columns
    span = batch + sum(way_of(variant).edges(variant)) * variant.columns
    return [span for _ in first.summed] + [batch for _ in variant.own] + [span for _ in last.summed if variant.twice]


def constants(variant):
    """Sizes of local arrays, and where the thread's own rows lie in what is summed."""
    first, last = variant.phases[0], variant.phases[-1]
    return {
        "Near": variant.tuple_of(first.summed),
        "Values": variant.tuple_of(variant.own),
        "Later": variant.tuple_of(last.summed),
        "SUMMED": len(first.summed),
        "FIELDS": len(first.summed) + len(variant.own),
        "TWICE": variant.twice,
        "LANES": variant.columns,
        "SPAN": variant.span,
        "BATCH": variant.steps * variant.columns,
        "ALL": variant.steps * variant.columns * variant.windows,
        "CONTIGUOUS": variant.contiguous,
        "WIDTH": variant.lanes // variant.columns,  # rows that one access moves
        **way_of(variant).constants(variant),
    }


def helpers(variant):
    """What is done for each array and each stage."""
    own, pointer = variant.own.index, variant.pointers.index
    first, last = variant.phases[0], variant.phases[-1]
    later = list(enumerate(last.summed)) if variant.twice else []
    steps, columns = variant.steps, variant.columns
    batch = steps * columns
    before, after = way_of(variant).edges(variant)
    middle, middle_later = before * columns, after * columns
    summing = way_of(variant).summing

    some = UNROLLED[variant.real]

    load, store = (load_group, store_own) if variant.adjacent else (spread.load_group, spread.store_own)

    def storing(phase):
        return [(store, {"FIELD": own(name), "POINTER": pointer(name)}) for name in variant.stored(phase)]

    return {
        "load_summed": [
            (load, {"FIELD": place, "POINTER": pointer(name), "START": middle})
            for place, name in enumerate(first.summed)
        ],
        "load_others": [
            (load, {"FIELD": own(name), "POINTER": pointer(name), "START": 0})
            for name in variant.loaded
            if name not in first.summed
        ],
        "take_own": [
            (take, {"SOURCE": place, "FIELD": own(name), "FROM": middle, "TO": 0})
            for place, name in enumerate(first.summed)
            if name in variant.own
        ],
        "emit_stages": emitting(first, batch),
        "emit_all": [(emit_some, {"FROM": at, "TO": min(at + some, batch)}) for at in range(0, batch, some)],
        "store_results": storing(first),
        **summing("sum_windows", first, steps, columns, variant.before, variant.after),
        "keep_inside": [(keep_if_inside, {"FIELD": own(name)}) for _, name in later],
        "take_kept": [
            (take, {"SOURCE": own(name), "FIELD": place, "FROM": 0, "TO": middle_later}) for place, name in later
        ],
        "emit_stages_later": emitting(last, batch),
        "store_results_later": storing(last),
        **summing("sum_windows_later", last, steps, columns, variant.after, variant.before),
        "second_phase": [(later_whole, {})] if variant.twice else [],
        "both_phases": [(both_phases, {})],
    }


def load_group(pointers, at, rows, pitch, present, into):
    """The thread's rows of one array; zeros beyond the axis, and where there is no column.

    Asking for each row whether it is there takes as many instructions as finding its address.
    """
    if rows == STEPS:
        for first in range(0, STEPS, WIDTH):
            load_lanes(pointers[POINTER], at + first * pitch, into[FIELD], START + first * LANES)
    else:
        for slot in range(BATCH):
            into[FIELD][START + slot] = real(0.0)
        for first in range(0, STEPS, WIDTH):
            if first < rows:
                load_lanes(pointers[POINTER], at + first * pitch, into[FIELD], START + first * LANES)


def store_own(pointers, at, rows, pitch, present, own):
    """Write the thread's rows of one array."""
    if rows == STEPS:
        for first in range(0, STEPS, WIDTH):
            store_lanes(pointers[POINTER], at + first * pitch, own[FIELD], first * LANES)
    else:
        for first in range(0, STEPS, WIDTH):
            if first < rows:
                store_lanes(pointers[POINTER], at + first * pitch, own[FIELD], first * LANES)


def take(source, target):
    """The thread's own rows of an array."""
    for slot in range(BATCH):
        target[FIELD][TO + slot] = source[SOURCE][FROM + slot]


def keep_if_inside(own, rows):
    """Nothing is kept from beyond the axis. Selected, not multiplied by 0: there d may be 0, where k is."""
    for slot in range(BATCH):
        own[FIELD][slot] = own[FIELD][slot] if slot // LANES < rows else real(0.0)


def whole(local, pointers, integers, par, sums):
    """One phase or both."""
    columns, length, inner, chunk, lead, behind, ahead = integers
    # Numbers of threads are of 32 bits: comparing in 64 takes two instructions.
    thread = np.int32(cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x)
    threads = np.int32(cuda.blockDim.x * cuda.blockDim.y)
    if CONTIGUOUS:
        group, groups, hop = np.int32(cuda.threadIdx.x), np.int32(cuda.blockDim.x), np.int32(1)
        column = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
        base = column * length
        pitch = np.int64(1)
    else:
        group, groups, hop = np.int32(cuda.threadIdx.y), np.int32(cuda.blockDim.y), np.int32(cuda.blockDim.x)
        pitch = inner
        column = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * LANES
        outer = column_quotient(column, inner)
        base = outer * length * inner + (column - outer * inner)
    # hop: how far apart a thread and its neighbours along the axis are, in threads.
    here = thread, threads, group, groups, hop
    first = (cuda.blockIdx.z * cuda.gridDim.y + cuda.blockIdx.y) * chunk
    row = first + (group - lead) * STEPS
    rows = np.int32(0)
    if column < columns and row >= 0 and row < length:
        rows = np.int32(min(length - row, STEPS))
    mine = rows if row >= first and row < first + chunk else np.int32(0)
    ground = base + row * pitch, rows, mine, pitch, np.int32(LANES)
    both_phases(local, pointers, ground, par, here, behind, ahead, sums)


def both_phases(local, pointers, ground, par, here, behind, ahead, sums):
    """Read, sum, compute and write on a thread's ``ground``.

    That is the place of its first row; how many of its rows there are, and how many it writes; how far apart they are
    in memory; and how many of its columns there are.
    """
    at, rows, mine, pitch, present = ground
    near = Near(*local[:SUMMED])
    own = Values(*local[SUMMED:FIELDS])
    shared = cuda.shared.array(0, real_type, alignment=SHARED_ALIGNMENT)
    totals = cuda.local.array(ALL, real)
    shares = cuda.local.array(3, real)
    for index in range(3):
        shares[index] = real(0.0)
    load_summed(pointers, at, rows, pitch, present, near)
    load_others(pointers, at, rows, pitch, present, own)
    take_own(near, own)
    sum_windows(near, shared, here, behind, ahead, totals)
    emit_all(own, par, totals, mine, present, shares, sums)
    if SHARES and NOTHING_BEYOND and mine == 0:
        for index in range(SUMS):
            sums[index] = real(0.0)
    store_results(pointers, at, mine, pitch, present, own)
    second_phase(local, own, pointers, ground, par, here, behind, ahead, shared, totals, shares)


def emit_some(own, par, totals, mine, present, shares, sums):
    """The ends of the first phase for some of a thread's elements."""
    for slot in range(FROM, TO):
        counts = NOTHING_BEYOND or (slot // LANES < mine and slot % LANES < present)
        emit_stages(own, par, slot, slot, totals, slot, counts, shares)
        if SHARES and (slot % 8 == 7 or slot == BATCH - 1):
            add_shares(shares, sums)


def later_whole(local, own, pointers, ground, par, here, behind, ahead, shared, totals, shares):
    """The second phase."""
    at, rows, mine, pitch, present = ground
    near = Later(*local[FIELDS:])
    keep_inside(own, rows)
    take_kept(own, near)
    cuda.syncthreads()  # until all have read what the first phase left in shared memory
    sum_windows_later(near, shared, here, ahead, behind, totals)
    for slot in range(BATCH):
        emit_stages_later(own, par, slot, slot, totals, slot, False, shares)
    store_results_later(pointers, at, mine, pitch, present, own)
