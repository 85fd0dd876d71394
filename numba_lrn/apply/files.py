"""One file in, one file out: what is refused, and a result that appears only when it is complete."""

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from numba_lrn.apply.errors import InputError
from numba_lrn.apply.npy import BLOCK_BYTES, DTYPES, computed_dtype, map_npy, write_npy
from numba_lrn.apply.pictures import PICTURES, read_picture, write_picture
from numba_lrn.operator import Axes, LocalResponseNorm


def apply_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    size: Axes = 5,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    axis: Axes | None = None,
    within_channel: bool = False,
    dtype: str | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> str:
    """Normalise the array or picture in ``source`` and write the result to ``target``.

    ``target`` gets its new content when that is complete, and is left alone when anything goes wrong.

    Parameters
    ----------
    source, target : path
        Both .npy, or both pictures (.png, .jpg, .jpeg).
    size, alpha, beta, k, axis
        As for :func:`numba_lrn.local_response_norm`. Without ``axis``: 1 in a .npy file, the channels (−1) of a
        picture, which has the shape (height, width, channels) and values from 0 to 1.
    within_channel : bool
        Instead of ``axis``: a box over axes 2, 3, … of a .npy file of shape (N, C, H, W, …), 0 and 1 of a picture.
    dtype : {"float16", "float32", "float64"}, optional
        Convert to this first. Without it a .npy file must hold one of these, and a picture is computed in float32.
    block_bytes : int
        About how much of a .npy file is processed at a time.

    Returns
    -------
    str
        One line that says what was written.

    Raises
    ------
    InputError
        Files or parameters that cannot be used, a full disk, too little memory.

    Examples
    --------
    >>> import numpy as np
    >>> folder = getfixture("tmp_path")
    >>> np.save(folder / "x.npy", np.ones((1, 3)))
    >>> _ = apply_file(folder / "x.npy", folder / "y.npy", size=3, alpha=3.0, beta=0.5)
    >>> np.load(folder / "y.npy").round(4)
    array([[0.5774, 0.5   , 0.5774]])
    """
    source, target = Path(source), Path(target)
    _check_dtype_option(dtype)
    try:
        _check_paths(source, target)
        if source.suffix.lower() in PICTURES:
            x, transparency = read_picture(source, dtype or "float32")
            op = _operator(size, alpha, beta, k, axis, within_channel, x.ndim, channels=-1, spatial=(0, 1))
            if transparency is not None and PICTURES[target.suffix.lower()] == "JPEG":
                msg = f"{source} has transparency, which JPEG cannot keep; name the output .png"
                raise InputError(msg)
            with _interruptible() as check_interrupt, _completed(target) as part:
                y = op(x)
                check_interrupt()
                summary = write_picture(y, transparency, part, PICTURES[target.suffix.lower()])
            if abs(alpha) < abs(k) / 100:
                summary += "; alpha is under a hundredth of k and values are 0 to 1, so little changes: try --alpha 30"
        else:
            stored = map_npy(source)
            computed = computed_dtype(source, stored.dtype, dtype)
            spatial = tuple(range(2, stored.ndim))
            op = _operator(size, alpha, beta, k, axis, within_channel, stored.ndim, channels=1, spatial=spatial)
            with _interruptible() as check_interrupt, _completed(target) as part:
                summary = write_npy(op, stored, computed, part, block_bytes, check_interrupt)
    except OSError as error:
        if error.filename == str(source):
            raise InputError(f"cannot read {source}: {error.strerror}") from None
        raise InputError(f"cannot write {target}: {error.strerror or error}") from None
    except MemoryError as error:
        raise InputError(f"not enough memory: {str(error) or 'a part of the input does not fit'}") from None
    return f"{target}: {summary}"


def _check_paths(source: Path, target: Path) -> None:
    known = (".npy", *PICTURES)
    for name, path in (("INPUT", source), ("OUTPUT", target)):
        if path.suffix.lower() not in known:
            msg = f"{name} {path} has the extension {path.suffix!r}; it must be one of {', '.join(known)}"
            raise InputError(msg)
    if (source.suffix.lower() in PICTURES) != (target.suffix.lower() in PICTURES):
        msg = f"INPUT {source} and OUTPUT {target} must both be .npy files or both be pictures"
        raise InputError(msg)
    if not source.exists():
        msg = f"INPUT {source} does not exist"
        raise InputError(msg)
    if not target.parent.is_dir():
        msg = f"the folder of OUTPUT {target} does not exist; make it first"
        raise InputError(msg)
    if target.is_dir():
        msg = f"OUTPUT {target} is a folder; name a file"
        raise InputError(msg)
    for name, path in (("INPUT", source), ("OUTPUT", target)):
        if path.exists() and not (path.is_file() or path.is_dir()):
            msg = f"{name} {path} is a pipe or a device; name a regular file"
            raise InputError(msg)
    if target.exists() and source.samefile(target):
        msg = f"INPUT {source} and OUTPUT {target} are the same file; give another OUTPUT"
        raise InputError(msg)


def _check_dtype_option(dtype: str | None) -> None:
    if dtype is None or dtype in DTYPES:
        return
    msg = f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}"
    if dtype == "bfloat16":
        msg += "; .npy has no bfloat16 type: take float32, and convert after loading"
    raise InputError(msg)


def _operator(
    size: Axes,
    alpha: float,
    beta: float,
    k: float,
    axis: Axes | None,
    within_channel: bool,
    ndim: int,
    *,
    channels: int,
    spatial: tuple[int, ...],
) -> LocalResponseNorm:
    """The operator for an array of ``ndim`` dimensions, or the library's own words on what is wrong with it."""
    if ndim == 0:
        msg = "INPUT has no dimensions; there is no axis to sum along"
        raise InputError(msg)
    if within_channel:
        if not spatial:
            msg = f"--within-channel needs the shape (N, C, H, W, …), got {ndim} dimensions; name the axes with --axis"
            raise InputError(msg)
        axis = spatial
    elif axis is None:
        axis = channels
    try:
        op = LocalResponseNorm(size, alpha, beta, k, axis=axis)
        op.windows(ndim)
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from None
    return op


@contextlib.contextmanager
def _completed(target: Path) -> Iterator[Path]:
    """A file beside ``target`` that takes its name and its mode if all goes well, and is deleted if not.

    A link stays one: what it names is replaced.
    """
    target = target.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        if target.exists():
            shutil.copymode(target, part)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """A function that ends the work if the process was asked to end, by Ctrl-C or a signal; asked twice, it does so.

    While a kernel is compiled LLVM calls back into Python and drops what is raised there, and a Ctrl-C with it.
    """
    noted = 0

    def note(number: int, frame: Any) -> None:
        nonlocal noted
        if noted:
            _end(number)
        noted = number

    def check() -> None:
        if noted:
            _end(noted)

    # A handler of the user's own stays, and so does a signal that is turned off.
    handled = [number for number, usual in ENDINGS.items() if signal.getsignal(number) is usual]
    if threading.current_thread() is not threading.main_thread():
        handled = []
    for number in handled:
        signal.signal(number, note)
    try:
        yield check
    finally:
        for number in handled:
            signal.signal(number, ENDINGS[number])


# The signals that ask a process to end, and what they do before anyone says otherwise.
ENDINGS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
if hasattr(signal, "SIGHUP"):
    ENDINGS[signal.SIGHUP] = signal.SIG_DFL


def _end(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)  # as a shell reports it
