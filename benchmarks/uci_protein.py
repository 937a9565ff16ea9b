"""Mean test log-density on UCI protein after equal steps at equal parameters, side by side.

The columns are standardised by the training set's mean and standard deviation, and small normal noise, the
same for all, breaks their many ties (so figures depend on --noise: compare within one table only). Data order
is the same for all libraries at a seed; Adam with a cosine learning rate.

    python benchmarks/uci_protein.py --path ../shared/data/uci_protein.npz
    python benchmarks/uci_protein.py --libraries ours --norm act --activation silu
"""

from __future__ import annotations

import argparse
import math
import pathlib
import statistics
import sys
import time

import numpy as np
import peers_autoregressive
import torch
from peers import BUILDERS, MissingPeer, build, markdown
from torch import nn

import pyro_flows as pf

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "elu": nn.ELU,
}
NORMS = {"none": None, "batch": pf.transforms.BatchNorm, "act": pf.transforms.ActNorm}


def load(path: pathlib.Path, noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    if not path.exists():
        raise SystemExit(
            f"no {path}: pass the UCI protein columns with --path, as x_train and x_test in an .npz"
        )
    arrays = np.load(path)
    train, test = (torch.from_numpy(arrays[name]).double() for name in ("x_train", "x_test"))
    mean, sd = train.mean(0), train.std(0)
    generator = torch.Generator().manual_seed(0)

    def prepared(x: torch.Tensor) -> torch.Tensor:
        x = (x - mean) / sd
        return (x + noise * torch.randn(x.shape, generator=generator, dtype=x.dtype)).float()

    return prepared(train), prepared(test)


def train_and_test(
    name: str, seed: int, args: argparse.Namespace, train: torch.Tensor, test: torch.Tensor
) -> tuple[torch.Tensor, float, int]:
    """Return each test row's log-density, the training seconds and the number of parameters."""
    options = {"ours": {"norm": NORMS[args.norm]}, "nflows": {"wide_scale": True}}.get(name, {})
    activation = ACTIVATIONS[args.activation]
    shape = (train.shape[1], args.depth, args.hidden)
    if args.family == "real-nvp":
        model = build(name, *shape, activation=activation, seed=seed, **options)
    else:
        model = peers_autoregressive.build(args.family, name, *shape, activation=activation, seed=seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=args.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, args.steps)
    generator = torch.Generator().manual_seed(1000 + seed)
    order = torch.empty(0, dtype=torch.long)
    start = time.process_time()
    for _ in range(args.steps):
        if len(order) < args.batch:
            order = torch.randperm(len(train), generator=generator)
        index, order = order[: args.batch], order[args.batch :]
        optimiser.zero_grad()
        loss = -model(train[index]).mean()
        loss.backward()
        if args.clip:
            nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        optimiser.step()
        schedule.step()
    seconds = time.process_time() - start
    if args.norm == "batch" and name == "ours":
        pf.update_statistics(model.module, train)
    model.eval()
    with torch.no_grad():
        return model(test), seconds, model.num_parameters


def main() -> None:
    default = pathlib.Path(__file__).resolve().parents[2] / "shared" / "data" / "uci_protein.npz"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--path", type=pathlib.Path, default=default)
    parser.add_argument("--libraries", nargs="+", choices=BUILDERS, default=["ours", "zuko", "nflows"])
    parser.add_argument("--family", choices=["real-nvp", *peers_autoregressive.FAMILIES], default="real-nvp")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--depth", type=int, default=10)
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 128])
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--clip", type=float, default=5.0, help="largest gradient norm, 0 for any")
    parser.add_argument("--noise", type=float, default=0.05, help="in standard deviations of a column")
    parser.add_argument("--norm", choices=NORMS, default="none", help="ours only")
    parser.add_argument("--activation", choices=ACTIVATIONS, default="relu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    train, test = load(args.path, args.noise)
    rows = []
    for name in args.libraries:
        means, errors, times, count = [], [], [], 0
        for seed in range(args.seeds):
            try:
                scores, seconds, count = train_and_test(name, seed, args, train, test)
            except MissingPeer as error:
                print(error, file=sys.stderr)
                break
            means.append(float(scores.double().mean()))
            errors.append(2 * float(scores.double().std()) / math.sqrt(len(scores)))
            times.append(seconds)
            print(f"{name} seed {seed}: {means[-1]:.3f} ± {errors[-1]:.3f}, {seconds:.0f} s", file=sys.stderr)
        if means:
            spread = f"{min(means):.3f} – {max(means):.3f}"
            cells = [f"{statistics.mean(means):.3f} ± {statistics.mean(errors):.3f}", spread]
            rows.append([name, *cells, f"{statistics.median(times):.0f}", str(count)])
    print(
        f"\n{args.family}, {args.steps} steps, {args.depth} layers of {tuple(args.hidden)}, "
        f"{args.activation}, norm of ours: {args.norm}, noise {args.noise}, {args.seeds} seeds\n"
    )
    print(markdown(["library", "test log-density ± 2 se", "seeds", "CPU seconds", "parameters"], rows))


if __name__ == "__main__":
    main()
