"""Posteriors of 300 to 1,000 latent dimensions: how near guides come, beside long runs of Pyro's NUTS.

    python benchmarks/many_latents.py [--seeds 3] [--only cox] [--samplers AutoFlow] [--json results.jsonl]

A regression whose intercepts and slopes differ between 148 groups (301 dimensions), an item response model
of 400 people and 97 items (500), a log-Gaussian Cox process on a grid of 20 × 20 cells (400; the prior of
Møller et al. 1998, "Log Gaussian Cox processes"), and a stochastic volatility of 1,000 days, centred (1,003),
each of simulated data. `AutoFlow` is fitted by `fit_vi` at its defaults; NUTS runs two chains at Pyro's
defaults, one after the other in one process, and is what the guides' moments are measured by. Each result is
appended to the JSON file at once, and what is there is not run again.

The columns: the gap of the bound, as importance weights show it; k̂; the verdict; over all latent elements
the largest and the root mean square error of a mean, in standard deviations, and the smallest and largest
ratio of standard deviations; CPU seconds. Of NUTS, the same of one chain against the other, whose random
errors are twice those of both chains together.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from resumable import kept, told
from torch import Tensor

import pyro_flows as pf

Model = Callable[[], None]
CHAINS, DRAWS = 2, 1000


def regression() -> Model:
    groups = 148
    generator = torch.Generator().manual_seed(1)
    group = torch.arange(20 * groups) % groups
    x, noise = torch.randn(2, len(group), generator=generator)
    first, second = torch.randn(2, groups, generator=generator)
    y = (1.5 + 0.6 * first)[group] + (-0.7 + 0.3 * second)[group] * x + 0.8 * noise

    def model() -> None:
        mu = pyro.sample("mu", dist.Normal(torch.zeros(2), 5.0).to_event(1))
        tau = pyro.sample("tau", dist.HalfNormal(torch.ones(2)).to_event(1))
        sigma = pyro.sample("sigma", dist.HalfNormal(2.0))
        with pyro.plate("groups", groups):
            a = pyro.sample("a", dist.Normal(mu[..., :1], tau[..., :1]))
            b = pyro.sample("b", dist.Normal(mu[..., 1:], tau[..., 1:]))
        with pyro.plate("rows", len(y)):
            pyro.sample("y", dist.Normal(a[..., group] + b[..., group] * x, sigma[..., None]), obs=y)

    return model


def item_response() -> Model:
    people, items = 400, 97
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(people, 1, generator=generator) - torch.randn(items, generator=generator)
    y = torch.bernoulli(logits.sigmoid(), generator=generator)

    def model() -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 3.0))
        scales = pyro.sample("scales", dist.HalfNormal(torch.full((2,), 2.0)).to_event(1))
        with pyro.plate("people", people):
            ability = pyro.sample("ability", dist.Normal(0.0, scales[..., :1]))
        with pyro.plate("items", items):
            difficulty = pyro.sample("difficulty", dist.Normal(mu[..., None], scales[..., 1:]))
        logits = ability[..., None] - difficulty[..., None, :]
        pyro.sample("y", dist.Bernoulli(logits=logits).to_event(2), obs=y)

    return model


def cox() -> Model:
    cells, variance, length = 20, 1.91, 1 / 33
    generator = torch.Generator().manual_seed(4)
    grid = torch.cartesian_prod(torch.arange(cells), torch.arange(cells)) / cells
    covariance = variance * torch.exp(-torch.cdist(grid, grid) / length) + 1e-5 * torch.eye(cells**2)
    root = torch.linalg.cholesky(covariance)
    mean = torch.full((cells**2,), math.log(126) - variance / 2)
    y = torch.poisson((mean + root @ torch.randn(cells**2, generator=generator)).exp() / cells**2, generator)

    def model() -> None:
        f = pyro.sample("f", dist.MultivariateNormal(mean, scale_tril=root))
        pyro.sample("y", dist.Poisson(f.exp() / cells**2).to_event(1), obs=y)

    return model


def volatility() -> Model:
    days = 1000
    generator = torch.Generator().manual_seed(3)
    h = [torch.zeros(())]
    for _ in range(days - 1):
        h.append(0.95 * h[-1] + 0.25 * torch.randn((), generator=generator))
    y = torch.exp((torch.stack(h) - 1) / 2) * torch.randn(days, generator=generator)

    def model() -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        phi = pyro.sample("phi", dist.Beta(20.0, 1.5))
        sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
        h = pyro.sample("h", dist.Normal(torch.zeros(days), 10.0).to_event(1).mask(False))
        e = h - mu[..., None]
        first = dist.Normal(0.0, sigma / (1 - phi**2).sqrt()).log_prob(e[..., 0])
        later = dist.Normal(phi[..., None] * e[..., :-1], sigma[..., None]).log_prob(e[..., 1:])
        pyro.factor("walk", first + later.sum(-1))
        pyro.sample("y", dist.Normal(0.0, (h / 2).exp()).to_event(1), obs=y)

    return model


MODELS = {"regression": regression, "cox": cox, "item_response": item_response, "volatility": volatility}
KINDS = ("NUTS", "AutoFlow")


def moments(values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return means and standard deviations of all elements, from sites of shape (draws, *site)."""
    rows = torch.cat([values[name].reshape(len(values[name]), -1) for name in sorted(values)], 1)
    return rows.mean(0), rows.std(0)


def compared(found: tuple[Tensor, Tensor], truth: tuple[Tensor, Tensor]) -> dict[str, float]:
    errors = ((found[0] - truth[0]) / truth[1]).abs()
    ratios = found[1] / truth[1]
    return {
        "largest": float(errors.max()),
        "rms": float(errors.square().mean().sqrt()),
        "least": float(ratios.min()),
        "most": float(ratios.max()),
    }


def nuts(model: Model) -> list[dict[str, Tensor]]:
    """Return the draws of independent chains at Pyro's defaults."""
    mcmc = MCMC(NUTS(model), num_samples=DRAWS, warmup_steps=500, disable_progbar=True)
    chains = []
    for _ in range(CHAINS):
        mcmc.run()
        chains.append(mcmc.get_samples())
    return chains


def run(name: str, kind: str, seed: int) -> dict:
    model = MODELS[name]()
    pyro.set_rng_seed(seed)
    pyro.clear_param_store()
    found: dict = {"posterior": name, "kind": kind, "seed": seed}
    start = time.process_time()
    if kind == "NUTS":
        chains = nuts(model)
        found["seconds"] = time.process_time() - start
        both = moments({site: torch.cat([chain[site] for chain in chains]) for site in chains[0]})
        found["moments"] = [part.tolist() for part in both]
        return found | compared(*map(moments, chains))
    guide = pf.infer.AutoFlow(model)
    history = pf.infer.fit_vi(model, guide, progress=False, seed=seed)
    found |= {"seconds": time.process_time() - start, "steps": history.steps, "dim": guide.latents.dim}
    result = pf.infer.importance(model, guide, num_samples=10_000)
    found |= {"gap": result.gap, "khat": result.khat, "elbo": result.elbo}
    found |= {"verdict": pf.diagnostics.report(result).verdict}
    found["moments"] = [part.tolist() for part in moments(result.draws)]
    return found


def told_of(result: dict) -> str:
    if "gap" not in result:
        return " | | | "
    return f"{result['steps']} | {result['gap']:.3f} | {result['khat']:.2f} | {result['verdict']}"


def table(results: list[dict]) -> str:
    lines = [
        "| posterior | d | by | steps | gap, nats | k̂ | verdict | error of means: largest / rms, SD | "
        "SD ratios | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in MODELS:
        mine = [r for r in results if r["posterior"] == name]
        reference = next((r for r in mine if r["kind"] == "NUTS"), None)
        for r in mine:
            errors = r
            if r["kind"] != "NUTS" and reference is not None:
                pairs = [tuple(torch.tensor(part) for part in one["moments"]) for one in (r, reference)]
                errors = compared(*pairs)
            compared_to = "not compared | "
            if "rms" in errors:
                compared_to = (
                    f"{errors['largest']:.3f} / {errors['rms']:.3f} | "
                    f"{errors['least']:.3f}–{errors['most']:.3f}"
                )
            lines.append(
                f"| {name} | {len(r['moments'][0])} | {r['kind']}, seed {r['seed']} | {told_of(r)} | "
                f"{compared_to} | {r['seconds']:.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=MODELS, default=list(MODELS))
    parser.add_argument("--samplers", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = (
        ((name, kind, seed), partial(run, name, kind, seed))
        for seed in range(options.seeds)
        for name in options.only
        for kind in options.samplers
        if kind != "NUTS" or seed == 0
    )
    told(table(kept(options.json, ("posterior", "kind", "seed"), runs)))


if __name__ == "__main__":
    main()
