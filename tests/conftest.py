"""What holds for the whole session: one cache of compiled kernels, and no silent skips in continuous integration."""

import os
import pathlib
import re
import tempfile
from collections.abc import Iterator

import pytest

from tests import processes

# The words of pytest.importorskip, of tests.support.optional and of the skips in these tests.
MISSING_PACKAGE = re.compile(r"could not import|no module named|not installed", re.IGNORECASE)


def pytest_configure(config: pytest.Config) -> None:
    """Compiled kernels are shared by workers, subprocesses and sessions; set before anything imports numba."""
    if "NUMBA_CACHE_DIR" not in os.environ:
        cache = getattr(config, "cache", None)
        folder = cache.mkdir("numba") if cache else pathlib.Path(tempfile.mkdtemp(prefix="numba_lrn_tests_"))
        os.environ["NUMBA_CACHE_DIR"] = str(folder)


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """With NUMBA_LRN_CI=1 a package that is missing is a failure."""
    if os.environ.get("NUMBA_LRN_CI", "0") == "0" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if MISSING_PACKAGE.search(reason):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nNUMBA_LRN_CI=1 allows no skip for a missing package: install it"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[None]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.fixture(params=processes.LAYERS)
def layer(request: pytest.FixtureRequest) -> str:
    """Each threading layer that this machine offers."""
    if not processes.has_layer(request.param):
        pytest.skip(f"the {request.param} threading layer is not installed or does not load")
    return request.param
