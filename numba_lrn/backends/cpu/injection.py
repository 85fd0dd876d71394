"""What takes the place of algorithm/primitives.py in functions that are compiled for the CPU."""

from typing import Any

import numpy as np

from numba_lrn.backends.cpu import primitives, scans

PRIMITIVES = (
    primitives.fma,
    primitives.accumulate,
    primitives.bits_of,
    primitives.real_of,
    primitives.load,
    primitives.load_integer,
    primitives.store,
    primitives.lanes_of,
    primitives.load_lanes,
    primitives.store_lanes,
    primitives.higher_bits,
    primitives.any_extreme,
    primitives.prefetch,
    primitives.fence,
    scans.sum_suffixes,
    scans.join_prefixes,
    scans.sum_suffixes_of_vectors,
    scans.join_prefixes_of_vectors,
    scans.interleave,
)


def primitives_of(real_name: str) -> dict[str, Any]:
    """Primitives by their names, for functions that compute in this type."""
    return {**{primitive.__name__: primitive for primitive in PRIMITIVES}, "real": getattr(np, real_name)}
