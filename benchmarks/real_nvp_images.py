"""Real NVP of 3×32×32 images: a training step against https://github.com/chrischute/real-nvp.

    git clone https://github.com/chrischute/real-nvp /somewhere
    python benchmarks/real_nvp_images.py /somewhere

Both have its code's architecture: two scales, 32 channels that double at each squeeze, four residual
blocks a net, four checkerboard couplings in the last scale, no batch norm between couplings. One step is
log-density, backward and fused Adam on a batch of random images. The models take turns in one process on
one thread; times are CPU time, the median of the rounds.

Saved bytes are those of the distinct storages that autograd keeps for the backward pass, parameters and
buffers apart. Peak bytes are the most that torch's allocator held at once during a whole step above what
it held before: activations, saved tensors, workspaces of convolutions, and gradients as they are made.
What it holds between steps, the parameters and Adam's two moments, is three times the parameters.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from measure import peak_bytes, ratio, saved_bytes, turns
from peers import Model, markdown
from torch import Tensor, nn

import pyro_flows as pf

PARTITIONS = {"rows": pf.partitions.Checkerboard, "depth": pf.partitions.CheckerboardDepth}
MEMORY = ("plain", "checkpointed", "reversible")
NAMES = ["real-nvp", *(f"{cut}, {memory}" for cut in PARTITIONS for memory in MEMORY)]


def peer(path: Path) -> nn.Module:
    sys.path.insert(0, str(path))
    from models.real_nvp import real_nvp

    sys.path.pop(0)
    squeeze = real_nvp.squeeze_2x2
    # Its `view`s fail on what a permuted image makes of a convolution in torch 2.13.
    real_nvp.squeeze_2x2 = lambda x, **options: squeeze(x, **options).contiguous()
    return real_nvp.RealNVP(num_scales=2, in_channels=3, mid_channels=32, num_blocks=4)


def ours(checkerboard: type) -> pf.Flow:
    """Return our flow, with the peer's last scale: four couplings of a checkerboard, and no squeeze."""
    options = {"scales": 2, "width": 32, "blocks": 4, "norm": None}
    first = pf.real_nvp_image((3, 32, 32), checkerboard=checkerboard, **options).scales[0]
    shape, couplings = torch.Size([6, 16, 16]), []
    for i in range(4):
        partition = checkerboard(shape, swap=i % 2 == 1)
        net = pf.nn.ConvResidualNet(
            partition.passive_shape, 2 * partition.active_shape[0], width=64, blocks=4
        )
        couplings.append(pf.transforms.Coupling(partition, pf.elementwise.Affine(), net))
    return pf.Flow(pf.transforms.Multiscale([first, pf.transforms.Chain(reversed(couplings))]))


def build(name: str, path: Path) -> Model:
    """Return the model; it scores images in [0, 1]."""
    torch.manual_seed(0)
    if name == "real-nvp":
        model = peer(path)

        def score(x: Tensor) -> Tensor:
            z, log_det = model(x)
            return -0.5 * (z.square() + torch.tensor(2 * torch.pi).log()).flatten(1).sum(-1) + log_det

        def draw(count: int) -> Tensor:
            return model(torch.randn(count, 3, 32, 32), reverse=True)[0]

        return Model(name, model, score, draw)
    cut, memory = name.split(", ")
    flow = pf.save_memory(ours(PARTITIONS[cut]), memory)

    def scored(x: Tensor) -> Tensor:
        return flow().log_prob(((x * 255 + torch.rand_like(x)) / 256 * 0.9 + 0.05).logit())

    return Model(name, flow, scored, lambda count: flow().sample((count,)))


def stepper(model: Model, x: Tensor) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        (-model(x).mean()).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, help="a clone of chrischute/real-nvp")
    parser.add_argument("--models", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x = torch.rand(args.batch, 3, 32, 32)
    models = {name: build(name, args.path) for name in args.models}
    steps = {name: stepper(model, x) for name, model in models.items()}
    for step in steps.values():
        step()
    peaks = {name: peak_bytes(step) for name, step in steps.items()}
    times = turns(steps, args.rounds)

    def against(name: str, above: str, below: str) -> str:
        known = above != below and {above, below} <= set(times)
        return ratio(times[above], times[below]) if known else ""

    rows = []
    for name, model in models.items():
        saved = saved_bytes(lambda model=model: -model(x).mean(), model)
        plain = name.split(", ")[0] + ", plain"
        rows.append(
            [
                name,
                f"{model.num_parameters:,}",
                f"{statistics.median(times[name]) * 1e3:.0f}",
                against(name, "real-nvp", name),
                against(name, name, plain),
                f"{saved / 1e6:.1f}",
                f"{peaks[name] / 1e6:.1f}",
            ]
        )
    header = ["model", "parameters", "ms a step", "real-nvp ÷ it", "÷ plain", "MB saved", "MB at peak"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
