"""KL of continuous flows to two moons (noise 0.1), by how they were trained, and the seconds it took.

Every flow is a `pf.ffjord` on standardised rows, trained by `pf.fit` on 100,000 samples without validation,
and judged on 50,000 others by an adaptive solver at tolerances of 1e-5 with the exact trace: KL is the mean
of the true log-density minus the flow's. Seconds are the process's CPU time for training.

    python benchmarks/continuous_moons.py
    python benchmarks/continuous_moons.py --only likelihood "matching, late, averaged" --seeds 0 1
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from peers import markdown
from torch import Tensor, nn

import pyro_flows as pf
from pyro_flows.training import FlowMatching, negative_log_likelihood, optimal_transport

ROWS = 100_000


@dataclass
class Stage:
    """One call of `fit`."""

    loss: Callable[..., Tensor]
    steps: int
    batch: int
    rate: float

    def __call__(self, flow: pf.Flow, data: Tensor, seed: int) -> None:
        pf.fit(
            flow,
            data,
            loss=self.loss,
            validation=0,
            epochs=max(1, round(self.steps * self.batch / len(data))),
            batch_size=self.batch,
            learning_rate=self.rate,
            seed=seed,
            progress=False,
        )


NARROW, WIDE = (64, 64), (128, 128, 128)
AVERAGED = Stage(FlowMatching(), 5000, 512, 5e-3)
METHODS: dict[str, tuple[tuple[int, ...], list[Stage]]] = {
    "likelihood": (NARROW, [Stage(negative_log_likelihood, 2400, 256, 3e-3)]),
    "matching": (WIDE, [Stage(FlowMatching(late=False, averaged=False), 5000, 512, 5e-3)]),
    "matching, late": (WIDE, [Stage(FlowMatching(averaged=False), 5000, 512, 5e-3)]),
    "matching, late, averaged": (WIDE, [AVERAGED]),
    "matching, late, transport": (
        WIDE,
        [Stage(FlowMatching(optimal_transport), 5000, 256, 5e-3)],
    ),
    "averaged, then likelihood": (WIDE, [AVERAGED, Stage(negative_log_likelihood, 390, 256, 5e-4)]),
}


def judged(flow: pf.Flow, truth: pf.datasets.TwoMoons) -> tuple[float, float, int]:
    """Return the KL in nats, its standard error, and how often the field was evaluated."""
    torch.manual_seed(12345)
    test = truth.sample((50_000,))
    ode = flow.transform[0]
    solver, ode.solver = ode.solver, pf.ode.Adaptive(rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        gap = truth.log_prob(test) - flow().log_prob(test)
    ode.solver = solver
    return float(gap.mean()), float(gap.std()) / len(gap) ** 0.5, ode.evaluations


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    torch.set_num_threads(1)
    truth = pf.datasets.TwoMoons(noise=0.1)
    torch.manual_seed(54321)
    data = truth.sample((ROWS,))
    standardize = pf.transforms.Standardize.of(data)
    rows = []
    for seed in args.seeds:
        for name in args.only:
            hidden, stages = METHODS[name]
            torch.manual_seed(seed)
            ode = pf.ffjord(2, hidden=hidden, activation=nn.SiLU, solver=pf.ode.RungeKutta(6))
            flow, seconds = pf.Flow([ode, standardize]), 0.0
            for stage in stages:
                began = time.process_time()
                stage(flow, data, seed)
                seconds += time.process_time() - began
                kl, error, evaluations = judged(flow, truth)
                row = [name, str(seed), f"{kl:.4f} ± {error:.4f}", f"{seconds:.0f}", str(evaluations)]
                print(row, file=sys.stderr, flush=True)
            rows.append(row)
    print(markdown(["trained by", "seed", "KL in nats", "CPU seconds", "evaluations"], rows))


if __name__ == "__main__":
    main()
