"""The library in a pool of processes, whose parent has called it before."""

import multiprocessing

import pytest

from tests import processes

SCRIPT = (
    processes.SETUP
    + """
import multiprocessing

def work(index):
    check()
    return float(op(x)[index, 0, 0, 0])

if __name__ == "__main__":
    check()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        got = pool.map(work, range(4))
    np.testing.assert_allclose(got, y[:4, 0, 0, 0], rtol=1e-6, atol=1e-6)
    check()
"""
)


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_pool(method, layer, tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(SCRIPT)
    processes.finish(processes.start(str(script), method, NUMBA_THREADING_LAYER=layer))
