"""Held-out negative log-likelihood minus the entropy, for coupling flows of two densities in the plane.

Eight Gaussians (entropy 2.832 nats) and the checkerboard (ln 32 = 3.466), trained by `pf.fit` on many exact
samples and scored on others: KL(data ‖ flow) ± 2 standard errors. The splines' interval is the data's.

    python benchmarks/two_dimensions.py
    python benchmarks/two_dimensions.py --densities checkerboard --families splines --seeds 0
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from peers import markdown

import pyro_flows as pf

DENSITIES = {"eight Gaussians": pf.datasets.EightGaussians(), "checkerboard": pf.datasets.Checkerboard()}


def affine(args: argparse.Namespace, reach: float) -> pf.Flow:
    return pf.Flow(pf.real_nvp(2, depth=args.affine_depth, hidden=args.hidden))


def splines(args: argparse.Namespace, reach: float) -> pf.Flow:
    spline = pf.elementwise.RationalQuadratic(args.bins, reach)
    return pf.Flow(pf.nsf(2, depth=args.spline_depth, hidden=args.hidden, elementwise=spline))


FAMILIES = {"splines": splines, "affine": affine}


def divergence(
    density: torch.distributions.Distribution, family: str, seed: int, args: argparse.Namespace
) -> tuple[float, float, pf.Flow, pf.training.History, float]:
    """Return the KL, two standard errors of it, the flow, its history and the CPU seconds."""
    torch.manual_seed(seed)
    data, test = density.sample((args.rows,)), density.sample((args.test,))
    flow = FAMILIES[family](args, float(data.abs().max()))
    start = time.process_time()
    history = pf.fit(
        flow,
        data,
        validation=0.02,
        epochs=max(1, args.steps * args.batch // args.rows),
        batch_size=args.batch,
        learning_rate=args.lr,
        ema=args.ema,
        progress=False,
    )
    seconds = time.process_time() - start
    with torch.no_grad():
        gap = torch.cat([density.log_prob(x) - flow().log_prob(x) for x in test.split(10_000)]).double()
    return float(gap.mean()), 2 * float(gap.std()) / len(gap) ** 0.5, flow, history, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--densities", nargs="+", choices=DENSITIES, default=list(DENSITIES))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rows", type=int, default=250_000)
    parser.add_argument("--test", type=int, default=100_000)
    parser.add_argument("--lr", type=float, default=5e-3)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--bins", type=int, default=16)
    parser.add_argument("--spline-depth", type=int, default=4)
    parser.add_argument("--affine-depth", type=int, default=12)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in args.densities:
        for family in args.families:
            kls, errors, times = [], [], []
            for seed in args.seeds:
                kl, error, flow, history, seconds = divergence(DENSITIES[name], family, seed, args)
                kls, errors, times = [*kls, kl], [*errors, error], [*times, seconds]
                line = f"{name}, {family}, seed {seed}: {kl:.4f} ± {error:.4f}, {history.steps} steps"
                print(f"{line}, {seconds:.0f} s", file=sys.stderr, flush=True)
            count, steps = sum(p.numel() for p in flow.parameters()), history.steps
            found = [f"{statistics.mean(kls):.4f} ± {statistics.mean(errors):.4f}"]
            found.append(", ".join(f"{kl:.4f}" for kl in kls))
            median = f"{statistics.median(times):.0f}"
            rows.append([name, family, *found, str(steps), median, str(count)])
    print(
        f"\n{args.rows} rows, batch {args.batch}, learning rate {args.lr}, average {args.ema}, nets "
        f"{tuple(args.hidden)}; {args.spline_depth} spline couplings of {args.bins} bins, "
        f"{args.affine_depth} affine\n"
    )
    print(markdown(["density", "map", "KL ± 2 SE", "seeds", "steps", "CPU s", "parameters"], rows))


if __name__ == "__main__":
    main()
