"""The ends of the stages of a phase: what every form does with its window sums.

``totals`` holds the sums of every window, of which those of the stage at hand begin at TOTAL.
"""


def chains(variant):
    """The TERMS of a small window, and the CHAINS in which they are added one by one.

    They are the same in every form, so that forms agree in every bit. Two make fewer roundings of large sums, and a
    shorter wait.
    """
    terms = variant.before + 1 + variant.after
    return {"TERMS": terms, "CHAINS": 2 if terms >= 5 else 1}


def adding(phase, size, function, **constants):
    """A function for each window of a phase, which has ``size`` sums; ``constants``: sizes of its parts of others."""
    sizes = {"TOTAL": size, **constants}
    terms = [term for term, _ in phase.stages if term]
    return [
        (function, {"add_term": term, **{name: window * size for name, size in sizes.items()}})
        for window, term in enumerate(terms)
    ]


def emitting(phase, size):
    """The ends of each stage of a phase; ``size``: sums of a window."""
    found, window = [], 0
    for term, end in phase.stages:
        constants = {"emit": end, "TOTAL": window * size}
        if end == phase.reduces:
            found.append((share_stage, constants))
        else:
            found.append((emit_stage if term else emit_without_window, constants))
        window += bool(term)
    return found


def clear(totals):
    """Before windows are summed."""
    for slot in range(TOTALS):
        totals[slot] = EMPTY


def emit_stage(values, par, at, slot, totals, lane, counts, shares):
    """What becomes of a window sum."""
    emit(values, values, par, at, slot, totals[TOTAL + lane])


def emit_without_window(values, par, at, slot, totals, lane, counts, shares):
    """A stage that has none."""
    emit(values, values, par, at, slot, real(0.0))


def share_stage(values, par, at, slot, totals, lane, counts, shares):
    """``emit_stage``, and what an element that ``counts`` adds to the sums over all: no other thread adds it too."""
    _, first, second, third = emit(values, values, par, at, slot, totals[TOTAL + lane])
    shares[0] = shares[0] + (first if counts else real(0.0))
    shares[1] = shares[1] + (second if counts else real(0.0))
    shares[2] = shares[2] + (third if counts else real(0.0))


def add_shares(shares, sums):
    """Move what a row's lanes have summed into the thread's sums, each a number and what it was rounded by."""
    for index in range(3):
        before = sums[2 * index]
        after = before + shares[index]
        sums[2 * index] = after
        sums[2 * index + 1] = sums[2 * index + 1] + lost(before, shares[index], after)
        shares[index] = real(0.0)


def combine(sums, partials):
    """The sums of a block's threads, in a tree, as SUMS numbers of ``partials``; all threads must come here.

    It takes the memory that the windows no longer need.
    """
    shared = cuda.shared.array(0, real_type)
    cuda.syncthreads()
    threads = cuda.blockDim.x * cuda.blockDim.y
    thread = cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    for index in range(SUMS):
        shared[index * threads + thread] = sums[index]
    left = threads
    while left > 1:
        cuda.syncthreads()
        half = (left + 1) // 2
        if thread < left - half:
            for index in range(3):
                place = 2 * index * threads + thread
                before = shared[place]
                value = shared[place + half]
                after = before + value
                rest = shared[place + threads + half] + lost(before, value, after)
                shared[place] = after
                shared[place + threads] = shared[place + threads] + rest
        left = half
    if thread == 0:
        blocks = cuda.gridDim.x * cuda.gridDim.y * cuda.gridDim.z
        block = (cuda.blockIdx.z * cuda.gridDim.y + cuda.blockIdx.y) * cuda.gridDim.x + cuda.blockIdx.x
        for index in range(SUMS):
            store(partials, index * blocks + block, shared[index * threads])
