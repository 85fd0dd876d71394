"""What the caches of compiled kernels share: the stamp of the package's sources, and the switch."""

import functools
import hashlib
import os
import pathlib


@functools.cache
def sources_stamp() -> str:
    """A hash of every file of the package: an edit of any of them makes every compiled kernel another."""
    root = pathlib.Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def cache_enabled() -> bool:
    """NUMBA_LRN_CACHE=0 turns the on-disk caches off."""
    return os.environ.get("NUMBA_LRN_CACHE", "1") != "0"
