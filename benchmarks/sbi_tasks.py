"""C2ST of posteriors of simulators: this library's flows inside sbi beside sbi's own, at equal simulations.

Three tasks of Lueckmann et al. 2021, "Benchmarking Simulation-Based Inference", arXiv:2101.04653: a linear
Gaussian model of ten parameters, two moons, and SLCP. Each estimator is trained by sbi's `NPE` with its own
defaults of batch size, rate and stopping, on the same simulations. C2ST is the accuracy of a random forest
in telling 1,000 draws from 1,000 of the true posterior: 0.5 if it cannot.

    pip install sbi
    python benchmarks/sbi_tasks.py --simulations 1000 --seeds 3
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from peers import markdown
from sbi.inference import NPE
from sbi.utils import BoxUniform
from sbi.utils.metrics import c2st
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

import pyro_flows as pf
from pyro_flows.sbi import posterior_flow

DRAWS = 1000


@dataclass(frozen=True)
class Task:
    """A prior, a simulator of rows, and exact draws of the posterior given one x."""

    prior: Distribution
    simulate: Callable[[Tensor], Tensor]
    posterior: Callable[[Tensor], Tensor]


def linear() -> Task:
    prior = MultivariateNormal(torch.zeros(10), 0.1 * torch.eye(10))
    return Task(
        prior,
        lambda theta: theta + math.sqrt(0.1) * torch.randn_like(theta),
        lambda x: 0.5 * x + math.sqrt(0.05) * torch.randn(DRAWS, 10),
    )


def two_moons() -> Task:
    """x = crescent + (−|θ₁ + θ₂|, θ₂ − θ₁)/√2: the posterior is two crescents, cut off by the prior."""

    def crescent(count: int) -> Tensor:
        angle = math.pi * (torch.rand(count) - 0.5)
        radius = 0.1 + 0.01 * torch.randn(count)
        return torch.stack([radius * angle.cos() + 0.25, radius * angle.sin()], -1)

    def simulate(theta: Tensor) -> Tensor:
        total, difference = theta.sum(-1).abs(), theta[:, 1] - theta[:, 0]
        return crescent(len(theta)) + torch.stack([-total, difference], -1) / math.sqrt(2)

    def posterior(x: Tensor) -> Tensor:
        found: list[Tensor] = []
        while sum(map(len, found)) < DRAWS:
            offset = (x - crescent(10_000)) * math.sqrt(2)
            total = -offset[:, 0] * (torch.randint(0, 2, (len(offset),)) * 2 - 1)
            theta = torch.stack([total - offset[:, 1], total + offset[:, 1]], -1) / 2
            found.append(theta[(offset[:, 0] <= 0) & (theta.abs() <= 1).all(-1)])
        return torch.cat(found)[:DRAWS]

    return Task(BoxUniform(-torch.ones(2), torch.ones(2)), simulate, posterior)


def slcp() -> Task:
    """Four points of a normal whose mean is (θ₁, θ₂), with scales θ₃², θ₄² and correlation tanh θ₅."""
    prior = BoxUniform(-3 * torch.ones(5), 3 * torch.ones(5))

    def points(theta: Tensor) -> MultivariateNormal:
        one, other, correlation = theta[:, 2] ** 2, theta[:, 3] ** 2, theta[:, 4].tanh()
        zero = torch.zeros_like(one)
        rows = [one, zero, correlation * other, (1 - correlation**2).sqrt() * other]
        scale_tril = torch.stack(rows, -1).reshape(-1, 2, 2)
        floor = 1e-6 * torch.eye(2)
        return MultivariateNormal(theta[:, :2], scale_tril=scale_tril + floor, validate_args=False)

    def log_density(theta: Tensor, x: Tensor) -> Tensor:
        scores = points(theta).log_prob(x.reshape(4, 1, 2)).sum(0)
        return torch.where((theta.abs() <= 3).all(-1), scores, -torch.inf)

    def posterior(x: Tensor) -> Tensor:
        """Random-walk Metropolis of many chains, from prior draws resampled by their likelihood."""
        start = prior.sample((1_000_000,))
        theta = start[torch.multinomial(log_density(start, x).softmax(0), 2 * DRAWS, replacement=True)]
        score = log_density(theta, x)
        for step in range(2000):
            size = (0.02, 0.1, 0.5)[step % 3]
            flip = torch.ones_like(theta)
            flip[:, 2:4] = (torch.randint(0, 2, (len(theta), 2)) * 2 - 1).float()  # only squares count
            proposed = theta * flip + size * torch.randn_like(theta)
            new = log_density(proposed, x)
            accepted = torch.rand(len(theta)).log() < new - score
            theta, score = torch.where(accepted[:, None], proposed, theta), torch.where(accepted, new, score)
        return theta[:DRAWS]

    return Task(prior, lambda theta: points(theta).sample((4,)).transpose(0, 1).flatten(1), posterior)


TASKS = {"linear": linear, "two moons": two_moons, "SLCP": slcp}
ESTIMATORS: dict[str, Callable[[], Any]] = {
    "sbi nsf": lambda: "nsf",
    "sbi maf": lambda: "maf",
    "ours nsf": lambda: posterior_flow(pf.nsf),
    "ours maf": lambda: posterior_flow(pf.maf),
}


def score(task: Task, name: str, seed: int, args: argparse.Namespace) -> tuple[list[float], float]:
    """Return the C2ST at each observation, and the CPU seconds of training."""
    torch.manual_seed(seed)
    theta = task.prior.sample((args.simulations,))
    x = task.simulate(theta)
    observed = task.simulate(task.prior.sample((args.observations,)))
    npe = NPE(task.prior, density_estimator=ESTIMATORS[name](), show_progress_bars=False)
    start = time.process_time()
    npe.append_simulations(theta, x).train(max_num_epochs=args.max_epochs)
    seconds = time.process_time() - start
    posterior = npe.build_posterior()
    found = []
    for one in observed:
        torch.manual_seed(1000 + seed)
        wanted = task.posterior(one)
        draws = posterior.sample((DRAWS,), x=one[None], show_progress_bars=False)
        found.append(float(c2st(wanted, draws, seed=seed)))
    return found, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--estimators", nargs="+", choices=ESTIMATORS, default=list(ESTIMATORS))
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--observations", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--max-epochs", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in range(args.seeds):
        for task in args.tasks:
            for name in args.estimators:
                found, seconds = score(TASKS[task](), name, seed, args)
                results.setdefault((task, name), []).append((statistics.mean(found), seconds))
                print(f"{task}, {name}, seed {seed}: C2ST {found}, {seconds:.1f} s", file=sys.stderr)
    table = []
    for (task, name), runs in results.items():
        means, times = zip(*runs, strict=True)
        spread = f"{min(means):.3f}–{max(means):.3f}"
        table.append([task, name, f"{statistics.mean(means):.3f}", spread, f"{statistics.median(times):.0f}"])
    heads = ["task", "estimator", "C2ST", "over seeds", "CPU seconds"]
    print(f"{args.simulations} simulations, {args.observations} observations, {args.seeds} seeds\n")
    print(markdown(heads, table))


if __name__ == "__main__":
    main()
