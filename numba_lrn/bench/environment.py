"""What a result must be read with: versions, machine, threads, date."""

import datetime as dt
import os
import pathlib
import platform
from typing import Any

import numba

import numba_lrn
from numba_lrn.bench.devices import Cpu, Cuda
from numba_lrn.config import cpu_name, version_of

PACKAGES = ("numpy", "numba", "llvmlite", "ml_dtypes", "tbb", "numba-cuda", "cupy-cuda12x", "cupy-cuda13x")


def environment(device: Cpu | Cuda, threads: int) -> dict[str, Any]:
    """The environment of a run, as JSON can hold it."""
    return {
        "numba_lrn": numba_lrn.__version__,
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := version_of(name))},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "threads": threads,
        "threading_layer": threading_layer(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "device": device.name,
        "measured_on": device.description(),
        "last_level_cache": device.cache_bytes(),
        "free_memory": device.free_bytes(),
        "date": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("NUMBA_", "OMP_", "MKL_")) and not name.endswith("_DIR")  # where a folder lies
        },
    }


def threading_layer() -> str:
    """The threading layer that Numba has chosen, once its pool runs."""
    numba.get_num_threads()
    try:
        return str(numba.threading_layer())
    except ValueError:
        return "none yet"


def _read(path: str) -> str | None:
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return None
