"""Files in, files out: .npy arrays block by block, and pictures."""

import contextlib
import errno
import importlib.util
import itertools
import math
import os
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray

from numba_lrn.operator import Axes, LocalResponseNorm

BLOCK_BYTES = 64 * 1024 * 1024  # enough for both cores of a parallel call, little beside any machine's memory
DTYPES = ("float16", "float32", "float64")
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
PERCENTILES = (0.5, 99.5)  # of the result: what a picture shows as black and as white


class InputError(Exception):
    """What was given cannot be used; the text is one line that says why, and how to mend it where that is known."""


class Block(NamedTuple):
    """A part of the result, and what it is computed from; slices along every axis."""

    core: tuple[slice, ...]  # the part of the result
    reach: tuple[slice, ...]  # the core and all that its windows reach
    inside: tuple[slice, ...]  # the core within the reach


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
            x, transparency = _read_picture(source, dtype or "float32")
            op = _operator(size, alpha, beta, k, axis, within_channel, x.ndim, channels=-1, spatial=(0, 1))
            if transparency is not None and PICTURES[target.suffix.lower()] == "JPEG":
                msg = f"{source} has transparency, which JPEG cannot keep; name the output .png"
                raise InputError(msg)
            with _completed(target) as part:
                summary = _write_picture(op(x), transparency, part, PICTURES[target.suffix.lower()])
            if abs(alpha) < abs(k) / 100:
                summary += "; alpha is under a hundredth of k and values are 0 to 1, so little changes: try --alpha 30"
        else:
            stored = _map_npy(source)
            computed = _computed_dtype(source, stored.dtype, dtype)
            spatial = tuple(range(2, stored.ndim))
            op = _operator(size, alpha, beta, k, axis, within_channel, stored.ndim, channels=1, spatial=spatial)
            with _completed(target) as part:
                summary = _write_npy(op, stored, computed, part, block_bytes)
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
    """A file beside ``target`` that takes its name if all goes well, and is deleted if not."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _map_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file, mapped into memory; its dtype may be any but objects."""
    with path.open("rb") as file:
        try:
            read_header = (
                npy_format.read_array_header_1_0
                if npy_format.read_magic(file) == (1, 0)
                else npy_format.read_array_header_2_0
            )
            shape, fortran_order, dtype = read_header(file)
        except (ValueError, SyntaxError, TypeError, tokenize.TokenError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path} is not a .npy file, or a damaged one: {reason}") from None
        offset = file.tell()
        held = file.seek(0, os.SEEK_END) - offset
    if dtype.hasobject:
        msg = f"{path} holds Python objects; save it as an array of numbers, for example with x.astype('float32')"
        raise InputError(msg)
    promised = math.prod(shape) * dtype.itemsize
    if held < promised or min(shape, default=0) < 0:
        msg = f"{path} is truncated: its header promises {promised:,} bytes of {dtype} {shape}, {held:,} are there"
        raise InputError(msg)
    return np.memmap(path, dtype, "r", offset, shape, "F" if fortran_order else "C")


def _computed_dtype(path: Path, stored: np.dtype[Any], wanted: str | None) -> np.dtype[Any]:
    """The dtype to compute in; what is stored may also differ in byte order."""
    if stored.kind == "f" and (stored.name in DTYPES or wanted):
        return np.dtype(wanted or stored.name)
    if stored.kind in "fiub":
        if wanted:
            return np.dtype(wanted)
        msg = f"{path} holds {stored}; supported are {', '.join(DTYPES)}: add --dtype float32 to convert it"
    elif stored.kind == "V" and stored.names is None and stored.itemsize == 2:
        msg = (
            f"{path} holds raw items of 2 bytes, which is how bfloat16 is saved: .npy has no type for it. "
            "Save x.astype('float32') instead"
        )
    else:
        msg = f"{path} holds {stored}, which are not real numbers; supported are {', '.join(DTYPES)}"
    raise InputError(msg)


def blocks(op: LocalResponseNorm, x: NDArray[Any], elements: int) -> list[Block]:
    """Blocks of about this many elements that cover ``x``, each with what its windows reach.

    Axes without a window are divided first, the slowest in memory before the others, so that a block is one piece
    of the file and its results are, to the bit, those of the whole. Windowed axes are divided only if that is not
    enough, and never so finely that more is computed beside a block than in it.

    >>> op = LocalResponseNorm(3, axis=0)
    >>> [(block.core, block.reach) for block in blocks(op, np.zeros(8), 6)]
    [((slice(0, 4, None),), (slice(0, 5, None),)), ((slice(4, 8, None),), (slice(3, 8, None),))]
    """
    windows = op.windows(x.ndim)
    sides = [
        tuple(min(side, max(extent - 1, 0)) for side in windows.get(axis, (0, 0)))
        for axis, extent in enumerate(x.shape)
    ]
    order = sorted(range(x.ndim), key=lambda axis: (axis in windows, -abs(x.strides[axis])))
    steps = list(x.shape)
    for axis in order:
        if math.prod(steps) > elements:
            beside = sum(sides[axis])
            rows = elements // (math.prod(steps) // steps[axis])
            steps[axis] = min(steps[axis], max(rows - beside, beside, 1))
    ranges = [range(0, extent, max(step, 1)) for extent, step in zip(x.shape, steps, strict=True)]
    found = []
    for starts in itertools.product(*ranges):
        core, reach, inside = [], [], []
        for start, step, extent, (before, after) in zip(starts, steps, x.shape, sides, strict=True):
            stop = min(start + step, extent)
            first = max(start - before, 0)
            core.append(slice(start, stop))
            reach.append(slice(first, min(stop + after, extent)))
            inside.append(slice(start - first, stop - first))
        found.append(Block(tuple(core), tuple(reach), tuple(inside)))
    return found


def _write_npy(op: LocalResponseNorm, x: NDArray[Any], dtype: np.dtype[Any], part: Path, block_bytes: int) -> str:
    """Compute block by block into a new .npy file of the memory order of ``x``."""
    fortran_order = x.flags.f_contiguous and not x.flags.c_contiguous
    result = npy_format.open_memmap(part, "w+", dtype, x.shape, fortran_order)
    _reserve(part)
    parts = blocks(op, x, max(1, block_bytes // max(dtype.itemsize, x.dtype.itemsize)))
    with _progress(len(parts)) as advance:
        for core, reach, inside in parts:
            source = _converted(x[reach], dtype)
            if core == reach:
                op(source, out=result[core])
            else:
                result[core] = op(source)[inside]
            advance()
    result.flush()
    return f"{dtype} {x.shape}"


def _converted(x: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
    """``x`` in a dtype and this machine's byte order; what is too large becomes infinite, as asked for."""
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(dtype, copy=False)


def _reserve(path: Path) -> None:
    """Take the disk space of a file now: running out of it in a mapped file would kill the process later."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # not every file system can
                    raise


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], object]]:
    """A function to call after each of ``total`` steps; it moves a bar if there is a terminal, and rich."""
    if total < 2 or not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("normalising", total=total)
        yield lambda: bar.advance(task)


def _pillow() -> Any:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        msg = "pictures need Pillow, which is not installed: pip install 'numba-lrn[bench]'"
        raise InputError(msg) from None
    return PIL


def _read_picture(path: Path, dtype: DTypeLike) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """The picture, upright, as (height, width, 1 or 3) with values 0 to 1, and its transparency (height, width, 1)."""
    PIL = _pillow()
    try:
        with PIL.Image.open(path, formats=sorted(set(PICTURES.values()))) as opened:
            picture = PIL.ImageOps.exif_transpose(opened)
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(f"{path} cannot be read as a picture: {reason}") from None
    if picture.mode.startswith("I"):  # grey with 16 bits
        values = np.asarray(picture)[..., np.newaxis] / 65535
        return values.astype(dtype), None
    transparent = picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info
    colours = "L" if picture.mode in ("1", "L", "LA") else "RGB"
    levels = np.asarray(picture.convert(colours + "A" if transparent else colours))
    levels = levels.reshape(*levels.shape[:2], -1)
    count = len(colours)
    return (levels[..., :count] / 255).astype(dtype), levels[..., count:] if transparent else None


def _write_picture(y: NDArray[Any], transparency: NDArray[np.uint8] | None, part: Path, kind: str) -> str:
    levels, low, high = displayable(y)
    if transparency is not None:
        levels = np.concatenate([levels, transparency], axis=-1)
    picture = _pillow().Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    picture.save(part, kind, **({"quality": 95} if kind == "JPEG" else {}))
    height, width = y.shape[:2]
    return f"{picture.mode} picture of {width} x {height}; {low:.4g} to {high:.4g} are shown as 0 to 255"


def displayable(y: NDArray[Any]) -> tuple[NDArray[np.uint8], float, float]:
    """Levels 0 to 255, and the values that became 0 and 255: percentiles of the finite values; NaN is black.

    >>> displayable(np.array([0.0, 1.0, np.nan, np.inf, 0.5]))[0].tolist()
    [0, 255, 0, 255, 128]
    """
    finite = y[np.isfinite(y)].astype(np.float64)
    low, high = np.percentile(finite, PERCENTILES).tolist() if finite.size else (0.0, 0.0)
    if low == high:  # nothing to stretch: shown as it is
        low, high = 0.0, 1.0
    levels = np.clip((y.astype(np.float64) - low) * (255 / (high - low)), 0, 255)
    return np.nan_to_num(levels).round().astype(np.uint8), low, high
