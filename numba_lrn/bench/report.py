"""The result as a table (rich or plain), JSON, CSV or Markdown."""

import csv
import io
import json
import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from numba_lrn.bench.cases import BadArgumentError
from numba_lrn.bench.memory import is_usual, usual_rate
from numba_lrn.bench.run import CACHE_FACTOR, OURS, Row, Skipped

SCHEMA = "numba_lrn.bench"
SCHEMA_VERSION = 1


@dataclass
class Report:
    """All that a run gives."""

    environment: dict[str, Any]
    settings: dict[str, Any]
    rows: list[Row]
    skipped: list[Skipped]
    complete: bool = True

    def to_json(self) -> str:
        """One JSON object with a schema version."""
        return json.dumps(
            {
                "schema": SCHEMA,
                "schema_version": SCHEMA_VERSION,
                "complete": self.complete,
                "environment": self.environment,
                "settings": self.settings,
                "rows": [
                    _finite({**asdict(row), "spread": row.spread, "gigabytes_per_second": row.gigabytes_per_second})
                    for row in self.rows
                ],
                "skipped": [asdict(item) for item in self.skipped],
            },
            indent=1,
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str, name: str) -> "Report":
        """The report in a JSON text; ``name`` stands in the message when it is none.

        Raises
        ------
        BadArgumentError
            For a text that is no such report, or one of another schema version.
        """
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA:
                raise KeyError("schema")
            if data["schema_version"] != SCHEMA_VERSION:
                msg = f"{name} has schema version {data['schema_version']}; this version reads {SCHEMA_VERSION}"
                raise BadArgumentError(msg)
            return cls(
                data["environment"],
                data["settings"],
                [Row.from_json(_infinite(row)) for row in data["rows"]],
                [Skipped(**item) for item in data["skipped"]],
                data["complete"],
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            msg = f"{name} is not a result of numba-lrn bench --json ({type(error).__name__}: {error})"
            raise BadArgumentError(msg) from None

    def to_csv(self) -> str:
        """One line a row, times in seconds."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [*Row.__dataclass_fields__, "spread", "gigabytes_per_second"]
        writer.writerow(names)
        for row in self.rows:
            values = {**asdict(row), "spread": row.spread, "gigabytes_per_second": row.gigabytes_per_second}
            values["shape"] = "x".join(map(str, row.shape))
            values["notes"] = "; ".join(row.notes)
            writer.writerow([values[name] for name in names])
        return out.getvalue()

    def to_markdown(self) -> str:
        """The table and the conditions under it."""
        return "\n".join([markdown_table(*self.table()), "", *self.conditions(), *self.remarks()]) + "\n"

    def to_plain(self) -> str:
        """The table in plain characters."""
        return "\n".join([plain_table(*self.table()), "", *self.conditions(), *self.remarks()]) + "\n"

    def print_rich(self, console: Any) -> None:
        """The table on a terminal, by rich."""
        styles = [
            "bold red" if row.verdict == "WRONG" else "" if row.contestant == OURS else "dim" for row in self.rows
        ]
        print_rich_table(console, *self.table(), styles)
        for line in ["", *self.conditions(), *self.remarks()]:
            console.print(line, markup=False, highlight=False)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Column names and the cells of each row."""
        peers = any(row.contestant != OURS for row in self.rows)
        columns = ["case", "direction", "layout", "dtype"]
        columns += ["who"] if peers else []
        columns += ["path", "first call", "median", "spread", "GB/s", "× roof"]
        columns += ["× ours"] if peers else []
        columns += ["ulp", "verdict"]
        lines = []
        for row in self.rows:
            ours = row.contestant == OURS
            cells = {
                "case": row.case,
                "direction": row.direction,
                "layout": row.layout,
                "dtype": row.dtype,
                "who": row.contestant,
                "path": f"{row.backend} {row.path}" if ours else "",
                "first call": seconds(row.first_call) if row.first_use else "as above",
                "median": seconds(row.median),
                "spread": f"{100 * row.spread:.0f} %",
                "GB/s": figure(row.gigabytes_per_second),
                "× roof": figure(row.over_roof),
                "× ours": "" if ours else figure(row.over_ours),
                "ulp": "–" if row.error_ulp is None else figure(row.error_ulp),
                "verdict": row.verdict,
            }
            lines.append([cells[name] for name in columns])
        return columns, lines

    def conditions(self) -> list[str]:
        """Where and how this was measured."""
        env, settings = self.environment, self.settings
        packages = ", ".join(f"{name} {version}" for name, version in env["packages"].items())
        peers = ", ".join(f"{name} {version}" for name, version in settings.get("peers", {}).items())
        load = env["load"]
        return [
            f"numba_lrn {env['numba_lrn']}, Python {env['python']}, {packages}" + (f"; {peers}" if peers else ""),
            f"{env['cpu']}, {env['cores']} cores, {settings['threads']} threads ({env['threading_layer']}), last-level "
            f"cache {env['last_level_cache'] / 2**20:.0f} MiB, {env['date']}"
            + (f", load {load[0]:.1f} at the start" if load else ""),
            (
                "GB/s: bytes moved / median, each array counted once (forward: 2 arrays, double_backward: 5, the "
                "others: 3). × roof: the "
                "median over the rounds of time / time of the roof in the same round; the roof is a parallel copy for "
                "forward, three reads and two writes for double_backward, and two reads and a write for the others."
            ),
            (
                "spread: interquartile range / median. Arrays of 1 MiB and more are timed out of cache, on buffers "
                "that rotate; smaller ones in cache. "
                + self._copy_rates()
                + ("out= is given." if settings["use_out"] else "Each call allocates its result.")
            ),
            (
                "ulp: the largest error against a float64 reference (longdouble for float64), in ulp of the dtype; for "
                "derivatives, ulp of the sum of the absolute terms."
            ),
        ]

    def _copy_rates(self) -> str:
        """What a large copy beside the rows says of the machine."""
        rates = [row.copy_rate for row in self.rows if row.copy_rate]
        if not self.usual_copy_rate:
            return ""
        usual, low, high = (value / 1e9 for value in (self.usual_copy_rate, min(rates), max(rates)))
        return f"A large copy beside each row ran at {usual:.0f} GB/s ({low:.0f} to {high:.0f}). "

    def remarks(self) -> list[str]:
        """Warnings, and who did not take part."""
        lines = []
        limit = self.settings.get("max_noise", 0)
        noisy = [row for row in self.rows if row.contestant == OURS and max(row.noise, row.ratio_noise) > limit]
        if noisy:
            listed = ", ".join(f"{row.name} {100 * max(row.noise, row.ratio_noise):.0f} %" for row in noisy)
            lines.append(f"warning: noisier than the asked {100 * limit:g} %: {listed}")
        outlying = [row for row in self.rows if row.outliers]
        if outlying:
            listed = ", ".join(f"{row.name} {row.contestant} {row.outliers} of {row.samples}" for row in outlying)
            lines.append(f"outliers (kept; beyond three interquartile ranges): {listed}")
        wanted = CACHE_FACTOR * self.environment.get("last_level_cache", 0)
        short = [row.working_set for row in self.rows if row.cold and row.working_set < wanted]
        if short:
            lines.append(
                f"warning: {len(short)} rows are partly timed in cache: memory allowed buffers of "
                f"{min(short) / 2**20:.0f} MiB, less than {CACHE_FACTOR} last-level caches"
            )
        usual = self.usual_copy_rate
        changed = [row for row in self.rows if row.contestant == OURS and not is_usual(row.copy_rate, usual)]
        if changed and usual:
            listed = ", ".join(f"{row.name} {(row.copy_rate or 0) / 1e9:.0f}" for row in changed)
            lines.append(
                f"warning: the machine had changed when these were measured: a large copy, which ran at "
                f"{usual / 1e9:.0f} GB/s beside most rows, ran at (GB/s): {listed}"
            )
        noted: dict[tuple[str, str], int] = defaultdict(int)
        for row in self.rows:
            for note in row.notes:
                noted[row.contestant, note] += 1
        lines += [f"note: {contestant} ({count} rows): {note}" for (contestant, note), count in noted.items()]
        reasons: dict[tuple[str, str], list[str]] = defaultdict(list)
        for item in self.skipped:
            reasons[item.contestant, item.reason].append(item.label)
        for (contestant, reason), labels in reasons.items():
            shown = f"{len(labels)} cases" if len(labels) > 2 else ", ".join(labels)
            lines.append(f"not measured: {contestant} ({shown}): {reason}")
        if not self.complete:
            lines.append("interrupted: the rows above are those that were finished")
        return ["", *lines] if lines else []

    @property
    def usual_copy_rate(self) -> float | None:
        """Bytes a second of a large copy beside most rows; None where no row was timed out of cache."""
        return usual_rate([row.copy_rate for row in self.rows])

    @property
    def wrong(self) -> list[Row]:
        """The rows with wrong results."""
        return [row for row in self.rows if row.verdict == "WRONG"]


TEXT = frozenset({"case", "direction", "layout", "dtype", "who", "path", "verdict", "operation", "windows"})


def plain_table(columns: list[str], lines: list[list[str]]) -> str:
    """A table in plain characters, words to the left and numbers to the right."""
    widths = [max(len(line[i]) for line in [columns, *lines]) for i in range(len(columns))]
    text = []
    for line in [columns, ["-" * width for width in widths], *lines]:
        cells = [
            cell.ljust(width) if name in TEXT else cell.rjust(width)
            for name, cell, width in zip(columns, line, widths, strict=True)
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def markdown_table(columns: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    text = [columns, ["---" if name in TEXT else "---:" for name in columns]]
    text += [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in text)


def print_rich_table(console: Any, columns: list[str], lines: list[list[str]], styles: list[str]) -> None:
    """A table on a terminal, by rich; a line each in one of ``styles``."""
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", box=None, pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in TEXT else "right", no_wrap=name != "path")
    for line, style in zip(lines, styles, strict=True):
        table.add_row(*map(Text, line), style=style)
    console.print(table)


def seconds(value: float) -> str:
    """A time with a unit and three digits.

    >>> seconds(0.0123), seconds(4.56e-6), seconds(2.0)
    ('12.3 ms', '4.56 µs', '2.00 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{figure(value / scale)} {unit}"
    return f"{figure(value * 1e9)} ns"


def figure(value: float) -> str:
    """Three significant digits, never rounded to zero.

    >>> figure(0.00123), figure(1.234), figure(123.4), figure(12345.6), figure(0.0)
    ('0.00123', '1.23', '123', '12346', '0')
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(digits, 0)}f}"


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: it stands as a string."""
    return {
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _infinite(row: dict[str, Any]) -> dict[str, Any]:
    return {name: float(value) if value in ("inf", "-inf", "nan") else value for name, value in row.items()}
