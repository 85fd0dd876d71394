"""Layers of real networks, out of cache, into a given result."""

from .common import NETWORKS, Prepared


class Forward(Prepared):
    param_names = ("case", "layout", "dtype")
    params = (NETWORKS, ["nchw", "nhwc"], ["float32", "float16", "bfloat16", "float64"])

    def setup(self, case: str, layout: str, dtype: str) -> None:
        self.prepare(case, layout, dtype, "forward")

    def time_forward(self, case: str, layout: str, dtype: str) -> None:
        self.run()


class Backward(Prepared):
    param_names = ("case", "layout", "dtype")
    params = (NETWORKS, ["nchw", "nhwc"], ["float32", "float16", "bfloat16", "float64"])

    def setup(self, case: str, layout: str, dtype: str) -> None:
        self.prepare(case, layout, dtype, "backward")

    def time_backward(self, case: str, layout: str, dtype: str) -> None:
        self.run()


class Derivatives(Prepared):
    param_names = ("case", "layout", "direction")
    params = (NETWORKS, ["nchw", "nhwc"], ["jvp", "parameters", "double_backward"])

    def setup(self, case: str, layout: str, direction: str) -> None:
        self.prepare(case, layout, "float32", direction)

    def time_derivative(self, case: str, layout: str, direction: str) -> None:
        self.run()
