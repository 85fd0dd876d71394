"""PyTorch: a drop-in for its Local Response Normalization, with every derivative.

Examples
--------
>>> import torch
>>> from numba_lrn.torch import LocalResponseNorm, replace_local_response_norm
>>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.LocalResponseNorm(5))
>>> replace_local_response_norm(model)
1
>>> model[1]
LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)
"""

try:
    import torch as _torch  # noqa: F401
except ModuleNotFoundError as missing:
    msg = "numba_lrn.torch needs PyTorch: pip install 'numba-lrn[torch]'"
    raise ModuleNotFoundError(msg, name=missing.name) from missing

from numba_lrn.torch.functional import local_response_norm
from numba_lrn.torch.module import LocalResponseNorm
from numba_lrn.torch.replace import Replaced, replace_local_response_norm, restore_local_response_norm

__all__ = [
    "LocalResponseNorm",
    "Replaced",
    "local_response_norm",
    "replace_local_response_norm",
    "restore_local_response_norm",
]
