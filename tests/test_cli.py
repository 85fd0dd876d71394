"""The command line: its help, its exit statuses, one line for each error, and what it does not import."""

import importlib.metadata
import os
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest

import numba_lrn as lrn
from numba_lrn.cli import main


def python(code):
    """Standard output of a fresh interpreter."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"numba-lrn {lrn.__version__}\n"


def test_the_console_command_is_this_one():
    commands = {entry.name: entry.value for entry in importlib.metadata.distribution("numba-lrn").entry_points}
    assert commands["numba-lrn"] == "numba_lrn.cli:main"


def test_python_m_passes_the_status_on(tmp_path):
    command = [sys.executable, "-m", "numba_lrn", "apply", "none.npy", "y.npy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "numba-lrn apply: error: INPUT none.npy does not exist\n"
    assert done.stdout == ""


def test_help_lists_commands_examples_and_environment(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for part in ("bench", "check", "apply", "info", "examples:", "NUMBA_LRN_CACHE=0", "NUMBA_LRN_PARALLEL=0"):
        assert part in text


def test_no_command_prints_the_help_and_fails(capsys):
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "examples:" in captured.err


def test_help_of_apply_says_what_becomes_of_a_picture(capsys):
    assert main(["apply", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "0 to 255 become 0 to 1" in text
    assert "alpha says how strongly" in text
    assert "0.5th to 99.5th percentile" in text
    assert "numba-lrn[bench]" in text


@pytest.mark.parametrize(
    ("options", "size", "parameters"),
    [
        ([], 5, {"axis": 1}),
        (["--size", "3", "--alpha", "2", "--beta", "0.75", "--k", "0.5"], 3, {"alpha": 2.0, "k": 0.5, "axis": 1}),
        (["--axis", "-1", "--alpha", "2e0"], 5, {"alpha": 2.0, "axis": -1}),
        (["--axis", "-2,-1", "--size", "2,4", "--alpha", "2"], (2, 4), {"alpha": 2.0, "axis": (-2, -1)}),
        (["--within-channel", "--alpha", "2"], 5, {"alpha": 2.0, "axis": (2, 3)}),
        (["--alpha", "-1e-4", "--k", "2"], 5, {"alpha": -1e-4, "k": 2.0, "axis": 1}),
        (["--dtype", "float64", "--alpha", "2"], 5, {"alpha": 2.0, "axis": 1}),
    ],
)
def test_apply_is_the_library_call(tmp_path, capsys, options, size, parameters):
    x = np.random.default_rng(4).normal(0, 2, (2, 6, 8, 8)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    assert main(["apply", str(tmp_path / "x.npy"), str(tmp_path / "y.npy"), *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.startswith(f"{tmp_path / 'y.npy'}: float")
    x = x.astype("float64") if "float64" in options else x
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), lrn.local_response_norm(x, size, **parameters))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["none"], "invalid choice: 'none' (choose from"),
        (["info", "--none"], "unrecognized arguments: --none"),
        (["apply"], "the following arguments are required: INPUT, OUTPUT"),
        (["apply", "x.npy"], "the following arguments are required: OUTPUT"),
        (["apply", "x.npy", "y.npy", "--size", "2,x"], "--size: expected an integer, or integers separated by commas"),
        (["apply", "x.npy", "y.npy", "--size", "1.5"], "--size: expected an integer"),
        (["apply", "x.npy", "y.npy", "--alpha", "a"], "--alpha: invalid float value: 'a'"),
        (["apply", "x.npy", "y.npy", "--axis", "0", "--within-channel"], "not allowed with argument --axis"),
        (["apply", "x.npy", "y.npy", "--size", "0"], "size must be at least 1, got 0"),
        (["apply", "x.npy", "y.npy", "--size=-3"], "size must be at least 1, got -3"),
        (["apply", "x.npy", "y.npy", "--axis", "7"], "axis 7 is out of range for an array of 2 dimensions"),
        (["apply", "x.npy", "y.npy", "--beta", "nan"], "beta must be finite, got nan"),
        (["apply", "x.npy", "y.npy", "--dtype", "bfloat16"], "take float32, and convert after loading"),
        (["apply", "x.npy", "y.npy", "--within-channel"], "name the axes with --axis"),
        (["apply", "none.npy", "y.npy"], "INPUT none.npy does not exist"),
        (["apply", "x.npy", "none/y.npy"], "the folder of OUTPUT none/y.npy does not exist"),
        (["apply", "x.npy", "./x.npy"], "are the same file"),
        (["apply", "x.npy", "y.tif"], "it must be one of .npy, .png, .jpg, .jpeg"),
        (["info", "more"], "unrecognized arguments: more"),
    ],
)
def test_an_error_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, text):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.ones((2, 3), "float32"))
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("numba-lrn")
    assert text in captured.err
    assert captured.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]


def fake_benchmark(monkeypatch, run):
    """A stand-in for the benchmark's own command module."""
    module = types.ModuleType("numba_lrn.bench.command")
    module.add_bench_parser = lambda commands: commands.add_parser("bench").set_defaults(run=run)
    module.add_check_parser = lambda commands: commands.add_parser("check").set_defaults(run=run)
    monkeypatch.setitem(sys.modules, "numba_lrn.bench.command", module)


@pytest.mark.parametrize("command", ["bench", "check"])
def test_a_command_of_the_benchmark_gives_the_status(monkeypatch, command):
    fake_benchmark(monkeypatch, lambda options: 1)
    assert main([command]) == 1


@pytest.mark.parametrize("module", ["rich", "rich.table", "matplotlib", "PIL"])
def test_a_missing_package_of_the_benchmark_names_the_extra(monkeypatch, capsys, module):
    def run(options):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    fake_benchmark(monkeypatch, run)
    assert main(["bench"]) == 2
    assert capsys.readouterr().err == f"numba-lrn: error: {module} is not installed: pip install 'numba-lrn[bench]'\n"


def test_another_import_error_is_a_defect_and_shows_as_one(monkeypatch):
    def run(options):
        raise ModuleNotFoundError("No module named 'numba_lrn.typo'", name="numba_lrn.typo")

    fake_benchmark(monkeypatch, run)
    with pytest.raises(ModuleNotFoundError, match="typo"):
        main(["bench"])


def test_ctrl_c_is_130(monkeypatch, capsys):
    def run(options):
        raise KeyboardInterrupt

    fake_benchmark(monkeypatch, run)
    assert main(["bench"]) == 130
    assert capsys.readouterr().err == "numba-lrn: interrupted\n"


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "numba_lrn", "info"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(timeout=120) == 141


def test_a_full_disk_is_one_line_and_status_2():
    with pathlib.Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "numba_lrn", "info"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr == "numba-lrn: error: [Errno 28] No space left on device\n"


def test_what_was_printed_stays_where_something_else_fails(tmp_path):
    """As the table of a benchmark does whose file cannot be written."""
    code = """
import argparse
from numba_lrn import cli
def run(options):
    print("the table")
    raise PermissionError(13, "Permission denied", "x.json")
parser = argparse.ArgumentParser()
parser.set_defaults(run=run)
parser.add_argument("bench")
cli.make_parser = lambda arguments: parser
print("before")
assert cli.main(["bench"]) == 2
print("after")
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True, env=environment
    )
    assert done.stdout == "before\nthe table\nafter\n"
    assert done.stderr == "numba-lrn: error: [Errno 13] Permission denied: 'x.json'\n"
    environment["NUMBA_LRN_DEBUG"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert "Traceback" in done.stderr


def test_a_standard_output_that_is_closed():
    command = f"{sys.executable} -m numba_lrn info >&-"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["apply", "--help"], ["apply", "x.npy", "y.npy"]])
def test_the_light_commands_import_nothing_heavy(tmp_path, arguments):
    code = f"""
import sys
from numba_lrn.cli import main
main({arguments})
print([name for name in ("numba", "rich", "matplotlib", "PIL", "ml_dtypes", "torch") if name in sys.modules])
"""
    assert python(code).splitlines()[-1] == "[]"


def test_apply_works_without_rich(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((40, 3), "float32"))
    code = f"""
import sys
sys.modules["rich"] = None
sys.stderr.isatty = lambda: True
import numba_lrn.apply
numba_lrn.apply.apply_file({str(tmp_path / "x.npy")!r}, {str(tmp_path / "y.npy")!r}, block_bytes=12)
"""
    python(code)
    assert (tmp_path / "y.npy").exists()


def test_a_terminal_shows_a_bar_on_standard_error(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rich", reason="rich is not installed")
    from numba_lrn.apply import apply_file

    np.save(tmp_path / "x.npy", np.ones((40, 3), "float32"))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    apply_file(tmp_path / "x.npy", tmp_path / "y.npy", block_bytes=12)
    captured = capsys.readouterr()
    assert "normalising" in captured.err
    assert captured.out == ""
