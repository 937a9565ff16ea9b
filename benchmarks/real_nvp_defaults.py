"""Which activation, gain, bound, start and partitions make Real NVP good, on tables, beside its peers.

Each cell trains one variant on one table from one seed: 8 couplings of (64, 64), Adam at 1e-3 on a
cosine, batches of 256, gradients clipped at 5; a tenth of the training rows chooses the weights. It is
scored by its mean log-density, its worst row's and the first percentile's, on rows to choose variants by
("choice") and on test rows that nothing was chosen by. All libraries see the same rows in the same order.
The tables are those of `real_tables.py`; "moons" and "gaussians" are drawn (their figures minus the
entropy are a KL). Zuko, nflows and normflows are run if they are installed.

    python benchmarks/real_nvp_defaults.py --tables folder --out results.csv --jobs 14 --minutes 5
    python benchmarks/real_nvp_defaults.py --only moons fair --variants default zuko --seeds 0 1 --show
"""

from __future__ import annotations

import argparse
import copy
import math
import pathlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import grid
import torch
from peers import Model, build
from real_tables import TABLES, Split, split
from torch import Tensor, nn

import pyro_flows as pf

ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "gelu": nn.GELU, "elu": nn.ELU}
DRAWN = {"moons": pf.datasets.TwoMoons(noise=0.1), "gaussians": pf.datasets.EightGaussians()}


@dataclass(frozen=True)
class Variant:
    """A Real NVP.

    order: "two cuts" (halves in two layers, every other element in the next two), "halves", "alternating", or
        "random", a mask drawn for each pair of layers.
    first, middle: what the first layers' and the second layers' weights are multiplied by at the start.
    start: standard deviation of the last layers' weights at the start.
    squash: what nets read in place of x: infinity for arsinh x, another c for x / √(1 + (x/c)²), 0 for x.
    """

    activation: str = "silu"
    gain: float = 3.0
    bound: float = 3.0
    order: str = "two cuts"
    first: float = 1.0
    middle: float = 1.0
    start: float = 0.0
    squash: float = 0.0

    def __call__(self, dim: int) -> Model:
        elementwise = pf.elementwise.Affine(self.bound)
        layers = []
        for i in range(8):
            partition = self._partition(dim, i)
            passive = partition.passive_shape[0] if hasattr(partition, "passive_shape") else None
            sides = (passive, dim - passive) if passive else partition.sizes()
            net = pf.nn.MLP(sides[0], 2 * sides[1], activation=ACTIVATIONS[self.activation], gain=self.gain)
            with torch.no_grad():
                net.first.weight *= self.first
                net.middle[0].weight *= self.middle
                net.last.weight.normal_(0, self.start / self.gain)
            conditioner = _Squashed(net, self.squash) if self.squash else net
            layers.append(pf.transforms.Coupling(partition, elementwise, conditioner))
        flow = pf.Flow(pf.transforms.Chain(layers))
        return Model("ours", flow, lambda x: flow().log_prob(x))

    def _partition(self, dim: int, i: int):
        swap = i % 2 == 1
        if self.order == "random" and dim > 2:
            generator = torch.Generator().manual_seed(i // 2)
            mask = torch.randperm(dim, generator=generator) < (dim + 1) // 2
            return pf.partitions.Mask(~mask if swap else mask)
        halves = {"two cuts": i % 4 < 2, "halves": True, "alternating": False, "random": True}[self.order]
        return (pf.partitions.Halves if halves or dim == 2 else pf.partitions.Alternating)(dim, swap=swap)


class _Squashed(nn.Module):
    def __init__(self, net: nn.Module, limit: float) -> None:
        super().__init__()
        self.net, self.limit, self.context_shape = net, limit, None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if math.isinf(self.limit):
            return self.net(x.asinh())
        return self.net(x / (1 + (x / self.limit).square()).sqrt())


def default(**options: Any) -> Callable[[int], Model]:
    """Return what makes `pf.real_nvp` at its defaults, but for some options."""

    def make(dim: int) -> Model:
        flow = pf.Flow(pf.real_nvp(dim, **options))
        return Model("default", flow, lambda x: flow().log_prob(x))

    return make


def he(activation: str = "silu", squash: float = 4.0, times: float = 2.4, **options: Any) -> Variant:
    """Return a variant whose hidden layers start `times` as large, 2.4 being He et al.'s start."""
    return Variant(activation, squash=squash, first=times, middle=times, **options)


def keen(**options: Any) -> Callable[..., nn.Module]:
    """Return what makes the default's nets, but for some options."""
    return partial(pf.nn.MLP, **{"gain": 3.0, "spread": 6.0, "squash": torch.asinh, **options})


def tanh_of_four(x: Tensor) -> Tensor:
    """Return 4 tanh(x / 4), which the default's nets read before they read arsinh x."""
    return (x / 4).tanh() * 4


VARIANTS: Mapping[str, Any] = {
    "relu 1": Variant("relu", 1.0),
    "relu 3": Variant("relu"),
    "silu 3": Variant(),
    "tanh 3": Variant("tanh"),
    "silu 3, He": he(squash=0.0),
    "silu 3, 0.6 He": he(squash=0.0, times=1.5),
    "silu 3, soft, He": he(),
    "silu 3, soft, 0.6 He": he(times=1.5),
    "silu 1, soft, He": he(gain=1.0),
    "tanh 3, He": he("tanh", 0.0),
    "tanh 3, soft, He": he("tanh"),
    "gelu 3, soft, He": he("gelu"),
    "relu 3, soft, He": he("relu"),
    "silu 3, soft, 2 He": he(times=4.8),
    "silu 3, soft 2, He": he(squash=2.0),
    "silu 3, arsinh, He": he(squash=math.inf),
    "silu 5, soft, He": he(gain=5.0),
    "silu 3, soft, He, bound 1": he(bound=1.0),
    "silu 3, soft, He, bound 2": he(bound=2.0),
    "silu 3, soft, He, random": he(order="random"),
    "silu 3, soft, He, alternating": he(order="alternating"),
    "default": default(),
    "default, bound 2": default(elementwise=pf.elementwise.Affine(2.0)),
    "default, relu": default(activation=nn.ReLU),
    "tanh": default(net=keen(squash=tanh_of_four)),
    "tanh, spread 4": default(net=keen(spread=4.0, squash=tanh_of_four)),
    "clamp, spread 4": default(net=keen(spread=4.0, squash=partial(torch.clamp, min=-4.0, max=4.0))),
    "no squash": default(net=keen(squash=None)),
    "spread 1": default(net=keen(spread=1.0)),
    "spread 4": default(net=keen(spread=4.0)),
    "spread 8": default(net=keen(spread=8.0)),
    "gain 1": default(net=keen(gain=1.0)),
    "zuko": lambda dim: build("zuko", dim, 8, (64, 64), seed=None),
    "nflows": lambda dim: build("nflows", dim, 8, (64, 64), seed=None, wide_scale=True),
    "normflows": lambda dim: build("normflows", dim, 8, (64, 64), seed=None),
}


def data(name: str, folder: str) -> tuple[Split, float]:
    """Return the parts of a table, and the entropy if it is known."""
    if name not in DRAWN:
        return split(name, folder), 0.0
    torch.manual_seed(7)
    density = DRAWN[name]
    rows = density.sample((70_000,))
    parts = Split(*rows.split((50_000, 10_000, 10_000)))
    return parts, -float(density.log_prob(parts.test).mean())


def cell(table: str, variant: str, seed: int, folder: str, steps: int, lr: float) -> dict[str, float]:
    """Train one variant on one table, and score the rows to choose by and the test rows."""
    parts, entropy = data(table, folder)
    torch.manual_seed(seed)
    model = VARIANTS[variant](parts.train.shape[1])
    generator = torch.Generator().manual_seed(1000 + seed)
    rows = torch.randperm(len(parts.train), generator=generator)
    held = max(1, len(rows) // 10)
    validation, train = parts.train[rows[:held]][:5000], parts.train[rows[held:]]
    optimiser = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: 0.5 + 0.5 * math.cos(math.pi * i / steps)
    )
    batch, order, best, kept, at = min(256, len(train)), torch.empty(0, dtype=torch.long), math.inf, None, 0
    every = min(100, max(10, len(train) // batch))
    for step in range(1, steps + 1):
        if len(order) < batch:
            order = torch.randperm(len(train), generator=generator)
        index, order = order[:batch], order[batch:]
        optimiser.zero_grad()
        (-model(train[index]).mean()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        if step % every == 0:
            with torch.no_grad():
                loss = -float(model(validation).mean())
            if loss < best:
                best, kept, at = loss, copy.deepcopy(model.module.state_dict()), step
            elif step - at >= steps / 3:
                break
    if kept is not None:
        model.module.load_state_dict(kept)
    found: dict[str, float] = {}
    for prefix, part in {"choice ": parts.choice, "": parts.test}.items():
        with torch.no_grad():
            scores = torch.cat([model(some) for some in part.split(5000)]).double() + entropy
        found[f"{prefix}mean"] = round(float(scores.mean()), 4)
        found[f"{prefix}worst"] = round(float(scores.min()), 2)
        found[f"{prefix}percentile"] = round(float(scores.quantile(0.01)), 3)
    return found | {"step": at}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tables", default=".", help="folder of uci_protein.npz")
    parser.add_argument(
        "--only", nargs="+", choices=[*TABLES, *DRAWN], default=[*TABLES, *DRAWN], help="these tables"
    )
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="start no cell after this")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/real_nvp_defaults.csv"))
    parser.add_argument("--show", action="store_true", help="print the means and the worst rows as tables")
    args = parser.parse_args()
    fixed = {"folder": args.tables, "steps": args.steps, "lr": args.lr}
    cells = [
        {"table": name, "variant": variant, "seed": seed} | fixed
        for seed in args.seeds
        for variant in args.variants
        for name in args.only
    ]
    columns = [f"{part}{name}" for part in ("choice ", "") for name in ("mean", "worst", "percentile")]
    grid.run(cell, cells, args.out, jobs=args.jobs, minutes=args.minutes, columns=[*columns, "step"])
    if args.show:
        for value in columns:
            print(f"\n{value}\n\n{grid.table(args.out, 'table', 'variant', value)}")


if __name__ == "__main__":
    main()
