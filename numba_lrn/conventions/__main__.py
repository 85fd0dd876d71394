"""``python -m numba_lrn.conventions``: the table of conventions in Markdown; with files, write it between their marks.

A file has the two lines ``<!-- conventions: begin -->`` and ``<!-- conventions: end -->``.
"""

import sys
from pathlib import Path

from numba_lrn.conventions import table

BEGIN, END = "<!-- conventions: begin -->", "<!-- conventions: end -->"


def renewed(text: str) -> str:
    """The text with the table between its marks."""
    before, found_begin, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not found_begin or not found_end:
        msg = f"the marks {BEGIN} and {END} are missing"
        raise ValueError(msg)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main(paths: list[str]) -> None:
    """Print the table, or renew it in each file."""
    if not paths:
        print(table())
    for path in map(Path, paths):
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
