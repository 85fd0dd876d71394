"""The rounding of window sums, in so many elements that the rare errors are among them."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from tests.support import ulp_error


# β = 1 hides nothing of the sum's error, alpha = 100 nothing of the sum. So many elements find the rare ones.
@pytest.mark.parametrize("n", [16, 17, 24, 25, 63])
@pytest.mark.parametrize("layout", ["across rows", "contiguous"])
def test_rare_errors_of_window_sums(n, layout, record_property):
    rng = np.random.default_rng(n)
    shape = (2, 700, 1000) if layout == "across rows" else (2000, 700)
    x = rng.standard_normal(shape, dtype=np.float32)
    worst = {}
    for beta in (0.75, 1.0):
        op = LocalResponseNorm(n, alpha=100.0, beta=beta, k=0.5)
        truth = reference.forward(op, x)
        worst[beta] = ulp_error(op(x), truth, truth, np.float32).max()
        record_property(f"beta={beta}", float(worst[beta]))
    print(f"{layout} n={n}: {worst} ulp over {x.size} elements")
    assert max(worst.values()) <= 4
