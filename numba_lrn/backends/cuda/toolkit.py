"""The one module that imports numba-cuda, and what is asked of it: compile, link, look at the card.

What is asked of a card at work stands in driver.py, by cuda.core and the driver's bindings; linking takes cuda.core
too.

Compiling and linking need no driver and no card. The kernels' modules take ``cuda``, ``types`` and ``intrinsic``
from here, so that another package with the same language can take numba-cuda's place in this file.
"""

import importlib.metadata
import importlib.util
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

INSTALL = "install one of the extras: pip install 'numba-lrn[cuda13]' (or 'numba-lrn[cuda12]' for a CUDA 12 driver)"
OLDEST = (7, 5)


def _import() -> Any:
    """numba.cuda as numba-cuda provides it."""
    if importlib.util.find_spec("numba_cuda") is None:
        msg = (
            "the CUDA backend needs the package numba-cuda, which is not installed; the CUDA target built into Numba "
            f"itself is deprecated and is not used. To mend it, {INSTALL}"
        )
        raise ImportError(msg)
    try:
        from numba import cuda
    except ImportError as error:
        msg = f"numba-cuda could not be imported ({error}). To mend it, {INSTALL}"
        raise ImportError(msg) from error
    if getattr(cuda, "implementation", "") != "NVIDIA":
        msg = (
            "numba.cuda is the deprecated target built into Numba although numba-cuda is installed: its redirector "
            "(_numba_cuda_redirector.pth) did not run. Start Python without -S, or reinstall numba-cuda"
        )
        raise ImportError(msg)
    return cuda


cuda = _import()
types = cuda.types
# As Numba read NUMBA_ENABLE_CUDASIM when it was first imported; setting it later changes nothing.
SIMULATED = bool(cuda.config.ENABLE_CUDASIM)

if not SIMULATED:  # it has no intrinsics
    from numba.cuda import cgutils as cgutils
    from numba.cuda.extending import intrinsic as intrinsic


class Properties(NamedTuple):
    """A card."""

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int


def properties(ordinal: int) -> Properties:
    """The card of this number.

    Raises
    ------
    RuntimeError
        No driver, no such card, or a card older than the kernels can be compiled for.
    """
    if SIMULATED:
        return Properties("Numba's CUDA simulator", (9, 0), 1)
    count = _device_count()
    if not 0 <= ordinal < count:
        msg = f"there is no CUDA device {ordinal}: the driver shows {count}; see CUDA_VISIBLE_DEVICES"
        raise RuntimeError(msg)
    device = _core().Device(ordinal)
    capability = (int(device.compute_capability.major), int(device.compute_capability.minor))
    check_capability(device.name, capability)
    return Properties(device.name, capability, int(device.properties.multiprocessor_count))


def _device_count() -> int:
    try:
        from cuda.bindings import driver

        (status,) = driver.cuInit(0)
        if status != driver.CUresult.CUDA_SUCCESS:
            raise RuntimeError(status.name)
        _, count = driver.cuDeviceGetCount()
    except Exception as error:
        msg = f"no CUDA driver answers ({error}); check that nvidia-smi lists a card and that its driver is installed"
        raise RuntimeError(msg) from error
    return int(count)


def check_capability(name: str, capability: tuple[int, int]) -> None:
    """Refuse a card that the toolkit cannot compile for."""
    if capability < OLDEST:
        msg = (
            f"{name} has compute capability {capability[0]}.{capability[1]}; the CUDA backend needs "
            f"{OLDEST[0]}.{OLDEST[1]} (Turing) or newer: copy the arrays to the host and use the CPU backend"
        )
        raise RuntimeError(msg)


def _core() -> Any:
    try:
        import cuda.core as core
    except ImportError as error:
        msg = f"the CUDA backend needs the package cuda-core ({error}). To mend it, {INSTALL}"
        raise ImportError(msg) from error
    return core


# Whatever NUMBA_OPT and NUMBA_CUDA_DEBUGINFO say, which the key of the cache does not have.
SETTINGS = {"debug": False, "opt": True}


def device_function(function: Callable) -> Any:
    """``function`` for use in kernels; plain Python in the simulator."""
    return function if SIMULATED else cuda.jit(function, device=True, **SETTINGS)


_lock = threading.Lock()


@contextmanager
def _without_driver(compute_capability: tuple[int, int]) -> Iterator[None]:
    """Let device functions be compiled where there is no driver.

    numba-cuda asks the current card for its compute capability before it compiles one, although the code is made
    for the capability of the kernel that calls it.
    """
    from numba.cuda import dispatcher

    known = dispatcher.get_current_device
    try:
        known()
    except Exception:
        stand_in = SimpleNamespace(compute_capability=compute_capability)
        dispatcher.get_current_device = lambda: stand_in
    try:
        yield
    finally:
        dispatcher.get_current_device = known


def compile_ptx(
    kernel: Callable,
    signature: tuple,
    compute_capability: tuple[int, int],
    launch_bounds: tuple[int, int] | None = None,
) -> str:
    """The PTX of a kernel: a plain function, compiled for arguments of these types.

    ``launch_bounds``: the threads of a block, and the blocks that a multiprocessor shall run side by side.

    Raises
    ------
    ImportError
        numba-cuda asks NumPy for what it does not have: their versions do not fit.
    """
    with _lock, _without_driver(compute_capability):
        try:
            ptx, _ = cuda.compile_ptx(kernel, signature, cc=compute_capability, launch_bounds=launch_bounds, **SETTINGS)
        except AttributeError as error:
            if "module 'numpy' has no attribute" not in str(error):
                raise
            version = importlib.metadata.version("numba-cuda")
            msg = (
                f"numba-cuda {version} does not work with NumPy {np.__version__} ({error}); install an older NumPy "
                "or a newer numba-cuda"
            )
            raise ImportError(msg) from error
    return ptx.rstrip("\0")


class Linked(NamedTuple):
    """Machine code, and what its assembler tells of it."""

    code: bytes
    name: str
    registers: int
    spilled_bytes: int
    stack_bytes: int


def assemble(ptx: str, compute_capability: tuple[int, int]) -> tuple[bytes, str]:
    """(machine code, name of the kernel in it) of PTX that holds one kernel."""
    code, _ = _link(ptx, compute_capability)
    return code, _name_in(ptx)


def link(ptx: str, compute_capability: tuple[int, int]) -> Linked:
    """``assemble``, with what the assembler tells."""
    code, log = _link(ptx, compute_capability, verbose=True, ptxas_options=["-v"])
    return Linked(code, _name_in(ptx), *_figures(log))


def _figures(log: str) -> tuple[int, int, int]:
    """(registers, bytes: spilled, of the stack) of a report, in the words of nvJitLink 13.0 or 13.5."""
    return (
        _number(r"used (\d+) registers", log),
        _number(r"(\d+) bytes spill stores", log, 0) + _number(r"(\d+) bytes spill loads", log, 0),
        _number(r"(\d+) (?:bytes )?stack", log),
    )


def _link(ptx: str, compute_capability: tuple[int, int], **options: Any) -> tuple[bytes, str]:
    core = _core()
    arch = f"sm_{compute_capability[0]}{compute_capability[1]}"
    linker = core.Linker(core.ObjectCode.from_ptx(ptx.encode()), options=core.LinkerOptions(arch=arch, **options))
    return bytes(linker.link("cubin").code), linker.get_info_log()


def _name_in(ptx: str) -> str:
    (name,) = re.findall(r"\.entry (\w+)", ptx)
    return str(name)


def _number(pattern: str, log: str, default: int | None = None) -> int:
    found = re.search(pattern, log, re.IGNORECASE)
    if found is None:
        if default is None:
            msg = f"the assembler's report has no {pattern!r}: {log}"
            raise RuntimeError(msg)
        return default
    return int(found[1])
