"""MNIST in logit space: the five-coupling MLP Real NVP of Papamakarios et al. 2017 (arXiv:1705.07057).

    python benchmarks/mnist_logit.py --minutes 60

Pixels are dequantised uniformly, with new noise at each step, and mapped by y = logit(α + (1 − 2α) x),
α = 1e-6; scores are log-densities of y in nats. Published test scores: full-covariance Gaussian
−1366.9 ± 1.4, Real NVP (5) −1323.2 ± 6.6. Batch norm's statistics are recomputed over the training data
before every evaluation.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import pyro_flows as pf

ALPHA = 1e-6


def logits(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Dequantise; log(1 − p) comes from the complement, as 1 − p would lose its digits at white."""
    x = pixels.float() + torch.rand(pixels.shape, generator=generator)
    return (ALPHA + (1 - 2 * ALPHA) * x / 256).log() - (ALPHA + (1 - 2 * ALPHA) * (256 - x) / 256).log()


def gaussian(train: Tensor, test: Tensor) -> float:
    exact = train.double()
    normal = torch.distributions.MultivariateNormal(exact.mean(0), torch.cov(exact.T))
    return normal.log_prob(test.double()).mean().item()


@torch.no_grad()
def score(flow: pf.Flow, data: Tensor) -> tuple[float, float]:
    values = torch.cat([flow().log_prob(rows) for rows in data.split(2000)]).double()
    return values.mean().item(), 2 * values.std().item() / math.sqrt(len(values))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data/mnist.npz")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--decay", type=float, default=0.9, help="of batch norm's running averages")
    parser.add_argument("--every", type=float, default=5, help="minutes between evaluations")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    generator = torch.Generator().manual_seed(0)
    with np.load(args.data) as arrays:
        pixels, last = (torch.tensor(arrays[name]).flatten(1) for name in ("x_train", "x_test"))
    train, validation, test = (logits(x, generator) for x in (pixels[:50_000], pixels[50_000:], last))
    print(f"full-covariance Gaussian: {gaussian(train, test):.1f} nats", flush=True)

    def norm(size: int) -> pf.FlowTransform:
        return pf.transforms.BatchNorm(size, decay=args.decay)

    torch.manual_seed(0)
    flow = pf.Flow(pf.real_nvp(784, depth=5, hidden=(1024, 1024), norm=norm))
    print(f"{sum(p.numel() for p in flow.parameters()):,} parameters", flush=True)
    optimiser = torch.optim.Adam(flow.parameters(), lr=args.learning_rate, weight_decay=1e-6, fused=True)
    print("| minutes | steps | epochs | training loss | validation | test ± 2 SE |")
    print("| --- | --- | --- | --- | --- | --- |", flush=True)
    budget, spent, step, total, count, best = args.minutes * 60, 0.0, 0, 0.0, 0, -math.inf
    due, chosen = args.every * 60, ""
    while spent < budget:
        for index in torch.randperm(len(train)).split(args.batch):
            started = time.perf_counter()
            for group in optimiser.param_groups:
                group["lr"] = args.learning_rate * (
                    0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent / budget))
                )
            flow.train()
            optimiser.zero_grad()
            loss = -flow().log_prob(logits(pixels[index], generator)).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(flow.parameters(), 1000.0)
            optimiser.step()
            step, total, count = step + 1, total + loss.item(), count + 1
            spent += time.perf_counter() - started
            if spent >= due or spent >= budget:
                flow.eval()
                pf.update_statistics(flow, train)
                held, (value, error) = score(flow, validation)[0], score(flow, test)
                epochs = step * args.batch / len(train)
                row = f"| {spent / 60:.1f} | {step} | {epochs:.1f} | {total / count:.1f} |"
                print(f"{row} {held:.1f} | {value:.1f} ± {error:.1f} |", flush=True)
                if held > best:
                    best, chosen = held, f"{value:.1f} ± {error:.1f}"
                    if args.save:
                        torch.save(flow.state_dict(), args.save)
                due, total, count = due + args.every * 60, 0.0, 0
            if spent >= budget:
                break
    print(f"test score of the weights with the best validation score: {chosen} nats")


if __name__ == "__main__":
    main()
