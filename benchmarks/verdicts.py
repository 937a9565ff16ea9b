"""The report's verdicts against the truth: is a fit with a wrong mean or standard deviation ever called good?

    python benchmarks/verdicts.py --data posteriordb/ [--seeds 2] [--only funnel] [--json verdicts.json]

Mean-field, full-rank and flow guides are trained on posteriors of known moments, and judged at several
stages, so that half-trained ones are among them. `posteriordb/` holds data and reference moments of eight
schools, GARCH(1,1) and kidscore (Magnusson et al., BSD-3); without it only the posteriors in closed form run.
A fit is wrong where a mean is off by more than 0.1 standard deviations or a standard deviation by more than 7
%, over 50,000 draws.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from posterior_models import Problem, funnel, garch, kidscore, schools
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import pyro_flows as pf
from pyro_flows.diagnostics.report import _moved

STAGES = (0, 30, 100, 300, 1000)


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
        "regression": regression,
        "banana": banana,
        "two modes": modes,
        "heavy tails": tails,
        "funnel": funnel,
    }
    if folder is not None:
        known |= {
            "schools": lambda: schools(folder, centred=True),
            "schools, non-centred": lambda: schools(folder, centred=False),
            "kidscore": lambda: kidscore(folder),
            "GARCH": lambda: garch(folder),
        }
    return known


GUIDES = {"mean-field": AutoNormal, "full rank": AutoMultivariateNormal, "flow": pf.infer.AutoFlow}


def judged(name: str, problem: Problem, kind: str, seed: int, draws: int) -> list[dict]:
    """Train one guide, and judge it at every stage."""
    pyro.set_rng_seed(seed)
    pyro.clear_param_store()
    guide = GUIDES[kind](problem.model)
    svi = SVI(
        problem.model,
        guide,
        pyro.optim.ClippedAdam({"lr": 0.02, "clip_norm": 10.0, "lrd": 0.1 ** (1 / STAGES[-1])}),
        Trace_ELBO(num_particles=32, vectorize_particles=True),
    )
    rows, done = [], 0
    for stage in STAGES:
        for _ in range(stage - done):
            svi.step()
        done = stage
        rows.append(
            {"posterior": name, "guide": kind, "steps": stage, "seed": seed} | judge(problem, guide, draws)
        )
    return rows


def judge(problem: Problem, guide: Callable, draws: int) -> dict:
    with contextlib.redirect_stdout(io.StringIO()):
        report = pf.diagnostics.report(problem.model, guide, num_samples=draws)
    (result,) = report.results
    shift, narrow, wide = _moved(result)
    many = pf.infer.importance(problem.model, guide, num_samples=50_000)
    scalars = problem.scalars(many.evaluation.values)
    means = {n: (float(scalars[n].double().mean()) - m) / s for n, (m, s) in problem.truth.items()}
    ratios = [float(scalars[n].double().std()) / s for n, (_, s) in problem.truth.items()]
    evidence = problem.log_evidence
    off = max(map(abs, means.values()))
    return {
        "verdict": report.verdict,
        "gap": result.gap,
        "true gap": math.nan if evidence is None else evidence - many.elbo,
        "khat": result.khat,
        "ess": result.ess / draws,
        "shift": shift,
        "narrow": narrow,
        "wide": wide,
        "off": off,
        "low": min(ratios),
        "high": max(ratios),
        "wrong": not (off <= 0.1 and min(ratios) >= 0.93 and max(ratios) <= 1.07),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of posteriordb's records")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--only", nargs="*", help="names of posteriors")
    parser.add_argument("--json", type=Path, help="where to write the rows as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)
    rows = []
    print("| posterior | guide | steps | gap | k̂ | ESS | mean off (SD) | SD ratios | verdict |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    clock = time.process_time()
    for name, make in problems(options.data).items():
        if options.only and name not in options.only:
            continue
        problem = make()
        for kind in GUIDES:
            for seed in range(options.seeds):
                for row in judged(name, problem, kind, seed, options.draws):
                    rows.append(row)
                    print(
                        f"| {name} | {kind} | {row['steps']} | {row['gap']:.3f} | {row['khat']:.2f} "
                        f"| {row['ess']:.2f} | {row['off']:.2f} | {row['low']:.2f}–{row['high']:.2f} "
                        f"| {row['verdict']}{', wrongly' * (row['wrong'] and row['verdict'] == 'good')} |",
                        flush=True,
                    )
        if options.json:
            options.json.write_text(json.dumps(rows))
    good = [row for row in rows if row["verdict"] == "good"]
    right = [row for row in rows if not row["wrong"]]
    print(f"\n{len(rows)} fits: {len(good)} called good, of which {sum(r['wrong'] for r in good)} are wrong")
    for verdict in ("good", "usable after importance correction", "do not trust"):
        count = sum(row["verdict"] == verdict for row in right)
        print(f"of {len(right)} fits that are right, {count} are called {verdict}")
    print(f"{time.process_time() - clock:.0f} CPU seconds")


if __name__ == "__main__":
    main()
