"""The example of the README, for a few steps."""

import importlib.util
import pathlib

import numpy as np

from tests.support import optional
from tests.torch import common  # noqa: F401  skips where torch is absent

optional("sklearn")

PATH = pathlib.Path(__file__).parents[2] / "examples" / "train_digits.py"


def test_losses_agree_with_pytorchs():
    spec = importlib.util.spec_from_file_location("train_digits", PATH)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found = example.train(steps=12, batch=16)
    ours, theirs = (np.array(losses) for losses in found.losses.values())
    assert len(ours) == 12
    assert ours[-3:].mean() < ours[:3].mean()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    np.testing.assert_allclose(ours[:2], theirs[:2], rtol=1e-5)
