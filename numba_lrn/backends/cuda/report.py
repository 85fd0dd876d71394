"""What the compiler makes of the kernels: ``python -m numba_lrn.backends.cuda.report [compute capability]``.

Prints a table, in Markdown, of registers, spills and instructions of a set of kernels, without a card or a driver.
The instructions are those of the longest loop of a form that walks down the axis, of the whole kernel of one that holds
it or takes skewed rows, rare branches included, divided by the elements that a thread computes meanwhile; they need the
disassembler (pip install nvidia-cuda-nvdisasm).
"""

import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from numba_lrn.algorithm.geometry import canonical
from numba_lrn.backends.cuda import kernels
from numba_lrn.backends.cuda.blocks import Device
from numba_lrn.backends.cuda.forms import flat
from numba_lrn.backends.cuda.kernels import Variant
from numba_lrn.backends.cuda.plan import make_plan
from numba_lrn.operator import LocalResponseNorm

RECIPES = ("forward", "backward")
DERIVATIVES = ("jvp", "backward_parameters", "backward_all", "double_backward")


class Problem(NamedTuple):
    """A call whose kernels are looked at."""

    name: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    axis: int | tuple[int, ...]
    n: int
    beta: float = 0.75
    k: float = 1.0

    def variants(self, recipe: str, dtype: np.dtype, device: Device) -> tuple[Variant, ...]:
        """The kernels of the call, in order."""
        op = LocalResponseNorm(self.n, beta=self.beta, k=self.k, axis=self.axis)
        dimensions = canonical(self.shape, self.order, op.windows(len(self.shape)))
        plan = make_plan(dimensions, recipe, op, dtype, True, device)
        return tuple(launch.variant for launch in plan.launches)


NCHW, NHWC = (0, 1, 2, 3), (0, 2, 3, 1)
PLANES = (32, 64, 56, 56)
MAIN = (
    Problem("NCHW, n = 5", PLANES, NCHW, 1, 5),
    Problem("NHWC, n = 5", PLANES, NHWC, 1, 5),
    Problem("NCHW, 27×27, n = 5", (32, 256, 27, 27), NCHW, 1, 5),
    Problem("NCHW, n = 63", (32, 256, 56, 56), NCHW, 1, 63),
    Problem("box 5×5", PLANES, NCHW, (2, 3), 5),
)
OTHERS = (
    Problem("NCHW, n = 3", PLANES, NCHW, 1, 3),
    Problem("NCHW, n = 9", PLANES, NCHW, 1, 9),
    Problem("NCHW, n = 16", PLANES, NCHW, 1, 16),
    Problem("NHWC, 63 channels, n = 5", (32, 63, 56, 56), NHWC, 1, 5),
    Problem("NHWC, n = 63", (32, 256, 56, 56), NHWC, 1, 63),
    Problem("NCHW, n = 4095", (8, 4096, 8, 8), NCHW, 1, 4095),
    Problem("NHWC, n = 17", (32, 256, 56, 56), NHWC, 1, 17),
    Problem("NCHW, 55×55, n = 5", (32, 96, 55, 55), NCHW, 1, 5),
    Problem("NCHW, 54×54, n = 5", (32, 96, 54, 54), NCHW, 1, 5),
    Problem("NCHW, 13×13, n = 5", (32, 256, 13, 13), NCHW, 1, 5),
    Problem("box 5×5 of NHWC", PLANES, NHWC, (2, 3), 5),
    Problem("box 3×3 of NHWC", PLANES, NHWC, (2, 3), 3),
    Problem("NCHW, n = 5, β = 0.5", PLANES, NCHW, 1, 5, 0.5),
    Problem("NCHW, n = 5, β = 1", PLANES, NCHW, 1, 5, 1.0),
    Problem("NCHW, n = 5, β = 0.6", PLANES, NCHW, 1, 5, 0.6),
    Problem("NCHW, n = 5, β = 1.7", PLANES, NCHW, 1, 5, 1.7),
)


class Row(NamedTuple):
    """A kernel and its figures."""

    registers: int
    spilled_bytes: int
    instructions: float | None  # an element


def measure(variant: Variant, compute_capability: tuple[int, int]) -> Row:
    """Compile, link and count."""
    linked = kernels.linked(variant, compute_capability)
    listing = disassemble(linked.code)
    count = None if listing is None else instructions(variant, listing)
    return Row(linked.registers, linked.spilled_bytes, count)


def disassemble(code: bytes) -> str | None:
    """The machine code as text; None without the disassembler."""
    found = importlib.util.find_spec("nvidia")
    folders = [] if found is None else list(found.submodule_search_locations or ())
    programs = [program for folder in folders for program in pathlib.Path(folder).glob("*/bin/nvdisasm")]
    if not programs:
        return None
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        return subprocess.run([programs[0], "-c", file.name], capture_output=True, text=True, check=True).stdout


def instructions(variant: Variant, listing: str) -> float:
    """Instructions an element: of the loop over the rows, or of the whole kernel where blocks hold the axis."""
    total, loop = count_instructions(listing)
    if variant.form == "flat":  # its loop takes some of a thread's elements
        return (total - loop) / variant.elements + loop / flat.ELEMENTS
    return (total if variant.holds_axis or variant.form == "skew" else loop) / variant.elements


def count_instructions(listing: str) -> tuple[int, int]:
    """Instructions without padding: of the whole listing, and of its longest innermost loop, if it has one."""
    labels: dict[str, int] = {}
    loops: list[tuple[int, int]] = []
    count = 0
    for line in listing.splitlines():
        label = re.match(r"\s*(\.L_x_\d+):", line)
        if label:
            labels[label[1]] = count
        instruction = re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line)
        if instruction and not instruction[1].startswith("NOP"):
            count += 1
            target = re.search(r"BRA\b.*?`\((\.L_x_\d+)\)", instruction[1])
            if target and labels.get(target[1], count) < count - 1:
                loops.append((labels[target[1]], count))
    inner = [loop for loop in loops if not any(loop[0] <= a and b <= loop[1] for a, b in loops if (a, b) != loop)]
    return count, max((b - a for a, b in inner), default=count)


def rows(problems: tuple[Problem, ...], compute_capability: tuple[int, int]) -> Iterator[tuple[str, ...]]:
    """The cells of the table, each kernel once."""
    seen: set[Variant] = set()
    device = Device()
    for problem in problems:
        for recipe in RECIPES + (DERIVATIVES if problem in MAIN else ()):
            for name in ("float32", "float16"):
                for variant in problem.variants(recipe, np.dtype(name), device):
                    if variant not in seen:
                        seen.add(variant)
                        row = measure(variant, compute_capability)
                        count = "" if row.instructions is None else f"{row.instructions:.1f}"
                        ends = ", ".join(end.replace("_", " ") for phase in variant.phases for _, end in phase.stages)
                        yield (
                            f"{problem.name}, {recipe.replace('_', ' ')}",
                            name,
                            variant.form.replace("_", " ") + (" twice" if variant.twice else ""),
                            ends,
                            f"{variant.columns} × {variant.steps}",
                            str(row.registers),
                            str(row.spilled_bytes),
                            count,
                        )


HEADER = ("call", "dtype", "form", "ends of its stages", "columns × rows", "registers", "spilled bytes", "instructions")


def main(arguments: list[str]) -> None:
    """Print the table."""
    number = int(arguments[0]) if arguments else 90
    print("| " + " | ".join(HEADER) + " |")
    print("|" + "---|" * len(HEADER))
    for cells in rows(MAIN + OTHERS, (number // 10, number % 10)):
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
