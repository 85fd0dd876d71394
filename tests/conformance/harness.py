"""What the comparisons with the real frameworks share: random cases, the comparison, and the record of errors."""

import importlib
import os
from dataclasses import dataclass

import numpy as np
import pytest

from numba_lrn import reference
from tests.support import spacing

SETS = 200
OURS = 8  # ulp beside the framework's own error

# (framework, direction, dtype) → [sets, the framework's largest error in ulp, ours]
record = {}


def framework(name):
    """A framework's module; absent, its tests skip, or fail under NUMBA_LRN_CONFORMANCE=1, which promises it."""
    if os.environ.get("NUMBA_LRN_CONFORMANCE") == "1":
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"{name} is not installed")


@dataclass
class Case:
    """One set of parameters with its arrays; ``shape`` has the channels at axis 1."""

    n: int
    alpha: float
    beta: float
    k: float
    x: np.ndarray
    g: np.ndarray


def float32(value):
    """A parameter that a framework may hold in float32 without changing it."""
    return float(np.float32(value))


def cases(seed, *, odd=False, ranks=(4,), dtype=np.float32, whole_k=False, sets=SETS):
    """Random sets: alpha ≥ 1, k ≠ 1, N ≠ C, n up to twice the channels, values of both signs.

    n stays below 17 and beta within 1: every further kernel variant costs seconds of compilation, and the variants
    have tests of their own.
    """
    rng = np.random.default_rng(seed)
    for index in range(sets):
        channels = int(rng.integers(2, 14))
        batch = int(rng.choice([n for n in (1, 2, 3) if n != channels]))
        rank = ranks[index % len(ranks)]
        shape = (batch, channels, *(int(length) for length in rng.integers(2, 8, rank - 2)))
        n = int(rng.integers(1, min(2 * channels, 16)))
        if odd:
            n |= 1
        beta = float32(rng.choice([0.75, rng.uniform(0.1, 0.95)]))
        k = float(rng.integers(2, 5)) if whole_k else float32(rng.choice([rng.uniform(0.3, 0.9), rng.uniform(1.2, 3)]))
        x = (rng.standard_normal(shape) * rng.choice([0.5, 2.0])).astype(dtype)
        yield Case(n, float32(rng.uniform(1, 20)), beta, k, x, rng.standard_normal(shape).astype(dtype))


def running_sum_limit(op, x):
    """What a running sum may add to the error, in ulp: C·β·a·Σx²/d.

    Each of C additions and subtractions rounds a sum of up to all squares of the pixel.
    """
    squares = op.scale * (x.astype(np.float64) ** 2).sum(axis=op.axis, keepdims=True)
    return x.shape[op.axis] * op.beta * squares / reference.denominator(op, x)


def agree(name, op, case, theirs, *, limit, backward=False, axes=None):
    """Theirs is the operator within ``limit`` ulp; ours agrees with it within its own error and 8 ulp.

    ``limit`` is one for all or one an element.
    ``axes`` turns the case's (N, C, …) into the framework's layout, in which ``theirs`` and the operator's axis are.
    The unit is the spacing of the result, for gradients that of the sum of the absolute terms.
    """
    x, g = (np.ascontiguousarray(array.transpose(axes)) if axes else array for array in (case.x, case.g))
    if backward:
        ours, truth = op.backward(g, x), reference.backward(op, g, x)
        unit = spacing(reference.backward_magnitude(op, g, x), x.dtype)
    else:
        ours, truth = op(x), reference.forward(op, x)
        unit = spacing(truth, x.dtype)
    assert theirs.shape == x.shape
    assert theirs.dtype == x.dtype
    wide = theirs.astype(truth.dtype)
    their_error = np.abs(wide - truth) / unit
    difference = np.abs(ours.astype(truth.dtype) - wide) / unit
    direction = "backward" if backward else "forward"
    entry = record.setdefault((name, direction, str(x.dtype)), [0, 0.0, 0.0])
    entry[0] += 1
    entry[1] = max(entry[1], float(their_error.max()))
    entry[2] = max(entry[2], float((np.abs(ours.astype(truth.dtype) - truth) / unit).max()))
    about = f"{name} {direction} {x.shape} {op}"
    assert (their_error <= limit).all(), f"{about}: the framework is {their_error.max():.1f} ulp from the convention"
    assert (difference <= their_error + OURS).all(), f"{about}: {difference.max():.1f} ulp apart"
