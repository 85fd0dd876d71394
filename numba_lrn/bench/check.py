"""Correctness alone: every operation, dtype, layout and kind of window against the reference, and the peers too."""

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from numba_lrn.bench.cases import DIRECTIONS, DTYPES, LAYOUTS, Case
from numba_lrn.bench.peers import Peers, UnableError
from numba_lrn.bench.problem import Problem
from numba_lrn.bench.report import figure
from numba_lrn.bench.run import OURS, Skipped, verdict, write_inputs

# What a peer may differ by before it computes something else rather than rounds otherwise.
ANOTHER_RESULT = 1024.0

Call = Callable[[Problem], Any]


def _forward_in_place(problem: Problem) -> Any:
    copy = problem.inputs[0].copy()
    return problem.op(copy, copy)


def _backward_in_place(problem: Problem) -> Any:
    x, copy = problem.inputs[0], problem.inputs[1].copy()
    return problem.op.backward(copy, x, copy)


def _plainly(direction: str) -> tuple[str, Call]:
    return direction, lambda problem: problem.call(direction)(problem.inputs[0], problem.second(direction), None)


# operation -> (the direction whose reference it must equal, the call)
OPERATIONS: dict[str, tuple[str, Call]] = {
    **{direction: _plainly(direction) for direction in DIRECTIONS},
    "forward, out=x": ("forward", _forward_in_place),
    "backward, out=grad_output": ("backward", _backward_in_place),
}
DERIVATIVES = ("jvp", "parameters", "double_backward")


@dataclass(frozen=True)
class Suite:
    """Problems whose largest error makes one row for each operation, layout, dtype and beta."""

    windows: str
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    within: bool = False
    layouts: tuple[str, ...] = LAYOUTS
    dtypes: tuple[str, ...] = DTYPES
    betas: tuple[float, ...] = (0.75,)
    operations: tuple[str, ...] = ("forward", "backward", "forward, out=x", "backward, out=grad_output")
    # alpha and k: the window sum hardly felt, felt, dominating
    scales: tuple[tuple[float, float], ...] = ((1e-4, 1.0), (1.0, 1.0), (100.0, 0.5), (3.0, 2.0))

    def cases(self, beta: float) -> Iterator[Case]:
        """Every case of one row."""
        for size in self.sizes:
            for alpha, k in self.scales:
                yield Case(f"{self.windows}-{size}", "check", self.shape, size, alpha, beta, k, self.within)


# Sizes: one element, even and odd, the largest that is added directly, wider than the axis, absurdly wide. Shapes:
# few enough elements for the reference, rows that are no multiple of a vector, more than one channel block.
SUITES = (
    Suite("small", (3, 24, 9, 8), (1, 2, 3, 5, 8, 16)),
    Suite("wide", (3, 70, 9, 7), (17, 32, 63, 141, 10**9)),
    Suite("box", (2, 5, 13, 11), (2, 3, 5, 9, 31), within=True),
    Suite("small", (3, 24, 9, 8), (3,), layouts=("nchw",), dtypes=("float32", "float64"),
          betas=(0.25, 0.5, 0.6, 1.0, 1.5, -0.5), operations=("forward", "backward")),
    Suite("small", (3, 24, 9, 8), (1, 2, 5, 8), layouts=("nchw",), operations=DERIVATIVES),
    Suite("small", (3, 24, 9, 8), (2, 5), layouts=("nhwc",), dtypes=("float32",), operations=DERIVATIVES),
    Suite("wide", (3, 70, 9, 7), (17, 32, 10**9), layouts=("nchw",), dtypes=("float32",), operations=DERIVATIVES),
    Suite("box", (2, 5, 13, 11), (2, 9), within=True, layouts=("nchw",), dtypes=("float32",), operations=DERIVATIVES),
)  # fmt: skip
QUICK_SUITES = (
    Suite("small", (3, 24, 9, 8), (1, 2, 3, 5, 8, 16), dtypes=("float32",), operations=("forward", "backward")),
    Suite("small", (3, 24, 9, 8), (2, 5), layouts=("nchw",), dtypes=("float16", "bfloat16", "float64"),
          operations=("forward",)),
    Suite("wide", (3, 70, 9, 7), (17, 63, 10**9), layouts=("nchw",), dtypes=("float32",), operations=("forward",)),
)  # fmt: skip
PEER_SUITES = (
    Suite("small", (3, 24, 9, 8), (2, 3, 5, 8), dtypes=("float32", "float64"), operations=("forward", "backward"),
          betas=(0.75, 0.6), scales=((1.0, 1.0), (3.0, 2.0))),
    Suite("box", (2, 5, 13, 11), (3, 5), within=True, dtypes=("float32",), operations=("forward", "backward"),
          scales=((1.0, 1.0), (3.0, 2.0))),
)  # fmt: skip


@dataclass
class Line:
    """The largest error of one row, as near to its bound as any."""

    who: str
    operation: str
    windows: str
    layout: str
    dtype: str
    beta: float
    error: float = 0.0
    bound: float = math.inf
    problems: int = 0

    @property
    def verdict(self) -> str:
        """In words: ok or WRONG, for a peer agrees or DIFFERS."""
        if self.who == OURS:
            return verdict(self.error, self.bound)
        return "agrees" if self.error <= self.bound else "DIFFERS"

    @property
    def wrong(self) -> bool:
        """Whether the row makes the check fail."""
        return self.error > self.bound

    def cells(self) -> list[str]:
        """The cells of the printed row."""
        return [
            self.who,
            self.operation,
            self.windows,
            self.layout,
            self.dtype,
            f"{self.beta:g}",
            str(self.problems),
            figure(self.error),
            f"{self.bound:.2f}",
            self.verdict,
        ]


COLUMNS = ["who", "operation", "windows", "layout", "dtype", "beta", "problems", "error (ulp)", "bound", "verdict"]


@dataclass
class Checked:
    """All lines, and who could not be checked."""

    lines: list[Line] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def check(suites: tuple[Suite, ...], peers: Peers, progress: Callable[[str, int, int], None], found: Checked) -> None:
    """Check the library, then the peers; ``found`` grows while it goes."""
    ours = list(_rows(suites, (OURS,)))
    others = list(_rows(PEER_SUITES, peers.names))
    steps = len(ours) + len(others)
    for done, (line, suite) in enumerate([*ours, *others]):
        progress(
            f"{line.who} {line.operation} {line.windows} {line.layout} {line.dtype} beta {line.beta:g}", done, steps
        )
        try:
            for case in suite.cases(line.beta):
                problem = Problem(case, line.layout, line.dtype)
                if line.who == OURS:
                    _check_ours(line, problem)
                else:
                    _check_peer(line, problem, peers, found.skipped)
        except ImportError as error:
            found.skipped.append(Skipped(line.who, f"{line.operation} {line.dtype}", str(error)))
        if line.problems:
            found.lines.append(line)
    progress("done", steps, steps)


def _rows(suites: tuple[Suite, ...], who: tuple[str, ...]) -> Iterator[tuple[Line, Suite]]:
    for name in who:
        for suite in suites:
            for beta in suite.betas:
                for dtype in suite.dtypes:
                    for layout in suite.layouts:
                        for operation in suite.operations:
                            yield Line(name, operation, suite.windows, layout, dtype, beta), suite


def _check_ours(line: Line, problem: Problem) -> None:
    direction, call = OPERATIONS[line.operation]
    _note(line, problem.error(direction, call(problem)), problem.bound(direction))


def _check_peer(line: Line, problem: Problem, peers: Peers, skipped: list[Skipped]) -> None:
    """A peer that dies is started again for the next problem."""
    direction, _ = OPERATIONS[line.operation]
    label = f"{line.operation} size {problem.case.size} {line.windows} {line.layout} {line.dtype}"
    try:
        peer = peers.get(line.who)
        with tempfile.TemporaryDirectory() as folder:
            peer.make(problem, direction, write_inputs(problem, folder), 1)
            result = peer.result(problem)
    except UnableError as reason:
        if str(reason).startswith("its process ended"):
            peers.drop(line.who)
        skipped.append(Skipped(line.who, label, str(reason)))
        return
    _note(line, problem.error(direction, result, repeats=False), ANOTHER_RESULT)


def _note(line: Line, error: float, bound: float) -> None:
    line.problems += 1
    line.error, line.bound = max(line.error, error), bound
