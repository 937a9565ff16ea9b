"""Simulation-based calibration of `AutoFlow`: a conjugate normal, and eight schools, non-centred.

    python benchmarks/calibration.py [--simulations 200] [--steps 200] [--corrected] [--only conjugate]

One guide is trained on from data set to data set, `--steps` steps each; `--corrected` resamples its draws
by their Pareto-smoothed importance weights before the truth is ranked among them. Prints for every quantity
the p-values of uniform and of symmetric ranks.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch

import pyro_flows as pf

SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def conjugate():
    x = pyro.sample("x", dist.Normal(torch.zeros(3), torch.tensor([0.5, 1.0, 3.0])).to_event(1))
    with pyro.plate("row", 4):
        pyro.sample("y", dist.Normal(x.unsqueeze(-2), 1.0).to_event(1), obs=torch.zeros(4, 3))


def schools():
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("school", 8):
        theta = mu + tau * pyro.sample("eta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(theta, SIGMA), obs=torch.zeros(8))


def calibrated(model: Callable, options: argparse.Namespace) -> pf.diagnostics.Calibration:
    guide = pf.infer.AutoFlow(model)
    settings = pf.infer.VISettings(steps=options.steps, progress=False)

    def posterior(given, data):
        pf.infer.fit_vi(given, guide, settings=settings)
        if options.corrected:
            return pf.infer.importance(given, guide, num_samples=1000).resample(99)
        return guide

    return pf.diagnostics.calibrate(model, posterior, num_simulations=options.simulations, progress=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--corrected", action="store_true")
    parser.add_argument("--only", choices=["conjugate", "schools"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    for name, model in (("conjugate", conjugate), ("schools", schools)):
        if options.only in (None, name):
            pyro.set_rng_seed(0)
            clock = time.process_time()
            print(name, calibrated(model, options), sep="\n")
            print(f"{time.process_time() - clock:.0f} CPU seconds\n", flush=True)


if __name__ == "__main__":
    main()
