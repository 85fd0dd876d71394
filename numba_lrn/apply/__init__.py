"""Files in, files out: .npy arrays block by block, and pictures."""

from numba_lrn.apply.errors import InputError
from numba_lrn.apply.files import apply_file

__all__ = ["InputError", "apply_file"]
