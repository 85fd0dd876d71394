"""What the blocks of a kernel have summed over all elements, added up to the gradients of the parameters.

The kernels leave for each block three sums and what each was rounded by, in the type that computes (forms/stages.py).
One block adds them in float64, each thread those of every so many blocks and then all threads in a tree: an order that
depends on the number of blocks alone. The results stay on the device, so that nothing waits for it.
"""

from typing import Any, NamedTuple

import numpy as np

from numba_lrn.backends.cuda import toolkit
from numba_lrn.backends.cuda.toolkit import cuda, types

THREADS = 1024
SMALL = 32
RESULTS = 3  # the gradients of scale, β and k


class Variant(NamedTuple):
    """What the kernel is specialised on: the type that the sums come in."""

    real: str


class Launch(NamedTuple):
    """One launch, but for the addresses of the sums and of the three results."""

    variant: Variant
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    scalars: tuple[Any, ...]


def launch_for(real: str, blocks: int, beta: float) -> Launch:
    """The launch for so many blocks, of which each thread takes one at least, and an operator with this β."""
    threads = SMALL
    while threads < min(blocks, THREADS):
        threads *= 2
    return Launch(Variant(real), (1, 1, 1), (threads, 1, 1), 0, (np.int64(blocks), np.float64(beta)))


def parameter_gradients(partials, results, blocks, beta):  # type: ignore[no-untyped-def]
    """results = (−β·Σ r·S, −Σ g·x·d^(−β)·ln d, −β·Σ r), from partial sums of r, r·S and g·x·d^(−β)·ln d."""
    shared = cuda.shared.array(THREADS, types.float64)
    thread = cuda.threadIdx.x
    for index in range(3):
        total = 0.0
        rest = 0.0
        block = thread
        while block < blocks:
            value = np.float64(partials[2 * index * blocks + block])
            after = total + value
            part = after - total
            rest += (total - (after - part)) + (value - part) + np.float64(partials[(2 * index + 1) * blocks + block])
            total = after
            block += cuda.blockDim.x
        # What a sum that is not finite was rounded by is NaN.
        shared[thread] = total + rest if total - total == 0.0 else total
        half = cuda.blockDim.x // 2
        while half > 0:
            cuda.syncthreads()
            if thread < half:
                shared[thread] = shared[thread] + shared[thread + half]
            half //= 2
        if thread == 0:
            factor = beta if index < 2 else 1.0
            # With β = 0, y does not depend on d, were it NaN.
            results[(index + 2) % 3] = -factor * shared[0] if factor != 0.0 else 0.0
        cuda.syncthreads()


def build(variant: Variant) -> Any:
    """The kernel as a ``cuda.jit`` dispatcher; the simulator runs it as such."""
    return cuda.jit(parameter_gradients)


def ptx(variant: Variant, compute_capability: tuple[int, int]) -> str:
    """The kernel for sums in this type."""
    pointers = types.CPointer(getattr(types, variant.real)), types.CPointer(types.float64)
    return toolkit.compile_ptx(parameter_gradients, (*pointers, types.int64, types.float64), compute_capability)
