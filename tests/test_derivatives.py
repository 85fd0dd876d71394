"""jvp, the gradients of the parameters and the second derivative against the reference, and the reference itself.

Every kernel takes seconds to compile, so the cases share them: each form, dtype and power function once, not each
with each.
"""

import doctest
import itertools
import math
import pathlib

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.algorithm import formulas
from numba_lrn.backends.cpu import kernels, launch
from numba_lrn.backends.cpu.plan import make_plan
from tests.support import (
    FORMS,
    HALF_TYPES,
    Case,
    assert_below,
    assert_same_bits,
    in_order,
    limit_of,
    random_array,
    spacing,
)

ALL = ("jvp", "backward_parameters", "backward_all", "double_backward")
DERIVATION = pathlib.Path(__file__).parents[1] / "docs" / "derivation.md"
PARAMETERS = ("d_scale", "d_beta", "d_k")
MASKED, DIRECT = FORMS["masked, contiguous axis"], FORMS["direct across rows"]


def arrays(shape, dtype="float64"):
    """(x, g, u), of both signs."""
    return tuple(random_array(seed, shape, dtype) for seed in (61, 62, 63))


def derive(op, recipe, x, g, u):
    """Every result of a recipe: name → (result, reference, magnitude)."""
    if recipe == "jvp":
        return {"jvp": (op.jvp(x, u), reference.jvp(op, x, u), reference.jvp_magnitude(op, x, u))}
    if recipe == "double_backward":
        truths = reference.double_backward(op, g, x, u)
        magnitudes = reference.double_backward_magnitude(op, g, x, u)
        results = op.double_backward(g, x, u)
        return dict(zip(("for g", "for x"), zip(results, truths, magnitudes, strict=True), strict=True))
    found = {}
    results = op.backward_parameters(g, x)
    if recipe == "backward_all":
        dx, *results = op.backward_all(g, x)
        found["dx"] = dx, reference.backward(op, g, x), reference.backward_magnitude(op, g, x)
    truths = reference.backward_parameters(op, g, x)
    magnitudes = reference.backward_parameters_magnitude(op, g, x)
    for name, *triple in zip(PARAMETERS, results, truths, magnitudes, strict=True):
        assert type(triple[0]) is float
        found[name] = tuple(np.array([number]) for number in triple)
    return found


def assert_derivatives(op, recipes, x, g, u, limit=None):
    """Within the promised bound; returns the largest error in its unit.

    Gradients of parameters are floats, whatever the dtype, in spacings of the type that they are computed in.
    """
    largest = 0.0
    for recipe in recipes:
        for name, (got, truth, magnitude) in derive(op, recipe, x, g, u).items():
            distance = np.abs(got.astype(truth.dtype) - truth)
            if name not in PARAMETERS:
                assert got.dtype == x.dtype
                if x.dtype.name in HALF_TYPES:
                    distance = np.maximum(distance - 0.51 * spacing(truth, x.dtype), 0)
            error = distance / spacing(magnitude, np.float64 if x.dtype == np.float64 else np.float32)
            promised = limit_of(x.dtype, op.beta, "backward") if limit is None else limit
            assert_below(error, promised, got, truth, f"{recipe}, {name}, {op}")
            largest = max(largest, float(error.max(initial=0)))
    return largest


# The reference.


@pytest.mark.parametrize("beta", [0.75, -0.6, 2.0])
@pytest.mark.parametrize("window", [(1, 2, 1), ((1, 2), (0, 2), (3, 0))], ids=str)
def test_the_reference_by_differences(beta, window):
    """Each formula of the reference against differences of the one that it is the derivative of."""
    op = LocalResponseNorm.from_window(*window, 0.7, beta, 0.9)
    x, g, u = arrays((2, 4, 5))
    step = 1e-6

    def change(function):
        return np.asarray((function(step) - function(-step)) / (2 * step), np.float64)

    def moved(t, scale=0.0, beta=0.0, k=0.0):
        axis, before, after = window
        other = LocalResponseNorm.from_window(
            axis, before, after, op.scale + t * scale, op.beta + t * beta, op.k + t * k
        )
        return (g * reference.forward(other, x)).sum()

    close = {"rtol": 1e-8, "atol": 1e-8}
    np.testing.assert_allclose(
        np.asarray(reference.jvp(op, x, u), float), change(lambda t: reference.forward(op, x + t * u)), **close
    )
    expected = [change(lambda t, name=name: moved(t, **{name: 1.0})) for name in ("scale", "beta", "k")]
    np.testing.assert_allclose(np.array(reference.backward_parameters(op, g, x), float), expected, **close)
    for_g, for_x = reference.double_backward(op, g, x, u)
    np.testing.assert_allclose(
        np.asarray(for_x, float), change(lambda t: reference.backward(op, g, x + t * u)), **close
    )
    inner = (np.asarray(reference.backward(op, g, x)) * u).sum(), (np.asarray(for_g) * g).sum()
    np.testing.assert_allclose(float(inner[0]), float(inner[1]), rtol=1e-13)


def test_the_reference_near_d_equal_to_one():
    """ln(1 + 1e-9) is not lost in the rounding of d."""
    op = LocalResponseNorm(1, alpha=1e-9, beta=1.0, k=1.0)
    one = np.ones((1, 1))
    _, d_beta, _ = reference.backward_parameters(op, one, one)
    assert abs(float(d_beta) / (-math.log1p(1e-9) / (1 + 1e-9)) - 1) < 1e-15


# The library: each form, dtype and power once.

VARIANTS = [
    (DIRECT, "float32", 0.75, 1.0, ALL),
    (MASKED, "float64", 1.0, 1.0, ALL),
    (FORMS["prefix"], "float32", 0.75, 1.0, ("double_backward",)),
    (FORMS["scanned"], "float32", 0.75, 1.0, ("backward_all",)),
    (FORMS["box by rows"], "float32", 0.75, 1.0, ("double_backward",)),
    (MASKED, "float16", 0.75, 1.0, ("double_backward",)),
    (MASKED, "bfloat16", 0.75, 1.0, ("backward_all",)),
    (MASKED, "float32", 0.6, 1.0, ("double_backward",)),
    (MASKED, "float32", 1.0, 0.5, ("backward_parameters",)),
    (MASKED, "float32", 2.0, 0.01, ("backward_parameters",)),
]


@pytest.mark.parametrize(("case", "dtype", "beta", "k", "recipes"), VARIANTS, ids=str)
def test_within_the_promised_bounds(case, dtype, beta, k, recipes, record_property):
    """At the case's own shape, and where each window is clipped on both sides; alpha of order one and small."""
    largest = 0.0
    for scale in (1.0, 1e-4):
        op = case.operator(scale=scale, beta=beta, k=k)
        largest = max(largest, assert_derivatives(op, recipes, *arrays(case.shape, dtype)))
    record_property("largest error", largest)
    print(f"largest error {largest:.2f}")


# Windows of a contiguous axis: one kernel sums them all. An axis of 9 elements is shorter than the last.
WINDOWS = [(1, 0), (0, 1), (3, 0), (0, 2), (2, 1), (2, 2), (1, 4), (20, 1)]


@pytest.mark.parametrize(("before", "after"), WINDOWS)
@pytest.mark.parametrize("scale", [1.3, -0.02])
def test_windows_of_any_sides(before, after, scale):
    op = LocalResponseNorm.from_window(1, before, after, scale, 1.0, 0.8)
    x, g, u = arrays((4, 9))
    assert_derivatives(op, ALL, x, g, u)


@pytest.mark.parametrize("size", [2, 5, 10**9])
def test_symmetry(size):
    """⟨u, J·v⟩ = ⟨Jᵀ·u, v⟩, and the Hessian of ⟨g, y⟩ is symmetric."""
    op = LocalResponseNorm.from_window(1, min(size, 9) // 2, 0, 1.1, 1.0, 0.6)
    x, g, u = arrays((7, 13))
    v = random_array(64, x.shape, "float64")
    forward, backward = (u * op.jvp(x, v)).sum(), (op.backward(u, x) * v).sum()
    assert abs(forward - backward) < 1e-13 * np.abs(u * v).sum()
    (jvp, along_u), (_, along_v) = op.double_backward(g, x, u), op.double_backward(g, x, v)
    assert abs((v * along_u).sum() - (u * along_v).sum()) < 1e-13 * np.abs(v * along_u).sum()
    np.testing.assert_allclose(jvp, op.jvp(x, u), rtol=0, atol=1e-15)


@pytest.mark.parametrize("order", ["F", "gaps", "negative step", "offset"])
def test_orders_of_memory(order):
    """What is not dense is copied; the other arrays may lie in any order."""
    op = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.75, 1.0)
    x, g, u = arrays((2, 9, 5, 8), "float32")
    expected = op.jvp(x, u), op.backward_all(g, x), op.double_backward(g, x, u)
    other = g if order == "F" else in_order(g, order)
    if order == "F":
        u = in_order(u, order)
    else:
        x = in_order(x, order)
    x.setflags(write=False)
    results = op.jvp(x, u), op.backward_all(other, x), op.double_backward(other, x, u)
    for got, want in zip(flattened(results), flattened(expected), strict=True):
        np.testing.assert_array_equal(got, want)


def flattened(results):
    """The arrays and floats of nested tuples."""
    for result in results:
        if isinstance(result, tuple):
            yield from flattened(result)
        else:
            yield result


@pytest.mark.parametrize("where", ["x", "tangent", "apart", "overlap", "other order"])
def test_jvp_into_out(where):
    op = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.75, 1.0)
    x, _, v = arrays((2, 9, 5, 8), "float32")
    expected = op.jvp(x, v)
    if where == "overlap":
        buffer = np.zeros(x.size + 7, np.float32)
        shifted = buffer[7:].reshape(x.shape)
        shifted[...] = x
        x, out = shifted, buffer[: x.size].reshape(x.shape)
    else:
        out = {"x": x, "tangent": v, "apart": np.empty_like(x), "other order": np.empty_like(x, order="F")}[where]
    assert op.jvp(x, v, out=out) is out
    assert_same_bits(np.ascontiguousarray(out), expected, op)


# What is special.


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_beta_zero(dtype):
    """y = x: nothing depends on scale and k, but d_beta is not 0; a NaN stays where it is."""
    op = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.0, 1.0)
    x, g, u = arrays((7, 13), dtype)
    assert_same_bits(op.jvp(x, u), u)
    for_g, for_x = op.double_backward(g, x, u)
    assert_same_bits(for_g, u)
    assert not for_x.any()
    dx, d_scale, d_beta, d_k = op.backward_all(g, x)
    assert_same_bits(dx, g)
    assert (d_scale, d_k) == (0.0, 0.0)
    assert (d_scale, d_beta, d_k) == op.backward_parameters(g, x)
    expected, magnitude = (
        function(op, g, x)[1] for function in (reference.backward_parameters, reference.backward_parameters_magnitude)
    )
    assert abs(d_beta - expected) <= 8 * spacing(np.asarray(magnitude), dtype)
    assert abs(d_beta) > 1e-3
    x[3, 3] = np.nan
    assert_same_bits(op.backward_all(g, x)[0], g)
    assert op.backward_parameters(g, x)[::2] == (0.0, 0.0)
    assert math.isnan(op.backward_parameters(g, x)[1])


def test_empty_arrays():
    op = LocalResponseNorm(5)
    x = np.empty((2, 0, 3), np.float32)
    assert op.jvp(x, x).shape == x.shape
    assert op.backward_parameters(x, x) == (0.0, 0.0, 0.0)
    dx, *gradients = op.backward_all(x, x)
    assert (dx.shape, dx.dtype, gradients) == (x.shape, x.dtype, [0.0, 0.0, 0.0])
    assert [array.shape for array in op.double_backward(x, x, x)] == [x.shape, x.shape]


@pytest.mark.parametrize("alpha", [1e-4, 1e-7, 1e-12])
def test_the_logarithm_near_d_equal_to_one(alpha):
    """d_beta keeps its digits where d rounds to 1, or nearly."""
    op = LocalResponseNorm.from_window(1, 2, 1, alpha, 0.75, 1.0)
    x, g, _ = arrays((2, 9, 5, 8), "float32")
    got, truth = op.backward_parameters(g, x)[1], reference.backward_parameters(op, g, x)[1]
    magnitude = reference.backward_parameters_magnitude(op, g, x)[1]
    assert abs(got - truth) <= 8 * spacing(np.asarray(magnitude), np.float32)


def test_d_exactly_one():
    op = LocalResponseNorm.from_window(1, 2, 1, 0.0, 0.75, 1.0)
    x, g, _ = arrays((2, 9, 5, 8), "float32")
    assert op.backward_parameters(g, x)[1] == 0.0


@pytest.mark.parametrize(
    ("dtype", "beta", "size", "size_of_v"),
    [
        ("float32", -0.5, 1e17, 1e17),
        ("float32", -0.75, 1e12, 1e12),
        ("float32", -1.0, 1e12, 1e12),
        ("float64", -0.98, 1e149, 1.0),
    ],
)
def test_large_numbers_and_a_negative_exponent(dtype, beta, size, size_of_v):
    """d^(-β)·W(x·v) leaves the range there, the tangent does not."""
    op = LocalResponseNorm(5, alpha=1.0, beta=beta, k=1.0)
    x, v, u = arrays((2, 9, 5), dtype)
    x, v, u = x * size, v * size_of_v, u * size_of_v
    for got, expected in (
        (op.jvp(x, v), reference.jvp(op, x, v)),
        (op.backward(v, x), reference.backward(op, v, x)),
        (op.double_backward(v, x, u)[0], reference.double_backward(op, v, x, u)[0]),
    ):
        np.testing.assert_allclose(got.astype(expected.dtype), expected, rtol=1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_stays_in_its_windows(value):
    """As the formulas say, in the arrays and in the sums."""
    op = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.75, 1.0)
    x, g, u = arrays((2, 9, 5, 8), "float32")
    x[1, 4, 2, 3] = value
    for recipe in ALL:
        for name, (got, truth, _) in derive(op, recipe, x, g, u).items():
            np.testing.assert_array_equal(np.isnan(got), np.isnan(truth), f"{recipe} {name}")
            assert recipe == "backward_parameters" or name in PARAMETERS or np.isfinite(got).any()


def test_d_of_any_sign():
    """k ≤ 0: where d is 0 or negative the powers and the logarithm are those of IEEE."""
    op = LocalResponseNorm.from_window(1, 1, 0, 1.0, 1.0, -1.0)
    x, g, u = arrays((7, 13), "float32")
    d = np.asarray(reference.denominator(op, x))
    assert (d < 0).any()
    assert (d > 0).any()
    _, d_beta, d_k = op.backward_parameters(g, x)
    assert math.isnan(d_beta)
    assert abs(d_k - reference.backward_parameters(op, g, x)[2]) <= 1e-4 * abs(d_k)
    op = LocalResponseNorm.from_window(1, 1, 0, 1.0, 1.0, 0.0)
    assert math.isnan(op.backward_parameters(np.zeros_like(x), np.zeros_like(x))[1])
    assert_derivatives(op, ("backward_parameters",), x, g, u, limit=16)


def test_the_examples_of_the_derivation():
    failed, attempted = doctest.testfile(str(DERIVATION), module_relative=False)
    assert (failed, attempted > 8) == (0, True)


# The sums.

SUMMED = Case("direct", (3, 5, 30011), 1, 2, 1)


def test_the_tiles_of_sums_do_not_follow_the_threads():
    op = SUMMED.operator()
    dimensions = launch.canonical(SUMMED.shape, (0, 1, 2), op.windows(3))
    for recipe in ("backward_parameters", "backward_all"):
        plans = [make_plan(dimensions, recipe, op, np.dtype(np.float32), threads, False) for threads in (1, 2, 7)]
        assert len({tuple(plan.layout) for plan in plans}) == 1
        assert [plan.workers for plan in plans] == [1, 2, 7]


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_any_number_of_workers(workers, monkeypatch):
    """Halo rows and lanes count once, in an order that does not depend on the threads."""
    op = SUMMED.operator()
    x, g, u = arrays(SUMMED.shape, "float32")
    results = []
    for count in (1, workers):
        monkeypatch.setattr(launch, "available_workers", lambda count=count: count)
        results.append((op.jvp(x, u), op.backward_parameters(g, x), op.backward_all(g, x), op.double_backward(g, x, u)))
    for got, want in zip(*map(flattened, results), strict=True):
        np.testing.assert_array_equal(got, want)
    assert_derivatives(op, ("backward_parameters", "backward_all"), x, g, u)


def test_rows_that_tiles_share_count_once():
    """An axis cut into tiles, whose halo rows are computed twice."""
    op = LocalResponseNorm.from_window(1, 3, 2, 1.0, 0.75, 1.0)
    x, g, u = arrays((2, 9001, 40), "float32")
    assert_derivatives(op, ALL, x, g, u)


def test_sums_beyond_the_range_of_float32():
    """Shares are added in float32 a strip at a time, and again in float64 where that leaves its range."""
    op = LocalResponseNorm.from_window(1, 1, 1, 1e-30, 1.0, 1.0)
    x, g = np.ones((40, 50), np.float32), np.full((40, 50), 1e37, np.float32)
    for got, want in zip(op.backward_parameters(g, x), reference.backward_parameters(op, g, x), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    assert abs(op.backward_parameters(g, x)[2]) > float(np.finfo(np.float32).max)


def test_sums_of_many_terms():
    """The error does not grow with the number of elements: float64 terms of one sign, exactly summed beside."""
    op = LocalResponseNorm.from_window(1, 1, 1, 0.5, 1.0, 1.0)
    x = np.full((40000, 13), 1.1)
    x[:, 1::2] = 0.0
    g = np.ones_like(x)
    d = 1 + 0.5 * 1.1 * 1.1
    single = [-1.1 / d**2 * 1.1 * 1.1, -1.1 / d * math.log(d), -1.1 / d**2]
    for got, one in zip(op.backward_parameters(g, x), single, strict=True):
        assert abs(got / (one * x.size * 7 / 13) - 1) < 16 * np.finfo(np.float64).eps


# Refusals.


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("tangent", lambda op, x, other: op.jvp(x, other)),
        ("grad_output", lambda op, x, other: op.backward_parameters(other, x)),
        ("grad_output", lambda op, x, other: op.backward_all(other, x)),
        ("grad_output", lambda op, x, other: op.double_backward(other, x, x)),
        ("cotangent", lambda op, x, other: op.double_backward(x, x, other)),
    ],
)
def test_arrays_that_do_not_match(name, call):
    op, x = LocalResponseNorm(5), np.ones((2, 6, 4), np.float32)
    with pytest.raises(ValueError, match=rf"{name} has shape \(2, 6\) and x \(2, 6, 4\); both must be the same"):
        call(op, x, x[..., 0])
    with pytest.raises(TypeError, match=f"{name} has dtype float64 and x float32; convert one of them"):
        call(op, x, x.astype(np.float64))
    with pytest.raises(TypeError, match="supported are NumPy arrays"):
        call(op, x, x.tolist())
    for beta, empty in itertools.product((0.0, 0.75), (False, True)):
        bad = x[:0] if empty else x
        with pytest.raises(ValueError, match="axis 3 is out of range"):
            call(LocalResponseNorm(5, beta=beta, axis=3), bad, bad)


def test_jvp_out_that_cannot_be_written():
    op, x = LocalResponseNorm(5), np.ones((2, 6, 4), np.float32)
    out = np.empty_like(x)
    out.setflags(write=False)
    with pytest.raises(ValueError, match="out is read-only"):
        op.jvp(x, x, out=out)


# Formulas are used, once.

MUTATIONS = {
    "tangent": ("jvp", lambda x, v, p, s, q, cross, par: v * p),
    "beta_share": ("backward_parameters", lambda x, gp, log_d: gp * log_d),
    "mixed": ("double_backward", lambda g, x, u, d, s, q, cross, par: (g * s) * (u * q)),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_formula_is_noticed(name, monkeypatch):
    """The kernels take their formulas from algorithm/formulas.py: what is swapped there changes the result."""
    recipe, wrong = MUTATIONS[name]
    # A function of this module would keep its globals; the binding copies those of formulas alone.
    wrong.__module__, wrong.__name__ = formulas.__name__, name
    x, g, u = arrays((5, 8), "float64")
    op = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.75, 0.9)
    monkeypatch.setenv("NUMBA_LRN_CACHE", "0")
    monkeypatch.setattr(formulas, name, wrong)
    clear = (kernels.kernel, kernels._mathematics, launch._route)
    try:
        for cached in clear:
            cached.cache_clear()
        with pytest.raises(pytest.fail.Exception, match=recipe):
            assert_derivatives(op, (recipe,), x, g, u)
    finally:
        for cached in clear:
            cached.cache_clear()
