"""Columns that are apart, for blocks that hold whole axes (whole.py): rows that do not begin with a sector of memory.

A thread's columns lie SPAN apart, so that the accesses of a warp are neighbours one by one, and a thread asks for as
many bytes at a time as where vectors are aligned. Blocks end where rows do: all columns of a thread are of one row.

A sector of 32 bytes of which two blocks write a part each is slow (docs/cuda-kernels.md), and such rows have one
wherever two blocks meet. So blocks are wide.
"""


def load_group(pointers, at, rows, pitch, present, into):
    """whole.load_group for columns that are apart."""
    if rows == STEPS and present == LANES:
        for step in range(STEPS):
            for lane in range(LANES):
                into[FIELD][START + step * LANES + lane] = load(pointers[POINTER], at + step * pitch + lane * SPAN)
    else:
        for slot in range(BATCH):
            into[FIELD][START + slot] = real(0.0)
            if slot // LANES < rows and slot % LANES < present:
                place = at + slot // LANES * pitch + slot % LANES * SPAN
                into[FIELD][START + slot] = load(pointers[POINTER], place)


def store_own(pointers, at, rows, pitch, present, own):
    """whole.store_own likewise."""
    if rows == STEPS and present == LANES:
        for step in range(STEPS):
            for lane in range(LANES):
                store(pointers[POINTER], at + step * pitch + lane * SPAN, own[FIELD][step * LANES + lane])
    else:
        for slot in range(BATCH):
            if slot // LANES < rows and slot % LANES < present:
                store(pointers[POINTER], at + slot // LANES * pitch + slot % LANES * SPAN, own[FIELD][slot])


def spread(local, pointers, integers, par, sums):
    """One phase or both, of the columns of a block."""
    _, length, inner, chunk, lead, behind, ahead = integers
    x = np.int32(cuda.threadIdx.x)
    group, groups = np.int32(cuda.threadIdx.y), np.int32(cuda.blockDim.y)
    here = np.int32(group * SPAN + x), np.int32(groups * SPAN), group, groups, np.int32(SPAN)
    blocks = (inner + (SPAN * LANES - 1)) // (SPAN * LANES)
    outer = quotient(cuda.blockIdx.x, blocks)
    column = (cuda.blockIdx.x - outer * blocks) * (SPAN * LANES) + x
    left = np.int32(min(inner - column, SPAN * LANES))
    present = np.int32(0)
    for lane in range(LANES):
        present = np.int32(present + np.int32(lane * SPAN < left))
    first = (cuda.blockIdx.z * cuda.gridDim.y + cuda.blockIdx.y) * chunk
    row = first + (group - lead) * STEPS
    rows = np.int32(0)
    if present > 0 and row >= 0 and row < length:
        rows = np.int32(min(length - row, STEPS))
    mine = rows if row >= first and row < first + chunk else np.int32(0)
    ground = (outer * length + row) * inner + column, rows, mine, inner, present
    both_phases(local, pointers, ground, par, here, behind, ahead, sums)
