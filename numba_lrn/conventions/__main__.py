"""``python -m numba_lrn.conventions``: the table of conventions in Markdown."""

from numba_lrn.conventions import table

print(table())
