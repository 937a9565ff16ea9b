"""Glow on images against normflows' multiscale Glow, at equal steps, widths and (nearly) parameters.

    pip install normflows
    python benchmarks/glow_images.py speed                        # a training step at 3×32×32
    python benchmarks/glow_images.py train ours mnist --minutes 30 --out ours.pt
    python benchmarks/glow_images.py train normflows mnist --minutes 30 --out normflows.pt
    python benchmarks/glow_images.py train real-nvp mnist --minutes 30 --width 16 --depth 2 --out nvp.pt
    python benchmarks/glow_images.py show ours.pt normflows.pt nvp.pt --picture mnist.png

Both have at each scale `depth` steps of act norm, LU-parametrised 1×1 convolution and an affine coupling
with a 3×3–1×1–3×3 net; normflows' bases learn a mean and a scale for each channel (`GlowBase`, its Glow
example's choice without classes). Training minutes are CPU time on one thread, the same Adam, learning
rate and moving average of the weights; natural images are flipped at random. `real-nvp` is ours, with
`depth` residual blocks a net. Scores draw the dequantisation noise once.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from images import DATA, LogitPixels, Model, grid, load, score, train
from measure import saved_bytes
from torch import Tensor

import pyro_flows as pf

SETS = {"mnist": ("mnist.npz", 1, 1e-6), "natural": ("natural32_jpeg.npz", 3, 0.05)}


def ours(shape: tuple[int, ...], scales: int, depth: int, width: int) -> Model:
    flow = pf.Flow(pf.glow(shape, scales=scales, depth=depth, width=width))

    def sample(count: int, temperature: float) -> Tensor:
        return flow.transform(temperature * torch.randn(count, *flow.transform.domain_shape))

    return Model("ours", flow, lambda y: flow().log_prob(y), sample)


def normflows(shape: tuple[int, ...], scales: int, depth: int, width: int) -> Model:
    import normflows as nf

    bases, flows, merges = [], [], []
    for i in range(scales):  # its lists begin at the coarsest scale
        channels = shape[0] * 2 ** (scales + 1 - i)
        plane = [side // 2 ** (scales - i) for side in shape[1:]]
        steps = [nf.flows.GlowBlock(channels, width, split_mode="channel") for _ in range(depth)]
        flows.append([*steps, nf.flows.Squeeze()])
        if i:
            merges.append(nf.flows.Merge())
        bases.append(nf.distributions.GlowBase((channels // 2 if i else channels, *plane)))
    flow = nf.MultiscaleFlow(bases, flows, merges, class_cond=False)
    return Model(
        "normflows", flow, lambda y: flow.log_prob(y, None), lambda n, t: flow.sample(n, temperature=t)[0]
    )


def real_nvp(shape: tuple[int, ...], scales: int, blocks: int, width: int) -> Model:
    flow = pf.Flow(pf.real_nvp_image(shape, scales=scales, blocks=blocks, width=width))

    def sample(count: int, temperature: float) -> Tensor:
        return flow.transform(temperature * torch.randn(count, *flow.transform.domain_shape))

    def settle(y: Tensor) -> None:
        pf.update_statistics(flow, y, batch_size=250)

    return Model("real-nvp", flow, lambda y: flow().log_prob(y), sample, settle=settle)


GLOWS = {"ours": ours, "normflows": normflows}
BUILDERS = GLOWS | {"real-nvp": real_nvp}


def build(name: str, *args, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return BUILDERS[name](*args)


def peak_memory() -> int:
    """Kilobytes; not `getrusage`'s, which begins with what the parent process had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


class Step:
    def __init__(self, name: str, args: argparse.Namespace) -> None:
        self.model = build(name, (3, 32, 32), args.scales, args.depth, args.width)
        self.optimiser = torch.optim.Adam(self.model.module.parameters(), fused=True)
        self.y = torch.randn(args.batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def __call__(self) -> float:
        started = time.process_time()
        self.optimiser.zero_grad()
        (-self.model.log_prob(self.y).mean()).backward()
        self.optimiser.step()
        return time.process_time() - started


def speed(args: argparse.Namespace) -> None:
    if args.only:  # a process of its own, for its peak memory
        step = Step(args.only, args)
        before = peak_memory()
        for _ in range(3):
            step()
        print(peak_memory() - before)
        return
    steps = {name: Step(name, args) for name in GLOWS}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(args.rounds + 1):
        for name, step in steps.items():
            spent = step()
            if round_:
                times[name].append(spent)
    print("| library | parameters | images/s | ours ÷ it (quartiles) | MB saved | MB at peak |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, step in steps.items():
        ratios = [b / a for a, b in zip(times["ours"], times[name], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        saved = saved_bytes(lambda step=step: -step.model.log_prob(step.y).mean(), step.model.module) / 2**20
        command = [sys.executable, *sys.argv, "--only", name]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 2**10
        rate = args.batch / statistics.median(times[name])
        cells = f"{rate:.1f} | {middle:.2f} ({low:.2f}–{high:.2f}) | {saved:.0f} | {peak:.0f} |"
        print(f"| {name} | {step.model.num_parameters:,} | {cells}")


def learn(args: argparse.Namespace) -> None:
    file, channels, alpha = SETS[args.data]
    images, test = load(args.folder / file, channels)
    count = len(images) * 5 // 6
    to = LogitPixels(alpha)
    shape = tuple(images.shape[1:])
    scales = args.scales or min(3, int(math.log2(shape[1] & -shape[1])))
    model = build(args.library, shape, scales, args.depth, args.width)
    print(f"{args.library}: {model.num_parameters:,} parameters", flush=True)
    print("| library | minutes | steps | epochs | training | validation |\n" + "| --- " * 6 + "|", flush=True)

    def keep() -> None:
        if args.out:
            told = {"library": args.library, "data": args.data, "curve": model.curve}
            told |= {"architecture": (shape, scales, args.depth, args.width)}
            torch.save(told | {"weights": model.module.state_dict()}, args.out)

    train(
        model,
        images[:count],
        images[count:][:2000],
        to,
        minutes=args.minutes,
        batch=args.batch,
        learning_rate=args.learning_rate,
        average=args.average,
        every=args.every,
        flips=args.data == "natural",
        after=keep,
    )
    value, error = score(model, test, to)
    print(f"{args.library}: test {value:.4f} ± {error:.4f} bits/dim", flush=True)


def show(args: argparse.Namespace) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(args.files) + 1, figsize=(5 * (len(args.files) + 1), 5))
    for file, axis in zip(args.files, axes[1:], strict=True):
        kept = torch.load(file, weights_only=True)
        model = build(kept["library"], *kept["architecture"])
        model.module.load_state_dict(kept["weights"])
        _, channels, alpha = SETS[kept["data"]]
        minutes, _, bits = zip(*kept["curve"], strict=True)
        axes[0].plot(minutes, bits, marker=".", label=f"{model.name}, {model.num_parameters:,} parameters")
        model.module.eval()
        torch.manual_seed(0)
        with torch.no_grad():
            samples = LogitPixels(alpha).pixels(model.sample(64, args.temperature))
        bad = int((~samples.isfinite()).flatten(1).any(1).sum())
        picture = grid(samples.nan_to_num(0).floor().clamp(0, 255).byte(), 8)
        axis.imshow(picture, cmap="gray" if channels == 1 else None, vmin=0, vmax=255)
        axis.set(
            title=f"{model.name}, temperature {args.temperature}, {bad} not finite", xticks=[], yticks=[]
        )
    axes[0].set(xlabel="CPU minutes", ylabel="validation bits/dim")
    axes[0].legend()
    figure.savefig(args.picture, bbox_inches="tight", dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    part = commands.add_parser("speed")
    part.add_argument("--scales", type=int, default=3)
    part.add_argument("--depth", type=int, default=8)
    part.add_argument("--width", type=int, default=128)
    part.add_argument("--batch", type=int, default=16)
    part.add_argument("--rounds", type=int, default=10)
    part.add_argument("--only", choices=GLOWS, help=argparse.SUPPRESS)
    part.set_defaults(run=speed)
    part = commands.add_parser("train")
    part.add_argument("library", choices=BUILDERS)
    part.add_argument("data", choices=SETS)
    part.add_argument("--folder", type=Path, default=DATA)
    part.add_argument("--minutes", type=float, default=30)
    part.add_argument("--scales", type=int)
    part.add_argument("--depth", type=int, default=8)
    part.add_argument("--width", type=int, default=64)
    part.add_argument("--batch", type=int, default=64)
    part.add_argument("--learning-rate", type=float, default=3e-3)
    part.add_argument("--average", type=float, default=0.998)
    part.add_argument("--every", type=float, default=2.0, help="minutes between scores")
    part.add_argument("--out", type=Path)
    part.set_defaults(run=learn)
    part = commands.add_parser("show")
    part.add_argument("files", type=Path, nargs="+")
    part.add_argument("--picture", type=Path, required=True)
    part.add_argument("--temperature", type=float, default=0.9)
    part.set_defaults(run=show)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.run(args)


if __name__ == "__main__":
    main()
