"""Posteriors of several modes: do the members of an `AutoMixture` find them, and with the right weights?

    python benchmarks/modes.py [--seeds 3] [--only pair-2] [--json results.jsonl]

Two Gaussians 10 standard deviations apart, with weights 0.3 and 0.7, in 2 and in 20 dimensions; a mixture of
two normals whose labels may be switched; and the 40 Gaussians in two dimensions of Midgley et al. 2023,
arXiv:2208.01893. Members start at draws of the prior and are fitted at the defaults of `fit_vi`. Each result
is appended to the JSON file at once, and what is there is not run again.

The columns: members, modes found (those near which the mixture puts at least half of their weight), the
largest error of a mode's weight, of the guide's draws and after correction by importance weights, log
evidence less the truth, verdict, and CPU seconds of the fit.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from resumable import kept, told
from torch import Tensor

import pyro_flows as pf


@dataclass
class Target:
    """A model of one site x, its modes (modes, d) with their weights, and its log evidence."""

    model: Callable[[], None]
    modes: Tensor
    weights: Tensor
    members: int
    log_evidence: float = 0.0


def gaussians(means: Tensor, weights: Tensor, scale: float, spread: float, members: int) -> Target:
    """Gaussians of one scale; the prior, from which members start, is as wide as `spread`."""

    def model() -> None:
        prior = dist.Normal(torch.zeros(means.shape[1]), spread).to_event(1)
        x = pyro.sample("x", prior)
        parts = dist.Normal(means, scale).to_event(1).log_prob(x.unsqueeze(-2)) + weights.log()
        pyro.factor("modes", parts.logsumexp(-1) - prior.log_prob(x))

    return Target(model, means, weights, members)


def pair(dim: int) -> Target:
    means = torch.zeros(2, dim)
    means[:, 0] = torch.tensor([-5.0, 5.0])
    return gaussians(means, torch.tensor([0.3, 0.7]), 1.0, 6.0, 8)


def forty() -> Target:
    generator = torch.Generator().manual_seed(0)
    means = 40 * (2 * torch.rand(40, 2, generator=generator) - 1)
    scale = float(torch.nn.functional.softplus(torch.tensor(1.0)))
    return gaussians(means, torch.full((40,), 1 / 40), scale, 30.0, 200)


def labels() -> Target:
    """Locations of two normals of equal shares: whichever is called the first."""
    generator = torch.Generator().manual_seed(1)
    y = torch.randn(60, generator=generator) + torch.where(torch.arange(60) < 30, -1.5, 1.5)

    def log_likelihood(x: Tensor) -> Tensor:
        parts = dist.Normal(x.unsqueeze(-2), 1.0).log_prob(y[:, None])
        return (parts.logsumexp(-1) - math.log(2)).sum(-1)

    def model() -> None:
        x = pyro.sample("x", dist.Normal(torch.zeros(2), 5.0).to_event(1))
        pyro.factor("data", log_likelihood(x))

    axis = torch.linspace(-6, 6, 601, dtype=torch.double)
    grid = torch.cartesian_prod(axis, axis)
    y = y.double()
    log_p = torch.cat(
        [log_likelihood(part) + dist.Normal(0.0, 5.0).log_prob(part).sum(-1) for part in grid.split(5000)]
    )
    y = y.float()
    best = grid[log_p.argmax()].float()
    evidence = float(log_p.logsumexp(0)) + 2 * math.log(0.02)
    return Target(model, torch.stack([best, best.flip(0)]), torch.tensor([0.5, 0.5]), 8, evidence)


TARGETS = {"pair-2": lambda: pair(2), "pair-20": lambda: pair(20), "labels": labels, "forty": forty}


def weight_errors(target: Target, x: Tensor) -> tuple[float, int]:
    """Return the largest error of a mode's weight, by its nearest draws, and how many modes are found."""
    nearest = torch.cdist(x, target.modes).argmin(1)
    shares = torch.bincount(nearest, minlength=len(target.modes)) / len(x)
    return float((shares - target.weights).abs().max()), int((shares > target.weights / 2).sum())


def run(name: str, seed: int) -> dict:
    target = TARGETS[name]()
    pyro.set_rng_seed(seed)
    pyro.clear_param_store()
    start = time.process_time()
    guide = pf.infer.AutoMixture([pf.infer.AutoFlow(target.model) for _ in range(target.members)])
    pf.infer.fit_vi(target.model, guide, progress=False, seed=seed)
    seconds = time.process_time() - start
    result = pf.infer.importance(target.model, guide, num_samples=20_000)
    error, found = weight_errors(target, result.draws["x"])
    corrected, _ = weight_errors(target, result.resample()["x"])
    return {
        "target": name,
        "seed": seed,
        "members": int((guide.weights > 0).sum()),
        "modes": len(target.modes),
        "found": found,
        "error": error,
        "corrected": corrected,
        "evidence": result.log_evidence - target.log_evidence,
        "gap": result.gap,
        "verdict": pf.diagnostics.report(result).verdict,
        "seconds": seconds,
    }


def table(results: list[dict]) -> str:
    lines = [
        "| target | members | modes found | error of weights, raw / corrected | log evidence − truth | gap "
        "| verdicts | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in TARGETS:
        rows = [r for r in results if r["target"] == name]
        if not rows:
            continue
        words = [r["verdict"] for r in rows]
        verdicts = ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words)))
        lines.append(
            f"| {name} | {', '.join(str(r['members']) for r in rows)} | "
            f"{', '.join(str(r['found']) for r in rows)} of {rows[0]['modes']} | "
            f"{max(r['error'] for r in rows):.3f} / {max(r['corrected'] for r in rows):.3f} | "
            f"{max((r['evidence'] for r in rows), key=abs):.3f} | {max(r['gap'] for r in rows):.4f} | "
            f"{verdicts} | {statistics.median(r['seconds'] for r in rows):.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(TARGETS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = (
        ((name, seed), partial(run, name, seed)) for seed in range(options.seeds) for name in options.only
    )
    told(table(kept(options.json, ("target", "seed"), runs)))


if __name__ == "__main__":
    main()
