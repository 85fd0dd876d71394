"""Compiled kernels on disk: found again, and harmless whatever has become of them."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from numba_lrn.backends.cuda import cache, copies, driver
from tests.cuda import hardware

CAPABILITY = (9, 0)
KERNEL = ("walk", 5)


class Compiler:
    """Counts."""

    def __init__(self, code=b"\x7fELF machine code \n\0 with any bytes", name="kernel"):
        self.entry, self.calls = (code, name), 0

    def __call__(self):
        self.calls += 1
        return self.entry


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("NUMBA_LRN_CACHE", raising=False)
    monkeypatch.setattr(cache, "_warned", False)
    return tmp_path / "numba_lrn_cuda"


def entry(folder):
    (path,) = folder.iterdir()
    return path


def get(compiler, kernel=KERNEL, capability=CAPABILITY):
    return cache.machine_code(kernel, capability, compiler)


def test_a_kernel_is_compiled_once(folder):
    compiler = Compiler()
    assert get(compiler) == get(compiler) == compiler.entry
    assert compiler.calls == 1
    assert entry(folder).suffix == ".cubin"


@pytest.mark.parametrize("change", ["kernel", "capability", "sources", "versions"])
def test_what_makes_another_entry(folder, monkeypatch, change):
    compiler = Compiler()
    get(compiler)
    kernel, capability = KERNEL, CAPABILITY
    if change == "kernel":
        kernel = ("walk", 6)
    elif change == "capability":
        capability = (8, 0)
    elif change == "sources":
        monkeypatch.setattr(cache, "sources_stamp", lambda: "another")
    else:
        monkeypatch.setattr(cache, "compiler_versions", lambda: (("numba", "0"),))
    get(compiler, kernel, capability)
    assert compiler.calls == 2
    assert len(list(folder.iterdir())) == 2


def test_the_versions_are_those_of_the_compilers():
    names = dict(cache.compiler_versions())
    assert {"numba", "numba-cuda", "llvmlite", "cuda-core"} <= names.keys()
    # The wheels of CUDA 12 and of later ones have other names.
    assert any("nvvm" in name or "nvcc" in name for name in names)
    assert any("nvjitlink" in name for name in names)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: b"X" + data[1:],
        lambda data: data[: len(cache.MAGIC)] + bytes(cache.DIGEST) + data[len(cache.MAGIC) + cache.DIGEST :],
        lambda data: os.urandom(len(data)),
    ],
    ids=["empty", "cut in the head", "cut", "longer", "a bit", "another format", "another digest", "noise"],
)
def test_a_damaged_entry_is_replaced(folder, damage):
    compiler = Compiler()
    get(compiler)
    path = entry(folder)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert get(compiler) == compiler.entry
    assert compiler.calls == 2
    assert entry(folder).read_bytes() == whole


def test_an_entry_that_cannot_be_read(folder):
    compiler = Compiler()
    get(compiler)
    path = entry(folder)
    path.unlink()
    path.mkdir()
    with pytest.warns(RuntimeWarning, match="could not keep a compiled CUDA kernel on disk"):
        assert get(compiler) == compiler.entry
    assert [item.name for item in folder.iterdir()] == [path.name]


def test_a_folder_that_cannot_be_written(folder):
    folder.write_text("a file is in the way")
    compiler = Compiler()
    with pytest.warns(RuntimeWarning, match="Set NUMBA_CACHE_DIR to a writable folder, or NUMBA_LRN_CACHE=0"):
        assert get(compiler) == compiler.entry
    assert get(compiler) == compiler.entry  # warns once a process
    assert compiler.calls == 2


def test_a_disk_that_is_full(folder, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.pathlib.Path, "replace", full)
    compiler = Compiler()
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert get(compiler) == compiler.entry
    assert list(folder.iterdir()) == []


def test_the_switch(folder, monkeypatch):
    monkeypatch.setenv("NUMBA_LRN_CACHE", "0")
    compiler = Compiler()
    assert get(compiler) == get(compiler) == compiler.entry
    assert compiler.calls == 2
    assert not folder.exists()


def test_a_user_without_a_home(monkeypatch):
    for variable in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)

    def nowhere():
        raise RuntimeError

    monkeypatch.setattr(cache.pathlib.Path, "home", nowhere)
    assert cache.folder() is None
    assert get(Compiler()) == Compiler().entry


def test_where_entries_are_without_numbas_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder() == tmp_path / "numba_lrn_cuda"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "numba_lrn_cuda"


def test_many_at_once(folder):
    """A reader sees no entry or a whole one."""
    compiler = Compiler(bytes(200_000))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda turn: get(compiler, ("walk", turn % 3)), range(200)))
    assert set(found) == {compiler.entry}
    assert len(list(folder.iterdir())) == 3


def test_others_may_read_but_not_write(folder):
    get(Compiler())
    assert stat.S_IMODE(entry(folder).stat().st_mode) == 0o644


@pytest.mark.compiled
def test_another_process_compiles_nothing(folder):
    """A real kernel, in two processes: the second finds what the first has left."""
    code = """
import sys
from numba_lrn.backends.cuda import cache, copies, toolkit
variant = copies.Variant("copy", 4)
def compile_kernel():
    print("compiled")
    return toolkit.assemble(copies.ptx(variant, (9, 0)), (9, 0))
code, name = cache.machine_code(variant, (9, 0), compile_kernel)
print(name, len(code))
"""
    outputs = [
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split("\n")
        for _ in range(2)
    ]
    assert outputs[0][0] == "compiled"
    assert outputs[0][1:] == outputs[1]


@pytest.mark.compiled
def test_settings_of_numba_change_no_kernel(folder):
    """The key does not have them."""
    code = """
import numpy as np
from numba_lrn.backends.cuda import kernels, report
from numba_lrn.backends.cuda.blocks import Device
problem = report.Problem("small", (2, 16, 4, 4), report.NCHW, 1, 3, 0.75)
(variant,) = problem.variants("forward", np.dtype("float32"), Device())
text = kernels.ptx(variant, (9, 0))
print(len(text), ".loc" in text)
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ, **setting}
        ).stdout
        for setting in ({}, {"NUMBA_OPT": "0"}, {"NUMBA_CUDA_DEBUGINFO": "1"})
    }
    assert len(found) == 1
    assert found.pop().split()[1] == "False"


@pytest.mark.compiled
def test_a_kernel_is_loaded_once_for_an_architecture(folder, monkeypatch):
    """However many threads ask at once."""
    card = hardware.no_card(monkeypatch)
    variant = copies.Variant("copy", 2)
    with ThreadPoolExecutor(4) as pool:
        kernels = list(pool.map(lambda _: driver._kernel(copies, variant, CAPABILITY), range(8)))
    assert len(card.loaded) == 1
    assert len(set(map(id, kernels))) == 1
    assert len(list(folder.iterdir())) == 1
