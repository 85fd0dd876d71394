"""Interleaved rounds: everyone takes one sample in turn, so that a machine that slows down slows all of them."""

import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

MIN_ROUNDS = 7
SLOW = 1.0  # seconds: a contestant that needs longer for one sample is sampled three times only
SLOW_ROUNDS = 3
SAMPLE = 200e-6  # seconds: shorter calls are repeated within a sample


@dataclass(frozen=True)
class Statistics:
    """What is told of the samples of one contestant, in seconds a call."""

    samples: int
    median: float
    q1: float
    q3: float
    minimum: float
    low: float  # of the 95 % confidence interval of the median
    high: float
    outliers: int

    @property
    def noise(self) -> float:
        """Half the confidence interval of the median, relative to it."""
        return (self.high - self.low) / 2 / self.median if self.median else math.inf

    @property
    def spread(self) -> float:
        """The interquartile range, relative to the median."""
        return (self.q3 - self.q1) / self.median if self.median else math.inf


def statistics(samples: Iterable[float]) -> Statistics:
    """Median, quartiles, the confidence interval of the median by order statistics, and the outliers.

    An outlier lies more than three interquartile ranges beyond a quartile. It is told, never dropped.

    >>> found = statistics([1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 90.0])
    >>> found.median, found.q1, found.q3, found.outliers
    (2.0, 1.5, 2.5, 1)
    """
    values = sorted(samples)
    count = len(values)
    # The binomial interval of the ranks; below six samples only the range is sure to hold the median.
    margin = 0.98 * math.sqrt(count)
    first = max(0, math.floor(count / 2 - margin))
    last = min(count - 1, math.ceil(count / 2 + margin) - 1)
    q1, median, q3 = (quantile(values, part) for part in (0.25, 0.5, 0.75))
    reach = 3 * (q3 - q1)
    outliers = sum(value < q1 - reach or value > q3 + reach for value in values)
    return Statistics(count, median, q1, q3, values[0], values[first], values[max(last, first)], outliers)


def quantile(ordered: list[float], part: float) -> float:
    """The linear quantile of sorted values.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.5
    """
    position = part * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def calls_per_sample(seconds: float) -> int:
    """How many calls of this duration make a sample that the clock resolves.

    >>> calls_per_sample(1e-6), calls_per_sample(1.0)
    (200, 1)
    """
    return max(1, min(10_000, round(SAMPLE / max(seconds, 1e-9))))


def interleave(
    contestants: dict[str, Callable[[], float]], judged: str, roof: str, min_time: float, max_noise: float
) -> dict[str, list[float]]:
    """Samples of every contestant, one each round, in an order that changes from round to round.

    A contestant is a function that returns the seconds of one call. Rounds go on until the samples of ``judged``
    add up to ``min_time`` and the noise of its median and of its ratio to ``roof`` are at most ``max_noise``, or
    until it has had ten times ``min_time``. A contestant that has had as much sits out the remaining rounds, and a
    slow one sooner, so that it does not use up the patience for the others.
    """
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    spent = dict.fromkeys(contestants, 0.0)
    order = list(contestants)
    shuffle = random.Random(0).shuffle
    patience = 10 * min_time
    while True:
        shuffle(order)
        for name in order:
            taken = samples[name]
            slow = len(taken) >= SLOW_ROUNDS and min(taken) > SLOW
            enough = len(taken) >= MIN_ROUNDS and spent[name] > patience
            if name not in (judged, roof) and (slow or enough):
                continue
            start = time.perf_counter()
            taken.append(contestants[name]())
            spent[name] += time.perf_counter() - start
        if len(samples[judged]) < MIN_ROUNDS:
            continue
        ratios = statistics(ratio_by_round(samples[judged], samples[roof]))
        quiet = statistics(samples[judged]).noise <= max_noise and ratios.noise <= max_noise
        if (spent[judged] >= min_time and quiet) or spent[judged] >= patience:
            return samples


def ratio_by_round(samples: list[float], others: list[float]) -> list[float]:
    """The ratios of the samples taken in the same rounds."""
    return [a / b for a, b in zip(samples, others, strict=False)]
