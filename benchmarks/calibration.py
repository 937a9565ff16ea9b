"""Simulation-based calibration of `AutoFlow`: a conjugate normal, and eight schools, non-centred.

    python benchmarks/calibration.py [--simulations 200] [--tolerance 0.02] [--only schools] [--folder fits/]

A fresh `AutoFlow` is fitted to every data set at the defaults of `fit_vi`, but for the tolerance that it
stops at, to save time. The truth is ranked among 99 of the guide's own draws, and among 99 picked from 4,000
by their Pareto-smoothed importance weights. Prints for every quantity the p-values of uniform and of
symmetric ranks.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch

import pyro_flows as pf

SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
RANKED, WEIGHED = 99, 4000  # draws


def conjugate():
    x = pyro.sample("x", dist.Normal(torch.zeros(3), torch.tensor([0.5, 1.0, 3.0])).to_event(1))
    with pyro.plate("row", 4):
        pyro.sample("y", dist.Normal(x, 1.0).to_event(1), obs=torch.zeros(4, 3))


def schools():
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", 8):
        theta = mu + tau * pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(theta, SIGMA), obs=torch.zeros(8))


class Fits:
    """Fits a guide to each data set; a second pass, or a later run, over the same simulations finds them."""

    def __init__(self, tolerance: float, path: Path | None) -> None:
        self.settings = pf.infer.VISettings(progress=False, tolerance=tolerance)
        self.path = path
        self.done = torch.load(path) if path is not None and path.exists() else []

    def draws(self, kind: str) -> Callable:
        numbers = itertools.count()

        def posterior(model, data):
            i = next(numbers)
            if i == len(self.done):
                self.done.append(self.fit(model, data, i))
                if self.path is not None:
                    torch.save(self.done, self.path)
            if not all(torch.equal(data[name], self.done[i]["data"][name]) for name in data):
                raise RuntimeError(f"expected the data sets of {self.path or 'the first pass'}; got others")
            return self.done[i][kind]

        return posterior

    def fit(self, model: Callable, data: dict, number: int) -> dict:
        with torch.random.fork_rng():
            torch.manual_seed(10_000 + number)  # not the numbers that the next truth is made of
            clock = time.process_time()
            guide = pf.infer.AutoFlow(model)
            history = pf.infer.fit_vi(model, guide, settings=self.settings)
            seconds = time.process_time() - clock
            found = pf.infer.importance(model, guide, num_samples=WEIGHED)
            own = {name: value[:RANKED].clone() for name, value in found.draws.items()}
            told = {"seconds": seconds, "steps": history.steps, "gap": found.gap, "khat": found.khat}
            return told | {"data": data, "own": own, "corrected": found.resample(RANKED)}

    def __str__(self) -> str:
        lines = ["fits (median / nine tenths / largest):"]
        for name in ("seconds", "steps", "gap", "khat"):
            values = torch.tensor([max(fit[name], -9.0) for fit in self.done], dtype=torch.double)
            levels = values.quantile(torch.tensor([0.5, 0.9, 1.0], dtype=torch.double))
            lines.append(f"{name}: " + " / ".join(f"{level:.4g}" for level in levels.tolist()))
        untrusted = sum(fit["khat"] >= 0.7 and fit["gap"] >= 0.005 for fit in self.done)
        return "\n".join([*lines, f"k̂ ≥ 0.7 and gap ≥ 0.005: {untrusted} of {len(self.done)}"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--tolerance", type=float, default=0.02)
    parser.add_argument("--only", choices=["conjugate", "schools"])
    parser.add_argument("--folder", type=Path, help="keeps the fits, for going on later")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, model in (("conjugate", conjugate), ("schools", schools)):
        if options.only in (None, name):
            clock = time.process_time()
            path = options.folder / f"{name}.pt" if options.folder else None
            fits = Fits(options.tolerance, path)
            for kind in ("own", "corrected"):
                pyro.set_rng_seed(0)
                found = pf.diagnostics.calibrate(
                    model, fits.draws(kind), num_simulations=options.simulations, num_samples=RANKED
                )
                print(f"{name}, {kind} draws: {found}", flush=True)
            print(f"{fits}\n{time.process_time() - clock:.0f} CPU seconds\n", flush=True)


if __name__ == "__main__":
    main()
