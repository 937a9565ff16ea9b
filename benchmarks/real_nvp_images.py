"""Real NVP of 3×32×32 images: a training step against https://github.com/chrischute/real-nvp.

    git clone https://github.com/chrischute/real-nvp /somewhere
    python benchmarks/real_nvp_images.py /somewhere

Both have its code's architecture: two scales, 32 channels that double at each squeeze, four residual
blocks a net, four checkerboard couplings in the last scale, no batch norm between couplings. One step is
log-density, backward and Adam on a batch of random images. The models take turns in one process on one
thread; times are CPU time, the median of the rounds. Bytes saved are those of the distinct storages that
autograd keeps for the backward pass; peak memory is that of a process of its own for each model.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import pyro_flows as pf

NAMES = ["real-nvp", "rows", "depth"]


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
    partitions = {"rows": pf.partitions.Checkerboard, "depth": pf.partitions.CheckerboardDepth}
    flow = ours(partitions[name])

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


def memory(name: str) -> int:
    """Return what Linux counts for this process, in kB: VmRSS now, VmHWM at the highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def stepper(model: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        loss(x).backward()
        optimiser.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, help="a clone of chrischute/real-nvp")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=2, help="in each round")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", choices=NAMES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    x = torch.rand(args.batch, 3, 32, 32)
    if args.memory_of:
        model, loss = build(args.memory_of, args.path)
        before = memory("VmRSS")
        step = stepper(model, loss, x)
        for _ in range(3):
            step()
        print(memory("VmHWM") - before)
        return
    models = {name: build(name, args.path) for name in NAMES}
    steps = {name: stepper(*models[name], x) for name in NAMES}
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in range(args.rounds + 1):  # the first one warms up
        for name, step in steps.items():
            started = time.process_time()
            for _ in range(args.steps):
                step()
            times[name].append((time.process_time() - started) / args.steps)
    print("| model | parameters | ms a step | images/s | × | saved MB | × | peak MB of a step |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    first: tuple[float, int] | None = None
    for name, (model, loss) in models.items():
        seconds = statistics.median(times[name][1:])
        saved = saved_bytes(loss, model, x)
        first = first or (seconds, saved)
        command = [sys.executable, __file__, str(args.path), "--memory-of", name, "--batch", str(args.batch)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        parameters = sum(p.numel() for p in model.parameters())
        print(
            f"| {name} | {parameters:,} | {seconds * 1e3:.0f} | {args.batch / seconds:.1f} "
            f"| {first[0] / seconds:.2f} | {saved / 2**20:.1f} | {saved / first[1]:.2f} "
            f"| {int(done.stdout) / 1024:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
