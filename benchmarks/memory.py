"""Peak memory of a call that allocates its result: the inputs, the result, and nothing of their size besides."""

import numpy as np

import numba_lrn as lrn


class Memory:
    param_names = ("layout", "direction")
    params = (["nchw", "nhwc"], ["forward", "backward"])
    timeout = 300

    def setup(self, layout: str, direction: str) -> None:
        self.axis = 1 if layout == "nchw" else 3
        self.x = np.ones((32, 96, 55, 55) if layout == "nchw" else (32, 55, 55, 96), np.float32)

    def peakmem_call(self, layout: str, direction: str) -> None:
        if direction == "forward":
            lrn.local_response_norm(self.x, 5, axis=self.axis)
        else:
            lrn.local_response_norm_backward(self.x, self.x, 5, axis=self.axis)
