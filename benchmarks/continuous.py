"""Training steps per second of continuous and residual flows beside Zuko's CNF and normflows' residual flow.

A step is zero_grad, -log_prob(x).mean(), backward and one step of fused Adam; the libraries take turns in
one process and one thread. Both continuous flows are a net of (64, 64) on x, cos kπt and sin kπt (k ≤ 3),
with the exact trace and Dormand-Prince steps to atol 1e-6 and rtol 1e-5, which are Zuko's. The residual flows
are 8 blocks of a spectrally normalised net of (64, 64): normflows' with the log-determinant it takes in two
dimensions ("brute force"), and with its default, the memory-saving series.

    python benchmarks/continuous.py
    python benchmarks/continuous.py --compile --rounds 10
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from peers import Model, _need, markdown
from torch import nn

import pyro_flows as pf


def ours_cnf(solver=None) -> Model:
    solver = solver or pf.ode.Adaptive(rtol=1e-5, atol=1e-6)
    flow = pf.Flow(pf.ffjord(2, solver=solver, activation=nn.ELU))
    return Model("ours", flow, lambda x: flow().log_prob(x))


def ours_cnf_adjoint() -> Model:
    return ours_cnf(pf.ode.Adaptive(rtol=1e-5, atol=1e-6, adjoint=True))


def ours_cnf_fixed() -> Model:
    return ours_cnf(pf.ode.RungeKutta(6))


def zuko_cnf() -> Model:
    flow = _need("zuko").flows.CNF(2, hidden_features=(64, 64), exact=True)
    nn.init.zeros_(flow.transform.ode[-1].weight)  # as ours starts: both solve the same equation
    nn.init.zeros_(flow.transform.ode[-1].bias)
    return Model("zuko", flow, lambda x: flow().log_prob(x))


def ours_residual(log_det=None) -> Model:
    flow = pf.Flow(pf.residual(2, depth=8, log_det=log_det))
    return Model("ours", flow, lambda x: flow().log_prob(x))


def ours_roulette() -> Model:
    return ours_residual(pf.nn.Roulette())


def normflows_residual(**options) -> Model:
    nf = _need("normflows")
    blocks = [
        nf.flows.Residual(
            nf.nets.LipschitzMLP([2, 64, 64, 2], init_zeros=True, lipschitz_const=0.97), **options
        )
        for _ in range(8)
    ]
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), blocks)
    return Model("normflows", flow, flow.log_prob)


def normflows_exact() -> Model:
    return normflows_residual(brute_force=True, reduce_memory=False)


ROWS: dict[str, dict[str, Callable[[], Model]]] = {
    "cnf": {
        "ours": ours_cnf,
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


def measure(builders: dict[str, Callable[[], Model]], args: argparse.Namespace) -> list[list[str]]:
    torch.manual_seed(0)
    batches = list(pf.datasets.TwoMoons(noise=0.1).sample((args.batch * args.steps,)).split(args.batch))
    ready = {}
    for name, builder in builders.items():
        torch.manual_seed(1)
        model = builder().train()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

        def loss(x, model=model):
            return -model(x).mean()

        ready[name] = torch.compile(loss) if args.compile else loss, optimiser, model
    speeds: dict[str, list[float]] = {name: [] for name in ready}
    names = list(ready)
    for i in range(args.rounds + 1):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            loss, optimiser, _ = ready[name]
            began = time.process_time()
            for x in batches:
                optimiser.zero_grad()
                value = loss(x)
                value.backward()
                optimiser.step()
            if i:  # the first round warms up
                speeds[name].append(args.steps / (time.process_time() - began))
            print(f"{name}: loss {float(value):.3f}", file=sys.stderr)
    table = []
    for name, (_, _, model) in ready.items():
        ratios = [a / b for a, b in zip(speeds[names[0]], speeds[name], strict=True)]
        ratio = "" if name == names[0] else f"{statistics.median(ratios):.2f}"
        table.append([name, f"{statistics.median(speeds[name]):.1f}", ratio, str(model.num_parameters)])
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="steps a round")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--compile", action="store_true", help="torch.compile the loss")
    parser.add_argument("--only", nargs="+", help="these of the row's names")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for row in args.rows:
        chosen = {name: f for name, f in ROWS[row].items() if args.only is None or name in args.only}
        mode = "compiled" if args.compile else "eager"
        print(f"\n{row}, {mode}, torch {torch.__version__}, cpu clock, {args.rounds} × {args.steps} steps\n")
        print(markdown(["library", "steps/s", "first ÷ it", "parameters"], measure(chosen, args)), flush=True)


if __name__ == "__main__":
    main()
