"""What is said where a package, a driver or a card is missing, or a card is too old."""

import importlib.util
import os
import subprocess
import sys

import numba
import pytest

from numba_lrn.backends.cuda import toolkit

INSTALL = r"pip install 'numba-lrn\[cuda13\]' \(or 'numba-lrn\[cuda12\]'"


def test_without_the_package(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "numba_cuda" else find(name))
    expected = (
        f"needs the package numba-cuda, which is not installed; .* built into Numba itself is deprecated.*{INSTALL}"
    )
    with pytest.raises(ImportError, match=expected):
        toolkit._import()


def test_with_a_package_that_does_not_import(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba.cuda", None)
    monkeypatch.delattr(numba, "cuda")
    with pytest.raises(ImportError, match=f"numba-cuda could not be imported .*{INSTALL}"):
        toolkit._import()


def test_with_the_deprecated_target(monkeypatch):
    monkeypatch.setattr(toolkit.cuda, "implementation", "Built-in")
    with pytest.raises(ImportError, match=r"deprecated target built into Numba although numba-cuda is installed.*-S"):
        toolkit._import()


def test_without_the_core_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.core", None)
    with pytest.raises(ImportError, match=f"needs the package cuda-core .*{INSTALL}"):
        toolkit._core()


def test_an_old_card():
    toolkit.check_capability("Turing", (7, 5))
    with pytest.raises(RuntimeError, match=r"Tesla V100 has compute capability 7\.0; .* needs 7\.5 .* CPU backend"):
        toolkit.check_capability("Tesla V100", (7, 0))


@pytest.mark.compiled
def test_without_a_driver(monkeypatch):
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")

    def absent(flags):
        raise RuntimeError("Failed to dlopen libcuda.so.1")

    monkeypatch.setattr(driver, "cuInit", absent)
    with pytest.raises(RuntimeError, match=r"no CUDA driver answers \(Failed to dlopen.*\); check .* nvidia-smi"):
        toolkit.properties(0)


@pytest.mark.compiled
@pytest.mark.parametrize("ordinal", [-1, 2])
def test_a_card_that_is_not_there(ordinal, monkeypatch):
    monkeypatch.setattr(toolkit, "_device_count", lambda: 2)
    with pytest.raises(RuntimeError, match=rf"no CUDA device {ordinal}: the driver shows 2; see CUDA_VISIBLE_DEVICES"):
        toolkit.properties(ordinal)


@pytest.mark.simulated
def test_the_simulator_says_what_it_is():
    assert toolkit.SIMULATED
    assert "simulator" in toolkit.properties(0).name


@pytest.mark.compiled
def test_the_simulator_is_what_numba_took_it_for():
    """Once Numba is imported the variable comes too late: there is no simulator to build kernels for."""
    program = (
        "import os, numba.cuda; os.environ['NUMBA_ENABLE_CUDASIM'] = '1'; "
        "from numba_lrn.backends.cuda import toolkit; assert not toolkit.SIMULATED"
    )
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=300)


REPORTS = {
    "13.0": """
info    : 8 bytes gmem
info    : Function properties for 'k':
info    : used 60 registers, used 0 barriers, 0 stack, 16 bytes smem, 656 bytes cmem[0], 0 bytes lmem
""",
    "13.5": """
ptxas info    : Function properties for k
    8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 8 bytes cumulative stack size, 656 bytes cmem[0]
""",
}
FIGURES = {"13.0": (60, 0, 0), "13.5": (255, 16, 8)}


@pytest.mark.parametrize("version", REPORTS)
def test_reports_of_several_versions(version):
    assert toolkit._figures(REPORTS[version]) == FIGURES[version]


def test_a_report_without_figures_is_refused():
    with pytest.raises(RuntimeError, match="the assembler's report has no"):
        toolkit._figures("nothing")


@pytest.mark.compiled
def test_a_numpy_that_does_not_fit(monkeypatch):
    """numba-cuda 0.30 and NumPy 2.5: the compiler ends in the middle of an import of its own."""

    def compile_ptx(*arguments, **options):
        raise AttributeError("module 'numpy' has no attribute 'row_stack'")

    monkeypatch.setattr(toolkit.cuda, "compile_ptx", compile_ptx)
    with pytest.raises(ImportError, match=r"numba-cuda \S+ does not work with NumPy \S+ .*module 'numpy'.*older"):
        toolkit.compile_ptx(lambda: None, (), (9, 0))


@pytest.mark.compiled
def test_other_errors_of_the_compiler_stay_what_they_are(monkeypatch):
    def compile_ptx(*arguments, **options):
        raise AttributeError("another attribute")

    monkeypatch.setattr(toolkit.cuda, "compile_ptx", compile_ptx)
    with pytest.raises(AttributeError, match="another attribute"):
        toolkit.compile_ptx(lambda: None, (), (9, 0))
