"""The same layers on a CUDA device; skipped where there is none."""

from .common import NETWORKS, Prepared


class Cuda(Prepared):
    param_names = ("case", "layout", "dtype", "direction")
    params = (NETWORKS, ["nchw", "nhwc"], ["float32", "float16"], ["forward", "backward"])

    def setup(self, case: str, layout: str, dtype: str, direction: str) -> None:
        self.prepare(case, layout, dtype, direction, "cuda")

    def time_call(self, case: str, layout: str, dtype: str, direction: str) -> None:
        self.run()


class CudaDerivatives(Prepared):
    param_names = ("case", "layout", "direction")
    params = (NETWORKS, ["nchw", "nhwc"], ["jvp", "parameters", "double_backward"])

    def setup(self, case: str, layout: str, direction: str) -> None:
        self.prepare(case, layout, "float32", direction, "cuda")

    def time_derivative(self, case: str, layout: str, direction: str) -> None:
        self.run()
