"""Small windows over rows that begin anywhere in a sector of memory: blocks take tiles of a line.

A sector of 32 bytes of which two blocks write a part each is slow (docs/cuda-kernels.md), and where rows have an odd
number of elements, blocks that own columns have two in each row. Here a *sample*, all rows of one outer index, is one
line of elements, and a block has a tile of it, with what its windows reach on either side. Tiles begin with a sector:
only where a sample begins or ends does a block write a part of one. What two tiles read comes from the second-level
cache, as blocks that follow one another run at the same time.

A thread reads vectors of 16 bytes, as many as it has registers for before it does anything with one, and puts them into
shared memory as they are, where windows find their terms.
"""

from typing import Any

from numba_lrn.backends.cuda.forms import line
from numba_lrn.backends.cuda.forms.stages import adding, emitting

ELEMENTS = 8  # of a thread at a time: more take more than 40 registers
BEYOND = 2  # vectors of a thread that are under way, beside those of a tile: what windows reach


def shared_elements(variant: Any, inner: int) -> int:
    """The elements of shared memory that a block takes: its tile, and what windows reach."""
    return variant.span * variant.elements + 2 * reach_of(variant, inner)


def reach_of(variant: Any, inner: int) -> int:
    """How far windows reach, in whole vectors."""
    return -(-max(variant.before, variant.after) * inner // variant.lanes) * variant.lanes


def launch_bounds(variant: Any, compute_capability: tuple[int, int]) -> tuple[int, int] | None:
    """(threads, blocks side by side) that the compiler keeps registers for: 40 a thread.

    For 1536 threads side by side on sm_80 to sm_90; for 1024 on sm_75, which runs no more, and from sm_100 on, where 40
    registers would spill. So they would with powers that take IEEE divisions or float64, which get no bounds.
    """
    threads = 1536 if (8, 0) <= compute_capability < (10, 0) else 1024
    return (variant.span, threads // variant.span) if variant.power.endswith(("refined", "rough")) else None


def local_sizes(variant):
    """The thread's own elements."""
    return [ELEMENTS for _ in variant.own]


def constants(variant):
    """Sizes of tiles and local arrays."""
    return {
        **line.sizes(variant, ELEMENTS),
        "Values": variant.tuple_of(variant.own),
        "TILE": variant.span * variant.elements,
        "LOADS": variant.steps + BEYOND,
        "WORDS": line.WORDS,
        "UNDER_WAY": (variant.steps + BEYOND) * line.WORDS,
    }


def helpers(variant):
    """What is done for each array, each stage and each window."""
    (phase,) = variant.phases
    (summed,) = phase.summed
    field, pointer = variant.own.index, variant.pointers.index
    return {
        "part_of": [(line.part_of, {})],
        "ground_of": [(line.ground_of, {})],
        "fetch": [(fetch, {"POINTER": pointer(summed)})],
        "show": [(show, {"POINTER": pointer(summed)})],
        "take_summed": [(line.take_shared, {"FIELD": field(summed)}) for name in variant.own if name == summed],
        "add_windows": [
            (function, {**own, "Terms": variant.tuple_of(phase.summed), "ORIGIN": 0})
            for function, own in adding(phase, ELEMENTS, line.add_shared)
        ],
        "emit_stages": emitting(phase, ELEMENTS),
        "store_results": [
            (line.store_apart, {"FIELD": field(name), "POINTER": pointer(name)}) for name in variant.stored(phase)
        ],
    }


def fetch(pointers, start, at, low, high, words, slot):
    """Read a vector, if all of it is there: those at ``low`` to ``high`` are."""
    if low <= at and np.int32(at + LANES) <= high:
        load_words(pointers[POINTER], start + at, words, slot)


def show(pointers, start, at, low, high, words, slot, shared, to, end):
    """Put a vector into shared memory; zeros where there are no elements."""
    if low <= at and np.int32(at + LANES) <= high:
        store_words(shared, to, words, slot)
    elif to < end:
        for lane in range(LANES):
            element = real(0.0)
            if low <= np.int32(at + lane) and np.int32(at + lane) < high:
                element = load(pointers[POINTER], start + np.int32(at + lane))
            store(shared, to + lane, element)


def flat(local, pointers, integers, par, sums):
    """A tile of a line."""
    _, length, inner, tiles, samples = integers
    own = Values(*local)
    thread, row = np.int32(cuda.threadIdx.x), np.int32(inner)
    tile, sample = part_of(cuda.blockIdx.x, np.int32(tiles))
    if sample >= np.int32(samples):
        return
    start, low, high = ground_of(sample, np.int32(np.int32(length) * row), np.int32(tile * TILE))
    reach = np.int32((REACH * row + LANES - 1) // LANES * LANES)
    end = np.int32(TILE + 2 * reach)  # of what lies in shared memory
    high_shown = np.int32(min(high, TILE + reach))
    shared = cuda.shared.array(0, carrier_type, alignment=SHARED_ALIGNMENT)
    words = cuda.local.array(UNDER_WAY, np.int32)
    totals = cuda.local.array(TOTALS, real)
    shares = cuda.local.array(3, real)
    places = cuda.local.array(TERMS, np.int32)
    for step in range(LOADS):
        to = np.int32((thread + step * THREADS) * LANES)
        fetch(pointers, start, np.int32(to - reach), low, high_shown, words, step * WORDS)
    for step in range(LOADS):
        to = np.int32((thread + step * THREADS) * LANES)
        show(pointers, start, np.int32(to - reach), low, high_shown, words, step * WORDS, shared, to, end)
    to = np.int32((thread + LOADS * THREADS) * LANES)
    while to < end:
        fetch(pointers, start, np.int32(to - reach), low, high_shown, words, 0)
        show(pointers, start, np.int32(to - reach), low, high_shown, words, 0, shared, to, end)
        to = np.int32(to + THREADS * LANES)
    cuda.syncthreads()
    for term in range(TERMS):
        places[term] = np.int32(thread + reach + (term - BEFORE) * row)
    at = np.int32(0)
    while at < TILE:
        take_summed(shared, places, own)
        add_windows(shared, places, totals)
        for slot in range(BATCH):
            emit_stages(own, par, slot, slot, totals, slot, False, shares)
        store_results(pointers, start, at, low, high, thread, own)
        for term in range(TERMS):
            places[term] = np.int32(places[term] + EXTENT)
        at = np.int32(at + EXTENT)
