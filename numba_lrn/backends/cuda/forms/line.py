"""What blocks do that take a *sample*, all rows of one outer index, as one line of elements.

That is a part of it (flat.py), one part after another (ring.py), or skewed rows (skew.py). In the first two a thread
computes elements that are THREADS apart, so that a warp's accesses of shared memory lie side by side, and so do its
stores.
"""

import math

from numba_lrn.backends.cuda.forms.stages import chains

WORDS, VECTOR_BYTES = 4, 16  # of the widest access, to a multiple of which its address must be aligned
SECTOR = 32  # elements of any size: where a tile or a stride begins, a sector does, and a vector


def extent_of(sample: int) -> int:
    """The elements of a line, at most: samples begin up to a sector after it, by multiples of what both have."""
    return sample + SECTOR - math.gcd(sample, SECTOR)


def sizes(variant, elements):
    """Of a block whose threads compute so many elements at a time, and of its window sums."""
    return {
        **chains(variant),
        "THREADS": variant.span,
        "EXTENT": variant.span * elements,  # what a block computes at a time
        "BATCH": elements,
        "TOTALS": elements,
        "REACH": max(variant.before, variant.after),
        "SECTOR": SECTOR,
    }


def part_of(number, parts):
    """(part, sample) of the ``number``-th block of a row of the grid, where a sample has ``parts`` of them.

    The last extent of the grid is the sample. Where samples are more than that may be, a row has several times
    ``parts`` blocks, and each time is a sample that lies gridDim.z further on. Dividing takes twenty instructions.
    """
    part, sample = np.int32(number), np.int32(cuda.blockIdx.z)
    while part >= parts:
        part = np.int32(part - parts)
        sample = np.int32(sample + cuda.gridDim.z)
    return part, sample


def ground_of(sample, elements, offset):
    """Where in memory a block begins, ``offset`` elements after the sector in which its sample does; and, counted from
    there, where the sample begins and ends.

    In 32 bits, which hold the places in a sample: comparing in 64 takes two instructions.
    """
    begin = np.int64(sample) * elements
    low = np.int32(np.int32(begin & (SECTOR - 1)) - offset)
    return begin - low, low, np.int32(low + elements)


def take_shared(shared, places, own):
    """The thread's own elements of what is summed."""
    for slot in range(BATCH):
        own[FIELD][slot] = load(shared, places[BEFORE] + slot * THREADS)


def add_shared(shared, places, totals):
    """The sums of the windows of all elements of a thread, whose first has its terms at ``places``."""
    terms = Terms(shared)
    parts = cuda.local.array(2, real)
    for slot in range(BATCH):
        parts[0] = EMPTY
        parts[1] = EMPTY
        for term in range(TERMS):
            place = places[term] + (ORIGIN + slot * THREADS)
            parts[term % CHAINS] = add_term(terms, terms, place, place, parts[term % CHAINS])
        totals[TOTAL + slot] = parts[0] + parts[1]


def store_apart(pointers, start, at, low, high, thread, own):
    """Write what a block computed of one array from ``at`` on; those at ``low`` to ``high`` are there."""
    if low <= at and np.int32(at + EXTENT) <= high:
        first = start + np.int32(at + thread)
        for slot in range(BATCH):
            store(pointers[POINTER], first + slot * THREADS, own[FIELD][slot])
    else:
        for slot in range(BATCH):
            place = np.int32(at + thread + slot * THREADS)
            if place >= low and place < high:
                store(pointers[POINTER], start + place, own[FIELD][slot])
