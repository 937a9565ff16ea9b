"""Continuous and residual flows beside Zuko's CNF and normflows' residual flow: speed, and the score it buys.

A step is zero_grad, -log_prob(x).mean(), backward and one step of fused Adam, on the same fresh batches; the
libraries take turns in one process and one thread. Then all score held-out rows and sample, in evaluation
mode. Both continuous flows are a net of (64, 64) on x, cos kπt and sin kπt (k ≤ 3), with the exact trace and
Dormand-Prince steps to atol 1e-6 and rtol 1e-5, which are Zuko's. The residual flows are 8 blocks of a
spectrally normalised net of (64, 64): normflows' with the log-determinant it takes in two dimensions ("brute
force"), and with its default, the memory-saving series.

    python benchmarks/continuous.py
    python benchmarks/continuous.py --compile --rounds 10
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch
from peers import Model, _need, markdown
from torch import nn

import pyro_flows as pf


def ours_cnf(solver=None) -> Model:
    solver = solver or pf.ode.Adaptive(rtol=1e-5, atol=1e-6)
    flow = pf.Flow(pf.ffjord(2, solver=solver, activation=nn.ELU))
    return Model("ours", flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def ours_cnf_adjoint() -> Model:
    return ours_cnf(pf.ode.Adaptive(rtol=1e-5, atol=1e-6, adjoint=True))


def ours_cnf_checkpointed() -> Model:
    return ours_cnf(pf.ode.Checkpointed(rtol=1e-5, atol=1e-6))


def ours_cnf_fixed() -> Model:
    return ours_cnf(pf.ode.RungeKutta(6))


def zuko_cnf() -> Model:
    flow = _need("zuko").flows.CNF(2, hidden_features=(64, 64), exact=True)
    nn.init.zeros_(flow.transform.ode[-1].weight)  # as ours starts: both solve the same equation
    nn.init.zeros_(flow.transform.ode[-1].bias)
    return Model("zuko", flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def ours_residual(log_det=None) -> Model:
    flow = pf.Flow(pf.residual(2, depth=8, log_det=log_det))
    return Model("ours", flow, lambda x: flow().log_prob(x), lambda n: flow().sample((n,)))


def ours_roulette() -> Model:
    return ours_residual(pf.transforms.Roulette())


def normflows_residual(**options) -> Model:
    nf = _need("normflows")
    blocks = [
        nf.flows.Residual(
            nf.nets.LipschitzMLP([2, 64, 64, 2], init_zeros=True, lipschitz_const=0.97), **options
        )
        for _ in range(8)
    ]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), blocks)
    model = Model("normflows", flow, flow.log_prob, lambda n: flow.sample(n)[0])
    # Its users call this after each step; else nothing holds the layers to their Lipschitz constant.
    model.after_step = lambda: nf.utils.update_lipschitz(flow, 5)
    return model


def normflows_exact() -> Model:
    return normflows_residual(brute_force=True, reduce_memory=False)


ROWS: dict[str, dict[str, Callable[[], Model]]] = {
    "cnf": {
        "ours": ours_cnf,
        "ours, checkpointed": ours_cnf_checkpointed,
        "ours, adjoint": ours_cnf_adjoint,
        "ours, 6 Runge–Kutta steps": ours_cnf_fixed,
        "zuko": zuko_cnf,
    },
    "residual": {
        "ours": ours_residual,
        "normflows, brute force": normflows_exact,
        "ours, roulette": ours_roulette,
        "normflows, series": normflows_residual,
    },
}


class Contestant:
    """A model in training, and how fast it has been at what."""

    def __init__(self, name: str, model: Model, *, lr: float, compiled: bool) -> None:
        self.name, self.model = name, model.train()
        self.optimiser = torch.optim.Adam(model.parameters(), lr=lr, fused=True)

        def mean_loss(x: torch.Tensor) -> torch.Tensor:
            return -model(x).mean()

        self.after_step = getattr(model, "after_step", None)
        self.loss = torch.compile(mean_loss) if compiled else mean_loss
        self.speeds: dict[str, list[float]] = {"train": [], "score": [], "sample": []}

    def train(self, batches: Sequence[torch.Tensor]) -> None:
        for x in batches:
            self.optimiser.zero_grad()
            self.loss(x).backward()
            self.optimiser.step()
            if self.after_step is not None:
                self.after_step()

    @torch.no_grad()
    def score(self, batches: Sequence[torch.Tensor]) -> None:
        for x in batches:
            self.model(x)

    @torch.no_grad()
    def sample(self, batches: Sequence[torch.Tensor]) -> None:
        for x in batches:
            self.model.draw(len(x))

    def timed(self, what: str, batches: Sequence[torch.Tensor]) -> None:
        began = time.process_time()
        getattr(self, what)(batches)
        self.speeds[what].append(len(batches) / (time.process_time() - began))

    def speed(self, what: str) -> float:
        return statistics.median(self.speeds[what][1:])  # the first round warms up


def measure(builders: dict[str, Callable[[], Model]], args: argparse.Namespace) -> list[list[str]]:
    moons = pf.datasets.TwoMoons(noise=0.1)
    contestants = []
    for name, builder in builders.items():
        torch.manual_seed(1)
        one = Contestant(name, builder(), lr=args.lr, compiled=args.compile)
        try:
            one.train([moons.sample((args.batch,)) for _ in range(3)])
        except RuntimeError as error:
            if not args.compile:
                raise
            print(f"{name} does not compile: {str(error)[:100]}", file=sys.stderr, flush=True)
            continue
        contestants.append(one)
    torch.manual_seed(0)
    for what, rounds in (("train", args.rounds), ("score", 4), ("sample", 4)):
        for i in range(rounds + 1):
            count = args.steps if what == "train" else 2
            batches = moons.sample((args.batch * count,)).split(args.batch)
            order = i % len(contestants)
            for one in contestants[order:] + contestants[:order]:
                one.timed(what, batches)
        for one in contestants:
            print(f"{one.name}: {what} {one.speed(what):.2f}/s", file=sys.stderr, flush=True)
            one.model.eval()
    torch.manual_seed(2)
    held_out = moons.sample((4000,))
    table, first = [], contestants[0]
    for one in contestants:
        pairs = zip(first.speeds["train"][1:], one.speeds["train"][1:], strict=True)
        ratio = "" if one is first else f"{statistics.median(a / b for a, b in pairs):.2f}"
        with torch.no_grad():
            scores = one.model(held_out)
        rows = [f"{one.speed(what) * args.batch:.0f}" for what in ("score", "sample")]
        score = f"{float(scores.mean()):.3f} ± {float(scores.std()) / 4000**0.5:.3f}"
        table.append(
            [one.name, f"{one.speed('train'):.1f}", ratio, *rows, score, str(one.model.num_parameters)]
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="steps a round")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--compile", action="store_true", help="torch.compile the loss")
    parser.add_argument("--only", nargs="+", help="these of the row's names")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for row in args.rows:
        chosen = {name: f for name, f in ROWS[row].items() if args.only is None or name in args.only}
        mode = "compiled" if args.compile else "eager"
        print(f"\n{row}, {mode}, torch {torch.__version__}, cpu clock, {args.rounds} × {args.steps} steps\n")
        columns = [
            "library",
            "steps/s",
            "first ÷ it",
            "scored rows/s",
            "sampled rows/s",
            "held-out log-density",
        ]
        print(markdown([*columns, "parameters"], measure(chosen, args)), flush=True)


if __name__ == "__main__":
    main()
