"""The tables of README and docs, from a result of ``numba-lrn bench --json``.

    python -m numba_lrn.bench.tables results.json README.md docs/performance.md

In each file, what lies between ``<!-- bench: GROUP -->`` and ``<!-- bench end -->`` becomes the table of the cases of
that group (``networks``, ``window``, …, ``quick``, or ``all``), with the conditions under it. Nothing is typed by hand.
"""

import argparse
import pathlib
import re
import sys
from dataclasses import replace

from numba_lrn.bench.cases import QUICK, BadArgumentError
from numba_lrn.bench.report import Report, markdown_table

BLOCK = re.compile(r"(<!-- bench: (?P<group>[\w-]+) -->\n).*?(<!-- bench end -->)", re.DOTALL)


def part(report: Report, group: str) -> Report:
    """The rows of one group of cases.

    Raises
    ------
    BadArgumentError
        Where the result has none.
    """
    rows = [row for row in report.rows if group in (row.group, "all") or (group == "quick" and row.case in QUICK)]
    if not rows:
        groups = ", ".join(dict.fromkeys(row.group for row in report.rows))
        msg = f"the result has no rows of {group!r}; it has {groups or 'none'}"
        raise BadArgumentError(msg)
    return replace(report, rows=rows)


def fill(text: str, report: Report) -> str:
    """``text`` with every block filled."""

    def block(match: re.Match[str]) -> str:
        chosen = part(report, match["group"])
        conditions = "\n".join(f"{line}  " for line in chosen.conditions())
        table = markdown_table(*chosen.table())
        return f"{match[1]}{table}\n\n<sub>{conditions.strip()}</sub>\n{match[3]}"

    return BLOCK.sub(block, text)


def main(arguments: list[str] | None = None) -> int:
    """Fill the files; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m numba_lrn.bench.tables", description=__doc__.splitlines()[0])
    parser.add_argument("result", type=pathlib.Path, help="a file of numba-lrn bench --json")
    parser.add_argument("files", nargs="+", type=pathlib.Path, help="Markdown files with <!-- bench: GROUP --> blocks")
    options = parser.parse_args(arguments)
    try:
        report = Report.from_json(options.result.read_text(), str(options.result))
        for path in options.files:
            text = path.read_text()
            if not BLOCK.search(text):
                msg = f"{path} has no <!-- bench: GROUP --> … <!-- bench end --> block"
                raise BadArgumentError(msg)
            path.write_text(fill(text, report))
    except (BadArgumentError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
