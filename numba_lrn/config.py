"""What a bug report needs: versions, threads, SIMD, cache, GPU."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

# Distributions that change what the library can do, or that it can be compared with.
OPTIONAL = (
    "rich",
    "matplotlib",
    "Pillow",
    "ml_dtypes",
    "tbb",
    "numba-cuda",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorflow",
    "tensorflow-cpu",
    "paddlepaddle",
)


def config() -> dict[str, dict[str, Any]]:
    """Versions and settings that decide what runs in this process, in sections.

    Asking for the threading layer starts Numba's threads, and for the SIMD width compiles a loop of one line; both
    take less than a second.

    Returns
    -------
    dict
        ``{section: {name: value}}`` with the sections versions, optional packages, machine, threads, cache, gpu and
        environment; values are str, int, bool or None.

    Examples
    --------
    >>> sorted(config())
    ['cache', 'environment', 'gpu', 'machine', 'optional packages', 'threads', 'versions']
    """
    return {
        "versions": _versions(),
        "optional packages": {name: version_of(name) for name in OPTIONAL},
        "machine": _machine(),
        "threads": _threads(),
        "cache": _cache(),
        "gpu": _gpu(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith("NUMBA_")},
    }


def show_config() -> None:
    """Print :func:`config`: what a bug report needs.

    Examples
    --------
    >>> show_config()  # doctest: +ELLIPSIS
    versions
      numba_lrn ...
    """
    for section, entries in config().items():
        print(section)
        present = {name: value for name, value in entries.items() if value is not None}
        width = max((len(name) for name in entries), default=0)
        for name, value in present.items():
            text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            print(f"  {name:{width}}  {text}")
        if section == "optional packages" and len(present) < len(entries):
            print(f"  not installed: {', '.join(name for name in entries if name not in present)}")
        elif not present:
            print("  nothing set")


def version_of(distribution: str) -> str | None:
    """The version of an installed distribution, found without importing it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, Any]:
    import llvmlite
    import numba
    import numpy as np

    from numba_lrn import __version__

    return {
        "numba_lrn": __version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "numpy": np.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
    }


def _machine() -> dict[str, Any]:
    import llvmlite.binding
    import numba

    return {
        "platform": platform.platform(),
        "cpu": cpu_name(),
        "cpu for LLVM": numba.config.CPU_NAME or llvmlite.binding.get_host_cpu_name(),
        "SIMD bits in use": _simd_bits(),
    }


def cpu_name() -> str:
    """The name that the processor gives itself."""
    try:
        named = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        named = None
    return named[1] if named else platform.processor() or platform.machine()


def _simd_bits() -> int | None:
    """How wide the registers are that compiled loops use, which the processor's name does not tell.

    Processors that have 512 bits may be given 256, so a loop of the kernels' own parts is compiled and looked at.
    """
    import numba

    from numba_lrn.backends.cpu.compiler import OPTIONS
    from numba_lrn.backends.cpu.linking import EntryCompiler
    from numba_lrn.backends.cpu.primitives import load, store

    def square(x: Any) -> None:
        for i in range(x.size):
            value = load(x, i)
            store(x, i, value * value)

    if numba.config.DISABLE_JIT:
        return None
    dispatcher = numba.njit("void(float32[::1])", pipeline_class=EntryCompiler, **OPTIONS)(square)
    assembly = "\n".join(dispatcher.inspect_asm().values())
    for bits, register in ((512, r"%zmm\d"), (256, r"%ymm\d"), (128, r"%xmm\d|\bv\d+\.4s\b")):
        if re.search(register, assembly):
            return bits
    return None


def _threads() -> dict[str, Any]:
    import numba

    from numba_lrn.backends.cpu.threads import available_workers, why_serial

    try:
        reason = why_serial()
    except ValueError as error:  # the layer that NUMBA_THREADING_LAYER asks for cannot be loaded
        return {"problem": " ".join(str(error).split()), "cpus": os.cpu_count()}
    try:
        layer = numba.threading_layer()
    except ValueError:  # the reason not to run in parallel is known without starting any threads
        layer = "not started"
    return {
        "threads in use": available_workers(),
        "serial because": reason,
        "threading layer": layer,
        "numba threads": f"{numba.get_num_threads()} of {numba.config.NUMBA_NUM_THREADS}",
        "cpus": os.cpu_count(),
    }


def _cache() -> dict[str, Any]:
    import numba

    from numba_lrn.backends.cpu import kernels
    from numba_lrn.backends.cpu.compiler import cache_enabled

    found: dict[str, Any] = {"enabled": cache_enabled(), "writable": True}
    if numba.config.DISABLE_JIT:
        return found | {"writable": False, "problem": "NUMBA_DISABLE_JIT turns the compiler off", "folder": None}
    try:
        # Numba's cache keeps the kernels where it would keep any function of their file.
        folder = Path(numba.njit(kernels.entry_function, cache=True).stats.cache_path)
    except RuntimeError as error:
        return found | {"writable": False, "problem": str(error), "folder": None}
    entries = [path.stat().st_size for pattern in ("*.nbi", "*.nbc") for path in folder.glob(pattern)]
    return found | {"folder": str(folder), "files": len(entries), "size": f"{sum(entries) / 1e6:.1f} MB"}


def _gpu() -> dict[str, Any]:
    """The GPU, or why there is none; nothing of CUDA is imported where its package is not installed."""
    if version_of("numba-cuda") is None:
        return {"none because": "numba-cuda is not installed: pip install 'numba-lrn[cuda12]' or 'numba-lrn[cuda13]'"}
    try:
        from numba_lrn.backends.cuda import cache
        from numba_lrn.backends.cuda.arrays import driver

        ordinal = driver.current_device() or 0
        found = driver.device(ordinal)
    except Exception as error:  # no driver, no device, a toolkit that does not fit: each has its own class
        return {"none because": " ".join(f"{type(error).__name__}: {error}".split())}
    major, minor = found.compute_capability
    return {
        "name": found.name,
        "device": ordinal,
        "compute capability": f"{major}.{minor}",
        "multiprocessors": found.multiprocessors,
        "CUDA of the driver": driver.version(),
        "compilers": ", ".join(" ".join(item) for item in cache.compiler_versions()),
        "kernel cache": str(cache.folder()),
    }
