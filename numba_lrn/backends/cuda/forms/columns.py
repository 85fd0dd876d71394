"""Columns: the positions beside which the windowed axis runs, LANES of them to a thread.

The array in memory order is (outer, length, inner), and a column is an index into outer·inner. *Adjacent* lanes are
neighbours in memory and move by 16 bytes at a time; they need ``inner`` to be a multiple of LANES and aligned
arrays. *Spread* lanes lie a block's width apart, so that a warp's accesses still are neighbours: any ``inner``, any
alignment, at the same count of instructions but for the accesses.
"""


def start_of(column, length, inner):
    """Where a column begins."""
    outer = column_quotient(column, inner)
    return outer * length * inner + (column - outer * inner)


def place_adjacent(columns, length, inner, bases):
    """bases[0] = where the thread's first column begins; −1 beyond the last."""
    column = (cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x) * LANES
    bases[0] = -1
    if column < columns:
        bases[0] = start_of(column, length, inner)


def owns_adjacent(bases, lane):
    """Whether there is such a column."""
    return True


def load_adjacent(array, bases, row, length, inner, into, at):
    """One row of the thread's columns; zeros beyond the axis."""
    for lane in range(LANES):
        into[at + lane] = real(0.0)
    if row >= 0 and row < length:
        load_lanes(array, bases[0] + row * inner, into, at)


def store_adjacent(array, bases, row, inner, values, at):
    """Write one row of the thread's columns."""
    store_lanes(array, bases[0] + row * inner, values, at)


def place_spread(columns, length, inner, bases):
    """bases[lane] = where each of the thread's columns begins; −1 beyond the last."""
    first = cuda.blockIdx.x * cuda.blockDim.x * LANES + cuda.threadIdx.x
    for lane in range(LANES):
        column = first + lane * cuda.blockDim.x
        bases[lane] = -1
        if column < columns:
            bases[lane] = start_of(column, length, inner)


def owns_spread(bases, lane):
    """Whether there is such a column."""
    return bases[lane] >= 0


def load_spread(array, bases, row, length, inner, into, at):
    """One row of the thread's columns; zeros beyond the axis."""
    for lane in range(LANES):
        into[at + lane] = real(0.0)
        if row >= 0 and row < length and bases[lane] >= 0:
            into[at + lane] = load(array, bases[lane] + row * inner)


def store_spread(array, bases, row, inner, values, at):
    """Write one row of the thread's columns."""
    for lane in range(LANES):
        if bases[lane] >= 0:
            store(array, bases[lane] + row * inner, values[at + lane])


def load_one(pointers, bases, row, length, inner, values, at):
    """One row of one of several arrays."""
    load_row(pointers[POINTER], bases, row, length, inner, values[FIELD], at)


def store_one(pointers, bases, row, inner, values, at):
    """Write one row of one of several arrays."""
    store_row(pointers[POINTER], bases, row, inner, values[FIELD], at)


def loading(variant, names, fields):
    """``load_one`` for each of the names, which are among ``fields``."""
    return [(load_one, {"FIELD": fields.index(name), "POINTER": variant.pointers.index(name)}) for name in names]


def storing(variant, names, fields):
    """``store_one``, likewise."""
    return [(store_one, {"FIELD": fields.index(name), "POINTER": variant.pointers.index(name)}) for name in names]
