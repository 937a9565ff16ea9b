"""Training steps per second of affine coupling flows, side by side.

A step is zero_grad, -log_prob(x).mean(), backward and one step of fused Adam. The libraries take turns in
short repeats within one process and one thread, so that whatever else the machine does hits all of them
alike: trust the ratios more than the steps per second.

    python benchmarks/training_speed.py
    python benchmarks/training_speed.py --compile --libraries ours zuko --rows moons-2
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import NamedTuple

import torch
from peers import BUILDERS, MissingPeer, Model, build, markdown

import pyro_flows as pf


class Row(NamedTuple):
    dim: int
    depth: int
    hidden: tuple[int, ...]


ROWS = {
    "moons-2": Row(2, 2, (64, 64)),
    "moons-8": Row(2, 8, (64, 64)),
    "dim-64": Row(64, 10, (128, 128)),
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def data(row: Row, size: int) -> torch.Tensor:
    torch.manual_seed(0)
    if row.dim == 2:
        return pf.datasets.TwoMoons(noise=0.1).sample((size,))
    # A mixing matrix gives the couplings something to learn.
    return torch.randn(size, row.dim) @ torch.linalg.qr(torch.randn(row.dim, row.dim))[0]


class Trainer:
    def __init__(self, model: Model, compiled: bool, lr: float = 1e-4) -> None:
        self.model = model
        self.optimiser = torch.optim.Adam(model.parameters(), lr=lr, fused=True)

        def loss(x: torch.Tensor) -> torch.Tensor:
            return -model(x).mean()

        self.loss = torch.compile(loss) if compiled else loss

    def steps(self, batches: list[torch.Tensor]) -> float:
        for x in batches:
            self.optimiser.zero_grad()
            loss = self.loss(x)
            loss.backward()
            self.optimiser.step()
        return loss.item()


def trainers(row: Row, args: argparse.Namespace, batches: list[torch.Tensor]) -> dict[str, Trainer]:
    ready: dict[str, Trainer] = {}
    for name in args.libraries:
        start = time.perf_counter()
        torch.compiler.reset()
        try:
            trainer = Trainer(build(name, row.dim, row.depth, row.hidden), args.compile)
            value = trainer.steps(batches[:5])
        except MissingPeer as error:
            print(error, file=sys.stderr)
            continue
        except Exception as error:
            if not args.compile:
                raise
            print(f"{name} fails to compile: {type(error).__name__}: {str(error)[:300]}", file=sys.stderr)
            continue
        took = time.perf_counter() - start
        count = trainer.model.num_parameters
        print(f"{name}: {count} parameters, first five steps {took:.1f} s, loss {value:.3f}", file=sys.stderr)
        ready[name] = trainer
    return ready


def measure(row: Row, args: argparse.Namespace) -> list[list[str]]:
    clock = CLOCKS[args.clock]
    batches = list(data(row, args.batch * args.steps).split(args.batch))
    ready = trainers(row, args, batches)
    names = list(ready)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for i in range(args.rounds + 1):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = clock()
            ready[name].steps(batches)
            took = clock() - start
            if i:  # the first round warms up
                speeds[name].append(args.steps / took)
    table = []
    for name in names:
        cells = [f"{statistics.median(speeds[name]):.0f}", "", str(ready[name].model.num_parameters)]
        if "ours" in ready and name != "ours":
            ratios = [a / b for a, b in zip(speeds["ours"], speeds[name], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            cells[1] = f"{middle:.2f} ({low:.2f}–{high:.2f})"
        table.append([name, *cells])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--libraries", nargs="+", choices=BUILDERS, default=list(BUILDERS))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--compile", action="store_true", help="torch.compile the loss")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="cpu", help="cpu leaves waiting for other jobs out"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    header = ["row", "library", "steps/s", "ours ÷ it (quartiles)", "parameters"]
    lines = []
    for name in args.rows:
        lines += [[name, *cells] for cells in measure(ROWS[name], args)]
        print(markdown(header, lines[-len(args.libraries) :]), file=sys.stderr, flush=True)
    mode = "compiled" if args.compile else "eager"
    print(f"\n{mode}, torch {torch.__version__}, {args.clock} clock, {args.rounds} × {args.steps} steps\n")
    print(markdown(header, lines))


if __name__ == "__main__":
    main()
