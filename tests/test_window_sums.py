"""The rounding of window sums, in so many elements that the rare errors are among them."""

import itertools

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from tests.support import ulp_error


# β = 1 hides nothing of the sum's error, alpha = 100 nothing of the sum. So many elements find the rare ones.
@pytest.mark.parametrize(
    ("layout", "n"),
    [
        *itertools.product(["across rows", "contiguous"], [16, 17, 24, 25, 63]),
        *itertools.product(["small boxes"], [5, 9, 12, 13, 31]),
        ("boxes", 5),
    ],
)
def test_rare_errors_of_window_sums(layout, n, record_property):
    rng = np.random.default_rng(n)
    shapes = {
        "across rows": (2, 700, 1000),
        "contiguous": (2000, 700),
        "small boxes": (700, 45, 45),
        "boxes": (8, 420, 420),
    }
    x = rng.standard_normal(shapes[layout], dtype=np.float32)
    worst = {}
    for beta in (0.75, 1.0):
        op = LocalResponseNorm(n, alpha=100.0, beta=beta, k=0.5, axis=(1, 2) if "boxes" in layout else 1)
        truth = reference.forward(op, x)
        worst[beta] = ulp_error(op(x), truth, truth, np.float32).max()
        record_property(f"beta={beta}", float(worst[beta]))
    print(f"{layout} n={n}: {worst} ulp over {x.size} elements")
    assert max(worst.values()) <= 4
