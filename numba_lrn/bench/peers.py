"""Other implementations, each in a process of its own (worker.py), behind one small interface."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from numba_lrn.bench.cases import BadArgumentError, parse_names
from numba_lrn.bench.problem import Problem, numpy_dtype

WORKER = pathlib.Path(__file__).with_name("worker.py")
CPU_PEERS = ("torch", "torch.compile", "onnxruntime", "openvino", "tensorflow")
CUDA_PEERS = ("torch", "torch.compile", "cudnn")
PEERS = (*CPU_PEERS, "cudnn")
FRONTENDS = {"torch": "numba_lrn.torch"}  # our own, through another door: measured as peers are
ON_DEVICE = {"cpu": (*CPU_PEERS, *FRONTENDS.values()), "cuda": (*CUDA_PEERS, *FRONTENDS.values())}


class UnableError(Exception):
    """A peer that is absent, or cannot do a case, or computes something else; the text is the reason."""


def parse_peers(text: str) -> tuple[str, ...]:
    """The peers of ``--against``; ``all`` names every one."""
    return PEERS if text.strip() == "all" else parse_names(text, PEERS, "--against")


def parse_frontends(text: str) -> tuple[str, ...]:
    """The fronts of ``--frontend``, by the names of their workers."""
    return tuple(FRONTENDS[name] for name in parse_names(text, tuple(FRONTENDS), "--frontend"))


def parse_pythons(texts: list[str]) -> dict[str, str]:
    """``--peer-python NAME=PYTHON``: the interpreter in whose environment a peer is installed."""
    found = {}
    for text in texts:
        name, _, python = text.partition("=")
        if not python:
            msg = f"--peer-python {text!r}: write NAME=PYTHON, as tensorflow=/opt/tf/bin/python"
            raise BadArgumentError(msg)
        parse_names(name, PEERS, "--peer-python")
        if not pathlib.Path(python).exists():
            msg = f"--peer-python {text!r}: there is no {python}"
            raise BadArgumentError(msg)
        found[name] = python
    return found


class Peer:
    """A running worker of one peer.

    Raises
    ------
    UnableError
        When the peer is not installed, or runs on another device.
    """

    def __init__(self, name: str, device: str, threads: int, python: str = sys.executable, passive: bool = True):
        self.name = name
        if name not in ON_DEVICE[device]:
            where = "on a CUDA device" if name not in CPU_PEERS else "on the CPU"
            msg = f"runs {where} only; measured is the backend {device}"
            raise UnableError(msg)
        environment = dict(os.environ)
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[variable] = str(threads)
        environment.pop("OMP_WAIT_POLICY", None)
        if passive:  # else a pool that has just worked spins, and takes a core from the next contestant
            environment["OMP_WAIT_POLICY"] = "passive"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        # -c instead of the path: the folder of this file must not come first on the peer's module path.
        code = f"import runpy, sys; runpy.run_path({str(WORKER)!r}, run_name='__main__')"
        self._process = subprocess.Popen(
            [python, "-c", code, name, str(threads), device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment,
            text=True,
        )
        try:
            self.version: str = self._ask("hello")["version"]
        except UnableError:
            self.close()
            raise

    def make(self, problem: Problem, direction: str, files: dict[str, str], sets: int) -> dict[str, Any]:
        """Prepare a problem whose inputs lie in ``files`` and call it once; {"first_call": seconds, "note": text}."""
        case = problem.case
        fields = {
            "shape": case.shape,
            "array_shape": problem.shape,
            "layout": problem.layout,
            "dtype": problem.dtype,
            "size": case.size,
            "alpha": case.alpha,
            "beta": case.beta,
            "k": case.k,
            "within": case.within,
            **files,
        }
        return self._ask("make", problem=fields, direction=direction, sets=sets)

    def run(self, calls: int) -> float:
        """Seconds a call."""
        return float(self._ask("run", calls=calls)["seconds"])

    def result(self, problem: Problem) -> Any:
        """The last result: an array, or several and the gradients of the parameters."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "result"
            parts = self._ask("save", path=str(path))["parts"]
            arrays = [np.fromfile(f"{path}{part}", numpy_dtype(problem.dtype)) for part in range(parts)]
            found = tuple(array.reshape(problem.shape) if array.size > 1 else array for array in arrays)
            return found if parts > 1 else found[0]

    def close(self) -> None:
        """End the worker."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(BrokenPipeError):  # what a dead process was still to be told
                if stream is not None:
                    stream.close()

    def _ask(self, command: str, **fields: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"command": command, **fields}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise UnableError(f"its process ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        for reason in ("absent", "unable"):
            if reason in answer:
                raise UnableError(answer[reason])
        return answer

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:200] if lines else "no message"


class Peers:
    """The peers of a run: started when first needed, ended together."""

    def __init__(self, names: tuple[str, ...], device: str, threads: int, pythons: dict[str, str]):
        self.names = names
        self.versions: dict[str, str] = {}
        self._device, self._threads, self._pythons = device, threads, pythons
        self._running: dict[tuple[str, bool], Peer] = {}
        self._absent: dict[str, str] = {}

    def get(self, name: str, passive: bool = True) -> Peer:
        """The worker of a peer; ``passive`` puts its threads to sleep between calls."""
        if name in self._absent:
            raise UnableError(self._absent[name])
        if (name, passive) not in self._running:
            try:
                peer = Peer(name, self._device, self._threads, self._pythons.get(name, sys.executable), passive)
            except UnableError as reason:
                self._absent[name] = str(reason)
                raise
            self._running[name, passive] = peer
            self.versions[name] = peer.version
        return self._running[name, passive]

    def drop(self, name: str, passive: bool = True) -> None:
        """Forget a worker that has died; the next case starts another."""
        peer = self._running.pop((name, passive), None)
        if peer is not None:
            peer.close()

    def close(self) -> None:
        """End all of them."""
        for peer in self._running.values():
            peer.close()
        self._running.clear()
