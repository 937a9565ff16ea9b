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
import time
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import torch
from peers import markdown
from torch import Tensor, nn

import pyro_flows as pf
from pyro_flows.transforms.chain import MEMORY

PARTITIONS = {"rows": pf.partitions.Checkerboard, "depth": pf.partitions.CheckerboardDepth}
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
    options = {"scales": 2, "width": 32, "blocks": 4, "final_squeeze": False, "norm": None}
    return pf.Flow(pf.real_nvp_image((3, 32, 32), checkerboard=checkerboard, **options))


def build(name: str, path: Path) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Return the model, and its loss for images in [0, 1]."""
    torch.manual_seed(0)
    if name == "real-nvp":
        model = peer(path)

        def loss(x: Tensor) -> Tensor:
            z, log_det = model(x)
            log_prob = -0.5 * (z.square() + torch.tensor(2 * torch.pi).log()).flatten(1).sum(-1)
            return -(log_prob + log_det).mean()

        return model, loss
    cut, memory = name.split(", ")
    flow = pf.save_memory(ours(PARTITIONS[cut]), memory)

    def negative(x: Tensor) -> Tensor:
        y = ((x * 255 + torch.rand_like(x)) / 256 * 0.9 + 0.05).logit()
        return -flow().log_prob(y).mean()

    return flow, negative


def saved_bytes(loss: Callable[[Tensor], Tensor], model: nn.Module, x: Tensor) -> int:
    """Count the bytes of the storages that the backward pass keeps, parameters apart."""
    known = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes(), tensor.detach()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = loss(x)
    del value
    return sum(size for size, _ in kept.values())


def stepper(model: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        loss(x).backward()
        optimiser.step()
        optimiser.zero_grad()

    return step


def peak_bytes(step: Callable[[], None]) -> int:
    """Return the most that torch's CPU allocator held during `step` above what it holds after it."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profile:
        step()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = list(accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())))
    return max(held) - held[-1]  # not the start: what was allocated before is freed without an event


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, help="a clone of chrischute/real-nvp")
    parser.add_argument("--models", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=1, help="in each round")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x = torch.rand(args.batch, 3, 32, 32)
    models = {name: build(name, args.path) for name in args.models}
    steps = {name: stepper(*models[name], x) for name in models}
    for step in steps.values():
        step()
    peaks = {name: peak_bytes(step) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(args.rounds):
        for name, step in steps.items():
            started = time.process_time()
            for _ in range(args.steps):
                step()
            times[name].append((time.process_time() - started) / args.steps)

    def ratio(name: str, other: str) -> str:
        if name == other or not {name, other} <= set(times):
            return ""
        return f"{statistics.median(a / b for a, b in zip(times[name], times[other], strict=True)):.2f}"

    rows = []
    for name, (model, loss) in models.items():
        plain = name.split(", ")[0] + ", plain"
        seconds, saved = statistics.median(times[name]), saved_bytes(loss, model, x)
        rows.append(
            [
                name,
                f"{sum(p.numel() for p in model.parameters()):,}",
                f"{seconds * 1e3:.0f}",
                ratio("real-nvp", name),
                ratio(name, plain),
                f"{saved / 1e6:.1f}",
                f"{peaks[name] / 1e6:.1f}",
            ]
        )
    header = ["model", "parameters", "ms a step", "real-nvp ÷ it", "÷ plain", "MB saved", "MB at peak"]
    print(markdown(header, rows))


if __name__ == "__main__":
    main()
