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
from dataclasses import dataclass
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal

import pyro_flows as pf
from pyro_flows.diagnostics.report import _moved

STAGES = (0, 30, 100, 300, 1000)


@dataclass
class Problem:
    """A model, scalars of its latent variables, and the means and standard deviations of these."""

    model: Callable
    scalars: Callable
    truth: dict[str, tuple[float, float]]
    log_evidence: float | None = None


def schools(folder: Path, *, centred: bool) -> Problem:
    record = json.loads((folder / "eight_schools-eight_schools_noncentered.json").read_text())
    y, sigma = (torch.tensor(record["data"][name], dtype=torch.float) for name in ("y", "sigma"))

    def model():
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("school", 8):
            if centred:
                theta = pyro.sample("theta", dist.Normal(mu, tau))
            else:
                theta = mu + tau * pyro.sample("eta", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(theta, sigma), obs=y)

    def scalars(v):
        theta = v["theta"] if centred else v["mu"][:, None] + v["tau"][:, None] * v["eta"]
        return {f"theta[{i + 1}]": theta[:, i] for i in range(8)} | {"mu": v["mu"], "tau": v["tau"]}

    return Problem(model, scalars, _moments(record), -31.312)


def garch(folder: Path) -> Problem:
    record = json.loads((folder / "garch-garch11.json").read_text())
    y, first = torch.tensor(record["data"]["y"]), float(record["data"]["sigma1"])

    def model():
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0).mask(False))
        alpha0 = pyro.sample("alpha0", dist.HalfNormal(10.0).mask(False))
        alpha1 = pyro.sample("alpha1", dist.Uniform(0.0, 1.0))
        share = pyro.sample("share", dist.Uniform(0.0, 1.0))  # beta1 = (1 − alpha1) share
        pyro.factor("triangle", torch.log1p(-alpha1))
        drive = alpha0[..., None] + alpha1[..., None] * (y - mu[..., None]).square()
        beta1 = (1 - alpha1) * share
        variances = [torch.full_like(beta1, first**2)]
        for now in drive[..., :-1].unbind(-1):
            variances.append(torch.addcmul(now, beta1, variances[-1]))
        scale = torch.stack(variances, -1).sqrt()
        pyro.sample("y", dist.Normal(mu[..., None], scale).to_event(1), obs=y)

    def scalars(v):
        return {n: v[n] for n in ("mu", "alpha0", "alpha1")} | {"beta1": (1 - v["alpha1"]) * v["share"]}

    return Problem(model, scalars, _moments(record))


def kidscore(folder: Path) -> Problem:
    record = json.loads((folder / "kidiq-kidscore_interaction.json").read_text())
    y, hs, iq = (
        torch.tensor(record["data"][n], dtype=torch.float) for n in ("kid_score", "mom_hs", "mom_iq")
    )
    x = torch.stack([torch.ones_like(y), hs, iq, hs * iq], -1)

    def model():
        beta = pyro.sample("beta", dist.Normal(torch.zeros(4), 10.0).to_event(1).mask(False))
        sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
        pyro.sample("y", dist.Normal(beta @ x.T, sigma[..., None]).to_event(1), obs=y)

    def scalars(v):
        return {f"beta[{i + 1}]": v["beta"][:, i] for i in range(4)} | {"sigma": v["sigma"]}

    return Problem(model, scalars, _moments(record))


def _moments(record: dict) -> dict[str, tuple[float, float]]:
    return {name: (row["mean"], row["sd"]) for name, row in record["reference"].items()}


def funnel() -> Problem:
    def model():
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        pyro.sample("x", dist.Normal(torch.zeros(9), (v[..., None] / 2).exp()).to_event(1))

    # The variance of x rests on draws that hardly ever come, so x is looked at on a logarithmic scale.
    def squeeze(v):
        return {"v": v["v"]} | {f"x[{i}]": v["x"][:, i].asinh() for i in range(9)}

    generator = torch.Generator().manual_seed(0)
    v = 3 * torch.randn(4_000_000, generator=generator)
    spread = (torch.randn(len(v), generator=generator) * (v / 2).exp()).asinh().std()
    return Problem(
        model, squeeze, {"v": (0.0, 3.0)} | {f"x[{i}]": (0.0, float(spread)) for i in range(9)}, 0.0
    )


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
