"""Results that go past the caches are those that do not, to the bit."""

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cpu import launch, plan
from numba_lrn.backends.cpu.processor import Processor, processor
from tests.support import FORMS, Case, assert_same_bits, layout_of, plan_of, random_array, shifted

# Windows with kernels of their own, and every form without.
CASES = {
    "fused across rows": Case("direct", (2, 11, 5, 19), 1, 2, 2),
    "fused, long rows": Case("direct", (2, 40, 3001), 1, 2, 2),
    "fused, short axis": Case("direct", (3, 4, 64), 1, 2, 2),
    "fused, contiguous axis": Case("masked", (70, 13), 1, 2, 2),
    **{form: FORMS[form] for form in ("direct across rows", "prefix", "scanned", "box by rows", "fused box")},
}


@pytest.fixture(params=[False, True], ids=["whole rows", "narrow tiles"])
def at_size(request, monkeypatch):
    """Results from so many bytes on go past the caches, on either kind of processor."""
    monkeypatch.setattr(plan, "processor", lambda: processor()._replace(narrow=request.param))

    def set_size(nbytes):
        monkeypatch.setattr(plan, "CACHES", nbytes)
        monkeypatch.setattr(plan, "CHANNELS_LAST_STREAMS", 0)
        launch._route.cache_clear()

    yield set_size
    launch._route.cache_clear()


def results(op, x, g, out, second_order):
    yield op(x, out=out)
    yield op.backward(g, x, out=out)
    if second_order:
        yield op.jvp(x, g)[1]
        yield op.backward_all(g, x)[0]
        yield from op.double_backward(g, x, g)


@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_same_bits(case, offset, at_size):
    op = case.operator()
    finite, g = random_array(1, case.shape), random_array(2, case.shape)
    extreme = finite.copy()
    extreme.flat[[finite.size // 2, finite.size // 3]] = np.inf, np.nan
    second_order = case is CASES["fused across rows"]
    for x in (finite, extreme):
        out = shifted(np.empty_like(x), offset)
        at_size(2**40)
        usual = [result.copy() for result in results(op, x, g, out, second_order)]
        at_size(0)
        for result, expected in zip(results(op, x, g, out, second_order), usual, strict=True):
            assert_same_bits(result, expected, op)
            out[...] = 7


def test_sums_do_not_depend_on_where_the_result_lies(at_size):
    """Strips are cut where lines of the result begin, and their shares are added up one by one."""
    at_size(0)
    case = CASES["fused, long rows"]
    op, x, g = case.operator(), random_array(1, case.shape), random_array(2, case.shape)
    held = [(np.empty(16 * step, np.uint8), op.backward_all(g, x)) for step in range(1, 9)]
    assert len({sums for _, (_, *sums) in held for sums in [tuple(sums)]}) == 1


ROWS, LAST = (64, 96, 55, 55), (64, 55, 55, 96)
AHEAD = {
    # The next row.
    "n = 5": (ROWS, 1, 5, {"forward": 3 * 3025, "backward": 3 * 3025}, "float32"),
    "n = 5, float16": (ROWS, 1, 5, {"forward": 3 * 3025, "backward": 3 * 3025}, "float16"),
    "n = 9": (ROWS, 1, 9, {"forward": 5 * 3025, "backward": 5 * 3025}, "float32"),
    "prefix sums": (ROWS, 1, 63, {"forward": 39 * 3025, "backward": 39 * 3025}, "float32"),
    # The next tile.
    "box": (ROWS, (2, 3), 5, {"forward": 3025, "backward": 3025}, "float32"),
    "interleaved": (ROWS, (2, 3), 31, {"forward": 16 * 3025, "backward": 16 * 3025}, "float32"),
    "box, large tiles": (LAST, (1, 2), 5, {"forward": 0, "backward": 0}, "float32"),
    "contiguous axis, n = 5": (LAST, 3, 5, {"forward": 0, "backward": 0}, "float32"),
    "contiguous axis, n = 9": (LAST, 3, 9, {"forward": 42 * 96, "backward": 10 * 96}, "float32"),
    "contiguous axis, n = 63": (LAST, 3, 63, {"forward": 341 * 96, "backward": 341 * 96}, "float32"),
    "in the caches": ((2, *ROWS[1:]), 1, 9, {"forward": 0, "backward": 0}, "float32"),
}


@pytest.mark.parametrize(("shape", "axis", "n", "expected", "dtype"), AHEAD.values(), ids=AHEAD)
def test_how_far_ahead_memory_is_asked_for(shape, axis, n, expected, dtype):
    op = LocalResponseNorm(n, axis=axis)
    for recipe, ahead in expected.items():
        layout = layout_of(plan_of(op, recipe, shape, dtype))
        assert layout.ahead == ahead
        # Backward leaves its results in the caches where memory is all that it waits for, and where rows are cut.
        waits = recipe == "backward" and (axis, n) == (3, 5)
        cut = recipe == "backward" and (axis, n) == (1, 9)
        assert layout.streaming == (shape[0] == 64 and not waits and not cut)
        # 16 lines at a time, which is what a processor has on their way.
        assert layout.strip == (1024 // np.dtype(dtype).itemsize if ahead or waits else plan.STRIP)


@pytest.mark.parametrize(("beta", "lanes"), [(0.6, 3025), (1.7, 3025), (0.75, 3025), (0.5, 1024), (1.0, 1024)])
def test_long_rows_are_whole_where_a_power_takes_as_long_as_memory(beta, lanes, monkeypatch):
    """Forward of n = 5 across rows, in short strips; in place the rows of a window stay in L1."""
    monkeypatch.setattr(plan, "processor", lambda: Processor(roots=True, narrow=True))
    op = LocalResponseNorm(5, beta=beta)
    layout = layout_of(plan_of(op, "forward", ROWS, "float32"))
    assert (layout.tile_lanes, layout.ahead, layout.strip) == (lanes, 3 * 3025, plan.AHEAD_BYTES // 4)
    assert layout_of(plan_of(op, "forward_in_place", ROWS, "float32", in_place=True)).tile_lanes == 1024


def test_a_long_power_is_taken_in_short_strips():
    """As wide windows are, along long rows and short ones."""
    op, wide = LocalResponseNorm(5, beta=0.6), LocalResponseNorm(9, beta=0.6)
    short = plan.AHEAD_BYTES // 4
    for recipe in ("forward", "backward", "jvp"):
        layout = layout_of(plan_of(op, recipe, ROWS, "float32"))
        assert (layout.ahead, layout.strip) == (3 * 3025, short)
        assert layout_of(plan_of(wide, recipe, ROWS, "float32")).strip == short
        layout = layout_of(plan_of(op, recipe, (96, 256, 27, 27), "float32"))
        assert (layout.ahead, layout.strip) == (3 * 729, short)


STREAMED = {
    "n = 5, rows of 2916 bytes": ((96, 256, 27, 27), 1, 5, "forward", "float32", True),
    "n = 5, rows of 676 bytes": ((416, 256, 13, 13), 1, 5, "forward", "float32", False),
    "n = 5, rows of 1352 bytes": ((208, 256, 13, 13), 1, 5, "forward", "float64", True),
    "n = 5, rows of 338 bytes": ((416, 256, 13, 13), 1, 5, "forward", "float16", True),
    "prefix sums": (ROWS, 1, 63, "backward", "float32", True),
    "prefix sums, float16": (ROWS, 1, 63, "backward", "float16", False),
    "contiguous axis, n = 9, float16": (LAST, 3, 9, "backward", "float16", False),
    "contiguous axis, n = 16, float16": (LAST, 3, 16, "backward", "float16", True),
}


@pytest.mark.parametrize(("shape", "axis", "n", "recipe", "dtype", "expected"), STREAMED.values(), ids=STREAMED)
def test_which_results_go_past_the_caches(monkeypatch, shape, axis, n, recipe, dtype, expected):
    monkeypatch.setattr(plan, "processor", lambda: Processor(roots=True, narrow=True))
    assert layout_of(plan_of(LocalResponseNorm(n, axis=axis), recipe, shape, dtype)).streaming == expected
