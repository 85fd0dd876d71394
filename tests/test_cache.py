"""The on-disk cache: it notices a change in any file, survives what can happen to a folder, and can be turned off."""

import importlib.util
import pathlib
import shutil
import sys

import numba
import numpy as np
import pytest

from numba_lrn.backends import sources
from numba_lrn.backends.cpu import compiler
from tests import processes

# A kernel that compiles fast, and with it the parallel loop.
CALL = """
import numpy as np
import numba_lrn as lrn
x = np.full((2, 64, 32, 32), 2, np.float32)
print(lrn.__file__, lrn.local_response_norm(x, 1, alpha=1.0, beta=0.5, k=5.0)[0, 0, 0, 0])
"""


@pytest.fixture
def tree(tmp_path):
    """A copy of the package, which a test may edit."""
    ignore = shutil.ignore_patterns("__pycache__")
    return pathlib.Path(shutil.copytree(processes.ROOT / "numba_lrn", tmp_path / "tree" / "numba_lrn", ignore=ignore))


def call(tree, cache, **settings):
    """(the value computed by a copy of the package, what Numba reports of its cache, standard error)."""
    settings = {"NUMBA_CACHE_DIR": str(cache), "NUMBA_DEBUG_CACHE": "1", "PYTHONPATH": str(tree.parent)} | settings
    output, errors = processes.run(CALL, cwd=tree.parent, **settings)
    lines = output.splitlines()
    path, value = lines[-1].split()
    assert pathlib.Path(path).parent == tree
    return float(value), "\n".join(lines[:-1]), errors


def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix in (".nbi", ".nbc"))


def edit(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


# Counts the kernels whose functions are bound.
BINDING = """
from numba_lrn.backends.cpu import kernels
bound, make = [], kernels._namespace
kernels._namespace = lambda variant: bound.append(variant) or make(variant)
"""


def test_a_kernel_from_the_cache_binds_no_functions(tmp_path):
    code = f"{BINDING}{CALL}print(len(bound))"
    for expected in (1, 0):
        output, _ = processes.run(code, NUMBA_CACHE_DIR=str(tmp_path))
        assert int(output.splitlines()[-1]) == expected


def test_second_process_compiles_nothing_until_a_file_changes(tree, tmp_path):
    cache = tmp_path / "cache"
    value, log, _ = call(tree, cache)
    assert value == pytest.approx(2 / 3)
    assert log.count("data saved") == 2
    value, log, _ = call(tree, cache)
    assert value == pytest.approx(2 / 3)
    assert log.count("data loaded") == 2
    assert "saved" not in log
    written = "normalized(load(arrays.x, at), d, par))\n    return d\n\n\ndef keep_normalized"
    edit(tree / "algorithm" / "recipes.py", written, written.replace("par))", "par) + load(arrays.x, at))"))
    value, log, _ = call(tree, cache)
    assert value == pytest.approx(2 / 3 + 2)
    assert "data loaded" not in log


def test_stamp_changes_with_every_file(tree, monkeypatch):
    monkeypatch.setattr(sources, "__file__", str(tree / "backends" / "sources.py"))
    stamps = {sources.sources_stamp.__wrapped__()}
    files = sorted(tree.rglob("*.py"))
    for path in files:
        path.write_text(path.read_text() + "\n# changed\n")
        stamps.add(sources.sources_stamp.__wrapped__())
    assert len(stamps) == len(files) + 1
    for folder in (tree, tree / "algorithm"):  # made, then moved
        (tree / "another.py").unlink(missing_ok=True)
        (folder / "another.py").touch()
        stamps.add(sources.sources_stamp.__wrapped__())
    assert len(stamps) == len(files) + 3


def test_stamp_is_that_of_this_package():
    assert pathlib.Path(sources.__file__).is_relative_to(processes.ROOT / "numba_lrn")
    assert sources.sources_stamp() == sources.sources_stamp.__wrapped__()


def test_cache_can_be_turned_off(tree, tmp_path):
    cache = tmp_path / "cache"
    value, log, _ = call(tree, cache, NUMBA_LRN_CACHE="0")
    assert value == pytest.approx(2 / 3)
    assert log == ""
    assert not entries(tmp_path)


def test_no_writable_folder(tree, tmp_path):
    """Files where Numba looks for folders: no permissions are needed to be refused, and no user may pass."""
    nowhere = tmp_path / "file"
    nowhere.touch()
    (tree / "backends" / "cpu" / "__pycache__").touch()
    folders = dict.fromkeys(("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "IPYTHONDIR"), str(nowhere))
    command = ("-B", "-W", "always::RuntimeWarning", "-c", CALL)
    process = processes.start(*command, cwd=tree.parent, PYTHONPATH=str(tree.parent), **folders)
    output, errors = processes.finish(process)
    assert float(output.split()[1]) == pytest.approx(2 / 3)
    assert errors.count("could not use its on-disk cache") == 1
    advice = "set NUMBA_CACHE_DIR to a writable folder, to another one if an entry is damaged, or NUMBA_LRN_CACHE=0"
    assert advice in errors


def test_many_processes_at_once(tree, tmp_path):
    cache = tmp_path / "cache"
    settings = {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(tree.parent)}
    for process in [processes.start("-c", CALL, cwd=tree.parent, **settings) for _ in range(3)]:
        output, _ = processes.finish(process)
        assert float(output.split()[1]) == pytest.approx(2 / 3)
    _, log, _ = call(tree, cache)
    assert log.count("data loaded") == 2
    assert "saved" not in log


# A damaged entry, on a function that compiles in a moment.


@pytest.fixture
def compile_anew(tmp_path, monkeypatch):
    """Compile one and the same function as if for the first time in a process."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(cache))
    source = tmp_path / "double.py"
    source.write_text("def double(x):\n    return x + x\n")

    def compile_once():
        monkeypatch.setattr(compiler, "_warned", False)
        spec = importlib.util.spec_from_file_location("double", source)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "double", module)
        spec.loader.exec_module(module)
        dispatcher = compiler.compile_entry(module.double, (1.0,))
        assert dispatcher(21.0) == 42.0
        return dispatcher

    return cache, compile_once


def damaged(data):
    """Ways to lose a part of a file, or all of it."""
    return {
        "empty": b"",
        "truncated": data[: len(data) // 2],
        "last byte lost": data[:-1],
        "garbage": bytes(np.random.default_rng(0).integers(0, 256, len(data), np.uint8)),
        "zeros": bytes(len(data)),
        "text": b"not what was here",
    }


def test_entry_is_used_again(compile_anew):
    cache, compile_once = compile_anew
    assert sum(compile_once().stats.cache_misses.values()) == 1
    assert len(entries(cache)) == 2
    assert sum(compile_once().stats.cache_hits.values()) == 1


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", damaged(b""))
@pytest.mark.filterwarnings("always:numba_lrn could not use its on-disk cache:RuntimeWarning")
def test_damaged_entry_costs_a_compilation_only(compile_anew, suffix, damage):
    cache, compile_once = compile_anew
    compile_once()
    (path,) = (path for path in entries(cache) if path.suffix == suffix)
    path.write_bytes(damaged(path.read_bytes())[damage])
    compile_once()


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.filterwarnings("ignore:numba_lrn could not use its on-disk cache:RuntimeWarning")
def test_half_an_entry_costs_a_compilation_only(compile_anew, suffix):
    cache, compile_once = compile_anew
    compile_once()
    (path,) = (path for path in entries(cache) if path.suffix == suffix)
    path.unlink()
    compile_once()


def test_damage_is_told_once(compile_anew):
    cache, compile_once = compile_anew
    compile_once()
    for path in entries(cache):
        path.write_bytes(b"")
    with pytest.warns(RuntimeWarning, match="could not use its on-disk cache .* and compiles in memory") as caught:
        compile_once()
    assert len(caught) == 1


WARM = """
import numpy as np
import numba_lrn as lrn
from numba_lrn import LocalResponseNorm
from numba_lrn.backends.cpu.launch import plan_of
lrn.warmup("float32", ndim=2)
for n in (2, 3, 5, 9):
    for shape, axis in (((8, 64, 56, 56), 1), ((8, 64, 56, 56), -1), ((4096, 512), 0), ((4096, 512), 1)):
        for recipe in ("forward", "backward"):
            plan = plan_of(LocalResponseNorm(n, axis=axis), recipe, np.empty(shape, np.float32))
            print(n, shape, axis, recipe, plan.workers, plan.kernel._dispatcher is not None)
"""


def test_warmup_leaves_nothing_to_compile_for_small_windows(tmp_path):
    output, _ = processes.run(WARM, NUMBA_CACHE_DIR=str(tmp_path))
    lines = output.splitlines()
    assert len(lines) == 32
    assert all(line.endswith(" True") for line in lines)
