"""Pictures as arrays of values 0 to 1, and results as pictures to be looked at."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from numba_lrn.apply.errors import InputError

PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
PERCENTILES = (0.5, 99.5)  # of the result: what is shown as black and as white


def _pillow() -> Any:
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        msg = "pictures need Pillow, which is not installed: pip install 'numba-lrn[bench]'"
        raise InputError(msg) from None
    return PIL


def read_picture(path: Path, dtype: DTypeLike) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
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


def write_picture(y: NDArray[Any], transparency: NDArray[np.uint8] | None, part: Path, kind: str) -> str:
    """Write the result as a picture of the format ``kind``, and say in words what was written."""
    levels, low, high = displayable(y)
    if transparency is not None:
        levels = np.concatenate([levels, transparency], axis=-1)
    picture = _pillow().Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)
    picture.save(part, kind, **({"quality": 95} if kind == "JPEG" else {}))
    height, width = y.shape[:2]
    return f"{picture.mode} picture of {width} x {height}; {low:.4g} to {high:.4g} are shown as 0 to 255"


def displayable(y: NDArray[Any]) -> tuple[NDArray[np.uint8], float, float]:
    """Levels 0 to 255, and the values that became 0 and 255: percentiles of the finite values; NaN is black.

    >>> displayable(np.array([0.0, 1.0, np.nan, np.inf, 0.25]))[0].tolist()
    [0, 255, 0, 255, 64]
    """
    finite = y[np.isfinite(y)].astype(np.float64)
    low, high = np.percentile(finite, PERCENTILES).tolist() if finite.size else (0.0, 0.0)
    if low == high:  # nothing to stretch: shown as it is
        low, high = 0.0, 1.0
    levels = np.clip((y.astype(np.float64) - low) * (255 / (high - low)), 0, 255)
    return np.nan_to_num(levels).round().astype(np.uint8), low, high
