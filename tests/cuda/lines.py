"""Samples that blocks take as lines, and windows over them, for every form that does so.

Tiles and strides are small here, so that small arrays have many; every access of shared memory is checked, and what is
read before it is written is NaN.
"""

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cuda import blocks, variants
from tests.cuda.plans import guard_shared

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
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


class Form(NamedTuple):
    """A form that takes samples as lines."""

    recipe: str
    dtypes: tuple[str, ...]
    shape: tuple[int, ...]  # an array that has several blocks a sample
    axes: tuple[int, ...]  # one that it takes in other orders of its axes too, windows along its third
    small: dict[Any, dict[str, Any]]  # what makes blocks small


FORMS = {
    "flat": Form(
        "forward",
        tuple(DTYPES),
        SHAPES["odd planes"],
        (5, 3, 19, 7),
        {
            variants: {
                "FLAT_ELEMENTS": {2: 8, 4: 8},
                "FLAT_THREADS": {2: (32, 32), 4: (32, 32)},  # a tile: 256 elements
                "FLAT_FULL": 0.0,
            }
        },
    ),
    "skew": Form(
        "forward",
        tuple(DTYPES),
        (2, 24, 7, 7),
        (7, 7, 8, 7),
        {
            variants: {"SKEW_FROM": {2: 0, 4: 0}, "SKEW_STEPS": {2: (4, 2), 4: (4, 3)}},
            blocks: {"SKEW_THREADS": 24, "SKEW_ACROSS": 4},
        },
    ),
    "ring": Form(
        "backward",
        ("float32",),
        SHAPES["odd planes"],
        (5, 3, 19, 7),
        {
            variants: {"RING_FROM": 0, "RING_STRIDES": 0},
            blocks: {"RING_THREADS": 32},  # a stride: 256 elements
        },
    ),
}


def make_small(name, monkeypatch):
    """Make the blocks of a form small."""
    for module, values in FORMS[name].small.items():
        for constant, value in values.items():
            monkeypatch.setattr(module, constant, value)
    guard_shared(monkeypatch)


def forms_of(plan):
    """Those of its launches."""
    return [launch.variant.form for launch in plan.launches]
