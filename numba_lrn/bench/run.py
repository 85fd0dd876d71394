"""Running the cases: buffers, contestants, first call, rounds, check, and one row of figures for each contestant."""

import contextlib
import functools
import math
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from numba_lrn.bench.cases import Case
from numba_lrn.bench.devices import Cpu, Cuda
from numba_lrn.bench.memory import Memory, is_usual, usual_rate
from numba_lrn.bench.peers import Peer, Peers, UnableError
from numba_lrn.bench.problem import STREAMS, Problem
from numba_lrn.bench.timing import calls_per_sample, interleave, ratio_by_round, statistics

OURS, ROOF = "numba_lrn", "roof"
COLD = 2**20  # arrays from this size on are timed out of cache; smaller ones in cache: what they cost is latency
CACHE_FACTOR = 2  # the rotated buffers of a cold case are this many last-level caches together
MEMORY_SHARE = 4  # the contestants together take at most this part of the free memory


@dataclass(frozen=True)
class Settings:
    """How to run."""

    directions: tuple[str, ...] = ("forward", "backward")
    layouts: tuple[str, ...] | None = None  # None: those of the case
    dtypes: tuple[str, ...] | None = None
    threads: int = 1
    min_time: float = 0.5
    max_noise: float = 0.02
    check: bool = True
    use_out: bool = True
    repeats: int = 2  # how often a row taken in another state of the machine than most is measured again at the end


def name_of(case: str, direction: str, layout: str, dtype: str) -> str:
    """What a row computes, in words."""
    return f"{case} {direction} {layout} {dtype}"


@dataclass
class Row:
    """One line of the result; times are seconds a call."""

    case: str
    group: str
    shape: list[int]
    size: int
    alpha: float
    beta: float
    k: float
    within: bool
    layout: str
    dtype: str
    direction: str
    backend: str
    contestant: str
    path: str
    first_call: float
    first_use: bool  # whether this process had not run this kernel before
    median: float
    q1: float
    q3: float
    minimum: float
    noise: float
    samples: int
    calls_per_sample: int
    outliers: int
    bytes_moved: int
    roof: float  # seconds of the roof
    over_roof: float  # the median of the ratios of the rounds
    over_roof_low: float
    over_roof_high: float
    over_ours: float
    error_ulp: float | None
    bound_ulp: float | None
    verdict: str
    cold: bool
    buffers: int
    working_set: int
    notes: list[str] = field(default_factory=list)
    copy_rate: float | None = None  # bytes a second of a large copy beside the rounds of a cold row

    @property
    def spread(self) -> float:
        """The interquartile range relative to the median."""
        return (self.q3 - self.q1) / self.median

    @property
    def ratio_noise(self) -> float:
        """Half the confidence interval of the times over the roof, relative to their median."""
        return (self.over_roof_high - self.over_roof_low) / 2 / self.over_roof

    @property
    def gigabytes_per_second(self) -> float:
        """Every array counted once."""
        return self.bytes_moved / self.median / 1e9

    @property
    def name(self) -> str:
        """What was computed, in words."""
        return name_of(self.case, self.direction, self.layout, self.dtype)

    @property
    def label(self) -> str:
        """What identifies the row between two runs."""
        return f"{self.name} {self.backend} {self.contestant}"

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Row":
        """The row of a JSON object; keys that are derived are left out."""
        names = {item.name for item in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in names})


@dataclass(frozen=True)
class Skipped:
    """Who did not take part, in what, and why."""

    contestant: str
    label: str
    reason: str


class Buffers:
    """Sets of (x, second, out) as ``Problem.call`` takes them, used in turn.

    There are enough of them that a set has left the cache when its turn comes.
    """

    def __init__(self, device: Cpu | Cuda, problem: Problem, direction: str, share: int):
        moved = problem.moved(direction)
        self.cold = problem.nbytes >= COLD
        wanted = -(-CACHE_FACTOR * device.cache_bytes() // moved) if self.cold else 1
        affordable = max(1, device.free_bytes() // (MEMORY_SHARE * share) // moved)
        self.count = min(max(wanted, 1), affordable)
        self.working_set = self.count * moved
        x, second = problem.inputs[0], problem.second(direction)
        self.sets: list[tuple[Any, Any, Any]] = []
        for _ in range(self.count):
            first = device.asarray(x)
            out = device.empty_like(first)
            if isinstance(second, tuple):
                others, outs = tuple(map(device.asarray, second)), (out, device.empty_like(first))
                self.sets.append((first, others, outs))
            else:
                self.sets.append((first, None if second is None else device.asarray(second), out))
        self._turn = 0

    def next(self) -> tuple[Any, Any, Any]:
        """The set whose turn it is."""
        self._turn = (self._turn + 1) % self.count
        return self.sets[self._turn]


class Bench:
    """A run over cases; ``rows`` and ``skipped`` grow while it goes."""

    def __init__(self, device: Cpu | Cuda, settings: Settings, peers: Peers):
        self.device, self.settings, self.peers = device, settings, peers
        self.rows: list[Row] = []
        self.skipped: list[Skipped] = []
        self._used: set[tuple[str, str, str]] = set()

    @functools.cached_property
    def _memory(self) -> Memory:
        return Memory(self.device)

    def problems(self, cases: tuple[Case, ...]) -> list[tuple[Case, str, str]]:
        """(case, layout, dtype) of the whole run."""
        return [
            (case, layout, dtype)
            for case in cases
            for layout in (self.settings.layouts or case.layouts)
            for dtype in (self.settings.dtypes or case.dtypes)
        ]

    def run(self, cases: tuple[Case, ...], progress: Callable[[str, int, int], None]) -> None:
        """Run all; ``progress`` is told a label, the steps done and the steps in all."""
        todo = self.problems(cases)
        steps = len(todo) * len(self.settings.directions)
        done = 0
        for case, layout, dtype in todo:
            try:
                problem = self._problem(case, layout, dtype)
            except UnableError as reason:
                done += len(self.settings.directions)
                self.skipped.append(Skipped(OURS, f"{case.name} {layout} {dtype}", str(reason)))
                continue
            for direction in self.settings.directions:
                progress(name_of(case.name, direction, layout, dtype), done, steps)
                self.rows += self._run_one(problem, direction)
                done += 1
        for _ in range(self.settings.repeats):
            self._repeat_unusual(todo, progress, steps)
        progress("done", steps, steps)

    def _repeat_unusual(
        self, todo: list[tuple[Case, str, str]], progress: Callable[[str, int, int], None], steps: int
    ) -> None:
        """Measure again what was taken in another state of the machine than most, and keep what is in the usual one."""
        usual = usual_rate([row.copy_rate for row in self.rows])
        for case, layout, dtype in todo:
            for direction in self.settings.directions:
                name = name_of(case.name, direction, layout, dtype)
                before = {row.contestant: row for row in self.rows if row.name == name}
                if not before or is_usual(before[OURS].copy_rate, usual):
                    continue
                progress(f"{name}, once more", steps, steps)
                rows = self._run_one(Problem(case, layout, dtype), direction)
                if not is_usual(rows[0].copy_rate, usual):
                    continue
                for row in rows:
                    if row.contestant in before:  # a kernel is compiled once
                        first = before[row.contestant]
                        row.first_call, row.first_use = first.first_call, first.first_use
                place = self.rows.index(before[OURS])
                self.rows[place : place + len(before)] = rows

    def _problem(self, case: Case, layout: str, dtype: str) -> Problem:
        problem = Problem(case, layout, dtype)
        try:
            nbytes = problem.nbytes
        except ImportError as error:  # bfloat16 without ml_dtypes
            raise UnableError(str(error)) from None
        # one set, the inputs that it is copied from, and the peers' copies
        needed = nbytes * (max(map(STREAMS.__getitem__, self.settings.directions)) + 2) * (1 + len(self.peers.names))
        free = self.device.free_bytes()
        if needed > free // 2:
            msg = f"needs about {needed / 2**30:.1f} GiB; {free / 2**30:.1f} GiB are free, of which half is used"
            raise UnableError(msg)
        return problem

    def _run_one(self, problem: Problem, direction: str) -> list[Row]:
        buffers = Buffers(self.device, problem, direction, 1 + len(self.peers.names))
        path = self.device.path_taken(problem.op, direction, buffers.sets[0][0])
        kernel = (direction, problem.dtype, path.rpartition(" ")[0])
        first_use = kernel not in self._used
        self._used.add(kernel)

        call = problem.call(direction)
        first_call, result = self._timed(call, buffers.sets[0])
        errors: dict[str, float | None] = {OURS: self._error(problem, direction, result)}
        contestants = {
            OURS: self._contestant(call, buffers),
            ROOF: self._contestant(self.device.roof(direction), buffers, with_out=True),
        }
        calls = {name: contestant.calls for name, contestant in contestants.items()}
        samplers: dict[str, Callable[[], float]] = {name: item.sample for name, item in contestants.items()}
        first_calls, notes = {OURS: first_call}, {OURS: list[str]()}

        label = name_of(problem.case.name, direction, problem.layout, problem.dtype)
        rates = self._memory.rates() if buffers.cold else []
        with self._peers(problem, direction, buffers, label) as prepared:
            for name, (peer, first, note) in prepared.items():
                first_calls[name], notes[name] = first, [note] if note else []
                try:
                    calls[name] = calls_per_sample(peer.run(1))
                    if self.settings.check:
                        errors[name] = problem.error(direction, peer.result(problem), repeats=False)
                except UnableError as reason:
                    self._lose(name, buffers.cold, label, str(reason))
                    continue
                samplers[name] = self._peer_sampler(peer, calls[name])
            samples = interleave(samplers, OURS, ROOF, self.settings.min_time, self.settings.max_noise)
        rates += self._memory.rates() if buffers.cold else []

        rows = []
        for name in samplers:
            if name == ROOF:
                continue
            found = statistics(samples[name])
            ratios = statistics(ratio_by_round(samples[name], samples[ROOF]))
            error = errors.get(name)
            bound = problem.bound(direction)
            case = problem.case
            rows.append(
                Row(
                    case=case.name,
                    group=case.group,
                    shape=list(case.shape),
                    size=case.size,
                    alpha=case.alpha,
                    beta=case.beta,
                    k=case.k,
                    within=case.within,
                    layout=problem.layout,
                    dtype=problem.dtype,
                    direction=direction,
                    backend=self.device.name,
                    contestant=name,
                    path=path if name == OURS else "",
                    first_call=first_calls[name],
                    first_use=first_use or name != OURS,
                    median=found.median,
                    q1=found.q1,
                    q3=found.q3,
                    minimum=found.minimum,
                    noise=found.noise,
                    samples=found.samples,
                    calls_per_sample=calls[name],
                    outliers=found.outliers,
                    bytes_moved=problem.moved(direction),
                    roof=statistics(samples[ROOF]).median,
                    over_roof=ratios.median,
                    over_roof_low=ratios.low,
                    over_roof_high=ratios.high,
                    over_ours=statistics(ratio_by_round(samples[name], samples[OURS])).median,
                    error_ulp=error,
                    bound_ulp=bound if name == OURS else None,
                    verdict=verdict(error, bound) if name == OURS else "",
                    cold=buffers.cold,
                    buffers=buffers.count,
                    working_set=buffers.working_set,
                    notes=notes[name],
                    copy_rate=usual_rate(rates),
                )
            )
        return rows

    def _timed(self, call: Callable[..., Any], arrays: tuple[Any, Any, Any]) -> tuple[float, Any]:
        x, grad_output, out = arrays
        start = time.perf_counter()
        result = call(x, grad_output, out if self.settings.use_out else None)
        self.device.synchronize()
        return time.perf_counter() - start, result

    def _error(self, problem: Problem, direction: str, result: Any) -> float | None:
        if not self.settings.check:
            return None
        if isinstance(result, tuple):
            result = tuple(part if isinstance(part, float) else self.device.to_numpy(part) for part in result)
        else:
            result = self.device.to_numpy(result)
        return problem.error(direction, result)

    def _contestant(self, call: Callable[..., Any], buffers: Buffers, *, with_out: bool = False) -> "InProcess":
        return InProcess(call, buffers, self.device, with_out or self.settings.use_out)

    @contextlib.contextmanager
    def _peers(
        self, problem: Problem, direction: str, buffers: Buffers, label: str
    ) -> Iterator[dict[str, tuple[Peer, float, str]]]:
        """The peers that can do this problem, each with the seconds of its first call and a note."""
        prepared: dict[str, tuple[Peer, float, str]] = {}
        with tempfile.TemporaryDirectory() as folder:
            files = write_inputs(problem, folder) if self.peers.names else {}
            for name in self.peers.names:
                try:
                    peer = self.peers.get(name, passive=buffers.cold)
                    made = peer.make(problem, direction, files, buffers.count)
                except UnableError as reason:
                    self._lose(name, buffers.cold, label, str(reason))
                    continue
                prepared[name] = (peer, made["first_call"], made["note"])
            yield prepared

    def _lose(self, name: str, passive: bool, label: str, reason: str) -> None:
        lost = Skipped(name, label, reason)
        if lost not in self.skipped:
            self.skipped.append(lost)
        if reason.startswith("its process ended"):
            self.peers.drop(name, passive)

    @staticmethod
    def _peer_sampler(peer: Peer, calls: int) -> Callable[[], float]:
        return lambda: peer.run(calls)


class InProcess:
    """A contestant of this process: warmed up, then timed on the buffer sets in turn."""

    def __init__(self, call: Callable[..., Any], buffers: Buffers, device: Cpu | Cuda, with_out: bool):
        self._call, self._buffers, self._device, self._with_out = call, buffers, device, with_out
        self.calls = 1
        self.sample()  # compiles, and touches what it needs
        self.calls = calls_per_sample(self.sample())

    def sample(self) -> float:
        """Seconds a call."""
        calls = self.calls
        arrays = [self._buffers.next() for _ in range(calls)]
        if not self._with_out:
            arrays = [(x, grad_output, None) for x, grad_output, _ in arrays]
        call = self._call

        def run() -> None:
            for x, grad_output, out in arrays:
                call(x, grad_output, out)

        return self._device.seconds(run) / calls


def write_inputs(problem: Problem, folder: str) -> dict[str, str]:
    """The inputs as files of raw numbers, which a worker reads without knowing their dtype."""
    files = {}
    for name, array in zip(("x", "grad_output", "tangent"), (*problem.inputs, problem.tangent), strict=True):
        files[name] = str(pathlib.Path(folder) / name)
        array.tofile(files[name])
    return files


def verdict(error: float | None, bound: float) -> str:
    """What the error says: ok, WRONG or unchecked."""
    if error is None or math.isnan(bound):
        return "unchecked"
    return "ok" if error <= bound else "WRONG"


def plain_progress(label: str, done: int, steps: int) -> None:
    """Progress without a terminal: a line on standard error for each step."""
    print(f"[{done}/{steps}] {label}", file=sys.stderr)
