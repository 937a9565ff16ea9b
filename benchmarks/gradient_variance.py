"""The variance of gradient estimators, at the start of a fit and after more and more steps of it.

    python benchmarks/gradient_variance.py

Sums the variances of the gradients of all of `AutoFlow`'s parameters, on the 10-dimensional funnel with 16
draws: of the bound by `Trace_ELBO` and `PathELBO`, of the importance-weighted one by `RenyiELBO(alpha=0)` and
`DRegELBO`.
"""

from __future__ import annotations

import argparse
import logging
import math

import pyro
import torch
from posterior_models import funnel
from pyro.infer import RenyiELBO, Trace_ELBO

from pyro_flows.infer import AutoFlow, DRegELBO, LogDensity, PathELBO, VISettings, fit_vi

DRAWS = 16


def variance(elbo, model, guide, repeats: int) -> float:
    parameters = list(guide.parameters())
    found = []
    for _ in range(repeats):
        guide.zero_grad()
        elbo.loss_and_grads(model, guide)
        found.append(torch.cat([p.grad.reshape(-1) for p in parameters]))
    return float(torch.stack(found).var(0).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    options = parser.parse_args()
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    pyro.set_rng_seed(0)
    model = funnel().model
    guide = AutoFlow(model)
    guide.initialise()
    print("| steps | gap, nats | Trace_ELBO | PathELBO | RenyiELBO | DRegELBO |")
    print("| --- | --- | --- | --- | --- | --- |")
    taken = 0
    for steps in (0, 200, 800, 1000):
        if steps:
            fit_vi(model, guide, settings=VISettings(steps=steps, progress=False))
        taken += steps
        common = {"num_particles": DRAWS, "vectorize_particles": True}
        elbos = (Trace_ELBO(**common), PathELBO(**common), RenyiELBO(alpha=0, **common), DRegELBO(**common))
        with torch.no_grad():
            u, log_q = guide.rsample_and_log_prob((20_000,))
            gap = -float((LogDensity(model, guide.latents, (), {})(u) - log_q).mean())
        figures = " | ".join(f"{variance(e, model, guide, options.repeats):.3g}" for e in elbos)
        print(f"| {taken} | {gap:.4f} | {figures} |" if math.isfinite(gap) else f"| {taken} | | {figures} |")


if __name__ == "__main__":
    main()
