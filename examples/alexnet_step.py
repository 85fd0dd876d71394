"""One training step of AlexNet (Krizhevsky et al. 2012), with PyTorch's LRN and with this library's, in turn.

python examples/alexnet_step.py [--batch 32] [--rounds 9]

The network of the paper at 227×227 in one column, n = 5, alpha = 5e-4 (1e-4 undivided), beta = 0.75, k = 2; random
images, for the time of a step does not depend on them. Needs torch.
"""

import argparse
import statistics
import time

import torch
from torch import nn

from numba_lrn.torch import replace_local_response_norm


def alexnet() -> nn.Sequential:
    """The network of the paper, without dropout."""
    norm = {"size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), nn.LocalResponseNorm(**norm), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2), nn.ReLU(), nn.LocalResponseNorm(**norm), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Flatten(), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
    )  # fmt: skip


def step(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, optimiser: torch.optim.Optimizer) -> float:
    """The loss before one step of training."""
    optimiser.zero_grad()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimiser.step()
    return loss.item()


def main() -> None:
    """Time both and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.batch, 3, 227, 227, generator=generator)
    labels = torch.randint(1000, (options.batch,), generator=generator)
    models = {}
    for name in ("torch", "numba_lrn.torch"):
        torch.manual_seed(0)
        models[name] = alexnet()
    assert replace_local_response_norm(models["numba_lrn.torch"]) == 2
    optimisers = {name: torch.optim.SGD(model.parameters(), lr=1e-3) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    losses: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(options.rounds + 1):
        for name, model in models.items():
            start = time.perf_counter()
            losses[name].append(step(model, images, labels, optimisers[name]))
            if turn > 0:  # the first compiles
                seconds[name].append(time.perf_counter() - start)
    for name in models:
        print(f"{name:16} {statistics.median(seconds[name]) * 1000:8.0f} ms a step, loss {losses[name][-1]:.6f}")
    ratios = [a / b for a, b in zip(seconds["torch"], seconds["numba_lrn.torch"], strict=True)]
    print(f"torch / numba_lrn.torch, by rounds: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
