"""The report's verdicts against the truth: is a fit with a wrong mean or standard deviation ever called good?

    python benchmarks/verdicts.py --data posteriordb/ [--seeds 2] [--only funnel] [--json verdicts.json]

Posteriors of known moments, and guides of every kind, each judged at several stages of its one training run:

- mean-field and full-rank normals trained by SVI;
- a normal and a flow trained by `fit_vi`, from the Gaussian they start with to its defaults;
- that last flow with one whitened coordinate moved by a few hundredths of its width or stretched by a few
  per cent, so that many fits lie close to what counts as wrong.

`posteriordb/` holds data and reference moments of eight schools, GARCH(1,1) and kidscore (Magnusson et al.,
BSD-3); without it only the posteriors in closed form run. Moments are wrong where a mean is off by more than
0.1 standard deviations or a standard deviation by more than 7 %. Of a guide they are taken over 50,000 draws.
Of the draws that the report corrected, noise counts for them: three standard errors are allowed on top.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from posterior_models import Problem, funnel, garch, kidscore, schools
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import pyro_flows as pf
from pyro_flows.diagnostics.verdict import BAD, GOOD, USABLE

SVI_STAGES = (0, 30, 100, 300, 1000, 2000)
FIT_STAGES = (0, 60, 200, None)  # None: the defaults
DISTURBED = [(move, 1.0) for move in (0.04, 0.08, 0.12, 0.2)] + [
    (0.0, r) for r in (0.96, 0.92, 0.88, 1.08, 1.15)
]


def normal() -> Problem:
    """Normals with known scales, and one datum each: independent given the data, as a mean field is."""
    prior, noise = torch.tensor([0.1, 1.0, 1.0, 5.0]), torch.tensor([0.1, 0.5, 2.0, 5.0])
    y = torch.tensor([0.2, 1.0, -1.5, 6.0])

    def model():
        x = pyro.sample("x", dist.Normal(torch.zeros(4), prior).to_event(1))
        pyro.sample("y", dist.Normal(x, noise).to_event(1), obs=y)

    def scalars(v):
        return {f"x[{i}]": v["x"][:, i] for i in range(4)}

    variance = 1 / (prior**-2 + noise**-2)
    mean = variance * y / noise**2
    truth = {f"x[{i}]": (float(mean[i]), float(variance[i].sqrt())) for i in range(4)}
    return Problem(model, scalars, truth)


def banana() -> Problem:
    def model():
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        pyro.sample("b", dist.Normal(a.square(), 0.5))

    return Problem(model, dict, {"a": (0.0, 1.0), "b": (1.0, math.sqrt(2.25))}, 0.0)


def modes() -> Problem:
    def model():
        x = pyro.sample("x", dist.Normal(0.0, 5.0).mask(False))
        parts = dist.Normal(torch.tensor([-4.0, 4.0]), 1.0).log_prob(x[..., None])
        pyro.factor("modes", (parts + torch.tensor([0.4, 0.6]).log()).logsumexp(-1))
        pyro.sample("z", dist.Normal(0.0, 1.0))

    return Problem(model, dict, {"x": (0.8, math.sqrt(17 - 0.64)), "z": (0.0, 1.0)}, 0.0)


def tails() -> Problem:
    def model():
        pyro.sample("x", dist.StudentT(5.0, torch.zeros(4), 1.0).to_event(1))

    def scalars(v):
        return {f"x[{i}]": v["x"][:, i] for i in range(4)}

    return Problem(model, scalars, {f"x[{i}]": (0.0, math.sqrt(5 / 3)) for i in range(4)}, 0.0)


def regression() -> Problem:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(40, 12, generator=generator) + 1.5 * torch.randn(40, 1, generator=generator)
    y = x @ torch.linspace(-1, 1, 12) + torch.randn(40, generator=generator)

    def model():
        beta = pyro.sample("beta", dist.Normal(torch.zeros(12), 1.0).to_event(1))
        pyro.sample("y", dist.Normal(beta @ x.T, 1.0).to_event(1), obs=y)

    def scalars(v):
        return {f"beta[{i}]": v["beta"][:, i] for i in range(12)}

    covariance = torch.linalg.inv(torch.eye(12) + x.T @ x)
    mean, sd = covariance @ x.T @ y, covariance.diagonal().sqrt()
    evidence = dist.MultivariateNormal(torch.zeros(40), torch.eye(40) + x @ x.T).log_prob(y)
    truth = {f"beta[{i}]": (float(mean[i]), float(sd[i])) for i in range(12)}
    return Problem(model, scalars, truth, float(evidence))


def problems(folder: Path | None) -> dict[str, Callable[[], Problem]]:
    known: dict[str, Callable[[], Problem]] = {
        "conjugate normal": normal,
        "regression": regression,
        "banana": banana,
        "two modes": modes,
        "heavy tails": tails,
        "funnel": funnel,
    }
    if folder is not None:
        known |= {
            "schools, centred": lambda: schools(folder, centred=True),
            "schools, non-centred": lambda: schools(folder, centred=False),
            "kidscore": lambda: kidscore(folder),
            "GARCH(1,1)": lambda: garch(folder),
        }
    return known


Stages = Iterator[tuple[str, Callable]]


def by_svi(kind: Callable, problem: Problem) -> Stages:
    guide = kind(problem.model)
    svi = SVI(
        problem.model,
        guide,
        pyro.optim.ClippedAdam({"lr": 0.03, "clip_norm": 10.0, "lrd": 0.05 ** (1 / SVI_STAGES[-1])}),
        Trace_ELBO(num_particles=32, vectorize_particles=True),
    )
    done = 0
    for stage in SVI_STAGES:
        for _ in range(stage - done):
            svi.step()
        done = stage
        yield str(stage), guide


def by_fit_vi(transform: Callable | None, problem: Problem) -> Stages:
    guide = pf.infer.AutoFlow(problem.model, transform)
    guide.initialise()
    for stage in FIT_STAGES:
        if stage != 0:
            steps = {} if stage is None else {"steps": stage}
            pf.infer.fit_vi(problem.model, guide, settings=pf.infer.VISettings(progress=False, **steps))
        yield "defaults" if stage is None else str(stage), guide


def flow_and_disturbed(problem: Problem) -> Stages:
    for stage, guide in by_fit_vi(None, problem):
        yield stage, guide
    for move, stretch in DISTURBED:
        other = copy.deepcopy(guide)
        with torch.no_grad():
            other.whitening.shift[0] += move
            other.whitening.log_diagonal[0] += math.log(stretch)
        yield f"moved {move}" if move else f"stretched {stretch}", other


GUIDES: dict[str, Callable[[Problem], Stages]] = {
    "mean-field, SVI": lambda problem: by_svi(AutoNormal, problem),
    "full rank, SVI": lambda problem: by_svi(AutoMultivariateNormal, problem),
    "full rank, fit_vi": lambda problem: by_fit_vi(lambda dim: [], problem),
    "flow": flow_and_disturbed,
}


def judged(problem: Problem, guide: Callable, draws: int) -> dict:
    """Return the verdict on a guide, what it rests on, and whether own and corrected moments are wrong."""
    report = pf.diagnostics.report(pf.infer.importance(problem.model, guide, num_samples=draws))
    (result,) = report.results
    many = pf.infer.importance(problem.model, guide, num_samples=50_000)
    own = errors(problem, many, corrected=False)
    row = {
        "verdict": report.verdict,
        "gap": result.gap,
        "khat": result.khat,
        "ess": result.ess / draws,
        "off": max(abs(mean) for mean, _, _, _ in own),
        "low": min(ratio for _, ratio, _, _ in own),
        "high": max(ratio for _, ratio, _, _ in own),
        "wrong": any(not (abs(mean) <= 0.1 and abs(ratio - 1) <= 0.07) for mean, ratio, _, _ in own),
    }
    if report.verdict == BAD and not math.isfinite(result.log_evidence):
        return row | {"corrected wrong": True}
    corrected = errors(problem, result, corrected=True)
    return row | {
        "corrected off": max(abs(mean) for mean, _, _, _ in corrected),
        "corrected low": min(ratio for _, ratio, _, _ in corrected),
        "corrected high": max(ratio for _, ratio, _, _ in corrected),
        "corrected wrong": any(
            not (abs(mean) <= 0.1 + 3 * mean_error and abs(ratio - 1) <= 0.07 + 3 * ratio_error)
            for mean, ratio, mean_error, ratio_error in corrected
        ),
    }


def errors(problem: Problem, result: pf.infer.Importance, *, corrected: bool) -> list[tuple[float, ...]]:
    """Return for every scalar (mean − truth) / SD, SD / truth, and the standard error of either."""
    weights = result.smoothed.log_weights.exp()
    if not corrected:
        weights = torch.full_like(weights, 1 / len(weights))
    scalars = problem.scalars(result.evaluation.values)
    found = []
    for name, (truth, sd) in problem.truth.items():
        x = (scalars[name].double() - truth) / sd
        mean = (weights * x).sum()
        squares = (x - mean).square()
        variance = (weights * squares).sum()
        mean_error = (weights.square() * squares).sum().sqrt()
        variance_error = (weights.square() * (squares - variance).square()).sum().sqrt()
        ratio = variance.sqrt()
        found.append((float(mean), float(ratio), float(mean_error), float(variance_error / (2 * ratio))))
    return found


def count(rows: list[dict]) -> str:
    """Return how the verdicts on some fits divide: cells of a line of the table."""
    cells: list[str] = [str(len(rows))]
    for verdict, key in ((GOOD, "wrong"), (USABLE, "corrected wrong"), (BAD, "wrong")):
        called = [row for row in rows if row["verdict"] == verdict]
        if verdict == USABLE:
            cells.append(str(sum(not row["wrong"] for row in called)))
        cells += [str(sum(not row[key] for row in called)), str(sum(row[key] for row in called))]
    return " | ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of posteriordb's records")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--only", nargs="*", help="names of posteriors")
    parser.add_argument("--guides", nargs="*", default=list(GUIDES), choices=list(GUIDES), metavar="GUIDE")
    parser.add_argument("--json", type=Path, help="where to write every fit's figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    rows: list[dict] = []
    clock = time.process_time()
    for name, make in problems(options.data).items():
        if options.only and name not in options.only:
            continue
        problem = make()
        for seed in range(options.seeds):
            for kind in options.guides:
                pyro.set_rng_seed(seed)
                pyro.clear_param_store()
                for stage, guide in GUIDES[kind](problem):
                    fit = {"posterior": name, "guide": kind, "stage": stage, "seed": seed}
                    rows.append(fit | judged(problem, guide, options.draws))
        if options.json:
            options.json.write_text(json.dumps(rows))
        print(f"{name}: {time.process_time() - clock:.0f} CPU seconds", flush=True)
    for key in ("posterior", "guide"):
        print(
            f"\n| {key} | fits | good, right | good, wrong | usable, right | corrected right "
            "| corrected wrong | do not trust, right | do not trust, wrong |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for value in dict.fromkeys(row[key] for row in rows):
            print(f"| {value} | {count([row for row in rows if row[key] == value])} |")
        print(f"| all | {count(rows)} |")


if __name__ == "__main__":
    main()
