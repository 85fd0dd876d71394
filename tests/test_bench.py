"""The micro-benchmark: figures, files, exit statuses, and that it notices wrong results."""

import csv
import io
import json
import math
import os
import pathlib
import re
import sys
from dataclasses import replace

import numba
import numpy as np
import pytest

from numba_lrn.bench import devices, memory, tables, timing, worker
from numba_lrn.bench.cases import CASES, QUICK, BadArgumentError, Case, select
from numba_lrn.bench.devices import DEVICES, Cpu
from numba_lrn.bench.peers import Peer, Peers, UnableError
from numba_lrn.bench.problem import Problem, largest_error, spacing
from numba_lrn.bench.report import Report
from numba_lrn.bench.run import Bench, Buffers, Settings
from numba_lrn.cli import main
from tests.support import optional

# Small enough to be timed in cache, and of two kernels that other tests compile too.
OWN = ["bench", "--shape", "4,24,9,8", "--size", "5", "--min-time", "0.002", "--max-noise", "0.9"]


@pytest.fixture(autouse=True)
def threads(monkeypatch):
    """The command sets the threads of the process and the waiting policy; put both back."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """A result of two rows, as a file."""
    path = tmp_path_factory.mktemp("bench") / "result.json"
    assert main([*OWN, "--json", str(path)]) == 0
    return path


def test_a_result_has_every_figure_and_its_environment(result):
    data = json.loads(result.read_text())
    assert (data["schema"], data["schema_version"], data["complete"]) == ("numba_lrn.bench", 1, True)
    assert {"numba_lrn", "python", "packages", "cpu", "threads", "threading_layer", "date"} <= data[
        "environment"
    ].keys()
    assert [row["direction"] for row in data["rows"]] == ["forward", "backward"]
    for row in data["rows"]:
        assert row["verdict"] == "ok"
        assert 0 < row["error_ulp"] <= row["bound_ulp"]
        assert row["minimum"] <= row["q1"] <= row["median"] <= row["q3"]
        arrays = 2 if row["direction"] == "forward" else 3
        assert row["bytes_moved"] == arrays * 4 * 24 * 9 * 8 * 4
        assert row["gigabytes_per_second"] == pytest.approx(row["bytes_moved"] / row["median"] / 1e9)
        assert row["over_roof_low"] <= row["over_roof"] <= row["over_roof_high"]
        assert row["path"].startswith("direct 3/4 ")


def test_every_output_tells_the_same(result, capsys):
    report = Report.from_json(result.read_text(), "result")
    (first, second) = csv.DictReader(io.StringIO(report.to_csv()))
    assert (first["direction"], second["direction"]) == ("forward", "backward")
    assert float(first["median"]) == report.rows[0].median
    head, rule, *lines = report.to_markdown().splitlines()
    assert len({line.count("|") for line in (head, rule, *lines[:2])}) == 1
    plain = report.to_plain()
    assert "own" in plain
    assert "GB/s: bytes moved / median" in plain
    assert main([*OWN, "--direction", "forward", "--csv", "-"]) == 0
    assert capsys.readouterr().out.startswith("case,group,")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--match", "alexnett"], ["alexnet-norm1", "--list"]),
        (["--match", "("], ["not a regular expression"]),
        (["--mtach", "alexnet"], ["--mtach", "--match"]),
        (["compair", "a.json", "b.json"], ["compair", "compare"]),
        (["compare", "a.json", "b.json", "--fail", "1.1", "--fial-above", "1.1"], ["--fial-above", "--fail-above"]),
        (["--size", "five"], ["--size", "five"]),
        (["--dtype", "float23"], ["'float23'", "float32"]),
        (["--layout", "nwhc"], ["nchw", "nhwc"]),
        (["--direction", "forwards"], ["forward"]),
        (["--backend", "cdua"], ["cuda"]),
        (["--against", "pytorch"], ["torch"]),
        (["--frontend", "pytorch"], ["torch"]),
        (["--against", "torch", "--peer-python", "torch=/no/such/python"], ["/no/such/python"]),
        (["--shape", "4,x", "--size", "3"], ["list of integers"]),
        (["--shape", "4,0,3", "--size", "3"], ["at least 1"]),
        (["--shape", "4,5,6", "--size", "0"], ["at least 1"]),
        (["--shape", "4,5,6"], ["--size"]),
        (["--shape", "4,5", "--size", "3", "--within"], ["spatial"]),
        (["--size", "3"], ["--shape"]),
        (["--shape", "4,5,6", "--size", "3", "--beta", "nan"], ["finite"]),
        (["--threads", "0"], ["between 1 and"]),
        (["--min-time", "-1"], ["--min-time"]),
        (["--max-noise", "2"], ["0.02 is 2 %"]),
        (["--json", "no/such/folder/x.json"], ["no folder"]),
        (["--json", "."], ["--json . cannot be written", "Is a directory"]),
        (["--csv", "/proc/x.csv"], ["--csv /proc/x.csv cannot be written"]),
        (["compare", "a.json", "b.json", "--fail-above", "nan"], ["--fail-above", "a ratio above 0", "nan"]),
        (["compare", "a.json", "b.json", "--fail-above", "0"], ["--fail-above", "0"]),
        (["--plot", "x.gif"], [".png"]),
        (["compare", "missing.json", "missing.json"], ["missing.json"]),
    ],
)
def test_a_wrong_argument_gets_one_line_and_status_2(arguments, words, capsys):
    assert main(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert all(word in line for word in words), line


def test_files_are_tried_before_anything_is_measured(tmp_path, monkeypatch, capsys):
    """What is there is left as it is, and nothing new is left there."""
    old, new = tmp_path / "old.json", tmp_path / "new.csv"
    old.write_text("results")
    tail = ["--markdown", str(tmp_path)]
    assert main(["bench", "--json", str(old), "--csv", str(new), *tail]) == 2
    assert old.read_text() == "results"
    assert sorted(tmp_path.iterdir()) == [old]
    assert "Is a directory" in capsys.readouterr().err


def test_a_pipe_is_not_tried(tmp_path):
    """Its reader would take that for the end, and where there is none it would be waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target")
    assert main(["bench", "--json", str(pipe), "--csv", str(link), "--markdown", str(tmp_path)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


def test_bfloat16_without_its_package_is_left_out(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    arguments = ["--shape", "2,3,4,5", "--size", "3", "--dtype", "float32,bfloat16", "--min-time", "0.001"]
    assert main(["bench", *arguments, "--layout", "nchw", "--direction", "forward"]) == 0
    captured = capsys.readouterr()
    assert "float32" in captured.out
    assert "bfloat16 needs ml_dtypes" in captured.out + captured.err


def test_cuda_is_refused_with_the_reason_where_there_is_none(capsys):
    reason = DEVICES["cuda"].unavailable()
    if reason is None:
        pytest.skip("there is a CUDA device")
    assert main(["bench", "--backend", "cuda"]) == 2
    assert reason in capsys.readouterr().err


def test_a_wrong_result_gives_status_1(monkeypatch, capsys):
    right = Problem.call

    def wrong(self, direction):
        def call(x, grad_output, out):
            right(self, direction)(x, grad_output, out)
            out.flat[0] *= 1.00001
            return out

        return call

    monkeypatch.setattr(Problem, "call", wrong)
    assert main(OWN) == 1
    captured = capsys.readouterr()
    assert captured.out.count("WRONG") == 2
    assert main([*OWN, "--no-check"]) == 0
    assert "unchecked" in capsys.readouterr().out


def test_a_repeated_item_is_checked_bit_by_bit():
    case = replace(select("^alexnet-norm1$")[0], shape=(7, 96, 55, 55))
    problem = Problem(case, "nchw", "float32")
    assert problem.period == 3
    assert np.array_equal(problem.inputs[0][0], problem.inputs[0][6])
    y = problem.truths("forward")[0][0].astype(np.float32)
    result = np.concatenate([y, y, y])[:7]
    assert problem.error("forward", result) <= 0.5
    result[6, 95, 54, 54] = np.nextafter(result[6, 95, 54, 54], np.float32(9))
    assert problem.error("forward", result) == math.inf


def test_an_ulp_is_the_spacing_of_the_dtype():
    values = np.array([1.0, -1.5, 2.0**-126, 1e-40, 3e38])
    assert np.array_equal(spacing(values, "float32"), np.spacing(np.abs(values).astype(np.float32)).astype(float))
    halves = np.array([1.0, 6.1e-5, 6e-8, 6e4])
    assert np.array_equal(spacing(halves, "float16"), np.spacing(halves.astype(np.float16)).astype(float))
    one = np.ones(1)
    assert largest_error(np.array([np.nan]), one, one) == math.inf
    assert largest_error(np.array([np.nan]), one * np.nan, one) == 0


def test_ctrl_c_gives_the_table_so_far_and_status_130(monkeypatch, capsys, tmp_path):
    run_one = Bench._run_one

    def interrupted(self, problem, direction):
        if direction == "backward":
            raise KeyboardInterrupt
        return run_one(self, problem, direction)

    monkeypatch.setattr(Bench, "_run_one", interrupted)
    assert main([*OWN, "--json", str(tmp_path / "x.json")]) == 130
    out = capsys.readouterr().out
    assert "own   forward" in out
    assert "interrupted" in out
    assert json.loads((tmp_path / "x.json").read_text())["complete"] is False


def test_compare_tells_noise_from_change(result, tmp_path, capsys):
    assert main(["bench", "compare", str(result), str(result), "--fail-above", "1.01"]) == 0
    assert capsys.readouterr().out.count("same") == 2
    data = json.loads(result.read_text())
    for row in data["rows"]:
        row.update(median=3 * row["median"], noise=0.01)
    slow = tmp_path / "slow.json"
    slow.write_text(json.dumps(data))
    for row in data["rows"]:
        row.update(noise=5.0)
    vague = tmp_path / "vague.json"
    vague.write_text(json.dumps(data))
    assert main(["bench", "compare", str(slow), str(slow)]) == 0
    quick = tmp_path / "quick.json"
    before = json.loads(result.read_text())
    for row in before["rows"]:
        row.update(noise=0.01)
    quick.write_text(json.dumps(before))
    assert main(["bench", "compare", str(quick), str(slow), "--fail-above", "1.1"]) == 1
    assert "slower" in capsys.readouterr().out
    assert main(["bench", "compare", str(quick), str(slow), "--fail-above", "3.5"]) == 0
    assert main(["bench", "compare", str(quick), str(vague), "--fail-above", "1.1"]) == 0
    assert main(["bench", "compare", str(quick), str(slow), "--by", "roof", "--fail-above", "1.1"]) == 0


def test_another_state_of_the_machine_is_told(result, tmp_path, capsys):
    data = json.loads(result.read_text())
    steady, fast, mixed = (tmp_path / f"{name}.json" for name in ("steady", "fast", "mixed"))
    for path, rates in ((steady, (40e9, 41e9)), (fast, (75e9, 74e9)), (mixed, (40e9, 90e9))):
        for row, rate in zip(data["rows"], rates, strict=True):
            row["copy_rate"] = rate
        path.write_text(json.dumps(data))
    assert main(["bench", "compare", str(result), str(steady)]) == 0
    assert "another state" not in capsys.readouterr().out
    assert main(["bench", "compare", str(steady), str(fast)]) == 0
    assert "the machine was in another state: a large copy ran at 40 and at 74 GB/s" in capsys.readouterr().out
    text = Report.from_json(mixed.read_text(), "x").to_plain()
    assert "A large copy beside each row ran at 65 GB/s (40 to 90)." in text
    assert "ran at (GB/s): own forward nchw float32 40, own backward nchw float32 90" in text
    assert "the machine had changed" not in Report.from_json(steady.read_text(), "x").to_plain()


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"schema": "other"}', '{"schema": "numba_lrn.bench", "schema_version": 99}']
)
def test_a_file_that_is_no_result_is_refused(text, tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert main(["bench", "compare", str(path), str(path)]) == 2
    assert "x.json" in capsys.readouterr().err


def test_list_prints_every_case(capsys):
    assert main(["bench", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CASES) == len({case.name for case in CASES})
    assert sum("[quick]" in line for line in lines) == len(QUICK)


def test_alpha_is_of_order_one_where_no_network_says_otherwise():
    assert all(case.alpha == 1.0 for case in CASES if case.group != "networks")
    assert all(case.alpha < 1e-2 for case in CASES if case.group == "networks")


# Buffers and rounds.


class SmallMachine(Cpu):
    """A cache of 8 MiB, and as much memory as the test says."""

    def __init__(self, free):
        self.free = free

    def cache_bytes(self):
        return 8 * 2**20

    def free_bytes(self):
        return self.free


@pytest.mark.parametrize(("free", "sets"), [(2**40, 8), (48 * 2**20, 5), (2**20, 1)])
def test_buffers_rotate_through_two_caches_where_memory_allows(free, sets):
    problem = Problem(replace(CASES[0], shape=(1, 64, 64, 70)), "nchw", "float32")
    buffers = Buffers(SmallMachine(free), problem, "forward", 1)
    assert buffers.cold
    assert buffers.count == sets
    turns = [id(buffers.next()) for _ in range(2 * sets)]
    assert len(set(turns)) == sets
    assert turns[:sets] == turns[sets:]


@pytest.fixture
def moody(monkeypatch):
    """A machine of which four rows are taken, each in the state that ``states`` names for its turn."""
    states = []

    def rates(self):
        return [states[0]] * 3

    run_one = Bench._run_one

    def and_next(self, problem, direction):
        rows = run_one(self, problem, direction)
        states.pop(0)
        return rows

    monkeypatch.setattr(memory.Memory, "rates", rates)
    monkeypatch.setattr(Bench, "_run_one", and_next)
    settings = Settings(min_time=1e-4, max_noise=0.9, check=False)
    cases = tuple(Case(f"own-{n}", "own", (1, 64, 64, 70), n) for n in (5, 4))

    def run(*rates):
        states[:] = rates
        bench = Bench(SmallMachine(2**30), settings, Peers((), "cpu", 1, {}))
        bench.run(cases, lambda *_: None)
        assert not states
        return [(row.name, row.copy_rate) for row in bench.rows]

    return run


NAMES = [f"own-{n} {direction} nchw float32" for n in (5, 4) for direction in ("forward", "backward")]


def test_a_row_of_another_state_is_measured_again_at_the_end(moody):
    assert moody(40e9, 41e9, 39e9, 40e9) == list(zip(NAMES, (40e9, 41e9, 39e9, 40e9), strict=True))
    assert moody(40e9, 75e9, 41e9, 40e9, 42e9) == list(zip(NAMES, (40e9, 42e9, 41e9, 40e9), strict=True))


def test_a_row_whose_state_stays_another_is_measured_twice_more_and_told(moody):
    found = moody(40e9, 75e9, 41e9, 40e9, 74e9, 76e9)
    assert found == list(zip(NAMES, (40e9, 75e9, 41e9, 40e9), strict=True))


def test_small_arrays_stay_in_cache():
    problem = Problem(select("small-tiny")[0], "nchw", "float32")
    buffers = Buffers(Cpu(), problem, "forward", 1)
    assert (buffers.cold, buffers.count) == (False, 1)


def test_rounds_go_on_until_the_noise_is_reached_and_spare_the_slow(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def contestant(seconds):
        def sample():
            clock[0] += seconds
            return seconds

        return sample

    contestants = {"ours": contestant(0.01), "roof": contestant(0.005), "slow": contestant(2.0)}
    samples = timing.interleave(contestants, "ours", "roof", min_time=0.195, max_noise=0.05)
    assert len(samples["ours"]) == len(samples["roof"]) == 20
    assert len(samples["slow"]) == timing.SLOW_ROUNDS
    assert timing.ratio_by_round(samples["ours"], samples["roof"]) == [2.0] * 20


def test_endless_noise_ends(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])

    def noisy():
        clock[0] += 0.01
        return 0.01 + clock[0]

    samples = timing.interleave({"ours": noisy, "roof": noisy}, "ours", "roof", min_time=0.1, max_noise=1e-6)
    assert len(samples["ours"]) == len(samples["roof"]) == 100
    assert timing.statistics(samples["ours"]).noise > 1e-6


def test_the_interval_of_the_median_covers_it():
    generator = np.random.default_rng(0)
    trials = [timing.statistics(generator.normal(10, 1, 25).tolist()) for _ in range(400)]
    covered = sum(found.low <= 10 <= found.high for found in trials) / len(trials)
    assert 0.92 <= covered <= 0.995


@pytest.mark.parametrize("direction", ["forward", "backward", "double_backward"])
@pytest.mark.parametrize("parallel", [False, True])
def test_the_roof_is_vectorised(direction, parallel, monkeypatch):
    """A scalar loop is no roof: where memory is fast, everything is below it."""
    monkeypatch.setenv("NUMBA_LRN_CACHE", "0")
    (assembly,) = devices._compiled.__wrapped__(direction, parallel).inspect_asm().values()
    additions = {"forward": r"vmov\w+\s+.*%[yz]mm|mem(cpy|move)"}.get(direction, r"vpaddd\s+.*%[yz]mm")
    assert re.search(additions, assembly)


@pytest.mark.parametrize("size", [3001, 300_001])
def test_the_roof_moves_every_byte(size):
    x, g = (np.random.default_rng(i).standard_normal(size).astype(np.float32) for i in range(2))
    out = np.zeros_like(x)
    DEVICES["cpu"].roof("forward")(x, None, out)
    assert np.array_equal(out, x)
    outs = np.zeros_like(x), np.zeros_like(x)
    DEVICES["cpu"].roof("double_backward")(x, (g, x), outs)
    for both in outs:
        assert np.array_equal(both.view(np.int32), x.view(np.int32) + g.view(np.int32))
    DEVICES["cpu"].roof("backward")(x, g, out)
    assert np.array_equal(out.view(np.int32), x.view(np.int32) + g.view(np.int32))


# Peers.


def test_an_absent_peer_is_named_with_the_reason(monkeypatch, tmp_path, capsys):
    (tmp_path / "torch.py").write_text("raise ImportError('No module named torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert main([*OWN, "--against", "torch,cudnn"]) == 0
    out = capsys.readouterr().out
    assert "not measured: torch (own forward nchw float32, own backward nchw float32): not installed" in out
    assert "not measured: cudnn" in out
    assert "CUDA" in out


def test_the_front_for_torch_is_measured_beside_the_bare_call(tmp_path):
    optional("torch")
    assert main([*OWN, "--frontend", "torch", "--json", str(tmp_path / "rows")]) == 0
    rows = json.loads((tmp_path / "rows").read_text())["rows"]
    assert {(row["contestant"], row["direction"]) for row in rows} == {
        (who, direction) for who in ("numba_lrn", "numba_lrn.torch") for direction in ("forward", "backward")
    }
    assert all(row["error_ulp"] <= row["bound_ulp"] for row in rows if row["contestant"] == "numba_lrn")
    assert all(row["error_ulp"] <= 8 for row in rows)


def test_a_peer_whose_process_dies_is_told(monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text(
        "import os, sys; print('the last words', file=sys.stderr, flush=True); os._exit(3)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UnableError, match="its process ended: the last words"):
        Peer("torch", "cpu", 1)


PLAIN = {
    "shape": (2, 8, 5, 5),
    "layout": "nchw",
    "dtype": "float32",
    "size": 5,
    "alpha": 1.0,
    "beta": 0.75,
    "k": 1.0,
    "within": False,
}


@pytest.mark.parametrize(
    ("peer", "changes", "direction", "words"),
    [
        ("tensorflow", {"layout": "nhwc", "size": 4}, "forward", "another convention"),
        ("tensorflow", {}, "forward", "NHWC only"),
        ("openvino", {"size": 4}, "forward", "another convention"),
        ("openvino", {"k": 1.5}, "forward", "another convention"),
        ("onnxruntime", {"size": 4}, "forward", "even sizes"),
        ("onnxruntime", {}, "backward", "no backward"),
        ("onnxruntime", {"within": True}, "forward", "within"),
        ("torch", {"within": True, "size": 4}, "forward", "no even window"),
        ("torch", {"shape": (2, 8)}, "forward", "three dimensions"),
    ],
)
def test_a_peer_that_cannot_or_computes_something_else_says_so(peer, changes, direction, words):
    with pytest.raises(worker.UnableError, match=words):
        worker.PEERS[peer]().check({**PLAIN, **changes}, direction)


def test_torch_beside_ours(tmp_path):
    optional("torch")
    path = tmp_path / "x.json"
    assert main([*OWN, "--layout", "nchw,nhwc", "--against", "torch", "--json", str(path)]) == 0
    report = Report.from_json(path.read_text(), "x")
    rows = [row for row in report.rows if row.contestant == "torch"]
    assert [row.name for row in rows] == [row.name for row in report.rows if row.contestant == "numba_lrn"]
    assert all(row.error_ulp < 64 for row in rows)
    assert all(row.over_ours > 0 for row in rows)
    assert "torch" in report.settings["peers"]
    assert "× ours" in report.table()[0]


def test_no_worker_outlives_its_peers():
    optional("torch")
    peers = Peers(("torch",), "cpu", 1, {})
    process = peers.get("torch")._process
    peers.close()
    assert process.poll() is not None


# Without rich and matplotlib; figures and tables.


def test_everything_is_plain_text_without_rich(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert main([*OWN, "--direction", "forward"]) == 0
    assert "own   forward" in capsys.readouterr().out


def test_a_terminal_gets_the_rich_table(result):
    console = optional("rich.console") and __import__("rich.console", fromlist=["Console"])
    stream = io.StringIO()
    Report.from_json(result.read_text(), "x").print_rich(console.Console(file=stream, width=130))
    out = stream.getvalue()
    assert "own" in out
    assert "GB/s" in out


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["bench", "--plot", "x.png"]) == 2
    assert "numba-lrn[bench]" in capsys.readouterr().err


def _spread(report):
    """Rows as of a sweep and of two networks, with a peer."""
    forward = report.rows[0]
    rows = [
        replace(forward, case=f"window-{n}", group="window", size=n, contestant=who)
        for n in (1, 5, 63)
        for who in ("numba_lrn", "torch")
    ]
    rows += [replace(forward, case=case, group="networks") for case in ("alexnet-norm1", "googlenet-norm2")]
    return replace(report, rows=rows)


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_plots_have_axes_with_units_the_roof_and_the_conditions(result, tmp_path, suffix):
    optional("matplotlib")
    from numba_lrn.bench.plot import draw

    path = tmp_path / f"x.{suffix}"
    draw(_spread(Report.from_json(result.read_text(), "x")), str(path))
    assert path.stat().st_size > 10_000
    if suffix == "svg":
        text = path.read_text()
        for words in (
            "window size (elements)",
            "time a call (ms)",
            "roof: the same bytes moved",
            "torch",
            "alexnet-norm1",
            "threads",
        ):
            assert words in text


def test_tables_are_filled_from_a_result(result, tmp_path):
    report = _spread(Report.from_json(result.read_text(), "x"))
    source = tmp_path / "x.json"
    source.write_text(report.to_json())
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: networks -->\nold\n<!-- bench end -->\nafter\n")
    assert tables.main([str(source), str(page)]) == 0
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before\n<!-- bench: networks -->\n| case |")
    assert text.endswith("<!-- bench end -->\nafter\n")
    assert text.count("| alexnet-norm1 |") == 1
    assert "last-level cache" in text
    assert tables.main([str(source), str(page)]) == 0
    assert page.read_text() == text
    page.write_text("<!-- bench: all -->\n<!-- bench end -->\n")
    assert tables.main([str(source), str(page)]) == 0
    assert page.read_text().count("| alexnet-norm1 |") == 1
    page.write_text("<!-- bench: batch -->\n<!-- bench end -->\n")
    assert tables.main([str(source), str(page)]) == 2
    with pytest.raises(BadArgumentError, match="networks"):
        tables.part(report, "batch")
    assert tables.main([str(source), str(tmp_path / "none.md")]) == 2


def test_the_worker_needs_nothing_of_the_package_but_for_the_package_itself():
    text = pathlib.Path(worker.__file__).read_text()
    before, _, rest = text.partition("class NumbaLrn(Torch):")
    _, _, after = rest.partition("\nclass ")
    assert after
    for others in (before, after):
        assert "import numba" not in others
        assert "from numba" not in others


# The derivatives.


@pytest.mark.parametrize("direction", ["jvp", "parameters", "double_backward"])
def test_the_derivatives_are_checked(direction):
    """The whole batch, of which only the first items are computed by the reference, and a wrong result."""
    problem = Problem(Case("own", "own", (7, 6, 3, 2), 4), "nchw", "float32")
    problem.period = 3  # 7 items: two repeats and one item more
    result = problem.call(direction)(problem.inputs[0], problem.second(direction), None)
    assert problem.error(direction, result) <= problem.bound(direction)
    parts = result if isinstance(result, tuple) else (result,)
    for index, part in enumerate(parts):
        wrong = [*parts]
        wrong[index] = part + 1e-3
        assert problem.error(direction, tuple(wrong)) > problem.bound(direction)
