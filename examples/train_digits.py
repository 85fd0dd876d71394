"""An AlexNet-style network on scikit-learn's digits, trained twice from one seed: with PyTorch's LRN and with ours.

python examples/train_digits.py [--steps 200] [--plot docs/images/torch-training.png]

The losses agree until rounding has grown; the steps of both are timed in turn. Needs torch, scikit-learn and, for the
plot, matplotlib.
"""

import argparse
import statistics
import time
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import nn

from numba_lrn.torch import replace_local_response_norm


class Training(NamedTuple):
    """The losses of each step, and the seconds of each step, by the name of the LRN."""

    losses: dict[str, list[float]]
    seconds: dict[str, list[float]]


def network() -> nn.Sequential:
    """Convolution, ReLU, LRN, pooling, twice, and a classifier: the first layers of AlexNet, narrowed."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 48, 5, padding=2),
        nn.ReLU(),
        nn.LocalResponseNorm(5, alpha=1e-2, beta=0.75, k=2.0),
        nn.MaxPool2d(2),
        nn.Conv2d(48, 64, 3, padding=1),
        nn.ReLU(),
        nn.LocalResponseNorm(5, alpha=1e-2, beta=0.75, k=2.0),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 8 * 8, 10),
    )


def images(size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """1797 handwritten digits of 8×8, enlarged, and their labels."""
    digits = load_digits()
    pictures = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    return nn.functional.interpolate(pictures, (size, size), mode="bilinear"), torch.tensor(digits.target)


def train(steps: int, batch: int = 64) -> Training:
    """Both networks, step by step in turn, on the same batches."""
    pictures, labels = images()
    models = {"torch.nn": network(), "numba_lrn.torch": network()}
    replace_local_response_norm(models["numba_lrn.torch"])
    optimisers = {name: torch.optim.SGD(model.parameters(), 0.02, momentum=0.9) for name, model in models.items()}
    found = Training({name: [] for name in models}, {name: [] for name in models})
    order = torch.Generator().manual_seed(1)
    for _ in range(steps):
        chosen = torch.randint(len(labels), (batch,), generator=order)
        for name, model in models.items():
            start = time.perf_counter()
            loss = nn.functional.cross_entropy(model(pictures[chosen]), labels[chosen])
            optimisers[name].zero_grad()
            loss.backward()
            optimisers[name].step()
            found.seconds[name].append(time.perf_counter() - start)
            found.losses[name].append(loss.item())
    return found


def largest_difference(found: Training) -> float:
    """Between the two losses of a step, of the larger of 1 and the loss."""
    return max(abs(a - b) / max(1.0, abs(a)) for a, b in zip(*found.losses.values(), strict=True))


def speedup(found: Training) -> float:
    """The median over the steps of PyTorch's time over ours in the same step; the first ones compile."""
    theirs, ours = (seconds[5:] for seconds in found.seconds.values())
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def plot(found: Training, path: str) -> None:
    """The two loss curves."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for (name, losses), style in zip(found.losses.items(), ("-", "--"), strict=True):
        axes.plot(range(1, len(losses) + 1), losses, style, label=name)
    axes.set(
        xlabel="step", ylabel="loss", yscale="log", title=f"a step with numba_lrn.torch: {speedup(found):.1f} × as fast"
    )
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, tell, plot."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    found = train(options.steps)
    for name, losses in found.losses.items():
        step = statistics.median(found.seconds[name][5:])
        print(f"{name:16}  loss {losses[0]:.4f} -> {losses[-1]:.4f}  {1000 * step:.1f} ms a step")
    print(f"largest difference of the losses {largest_difference(found):.2g}; a step {speedup(found):.2f} x as fast")
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
