"""Compiling for the CPU: options, the on-disk cache, and what keeps it honest."""

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numba

from numba_lrn.backends.cpu.linking import ApartLoopCompiler, EntryCompiler, LoopCompiler, PartCompiler
from numba_lrn.backends.sources import cache_enabled as cache_enabled
from numba_lrn.backends.sources import sources_stamp as sources_stamp

# error_model="numpy": the default keeps a ZeroDivisionError branch in every division, which stops vectorisation.
# No fastmath: it would assume NaN and Inf away.
OPTIONS = {"error_model": "numpy", "nogil": True}


def compile_part(function: Callable) -> Callable:
    """A function to be called by compiled ones only. All but the loops become part of their callers."""
    loop, apart = "is_loop" in function.__dict__, "is_apart" in function.__dict__
    return numba.njit(
        function,
        pipeline_class=ApartLoopCompiler if apart else LoopCompiler if loop else PartCompiler,
        forceinline=not loop,
        no_cpython_wrapper=True,
        no_cfunc_wrapper=True,
        **OPTIONS,
    )


def compile_entry(function: Callable, arguments: tuple, parallel: bool = False) -> Any:
    """The dispatcher of an entry point, compiled for the types of ``arguments`` and no others.

    It comes from the disk cache where that works. An unwritable folder, a full disk, a damaged or truncated entry
    cost a compilation and one warning, never the call.
    """
    if numba.config.DISABLE_JIT:
        msg = (
            "numba_lrn computes by compiled code alone, which NUMBA_DISABLE_JIT=1 turns off: unset it, or call "
            "numba_lrn.reference, which has the same in NumPy"
        )
        raise RuntimeError(msg)
    signature = tuple(numba.typeof(argument) for argument in arguments)
    if cache_enabled():
        try:
            return _compile(function, signature, parallel, cache=True)
        except Exception as error:  # unpickling a damaged entry can raise anything
            _warn(error)
    return _compile(function, signature, parallel, cache=False)


def _compile(function: Callable, signature: tuple, parallel: bool, cache: bool) -> Any:
    compiler = {} if parallel else {"pipeline_class": EntryCompiler}
    dispatcher = numba.njit(function, parallel=parallel, cache=cache, **compiler, **OPTIONS)
    with _without_collection():
        dispatcher.compile(signature)
    dispatcher.disable_compile()
    return dispatcher


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """No search for cyclic garbage meanwhile: compiling makes millions of objects that live on, and it would walk
    all of the process again and again. Backward, n = 63: 9.1 s with it and 8.4 without; where PyTorch is loaded 9.4
    and 8.0.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def native_address(dispatcher: Any) -> int:
    """Where the machine code of a dispatcher's only signature begins."""
    (compiled,) = dispatcher.overloads.values()
    return compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)


_warned = False


def _warn(error: Exception) -> None:
    """Once a process."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"numba_lrn could not use its on-disk cache ({type(error).__name__}: {error}) and compiles in memory; set "
            "NUMBA_CACHE_DIR to a writable folder, to another one if an entry is damaged, or NUMBA_LRN_CACHE=0 to "
            "compile in memory without this warning",
            RuntimeWarning,
            stacklevel=2,
        )
