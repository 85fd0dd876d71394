"""``numba-lrn check``: what it covers, and that it notices."""

import numba
import numpy as np
import pytest

from numba_lrn.bench import check as checking
from numba_lrn.bench import command
from numba_lrn.bench.cases import DTYPES, LAYOUTS
from numba_lrn.bench.check import OPERATIONS, QUICK_SUITES, SUITES, Checked, Suite
from numba_lrn.bench.peers import UnableError
from numba_lrn.bench.problem import Problem
from numba_lrn.cli import main

ONE = (
    Suite("small", (3, 24, 9, 8), (2, 5), layouts=("nchw",), dtypes=("float32",), operations=("forward", "backward")),
)


@pytest.fixture(autouse=True)
def one_suite(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    monkeypatch.setattr(command, "QUICK_SUITES", ONE)
    before = numba.get_num_threads()
    yield
    numba.set_num_threads(before)


def test_right_results_give_status_0(capsys):
    assert main(["check", "--quick"]) == 0
    out = capsys.readouterr().out
    assert out.count("  ok") == 2
    assert "2 rows, 0 wrong" in out


def test_a_wrong_operation_gives_status_1(monkeypatch, capsys):
    direction, _ = OPERATIONS["backward"]

    def mirrored(problem):
        x, g = problem.inputs
        return problem.op.backward(g, x[:, ::-1])[:, ::-1]

    untransposed = {**OPERATIONS, "backward": (direction, mirrored)}
    monkeypatch.setattr(checking, "OPERATIONS", untransposed)
    assert main(["check", "--quick"]) == 1
    out = capsys.readouterr().out
    assert out.count("WRONG") == 1
    assert "2 rows, 1 wrong" in out


def test_the_full_check_covers_everything():
    def covered(field):
        return {value for suite in SUITES for value in getattr(suite, field)}

    assert covered("dtypes") == set(DTYPES)
    assert covered("layouts") == set(LAYOUTS)
    assert covered("operations") == set(OPERATIONS)
    assert {0.25, 0.5, 0.6, 0.75, 1.0, 1.5} <= covered("betas")
    assert {1, 2, 5, 10**9} <= covered("sizes")
    assert any(suite.within for suite in SUITES)
    assert {suite.windows for suite in QUICK_SUITES} >= {"small", "wide"}


class Others:
    """Peers of which one is right, one computes something else, and one is absent."""

    names = ("right", "other", "absent")

    def get(self, name):
        if name == "absent":
            raise UnableError("not installed")
        self.name = name
        return self

    def make(self, problem: Problem, direction, files, sets):
        self.problem, self.direction = problem, direction
        return {"first_call": 0.0, "note": ""}

    def result(self, problem):
        value = problem.truths(self.direction)[0][0]
        return (value if self.name == "right" else value * 1.01).astype(np.float32)


def test_peers_agree_or_differ_or_are_named(monkeypatch):
    monkeypatch.setattr(checking, "PEER_SUITES", ONE)
    found = Checked()
    checking.check(ONE, Others(), lambda *_: None, found)
    assert [(line.who, line.verdict) for line in found.lines if line.operation == "forward"] == [
        ("numba_lrn", "ok"),
        ("right", "agrees"),
        ("other", "DIFFERS"),
    ]
    assert {(item.contestant, item.reason) for item in found.skipped} == {("absent", "not installed")}


def test_a_missing_ml_dtypes_is_told_and_the_rest_goes_on(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    suites = (
        Suite("small", (3, 24, 9, 8), (5,), layouts=("nchw",), dtypes=("bfloat16", "float32"), operations=("forward",)),
    )
    found = Checked()

    class Nobody:
        names = ()

    checking.check(suites, Nobody(), lambda *_: None, found)
    assert [line.dtype for line in found.lines] == ["float32"]
    assert "numba-lrn[bench]" in found.skipped[0].reason


def test_ctrl_c_gives_the_rows_so_far(monkeypatch, capsys):
    calls = []

    def interrupted(line, problem):
        calls.append(line.operation)
        if line.operation == "backward":
            raise KeyboardInterrupt
        line.problems, line.error, line.bound = 1, 0.5, 4.0

    monkeypatch.setattr(checking, "_check_ours", interrupted)
    assert main(["check", "--quick"]) == 130
    out = capsys.readouterr().out
    assert "forward" in out
    assert "interrupted" in out


@pytest.mark.parametrize("arguments", [["--against", "tensorflw"], ["--threads", "9999"], ["--quikc"]])
def test_wrong_arguments_get_one_line_and_status_2(arguments, capsys):
    assert main(["check", *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
