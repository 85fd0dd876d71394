"""The blocks of a kernel and its grid: how many threads, which rows and columns each block has, what it shares.

Of a kernel that variants.py has chosen; the grid and the chunks follow from the batch and the card too.
"""

import math
from typing import NamedTuple

import numpy as np

from numba_lrn.backends.cuda.axes import Axis
from numba_lrn.backends.cuda.forms import flat, line, ring, skew, walk
from numba_lrn.backends.cuda.forms.whole import GROUP, LONG_GROUP, threads_with_registers
from numba_lrn.backends.cuda.kernels import CARRIERS, Variant
from numba_lrn.backends.cuda.phases import Phase

# Blocks that hold axes (forms/whole.py). docs/cuda-kernels.md has what was measured.
LEAST_THREADS = 64
LEAST_COLUMNS = 4  # threads side by side
ROW_BYTES = 128  # that threads side by side have of a row, in the type that computes, and no more
SECTOR_BYTES = 32
# Those with columns that are apart (forms/spread.py): how far, with one phase and two; groups of rows of a block, which
# is rather wide than long; threads of a block with wide windows.
SPREAD_SPAN, SPREAD_TWICE_SPAN = 32, 16
SPREAD_GROUPS = 13
SPREAD_WIDE_THREADS = 256
# Blocks that walk along memory (forms/ring.py): threads; how long a multiprocessor takes with none of them, one, two…
# side by side: two hardly keep it busy.
RING_THREADS = 192
RING_TIMES = (0.0, 2.4, 2.4, 3.1, 4.0)
# Blocks that take skewed rows (forms/skew.py): threads, at most; vectors across a tile, at most.
SKEW_THREADS, SKEW_ACROSS = 256, 48
WALK_THREADS, WALK_MOST_THREADS = 128, 256  # of blocks that walk (forms/walk.py): with several planes, with one
# Threads on their own.
BLOCK = 128
SMALL_BLOCK = 32
THREADS = 1024  # a multiprocessor: below it, the axis is cut into chunks
SHARED_BYTES = 48 * 1024
MAX_GRID = 65535  # of the second and third extents
MAX_BLOCKS = 2**31 - 1  # of the first
MAX_ROWS = 2**30  # of a chunk: they are counted in 32 bits

Extents = tuple[int, int, int]


class Device(NamedTuple):
    """What a plan must know of the card."""

    multiprocessors: int = 132


class Blocks(NamedTuple):
    """How a kernel is launched, but for its arrays."""

    grid: Extents
    block: Extents
    chunk: int  # rows of an axis that a block has, or as its form counts
    rest: tuple[int, ...] = ()  # what else the form takes
    shared_bytes: int = 0
    reads_first: bool = False  # whether its threads have read all that they need before one of them writes
    scratch_bytes: int = 0  # of memory for sums for which there is no shared memory


def blocks_of(axis: Axis, beside: Axis | None, variant: Variant, device: Device) -> Blocks:
    """Those of a kernel for an axis, or two."""
    if beside is not None:
        if variant.walks:
            return _walking(axis, beside, variant, device)
        return _apart(axis, variant, device, 2 * axis.n)._replace(rest=(beside.length, beside.inner))
    if variant.form == "flat":
        return _tiled(axis, variant)
    if variant.form == "skew":
        return _skewed(axis, variant)
    if variant.form == "ring":
        return _along(axis, variant, device)
    return _prefix(axis, variant, device) if variant.form == "prefix" else _holding(axis, variant, device)


def _holding(axis: Axis, variant: Variant, device: Device) -> Blocks:
    """Blocks that hold axes, or tiles of them."""
    groups = -(-axis.length // variant.steps)
    most = groups_wanted(variant)
    lead, lag = halo(axis, variant.phases, variant.steps) if groups > most else (0, 0)
    tiles = -(-groups // (most - lead - lag))
    tile = -(-groups // tiles)
    high = lead + tile + lag
    columns = -(-axis.outer * axis.inner // variant.columns)
    wanted, across = _threads(axis, variant)
    wanted = min(wanted, most_threads(variant))
    if variant.spread:
        wide = variant.span
    elif variant.contiguous:
        wide = max(1, min(wanted // high, columns))
    else:
        wide = LEAST_COLUMNS
        while wide < columns and 2 * wide * high <= (wanted if wide < across else LEAST_THREADS):
            wide *= 2
        # A small batch in more blocks, so that no multiprocessor is idle, as long as they read 32 bytes in a row.
        while wide > 8 and -(-columns // wide) * tiles < 2 * device.multiprocessors:
            wide //= 2
    block = (high, wide, 1) if variant.contiguous else (wide, high, 1)
    deep = -(-tiles // MAX_GRID)
    across = axis.outer * -(-axis.inner // (wide * variant.columns)) if variant.spread else -(-columns // wide)
    rest = (lead, axis.before // variant.steps, axis.after // variant.steps)
    shared = shown(variant) * math.prod(block)
    return Blocks((across, -(-tiles // deep), deep), block, tile * variant.steps, rest, shared, tiles == 1)


def _threads(axis: Axis, variant: Variant) -> tuple[int, int]:
    """(threads of a block, threads side by side at most) that are worth having."""
    itemsize = np.dtype(CARRIERS[variant.dtype]).itemsize
    if variant.form == "wide_last":
        return (32 if variant.steps == LONG_GROUP else 64), 1
    if variant.form == "small_last":
        return (192 if itemsize == 4 else 128), 1
    across = ROW_BYTES // (variant.columns * np.dtype(variant.real).itemsize)
    if variant.form == "wide":
        return (128 if variant.lanes > 1 else 256), across
    if axis.inner * itemsize % SECTOR_BYTES == 0 or variant.lanes > 1:
        return 256, across
    # Rows begin askew, and what a warp writes of one ends askew: the fewer ends the better.
    if variant.steps == GROUP:
        return 512, 32
    return (512 if not variant.twice else 384 if itemsize == 4 else 256), 64


def _walking(axis: Axis, beside: Axis, variant: Variant, device: Device) -> Blocks:
    """Blocks that walk down both axes.

    A block has planes side by side where the second axis is the last in memory, channels otherwise.
    """
    contiguous = beside.inner == 1
    width = variant.lanes if contiguous else 1  # of a thread, along the second axis
    columns = axis.outer * axis.inner // beside.length * width // variant.lanes
    side = walk.side(variant)
    edges = 2 * walk.edge(variant)
    nbytes = walk.hop(variant) * variant.lanes * np.dtype(variant.real).itemsize
    most = min(WALK_MOST_THREADS // side, SHARED_BYTES // (nbytes * side) - edges)
    threads = -(-beside.length // width)
    lead = 0 if threads <= most else -(-(beside.n - 1) // width)
    tiles = -(-threads // (most - 2 * lead))
    tile = -(-threads // tiles)
    across = lead + tile + lead
    if contiguous:
        room = SHARED_BYTES // (nbytes * (across + edges))
        side = _full_warps(across, min(max(1, WALK_THREADS // across), room, columns))
    groups = -(-columns // side)
    wanted = device.multiprocessors * THREADS
    chunks = min(-(-wanted // (groups * side * tiles * across)), axis.length // (2 * axis.n), MAX_GRID)
    chunk = -(-axis.length // max(chunks, 1, -(-axis.length // MAX_ROWS)))
    deep = -(-groups * tiles // MAX_BLOCKS)
    grid = (-(-groups * tiles // deep), -(-axis.length // chunk), deep)
    block = (across, side, 1) if contiguous else (side, across, 1)
    rest = (beside.length, beside.inner, tiles, tile * width, lead)
    return Blocks(grid, block, chunk, rest, nbytes * side * (across + edges), (grid[1], tiles) == (1, 1))


def _tiled(axis: Axis, variant: Variant) -> Blocks:
    """Blocks that take tiles of a line, of which the form counts those of a sample."""
    tiles = -(-line.extent_of(axis.length * axis.inner) // (variant.span * variant.elements))
    shared = flat.shared_elements(variant, axis.inner) * np.dtype(CARRIERS[variant.dtype]).itemsize
    grid = _grid_of_samples(axis, tiles)
    return Blocks(grid, (variant.span, 1, 1), tiles, (axis.outer,), shared, tiles == 1)


def _grid_of_samples(axis: Axis, parts: int, bands: int = 1) -> Extents:
    """Samples, the last extent, of parts side by side; as many times more parts as samples are too many for it."""
    deep = -(-axis.outer // MAX_GRID)
    return parts * deep, bands, -(-axis.outer // deep)


def _skewed(axis: Axis, variant: Variant) -> Blocks:
    """Blocks that take tiles of skewed rows, of which the form counts the elements across.

    They are whole sectors wide. Bands of rows are the second extent of the grid.
    """
    row = axis.inner - variant.span
    edge, rows = skew.edge(variant), variant.before + variant.after
    pairs = row // (2 * variant.lanes)  # of vectors
    across = 2 * -(-pairs // -(-pairs // (SKEW_ACROSS // 2)))
    tiles = -(-2 * pairs // across)
    wide = across + 2 * edge
    groups = -(-line.extent_of(axis.length * axis.inner) // (row * variant.steps))
    most = (SHARED_BYTES // (line.VECTOR_BYTES * wide) - 1 - rows) // variant.steps
    bands = -(-groups // min(most, SKEW_THREADS // wide))
    high = -(-groups // bands)
    shared = skew.pitch_of(high * variant.steps + rows) * wide * line.VECTOR_BYTES
    grid, rest = _grid_of_samples(axis, tiles, bands), (tiles, axis.outer)
    return Blocks(grid, (wide, high, 1), across * variant.lanes, rest, shared, tiles * bands == 1)


def _along(axis: Axis, variant: Variant, device: Device) -> Blocks:
    """Blocks that walk along memory, down chunks of elements.

    With so many chunks that the card is done soonest. A multiprocessor runs a number of blocks side by side, then the
    next, and each begins with strides that are another's too. Over 27 × 27 with 256 channels and 128 images 2, 4, 8
    and 16 chunks reach 79, 89, 81 and 73 % of the copy's speed backward.
    """
    stride = variant.span * variant.elements
    strides = -(-line.extent_of(axis.length * axis.inner) // stride)

    def duration(chunks: int) -> float:
        full, left = divmod(axis.outer * chunks, device.multiprocessors * ring.SIDE_BY_SIDE)
        rounds = full * RING_TIMES[ring.SIDE_BY_SIDE] + RING_TIMES[-(-left // device.multiprocessors)]
        return rounds * (-(-strides // chunks) + len(variant.phases))

    most = min(strides, device.multiprocessors * ring.SIDE_BY_SIDE)
    long = -(-strides // min(range(1, most + 1), key=duration))
    chunks = -(-strides // long)
    shared = ring.shared_elements(variant) * np.dtype(variant.real).itemsize
    grid, rest = _grid_of_samples(axis, chunks), (chunks, axis.outer)
    return Blocks(grid, (variant.span, 1, 1), long * stride, rest, shared, chunks == 1)


def _apart(axis: Axis, variant: Variant, device: Device, unit: int, width: int | None = None) -> Blocks:
    """Threads that walk down the axis, or down chunks of it, on their own.

    A chunk has at least ``unit`` rows, as it reads up to 2(n − 1) that its neighbours read too; one of the prefix
    form begins at a multiple of n.
    """
    threads = -(-axis.outer * axis.inner // variant.lanes)
    wanted = device.multiprocessors * THREADS
    if width is None:
        width = BLOCK if threads >= device.multiprocessors * 2 * BLOCK else SMALL_BLOCK
    chunks = max(1, min(-(-wanted // threads), axis.length // unit, MAX_GRID))
    chunk = -(-axis.length // chunks)
    if variant.form == "prefix":
        chunk = -(-chunk // unit) * unit
    return Blocks((-(-threads // width), -(-axis.length // chunk), 1), (width, 1, 1), chunk)


def _prefix(axis: Axis, variant: Variant, device: Device) -> Blocks:
    """Threads that keep prefix sums, in shared memory where there is room for them."""
    found = _apart(axis, variant, device, axis.n)
    sums = -(-axis.n // variant.steps) * variant.lanes * variant.windows * np.dtype(variant.real).itemsize
    width = min(found.block[0], max(SMALL_BLOCK, SHARED_BYTES // sums // SMALL_BLOCK * SMALL_BLOCK))
    found = _apart(axis, variant, device, axis.n, width)._replace(rest=(axis.before, axis.after))
    if sums * width <= SHARED_BYTES:
        return found._replace(shared_bytes=sums * width)
    return found._replace(scratch_bytes=sums * width * math.prod(found.grid))


def most_threads(variant: Variant) -> int:
    """The threads of a block that holds axes: as many as there are registers and shared memory for."""
    return min(threads_with_registers(variant), SHARED_BYTES // max(1, shown(variant)))


def groups_wanted(variant: Variant) -> int:
    """The groups of rows of a block, at most."""
    if variant.form == "small_spread" and not variant.twice:
        return min(SPREAD_GROUPS, most_threads(variant) // SPREAD_SPAN)
    return most_groups(variant)


def span(axis: Axis, variant: Variant) -> int:
    """How far apart the columns of a thread lie: a power of two, as warps of other widths are slow.

    Forward over 27 × 27, rows of 32 threads reach 77 % of the copy's speed, of 31 threads 61, of 46 threads 45.
    """
    span = SPREAD_TWICE_SPAN if variant.twice else SPREAD_SPAN
    idle, idle_of_half = (-axis.inner % (width * variant.columns) for width in (span, span // 2))
    if 4 * (idle - idle_of_half) > axis.inner:
        span //= 2
    threads = SPREAD_WIDE_THREADS if variant.form == "wide_spread" else most_threads(variant)
    high = min(-(-axis.length // variant.steps), groups_wanted(variant))
    while span > LEAST_COLUMNS and span * high > threads:
        span //= 2
    return span


def shown(variant: Variant) -> int:
    """The bytes that a thread shows its neighbours."""
    rows, fields = variant.steps, 1
    if not variant.form.startswith("wide"):
        rows = min(rows, variant.before + variant.after)
        fields = max(len(phase.summed) for phase in variant.phases)
    return int(fields * rows * variant.columns * np.dtype(variant.real).itemsize)


def most_groups(variant: Variant) -> int:
    """The groups of rows that a block has threads for."""
    return most_threads(variant) if variant.contiguous else most_threads(variant) // LEAST_COLUMNS


def halo(axis: Axis, phases: tuple[Phase, ...], steps: int) -> tuple[int, int]:
    """Groups before and after a tile's own: what windows reach, and what the windows of what they reach do."""
    both = axis.before + axis.after
    before, after = (both, both) if len(phases) > 1 else (axis.before, axis.after)
    return -(-before // steps), -(-after // steps)


def _full_warps(threads: int, most: int) -> int:
    """How many groups of so many threads fill their warps best."""
    return max(range(1, most + 1), key=lambda groups: (groups * threads / -(-groups * threads // 32), groups))
