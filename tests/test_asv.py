"""The asv suite: asv accepts it, and every class runs once."""

import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("asv_runner")

from benchmarks import common, smoke
from numba_lrn.bench.cases import CASES
from tests.support import optional

ROOT = pathlib.Path(__file__).parents[1]


def test_asv_check_passes():
    optional("asv")
    if not (ROOT / ".git").exists():
        pytest.skip("asv reads its configuration in a git repository")
    command = [sys.executable, "-m", "asv", "check", "--environment", f"existing:{sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No problems found" in done.stdout


def test_the_networks_are_cases():
    assert set(common.NETWORKS) <= {case.name for case in CASES}


def test_classes_without_their_device_skip(capsys):
    from benchmarks.cuda import Cuda
    from numba_lrn.bench.devices import DEVICES

    if DEVICES["cuda"].unavailable() is None:
        pytest.skip("there is a CUDA device")
    smoke.run("cuda.Cuda", Cuda, ["time_call"])
    assert "skipped" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["small", "memory"])
def test_a_class_runs(module, capsys):
    smoke.run_module(module)
    out = capsys.readouterr().out
    assert out.count(": ok") >= 1
    assert "skipped" not in out
