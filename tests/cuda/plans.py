"""Runs the launches of a plan in the simulator, on arrays that assert every index."""

import numpy as np

from numba_lrn.algorithm.geometry import canonical
from numba_lrn.backends.cuda import kernels
from numba_lrn.backends.cuda.plan import Device, make_plan

# One multiprocessor: these small arrays are not cut into chunks.
SMALL = Device((9, 0), 1)
# So many that every axis is cut as finely as it may be.
LARGE = Device((9, 0), 1_000_000)


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


def plan_of(op, recipe, shape, dtype, *, order=None, aligned=True, device=SMALL):
    """The plan of a dense array whose axes lie in memory in this order."""
    order = order or tuple(range(len(shape)))
    return make_plan(canonical(shape, order, op.windows(len(shape))), recipe, op, np.dtype(dtype), aligned, device)


def run(op, recipe, x, g=None, *, order=None, aligned=True, device=SMALL, into="out"):
    """(result, plan); ``into`` names the operand that the result goes to: "out", or "x" or "g" for in place."""
    plan = plan_of(op, recipe, x.shape, x.dtype, order=order, aligned=aligned, device=device)
    order = order or tuple(range(x.ndim))
    carrier = kernels.CARRIERS[x.dtype.name]

    def flat(array):
        return np.ascontiguousarray(array.transpose(order)).reshape(-1).view(carrier)

    memory = {"x": Guarded(flat(x)), "g": Guarded(flat(x if g is None else g)), "out": Guarded(flat(np.zeros_like(x)))}
    if into != "out":
        assert plan.in_place
        memory["out"] = memory[into]
        if g is None:
            memory["g"] = memory["x"]
    real = np.dtype(kernels.REALS[x.dtype.name])
    for number, nbytes in enumerate(plan.temporaries):
        # NaN, so that what is read before it is written shows.
        memory[f"temporary {number}"] = Guarded(np.full(nbytes // real.itemsize, np.nan, real))
    for launch in plan.launches:
        kernel = kernels.build(launch.variant)[launch.grid, launch.block, 0, launch.shared_bytes]
        kernel(*(memory[name] for name in launch.operands), *launch.scalars)
    result = memory["out"].array.view(x.dtype).reshape([x.shape[axis] for axis in order])
    return result.transpose(np.argsort(order)), plan
