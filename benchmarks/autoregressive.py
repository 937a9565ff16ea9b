"""Autoregressive and spline flows side by side: training steps, scored and sampled rows per second.

Libraries take turns within one process and one thread; time is the process's CPU time. A training step is
zero_grad, -log_prob(x).mean(), backward and one step of fused Adam. Trust ratios more than numbers.

    python benchmarks/autoregressive.py
    python benchmarks/autoregressive.py --families maf --compile --what train
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from peers import MissingPeer, Model, markdown
from peers_autoregressive import FAMILIES, build

ROWS = {"dim-2": (2, 5, (64, 64)), "dim-6": (6, 5, (64, 64)), "dim-43": (43, 5, (128, 128))}


def trainer(model: Model, batches: list[torch.Tensor], compiled: bool) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def mean_loss(x: torch.Tensor) -> torch.Tensor:
        return -model(x).mean()

    loss = torch.compile(mean_loss) if compiled else mean_loss

    def steps() -> None:
        for x in batches:
            optimiser.zero_grad()
            loss(x).backward()
            optimiser.step()

    return steps


def scorer(model: Model, batches: list[torch.Tensor], compiled: bool) -> Callable[[], None]:
    score = torch.compile(model) if compiled else model

    def scores() -> None:
        with torch.no_grad():
            for x in batches:
                score(x)

    return scores


def sampler(model: Model, batches: list[torch.Tensor], compiled: bool) -> Callable[[], None]:
    def draws() -> None:
        with torch.no_grad():
            for x in batches:
                model.draw(len(x))

    return draws


WHAT = {"train": trainer, "score": scorer, "sample": sampler}


def measure(family: str, row: str, what: str, args: argparse.Namespace) -> list[list[str]]:
    dim, depth, hidden = ROWS[row]
    torch.manual_seed(0)
    mixing = torch.linalg.qr(torch.randn(dim, dim))[0]
    count = max(1, args.steps // 4) if what == "sample" else args.steps
    batches = list((torch.randn(args.batch * count, dim) @ mixing).split(args.batch))
    ready: dict[str, tuple[Callable[[], None], int]] = {}
    for name in FAMILIES[family]:
        torch.compiler.reset()
        try:
            model = build(family, name, dim, depth, hidden)
            run = WHAT[what](model, batches, args.compile)
            run()
        except MissingPeer as error:
            print(error, file=sys.stderr)
            continue
        except Exception as error:
            if not args.compile:
                raise
            print(f"{name} fails to compile: {type(error).__name__}: {str(error)[:200]}", file=sys.stderr)
            continue
        ready[name] = run, model.num_parameters
    names, speeds = list(ready), {name: [] for name in ready}
    for i in range(args.rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = time.process_time()
            ready[name][0]()
            speeds[name].append(count / (time.process_time() - start))
    rows = []
    for name in names:
        ratio = ""
        if name != "ours":
            ratios = [a / b for a, b in zip(speeds["ours"], speeds[name], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            ratio = f"{middle:.2f} ({low:.2f}–{high:.2f})"
        speed = statistics.median(speeds[name]) * (1 if what == "train" else args.batch)
        rows.append([family, row, what, name, f"{speed:.0f}", ratio, str(ready[name][1])])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--what", nargs="+", choices=WHAT, default=list(WHAT))
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=8, help="batches a round; a quarter of it for samples")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    header = ["family", "row", "what", "library", "steps/s or rows/s", "ours ÷ it (quartiles)", "parameters"]
    lines = []
    for family in args.families:
        for row in args.rows:
            for what in args.what:
                found = measure(family, row, what, args)
                print(markdown(header, found), file=sys.stderr, flush=True)
                lines += found
    mode = "compiled" if args.compile else "eager"
    print(f"\n{mode}, torch {torch.__version__}, batch {args.batch}, {args.rounds} × {args.steps} steps\n")
    print(markdown(header, lines))


if __name__ == "__main__":
    main()
