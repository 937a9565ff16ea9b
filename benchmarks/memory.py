"""What the memory modes of `Chain` keep for the backward pass, and what they cost in time.

A stack of couplings on 6×16×16 images, cut by channels, with a small convolutional net, batch 8. Bytes are
those of the distinct storages that autograd saves, parameters not counted; buffers and random states that a
mode keeps besides are (there are none here). A step is -log_prob(x).mean() and backward; the modes take
turns in one process and one thread, by CPU time. The error is the largest relative difference of a
parameter's gradient (norm of the difference ÷ norm) from plain's.

    python benchmarks/memory.py --depths 8 64
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

import torch
from measure import saved_bytes, turns
from peers import markdown
from torch import nn

import pyro_flows as pf

MODES = {
    "plain": {"memory": "plain"},
    "checkpointed": {"memory": "checkpointed"},
    "reversible, every 4": {"memory": "reversible", "every": 4},
    "reversible, every 8": {"memory": "reversible", "every": 8},
    "reversible, one in all": {"memory": "reversible", "every": 0},
}


class Net(nn.Module):
    def __init__(self, channels: int, outputs: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def stack(depth: int, width: int) -> pf.Flow:
    torch.manual_seed(0)
    shape = (6, 16, 16)
    layers = []
    for i in range(depth):
        net = Net(3, 6, width)
        nn.init.normal_(net.layers[-1].weight, std=0.25 * width**-0.5)
        partition = pf.partitions.Channels(shape, swap=i % 2 == 1)
        layers.append(pf.transforms.Coupling(partition, pf.elementwise.Affine(), net))
    return pf.Flow(pf.Chain(layers))


def step(flow: pf.Flow, x: torch.Tensor, mode: str) -> None:
    pf.save_memory(flow, **MODES[mode])
    for parameter in flow.parameters():
        parameter.grad = None
    (-flow().log_prob(x).mean()).backward()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for depth in args.depths:
        flow = stack(depth, args.width)
        x = torch.randn(args.batch, 6, 16, 16)
        gradients, kept = {}, {}
        for name in MODES:
            step(flow, x, name)
            gradients[name] = [p.grad for p in flow.parameters()]
            kept[name] = saved_bytes(lambda flow=flow, x=x: -flow().log_prob(x).mean(), flow)
        times = turns({name: partial(step, flow, x, name) for name in MODES}, args.rounds)
        for name in MODES:
            ratio = statistics.median(a / b for a, b in zip(times[name], times["plain"], strict=True))
            errors = [
                float((a - b).norm() / b.norm())
                for a, b in zip(gradients[name], gradients["plain"], strict=True)
            ]
            share = kept[name] / kept["plain"]
            cells = [f"{kept[name] / 1e6:.2f}", f"{share:.1%}", f"{ratio:.2f}", f"{max(errors):.0e}"]
            rows.append([str(depth), name, *cells])
    print(markdown(["couplings", "mode", "MB kept", "of plain", "time ÷ plain", "gradient error"], rows))


if __name__ == "__main__":
    main()
