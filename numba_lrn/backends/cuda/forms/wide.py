"""Wide windows in a block that holds whole axes (whole.py): of prefix sums restarted in every group.

A window is the suffix of one group, the sums of the groups between, and the prefix of another. It reaches ``behind``
whole groups and LEFT rows before its row, and ``ahead`` groups and RIGHT rows after; kernels are compiled for LEFT and
RIGHT, fewer than STEPS, and serve any number of groups. A window has more than 2·STEPS − 1 rows, so that the groups in
which it ends are never one, nor the two that only some of a thread's windows hold. ``here`` is as in small.py.
A sum takes as many roundings as a group has rows, and a few for groups of groups.
"""

from numba_lrn.backends.cuda.forms.stages import adding

FOUR = 4  # groups that are added up in pairs
CARRY = 16  # such fours after which a sum of their own begins


def constants(variant):
    """How groups are added up."""
    return {"FOUR": FOUR, "CARRY": CARRY}


def edges(variant):
    """No rows of others."""
    return 0, 0


def summing(name, phase, steps, columns, before, after):
    """The function of this name: one window after another."""
    reach = {"LEFT": before, "RIGHT": after}
    windows = adding(phase, steps * columns, sum_window)
    return {name: [(function, {**constants, **reach}) for function, constants in windows]}


def sum_window(values, shared, here, behind, ahead, totals):
    """The sums of one window for all of the thread's rows: of ``behind`` groups and LEFT rows before, and so on."""
    thread, threads, group, groups, hop = here
    behind, ahead = np.int32(behind), np.int32(ahead)
    after = np.int32(groups - group - ahead)  # groups from the last whole one of the window on
    rows = cuda.local.array(BATCH, real)
    low = cuda.local.array(LANES, real)
    high = cuda.local.array(LANES, real)
    first = cuda.local.array(LANES, real)
    last = cuda.local.array(LANES, real)
    for slot in range(BATCH):
        rows[slot] = add_term(values, values, slot, slot, rows[slot - LANES] if slot >= LANES else EMPTY)
    for step in range(STEPS):
        store_columns(shared, (step * threads + thread) * LANES, rows, step * LANES)
    cuda.syncthreads()
    # The last prefix of a group is its sum.
    newest = (STEPS - 1) * threads + thread
    for lane in range(LANES):
        low[lane] = EMPTY
        high[lane] = EMPTY
        first[lane] = real(0.0)
        last[lane] = real(0.0)
    # The groups between, FOUR at a time from the window's first on, be it on the axis or not: so no tile changes a bit.
    start = np.int32(group - behind + 1)
    end = np.int32(min(behind + ahead - 1, groups - start))
    count = np.int32(max(-start, 0) // FOUR * FOUR)
    place = np.int32(newest + (start + count - group) * hop)
    while count < end:
        if count >= -start and np.int32(count + FOUR) <= end:
            for index in range(FOUR):
                load_columns(shared, (place + index * hop) * LANES, rows, index * LANES)
        else:
            for slot in range(FOUR * LANES):
                rows[slot] = real(0.0)
            for index in range(FOUR):
                if np.int32(count + index) >= -start and np.int32(count + index) < end:
                    load_columns(shared, (place + index * hop) * LANES, rows, index * LANES)
        for lane in range(LANES):
            pair = rows[lane] + rows[LANES + lane]
            low[lane] = low[lane] + (pair + (rows[2 * LANES + lane] + rows[3 * LANES + lane]))
        count = np.int32(count + FOUR)
        place = np.int32(place + FOUR * hop)
        if count % (FOUR * CARRY) == 0:
            for lane in range(LANES):
                high[lane] = high[lane] + low[lane]
                low[lane] = EMPTY
    # Groups that lie within the windows of some of the rows.
    if group >= behind:
        load_columns(shared, (newest - behind * hop) * LANES, first, 0)
    if after > 0:
        load_columns(shared, (newest + ahead * hop) * LANES, last, 0)
    for slot in range(BATCH):
        lane = slot % LANES
        total = high[lane] + low[lane]
        total = total + (first[lane] if slot // LANES < LEFT else EMPTY)
        totals[TOTAL + slot] = total + (last[lane] if slot // LANES + RIGHT >= STEPS else EMPTY)
    # The prefix that a window ends in, RIGHT rows further on: in one group, or in the next.
    for slot in range(BATCH):
        rows[slot] = real(0.0)
    if after > 0:
        for step in range(STEPS - RIGHT):
            place = (step + RIGHT) * threads + thread + ahead * hop
            load_columns(shared, place * LANES, rows, step * LANES)
    if after > 1:
        for step in range(STEPS - RIGHT, STEPS):
            place = (step + RIGHT - STEPS) * threads + thread + (ahead + 1) * hop
            load_columns(shared, place * LANES, rows, step * LANES)
    for slot in range(BATCH):
        totals[TOTAL + slot] = totals[TOTAL + slot] + rows[slot]
    cuda.syncthreads()
    # Likewise the suffix that it begins with.
    for back in range(BATCH):
        slot = BATCH - 1 - back
        rows[slot] = add_term(values, values, slot, slot, rows[slot + LANES] if back >= LANES else EMPTY)
    for step in range(STEPS):
        store_columns(shared, (step * threads + thread) * LANES, rows, step * LANES)
    cuda.syncthreads()
    for slot in range(BATCH):
        rows[slot] = real(0.0)
    if group >= behind:
        for step in range(LEFT, STEPS):
            place = (step - LEFT) * threads + thread - behind * hop
            load_columns(shared, place * LANES, rows, step * LANES)
    if group > behind:
        for step in range(LEFT):
            place = (step - LEFT + STEPS) * threads + thread - (behind + 1) * hop
            load_columns(shared, place * LANES, rows, step * LANES)
    for slot in range(BATCH):
        totals[TOTAL + slot] = totals[TOTAL + slot] + rows[slot]
    cuda.syncthreads()
