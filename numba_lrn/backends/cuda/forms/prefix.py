"""Windows of any size: prefix sums restarted every n rows (algorithm/window), a thread on its own columns.

In coordinates padded by ``before`` zero rows in front, the window that starts at row i is the suffix of i's block
of n rows from i on, plus the exclusive prefix of the next block up to i + n. Rows go in groups of GROUP, held in
registers; of the suffix sums only those at the groups' ends are kept, in shared memory, each slot taken by the next
block's sum of the same group as soon as it is free. A row of the array is read three times, as it enters, stands in
the middle of and leaves the window; only the first read comes from DRAM. Keeping all n rows of each thread in shared
memory would save the third, but leaves 224 threads a multiprocessor for n = 255.
Groups make the sums as short as their square root, and every CARRY groups the running sum moves into a second one.

Chunks begin at multiples of n: where a chunk begins changes no bit.
"""

from numba_lrn.backends.cuda.forms.columns import storing
from numba_lrn.backends.cuda.forms.stages import adding, emitting

CARRY = 16


def local_sizes(variant):
    """The groups of rows that leave and enter the window, of each array that is summed; those in its middle."""
    (phase,) = variant.phases
    return [variant.steps * variant.lanes for _ in (*phase.summed, *phase.summed, *variant.own)]


def constants(variant):
    """Where the groups' sums are kept, those of all windows side by side: WIDE in a row.

    In ``tail`` and ``head`` each window has a PART of its own. With their rows side by side too, the indices are
    divisions, and the compiler for sm_100 keeps both arrays in memory.
    """
    (phase,) = variant.phases
    wide = variant.windows * variant.lanes
    return {
        "Near": variant.tuple_of(phase.summed),
        "Values": variant.tuple_of(variant.own),
        "SUMMED": len(phase.summed),
        "MIDDLE": 2 * len(phase.summed),
        "GROUP": variant.steps,
        "CARRY": CARRY,
        "IN_SHARED": variant.form == "prefix",
        "SCRATCH": 0 if variant.form == "prefix" else variant.pointers.index("scratch"),
        "WIDE": wide,
        "PART": (variant.steps + 1) * variant.lanes,
        "TAIL": (variant.steps + 1) * wide,
    }


def helpers(variant):
    """What is done for each array and each stage."""
    (phase,) = variant.phases
    lanes = variant.lanes
    return {
        "index_of": [(index_of, {})],
        "load_summed": _loading(variant, phase.summed, phase.summed),
        "load_middle": _loading(variant, phase.read, variant.own),
        "sum_groups": adding(phase, lanes, sum_group),
        "add_tails": adding(phase, lanes, add_tail),
        "add_heads": adding(phase, lanes, add_head),
        "emit_stages": emitting(phase, lanes),
        "emit_all": [(emit_row, {"STEP": step}) for step in range(variant.steps)],
        "store_rows": storing(variant, phase.stored, variant.own),
        "suffix_groups": [(suffix_groups, {})],
    }


def _loading(variant, names, fields):
    return [(load_group, {"FIELD": fields.index(name), "POINTER": variant.pointers.index(name)}) for name in names]


def load_group(pointers, bases, row, offset, n, length, inner, rows):
    """GROUP rows from ``row`` on, the first of them ``offset`` rows into its block; zeros beyond block and axis."""
    for step in range(GROUP):
        inside = row + step if offset + step < n else -1
        load_row(pointers[POINTER], bases, inside, length, inner, rows[FIELD], step * LANES)


def index_of(group, lane):
    """Neighbouring threads keep neighbouring sums."""
    if IN_SHARED:
        return (group * WIDE + lane) * cuda.blockDim.x + cuda.threadIdx.x
    block = cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x
    threads = cuda.gridDim.x * cuda.gridDim.y * cuda.blockDim.x
    return (group * WIDE + lane) * threads + block * cuda.blockDim.x + cuda.threadIdx.x


def suffix_groups(sums, groups):
    """The sums of groups become sums of all groups after."""
    low = cuda.local.array(WIDE, real)
    high = cuda.local.array(WIDE, real)
    for lane in range(WIDE):
        low[lane] = real(0.0)
        high[lane] = real(0.0)
    group = groups - 1
    while group >= 0:
        for lane in range(WIDE):
            own = load(sums, index_of(group, lane))
            store(sums, index_of(group, lane), high[lane] + low[lane])
            low[lane] = low[lane] + own
        if (groups - group) % CARRY == 0:
            for lane in range(WIDE):
                high[lane] = high[lane] + low[lane]
                low[lane] = real(0.0)
        group -= 1


def sum_group(entering, low):
    """The sum of a group."""
    for slot in range(BATCH):
        place = TOTAL + slot % LANES
        low[place] = add_term(entering, entering, slot, slot, low[place])


def add_tail(leaving, tail):
    """Each row of a group with those after it."""
    for back in range(BATCH):
        slot = BATCH - 1 - back
        place = TOTAL * (GROUP + 1) + slot
        tail[place] = add_term(leaving, leaving, slot, slot, tail[place + LANES])


def add_head(entering, head):
    """Each row of a group with those before it."""
    for slot in range(BATCH):
        place = TOTAL * (GROUP + 1) + slot
        head[place + LANES] = add_term(entering, entering, slot, slot, head[place])


def emit_row(values, par, group_sums, group, running, rows, bases, shares, sums):
    """The window sums of a row of a group, and what becomes of them."""
    tail, head, low, high, totals = running
    for lane in range(LANES):
        slot = STEP * LANES + lane
        for window in range(WINDOWS):
            wide = window * LANES + lane
            at = window * PART + slot
            group_sum = load(group_sums, index_of(group, wide))
            totals[wide] = tail[at] + group_sum + (high[wide] + (low[wide] + head[at]))
        emit_stages(values, par, slot, slot, totals, lane, rows > STEP and owns(bases, lane), shares)
    if SHARES:
        add_shares(shares, sums)


def prefix(local, pointers, integers, par, sums):
    """One phase."""
    columns, length, inner, chunk, before, after = integers
    leaving = Near(*local[:SUMMED])
    entering = Near(*local[SUMMED:MIDDLE])
    values = Values(*local[MIDDLE:])
    bases = cuda.local.array(BASES, np.int64)
    place(columns, length, inner, bases)
    if bases[0] < 0:
        return
    n = before + after + 1
    groups = (n + GROUP - 1) // GROUP
    first = cuda.blockIdx.y * chunk
    last = min(first + chunk, length)
    group_sums = cuda.shared.array(0, real_type) if IN_SHARED else pointers[SCRATCH]
    tail = cuda.local.array(TAIL, real)
    head = cuda.local.array(TAIL, real)
    low = cuda.local.array(WIDE, real)
    high = cuda.local.array(WIDE, real)
    totals = cuda.local.array(WIDE, real)
    shares = cuda.local.array(3, real)
    for index in range(3):
        shares[index] = real(0.0)
    group = 0
    while group < groups:
        load_summed(pointers, bases, first - before + group * GROUP, group * GROUP, n, length, inner, entering)
        for lane in range(WIDE):
            low[lane] = real(0.0)
        sum_groups(entering, low)
        for lane in range(WIDE):
            store(group_sums, index_of(group, lane), low[lane])
        group += 1
    block = first
    while block < last:
        suffix_groups(group_sums, groups)
        for lane in range(WIDE):
            low[lane] = real(0.0)
            high[lane] = real(0.0)
        group = 0
        while group < groups and block + group * GROUP < last:
            offset = group * GROUP
            row = block + offset
            load_summed(pointers, bases, row - before, offset, n, length, inner, leaving)
            load_summed(pointers, bases, row - before + n, offset, n, length, inner, entering)
            load_middle(pointers, bases, row, offset, n, length, inner, values)
            for window in range(WINDOWS):
                for lane in range(LANES):
                    tail[window * PART + BATCH + lane] = real(0.0)
                    head[window * PART + lane] = real(0.0)
            add_tails(leaving, tail)
            add_heads(entering, head)
            running = tail, head, low, high, totals
            rows = min(n - offset, last - row)
            emit_all(values, par, group_sums, group, running, rows, bases, shares, sums)
            for window in range(WINDOWS):
                for lane in range(LANES):
                    wide = window * LANES + lane
                    group_sum = head[window * PART + BATCH + lane]
                    store(group_sums, index_of(group, wide), group_sum)
                    low[wide] = low[wide] + group_sum
            for step in range(GROUP):
                if offset + step < n and row + step < last:
                    store_rows(pointers, bases, row + step, inner, values, step * LANES)
            group += 1
            if group % CARRY == 0:
                for lane in range(WIDE):
                    high[lane] = high[lane] + low[lane]
                    low[lane] = real(0.0)
        block += n
