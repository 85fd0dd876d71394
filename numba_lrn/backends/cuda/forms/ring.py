"""Small windows of both phases over rows that begin anywhere in a sector of memory: blocks walk along memory itself.

As in flat.py, a *sample* is one line of elements, and no block but at its ends writes a part of a sector. A block takes
a chunk of it, a *stride* at a time, so that little is computed twice of what the second phase's windows reach. Chunks
and strides begin with a sector. Those of even chunks are taken from the last to the first, so that blocks which read
the same rows, beyond the ends of their chunks, do so at the same time, from the second-level cache.

What windows need of other rows lies in a ring of strides in shared memory. A window reaches no further than a stride on
either side, so that a result needs the strides before and after its own. The first stride of the ring is there twice,
at both ends, so that a block reads neighbours without a break. What the second phase sums lies in another ring, and its
results follow a stride behind those of the first; until then a thread keeps the elements that they need in registers.

A thread reads neighbours, STEPS vectors of LANES elements.
"""

from typing import Any

from numba_lrn.backends.cuda.forms import line
from numba_lrn.backends.cuda.forms.stages import adding, emitting
from numba_lrn.backends.cuda.forms.whole import take

STRIDES = 3  # of a ring
SIDE_BY_SIDE = 4  # blocks of a multiprocessor: there are no registers for more


def later(variant):
    """The arrays of which a thread keeps its own elements for the second phase, or makes them there."""
    last = variant.phases[-1]
    return tuple(dict.fromkeys((*last.read, *last.written)))


def ring_elements(variant: Any) -> int:
    """The elements of a ring, the first stride at its end too."""
    return (STRIDES + 1) * variant.span * variant.elements


def shared_elements(variant: Any) -> int:
    """The elements of shared memory that a block takes."""
    return len(variant.phases) * ring_elements(variant)


def local_sizes(variant):
    """What is under way of each array that is read; the thread's own elements, and those it keeps for later."""
    return [variant.elements for _ in (*variant.loaded, *variant.own, *later(variant))]


def constants(variant):
    """Sizes of strides, rings and local arrays."""
    loaded, own = len(variant.loaded), len(variant.own)
    return {
        **line.sizes(variant, variant.elements),
        "Ahead": variant.tuple_of(variant.loaded),
        "Values": variant.tuple_of(variant.own),
        "Later": variant.tuple_of(later(variant)),
        "LOADED": loaded,
        "OWN": loaded + own,
        "RING": STRIDES * variant.span * variant.elements,
    }


def helpers(variant):
    """What is done for each array, each stage and each phase."""
    first, last = variant.phases
    loaded, own, pointer, kept = variant.loaded.index, variant.own.index, variant.pointers.index, later(variant)
    others = [name for name in variant.loaded if name not in first.summed]
    apart = {"LANES": 1, "STEPS": variant.elements}  # a thread's elements as it computes them, THREADS apart
    return {
        "part_of": [(line.part_of, {})],
        "ground_of": [(line.ground_of, {})],
        "turned": [(turned, {})],
        "turn_all": [(turn_all, {})],
        "load_summed": [(load_stride, {"FIELD": loaded(name), "POINTER": pointer(name)}) for name in first.summed],
        "load_others": [(load_stride, {"FIELD": loaded(name), "POINTER": pointer(name), **apart}) for name in others],
        "show_summed": [(show_stride, {"FIELD": loaded(name), "ORIGIN": 0}) for name in first.summed],
        "take_summed": [(line.take_shared, {"FIELD": own(name)}) for name in first.summed if name in variant.own],
        "take_others": [(take, {"SOURCE": loaded(name), "FIELD": own(name), "FROM": 0, "TO": 0}) for name in others],
        **_phase("", first, variant, variant.own, variant.before, 0),
        "keep_inside": [(keep_if_inside, {"FIELD": own(name)}) for name in last.summed],
        "show_kept": [
            (show_stride, {"FIELD": own(name), "ORIGIN": ring_elements(variant), **apart}) for name in last.summed
        ],
        "keep_own": [
            (take, {"SOURCE": own(name), "FIELD": kept.index(name), "FROM": 0, "TO": 0}) for name in last.read
        ],
        **_phase("_later", last, variant, kept, variant.after, ring_elements(variant)),
    }


def _phase(name, phase, variant, fields, before, origin):
    """Window sums, ends and results of a phase, whose ring begins at ``origin``; ``fields``: its arrays."""
    placed = {"Terms": variant.tuple_of(phase.summed), "ORIGIN": origin}
    return {
        f"places_of{name}": [(places_of, {"FIRST": before})],
        f"add_windows{name}": [
            (function, {**own, **placed}) for function, own in adding(phase, variant.elements, line.add_shared)
        ],
        f"emit_stages{name}": emitting(phase, variant.elements),
        f"store_results{name}": [
            (line.store_apart, {"FIELD": fields.index(array), "POINTER": variant.pointers.index(array)})
            for array in variant.stored(phase)
        ],
    }


def turned(place, turn, end):
    """A place in a ring that ends there, a stride on in the way of the walk."""
    moved = np.int32(place + turn)
    return np.int32(moved - RING) if moved >= end else moved


def turn_all(places, turn, thread):
    """``turned`` for the places of all terms."""
    for term in range(TERMS):
        places[term] = turned(places[term], turn, np.int32(RING + thread))


def places_of(places, origin, thread, row):
    """Where the terms of a thread's first window lie in a ring in which its stride begins at ``origin``."""
    for term in range(TERMS):
        place = np.int32(origin + (term - FIRST) * row)
        places[term] = np.int32((place - RING if place >= RING else place) + thread)


def load_stride(pointers, start, at, low, high, thread, ahead):
    """A stride of one array; zeros where there are no elements: those at ``low`` to ``high`` are there."""
    if low <= at and np.int32(at + EXTENT) <= high:
        first = start + np.int32(at + thread * LANES)
        for step in range(STEPS):
            if LANES > 1:
                load_lanes(pointers[POINTER], first + step * THREADS * LANES, ahead[FIELD], step * LANES)
            else:
                ahead[FIELD][step] = load(pointers[POINTER], first + step * THREADS)
    else:
        for slot in range(BATCH):
            place = np.int32(at + (thread + slot // LANES * THREADS) * LANES + slot % LANES)
            ahead[FIELD][slot] = real(0.0)
            if place >= low and place < high:
                ahead[FIELD][slot] = load(pointers[POINTER], start + place)


def show_stride(shared, to, thread, values):
    """Put a stride into a ring, at its end too if it is the first."""
    for copy in range(2):
        if copy == 0 or to == 0:
            place = np.int32((RING if copy > 0 else to) + thread * LANES)
            for step in range(STEPS):
                if LANES > 1:
                    store_lanes(shared, place + ORIGIN + step * THREADS * LANES, values[FIELD], step * LANES)
                else:
                    store(shared, place + ORIGIN + step * THREADS, values[FIELD][step])


def keep_if_inside(at, low, high, thread, own):
    """Nothing is kept from beyond the sample. Selected, not multiplied by 0: there d may be 0, where k is."""
    if low > at or np.int32(at + EXTENT) > high:
        for slot in range(BATCH):
            place = np.int32(at + thread + slot * THREADS)
            own[FIELD][slot] = own[FIELD][slot] if place >= low and place < high else real(0.0)


def ring(local, pointers, integers, par, sums):
    """Both phases, a chunk of a line."""
    _, length, inner, chunk, chunks, samples = integers
    ahead = Ahead(*local[:LOADED])
    own = Values(*local[LOADED:OWN])
    later = Later(*local[OWN:])
    thread, row, chunk = np.int32(cuda.threadIdx.x), np.int32(inner), np.int32(chunk)
    number, sample = part_of(cuda.blockIdx.x, np.int32(chunks))
    if sample >= np.int32(samples):
        return
    start, low, high = ground_of(sample, np.int32(np.int32(length) * row), np.int32(number * chunk))
    end = np.int32(min(chunk, high))
    count = np.int32((end + (EXTENT - 1)) // EXTENT)
    way, turn, at = np.int32(EXTENT), np.int32(EXTENT), np.int32(0)
    if number % 2 == 0:
        way, turn, at = np.int32(-EXTENT), np.int32(RING - EXTENT), np.int32((count - 1) * EXTENT)
    reach = np.int32(REACH * row)  # of a window
    low_others, high_others = np.int32(max(low, -reach)), np.int32(min(high, end + reach))
    # What the second phase sums begins a stride before the results, and ends a stride after them.
    at, count, reach = np.int32(at - way), np.int32(count + 2), np.int32(2 * reach)
    low_summed, high_summed = np.int32(max(low, -reach)), np.int32(min(high, end + reach))
    shared = cuda.shared.array(0, real_type, alignment=SHARED_ALIGNMENT)
    totals = cuda.local.array(TOTALS, real)
    shares = cuda.local.array(3, real)
    places = cuda.local.array(TERMS, np.int32)
    places_later = cuda.local.array(TERMS, np.int32)
    places_of(places, turn, thread, row)
    places_of_later(places_later, np.int32(RING - turn), thread, row)
    to, to_later = np.int32(0), np.int32(0)
    for stride in range(2):
        load_summed(pointers, start, np.int32(at + (stride - 1) * way), low_summed, high_summed, thread, ahead)
        show_summed(shared, to, thread, ahead)
        to = turned(to, turn, RING)
    load_summed(pointers, start, np.int32(at + way), low_summed, high_summed, thread, ahead)
    load_others(pointers, start, at, low_others, high_others, thread, ahead)
    index = np.int32(0)
    while index < count:
        show_summed(shared, to, thread, ahead)
        to = turned(to, turn, RING)
        take_others(ahead, own)
        cuda.syncthreads()
        load_summed(pointers, start, np.int32(at + 2 * way), low_summed, high_summed, thread, ahead)
        load_others(pointers, start, np.int32(at + way), low_others, high_others, thread, ahead)
        take_summed(shared, places, own)
        add_windows(shared, places, totals)
        for slot in range(BATCH):
            emit_stages(own, par, slot, slot, totals, slot, False, shares)
        store_results(pointers, start, at, low, end, thread, own)
        turn_all(places, turn, thread)
        keep_inside(at, low, high, thread, own)
        show_kept(shared, to_later, thread, own)
        to_later = turned(to_later, turn, RING)
        cuda.syncthreads()
        if index >= 2:
            add_windows_later(shared, places_later, totals)
            for slot in range(BATCH):
                emit_stages_later(later, par, slot, slot, totals, slot, False, shares)
            store_results_later(pointers, start, np.int32(at - way), low, end, thread, later)
        keep_own(own, later)
        turn_all(places_later, turn, thread)
        at = np.int32(at + way)
        index = np.int32(index + 1)
