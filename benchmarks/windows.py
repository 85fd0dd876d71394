"""The window sweep: the time should hardly grow with the window."""

from .common import Prepared


class Window(Prepared):
    param_names = ("size", "layout", "direction")
    params = ([1, 3, 5, 9, 17, 33, 63, 127, 255], ["nchw", "nhwc"], ["forward", "backward"])

    def setup(self, size: int, layout: str, direction: str) -> None:
        self.prepare(f"window-{size}", layout, "float32", direction)

    def time_window(self, size: int, layout: str, direction: str) -> None:
        self.run()
