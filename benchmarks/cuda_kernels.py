"""How near the kernels of a card come to its copy, launch after launch.

    python -m benchmarks.cuda_kernels run kernels.json      needs a card and CuPy; half a minute
    python -m benchmarks.cuda_kernels table kernels.json    a table of a result, in Markdown

Calls follow each other without a pause, on buffers that rotate and are several second-level caches together; timed by
events, eight calls at a time, the median of seven such samples. The roof is the driver's copy of one of the arrays,
timed likewise, times the arrays that the direction moves. ``numba-lrn bench --backend cuda`` times calls one by one,
beside other libraries, and checks the results; here every microsecond of the host is hidden, and a kernel shows what
it can do.
"""

import json
import pathlib
import sys
from typing import Any, NamedTuple

import numpy as np

from numba_lrn import LocalResponseNorm
from numba_lrn.bench.devices import DEVICES
from numba_lrn.bench.environment import environment

MOVES = {"forward": 2, "backward": 3, "jvp": 3, "backward_all": 3, "double_backward": 5}
ROTATED = 256 * 2**20  # bytes of each kind of array at least
SAMPLES, CALLS = 7, 8


class Problem(NamedTuple):
    """A call; shapes are (N, C, H, W) whatever the layout."""

    shape: tuple[int, int, int, int]
    layout: str
    n: int
    dtype: str = "float32"
    beta: float = 0.75
    within: bool = False

    @property
    def operator(self) -> LocalResponseNorm:
        """For arrays in the layout."""
        channels, *plane = (1, 2, 3) if self.layout == "nchw" else (3, 1, 2)
        return LocalResponseNorm(self.n, 1.0, self.beta, axis=tuple(plane) if self.within else channels)

    def arrays(self, cupy: Any) -> list[Any]:
        """x, g, v and two results: normal numbers."""
        n, c, h, w = self.shape
        shape = self.shape if self.layout == "nchw" else (n, h, w, c)
        numbers = (cupy.random.standard_normal(shape, dtype=np.float32) for _ in range(5))
        if self.dtype != "bfloat16":
            return [array.astype(self.dtype) for array in numbers]
        import ml_dtypes

        return [(array.view(np.uint32) >> 16).astype(np.uint16).view(ml_dtypes.bfloat16) for array in numbers]


MAIN, WIDE = (128, 96, 56, 56), (64, 256, 56, 56)
ODD = ((128, 96, 55, 55), (128, 256, 27, 27), (512, 256, 13, 13), (512, 512, 14, 14), (1024, 512, 7, 7))
HALF = (128, 96, 54, 54)  # rows that begin with a part of a sector of memory
PROBLEMS = tuple(
    problem
    for layout in ("nchw", "nhwc")
    for problem in (
        *(Problem(MAIN, layout, 5, dtype) for dtype in ("float32", "float16", "bfloat16", "float64")),
        *(Problem(MAIN, layout, 5, dtype, beta=0.6) for dtype in ("float32", "float16", "float64")),
        *(Problem(WIDE, layout, n) for n in (3, 9, 16, 17, 31, 63, 127, 255)),
        *(Problem(WIDE, layout, n, "float16") for n in (63, 255)),
        Problem((16, 1024, 56, 56), layout, 1023),
        *(Problem(shape, layout, 5) for shape in (*ODD, HALF)),
        Problem(ODD[1], layout, 63),
        *(Problem(shape, layout, 5, beta=0.6) for shape in ODD[:2]),
        *(Problem(shape, layout, 5, "float16") for shape in (*ODD[:3], HALF)),
        *(Problem(MAIN, layout, n, within=True) for n in (3, 5, 31)),
        *(Problem(shape, layout, 5, within=True) for shape in ODD[:2]),
    )
)
DERIVATIVES = tuple(Problem(MAIN, layout, 5) for layout in ("nchw", "nhwc"))


def calls(op: LocalResponseNorm, direction: str, arrays: list[Any]) -> Any:
    """The call of a direction on one set of buffers."""
    x, g, v, out, _ = arrays
    return {
        "forward": lambda: op(x, out),
        "backward": lambda: op.backward(g, x, out),
        "jvp": lambda: op.jvp(x, v, out),
        "backward_all": lambda: op.backward_all(g, x),
        "double_backward": lambda: op.double_backward(g, x, v),
    }[direction]


def timed(cupy: Any, runs: list[Any]) -> float:
    """Seconds of a run: the runs in turn, launch after launch."""
    start, end = cupy.cuda.Event(), cupy.cuda.Event()
    for run in runs:
        run()
    samples = []
    for _ in range(SAMPLES):
        start.record()
        for index in range(CALLS):
            runs[index % len(runs)]()
        end.record()
        end.synchronize()
        samples.append(cupy.cuda.get_elapsed_time(start, end) / CALLS / 1000)
    return float(np.median(samples))


def measure() -> dict[str, Any]:
    """All problems on the current device."""
    import cupy

    from numba_lrn.backends.cuda import launch

    rows = []
    for problem in PROBLEMS:
        sets = [problem.arrays(cupy)]
        sets += [problem.arrays(cupy) for _ in range(max(1, -(-ROTATED // sets[0][0].nbytes) - 1))]
        roof = timed(cupy, [copying(arrays) for arrays in sets])
        for direction in MOVES if problem in DERIVATIVES else ("forward", "backward"):
            seconds = timed(cupy, [calls(problem.operator, direction, arrays) for arrays in sets])
            plan = launch.plan_of(problem.operator, direction, sets[0][0])
            rows.append(
                {
                    **problem._asdict(),
                    "direction": direction,
                    "microseconds": seconds * 1e6,
                    "percent_of_copy": 100 * roof * MOVES[direction] / 2 / seconds,
                    "forms": [item.variant.form for item in plan.launches] if plan else [],
                }
            )
            print(rows[-1], file=sys.stderr)
        del sets
        cupy.get_default_memory_pool().free_all_blocks()
    return {"environment": environment(DEVICES["cuda"], 1), "rows": rows}


def copying(arrays: list[Any]) -> Any:
    """The driver's copy of one of the arrays."""
    x, *_, out = arrays
    return lambda: out.data.copy_from_device_async(x.data, x.nbytes)


def table(data: dict[str, Any]) -> str:
    """One line for each problem: the part of the copy's speed that each direction reaches."""
    lines: dict[tuple[Any, ...], dict[tuple[str, str], float]] = {}
    for row in data["rows"]:
        key = tuple(row["shape"]), row["n"], row["dtype"], row["beta"], row["within"]
        lines.setdefault(key, {})[row["layout"], row["direction"]] = row["percent_of_copy"]
    columns = [(layout, direction) for direction in ("forward", "backward") for layout in ("nchw", "nhwc")]
    heads = " | ".join(f"{direction}, {layout.upper()}" for layout, direction in columns)
    text = [f"| shape (N, C, H, W) | window | dtype | β | {heads} |"]
    text.append("|---" * 8 + "|")
    for (shape, n, dtype, beta, within), found in sorted(lines.items(), key=lambda item: (item[0][4], item[0][1:3])):
        cells = [f"{found[column]:.0f} %" if column in found else "" for column in columns]
        window = f"{n} × {n} within channels" if within else str(n)
        text.append(f"| {' × '.join(map(str, shape))} | {window} | {dtype} | {beta} | {' | '.join(cells)} |")
    return "\n".join(text)


def main(arguments: list[str]) -> None:
    """``run FILE`` or ``table FILE``."""
    command, path = arguments
    file = pathlib.Path(path)
    if command == "run":
        file.write_text(json.dumps(measure(), indent=1) + "\n")
    print(table(json.loads(file.read_text())))


if __name__ == "__main__":
    main(sys.argv[1:])
