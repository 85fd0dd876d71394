"""What sets one processor apart from another, as far as it decides how a window is summed and a power taken.

Neither choice depends on the array, so on one machine the same numbers give the same bits.
"""

import functools
from typing import NamedTuple

import llvmlite.binding


class Processor(NamedTuple):
    """The traits of a processor, by what was measured."""

    roots: bool = False  # square roots and divisions keep up with the multiply-adds that would replace them
    narrow: bool = False  # past the caches, forward wants the rows of a window in L1, and short rows not go there


# By the name that LLVM has for them. Forward over 74 MB, n = 5, NCHW, × a copy on two threads:
#                                              Emerald Rapids   Zen 5
#   Newton steps / roots                       1.4 / 1.9        1.8 / 1.5
#   rows of 3025 past the caches, whole        0.9 to 1.1       1.4
#   the same in tiles of 1024 lanes            -                1.05
#   rows of 729 past the caches / through      1.0 / 1.4        1.23 / 1.13
PROCESSORS = {"znver5": Processor(roots=True, narrow=True)}


@functools.cache
def processor() -> Processor:
    """This machine's; one that was not measured is taken to be like the Xeon."""
    return PROCESSORS.get(llvmlite.binding.get_host_cpu_name(), Processor())
