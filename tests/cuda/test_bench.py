"""What the benchmark asks of the CUDA backend."""

import pytest

from numba_lrn import LocalResponseNorm
from numba_lrn.bench.devices import DEVICES
from tests.support import random_array


@pytest.mark.parametrize(
    ("size", "axis", "beta", "path"),
    [
        (5, 1, 0.75, "small 3/4_refined cuda"),
        (3, -1, 0.5, "small_last 1/2_refined cuda"),
        (5, 1, 0.0, "copy"),
    ],
)
def test_the_path_of_a_call(cupy_device, size, axis, beta, path):
    x = cupy_device.put(random_array(0, (2, 8, 4, 4)))
    assert DEVICES["cuda"].path_taken(LocalResponseNorm(size, beta=beta, axis=axis), "forward", x) == path


def test_the_path_of_several_launches(cupy_device):
    x = cupy_device.put(random_array(0, (2, 2, 40, 24)))
    path = DEVICES["cuda"].path_taken(LocalResponseNorm(19, axis=(2, 3)), "forward", x)
    assert path == "wide_last+wide 3/4_refined cuda"
