"""The same numbers give the same bits: for any batch, threads, tiles, alignment, in place or not, again and again."""

import numba
import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.algorithm.geometry import canonical, dense_order
from numba_lrn.algorithm.window.box import AXIS_FIELDS
from numba_lrn.backends.cpu import launch
from numba_lrn.backends.cpu.plan import SERIAL, choose_form, make_plan
from numba_lrn.backends.cpu.worker import Layout
from tests.support import FORMS, Case, assert_same_bits, layout_of, plan_of, random_array, shifted

# Arrays of each form that are shared among threads (64 K elements) and cut into several tiles, along every direction
# that the form cuts: outer indices, rows of the axis, lanes.
TILED = {
    "direct, lanes cut": Case("direct", (3, 5, 20011), 1, 2, 1),
    "direct, rows cut": Case("direct", (2, 12001, 40), 1, 1, 3),
    "direct along a long axis": Case("direct", (2, 400001), 1, 3, 2),
    "fused, lanes cut": Case("direct", (3, 25, 5001), 1, 2, 2, 1.25),
    "fused, rows cut": Case("direct", (1, 400, 300), 1, 2, 2, 1.25),
    "fused down columns, lanes cut": Case("direct", (1, 25, 5001), 1, 2, 2),
    "masked, outer indices cut": Case("masked", (997, 21, 5), 1, 2, 4),
    "prefix, lanes cut": Case("prefix", (2, 50, 3001), 1, 12, 7),
    "prefix, rows cut": Case("prefix", (2, 3000, 80), 1, 9, 10),
    "prefix, one image of short rows": Case("prefix", (1, 300, 225), 1, 9, 10),
    "direct, one image of short rows": Case("direct", (1, 400, 169), 1, 3, 2),
    "scanned, outer indices cut": Case("scanned", (301, 300), 1, 11, 14),
    "turned, rows cut": Case("turned", (2, 200001), 1, 30, 40),
    "turned, lanes and parts": Case("turned", (400, 200, 4), 1, 22, 20),
    "box, outer indices cut": Case("box", (1501, 7, 9), (1, 2), (1, 2), (2, 0)),
    "interleaved, outer indices cut": Case("interleaved", (301, 15, 17), (1, 2), (8, 6), (3, 12)),
    "box, rows cut": Case("box", (2, 801, 802), (1, 2), (2, 1), (1, 4)),
    "fused box, rows cut": Case("box", (2, 801, 802), (1, 2), (2, 2), (2, 2)),
    "box by prefixes, rows cut": Case("box", (1, 600, 40, 40), (1, 2), (8, 7), (8, 9)),
    "box of long rows": Case("box", (2, 40, 5003), (1, 2), (2, 1), (1, 3)),
    "fused box, one plane": Case("box", (1, 300, 301), (1, 2), (2, 2), (2, 2)),
    "box of short rows, turned, rows cut": Case("box", (1, 40001, 4, 3), (1, 2), (22, 2), (20, 1)),
    "boxes by masks, fewer than workers": Case("box", (17, 200, 4, 5), (1, 2), (2, 1), (1, 1)),
    "fused box, lanes cut in place": Case("box", (3, 80, 78, 64), (1, 2), (2, 2), (2, 2)),
    "box, lanes cut in place": Case("box", (3, 80, 78, 64), (1, 2), (6, 7), (8, 6)),
    "box, lanes cut": Case("box", (2, 30, 31, 600), (1, 2), (7, 4), (3, 5)),
    "box of one small image, lanes cut": Case("box", (1, 13, 14, 513), (1, 2), (2, 1), (1, 4)),
    "box by prefixes, lanes cut": Case("box", (2, 30, 31, 600), (1, 2), (17, 14), (13, 15)),
}
every_tiled_form = pytest.mark.parametrize("case", TILED.values(), ids=TILED)
every_form = pytest.mark.parametrize("case", FORMS.values(), ids=FORMS)


def arrays(case):
    return random_array(31, case.shape), random_array(32, case.shape)


def both(op, x, g):
    return op(x), op.backward(g, x)


def dimensions_of(op, x):
    return canonical(x.shape, dense_order(x.shape, x.strides, x.itemsize), op.windows(x.ndim))


@pytest.mark.parametrize("case", [*FORMS.values(), *TILED.values()], ids=[*FORMS, *TILED])
def test_the_cases_take_the_forms_that_they_name(case):
    op, x = case.operator(), np.empty(case.shape, np.float32)
    assert choose_form(dimensions_of(op, x)) == case.form


@pytest.mark.parametrize("case", [*FORMS.values(), *TILED.values()], ids=[*FORMS, *TILED])
def test_tables_of_axes_have_whole_entries(case):
    """Kernels read entries of AXIS_FIELDS numbers, and nothing checks that they are there."""
    op, x = case.operator(), np.empty(case.shape, np.float32)
    table = make_plan(dimensions_of(op, x), "backward", op, x.dtype, 2, False).layout.size - len(Layout._fields)
    assert table % AXIS_FIELDS == 0
    assert (table > 0) == (case.form in ("box", "interleaved", "turned", "scanned"))


@every_tiled_form
def test_the_tiled_cases_have_several_tiles(case):
    op, x = case.operator(), np.empty(case.shape, np.float32)
    assert x.size >= SERIAL
    plan = make_plan(dimensions_of(op, x), "backward", op, x.dtype, 3, False)
    assert plan.layout[Layout._fields.index("tiles")] > 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_case_of_rows_that_are_cut_has_parts_of_rows(dtype):
    """In the caches, where backward takes two rows at a time."""
    case = FORMS["fused across rows that are cut"]
    layout = layout_of(plan_of(case.operator(), "backward", case.shape, dtype, threads=1))
    assert layout.tile_lanes < layout.inner
    assert not layout.streaming


@every_tiled_form
@pytest.mark.parametrize("workers", [2, 3, 7, 32])
def test_any_number_of_workers(case, workers, monkeypatch):
    """Through the plan itself, so that more workers than this machine has threads are tried too."""
    op = case.operator()
    x, g = arrays(case)
    monkeypatch.setattr(launch, "available_workers", lambda: 1)
    expected = both(op, x, g)
    monkeypatch.setattr(launch, "available_workers", lambda: workers)
    for got, want in zip(both(op, x, g), expected, strict=True):
        assert_same_bits(got, want, op)


@every_tiled_form
def test_any_number_of_threads(case):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine has one thread only")
    op = case.operator()
    x, g = arrays(case)
    results = []
    before = numba.get_num_threads()
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(both(op, x, g))
    finally:
        numba.set_num_threads(before)
    for got, want in zip(*results, strict=True):
        assert_same_bits(got, want, op)


@pytest.mark.parametrize("case", [*FORMS.values(), *TILED.values()], ids=[*FORMS, *TILED])
def test_any_batch(case):
    """The first images alone give the bits that they have among all; so does one image from the middle."""
    if 0 in (case.axis if isinstance(case.axis, tuple) else (case.axis,)):
        pytest.skip("the first axis of this case is windowed: it has no batch")
    op = case.operator()
    x, g = arrays(case)
    expected = both(op, x, g)
    middle = len(x) // 2
    for images in (slice(0, 1), slice(0, 2), slice(middle, middle + 1)):
        for got, want in zip(both(op, x[images], g[images]), expected, strict=True):
            assert_same_bits(got, want[images], op)


@every_form
@pytest.mark.parametrize("elements", range(18))
def test_any_alignment(case, elements):
    op = case.operator()
    x, g = arrays(case)
    expected = both(op, x, g)
    got = both(op, shifted(x, elements), shifted(g, 17 - elements))
    outs = [shifted(np.zeros_like(x), (elements * 5) % 18) for _ in got]
    op(x, out=outs[0])
    op.backward(g, x, out=outs[1])
    for result, out, want in zip(got, outs, expected, strict=True):
        assert_same_bits(result, want, op)
        assert_same_bits(out, want, op)


@every_tiled_form
def test_alignment_where_the_stores_may_bypass_the_cache(case):
    op = case.operator()
    x, g = arrays(case)
    expected = both(op, x, g)
    for elements in (1, 15):
        out = shifted(np.zeros_like(x), elements)
        assert_same_bits(op(shifted(x, 3), out=out), expected[0], op)
        assert_same_bits(op.backward(g, shifted(x, 3), out=out), expected[1], op)


@pytest.mark.parametrize("case", [*FORMS.values(), *TILED.values()], ids=[*FORMS, *TILED])
def test_in_place(case):
    op = case.operator()
    x, g = arrays(case)
    y, dx = both(op, x, g)
    own = x.copy()
    assert op(own, out=own) is own
    assert_same_bits(own, y, op)
    own = g.copy()
    assert op.backward(own, x, out=own) is own
    assert_same_bits(own, dx, op)
    own = x.copy()
    assert op.backward(g, own, out=own) is own
    assert_same_bits(own, dx, op)


@every_form
def test_again_and_again(case):
    """With other work between, which leaves other numbers in the buffers that calls share."""
    op = case.operator()
    x, g = arrays(case)
    expected = both(op, x, g)
    for _ in range(3):
        both(op, np.full_like(x, np.nan), np.full_like(g, np.inf))
        for got, want in zip(both(op, x, g), expected, strict=True):
            assert_same_bits(got, want, op)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_dtypes(dtype):
    """The other dtypes take the same plans; one geometry that is cut everywhere stands for all."""
    x, g = random_array(33, (997, 21, 5), dtype), random_array(34, (997, 21, 5), dtype)
    op = LocalResponseNorm.from_window(1, 2, 4, 1.0, 0.75, 1.0)
    expected = both(op, x, g)
    for got, want in zip(both(op, x[:300], g[:300]), expected, strict=True):
        assert_same_bits(got, want[:300], op)
    own = x.copy()
    assert_same_bits(op(own, out=own), expected[0], op)
