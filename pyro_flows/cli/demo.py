"""The demonstration: two moons to a measured KL divergence, then a real table beside a Gaussian."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import datasets, families, plotting
from ..flow import Flow
from ..training import fit
from ..transforms import Dequantize, Standardize
from .errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["demo"]


def demo(folder: Path, *, smoke: bool = False) -> None:
    """Fit both, print what they reach and write pictures into `folder`; about two minutes."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # nets this small run faster on one
    _two_moons(folder, smoke)
    _digits(folder, smoke)


def _two_moons(folder: Path, smoke: bool) -> None:
    truth = datasets.TwoMoons(noise=0.1)
    torch.manual_seed(0)
    data, test = truth.sample((100_000,)), truth.sample((20_000,))
    flow = Flow(families.real_nvp(2, depth=16))
    epochs, rows = (1, 5000) if smoke else (16, len(data))
    history = fit(flow, data[:rows], epochs=epochs, learning_rate=3e-3, progress=sys.stderr.isatty())
    with torch.no_grad():
        gap = (truth.log_prob(test) - flow().log_prob(test)).double()
    error = 2 * gap.std() / len(gap) ** 0.5
    print(
        f"Two moons: KL(truth ‖ flow) = {gap.mean():.4f} ± {error:.4f} nats "
        f"after {history.steps} steps in {history.seconds:.0f} s"
    )
    _save(plotting.compare_2d(truth, flow()), folder / "two_moons.png")


def _digits(folder: Path, smoke: bool) -> None:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("the real table needs scikit-learn: pip install scikit-learn") from error
    torch.manual_seed(0)
    counts = torch.tensor(load_digits().data, dtype=torch.get_default_dtype())
    counts = counts[torch.randperm(len(counts))]  # 0 … 16, made continuous
    train, test = counts[:1440] + torch.rand(1440, 64), counts[1440:] + torch.rand(len(counts) - 1440, 64)
    transform = families.real_nvp(64, hidden=(128, 128), activation=torch.nn.Tanh)
    flow = Flow([transform, Standardize.of(train)])
    rounded = Flow([flow.transform, Dequantize(levels=17, event_dim=1)])
    epochs = 1 if smoke else 150
    history = fit(rounded, counts[:1440], epochs=epochs, batch_size=128, progress=sys.stderr.isatty())
    with torch.no_grad():
        gain = flow().log_prob(test).double() - _gaussian(train).log_prob(test.double())
    uncertainty = 2 * gain.std() / len(gain) ** 0.5
    print(
        f"Handwritten digits, 1,797 × 64: held-out log-density {gain.mean():+.1f} ± {uncertainty:.1f} nats "
        f"against a full-covariance Gaussian's, after {history.steps} steps in {history.seconds:.0f} s"
    )
    samples = flow().sample((len(test),))
    shown = [18, 27, 36, 45]  # pixels near the middle
    names = [f"row {i // 8}, column {i % 8}" for i in shown]
    _save(plotting.pairs(test[:, shown], samples[:, shown], names=names), folder / "digits.png")


def _gaussian(train: Tensor) -> torch.distributions.MultivariateNormal:
    exact = train.double()
    return torch.distributions.MultivariateNormal(exact.mean(0), torch.cov(exact.T))


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path)
    print(f"  picture: {path}")
