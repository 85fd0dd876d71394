"""What a fresh interpreter waits for: the import, and the first call with an empty and with a filled cache."""

import os
import shutil
import subprocess
import sys
import tempfile

CALL = {
    "forward": "lrn.local_response_norm(x, 5)",
    "backward": "lrn.local_response_norm_backward(x, x, 5)",
}
PREPARE = """
import os, tempfile
os.environ["NUMBA_CACHE_DIR"] = {folder}
import numpy as np
import numba_lrn as lrn
x = np.ones((1, 16, 8, 8), np.float32)
"""


class Import:
    timeout = 120

    def timeraw_import(self) -> str:
        return "import numba_lrn"

    def timeraw_import_numba(self) -> str:
        return "import numba"


class FirstCall:
    param_names = ("direction",)
    params = (["forward", "backward"],)
    repeat = (2, 4, 20.0)
    number = 1
    timeout = 120

    def setup(self, direction: str) -> None:
        self.folder = tempfile.mkdtemp()
        code = PREPARE.format(folder=repr(self.folder)) + CALL[direction]
        subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))

    def teardown(self, direction: str) -> None:
        shutil.rmtree(self.folder)

    def timeraw_cold(self, direction: str) -> tuple[str, str]:
        return CALL[direction], PREPARE.format(folder="tempfile.mkdtemp()")

    def timeraw_warm(self, direction: str) -> tuple[str, str]:
        return CALL[direction], PREPARE.format(folder=repr(self.folder))
