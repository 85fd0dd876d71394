"""Compiled kernels on disk. Numba's own cache never hits for a kernel whose closure holds device functions.

An entry is a file of the machine code behind its digest, named by a hash of all that the code depends on: the
package's sources, the kernel, the compute capability and the versions of the compilers. What is stale is never
asked for; what is damaged or truncated does not match its digest, and is compiled and written anew. A file appears
under its name only when it is complete, so processes may read and write at once.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Hashable

from numba_lrn.backends.sources import cache_enabled, sources_stamp

Code = tuple[bytes, str]  # machine code, and the name of the kernel in it

MAGIC = b"numba_lrn cubin 1\n"
DIGEST = hashlib.sha256().digest_size

# Distributions that take part in compiling a kernel, under the names they have for one toolkit or another.
COMPILERS = (
    "numba",
    "numba-cuda",
    "llvmlite",
    "cuda-core",
    "nvidia-nvvm",
    "nvidia-nvjitlink",
    "nvidia-cuda-nvcc-cu12",
    "nvidia-nvjitlink-cu12",
)


def machine_code(kernel: Hashable, compute_capability: tuple[int, int], compile_kernel: Callable[[], Code]) -> Code:
    """The machine code of ``kernel``, from the disk or by ``compile_kernel()``.

    ``kernel`` is anything whose repr tells it from every other kernel of the package.
    """
    where = folder() if cache_enabled() else None
    if where is None:
        return compile_kernel()
    path = where / f"{key(kernel, compute_capability)}.cubin"
    found = _read(path)
    if found is None:
        found = compile_kernel()
        _write(path, found)
    return found


def folder() -> pathlib.Path | None:
    """Where entries lie: in NUMBA_CACHE_DIR if that is set, else where the user's caches are; None without a home."""
    chosen = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    try:
        return (pathlib.Path(chosen) if chosen else pathlib.Path.home() / ".cache") / "numba_lrn_cuda"
    except RuntimeError:
        return None


def key(kernel: Hashable, compute_capability: tuple[int, int]) -> str:
    """The name of an entry."""
    parts = (sources_stamp(), compiler_versions(), repr(kernel), compute_capability)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@functools.cache
def compiler_versions() -> tuple[tuple[str, str], ...]:
    """What compiles, as far as it is installed as packages."""
    versions = []
    for name in COMPILERS:
        try:
            versions.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(versions)


def _read(path: pathlib.Path) -> Code | None:
    """The entry, or None where there is none that is whole."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(MAGIC) + DIGEST
    payload = data[start:]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(payload).digest() != data[len(MAGIC) : start]:
        return None
    name, _, code = payload.partition(b"\n")
    return code, name.decode()


def _write(path: pathlib.Path, entry: Code) -> None:
    """Put an entry in place; what prevents it costs the next process a compilation, never this call."""
    code, name = entry
    payload = name.encode() + b"\n" + code
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            temporary = pathlib.Path(file.name)
            file.write(MAGIC + hashlib.sha256(payload).digest() + payload)
        temporary.chmod(0o644)  # others may share the folder, such as the users of an image
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            if temporary is not None:
                temporary.unlink()
        _warn(error)


_warned = False


def _warn(error: OSError) -> None:
    """Once a process."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"numba_lrn could not keep a compiled CUDA kernel on disk ({type(error).__name__}: {error}); the next "
            "process compiles it again. Set NUMBA_CACHE_DIR to a writable folder, or NUMBA_LRN_CACHE=0",
            RuntimeWarning,
            stacklevel=2,
        )
