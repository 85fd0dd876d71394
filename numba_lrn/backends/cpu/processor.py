"""What sets one processor apart from another, as far as it decides how a window is summed and a power taken.

Neither choice depends on the array, so on one machine the same numbers give the same bits.
"""

import functools
from typing import NamedTuple

import llvmlite.binding


class Processor(NamedTuple):
    """The traits of a processor, by what was measured."""

    roots: bool = False  # square roots and divisions keep up with the multiply-adds that would replace them
    streams_rows: bool = True  # stores past the caches gain more than rows that share what they read


# By the name that LLVM has for them. Forward over 74 MB, n = 5, NCHW, × a copy on two threads:
#                                     Emerald Rapids   Zen 5
#   roots / Newton steps              1.9 / 1.4        1.5 / 1.8
#   past the caches, row by row       0.9 to 1.1       1.3 to 2.5 (the copy is twice as fast at times)
#   four rows at a time, plain        -                1.1 to 1.7
PROCESSORS = {"znver5": Processor(roots=True, streams_rows=False)}


@functools.cache
def processor() -> Processor:
    """This machine's; one that was not measured is taken to be like the Xeon."""
    return PROCESSORS.get(llvmlite.binding.get_host_cpu_name(), Processor())
