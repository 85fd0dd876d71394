"""Workers made by fork, and two processes that train one model."""

import pytest

from tests import processes
from tests.torch import common  # noqa: F401  skips where torch is absent

LOADER = """
import torch, numba_lrn.torch as lrn

x = torch.randn(8, 7, 64, 65)
expected = lrn.local_response_norm(x, 4, 1.0)  # large enough to start the pool of threads before the fork


class Normalised(torch.utils.data.Dataset):
    def __len__(self):
        return len(x)

    def __getitem__(self, index):
        return lrn.local_response_norm(x[index : index + 1], 4, 1.0)[0]


loader = torch.utils.data.DataLoader(Normalised(), batch_size=4, num_workers=2, multiprocessing_context="fork")
assert torch.equal(torch.cat(list(loader)), expected)
print("done")
"""

TRAINING = """
import os, sys, tempfile
import torch, torch.distributed as dist, torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from numba_lrn.torch import LocalResponseNorm


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3), LocalResponseNorm(4, 1.0, k=2.0, learnable="alpha"), torch.nn.Flatten()
    )


def steps(net, batches):
    optimiser = torch.optim.SGD(net.parameters(), 0.1)
    for batch in batches:
        optimiser.zero_grad()
        net(batch).pow(2).mean().backward()
        optimiser.step()
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def work(rank, meeting, data):
    dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=2)
    got = steps(DistributedDataParallel(model()), [batch[2 * rank : 2 * rank + 2] for batch in data])
    torch.testing.assert_close(got, steps(model(), data), rtol=1e-4, atol=1e-6)
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.manual_seed(1)
    data = torch.randn(3, 4, 3, 6, 6)
    with tempfile.TemporaryDirectory() as folder:
        mp.start_processes(work, (os.path.join(folder, "meeting"), data), nprocs=2, start_method="fork")
    print("done")
"""


@pytest.mark.parametrize("script", [LOADER, TRAINING], ids=["DataLoader", "DistributedDataParallel"])
def test_script(script):
    output, _ = processes.run(script)
    assert output.split()[-1] == "done"
