"""The demonstration: two densities to a measured KL divergence, then a table of mixed columns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.distributions import Distribution

from .. import datasets, families, plotting, tables
from ..flow import Flow
from ..training import fit
from ..transform import FlowTransform
from .errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

__all__ = ["demo", "redbook"]

WORK = ("student", "unskilled", "white-collar", "teaching", "managerial", "professional")


def demo(folder: Path, *, smoke: bool = False) -> None:
    """Fit all three, print what they reach and write pictures into `folder`; about two minutes."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # nets this small run faster on one
    torch.manual_seed(0)
    spline = families.nsf(2, depth=4)
    _density("Two moons", datasets.TwoMoons(noise=0.1), spline, folder / "two_moons.png", smoke)
    neural = families.naf(2, depth=2, hidden=(128, 128), activation=nn.SiLU)
    _density("Eight Gaussians", datasets.EightGaussians(), neural, folder / "eight_gaussians.png", smoke)
    _table(folder / "table.png", smoke)


def _density(name: str, truth: Distribution, transform: FlowTransform, path: Path, smoke: bool) -> None:
    data, test = truth.sample((5000 if smoke else 50_000,)), truth.sample((20_000,))
    flow = Flow(transform)
    history = fit(
        flow,
        data,
        epochs=1 if smoke else 22,
        batch_size=512,
        learning_rate=3e-3,
        progress=sys.stderr.isatty(),
    )
    with torch.no_grad():
        gap = (truth.log_prob(test) - flow().log_prob(test)).double()
    error = 2 * gap.std() / len(gap) ** 0.5
    print(
        f"{name}: KL(truth ‖ flow) = {gap.mean():.4f} ± {error:.4f} nats "
        f"after {history.steps} steps in {history.seconds:.0f} s"
    )
    _save(plotting.compare_2d(truth, flow()), path)


def _table(path: Path, smoke: bool) -> None:
    rows = redbook().sample(frac=1, random_state=0, ignore_index=True)
    train, test = rows[1200:], rows[:1200]
    torch.manual_seed(0)
    print(f"A survey of {len(rows):,} women (Fair 1978), whose columns are found to be")
    model = tables.fit(
        train,
        epochs=1 if smoke else 60,
        learning_rate=2e-3,
        on_schema=print,
        progress=sys.stderr.isatty(),
    )
    encoded = model.schema.encode(test)
    alone = encoded[:, 2].sum(-1)
    possible = alone.isfinite()
    gain = model.score(encoded[possible]) - alone[possible]
    error = 2 * gain.std() / len(gain) ** 0.5
    history = model.history
    print(
        f"The survey: held-out log-likelihood {alone[possible].mean() + gain.mean():.2f} nats a row, "
        f"{gain.mean():+.2f} ± {error:.2f} against independent columns', "
        f"after {history.steps} steps in {history.seconds:.0f} s"
    )
    _save(plotting.compare_tables(test, model.sample(6000)), path)


def redbook() -> pd.DataFrame:
    """Return a survey by Redbook on marriages: ages and schooling in levels, occupations by name, a rate.

    Fair, "A Theory of Extramarital Affairs", Journal of Political Economy, 1978; it ships with statsmodels.

    Raises:
        InputError: without statsmodels.
    """
    try:
        from statsmodels.datasets import fair
    except ImportError as error:
        raise InputError("the table needs statsmodels: pip install statsmodels") from error
    frame = fair.load_pandas().data
    for name in ("occupation", "occupation_husb"):
        frame[name] = frame[name].map(lambda code: WORK[int(code) - 1])
    return frame.astype({"rate_marriage": int, "religious": int, "educ": int})


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path)
    print(f"  picture: {path}")
