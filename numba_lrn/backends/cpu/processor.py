"""What sets one processor apart from another, as far as it decides how a window is summed and a power taken.

Neither choice depends on the array, so on one machine the same numbers give the same bits.
"""

import functools
import re
from typing import NamedTuple

import llvmlite.binding
import numpy as np
from numba.core.registry import cpu_target


class Processor(NamedTuple):
    """The traits of a processor, by what was measured."""

    roots: bool = False  # square roots and divisions are no slower than the multiply-adds that would replace them
    narrow: bool = False  # past the caches, forward wants the rows of a window in L1, and short rows not go there


# By the name that LLVM has for them. Measured on Zen 5, n = 5, NCHW: forward in cache takes 0.22 ns an element by roots
# and 0.37 by Newton steps; over 74 MB, × a copy on two threads, rows of 3025 past the caches 1.4 whole and 1.05 in
# tiles of 1024 lanes, rows of 729 elements 1.23 past the caches and 1.13 through them; β = 0.6 in L1 on two threads
# 0.36 with a division and 0.42 without. On Emerald Rapids the power alone takes 0.83 by roots and 0.50 by steps; narrow
# tiles were not tried there.
PROCESSORS = {"znver5": Processor(roots=True, narrow=True)}


def check_half(dtype: np.dtype) -> None:
    """Refuse float16 where there are no instructions that convert it: LLVM would call a library that is not there."""
    if dtype == np.float16 and not converts_half():
        msg = (
            "x has dtype float16, which compiled code converts by F16C instructions; the processor, or what "
            "NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say of it, has none: use x.astype('float32')"
        )
        raise TypeError(msg)


@functools.cache
def converts_half() -> bool:
    """Whether there are instructions that convert float16, for the processor that Numba compiles for."""
    module = llvmlite.binding.parse_assembly(WIDEN)
    return not re.search("hfsf2|h2f", cpu_target.target_context.codegen()._tm.emit_assembly(module))


WIDEN = """
define float @widen(i16 %bits) {
  %half = bitcast i16 %bits to half
  %wide = fpext half %half to float
  %more = fadd float %wide, 1.0
  ret float %more
}
"""


@functools.cache
def processor() -> Processor:
    """This machine's; one that was not measured is taken to be like the Xeon."""
    return PROCESSORS.get(llvmlite.binding.get_host_cpu_name(), Processor())
