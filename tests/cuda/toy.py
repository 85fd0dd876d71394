"""A stand-in for the kernels, so that the host half is tested by itself: out[i] = x[i] + 2·g[i − 1], in memory order.

It reads a neighbour, so that an operation in place that must not be shows; ``staged`` may be done in place.
"""

import sys
from typing import Any, NamedTuple

import numpy as np

from numba_lrn.backends.cuda import toolkit
from numba_lrn.backends.cuda.plan import Plan
from numba_lrn.backends.cuda.toolkit import cuda

BLOCK = 32


class Launch(NamedTuple):
    """The fields of plan.Launch that the host half reads."""

    variant: str
    grid: tuple
    block: tuple
    shared_bytes: int
    operands: tuple
    scalars: tuple[Any, ...]


def both(x, g, out, size):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < size:
        before = g[i - 1] if i > 0 else g[i]
        out[i] = x[i] + before + before


def doubled(g, temporary, size):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < size:
        before = g[i - 1] if i > 0 else g[i]
        temporary[i] = before + before


def added(x, temporary, out, size):
    i = cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x
    if i < size:
        out[i] = x[i] + temporary[i]


def build(variant):
    return cuda.jit(globals()[variant])


def ptx(variant, compute_capability):
    types = toolkit.types
    pointers = 2 if variant == "doubled" else 3
    signature = (types.CPointer(types.float32),) * pointers + (types.int64,)
    return toolkit.compile_ptx(globals()[variant], signature, compute_capability)


def direct(dimensions, recipe, op, dtype, aligned, device, in_place):
    """In one launch, which must not be done in place."""
    size = int(np.prod([dimension.extent for dimension in dimensions]))
    return Plan((_launch("both", ("x", "g", "out"), size),), (), False)


def staged(dimensions, recipe, op, dtype, aligned, device, in_place):
    """In two launches with two temporaries, of which one is not used."""
    size = int(np.prod([dimension.extent for dimension in dimensions]))
    stages = (_launch("doubled", ("g", "temporary 1"), size), _launch("added", ("x", "temporary 1", "out"), size))
    return Plan(stages, (8, 4 * size), True)


def _launch(variant, operands, size):
    return Launch(variant, (-(-size // BLOCK), 1, 1), (BLOCK, 1, 1), 0, operands, (np.int64(size),))


def expected(x, g, order):
    """The same for NumPy arrays; ``order`` are the axes from the slowest to the fastest."""
    x, g = x.transpose(order), g.transpose(order)
    flat = g.reshape(-1)
    before = np.concatenate([flat[:1], flat[:-1]]).reshape(g.shape)
    return (x + 2 * before).transpose(np.argsort(order))


def install(monkeypatch, launch, make_plan):
    """Let the launches of ``launch`` be those of this module, which the stamp of the disk cache does not know."""
    monkeypatch.setenv("NUMBA_LRN_CACHE", "0")
    monkeypatch.setattr(launch, "make_plan", make_plan)
    monkeypatch.setattr(launch, "kernels", sys.modules[__name__])
    launch._route.cache_clear()
