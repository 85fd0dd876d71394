"""Arrays so small that the way to the kernel is what is timed."""

from .common import Prepared


class Small(Prepared):
    sample_time = 0.005
    param_names = ("case", "direction")
    params = (["small-tiny", "small-image", "small-row"], ["forward", "backward"])

    def setup(self, case: str, direction: str) -> None:
        self.prepare(case, "nchw", "float32", direction)

    def time_call(self, case: str, direction: str) -> None:
        self.run()
