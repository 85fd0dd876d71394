"""Every benchmark class once, with its cheapest parameters: python -m benchmarks.smoke."""

import importlib
import itertools
import subprocess
import sys

from asv_runner.benchmarks.mark import SkipNotImplemented

MODULES = ("networks", "windows", "small", "roof", "memory", "start", "cuda")
# The parameters that are run, where a class has a choice; the others take their first.
CHEAP = {
    "networks.Forward": ("alexnet-norm2",),
    "networks.Backward": ("alexnet-norm2",),
    "networks.Derivatives": ("alexnet-norm2",),
    "roof.Roof": ("alexnet-norm2",),
}


def main() -> None:
    for module in MODULES:
        run_module(module)


def run_module(module: str) -> None:
    for name, kind in vars(importlib.import_module(f"benchmarks.{module}")).items():
        methods = [method for method in dir(kind) if method.startswith(("time_", "timeraw_", "track_", "peakmem_"))]
        if isinstance(kind, type) and methods:
            run(f"{module}.{name}", kind, methods)


def run(name: str, kind: type, methods: list[str]) -> None:
    first = [values[0] for values in getattr(kind, "params", ())]
    cheap = CHEAP.get(name, ())
    parameters = tuple(itertools.chain(cheap, first[len(cheap) :]))
    for method in methods:
        instance = kind()
        try:
            if hasattr(instance, "setup"):
                instance.setup(*parameters)
            result = getattr(instance, method)(*parameters)
            if method.startswith("timeraw_"):
                code = result if isinstance(result, str) else f"{result[1]}\n{result[0]}"
                subprocess.run([sys.executable, "-c", code], check=True)
            if hasattr(instance, "teardown"):
                instance.teardown(*parameters)
        except SkipNotImplemented as reason:
            print(f"{name}.{method}{parameters}: skipped: {reason}")
        else:
            print(f"{name}.{method}{parameters}: ok")


if __name__ == "__main__":
    main()
