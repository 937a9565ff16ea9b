"""Four posteriors with published bounds: Seeds, German Credit, Sonar and Brownian motion.

    python benchmarks/known_targets.py [--data FOLDER] [--seeds 3] [--only seeds] [--json results.jsonl]

The targets of Blessing et al. 2024, "Beyond ELBOs: A Large-Scale Evaluation of Variational Methods for
Sampling", arXiv:2406.07423, as Pyro models: `AutoFlow` under `fit_vi` at its defaults, beside Pyro's guides
under SVI with as many steps of as many draws (see posteriors.py), NUTS, and the best ELBO of their table 1.
FOLDER holds, from the UCI repository (CC BY 4.0), ``german.data-numeric`` (Hofmann 1994) and
``sonar.all-data`` (Sejnowski & Gorman 1988); without it the other two run. As in their code, German Credit
has a flat prior. NUTS runs two chains at Pyro's defaults, one after the other in one process. Each result is
appended to the JSON file at once, and what is there is not run again.

The columns: ELBO and log evidence from 100,000 draws, k̂, the largest error of a mean of an unconstrained
coordinate against NUTS, in standard deviations, and the range of ratios of standard deviations (of NUTS, of
one chain against the other), and CPU seconds of the fit.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from many_latents import compared, nuts
from posterior_models import Problem
from posteriors import FLOW, PEERS, run
from resumable import kept, told

from pyro_flows.infer import AutoFlow

KINDS = ("NUTS", FLOW, *PEERS)

PUBLISHED = {"seeds": -73.45, "credit": -504.58, "sonar": -108.83, "brownian": 1.06}

# Crowder 1978, table 3: germinated seeds of 21 plates, out of so many, of two types in two extracts.
GERMINATED = [10, 23, 23, 26, 17, 5, 53, 55, 32, 46, 10, 8, 10, 8, 23, 0, 3, 22, 15, 32, 3]
SEEDS = [39, 62, 81, 51, 39, 6, 74, 72, 51, 79, 13, 16, 30, 28, 45, 4, 12, 41, 30, 51, 7]
TYPE = [0] * 11 + [1] * 10
EXTRACT = [0] * 5 + [1] * 6 + [0] * 5 + [1] * 5

# Observations 1–10 and 21–30 of the target in TensorFlow Probability's Inference Gym (Apache 2.0).
WALK_BEFORE = [
    *(0.21592641, 0.118771404, -0.07945447, 0.037677474, -0.27885845),
    *(-0.1484156, -0.3250906, -0.22957903, -0.44110894, -0.09830782),
]
WALK_AFTER = [
    *(-0.8786016, -0.83736074, -0.7384849, -0.8939254, -0.7774566),
    *(-0.70238715, -0.87771565, -0.51853573, -0.6948214, -0.6202789),
]


def seeds() -> Problem:
    """Random effects of plates on a logistic regression: 26 dimensions."""
    y, n, kind, extract = (torch.tensor(x, dtype=torch.float) for x in (GERMINATED, SEEDS, TYPE, EXTRACT))

    def model() -> None:
        tau = pyro.sample("tau", dist.Gamma(0.01, 0.01))
        a = [pyro.sample(f"a_{name}", dist.Normal(0.0, 10.0)) for name in ("0", "1", "2", "12")]
        with pyro.plate("plates", 21):
            b = pyro.sample("b", dist.Normal(0.0, tau.rsqrt()))
            logits = a[0] + a[1] * kind + a[2] * extract + a[3] * kind * extract + b
            pyro.sample("y", dist.Binomial(n, logits=logits), obs=y)

    return Problem(model)


def logistic(x: np.ndarray, y: np.ndarray, prior: dist.Distribution) -> Problem:
    rows, labels = torch.tensor(x, dtype=torch.float), torch.tensor(y, dtype=torch.float)

    def model() -> None:
        w = pyro.sample("w", prior)
        pyro.sample("y", dist.Bernoulli(logits=w @ rows.T).to_event(1), obs=labels)

    return Problem(model)


def credit(folder: Path) -> Problem:
    """Logistic regression on 24 columns and an intercept."""
    table = np.loadtxt(folder / "german.data-numeric")
    x = table[:, :-1] / table[:, :-1].std(0)
    prior = dist.Normal(torch.zeros(25), 10.0).to_event(1).mask(False)
    return logistic(np.hstack([np.ones((len(x), 1)), x]), table[:, -1] - 1, prior)


def sonar(folder: Path) -> Problem:
    """Logistic regression on 60 columns and an intercept."""
    table = np.genfromtxt(folder / "sonar.all-data", delimiter=",", dtype=str)
    x, y = table[:, :-1].astype(float), table[:, -1] == "M"
    x = (x - x.mean(0)) / x.std(0)
    return logistic(np.hstack([np.ones((len(x), 1)), x]), y, dist.Normal(torch.zeros(61), 1.0).to_event(1))


def brownian() -> Problem:
    """A random walk of 30 steps, of which the middle ten are not observed: 32 dimensions."""
    before, after = torch.tensor(WALK_BEFORE), torch.tensor(WALK_AFTER)
    sums = torch.ones(30, 30).tril()  # of independent steps

    def model() -> None:
        step = pyro.sample("step", dist.LogNormal(0.0, 2.0))
        error = pyro.sample("error", dist.LogNormal(0.0, 2.0))
        x = pyro.sample(
            "x", dist.MultivariateNormal(torch.zeros(30), scale_tril=step[..., None, None] * sums)
        )
        seen = torch.cat([x[..., :10], x[..., 20:]], -1)
        pyro.sample("y", dist.Normal(seen, error[..., None]).to_event(1), obs=torch.cat([before, after]))

    return Problem(model)


def problems(folder: Path | None) -> dict[str, Problem]:
    """Return the posteriors by name."""
    found = {"seeds": seeds(), "brownian": brownian()}
    return found if folder is None else found | {"credit": credit(folder), "sonar": sonar(folder)}


def run_nuts(name: str, problem: Problem, seed: int) -> dict:
    pyro.set_rng_seed(seed)
    pyro.clear_param_store()
    start = time.process_time()
    chains = nuts(problem.model)
    seconds = time.process_time() - start
    layout = AutoFlow(problem.model)
    layout.setup()
    u = [layout.latents.unconstrain(chain)[0] for chain in chains]
    found = [(part.mean(0), part.std(0)) for part in (*u, torch.cat(u))]
    result = {"posterior": name, "guide": "NUTS", "seed": seed, "seconds": seconds}
    return result | {"moments": [part.tolist() for part in found[2]]} | compared(found[0], found[1])


def told_of(rows: list[dict], reference: dict | None) -> str:
    """Return the columns of a guide's runs that did not fail."""
    seconds = f"{statistics.median(r['seconds'] for r in rows):.0f}"
    errors = [r for r in rows if "largest" in r]
    if reference is not None and not errors:
        truth = [torch.tensor(part) for part in reference["moments"]]
        errors = [
            compared([torch.tensor(part) for part in r["moments"]], truth) for r in rows if "moments" in r
        ]
    beside = "| "
    if errors:
        least, most = min(e["least"] for e in errors), max(e["most"] for e in errors)
        beside = f"{max(e['largest'] for e in errors):.3f} | {least:.3f}–{most:.3f}"
    if "elbo" not in rows[0]:
        return f"| | | {beside} | {seconds}"
    elbo, log_z = (statistics.median(r[key] for r in rows) for key in ("elbo", "log_z"))
    return f"{elbo:.2f} | {log_z:.2f} | {max(r['khat'] for r in rows):.2f} | {beside} | {seconds}"


def table(results: list[dict]) -> str:
    lines = [
        "| posterior | by | ELBO | log evidence | k̂ | max Δmean / SD | SD ratios | CPU s "
        "| best published ELBO |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, published in PUBLISHED.items():
        mine = [r for r in results if r["posterior"] == name]
        reference = next((r for r in mine if r["guide"] == "NUTS"), None)
        for guide in KINDS:
            rows = [r for r in mine if r["guide"] == guide]
            good = [r for r in rows if "failed" not in r]
            if rows:
                told = told_of(good, reference) if good else f"{rows[0]['failed']} | | | | | "
                lines.append(f"| {name} | {guide} | {told} | {published} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(PUBLISHED))
    parser.add_argument("--guides", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = {name: p for name, p in problems(options.data).items() if name in options.only}
    runs = (
        (
            (name, guide, seed),
            partial(run_nuts, name, problem, seed)
            if guide == "NUTS"
            else partial(run, name, problem, guide, seed),
        )
        for seed in range(options.seeds)
        for guide in options.guides
        for name, problem in found.items()
        if guide != "NUTS" or seed == 0
    )
    told(table(kept(options.json, ("posterior", "guide", "seed"), runs)))


if __name__ == "__main__":
    main()
