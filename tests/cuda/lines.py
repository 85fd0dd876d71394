"""Samples that blocks take as lines, and windows over them, for every form that does so."""

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import variants

WINDOWS = {"small": (2, 2), "even": (1, 2), "one before": (1, 0), "one-sided": (0, 3), "asymmetric": (3, 1)}
# Samples that begin with a sector, within one and within a vector; rows shorter and longer than a warp; fewer rows than
# a window has.
SHAPES = {
    "odd planes": (2, 41, 5, 5),
    "narrow rows": (3, 301, 3),
    "short axis": (3, 3, 7, 9),
    "rows of half sectors": (2, 19, 4, 5),
    "one sample": (1, 150, 7),
}


def operator(window, **how):
    """Over a window of WINDOWS along axis 1, with a scale of one."""
    return LocalResponseNorm.from_window(1, *WINDOWS[window], 1.0, **{"beta": 0.75, "k": 1.0, **how})


def no_lines(monkeypatch):
    """Let no block take a sample as a line, or as skewed rows."""
    monkeypatch.setattr(variants, "FLAT_LARGEST", {2: 0, 4: 0})
    monkeypatch.setattr(variants, "SKEW_LARGEST", {2: 0, 4: 0})
    monkeypatch.setattr(variants, "RING_LARGEST", 0)
