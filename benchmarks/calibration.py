"""Simulation-based calibration of `AutoFlow`: a conjugate normal, and eight schools, non-centred.

    python benchmarks/calibration.py [--simulations 200] [--tolerance 0.02] [--only schools] [--json out]

A fresh `AutoFlow` is fitted to every data set at the defaults of `fit_vi`, but for the tolerance that it
stops at, to save time. The truth is ranked among 99 of the guide's own draws, and among 99 picked from 4,000
by their Pareto-smoothed importance weights. Prints for every quantity the p-values of uniform and of
symmetric ranks.
"""

from __future__ import annotations

import argparse
import json
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
    """Fits a guide to each data set; the same draws serve a second pass over the same simulations."""

    def __init__(self, tolerance: float, path: Path | None) -> None:
        self.settings = pf.infer.VISettings(progress=False, tolerance=tolerance)
        self.path = path
        self.corrected: list[tuple[dict, dict]] = []  # data and draws
        self.records: list[dict] = []

    def own(self, model: Callable, data: dict) -> dict:
        with torch.random.fork_rng():
            torch.manual_seed(10_000 + len(self.records))  # not the numbers that the next truth is made of
            clock = time.process_time()
            guide = pf.infer.AutoFlow(model)
            history = pf.infer.fit_vi(model, guide, settings=self.settings)
            seconds = time.process_time() - clock
            found = pf.infer.importance(model, guide, num_samples=WEIGHED)
            self.corrected.append((data, found.resample(RANKED)))
        self.records.append(
            {
                "seconds": seconds,
                "steps": history.steps,
                "gap": found.gap,
                "khat": found.khat,
                "ess": found.ess,
            }
        )
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(self.records[-1]) + "\n")
        return found.draws

    def weighed(self, model: Callable, data: dict) -> dict:
        theirs, draws = self.corrected.pop(0)
        if not all(torch.equal(data[name], theirs[name]) for name in data):
            raise RuntimeError("expected the same simulations in the second pass; got others")
        return draws

    def __str__(self) -> str:
        def quantiles(name: str) -> str:
            values = torch.tensor([max(record[name], -9.0) for record in self.records], dtype=torch.double)
            levels = torch.tensor([0.5, 0.9, 1.0], dtype=torch.double)
            return " / ".join(f"{q:.4g}" for q in values.quantile(levels).tolist())

        names = ("seconds", "steps", "gap", "khat")
        lines = [f"{name}: {quantiles(name)}" for name in names]
        untrusted = sum(record["khat"] >= 0.7 and record["gap"] >= 0.005 for record in self.records)
        return "\n".join(
            ["fits (median / nine tenths / largest):", *lines, f"with k̂ ≥ 0.7 and a gap: {untrusted}"]
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--tolerance", type=float, default=0.02)
    parser.add_argument("--only", choices=["conjugate", "schools"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, model in (("conjugate", conjugate), ("schools", schools)):
        if options.only in (None, name):
            clock = time.process_time()
            fits = Fits(options.tolerance, options.json)
            for kind, posterior in (("own draws", fits.own), ("corrected draws", fits.weighed)):
                pyro.set_rng_seed(0)
                found = pf.diagnostics.calibrate(
                    model, posterior, num_simulations=options.simulations, num_draws=RANKED
                )
                print(f"{name}, {kind}: {found}", flush=True)
            print(f"{fits}\n{time.process_time() - clock:.0f} CPU seconds\n", flush=True)


if __name__ == "__main__":
    main()
