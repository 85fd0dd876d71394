"""Every form and recipe on small arrays of a card, for compute-sanitizer: ``python -m tests.cuda.sanitized [NAME …]``.

Runs the cases of these names, or all; ``--names`` prints them, so that they can run side by side. A first run without
the sanitizer fills the cache of compiled kernels, so that what is watched are the kernels.
"""

import sys
from typing import Any

import numpy as np

from numba_lrn import LocalResponseNorm, reference

# name: shape, axis, n. Together they take every form (test_plan.py).
CASES = {
    "small": ((3, 19, 4, 6), 1, 4),
    "small, odd planes": ((3, 21, 5, 5), 1, 5),
    "small, columns apart": ((2, 21, 9, 11), 1, 5),
    "small, along memory": ((3, 300, 5, 7), 1, 5),
    "small, skewed": ((2, 24, 25, 25), 1, 5),
    "small last": ((4, 6, 40), 2, 5),
    "wide": ((2, 70, 6, 6), 1, 33),
    "wide, short groups": ((2, 70, 6, 6), 1, 21),
    "wide, columns apart": ((2, 70, 9, 11), 1, 33),
    "wide last": ((3, 5, 100), 2, 47),
    "wide last, short groups": ((3, 5, 100), 2, 21),
    "tiles": ((1, 9001, 4), 1, 63),
    "prefix": ((1, 6000, 3), 1, 601),
    "prefix, sums in memory": ((1, 6000, 4), 1, 2001),
    "box": ((3, 4, 12, 16), (2, 3), 3),
    "box, odd planes": ((5, 7, 13, 11), (2, 3), 5),
    "box, tiles": ((1, 2, 40, 1200), (2, 3), 5),
    "box, channels last": ((2, 14, 13, 12), (1, 2), 5),
    "box, threads": ((2, 14, 13, 12), (1, 2), 3),
    "large box": ((2, 2, 30, 32), (2, 3), 19),
}


def main(names: list[str]) -> None:
    """Run the cases; fail where a result is wrong."""
    if names == ["--names"]:
        print(*CASES, sep="\n")
        return
    import cupy

    cupy.cuda.set_allocator(None)  # each array is an allocation of its own, beyond which memcheck sees
    for name in names or CASES:
        for dtype, tolerance in (("float32", 1e-5), ("float16", 2e-3)):
            for start in (0, 1):
                _run(cupy, *CASES[name], dtype, start, tolerance)
        print(name, flush=True)


def _run(cupy: Any, shape: tuple[int, ...], axis: Any, n: int, dtype: str, start: int, tolerance: float) -> None:
    """Every recipe, on arrays that begin so many elements into their memory, and end with it."""
    rng = np.random.default_rng(0)
    op = LocalResponseNorm(n, alpha=1.0, axis=axis)
    arrays = [rng.standard_normal(shape).astype(dtype) for _ in range(3)]
    x, g, v = (cupy.asarray(np.append(np.zeros(start, dtype), array))[start:].reshape(shape) for array in arrays)
    y, dx = cupy.asnumpy(op(x)), cupy.asnumpy(op.backward(g, x))
    expected = reference.forward(op, arrays[0]), reference.backward(op, arrays[1], arrays[0])
    np.testing.assert_allclose(y, expected[0], rtol=tolerance, atol=tolerance / 10)
    np.testing.assert_allclose(dx, expected[1], rtol=10 * tolerance, atol=tolerance)
    op.jvp(x, v)
    op.backward_parameters(g, x)
    op.backward_all(g, x)
    op.double_backward(g, x, v)
    cupy.cuda.Device().synchronize()


if __name__ == "__main__":
    main(sys.argv[1:])
