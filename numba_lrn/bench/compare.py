"""Two results side by side: ratios with their uncertainty."""

import math
from dataclasses import dataclass

from numba_lrn.bench.memory import is_usual
from numba_lrn.bench.report import Report, figure, plain_table, seconds
from numba_lrn.bench.run import Row


@dataclass(frozen=True)
class Change:
    """One row in both results: second over first, with the half width of its 95 % interval."""

    first: Row
    second: Row
    ratio: float
    uncertainty: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 1 out."""
        return abs(self.ratio - 1) > self.uncertainty


def compare(first: Report, second: Report, by: str = "time") -> tuple[list[Change], list[str]]:
    """The changes of the rows that both have, and the labels of those that one has.

    ``by`` is ``time``, or ``roof`` for the times over the roof, which a machine in another mood moves less.
    """
    before = {row.label: row for row in first.rows}
    after = {row.label: row for row in second.rows}
    changes = []
    for label, row in before.items():
        if label in after:
            a, b = _value(row, by), _value(after[label], by)
            ratio = b[0] / a[0]
            changes.append(Change(row, after[label], ratio, ratio * math.hypot(a[1], b[1])))
    return changes, sorted(before.keys() ^ after.keys())


def _value(row: Row, by: str) -> tuple[float, float]:
    """(value, relative half width of its interval)."""
    if by == "time":
        return row.median, row.noise
    return row.over_roof, row.ratio_noise


def render(first: Report, second: Report, by: str = "time") -> str:
    """The table of the changes, with what the two results do not share."""
    changes, lone = compare(first, second, by)
    columns = ["case", "direction", "layout", "dtype", "who", "first", "second", "ratio", "±", "verdict"]
    lines = []
    for change in changes:
        a, b = change.first, change.second
        values = (seconds(a.median), seconds(b.median)) if by == "time" else (figure(a.over_roof), figure(b.over_roof))
        word = "same" if not change.clear else "slower" if change.ratio > 1 else "faster"
        lines.append(
            [
                a.case,
                a.direction,
                a.layout,
                a.dtype,
                a.contestant,
                *values,
                f"{change.ratio:.3f}",
                f"{change.uncertainty:.3f}",
                word,
            ]
        )
    text = [plain_table(columns, lines), ""]
    text.append(
        f"ratio: second / first, by {'time' if by == 'time' else 'time over the roof'}; ±: half of its 95 % interval"
    )
    for key in ("cpu", "threads", "threading_layer", "last_level_cache"):
        a_value, b_value = first.environment.get(key), second.environment.get(key)
        if a_value != b_value:
            text.append(f"warning: {key} differs: {a_value} and {b_value}")
    rates = first.usual_copy_rate, second.usual_copy_rate
    if not is_usual(*rates):
        one, other = ((rate or 0) / 1e9 for rate in rates)
        text.append(
            f"warning: the machine was in another state: a large copy ran at {one:.0f} and at {other:.0f} GB/s, and "
            "what is bound by memory in one may be bound by computing in the other"
        )
    text += [f"only in one: {label}" for label in lone]
    return "\n".join(text) + "\n"


def slower(first: Report, second: Report, limit: float, by: str = "time") -> list[Change]:
    """The changes beyond ``limit`` that are more than noise."""
    changes, _ = compare(first, second, by)
    return [change for change in changes if change.ratio > limit and change.clear]
