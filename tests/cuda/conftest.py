"""How the tests of the CUDA backend are run: in a process of their own, twice (.ci/cuda does both).

    NUMBA_ENABLE_CUDASIM=1 python -m pytest tests/cuda     in Numba's simulator: what the two halves compute
    python -m pytest tests/cuda                            what is compiled; and all again on a GPU, if there is one

numba.cuda decides at its first import between the simulator and a card, so one process cannot do both, and pytest
does not enter this folder by itself. A test that belongs to one of the two takes the mark ``simulated`` or
``compiled``; all others take arrays from the fixture ``device`` and run in both. Without a GPU the second run skips
those.
"""

import pytest

from tests.support import optional

optional("numba_cuda")
toolkit = pytest.importorskip("numba_lrn.backends.cuda.toolkit")

from tests.cuda import hardware, plans  # noqa: E402  need numba-cuda


def pytest_configure(config):
    config.addinivalue_line("markers", "simulated: needs Numba's CUDA simulator")
    config.addinivalue_line("markers", "compiled: needs the compiler, which the simulator puts aside")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("simulated") and not toolkit.SIMULATED:
            item.add_marker(pytest.mark.skip(reason="belongs to the run with NUMBA_ENABLE_CUDASIM=1"))
        if item.get_closest_marker("compiled") and toolkit.SIMULATED:
            item.add_marker(pytest.mark.skip(reason="belongs to the run without the simulator"))


@pytest.fixture(params=["cupy", "numba", "foreign"])
def device(request, monkeypatch):
    """Each kind of array: CuPy's, Numba's, and one that has only the interface."""
    return _device(request.param, monkeypatch)


@pytest.fixture
def cupy_device(monkeypatch):
    """CuPy arrays alone, where the kind makes no difference."""
    return _device("cupy", monkeypatch)


@pytest.fixture
def numba_device(monkeypatch):
    """Numba device arrays alone."""
    return _device("numba", monkeypatch)


def _device(kind, monkeypatch):
    reason = hardware.missing(kind)
    if reason:
        pytest.skip(reason)
    if toolkit.SIMULATED and kind == "cupy":
        hardware.host_cupy(monkeypatch)
    return hardware.Hardware(kind)


@pytest.fixture(autouse=True)
def _by_threads(request, monkeypatch):
    """A case "… by threads" takes the prefix sums of threads on their own, as axes do that no block can hold."""
    case = getattr(request.node, "callspec", None)
    if case is not None and str(case.params.get("name", "")).endswith("by threads"):
        plans.prefer_threads(monkeypatch)
