"""Training seconds until KL(data ‖ flow) ≤ 0.02 nats on two moons, side by side.

Equal nets, optimiser, learning rate, batch size and data order. KL is the mean of the true log-density minus
the flow's over fixed held-out samples; the time for estimating it is not counted. Libraries differ in their
initialisation and in how they bound the scale, so steps differ as well as seconds.

    python benchmarks/two_moons_kl.py --seeds 3
"""

from __future__ import annotations

import argparse
import statistics
import sys

import torch
from peers import BUILDERS, MissingPeer, build, markdown
from training_speed import CLOCKS, Trainer

import pyro_flows as pf


def seconds_to_target(
    name: str, seed: int, args: argparse.Namespace, held_out: torch.Tensor, truth: torch.Tensor
) -> tuple[int, float, float]:
    """Return steps and seconds until the target, or until the last step, and the KL then."""
    options = {"wide_scale": True} if name == "nflows" else {}
    model = build(name, 2, args.depth, args.hidden, seed=seed, **options)
    trainer = Trainer(model, args.compile, args.lr)
    clock, seconds, kl = CLOCKS[args.clock], 0.0, float("inf")
    torch.manual_seed(1000 + seed)
    moons = pf.datasets.TwoMoons(noise=0.1)
    if args.compile:  # leave the compilation out, with a step of size 0
        warm = Trainer(model, True, 0.0)
        trainer.loss = warm.loss
        warm.steps([moons.sample((args.batch,))])
    steps = 0
    while steps < args.max_steps and kl > args.target:
        batches = list(moons.sample((args.batch * args.every,)).split(args.batch))
        start = clock()
        trainer.steps(batches)
        seconds += clock() - start
        steps += args.every
        with torch.no_grad():
            kl = float((truth - model(held_out)).mean())
    return steps, seconds, kl


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--libraries", nargs="+", choices=BUILDERS, default=list(BUILDERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--target", type=float, default=0.02)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--every", type=int, default=50, help="steps between estimates of the KL")
    parser.add_argument("--max-steps", type=int, default=6000)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--clock", choices=CLOCKS, default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(123)
    moons = pf.datasets.TwoMoons(noise=0.1)
    held_out = moons.sample((20_000,))
    truth = moons.log_prob(held_out)
    print(f"entropy of the held-out samples {-float(truth.mean()):.4f}", file=sys.stderr)
    results: dict[str, list[tuple[int, float, float]]] = {}
    for seed in range(args.seeds):
        for name in args.libraries:
            try:
                result = seconds_to_target(name, seed, args, held_out, truth)
            except MissingPeer as error:
                print(error, file=sys.stderr)
                continue
            results.setdefault(name, []).append(result)
            print(
                f"{name} seed {seed}: {result[0]} steps, {result[1]:.1f} s, KL {result[2]:.4f}",
                file=sys.stderr,
            )
    rows = []
    for name, runs in results.items():
        reached = sum(kl <= args.target for *_, kl in runs)
        steps, seconds, kls = (statistics.median(values) for values in zip(*runs, strict=True))
        rows.append([name, f"{reached}/{len(runs)}", f"{seconds:.1f}", f"{steps:.0f}", f"{kls:.4f}"])
    mode = "compiled" if args.compile else "eager"
    print(f"\n{mode}, {args.clock} clock, depth {args.depth}, lr {args.lr}, medians of {args.seeds} seeds\n")
    print(markdown(["library", f"reached KL ≤ {args.target}", "seconds", "steps", "last KL"], rows))


if __name__ == "__main__":
    main()
