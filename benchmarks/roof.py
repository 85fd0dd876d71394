"""Times over the memory roof of the machine, measured in the same rounds.

The roof is a copy (forward), two reads and a write, or three reads and two writes (double_backward).
"""

from numba_lrn.bench.run import OURS, ROOF, InProcess
from numba_lrn.bench.timing import interleave, ratio_by_round, statistics

from .common import LONG, NETWORKS, Prepared


class Roof(Prepared):
    unit = "× roof"
    param_names = ("case", "layout", "direction")
    params = ([*NETWORKS, *LONG], ["nchw", "nhwc"], ["forward", "backward", "jvp", "parameters", "double_backward"])

    def setup(self, case: str, layout: str, direction: str) -> None:
        self.prepare(case, layout, "float32", direction)

    def track_over_roof(self, case: str, layout: str, direction: str) -> float:
        calls = {OURS: self.call, ROOF: self.device.roof(direction)}
        samplers = {name: InProcess(call, self.buffers, self.device, True).sample for name, call in calls.items()}
        samples = interleave(samplers, OURS, ROOF, min_time=0.3, max_noise=0.05)
        return statistics(ratio_by_round(samples[OURS], samples[ROOF])).median

    track_over_roof.unit = unit
