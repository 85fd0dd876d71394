"""The cases, as data: layers of real networks with their published parameters, and sweeps around them.

Shapes are written (N, C, *spatial), whatever the layout they are run in. alpha is divided by the number of elements
of the window, as in PyTorch and Caffe. Where no network says otherwise it is 1: with 1e-4 the window sum hardly
matters, and a column of errors would prove nothing.
"""

import difflib
import math
import re
from dataclasses import dataclass, replace
from typing import Any

LAYOUTS = ("nchw", "nhwc")
DTYPES = ("float16", "bfloat16", "float32", "float64")
# parameters: dx with the gradients of scale, β and k
DIRECTIONS = ("forward", "backward", "jvp", "parameters", "double_backward")
USUAL = ("forward", "backward")


class BadArgumentError(ValueError):
    """A wrong argument of the command line: one line, and exit status 2."""


@dataclass(frozen=True)
class Case:
    """One normalization of one shape; layouts and dtypes are those it is run in unless others are asked for."""

    name: str
    group: str
    shape: tuple[int, ...]
    size: int
    alpha: float = 1.0
    beta: float = 0.75
    k: float = 1.0
    within: bool = False
    layouts: tuple[str, ...] = ("nchw",)
    dtypes: tuple[str, ...] = ("float32",)

    def axis(self, layout: str) -> int | tuple[int, ...]:
        """The windowed axis, or axes, of an array in ``layout``.

        >>> select("alexnet-norm1")[0].axis("nhwc")
        3
        """
        ndim = len(self.shape)
        first = 2 if layout == "nchw" else 1
        if self.within:
            return tuple(range(first, first + ndim - 2))
        return 1 if layout == "nchw" else ndim - 1

    def array_shape(self, layout: str) -> tuple[int, ...]:
        """The shape of an array in ``layout``.

        >>> select("alexnet-norm1")[0].array_shape("nhwc")
        (64, 55, 55, 96)
        """
        batch, channels, *spatial = self.shape
        return self.shape if layout == "nchw" else (batch, *spatial, channels)

    def describe(self) -> str:
        """The case in one line."""
        kind = "within channels" if self.within else "across channels"
        shape = "×".join(map(str, self.shape))
        return f"{shape}  size {self.size}, alpha {self.alpha:g}, beta {self.beta:g}, k {self.k:g}, {kind}"


WINDOWS = (1, 3, 5, 9, 17, 33, 63, 127, 255)

# Sources: AlexNet: Krizhevsky et al. 2012, section 3.3, where alpha = 1e-4 is printed undivided. CaffeNet and
# GoogLeNet: the deploy files of BVLC Caffe; CIFAR-10: its "full" network, trained on 100 images at a time. ZFNet: the
# deploy file of py-faster-rcnn (the paper prints no parameters). VGG-M: Chatfield et al. 2014, with the parameters of
# its published models.
CASES = (
    Case("alexnet-norm1", "networks", (64, 96, 55, 55), 5, 5e-4, 0.75, 2.0, layouts=LAYOUTS),
    Case("alexnet-norm2", "networks", (64, 256, 27, 27), 5, 5e-4, 0.75, 2.0, layouts=LAYOUTS),
    Case("caffenet-norm1", "networks", (64, 96, 27, 27), 5, 1e-4, 0.75, 1.0, layouts=LAYOUTS),
    Case("caffenet-norm2", "networks", (64, 256, 13, 13), 5, 1e-4, 0.75, 1.0, layouts=LAYOUTS),
    Case("zfnet-norm1", "networks", (16, 96, 112, 112), 3, 5e-5, 0.75, 1.0, within=True, layouts=LAYOUTS),
    Case("zfnet-norm2", "networks", (64, 256, 29, 29), 3, 5e-5, 0.75, 1.0, within=True, layouts=LAYOUTS),
    Case("cifar10-norm1", "networks", (100, 32, 16, 16), 3, 5e-5, 0.75, 1.0, within=True),
    Case("cifar10-norm2", "networks", (100, 32, 8, 8), 3, 5e-5, 0.75, 1.0, within=True),
    Case("googlenet-norm1", "networks", (64, 64, 56, 56), 5, 1e-4, 0.75, 1.0, layouts=LAYOUTS),
    Case("googlenet-norm2", "networks", (32, 192, 56, 56), 5, 1e-4, 0.75, 1.0, layouts=LAYOUTS),
    Case("vgg-m-norm1", "networks", (32, 96, 109, 109), 5, 5e-4, 0.75, 2.0, layouts=LAYOUTS),
    Case("vgg-m-norm2", "networks", (64, 256, 26, 26), 5, 5e-4, 0.75, 2.0, layouts=LAYOUTS),
    *(Case(f"window-{n}", "window", (64, 256, 27, 27), n, layouts=LAYOUTS) for n in WINDOWS),
    *(Case(f"beta-{beta:g}", "beta", (64, 96, 55, 55), 5, beta=beta) for beta in (0.25, 0.5, 0.6, 0.75, 1.0, 1.5)),
    *(Case(f"batch-{n}", "batch", (n, 96, 55, 55), 5) for n in (1, 2, 4, 8, 16, 32, 64, 128)),
    *(Case(f"channels-{n}", "channels", (16, n, 56, 56), 5, layouts=LAYOUTS) for n in (16, 32, 64, 128, 256, 512)),
    Case("within-3", "within", (64, 96, 55, 55), 3, within=True, layouts=LAYOUTS),
    Case("within-5", "within", (64, 96, 55, 55), 5, within=True, layouts=LAYOUTS),
    Case("within-31", "within", (64, 96, 55, 55), 31, within=True, layouts=LAYOUTS),
    Case("signal-5", "long", (4, 2_000_000, 1), 5),
    Case("signal-63", "long", (4, 2_000_000, 1), 63),
    Case("image-5", "long", (1, 1, 2048, 5000), 5, within=True),
    Case("image-31", "long", (1, 1, 2048, 5000), 31, within=True),
    Case("small-tiny", "small", (1, 64, 8, 8), 5, layouts=LAYOUTS),
    Case("small-image", "small", (1, 96, 13, 13), 5, layouts=LAYOUTS),
    Case("small-row", "small", (1, 4096, 1, 1), 5),
    Case("dtype-norm1", "dtypes", (64, 96, 55, 55), 5, layouts=LAYOUTS, dtypes=DTYPES),
    Case("dtype-beta-0.6", "dtypes", (64, 96, 55, 55), 5, beta=0.6, dtypes=DTYPES),
)

# What --quick runs: layers of the two networks that readers know, both layouts in one of them.
QUICK = {
    "alexnet-norm1": ("nchw", "nhwc"),
    "alexnet-norm2": ("nchw",),
    "googlenet-norm1": ("nchw",),
    "googlenet-norm2": ("nchw", "nhwc"),
}


def quick() -> tuple[Case, ...]:
    """The cases of --quick."""
    return tuple(replace(case, layouts=QUICK[case.name]) for case in CASES if case.name in QUICK)


def select(pattern: str, cases: tuple[Case, ...] = CASES) -> tuple[Case, ...]:
    """The cases whose name or group matches the regular expression ``pattern``.

    Raises
    ------
    BadArgumentError
        For a pattern that cannot be compiled or matches nothing, with the nearest names.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        msg = f"--match {pattern!r} is not a regular expression: {error}"
        raise BadArgumentError(msg) from None
    found = tuple(case for case in cases if expression.search(case.name) or expression.search(case.group))
    if not found:
        names = [case.name for case in cases] + list(dict.fromkeys(case.group for case in cases))
        msg = f"--match {pattern!r} matches no case{nearest(pattern, names)}; --list prints them all"
        raise BadArgumentError(msg)
    return found


def nearest(word: str, choices: Any) -> str:
    """``'; nearest: a, b'``, or all of a few choices when none is near."""
    choices = list(choices)
    near = difflib.get_close_matches(word, choices, n=4, cutoff=0.5)
    if near:
        return f"; nearest: {', '.join(near)}"
    return f"; allowed: {', '.join(choices)}" if len(choices) <= 12 else ""


def parse_names(text: str, choices: Any, option: str) -> tuple[str, ...]:
    """A comma-separated list of names, each one of ``choices``."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        msg = f"{option} is empty; allowed: {', '.join(choices)}"
        raise BadArgumentError(msg)
    for name in names:
        if name not in choices:
            msg = f"{option}: unknown {name!r}{nearest(name, choices)}"
            raise BadArgumentError(msg)
    return names


def parse_shape(text: str) -> tuple[int, ...]:
    """The shape (N, C, *spatial) of ``--shape N,C,H,W``."""
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        msg = f"--shape {text!r} is not a list of integers; write for example --shape 64,96,55,55"
        raise BadArgumentError(msg) from None
    if not 2 <= len(shape) <= 6 or min(shape) < 1:
        msg = f"--shape {text!r}: two to six extents of at least 1, as N,C or N,C,H,W"
        raise BadArgumentError(msg)
    if math.prod(shape) > 2**40:
        msg = f"--shape {text!r} has {math.prod(shape):,} elements; at most 2**40 are allowed"
        raise BadArgumentError(msg)
    return shape
