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

CARRY = 16
HELPERS = ("load_group", "index_of", "suffix_groups")


def constants(variant):
    """Where the groups' sums are kept."""
    group = variant.steps
    return {"GROUP": group, "CARRY": CARRY, "IN_SHARED": variant.form == "prefix", "TAIL": (group + 1) * variant.lanes}


def index_of(group, lane):
    """Neighbouring threads keep neighbouring sums."""
    if IN_SHARED:
        return (group * LANES + lane) * cuda.blockDim.x + cuda.threadIdx.x
    block = cuda.blockIdx.y * cuda.gridDim.x + cuda.blockIdx.x
    threads = cuda.gridDim.x * cuda.gridDim.y * cuda.blockDim.x
    return (group * LANES + lane) * threads + block * cuda.blockDim.x + cuda.threadIdx.x


def load_group(source, bases, row, offset, n, length, inner, rows):
    """GROUP rows from ``row`` on, the first of them ``offset`` rows into its block; zeros beyond block and axis."""
    for step in range(GROUP):
        inside = row + step if offset + step < n else -1
        load_row(source, bases, inside, length, inner, rows, step * LANES)


def suffix_groups(sums, groups):
    """The sums of groups become sums of all groups after."""
    low = cuda.local.array(LANES, real)
    high = cuda.local.array(LANES, real)
    for lane in range(LANES):
        low[lane] = real(0.0)
        high[lane] = real(0.0)
    group = groups - 1
    while group >= 0:
        for lane in range(LANES):
            own = load(sums, index_of(group, lane))
            store(sums, index_of(group, lane), high[lane] + low[lane])
            low[lane] = low[lane] + own
        if (groups - group) % CARRY == 0:
            for lane in range(LANES):
                high[lane] = high[lane] + low[lane]
                low[lane] = real(0.0)
        group -= 1


def prefix(source, x, g, out, kept, scratch, columns, length, inner, chunk, before, after, par):
    """One stage."""
    bases = cuda.local.array(BASES, np.int64)
    place(columns, length, inner, bases)
    if bases[0] < 0:
        return
    n = before + after + 1
    groups = (n + GROUP - 1) // GROUP
    first = cuda.blockIdx.y * chunk
    last = min(first + chunk, length)
    sums = cuda.shared.array(0, real_type) if IN_SHARED else scratch
    leaving = cuda.local.array(BATCH, real)
    entering = cuda.local.array(BATCH, real)
    batch_x = cuda.local.array(BATCH, real)
    batch_g = cuda.local.array(BATCH, real)
    batch_kept = cuda.local.array(BATCH, real)
    result = cuda.local.array(BATCH, real)
    tail = cuda.local.array(TAIL, real)
    head = cuda.local.array(TAIL, real)
    low = cuda.local.array(LANES, real)
    high = cuda.local.array(LANES, real)
    group = 0
    while group < groups:
        load_group(source, bases, first - before + group * GROUP, group * GROUP, n, length, inner, entering)
        for lane in range(LANES):
            low[lane] = real(0.0)
        for slot in range(BATCH):
            low[slot % LANES] = add_term(
                Arrays(entering, entering, entering), Buffers(entering, entering), slot, slot, low[slot % LANES]
            )
        for lane in range(LANES):
            store(sums, index_of(group, lane), low[lane])
        group += 1
    block = first
    while block < last:
        suffix_groups(sums, groups)
        for lane in range(LANES):
            low[lane] = real(0.0)
            high[lane] = real(0.0)
        group = 0
        while group < groups and block + group * GROUP < last:
            offset = group * GROUP
            row = block + offset
            load_group(source, bases, row - before, offset, n, length, inner, leaving)
            load_group(source, bases, row - before + n, offset, n, length, inner, entering)
            if READS_X:
                load_group(x, bases, row, offset, n, length, inner, batch_x)
            if READS_G:
                load_group(g, bases, row, offset, n, length, inner, batch_g)
            if READS_KEPT:
                load_group(kept, bases, row, offset, n, length, inner, batch_kept)
            for lane in range(LANES):
                tail[BATCH + lane] = real(0.0)
                head[lane] = real(0.0)
            arrays, buffers = Arrays(leaving, leaving, leaving), Buffers(leaving, leaving)
            for back in range(BATCH):
                slot = BATCH - 1 - back
                tail[slot] = add_term(arrays, buffers, slot, slot, tail[slot + LANES])
            arrays, buffers = Arrays(entering, entering, entering), Buffers(entering, entering)
            for slot in range(BATCH):
                head[slot + LANES] = add_term(arrays, buffers, slot, slot, head[slot])
            for slot in range(BATCH):
                lane = slot % LANES
                total = tail[slot] + load(sums, index_of(group, lane)) + (high[lane] + (low[lane] + head[slot]))
                emit(Arrays(batch_x, batch_g, result), Buffers(result, batch_kept), par, slot, slot, total)
            for lane in range(LANES):
                store(sums, index_of(group, lane), head[BATCH + lane])
                low[lane] = low[lane] + head[BATCH + lane]
            for step in range(GROUP):
                if offset + step < n and row + step < last:
                    store_row(out, bases, row + step, inner, result, step * LANES)
                    if WRITES_KEPT:
                        store_row(kept, bases, row + step, inner, batch_kept, step * LANES)
            group += 1
            if group % CARRY == 0:
                for lane in range(LANES):
                    high[lane] = high[lane] + low[lane]
                    low[lane] = real(0.0)
        block += n
