"""jvp, the gradients of the parameters and the second derivative: every kernel in the simulator, and whole calls."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm, reference
from numba_lrn.algorithm import formulas, recipes
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.backends.cuda import blocks, kernels, phases
from tests.cuda.plans import LARGE, SMALL, plan_of, prefer_threads, run_all, small_blocks
from tests.cuda.test_kernels import CASES, MAIN
from tests.support import (
    DTYPES,
    HALF_TYPES,
    assert_below,
    assert_same_bits,
    in_order,
    limit_of,
    random_array,
    shifted,
    spacing,
)

pytestmark = pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning")
simulated = pytest.mark.simulated
DERIVATIVES = ("jvp", "backward_parameters", "backward_all", "double_backward")
# recipe: its results by the names of their arrays, with the reference and the sum of the absolute terms.
TRUTHS = {
    "backward": lambda op, x, g, v: {"out": (reference.backward(op, g, x), reference.backward_magnitude(op, g, x))},
    "jvp": lambda op, x, g, v: {"out": (reference.jvp(op, x, v), reference.jvp_magnitude(op, x, v))},
    "backward_parameters": lambda op, x, g, v: {"sums": _sums(op, g, x)},
    "backward_all": lambda op, x, g, v: {
        "out": (reference.backward(op, g, x), reference.backward_magnitude(op, g, x)),
        "sums": _sums(op, g, x),
    },
    "double_backward": lambda op, x, g, v: dict(
        zip(
            ("out", "out_x"),
            zip(reference.double_backward(op, g, x, v), reference.double_backward_magnitude(op, g, x, v), strict=True),
            strict=True,
        )
    ),
}


def _sums(op, g, x):
    return tuple(
        np.array(function(op, g, x))
        for function in (reference.backward_parameters, reference.backward_parameters_magnitude)
    )


def arrays(shape, dtype="float32"):
    """(x, g, v), of both signs."""
    return tuple(random_array(seed, shape, dtype) for seed in (71, 72, 73))


def operator(name, beta=0.75, scale=1.0, k=1.0):
    """The operator of a case of test_kernels, its shape and its order in memory."""
    shape, order, axis, before, after, *_ = CASES[name]
    return LocalResponseNorm.from_window(axis, before, after, scale, beta, k), shape, order


def compute(op, recipe, x, g, v, **how):
    """The results by the names of their arrays."""
    given = {"x": x, "g": g, "v": v}
    return run_all(op, recipe, {name: given[name] for name in RECIPES[recipe].names if name in given}, **how)


def assert_derivatives(op, recipe, results, x, g, v):
    """Within the promised bounds; gradients of parameters in spacings of the type that they are computed in."""
    truths = TRUTHS[recipe](op, x, g, v)
    assert set(results) == set(truths)
    for name, (truth, magnitude) in truths.items():
        distance = np.abs(results[name].astype(truth.dtype) - truth)
        if name != "sums" and x.dtype.name in HALF_TYPES:
            distance = np.maximum(distance - 0.51 * spacing(truth, x.dtype), 0)
        error = distance / spacing(magnitude, np.float64 if x.dtype == np.float64 else np.float32)
        assert_below(error, limit_of(x.dtype, op.beta, "backward"), results[name], truth, f"{recipe}, {name}, {op}")


# The kernels.


@simulated
@pytest.mark.parametrize("recipe", DERIVATIVES)
@pytest.mark.parametrize("name", CASES)
def test_every_form(name, recipe):
    op, shape, order = operator(name)
    given = arrays(shape)
    assert_derivatives(op, recipe, compute(op, recipe, *given, order=order)[0], *given)


@simulated
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("n", [5, 21, 33, 60])
@pytest.mark.parametrize("shape", [(2, 70, 6), (1, 70, 99), (3, 2, 70)])
def test_dx_has_the_bits_of_backward(shape, n, dtype):
    """Whether the gradients of the parameters are wanted too or not."""
    op = LocalResponseNorm(n, 1.0, axis=shape.index(70))
    given = arrays(shape, dtype)
    alone, _ = compute(op, "backward", *given)
    beside, _ = compute(op, "backward_all", *given)
    assert_same_bits(beside["out"], alone["out"], op)


@simulated
@pytest.mark.parametrize("recipe", DERIVATIVES)
@pytest.mark.parametrize(
    ("name", "shape", "window"),
    [("by threads", (1, 45, 4), (1, 10, 9)), ("box", (1, 17, 8), ((1, 2), (1, 2), (2, 0)))],
    ids=["prefix", "box"],
)
def test_chunks_change_no_bit_but_of_the_sums(name, shape, window, recipe):
    op = LocalResponseNorm.from_window(*window, 1.0, 0.75, 1.0)
    given = arrays(shape)
    whole, plan = compute(op, recipe, *given, device=SMALL._replace(multiprocessors=0))
    assert all(launch.grid[1] == 1 for launch in plan.launches)
    cut, plan = compute(op, recipe, *given, device=LARGE)
    assert all(launch.grid[1] > 1 for launch in plan.launches)
    assert_derivatives(op, recipe, cut, *given)
    for result in set(whole) - {"sums"}:
        assert_same_bits(cut[result], whole[result], op)


@simulated
@pytest.mark.parametrize("recipe", DERIVATIVES)
@pytest.mark.parametrize("window", [(1, 2, 1), (2, 2, 1), (1, 9, 8), (2, 7, 10)], ids=str)
def test_tiles_change_no_bit_but_of_the_sums(window, recipe, monkeypatch):
    op = LocalResponseNorm.from_window(*window, 1.0, 0.75, 1.0)
    given = arrays((1, 139, 2) if window[0] == 1 else (1, 2, 269))
    whole, plan = compute(op, recipe, *given)
    assert plan.launches[0].grid[1] == 1
    small_blocks(monkeypatch)
    cut, plan = compute(op, recipe, *given)
    assert plan.launches[0].grid[1] > 1
    assert_derivatives(op, recipe, cut, *given)
    for result in set(whole) - {"sums"}:
        assert_same_bits(cut[result], whole[result], op)


@simulated
@pytest.mark.parametrize("recipe", ["backward_all", "double_backward"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("name", ["across channels", "channels last", "box"])
def test_every_dtype(name, dtype, recipe):
    op, shape, order = operator(name)
    given = arrays(shape, dtype)
    assert_derivatives(op, recipe, compute(op, recipe, *given, order=order)[0], *given)


@simulated
@pytest.mark.parametrize("recipe", ["backward_all", "double_backward"])
@pytest.mark.parametrize(("beta", "k"), [(0.6, 1.0), (1.7, 1.0), (-0.5, 0.8), (1.0, 0.01), (0.75, 0.0), (2.0, 0.3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_powers(dtype, beta, k, recipe):
    op, shape, _ = operator("across channels", beta, 0.7, k)
    given = arrays(shape, dtype)
    assert_derivatives(op, recipe, compute(op, recipe, *given)[0], *given)


@simulated
@pytest.mark.parametrize("name", MAIN)
def test_unaligned_arrays(name):
    op, shape, order = operator(name)
    given = arrays(shape)
    for recipe in ("jvp", "double_backward"):
        expected, _ = compute(op, recipe, *given, order=order)
        got, _ = compute(op, recipe, *given, order=order, aligned=False)
        for result in set(got) - {"sums"}:
            assert_same_bits(got[result], expected[result], op)
        assert_derivatives(op, recipe, got, *given)


@simulated
@pytest.mark.parametrize(("name", "scale"), [("window beyond the axis", 1.3), ("one-sided window", -0.02)])
def test_scales(name, scale):
    op, shape, order = operator(name, 1.0, scale, 0.8)
    given = arrays(shape, "float64")
    for recipe in DERIVATIVES:
        assert_derivatives(op, recipe, compute(op, recipe, *given, order=order)[0], *given)


@simulated
def test_sums_that_exceed_shared_memory(monkeypatch):
    op, shape, order = operator("large window")
    given = arrays(shape)
    prefer_threads(monkeypatch)
    expected = {recipe: compute(op, recipe, *given, order=order)[0] for recipe in DERIVATIVES}
    monkeypatch.setattr(blocks, "SHARED_BYTES", 0)
    for recipe in DERIVATIVES:
        got, plan = compute(op, recipe, *given, order=order)
        assert {launch.variant.form for launch in plan.launches} == {"prefix_scratch"}
        for result, array in got.items():
            assert_same_bits(array, expected[recipe][result], op)


@simulated
@pytest.mark.parametrize("name", MAIN)
def test_sums_count_each_element_once(name):
    """Where every element's share is the same: scale 0 and x = g = 1, whatever the lanes, halos and chunks."""
    op, shape, order = operator(name, beta=1.0, scale=0.0, k=2.0)
    one = np.ones(shape, np.float32)
    for_scale = reference.window_sum(np.ones(shape), op.windows(len(shape))).sum() / -4
    expected = [for_scale, one.size * np.log(2) / -2, one.size / -4]
    for recipe, device, aligned in (("backward_parameters", SMALL, False), ("backward_all", LARGE, True)):
        got, _ = compute(op, recipe, one, one, one, order=order, aligned=aligned, device=device)
        np.testing.assert_allclose(got["sums"], expected, rtol=1e-7)


@simulated
@pytest.mark.parametrize(
    ("shape", "form", "lanes", "aligned"),
    [((1, 6, 301), "small", 1, True), ((400, 12), "small_last", 1, False)],
    ids=str,
)
def test_several_blocks(shape, form, lanes, aligned):
    """Columns beyond the last, where d = k = 0, and elements that two blocks compute: none of them counts."""
    op = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.75, 0.0)
    given = arrays(shape)
    for recipe in DERIVATIVES:
        got, plan = compute(op, recipe, *given, aligned=aligned)
        (launch,) = plan.launches
        assert (launch.variant.form, launch.variant.lanes) == (form, lanes)
        assert launch.grid[0] > 1
        assert_derivatives(op, recipe, got, *given)


@simulated
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["across channels", "channels last", "large window"])
def test_nan_and_inf_stay_in_their_windows(name, bad):
    op, shape, order = operator(name)
    given = arrays(shape)
    given[0][tuple(extent // 2 for extent in shape)] = bad
    for recipe in DERIVATIVES:
        got, _ = compute(op, recipe, *given, order=order)
        for result, (truth, _) in TRUTHS[recipe](op, *given).items():
            np.testing.assert_array_equal(np.isnan(got[result]), np.isnan(truth), f"{recipe} {result}")


@simulated
@pytest.mark.parametrize(("beta", "k"), [(0.75, 0.0), (2.0, 1e-20)])
@pytest.mark.parametrize("name", MAIN)
def test_nothing_comes_from_beyond_the_axis(name, beta, k):
    """Beyond an axis that begins and ends with zeros d is k, whose power is Inf, and d is larger on it."""
    op, shape, order = operator(name, beta, k=k)
    first, ahead, behind = (
        (op.axis[0], op.after[0], op.before[0]) if isinstance(op.axis, tuple) else (op.axis, op.after, op.before)
    )
    x, g, v = arrays(shape)
    rows = np.moveaxis(x, first, 0)
    rows[:ahead] = 0
    rows[len(rows) - behind :] = 0
    for recipe in DERIVATIVES:
        got, _ = compute(op, recipe, x, g, v, order=order)
        for result, (truth, _) in TRUTHS[recipe](op, x, g, v).items():
            np.testing.assert_array_equal(np.isfinite(got[result]), np.isfinite(truth), f"{recipe} {result}")


@simulated
@pytest.mark.parametrize("into", ["x", "v"])
@pytest.mark.parametrize("name", ["across channels", "odd planes"])
def test_jvp_in_place(name, into):
    op, shape, _ = operator(name)
    given = arrays(shape)
    expected, _ = compute(op, "jvp", *given)
    got, _ = compute(op, "jvp", *given, into=into)
    assert_same_bits(got["out"], expected["out"], op)


@simulated
def test_near_d_equal_to_one():
    """d_beta keeps its digits where d rounds to 1, or nearly, and is 0 where it is 1."""
    for alpha in (1e-4, 1e-7, 1e-12):
        op, shape, _ = operator("across channels", scale=alpha)
        given = arrays(shape)
        assert_derivatives(op, "backward_parameters", compute(op, "backward_parameters", *given)[0], *given)
    op, shape, _ = operator("across channels", scale=0.0)
    assert compute(op, "backward_parameters", *arrays(shape))[0]["sums"][1] == 0.0


@simulated
def test_far_from_d_equal_to_one():
    """What d was rounded by is large there, but not beside d."""
    op, shape, _ = operator("across channels", k=1e5)
    given = arrays(shape)
    assert_derivatives(op, "backward_parameters", compute(op, "backward_parameters", *given)[0], *given)


@simulated
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("shape", [(5, 1), (2, 3, 7), (2, 3, 8), (5, 3), (2, 5, 4)], ids=str)
def test_shares_of_few_rows(shape, dtype):
    """A thread has four rows, or fewer of them on the axis than it has."""
    op = LocalResponseNorm(5, 5.0, 1.0, axis=1)
    given = arrays(shape, dtype)
    assert_derivatives(op, "backward_parameters", compute(op, "backward_parameters", *given)[0], *given)


# How they are put together.


@simulated
def test_one_kernel_for_small_windows():
    """Each array is read once and written once."""
    for recipe in DERIVATIVES:
        for name in ("across channels", "channels last"):
            op, shape, order = operator(name)
            (launch,) = plan_of(op, recipe, shape, "float32", order=order).launches
            used = [name for name in launch.operands if not name.startswith("temporary")]
            assert sorted(used) == sorted(name for name in RECIPES[recipe].names if name != "sums")


@simulated
def test_phases_are_found_in_the_recipes():
    """What is read, written and summed is not told twice."""
    first, second = phases.phases_of("double_backward")
    assert first.summed == ("x", "v")
    assert set(first.stored) == {"out", "residual", "mixed", "kept"}
    assert second.summed == ("residual", "mixed")
    assert second.transposed
    (shares,) = phases.phases_of("backward_parameters")
    assert shares.reduces
    assert shares.stored == ()


@simulated
def test_what_is_summed_over_all_elements_is_made_first(monkeypatch):
    stages = (
        recipes.Stage("square_term", "keep_residual"),
        recipes.Stage("residual_term", "share", reduces=True, transposed=True),
    )
    monkeypatch.setitem(RECIPES, "late", recipes.Recipe(stages, arrays=recipes.GradientArrays))
    with pytest.raises(ValueError, match="must be made in the first phase"):
        phases.phases_of("late")


def emit_squares(arrays, buffers, par, at, slot, total):
    """S itself: an end that no recipe of the package has."""
    store_result(arrays.out, at, total)  # noqa: F821  names of algorithm/recipes.py


emit_squares.__module__ = recipes.__name__


@simulated
@pytest.mark.parametrize("name", ["across channels", "channels last", "large window", "box", "box of three axes"])
def test_a_new_recipe_needs_nothing_else(name, monkeypatch):
    monkeypatch.setattr(recipes, "emit_squares", emit_squares, raising=False)
    monkeypatch.setitem(
        RECIPES, "squares", recipes.Recipe((recipes.Stage("square_term", "emit_squares", raises=False, result="out"),))
    )
    op, shape, order = operator(name)
    x, _, _ = arrays(shape)
    got, _ = compute(op, "squares", x, x, x, order=order)
    truth = reference.window_sum(x.astype(np.float64) ** 2, op.windows(x.ndim))
    np.testing.assert_allclose(got["out"], truth, rtol=1e-6)


MUTATIONS = {
    "tangent": ("jvp", lambda x, v, p, s, q, cross, par: v * p),
    "beta_share": ("backward_parameters", lambda x, gp, log_d: gp * log_d),
    "mixed": ("double_backward", lambda g, x, u, d, s, q, cross, par: (g * s) * (u * q)),
}


@simulated
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_formula_is_noticed(name, monkeypatch):
    recipe, wrong = MUTATIONS[name]
    # A function of this module would keep its globals; the binding copies those of formulas alone.
    wrong.__module__, wrong.__name__ = formulas.__name__, name
    op, shape, _ = operator("across channels")
    given = arrays(shape)
    monkeypatch.setattr(formulas, name, wrong)
    kernels.build.cache_clear()
    try:
        with pytest.raises(pytest.fail.Exception, match=recipe):
            assert_derivatives(op, recipe, compute(op, recipe, *given)[0], *given)
    finally:
        kernels.build.cache_clear()


# Whole calls.

OP = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.75, 1.0)
SHAPE = (2, 9, 2, 4)


def call(recipe, device, x, g, v):
    """The results of a call, by the names of their arrays, as NumPy arrays."""
    x, g, v = (device.put(array) for array in (x, g, v))
    if recipe == "jvp":
        return {"out": device.get(OP.jvp(x, v))}
    if recipe == "backward_parameters":
        return {"sums": numbers(device, x, OP.backward_parameters(g, x))}
    if recipe == "backward_all":
        dx, *gradients = OP.backward_all(g, x)
        return {"out": device.get(dx), "sums": numbers(device, x, gradients)}
    return dict(zip(("out", "out_x"), map(device.get, OP.double_backward(g, x, v)), strict=True))


def numbers(device, like, gradients):
    """Arrays of no dimensions, of the kind of x and in float64 whatever the dtype."""
    for gradient in gradients:
        assert type(gradient) is type(like)
        assert (gradient.shape, gradient.dtype) == ((), np.float64)
    return np.array([float(device.get(gradient)) for gradient in gradients])


@pytest.mark.parametrize("recipe", DERIVATIVES)
@pytest.mark.parametrize("order", ["channels last", "gaps"])
def test_every_memory_order(device, order, recipe):
    if not device.results:
        pytest.skip("has no results")
    x, g, v = arrays(SHAPE)
    results = call(recipe, device, in_order(x, order), in_order(g, "F"), in_order(v, order))
    assert_derivatives(OP, recipe, results, x, g, v)


@pytest.mark.parametrize("where", ["x", "tangent", "apart", "other order"])
def test_jvp_into_out(device, where):
    x, _, v = arrays(SHAPE)
    given = device.put(x), device.put(v)
    apart = device.put(in_order(np.zeros_like(x), "F" if where == "other order" else "C"))
    out = {"x": given[0], "tangent": given[1]}.get(where, apart)
    assert OP.jvp(*given, out=out) is out
    assert_derivatives(OP, "jvp", {"out": device.get(out)}, x, v, v)


def test_jvp_into_memory_that_overlaps(device):
    x, _, v = arrays(SHAPE)
    base = shifted(x, 7).base
    x_at, out = device.views(base, base[7:].reshape(SHAPE), base[: x.size].reshape(SHAPE))
    OP.jvp(x_at, device.put(v), out)
    assert_derivatives(OP, "jvp", {"out": device.get(out)}, x, v, v)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_beta_zero(device, dtype):
    """y = x: nothing depends on scale and k, but d_beta is not 0; a NaN stays where it is."""
    op = LocalResponseNorm.from_window(1, 2, 1, 1.0, 0.0, 1.0)
    x, g, v = arrays(SHAPE, dtype)
    out = device.empty(SHAPE, DTYPES[dtype])
    assert_same_bits(device.get(op.jvp(device.put(x), device.put(v), out)), v)
    if not device.results:
        return
    for_g, for_x = op.double_backward(*(device.put(array) for array in (g, x, v)))
    assert_same_bits(device.get(for_g), v)
    assert_same_bits(device.get(for_x), np.zeros_like(x))
    x_on_device = device.put(x)
    dx, *gradients = op.backward_all(device.put(g), x_on_device)
    assert_same_bits(device.get(dx), g)
    got = numbers(device, x_on_device, gradients)
    truth, magnitude = _sums(op, g, x)
    assert (got[0], got[2]) == (0.0, 0.0)
    assert abs(got[1] - truth[1]) <= 8 * spacing(magnitude[1:2], np.float32)
    np.testing.assert_array_equal(got, numbers(device, x_on_device, op.backward_parameters(device.put(g), x_on_device)))
    x[0, 4, 0, 0] = np.nan
    with_nan = numbers(device, x_on_device, op.backward_parameters(device.put(g), device.put(x)))
    assert (with_nan[0], np.isnan(with_nan[1]), with_nan[2]) == (0.0, True, 0.0)


def test_empty_arrays(device):
    if not device.results:
        pytest.skip("has no results")
    x = device.put(np.empty((2, 0, 3), np.float32))
    assert tuple(OP.jvp(x, x).shape) == (2, 0, 3)
    assert [tuple(array.shape) for array in OP.double_backward(x, x, x)] == [(2, 0, 3)] * 2
    dx, *gradients = OP.backward_all(x, x)
    assert tuple(dx.shape) == (2, 0, 3)
    np.testing.assert_array_equal(numbers(device, x, gradients), np.zeros(3))
    np.testing.assert_array_equal(numbers(device, x, OP.backward_parameters(x, x)), np.zeros(3))
