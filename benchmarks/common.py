"""What the benchmark classes share: a case of numba_lrn.bench, prepared, warmed up and ready for a one-line call."""

from asv_runner.benchmarks.mark import SkipNotImplemented

from numba_lrn.bench.cases import CASES
from numba_lrn.bench.devices import DEVICES
from numba_lrn.bench.problem import Problem
from numba_lrn.bench.run import Buffers

CASE = {case.name: case for case in CASES}
NETWORKS = ["alexnet-norm1", "alexnet-norm2", "googlenet-norm1", "googlenet-norm2", "zfnet-norm1", "cifar10-norm1"]
LONG = ["signal-5", "image-5"]


class Prepared:
    """A case in one layout, dtype and direction; ``run()`` is one call on the next buffers."""

    # The compilation is over before the clock starts: each setup calls once.
    warmup_time = 0.0
    sample_time = 0.02
    repeat = (5, 20, 3.0)
    rounds = 2
    timeout = 300

    def prepare(self, name: str, layout: str, dtype: str, direction: str, device: str = "cpu") -> None:
        self.device = DEVICES[device]
        reason = self.device.unavailable()
        if reason:
            raise SkipNotImplemented(reason)
        try:
            self.problem = Problem(CASE[name], layout, dtype)
            self.problem.inputs  # noqa: B018
        except ImportError as error:
            raise SkipNotImplemented(str(error)) from None
        self.buffers = Buffers(self.device, self.problem, direction, 1)
        self.call = self.problem.call(direction)
        self.run()

    def run(self) -> None:
        self.call(*self.buffers.next())
        self.device.synchronize()
