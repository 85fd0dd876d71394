"""Small windows in a block that holds whole axes (whole.py): neighbours show each other the rows that they share.

``here`` is a thread's number, how many there are, its group, how many there are of these, and the distance of
neighbouring groups in threads. In shared memory the rows of one step lie side by side for all threads.
"""

from numba_lrn.backends.cuda.forms.stages import adding, chains

constants = chains


def edges(variant):
    """Rows before and after the thread's own that lie with them in what is summed."""
    return variant.before, variant.after


def summing(name, phase, steps, columns, before, after):
    """The function of this name, and what it is made of."""
    gap = max(steps - before - after, 0)
    places = [
        {"FIELD": field, "PLANES": field * (steps - gap), "LEFT": before, "RIGHT": after, "GAP": gap}
        for field in range(len(phase.summed))
    ]
    return {
        f"{name}_show": [(show, place) for place in places],
        f"{name}_see": [(see, place) for place in places],
        f"{name}_add": adding(phase, steps * columns, add_terms),
        name: [(exchange, {"show_all": f"{name}_show", "see_all": f"{name}_see", "add_all": f"{name}_add"})],
    }


def exchange(near, shared, here, behind, ahead, totals):
    """The sums of all windows of the thread's rows."""
    show_all(near, shared, here)
    cuda.syncthreads()
    see_all(near, shared, here)
    add_all(near, totals)


def show(near, shared, here):
    """Put the rows that others need into shared memory: the first RIGHT and the last LEFT, between which is a gap."""
    thread, threads, _, _, _ = here
    for step in range(STEPS):
        if step < RIGHT or step >= STEPS - LEFT:
            place = (PLANES + (step if step < RIGHT else step - GAP)) * threads + thread
            store_columns(shared, place * LANES, near[FIELD], (LEFT + step) * LANES)


def see(near, shared, here):
    """Take the rows before and after the thread's own; zeros beyond the groups, and so beyond the axis."""
    thread, threads, group, groups, hop = here
    for row in range(LEFT):
        from_first = row - LEFT  # of the thread's rows
        away = from_first // STEPS
        for lane in range(LANES):
            near[FIELD][row * LANES + lane] = real(0.0)
        if group >= np.int32(-away):
            step = from_first - away * STEPS
            place = (PLANES + (step if step < RIGHT else step - GAP)) * threads + thread + away * hop
            load_columns(shared, place * LANES, near[FIELD], row * LANES)
    for row in range(RIGHT):
        away = 1 + row // STEPS
        for lane in range(LANES):
            near[FIELD][(LEFT + STEPS + row) * LANES + lane] = real(0.0)
        if np.int32(group + away) < groups:
            place = (PLANES + row % STEPS) * threads + thread + away * hop
            load_columns(shared, place * LANES, near[FIELD], (LEFT + STEPS + row) * LANES)


def add_terms(near, totals):
    """The terms of each window, one after another."""
    parts = cuda.local.array(2, real)
    for slot in range(BATCH):
        parts[0] = EMPTY
        parts[1] = EMPTY
        for term in range(TERMS):
            place = slot + term * LANES
            parts[term % CHAINS] = add_term(near, near, place, place, parts[term % CHAINS])
        totals[TOTAL + slot] = parts[0] + parts[1]
