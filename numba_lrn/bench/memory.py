"""How fast the machine's memory is at this moment: what tells one state of a machine from another."""

import statistics
from collections.abc import Sequence

import numpy as np

from numba_lrn.bench.devices import Cpu, Cuda

FACTOR = 2  # each of the two arrays is this many last-level caches
SHARE = 16  # and at most this part of the free memory
COPIES = 3  # taken before and again after the rounds of a row
STEADY = 1.2  # a state is the usual one while the rate is within this factor of the usual rate


class Memory:
    """The rate of one and the same large copy, taken beside every row.

    The host of a virtual machine moves its threads from core to core. On an EPYC with two threads a copy ran at 45,
    75 or 19 GB/s for minutes each: threads behind one cache, behind two, or taking turns on one core. Times over the
    roof, of the same code, were 1.4 to 1.9 times as high in the second state as in the first, for there a kernel that
    computes anything is bound by what it computes. So a figure stands for one state, and two can be compared in the
    same state only.
    """

    def __init__(self, device: Cpu | Cuda):
        size = min(FACTOR * device.cache_bytes(), device.free_bytes() // SHARE)
        self._device = device
        self._source = device.asarray(np.ones(max(size // 4, 1), np.float32))
        self._target = device.empty_like(self._source)
        self._copy = device.roof("forward")
        self._once()  # compiles

    def _once(self) -> float:
        return self._device.seconds(lambda: self._copy(self._source, None, self._target))

    def rates(self) -> list[float]:
        """Bytes a second of a few copies, read and written ones counted."""
        return [2 * self._source.nbytes / self._once() for _ in range(COPIES)]


def usual_rate(rates: Sequence[float | None]) -> float | None:
    """The median of the rates that are known."""
    known = [rate for rate in rates if rate]
    return statistics.median(known) if known else None


def is_usual(rate: float | None, usual: float | None) -> bool:
    """Whether a rate belongs to the usual state; what is not known is taken for it.

    >>> is_usual(45e9, 43e9), is_usual(75e9, 43e9), is_usual(19e9, 43e9), is_usual(None, 43e9)
    (True, False, False, True)
    """
    return not rate or not usual or 1 / STEADY <= rate / usual <= STEADY
