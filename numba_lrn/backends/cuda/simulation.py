"""What the simulator runs in the place of primitives.py: the plain twins of algorithm/primitives.py.

Global memory is a NumPy array there, half types as the integers that hold their bits.
"""

from collections.abc import Callable

from numba_lrn.algorithm.primitives import load, store


def make_load_lanes(lanes: int) -> Callable:
    """The twin of primitives.make_load_lanes."""

    def load_lanes(source, index, into, at):
        for lane in range(lanes):
            into[at + lane] = load(source, index + lane)

    return load_lanes


def make_store_lanes(lanes: int, packs: bool) -> Callable:
    """The twin of primitives.make_store_lanes."""

    def store_lanes(target, index, values, at):
        for lane in range(lanes):
            store(target, index + lane, values[at + lane])

    return store_lanes
