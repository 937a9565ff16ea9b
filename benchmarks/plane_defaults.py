"""What makes residual and continuous flows good: KL to two moons after `pf.fit` at its defaults, by variant.

50,000 standardised rows of two moons with noise 0.1; KL on 20,000 others, continuous flows judged by an
adaptive solver at 1e-5 with the exact trace. Residual flows and FFJORD train for 1,750 steps of 256 rows,
flow matching for 7,000, the other families for 3,500. normflows' residual flow is run if it is installed.

    python benchmarks/plane_defaults.py --grid residual ffjord matching --jobs 14 --minutes 4
    python benchmarks/plane_defaults.py --grid families --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import math
import pathlib
from collections.abc import Callable
from dataclasses import dataclass

import grid
import torch
from torch import nn

import pyro_flows as pf

ROWS, BATCH, TEST = 50_000, 256, 20_000
STEPS = {"residual": 1750, "ffjord": 1750, "matching": 7000, "families": 3500}
ACTIVATIONS = {"tanh": nn.Tanh, "silu": nn.SiLU, "softplus": nn.Softplus}


@dataclass(frozen=True)
class Residual:
    """Invertible residual blocks.

    sharpness: β of the activations at the start.
    start: "now", "unit" (all layers but the last stretch by the coefficient) or "orthogonal"; the latter
        two with biases that spread the kinks over twice the input's standard deviation.
    norm: whether act norms stand between the blocks.
    """

    depth: int = 8
    hidden: tuple[int, ...] = (64, 64)
    sharpness: float = 0.97
    start: str = "now"
    norm: bool = False

    def __call__(self) -> list[nn.Module]:
        parts: list[nn.Module] = []
        for _ in range(self.depth):
            net = pf.nn.LipschitzNet(2, self.hidden)
            with torch.no_grad():
                net.sharpness.fill_(math.log(math.expm1(self.sharpness)))
                scale = 1.0
                for layer in list(net.layers)[:-1] if self.start != "now" else []:
                    if self.start == "orthogonal":
                        nn.init.orthogonal_(layer.weight)
                    layer.weight *= 0.97 / torch.linalg.matrix_norm(layer.weight, 2)
                    layer.u, layer.v = layer.iterated(30)
                    spread = scale * layer.weight.norm(dim=1)
                    layer.bias.copy_((2 * torch.rand(len(spread)) - 1) * 2 * spread)
                    scale = 0.5 * float(spread.square().mean().sqrt())
            parts.append(pf.transforms.Residual(net))
            if self.norm:
                parts.append(pf.transforms.ActNorm(2))
        return parts


@dataclass(frozen=True)
class Continuous:
    """A continuous flow, with the velocity net's arguments."""

    hidden: tuple[int, ...] = (64, 64)
    activation: str = "tanh"
    spread: float = 1.0
    gain: float = 1.0
    frequencies: int = 3
    solver: object = None

    def __call__(self) -> list[nn.Module]:
        field = pf.nn.VelocityNet(
            2,
            self.hidden,
            activation=ACTIVATIONS[self.activation],
            spread=self.spread,
            gain=self.gain,
            frequencies=self.frequencies,
        )
        return [pf.transforms.NeuralODE(field, 2, solver=self.solver or pf.ode.RungeKutta(8))]


def matching(averaged: bool = True, late: bool = True) -> Callable:
    return pf.training.FlowMatching(late=late, averaged=averaged)


def smooth(spread: float, gain: float, hidden: tuple[int, ...] = (64, 64), **options: object) -> Continuous:
    return Continuous(hidden, "silu", spread, gain, **options)


VARIANTS: dict[str, dict[str, tuple]] = {
    "residual": {
        "default": (lambda: [pf.residual(2)],),
        "now": (Residual(),),
        "β 20": (Residual(sharpness=20.0),),
        "unit, β 20": (Residual(sharpness=20.0, start="unit"),),
        "orthogonal, β 20": (Residual(sharpness=20.0, start="orthogonal"),),
        "orthogonal, β 50": (Residual(sharpness=50.0, start="orthogonal"),),
        "unit, β 50": (Residual(sharpness=50.0, start="unit"),),
        "orthogonal, β 10, norm": (Residual(sharpness=10.0, start="orthogonal", norm=True),),
        "orthogonal, β 20, norm": (Residual(sharpness=20.0, start="orthogonal", norm=True),),
        "orthogonal, β 20, norm, 16": (Residual(16, sharpness=20.0, start="orthogonal", norm=True),),
        "orthogonal, β 20, norm, one layer": (Residual(8, (128,), 20.0, "orthogonal", True),),
        "orthogonal, β 20, norm, three": (Residual(8, (64,) * 3, 20.0, "orthogonal", True),),
        "unit, β 20, norm": (Residual(sharpness=20.0, start="unit", norm=True),),
        "normflows": (None,),
    },
    "ffjord": {
        "default": (lambda: [pf.ffjord(2)],),
        "tanh, spread 1, gain 1": (Continuous(),),
        "spread 1, gain 1": (smooth(1, 1),),
        "spread 3, gain 1": (smooth(3, 1),),
        "spread 3, gain 2": (smooth(3, 2),),
        "spread 3, gain 3": (smooth(3, 3),),
        "spread 3, gain 5": (smooth(3, 5),),
        "spread 5, gain 3": (smooth(5, 3),),
        "tanh, spread 3, gain 3": (Continuous(spread=3.0, gain=3.0),),
        "spread 3, gain 3, 6 steps": (smooth(3, 3, solver=pf.ode.RungeKutta(6)),),
        "spread 3, gain 3, adaptive": (smooth(3, 3, solver=pf.ode.Adaptive()),),
    },
    "matching": {
        "default": (lambda: [pf.ffjord(2)], pf.training.FlowMatching()),
        "spread 1, gain 1": (smooth(1, 1), matching()),
        "spread 3, gain 1": (smooth(3, 1), matching()),
        "spread 3, gain 3": (smooth(3, 3), matching()),
        "spread 3, gain 5": (smooth(3, 5), matching()),
        "spread 5, gain 5": (smooth(5, 5), matching()),
        "spread 3, gain 10": (smooth(3, 10), matching()),
        "tanh, spread 3, gain 5": (Continuous(spread=3.0, gain=5.0), matching()),
        "spread 3, gain 5, 128": (smooth(3, 5, (128, 128)), matching()),
        "spread 3, gain 5, 3 × 64": (smooth(3, 5, (64, 64, 64)), matching()),
        "spread 3, gain 3, 3 × 64": (smooth(3, 3, (64, 64, 64)), matching()),
        "spread 3, gain 5, 5 frequencies": (smooth(3, 5, frequencies=5), matching()),
        "spread 3, gain 5, plain": (smooth(3, 5), matching(False, False)),
        "spread 3, gain 5, late": (smooth(3, 5), matching(False)),
        "spread 3, gain 5, averaged": (smooth(3, 5), matching(True, False)),
    },
    "families": {
        "real_nvp": (lambda: [pf.real_nvp(2)],),
        "nsf": (lambda: [pf.nsf(2)],),
        "nsf, autoregressive": (lambda: [pf.nsf(2, autoregressive=True)],),
        "maf": (lambda: [pf.maf(2)],),
        "naf": (lambda: [pf.naf(2)],),
        "nice": (lambda: [pf.nice(2)],),
        "planar": (lambda: [pf.planar(2)],),
        "radial": (lambda: [pf.radial(2)],),
        "iaf": (lambda: [pf.iaf(2)],),
    },
}


def _normflows(data: torch.Tensor, seed: int, steps: int) -> nn.Module:
    """Train normflows' residual flow as `fit` trains ours, bounded again after each step."""
    import normflows as nf

    blocks = []
    for _ in range(8):
        net = nf.nets.LipschitzMLP([2, 64, 64, 2], init_zeros=True, lipschitz_const=0.97)
        blocks.append(nf.flows.Residual(net, brute_force=True, reduce_memory=False))
    flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(2, trainable=False), blocks)
    optimiser = torch.optim.Adam(flow.parameters(), lr=1e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        (-flow.log_prob(data[torch.randint(len(data), (BATCH,))]).mean()).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
        nf.utils.update_lipschitz(flow, 5)
    return flow


def cell(of: str, variant: str, seed: int, steps: int) -> dict[str, float]:
    """Train a variant and return its KL in nats, with twice the standard error."""
    truth = pf.datasets.TwoMoons(noise=0.1)
    torch.manual_seed(7)
    rows, test = truth.sample((ROWS,)), truth.sample((TEST,))
    mean, sd = rows.mean(0), rows.std(0)
    data, entropy = (rows - mean) / sd, truth.log_prob(test) + sd.log().sum()
    test = (test - mean) / sd
    builder, *loss = VARIANTS[of][variant]
    steps = steps or STEPS[of]
    torch.manual_seed(seed)
    if builder is None:
        scores = _normflows(data, seed, steps).log_prob(test).detach()
    else:
        flow = pf.Flow(builder())
        options = {"loss": loss[0]} if loss else {}
        epochs = max(1, round(steps / (0.9 * ROWS // BATCH)))
        pf.fit(flow, data, epochs=epochs, seed=seed, progress=False, **options)
        for part in flow.modules():
            if isinstance(part, pf.transforms.NeuralODE):
                part.solver = pf.ode.Adaptive(rtol=1e-5, atol=1e-5)
        with torch.no_grad():
            scores = torch.cat([flow().log_prob(part) for part in test.split(5000)])
    gap = (entropy - scores).double()
    return {"kl": round(float(gap.mean()), 4), "error": round(2 * float(gap.std()) / len(gap) ** 0.5, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--grid", nargs="+", choices=VARIANTS, default=["families"])
    parser.add_argument("--only", nargs="+", help="these variants")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=0, help="0 for the grid's own")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="start no cell after this")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/plane_defaults.csv"))
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    cells = [
        {"of": of, "variant": variant, "seed": seed, "steps": args.steps}
        for seed in args.seeds
        for of in args.grid
        for variant in args.only or VARIANTS[of]
    ]
    grid.run(cell, cells, args.out, jobs=args.jobs, minutes=args.minutes, columns=["kl", "error"])
    if args.show:
        print(grid.table(args.out, "of", "variant", "kl"))


if __name__ == "__main__":
    main()
