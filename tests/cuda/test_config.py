"""What a bug report needs to know of the GPU, and compiling ahead for it."""

import numpy as np
import pytest

import numba_lrn as lrn
from numba_lrn.backends.cuda import cache, launch, toolkit
from numba_lrn.backends.cuda.arrays import Layout, driver
from numba_lrn.config import config
from tests.cuda import hardware


def entries(name, capability, multiprocessors, version):
    return {
        "name": name,
        "device": 0,
        "compute capability": capability,
        "multiprocessors": multiprocessors,
        "CUDA of the driver": version,
        "compilers": ", ".join(" ".join(item) for item in cache.compiler_versions()),
        "kernel cache": str(cache.folder()),
    }


@pytest.mark.simulated
def test_the_simulator_says_so():
    expected = entries("Numba's CUDA simulator", "9.0", 1, "none, Numba's simulator stands in for it")
    assert config()["gpu"] == expected


@pytest.mark.compiled
def test_a_card(monkeypatch):
    hardware.no_card(monkeypatch)
    monkeypatch.setattr(driver, "version", lambda: "13.4")
    assert config()["gpu"] == entries("no card", "9.0", 132, "13.4")
    hardware.forget_cards()


@pytest.mark.compiled
def test_no_driver():
    if hardware.missing("cupy") is None:
        pytest.skip("there is a GPU")
    (why,) = config()["gpu"].values()
    assert why.startswith("RuntimeError: no CUDA driver answers")


@pytest.mark.compiled
def test_a_card_that_is_too_old(monkeypatch):
    hardware.no_card(monkeypatch)
    monkeypatch.setattr(driver, "device", lambda ordinal: toolkit.check_capability("GTX 1080", (6, 1)))
    (why,) = config()["gpu"].values()
    assert why.startswith("RuntimeError: GTX 1080 has compute capability 6.1; the CUDA backend needs 7.5")
    hardware.forget_cards()


# Compiling ahead.


@pytest.mark.compiled
def test_warmup_leaves_nothing_to_compile_for_the_usual_calls(monkeypatch):
    card = hardware.no_card(monkeypatch)
    lrn.warmup(dtypes=("float32",), device="cuda")
    loaded = len(card.loaded)
    assert loaded > 0
    assert not card.launched, "compiling ahead needs no arrays"
    for shape, axis in (((8, 96, 56, 56), 1), ((8, 56, 56, 96), -1), ((8, 96, 55, 55), 1)):
        for size, recipe in ((5, "forward"), (5, "backward")):
            strides = [4]
            for extent in reversed(shape[1:]):
                strides.insert(0, strides[0] * extent)
            layout = Layout(shape, tuple(strides), np.dtype(np.float32), 0)
            launch._route(lrn.LocalResponseNorm(size, axis=axis), recipe, layout, 0)
    assert len(card.loaded) == loaded
    hardware.forget_cards()


@pytest.mark.parametrize("device", ["gpu", "cuda:0", 0, None])
def test_another_device(device):
    with pytest.raises(ValueError, match=rf"device is {device!r}; supported are 'cpu' and 'cuda'"):
        lrn.warmup(device=device)


def test_other_dtypes():
    for name in ("int32", "nothing"):
        with pytest.raises(TypeError, match=f"dtypes names '{name}'; supported are float16, bfloat16"):
            lrn.warmup(dtypes=(name,), device="cuda")
