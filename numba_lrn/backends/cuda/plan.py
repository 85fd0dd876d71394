"""The one place that chooses: which kernels run, on which grid, with which arguments and temporaries.

How the launch side uses it::

    plan = make_plan(dimensions, recipe, op, dtype, aligned, device)
    for launch in plan.launches:
        code, name = kernels.cubin(launch.variant, device.compute_capability)
        # grid, block and shared_bytes as they are; the arguments are one pointer for each name in
        # launch.operands, in that order, then launch.scalars as they are (their NumPy types are the kernel's).

Names of operands: "x", "g" (grad_output; "x" stands in where an operation has none), "out", and "temporary 0",
"temporary 1", …, whose sizes in bytes are ``plan.temporaries``; each must start on a multiple of 256 bytes.
"""

from typing import Any, NamedTuple

import numpy as np

from numba_lrn.algorithm.geometry import Dimension
from numba_lrn.backends.cuda.kernels import Variant
from numba_lrn.operator import LocalResponseNorm


class Device(NamedTuple):
    """What a plan must know of the card."""

    compute_capability: tuple[int, int] = (9, 0)
    multiprocessors: int = 132


class Launch(NamedTuple):
    """One kernel launch, but for the addresses of its arrays."""

    variant: Variant
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int  # dynamic; at most 48 KiB
    operands: tuple[str, ...]
    scalars: tuple[Any, ...]  # np.int64, np.float32 or np.float64, after the pointers


class Plan(NamedTuple):
    """The launches of one operation, in order, on one stream."""

    launches: tuple[Launch, ...]
    temporaries: tuple[int, ...]  # bytes
    in_place: bool  # whether "out" may be "x" or "g" itself; partial overlap never is allowed


def make_plan(
    dimensions: tuple[Dimension, ...],
    recipe: str,
    op: LocalResponseNorm,
    dtype: np.dtype,
    aligned: bool,
    device: Device,
) -> Plan:
    """The plan for dense arrays of these dimensions (algorithm/geometry.py), none of them empty, β ≠ 0.

    ``aligned``: every array starts on a multiple of 16 bytes.
    """
    raise NotImplementedError
