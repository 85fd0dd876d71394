"""Small windows with a stride: a thread walks down its columns with the last n rows in registers.

Each array has a ring of those rows, the oldest first; after every row it moves by one place, which costs nothing where
the compiler has unrolled the steps and renames registers instead, and rows that nothing reads vanish. (row, lane) is
one index, ``slot``, in every local array: on sm_100 and sm_120 loops nested three deep are not unrolled, and the rings
would fall into local memory. The rows of STEPS steps are loaded before any of them is used: the compiler cannot move a
load above a store, as it does not know that the arrays are apart.

With two phases the first leads, and the transposed windows of the second follow BEFORE rows behind. When the first has
row j, the rings of what it sums hold rows j − BEFORE to j + AFTER, and those of what it keeps rows j − (n − 1) to j:
all that row j − BEFORE of the second needs.
"""

from numba_lrn.backends.cuda.forms.columns import loading
from numba_lrn.backends.cuda.forms.stages import adding, emitting
from numba_lrn.backends.cuda.phases import CALLERS


def local_sizes(variant):
    """A ring for every name, then the rows that are loaded ahead."""
    ring = (variant.before + 1 + variant.after) * variant.lanes
    return [ring for _ in variant.names] + [variant.steps * variant.lanes for _ in variant.loaded]


def constants(variant):
    """Where the rows of each phase lie in the rings: HERE and THERE in the caller's arrays, KEPT and LEFT in others."""
    before, after, lanes, twice = variant.before, variant.after, variant.lanes, variant.twice
    return {
        "Values": variant.tuple_of(variant.names),
        "FIELDS": len(variant.names),
        "TWICE": twice,
        # Rows before and after the chunk that the first phase makes for the second.
        "LEAD": after if twice else 0,
        "LAG": before if twice else 0,
        "NEWEST": (before + after) * lanes,
        "HERE": before * lanes,
        "KEPT": (before + (after if twice else 0)) * lanes,
        "THERE": 0,
        "LEFT": after * lanes,
    }


def helpers(variant):
    """What is done for each array and each stage."""
    field, pointer, chains = variant.names.index, variant.pointers.index, variant.chains
    first, last = variant.phases[0], variant.phases[-1]
    behind = last.summed if variant.twice else ()
    constant = constants(variant)

    def place(name, of_callers, of_others):
        return constant[of_callers if name in CALLERS else of_others]

    def storing(phase, of_callers, of_others):
        return [
            (store_ring, {"FIELD": field(name), "POINTER": pointer(name), "FROM": place(name, of_callers, of_others)})
            for name in variant.stored(phase)
        ]

    ahead, entering = [], []
    for source, name in enumerate(variant.loaded):
        summed = name in first.summed
        ahead.append((load_ahead, {"FIELD": source, "POINTER": pointer(name), "AHEAD": variant.after if summed else 0}))
        to = constant["NEWEST"] if summed else place(name, "HERE", "KEPT")
        entering.append((enter_ring, {"FIELD": field(name), "SOURCE": source, "TO": to}))
    return {
        "load_first": loading(variant, first.summed, variant.names),
        "load_all_ahead": ahead,
        "shift_rings": [(shift_ring, {"FIELD": index}) for index in range(len(variant.names))],
        "enter_rings": entering,
        "clear_rings": [(clear_ring, {"FIELD": field(name)}) for name in behind],
        "keep_inside": [(keep_if_inside, {"FIELD": field(name)}) for name in behind],
        "add_terms": adding(first, chains),
        "emit_stages": emitting(first, chains),
        "store_rows": storing(first, "HERE", "KEPT"),
        "add_terms_behind": adding(last, chains),
        "emit_stages_behind": emitting(last, chains),
        "store_rows_behind": storing(last, "THERE", "LEFT"),
    }


def load_ahead(pointers, bases, row, length, inner, ahead, at):
    """One row of an array, as far ahead as it enters its ring."""
    load_row(pointers[POINTER], bases, row + AHEAD, length, inner, ahead[FIELD], at)


def shift_ring(rings):
    """Drop the oldest row."""
    for slot in range(RING - LANES):
        rings[FIELD][slot] = rings[FIELD][slot + LANES]


def enter_ring(ahead, at, rings):
    """Put a row that was loaded into its place."""
    for lane in range(LANES):
        rings[FIELD][TO + lane] = ahead[SOURCE][at + lane]


def clear_ring(rings):
    """Zeros, before the first phase has kept anything."""
    for slot in range(RING):
        rings[FIELD][slot] = real(0.0)


def keep_if_inside(rings, inside):
    """Nothing is kept from beyond the axis. Selected, not multiplied by 0: there d = k, which may be 0."""
    for lane in range(LANES):
        rings[FIELD][NEWEST + lane] = rings[FIELD][NEWEST + lane] if inside else real(0.0)


def store_ring(pointers, bases, row, inner, rings):
    """Write one row of an array."""
    store_row(pointers[POINTER], bases, row, inner, rings[FIELD], FROM)


def walk(local, pointers, integers, par, sums):
    """One phase or both, for the rows of one chunk."""
    columns, length, inner, chunk = integers
    rings = Values(*local[:FIELDS])
    ahead = local[FIELDS:]
    bases = cuda.local.array(BASES, np.int64)
    place(columns, length, inner, bases)
    if bases[0] < 0:
        return
    first = cuda.blockIdx.y * chunk
    last = min(first + chunk, length)
    totals = cuda.local.array(TOTALS, real)
    shares = cuda.local.array(3, real)
    for index in range(3):
        shares[index] = real(0.0)
    clear_rings(rings)
    for row in range(N - 1):
        load_first(pointers, bases, first - LEAD - BEFORE + row, length, inner, rings, (row + 1) * LANES)
    row = first - LEAD
    while row < last + LAG:
        for step in range(STEPS):
            load_all_ahead(pointers, bases, row + step, length, inner, ahead, step * LANES)
        for step in range(STEPS):
            here = row + step
            mine = here < last and (not TWICE or here >= first)
            shift_rings(rings)
            enter_rings(ahead, step * LANES, rings)
            clear(totals)
            for slot in range(RING):
                add_terms(rings, slot, totals, slot % CHAINS)
            for lane in range(LANES):
                counts = mine and owns(bases, lane)
                emit_stages(rings, par, HERE + lane, KEPT + lane, totals, lane, counts, shares)
            if SUMS:
                add_shares(shares, sums)
            if mine:
                store_rows(pointers, bases, here, inner, rings)
            if TWICE:
                keep_inside(rings, here >= 0 and here < length)
                clear(totals)
                for slot in range(RING):
                    add_terms_behind(rings, slot, totals, slot % CHAINS)
                for lane in range(LANES):
                    emit_stages_behind(rings, par, lane, LEFT + lane, totals, lane, False, shares)
                there = here - BEFORE
                if there >= first and there < last:
                    store_rows_behind(pointers, bases, there, inner, rings)
        row += STEPS
