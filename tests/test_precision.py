"""The promised error bounds, measured: every window size, power, scale, length, magnitude, layout and dtype.

Run with ``-rP`` to see the measured maxima; they are also recorded as properties of each test.
"""

import itertools

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.algorithm.geometry import canonical, dense_order
from numba_lrn.backends.cpu.plan import choose_form
from tests.support import DTYPES, assert_accurate, bounded, limit_of, spacing, ulp_error

ALPHAS = (1e-4, 1.0, 100.0)
KS = (0.5, 1.0, 2.0)
MAGNITUDES = (1e-18, 1e-9, 1e-3, 1.0, 1e3, 1e9, 1e18)
# float16 holds nothing below 6e-8 or above 65504.
HALF_MAGNITUDES = (1e-7, 1e-5, 1e-3, 0.1, 1.0, 1e2, 1e4)
# Few, and many, border elements; 4096 is where a running sum has lost the most.
LENGTHS = (7, 64, 1000, 4096)
# 33: the vectorised body of a loop and its remainder. The reference looks at these lanes only.
LANES, SAMPLED = 33, (0, 7, 31, 32)

# form: (layout, sizes that it sums): the first and the last that it takes here; 8 and 1024 are even.
FORMS = {
    "direct": ("across rows", (1, 2, 3, 5, 8, 10)),
    "masked": ("contiguous", (2, 3, 5, 8, 24)),
    "prefix": ("across rows", (11, 16, 63, 255, 1024)),
    "scanned": ("contiguous", (25, 63, 255, 1024)),
    "turned": ("contiguous", (41, 63, 255, 1024)),
    "interleaved": ("boxes", (25, 63, 255, 1024)),
}
# Every power function and every form in each dtype that may differ; half types are computed by float32's.
VARIANTS = [
    *(("float32", 0.75, form) for form in FORMS),
    ("float32", 0.25, "masked"),
    ("float32", 0.5, "direct"),
    ("float32", 0.6, "masked"),
    ("float32", 0.6, "prefix"),
    ("float32", 1.0, "direct"),
    ("float32", 2.0, "masked"),
    ("float32", 2.0, "scanned"),
    *(("float64", 0.75, form) for form in FORMS),
    *(("float64", beta, "masked") for beta in (0.25, 0.5, 0.6, 1.0, 2.0)),
    ("float16", 0.75, "direct"),
    ("float16", 0.75, "scanned"),
    ("float16", 0.6, "masked"),
    ("float16", 2.0, "masked"),
    ("bfloat16", 0.75, "masked"),
    ("bfloat16", 0.75, "prefix"),
    ("bfloat16", 0.25, "masked"),
    ("bfloat16", 0.5, "direct"),
    ("bfloat16", 1.0, "masked"),
]


def inputs(dtype, layout, length):
    """(x, g): one outer index a magnitude, and one whose neighbours differ by up to 36 orders of magnitude."""
    rng = np.random.default_rng(length)
    magnitudes = HALF_MAGNITUDES if dtype == "float16" else MAGNITUDES
    extents = {"across rows": (length, LANES), "contiguous": (length,), "boxes": (2, length)}
    shape = (len(magnitudes) + 1, *extents[layout])
    x, g = rng.standard_normal(shape), rng.standard_normal(shape)
    x[:-1] *= np.reshape(magnitudes, (-1,) + (1,) * (len(shape) - 1))
    x[-1] *= 10.0 ** rng.uniform(np.log10(magnitudes[0]), np.log10(magnitudes[-1]), shape[1:])
    return x.astype(DTYPES[dtype]), g.astype(DTYPES[dtype])


def sampled(array):
    """The lanes that are compared; lanes do not mix."""
    return np.ascontiguousarray(array[..., SAMPLED]) if array.shape[-1] == LANES else array


def operator(layout, n, alpha, beta, k):
    """A window of n elements, in boxes of n and the one beside it."""
    return LocalResponseNorm(
        (2, n) if layout == "boxes" else n, alpha, beta, k, axis=(1, 2) if layout == "boxes" else 1
    )


def settings(dtype, beta, sizes):
    """(n, alpha, k): the full product for the default operator, else each n with each alpha, and k in turn."""
    if (dtype, beta) == ("float32", 0.75):
        return list(itertools.product(sizes, ALPHAS, KS))
    return [
        (n, alpha, KS[turn // 3 % 3 + turn % 3 - 3]) for turn, (n, alpha) in enumerate(itertools.product(sizes, ALPHAS))
    ]


def lengths(form, turn):
    """The next length; a form for large windows needs an axis that does not clip them to small ones."""
    allowed = {"prefix": LENGTHS[1:], "scanned": LENGTHS[1:-1], "turned": (5000,), "interleaved": LENGTHS[1:-1]}.get(
        form, LENGTHS
    )
    return allowed[turn % len(allowed)]


@pytest.mark.parametrize("recipe", ["forward", "backward"])
@pytest.mark.parametrize(("dtype", "beta", "form"), VARIANTS)
def test_error_is_within_the_table(dtype, beta, form, recipe, record_property):
    layout, sizes = FORMS[form]
    worst, compared = 0.0, 0
    for turn, (n, alpha, k) in enumerate(settings(dtype, beta, sizes)):
        x, g = inputs(dtype, layout, lengths(form, turn))
        op = operator(layout, n, alpha, beta, k)
        got = op(x) if recipe == "forward" else op.backward(g, x)
        assert form_of(op, x) == form
        got, x, g = sampled(got), sampled(x), sampled(g)
        worst = max(worst, assert_accurate(op, recipe, got, x, g))
        compared += np.count_nonzero(bounded(op, recipe, x, g))
    assert compared > 1000
    limit = limit_of(DTYPES[dtype], beta, recipe)
    record_property("largest error", float(worst))
    record_property("elements compared", int(compared))
    print(f"{dtype:8} beta={beta:<4} {form:6} {recipe:8} {worst:6.3f} of {limit} over {compared} elements")


def form_of(op, x):
    order = dense_order(x.shape, x.strides, x.itemsize)
    return choose_form(canonical(x.shape, order, op.windows(x.ndim)))


# A wide window in a long axis: where running sums and one-level prefix sums lose digits.
@pytest.mark.parametrize("n", [63, 255])
@pytest.mark.parametrize("layout", ["across rows", "contiguous"])
def test_error_does_not_grow_with_the_length(n, layout):
    rng = np.random.default_rng(n)
    shape = (4, 4096, LANES) if layout == "across rows" else (4 * LANES, 4096)
    x = rng.uniform(0.5, 1.5, shape).astype(np.float32)
    op = LocalResponseNorm(n, alpha=100.0, beta=0.75, k=1.0)
    truth = reference.forward(op, x)
    error = ulp_error(op(x), truth, truth, np.float32)
    along = np.square(error).mean(axis=tuple(axis for axis in (0, 2) if axis < x.ndim))
    segments = np.sqrt(along[n:-n].reshape(-1)[: (4096 - 2 * n) // 8 * 8].reshape(8, -1).mean(axis=1))
    print(f"{layout} n={n}: root mean square error along the axis, in eighths: {segments.round(3)} ulp")
    assert segments.max() < 1.1 * segments.min()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_exponents_beyond_the_type(dtype):
    """d^(−β) is 0, 1 or Inf."""
    x = np.array([[0.0, 1.0, -2.0]]).astype(DTYPES[dtype])
    for beta in (1e39, 1e300):
        for sign, powers in ((1, (1, 0, 0)), (-1, (1, np.inf, np.inf))):
            got = LocalResponseNorm(1, 1.0, sign * beta, 1.0)(x)
            np.testing.assert_array_equal(got.astype(float), x.astype(float) * powers)


def test_results_among_the_subnormal_halves():
    """The spacing of float16 stops shrinking below 2^-14; rounded once, these results are within half of *that*."""
    rng = np.random.default_rng(0)
    op = LocalResponseNorm(3, alpha=30.0, beta=2.0, k=2.0, axis=0)
    x = np.asfortranarray((rng.standard_normal((79, 66)) * 10).astype(np.float16))
    got, truth = op(x), reference.forward(op, x)
    subnormal = np.abs(truth) < 2.0**-14
    assert np.count_nonzero(subnormal) > 1000
    assert_accurate(op, "forward", got, x)
    # The spacing that the exponent alone suggests would make right results look wrong.
    unclamped = 2.0 ** (np.floor(np.log2(np.abs(truth))) - 10)
    assert np.array_equal(unclamped == spacing(truth, np.float16), ~subnormal)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_not_squared_or_summed_in_half_precision(dtype):
    """Squares beyond float16, and sums whose terms bfloat16 would swallow."""
    x = np.full((2, 300), 300.0, DTYPES[dtype])
    x[1] = np.linspace(0.9, 1.1, 300).astype(DTYPES[dtype])
    op = LocalResponseNorm(255, alpha=1.0, beta=0.75, k=1.0)
    assert assert_accurate(op, "forward", op(x), x) <= 0.51
    assert np.isfinite(op(x).astype(np.float32)).all()


@pytest.mark.parametrize("recipe", ["forward", "backward"])
def test_larger_powers_are_measured(recipe, record_property):
    """No bound is promised beyond |β| = 2; the error is that of the power, about |β| ulp."""
    x, g = inputs("float32", "contiguous", 1000)
    for beta in (3.0, 5.0, -3.0):
        op = LocalResponseNorm(5, 1.0, beta, 1.0)
        got = op(x) if recipe == "forward" else op.backward(g, x)
        error = assert_accurate(op, recipe, got, x, g, limit=8 + 2 * abs(beta))
        record_property(f"beta={beta}", float(error))
        print(f"float32 beta={beta} {recipe}: {error:.3f} ulp")
