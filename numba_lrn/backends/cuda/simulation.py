"""What the simulator runs in the place of primitives.py: the plain twins of algorithm/primitives.py.

Global memory is a NumPy array there, half types as the integers that hold their bits.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from numba_lrn.algorithm.primitives import load, store

# The module math of a card, where roots and divisions by zero raise nothing.
ieee_math = SimpleNamespace(inf=math.inf, nan=math.nan, sqrt=np.sqrt, log=np.log, pow=np.power)


class Cuda:
    """``cuda`` in the functions that have a namespace of their own: the simulator swaps it in that of the kernel."""

    def __init__(self, namespace):
        self._namespace = namespace

    def __getattr__(self, name):
        return getattr(self._namespace["cuda"], name)


def make_load_lanes(lanes: int) -> Callable:
    """The twin of primitives.make_load_lanes."""

    def load_lanes(source, index, into, at):
        for lane in range(lanes):
            into[at + lane] = load(source, index + lane)

    return load_lanes


def load_words(source, index, words, at):
    """The twin of primitives.load_words."""
    assert index * source.dtype.itemsize % 16 == 0
    vector = np.array([source[index + lane] for lane in range(16 // source.dtype.itemsize)], source.dtype)
    for word, bits in enumerate(vector.view(np.int32)):
        words[at + word] = bits


def store_words(target, index, words, at):
    """The twin of primitives.store_words."""
    assert index * target.dtype.itemsize % 16 == 0
    bits = np.array([words[at + word] for word in range(4)], np.int32)
    for lane, element in enumerate(bits.view(target.dtype)):
        target[index + lane] = element


def make_store_lanes(lanes: int, packs: bool) -> Callable:
    """The twin of primitives.make_store_lanes."""

    def store_lanes(target, index, values, at):
        for lane in range(lanes):
            store(target, index + lane, values[at + lane])

    return store_lanes
