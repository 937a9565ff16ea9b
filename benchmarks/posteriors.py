"""How near guides come to known posteriors, at their defaults, and in how many CPU seconds.

    python benchmarks/posteriors.py --data posteriordb/ [--seeds 3] [--only funnel] [--json results.jsonl]

`AutoFlow` under `fit_vi` beside Pyro's guides under SVI with as many steps of as many draws. `posteriordb/`
holds data and reference moments of eight schools, GARCH(1,1) and kidscore (Magnusson et al., BSD-3); without
it only the funnel runs. Each result is appended to the JSON file at once, and what is there is not run again.

The columns: gap = log Z − ELBO, from 100,000 draws; the largest error of a mean, in standard deviations of
the reference; the smallest and largest ratio of standard deviations (of asinh x in the funnel, as no sample
of this size tells that of x); PSIS k̂; CPU seconds of the fit.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyro
import torch
from posterior_models import Problem, problems
from pyro.distributions.transforms import affine_coupling
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoIAFNormal, AutoMultivariateNormal, AutoNormal, AutoNormalizingFlow
from resumable import kept, told

from pyro_flows.infer import AutoFlow, LogDensity, VISettings, fit_vi, psis

STEPS, DRAWS = 2000, 256
FLOW = "AutoFlow"
PEERS: dict[str, Callable] = {
    "AutoNormal": AutoNormal,
    "AutoMultivariateNormal": AutoMultivariateNormal,
    "AutoIAFNormal": AutoIAFNormal,
    "AutoNormalizingFlow": partial(AutoNormalizingFlow, init_transform_fn=affine_coupling),
}


def fit_flow(problem: Problem, seed: int):
    guide = AutoFlow(problem.model)
    history = fit_vi(problem.model, guide, settings=VISettings(seed=seed, progress=False))
    return guide.rsample_and_log_prob, history.steps


def fit_peer(problem: Problem, make: Callable):
    """Train as Pyro's tutorials do: clipped Adam at 1e-2, decaying to a hundredth."""
    guide = make(problem.model)
    optimizer = pyro.optim.ClippedAdam({"lr": 1e-2, "clip_norm": 10.0, "lrd": 0.01 ** (1 / STEPS)})
    elbo = Trace_ELBO(num_particles=DRAWS, vectorize_particles=True)
    svi = SVI(problem.model, guide, optimizer, elbo)
    for _ in range(STEPS):
        svi.step()
    if not isinstance(guide, AutoNormal):
        posterior = guide.get_posterior()
    else:
        parts = [guide._get_loc_and_scale(name) for name in guide.prototype_trace.stochastic_nodes]
        loc, scale = (torch.cat([part[i].detach().reshape(-1) for part in parts]) for i in (0, 1))
        posterior = pyro.distributions.Normal(loc, scale).to_event(1)

    def draw(shape):
        u = posterior.rsample(shape)
        return u, posterior.log_prob(u)

    return draw, STEPS


def measure(problem: Problem, draw: Callable, draws: int = 100_000) -> dict:
    layout = AutoFlow(problem.model)
    layout.setup()
    density = LogDensity(problem.model, layout.latents, (), {})
    weights, values = [], []
    with torch.no_grad():
        for _ in range(draws // 5000):
            u, log_q = draw((5000,))
            weights.append((density(u) - log_q).double())
            values.append(u)
        scalars = problem.scalars(layout.latents.constrain(torch.cat(values))[0])
    log_weights, u = torch.cat(weights), torch.cat(values)
    errors, ratios = [], []
    for name, (mean, spread) in problem.truth.items():
        x = scalars[name].double()
        errors.append(abs(float(x.mean()) - mean) / spread)
        ratios.append(float(x.std()) / spread)
    return {
        "elbo": float(log_weights.mean()),
        "log_z": float(log_weights.logsumexp(0)) - math.log(draws),
        "error": float(log_weights.std() / draws**0.5),
        "ess": float((2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()) / draws,
        "mean": max(errors, default=math.nan),
        "least": min(ratios, default=math.nan),
        "most": max(ratios, default=math.nan),
        "khat": psis(log_weights).khat,
        "moments": [u.mean(0).tolist(), u.std(0).tolist()],  # of unconstrained vectors
    }


def run(name: str, problem: Problem, guide: str, seed: int) -> dict:
    pyro.set_rng_seed(seed)
    pyro.clear_param_store()
    start = time.process_time()
    result = {"posterior": name, "guide": guide, "seed": seed}
    try:
        draw, steps = fit_flow(problem, seed) if guide == FLOW else fit_peer(problem, PEERS[guide])
        seconds = time.process_time() - start
        return result | {"seconds": seconds, "steps": steps} | measure(problem, draw)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        return result | {"failed": f"{type(error).__name__}: {str(error).splitlines()[0][:90]}"}


def _span(values: list[float], digits: int) -> str:
    """Write the median, and the range of several."""
    ordered = sorted(values)
    middle = f"{statistics.median(ordered):.{digits}f}"
    return middle if len(ordered) == 1 else f"{middle} ({ordered[0]:.{digits}f}–{ordered[-1]:.{digits}f})"


def table(results: list[dict], found: dict[str, Problem]) -> str:
    lines = [
        "| posterior | guide | gap, nats | max Δmean / SD | SD ratios | k̂ | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, problem in found.items():
        mine = [r for r in results if r["posterior"] == name]
        flows = [r for r in mine if r["guide"] == FLOW and "failed" not in r]
        log_z = problem.log_evidence
        if log_z is None and flows:
            log_z = max(flows, key=lambda r: r["ess"])["log_z"]
        for guide in (FLOW, *PEERS):
            rows = [r for r in mine if r["guide"] == guide]
            good = [r for r in rows if "failed" not in r and math.isfinite(r["elbo"])]
            if not rows:
                continue
            if not good or log_z is None:
                lines.append(f"| {name} | {guide} | {rows[0].get('failed', 'no finite bound')} | | | | |")
                continue

            gap = _span([log_z - r["elbo"] for r in good], 4)
            ratios = f"{min(r['least'] for r in good):.3f}–{max(r['most'] for r in good):.3f}"
            khat, seconds = _span([r["khat"] for r in good], 2), _span([r["seconds"] for r in good], 0)
            mean = _span([r["mean"] for r in good], 3)
            moments = f"{mean} | {ratios}" if problem.truth else " | "
            lines.append(f"| {name} | {guide} | {gap} | {moments} | {khat} | {seconds} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--guides", nargs="*", default=[FLOW, *PEERS])
    parser.add_argument("--more", action="store_true", help="other posteriors, for checking defaults")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--table", action="store_true", help="only print the table of the JSON file")
    options = parser.parse_args()
    found = problems(options.data, more=options.more)
    if unknown := set(options.only or ()) - set(found):
        parser.error(
            f"expected --only among {', '.join(map(repr, found))}; got {', '.join(map(repr, unknown))}"
        )
    found = {name: p for name, p in found.items() if not options.only or name in options.only}
    runs = (
        ((name, guide, seed), partial(run, name, problem, guide, seed))
        for seed in range(0 if options.table else options.seeds)
        for guide in options.guides
        for name, problem in found.items()
    )
    told(table(kept(options.json, ("posterior", "guide", "seed"), runs), found))


if __name__ == "__main__":
    main()
