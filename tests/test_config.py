"""What a bug report needs is there, in every situation, and costs no imports of packages that are not used."""

import json
import os
import platform
import subprocess
import sys

import llvmlite
import numba
import numpy as np
import pytest

import numba_lrn as lrn
from numba_lrn import config as module
from numba_lrn.backends.cpu import kernels
from numba_lrn.backends.cpu.threads import available_workers
from numba_lrn.cli import main
from numba_lrn.config import config, show_config


def in_process(code, **environment):
    """The last line of a fresh interpreter's standard output, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )
    return json.loads(done.stdout.splitlines()[-1])


def config_in_process(**environment):
    return in_process("import json, numba_lrn.config as c; print(json.dumps(c.config()))", **environment)


def test_versions():
    assert config()["versions"] == {
        "numba_lrn": lrn.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "numpy": np.__version__,
        "python": f"{platform.python_version()} (CPython)",
    }


def test_it_can_be_written_as_json():
    assert json.loads(json.dumps(config())).keys() == config().keys()


def test_threads_are_those_that_run():
    threads = config()["threads"]
    assert threads["threads in use"] == available_workers()
    assert threads["threading layer"] == numba.threading_layer()


def test_why_everything_runs_serial():
    threads = config_in_process(NUMBA_LRN_PARALLEL="0")["threads"]
    assert threads["threads in use"] == 1
    assert threads["serial because"] == "NUMBA_LRN_PARALLEL=0"


def test_the_workqueue_layer_runs_serial():
    threads = config_in_process(NUMBA_THREADING_LAYER="workqueue")["threads"]
    assert threads["threading layer"] == "workqueue"
    assert threads["threads in use"] == 1
    assert "workqueue" in threads["serial because"]


def test_the_simd_width_is_that_of_a_kernel():
    def widest(assembly):
        return max(bits for bits, register in ((512, "%zmm"), (256, "%ymm"), (128, "%xmm")) if register in assembly)

    if platform.machine() != "x86_64":
        pytest.skip("the names of the registers are those of x86-64")
    code = """
import numpy as np, numba_lrn as lrn, json
from numba_lrn.backends.cpu import kernels
lrn.local_response_norm(np.ones((1, 4, 8, 8), "float32"), 3)
variant = kernels.Variant("forward", "direct", "power_three_quarters", "float32", "float32")
print(json.dumps(kernels.kernel(variant).assembly()))
"""
    assert config()["machine"]["SIMD bits in use"] == widest(in_process(code, NUMBA_LRN_CACHE="0"))


def test_the_cache_folder_is_where_kernels_are_kept(tmp_path):
    code = """
import json, numpy as np, numba_lrn as lrn
from numba_lrn.config import config
before = config()["cache"]
lrn.local_response_norm(np.ones((1, 4, 8, 8), "float32"), 3)
print(json.dumps([before, config()["cache"]]))
"""
    before, after = in_process(code, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_LRN_CACHE="1")
    assert before["files"] == 0
    files = [path for path in tmp_path.rglob("*.nb?") if path.is_file()]
    assert after["files"] == len(files) > 0
    assert after["size"] == f"{sum(path.stat().st_size for path in files) / 1e6:.1f} MB"
    assert after["folder"] == str(files[0].parent)
    assert after["enabled"] is after["writable"] is True


def test_the_cache_can_be_off():
    assert config_in_process(NUMBA_LRN_CACHE="0")["cache"]["enabled"] is False


def test_no_folder_for_the_cache(monkeypatch, capsys):
    # Numba finds no folder for a function whose file does not exist.
    namespace = {}
    exec("def nowhere(x): return x", namespace)
    monkeypatch.setattr(kernels, "entry_function", namespace["nowhere"])
    cache = config()["cache"]
    assert cache["writable"] is False
    assert "no locator available" in cache["problem"]
    show_config()
    assert "writable  no" in capsys.readouterr().out


def test_environment_variables(monkeypatch):
    monkeypatch.setenv("NUMBA_LRN_DEBUG", "0")
    assert config()["environment"]["NUMBA_LRN_DEBUG"] == "0"


def test_without_numba_cuda_the_gpu_is_not_looked_for():
    code = """
import json, sys, importlib.metadata as metadata
version = metadata.version
def without(name):
    if name == "numba-cuda":
        raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = without
from numba_lrn.config import config
gpu = config()["gpu"]
print(json.dumps([gpu, [name for name in ("numba.cuda", "torch", "rich", "matplotlib") if name in sys.modules]]))
"""
    gpu, imported = in_process(code)
    assert "numba-cuda is not installed" in gpu["none because"]
    assert imported == []


def test_a_gpu_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(module, "version_of", lambda name: "1.0")
    monkeypatch.setitem(sys.modules, "numba.cuda", None)
    monkeypatch.delattr(numba, "cuda", raising=False)
    assert config()["gpu"].keys() == {"none because"}
    assert "Error" in config()["gpu"]["none because"]


def test_info_prints_every_entry(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for section, entries in config().items():
        assert f"{section}\n" in text
        for name, value in entries.items():
            assert name in text or value is None
    assert lrn.__version__ in text
    assert "numba-lrn[cuda12]" in text or "gpu\n  name" in text or "none because" in text


@pytest.mark.parametrize(
    ("name", "value", "section", "text"),
    [
        ("NUMBA_DISABLE_JIT", "1", "cache", "NUMBA_DISABLE_JIT"),
        ("NUMBA_THREADING_LAYER", "x", "threads", "threading layer"),
    ],
)
def test_what_does_not_work_is_told_and_not_raised(name, value, section, text):
    code = "import json; from numba_lrn.config import config; print(json.dumps(config()))"
    assert text in in_process(code, **{name: value})[section]["problem"]


def test_without_the_compiler():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import numpy as np, numba_lrn; numba_lrn.local_response_norm(np.ones((1, 4), 'f4'), 3)",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
    )
    assert "RuntimeError: numba_lrn computes by compiled code alone, which NUMBA_DISABLE_JIT=1 turns off" in done.stderr
