"""When to run on several threads, and how: one small parallel loop that calls any kernel's machine code.

A kernel is compiled once, serial. The loop below calls it by address, once a worker, so serial and parallel runs
execute the same instructions, and a kernel costs one compilation instead of two (a parallel twin took 1.2 s more).

What kills processes, and what is done about it:

* A process forked after an OpenMP pool has started, by anyone, dies or hangs in its first parallel region, and one
  forked while other threads work in TBB inherits a locked mutex. A forked child therefore runs serial.
* The workqueue layer aborts the process when two threads enter it at once, also when one of them runs the user's
  own parallel code. Under workqueue everything runs serial.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import numba
from numba import types as numba_types
from numba.extending import intrinsic
from numba.np.ufunc import parallel

from numba_lrn.algorithm.binding import rebind
from numba_lrn.backends.cpu.compiler import compile_entry, sources_stamp
from numba_lrn.backends.forked import in_forked_child

# NUMBA_LRN_PARALLEL=0 runs everything on the calling thread.
PARALLEL = os.environ.get("NUMBA_LRN_PARALLEL", "1") != "0"


def why_serial() -> str | None:
    """Why nothing runs in parallel in this process, or None."""
    if not PARALLEL:
        return "NUMBA_LRN_PARALLEL=0"
    if in_forked_child():
        return "this process was forked, and a pool of threads does not survive that"
    numba.get_num_threads()  # starts the pool, which decides the layer
    if numba.threading_layer() == "workqueue":
        return "the workqueue threading layer aborts when two threads enter it at once"
    return None


@functools.cache
def _serial_everywhere(forked: bool) -> bool:
    return why_serial() is not None


def available_workers() -> int:
    """How many threads a large array is shared among."""
    if _serial_everywhere(in_forked_child()):
        return 1
    workers: int = _counting()()
    return workers


@functools.cache
def _counting() -> Callable:
    """``numba.get_num_threads`` without its two locks, 0.08 µs instead of 0.5; the threads must have been started.

    Compiled it would take 0.03 µs, but Numba's cache does not keep it.
    """
    return getattr(parallel, "_get_num_threads", numba.get_num_threads)


@intrinsic
def call_kernel(typingctx, address, arrays, workspace, positions, scalars, layout, first, last, workers):
    """Call the machine code at ``address``, an entry of kernels.py compiled for just these argument types."""
    kernel_types = (arrays, workspace, positions, scalars, layout, first, last, workers)

    def codegen(context, builder, signature, arguments):
        convention = context.call_conv
        pointer = convention.get_function_type(numba_types.none, kernel_types).as_pointer()
        function = builder.inttoptr(arguments[0], pointer)
        convention.call_function(builder, function, numba_types.none, kernel_types, arguments[1:])
        return context.get_dummy_value()

    return numba_types.void(numba_types.intp, *kernel_types), codegen


def _parallel_entry(stamp: str) -> Callable:
    """``stamp`` is not used, but Numba's cache takes the values of a closure into its key."""

    def run_parallel(address, arrays, workspace, positions, scalars, layout, workers):
        stamp  # noqa: B018
        for worker in numba.prange(workers):
            # prange counts in uint64, which would make floats of differences.
            index = numba_types.int64(worker)
            call_kernel(address, arrays, workspace, positions, scalars, layout, index, index + 1, workers)

    return run_parallel


@functools.cache
def parallel_loop(dtype_name: str, real_name: str, arrays: int, sums: bool) -> "ParallelLoop":
    """The parallel loop for so many arrays of one dtype, the last of which may be sums."""
    return ParallelLoop(f"parallel_{dtype_name}_{real_name}_{arrays}{'_sums' if sums else ''}")


class ParallelLoop:
    """The parallel loop for one set of argument types, compiled at its first use."""

    def __init__(self, name: str):
        self._name = name
        self._dispatcher: Any = None

    def __call__(self, address: int, *arguments: Any) -> None:
        """Run the kernel at ``address`` once for each worker."""
        if self._dispatcher is None:
            function = _parallel_entry(f"{self._name} {sources_stamp()}")
            namespace = {"numba": numba, "numba_types": numba_types, "call_kernel": call_kernel}
            function = rebind(function, namespace, self._name)
            self._dispatcher = compile_entry(function, (address, *arguments), parallel=True)
        self._dispatcher(address, *arguments)
