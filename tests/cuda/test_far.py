"""Arrays of more elements than 32 bits count, in the simulator: blocks at the beginning, in the middle and at the end.

No such array is there: an element is computed of its place when it is read, every place is asserted to be one, and what
is written is kept and compared with the definition.
"""

import functools
import itertools
import math
import random

import numpy as np
import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.algorithm.geometry import canonical
from numba_lrn.backends.cuda import kernels, toolkit
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.plan import make_plan
from tests.cuda.plans import guard_shared

pytestmark = [
    pytest.mark.simulated,
    # What overflows in 32 bits would do so in silence on a card.
    pytest.mark.filterwarnings("error:overflow encountered in scalar:RuntimeWarning"),
]

X, G = 1, 2  # which of the arrays
# form: shape in memory order, windowed axes, elements before and after.
CASES = {
    "small": ((4, 9, 2**28 + 8), 1, 2, 1),
    "small, many samples": ((2**30, 7, 6), 1, 2, 1),
    "small, columns of 64 bits": ((3, 3, 2**31 + 6), 1, 1, 1),
    "small_last": ((2**30, 7), 1, 2, 1),
    "small_spread": ((3, 5, 2**30 + 1), 1, 2, 2),
    "wide": ((2**22, 40, 64), 1, 20, 9),
    "wide_last": ((2**28, 33), 1, 20, 9),
    "wide_last, a long axis": ((1, 2**34 + 3), 1, 20, 9),
    "wide_spread": ((2**20, 40, 101), 1, 20, 19),
    "flat": ((2**19, 96, 13 * 13), 1, 2, 2),
    "skew": ((200_001, 24, 55 * 55), 1, 2, 2),
    "ring": ((60_000, 256, 13 * 13), 1, 2, 2),
    "prefix_scratch": ((2**20, 1030, 7), 1, 780, 2),
    "walk_contiguous": ((2**28, 6, 7), (1, 2), (2, 1), (1, 2)),
    "walk_contiguous, long rows": ((3, 8, 2**31 + 5), (1, 2), (1, 1), (2, 1)),
    "walk_strided": ((2**20, 6, 7, 64), (1, 2), (2, 1), (1, 2)),
    "walk_strided, columns of 64 bits": ((2, 5, 4, 2**30 + 1), (1, 2), (2, 2), (1, 1)),
    "box": ((2, 5, 4, 2**30), (1, 2), (1, 1), (1, 2)),
}


LONG = ("ring", "prefix_scratch", "wide_last, a long axis", "walk_contiguous, long rows")  # to run


@functools.cache
def element(place, array):
    """Of one of the arrays: of either sign, up to one."""
    return np.float32((place * 2_654_435_761 + array * 40_503) % 2003 / 1000.0 - 1.0)


class Computed:
    """An array whose elements are computed as long as nothing was written there."""

    dtype = np.dtype(np.float32)

    def __init__(self, size, array):
        self.size, self.array, self.written = size, array, {}

    def __getitem__(self, index):
        place = int(index.start if isinstance(index, slice) else index)
        assert 0 <= place < self.size, f"index {place} of {self.size}"
        value = self.written.get(place)
        value = element(place, self.array) if value is None else value
        return np.array([value]) if isinstance(index, slice) else value

    def __setitem__(self, index, value):
        place = int(index.start if isinstance(index, slice) else index)
        assert 0 <= place < self.size, f"index {place} of {self.size}"
        self.written[place] = np.float32(np.ravel(value)[0])


def run_blocks(launch, operands, numbers):
    """Some blocks of a launch, by the simulator."""
    simulator = pytest.importorskip(f"{toolkit.cuda.__name__}.simulator.kernel")
    function = kernels.build(launch.variant).fn
    module = simulator.FakeCUDAModule(launch.grid, launch.block, launch.shared_bytes)
    with simulator._push_kernel_context(module), simulator.swapped_cuda_module(function, module):
        for number in numbers:
            simulator.BlockManager(function, launch.grid, launch.block, False).run(number, *operands, *launch.scalars)


def some_blocks(grid, generator, count):
    """The first and the last, and some between them."""
    extents = [sorted({0, extent // 2, int(extent * generator.random()), extent - 1}) for extent in grid]
    found = list(itertools.product(*extents))
    return {found[0], found[-1], *generator.sample(found, min(count, len(found)))}


def definition(op, dimensions, recipe):
    """The result at a place, by the formulas of the design, in float64."""
    extents = [dimension.extent for dimension in dimensions]
    strides = [math.prod(extents[axis + 1 :]) for axis in range(len(extents))]

    def window(place, transposed=False):
        reach = []
        for dimension, stride, extent in zip(dimensions, strides, extents, strict=True):
            if dimension.windowed:
                at = place // stride % extent
                before, after = (dimension.before, dimension.after)[:: -1 if transposed else 1]
                last = min(extent - 1, at + after)
                reach.append([(row - at) * stride for row in range(max(0, at - before), last + 1)])
        return [place + sum(offsets) for offsets in itertools.product(*reach)]

    @functools.cache
    def d(place):
        return op.k + op.scale * sum(float(element(near, X)) ** 2 for near in window(place))

    def result(place):
        x, g = float(element(place, X)), float(element(place, G))
        if recipe == "forward":
            return x * d(place) ** -op.beta
        residuals = sum(
            float(element(near, G)) * float(element(near, X)) * d(near) ** (-op.beta - 1)
            for near in window(place, transposed=True)
        )
        return g * d(place) ** -op.beta - 2 * op.scale * op.beta * x * residuals

    return result


@pytest.mark.parametrize("recipe", ["forward", "backward"])
@pytest.mark.parametrize(
    ("name", "aligned"), [(name, aligned) for name in CASES for aligned in (True, False) if aligned or name not in LONG]
)
def test_places_of_64_bits(name, recipe, aligned, monkeypatch):
    guard_shared(monkeypatch)
    shape, axis, before, after = CASES[name]
    op = LocalResponseNorm.from_window(axis, before, after, 0.5, 0.75, 1.0)
    dimensions = canonical(shape, tuple(range(len(shape))), op.windows(len(shape)))
    plan = make_plan(dimensions, recipe, op, np.dtype(np.float32), aligned, Device(), False)
    size = math.prod(shape)
    assert size > 2**31
    memory = {"x": Computed(size, X), "g": Computed(size, G), "out": Computed(size, 0)}
    for number, nbytes in enumerate(plan.temporaries):
        memory[f"temporary {number}"] = Computed(nbytes // 4, 3 + number)
    generator = random.Random(name)
    for launch in plan.launches:
        operands = [memory[operand] for operand in launch.operands]
        count = 1 if launch.variant.form.startswith(("prefix", "ring")) else 3
        run_blocks(launch, operands, some_blocks(launch.grid, generator, count))
    written = memory["out"].written
    assert max(written) > size // 2
    if len(plan.launches) > 1:  # of which the second reads what other blocks of the first would have written
        return
    expected = definition(op, dimensions, recipe)
    for place in [min(written), max(written), *generator.sample(sorted(written), min(len(written), 150))]:
        assert abs(written[place] - expected(place)) <= 2e-5 * (abs(expected(place)) + 0.05), place


def test_every_form_is_among_them():
    found = set()
    for name, (shape, axis, before, after) in CASES.items():
        op = LocalResponseNorm.from_window(axis, before, after, 0.5, 0.75, 1.0)
        dimensions = canonical(shape, tuple(range(len(shape))), op.windows(len(shape)))
        forms = {}
        for recipe, aligned in itertools.product(("forward", "backward"), (True, False)):
            plan = make_plan(dimensions, recipe, op, np.dtype(np.float32), aligned, Device(), False)
            forms[recipe, aligned] = {launch.variant.form for launch in plan.launches}
        assert name.partition(",")[0] in set.union(*forms.values())
        found |= set.union(*forms.values())
    assert found == set(kernels.FORMS) - {"prefix"}  # whose places are those of prefix_scratch
