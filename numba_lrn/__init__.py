"""Local Response Normalization, forward and every derivative, at the speed of memory.

    y = x · (k + a·W(x²))^(−β)

W is a sum over a window along one axis or a box of axes. See :func:`local_response_norm`,
:class:`LocalResponseNorm` and the README.
"""

from numba_lrn import conventions, reference
from numba_lrn.config import show_config
from numba_lrn.functional import local_response_norm, local_response_norm_backward
from numba_lrn.operator import LocalResponseNorm
from numba_lrn.warmup import warmup

__version__ = "0.1.0"

__all__ = [
    "LocalResponseNorm",
    "conventions",
    "local_response_norm",
    "local_response_norm_backward",
    "reference",
    "show_config",
    "warmup",
]
