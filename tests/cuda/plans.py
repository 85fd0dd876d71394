"""Runs the launches of a plan in the simulator, on arrays that assert every index."""

import threading

import numpy as np
import pytest

from numba_lrn.algorithm.geometry import canonical
from numba_lrn.algorithm.recipes import RECIPES
from numba_lrn.backends.cuda import blocks, kernels, sums, toolkit
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.plan import make_plan

# One multiprocessor: these small arrays are not cut into chunks.
SMALL = Device(1)
# So many that every axis is cut as finely as it may be.
LARGE = Device(1_000_000)


def prefer_threads(monkeypatch):
    """Let no block be large enough to hold an axis for a wide window."""
    most = blocks.most_groups
    monkeypatch.setattr(blocks, "most_groups", lambda variant: 0 if variant.form.startswith("wide") else most(variant))


def small_blocks(monkeypatch):
    """Blocks of so few threads that axes are cut into tiles."""
    monkeypatch.setattr(blocks, "most_groups", lambda variant: 16)


class Guarded:
    """An array of which only elements 0 … n − 1 exist: a NumPy array takes −1 for the last in silence."""

    def __init__(self, array):
        self.array = array
        self.dtype = array.dtype

    def _check(self, index):
        start = index.start if isinstance(index, slice) else index
        assert 0 <= start < self.array.size, f"index {start} of {self.array.size}"
        assert not isinstance(index, slice) or index.stop == start + 1

    def __getitem__(self, index):
        self._check(index)
        return self.array[index]

    def __setitem__(self, index, value):
        self._check(index)
        self.array[index] = value


def guard_shared(monkeypatch):
    """Let the dynamic shared memory of a block be NaN at first, and assert every index."""
    filling = threading.Lock()

    def array(self, shape, dtype, alignment=None):
        assert shape == 0
        kind = np.dtype(str(dtype))
        with filling:
            if not hasattr(self, "guarded"):
                numbers = np.empty(self._dynshared_size // kind.itemsize, kind)
                numbers.view(np.uint8).fill(0xFF)  # NaN in every type
                self.guarded = Guarded(numbers)
        return self.guarded

    kernelapi = pytest.importorskip(f"{toolkit.cuda.__name__}.simulator.kernelapi")
    monkeypatch.setattr(kernelapi.FakeCUDAShared, "array", array)


def plan_of(op, recipe, shape, dtype, *, order=None, aligned=True, device=SMALL, in_place=False):
    """The plan of a dense array whose axes lie in memory in this order."""
    dimensions = canonical(shape, order or tuple(range(len(shape))), op.windows(len(shape)))
    return make_plan(dimensions, recipe, op, np.dtype(dtype), aligned, device, in_place)


def run(op, recipe, x, g=None, *, order=None, aligned=True, device=SMALL, into="out"):
    """(result, plan); ``into`` names the operand that the result goes to: "out", or "x" or "g" for in place."""
    inputs = {"x": x} if g is None else {"x": x, "g": g}
    results, plan = run_all(op, recipe, inputs, order=order, aligned=aligned, device=device, into=into)
    return results["out"], plan


def run_all(op, recipe, inputs, *, order=None, aligned=True, device=SMALL, into="out"):
    """({name: result}, plan) of any recipe; "sums" are the gradients of the parameters, in float64."""
    x = inputs["x"]
    plan = plan_of(op, recipe, x.shape, x.dtype, order=order, aligned=aligned, device=device)
    order = order or tuple(range(x.ndim))
    carrier = kernels.CARRIERS[x.dtype.name]

    def flat(array):
        return np.ascontiguousarray(array.transpose(order)).reshape(-1).view(carrier)

    memory = {name: Guarded(flat(array)) for name, array in inputs.items()}
    outs = [name for name in RECIPES[recipe].names if name.startswith("out")]
    for name in outs:
        memory[name] = Guarded(flat(np.zeros_like(x)))
    if into != "out":
        assert plan.in_place
        memory["out"] = memory[into]
    real = np.dtype(kernels.REALS[x.dtype.name])
    for number, nbytes in enumerate(plan.temporaries):
        # NaN, so that what is read before it is written shows.
        memory[f"temporary {number}"] = Guarded(np.full(nbytes // real.itemsize, np.nan, real))
    for launch in plan.launches:
        kernel = kernels.build(launch.variant)[launch.grid, launch.block, 0, launch.shared_bytes]
        kernel(*(memory[name] for name in launch.operands), *launch.scalars)
    results = {}
    for name in outs:
        result = memory[name].array.view(x.dtype).reshape([x.shape[axis] for axis in order])
        results[name] = result.transpose(np.argsort(order))
    if plan.partials:
        launch = sums.launch_for(real.name, plan.blocks, op.beta)
        results["sums"] = np.full(sums.RESULTS, np.nan)
        kernel = sums.build(launch.variant)[launch.grid, launch.block, 0, 0]
        kernel(memory[plan.partials], Guarded(results["sums"]), *launch.scalars)
    return results, plan
