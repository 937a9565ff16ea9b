"""What the image benchmarks share: logit space, training by CPU time, bits/dim and sample grids."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

DATA = Path(__file__).parents[2] / "shared/data"


@dataclass(frozen=True)
class LogitPixels:
    """y = logit(α + (1 − 2α)(x + u)/256) of images of bytes x, and its log|det dy/dx|, in bits of x."""

    alpha: float = 1e-6

    def logits(self, pixels: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Dequantise by new noise; log(1 − p) comes from the complement, exact at white."""
        x = pixels.float() + torch.rand(pixels.shape, generator=generator)
        span = (1 - 2 * self.alpha) / 256
        black, white = (self.alpha + span * x).log(), (self.alpha + span * (256 - x)).log()
        return black - white, (math.log(span) - black - white).flatten(1).sum(1)

    def pixels(self, y: Tensor) -> Tensor:
        """The continuous pixel values in [0, 256] that y stands for."""
        return ((torch.sigmoid(y.double()) - self.alpha) * (256 / (1 - 2 * self.alpha))).to(y.dtype)


def load(path: Path, channels: int) -> tuple[Tensor, Tensor]:
    """Return training and test images as bytes, channels first."""
    with np.load(path) as arrays:
        train, test = (torch.tensor(arrays[key]) for key in ("x_train", "x_test"))
    return tuple(x.reshape(-1, channels, *x.shape[-2:]) for x in (train, test))


@dataclass
class Model:
    """A library's flow: `module` for its parameters, `log_prob` of images, `sample` (n, temperature).

    `settle` is given training images before each scoring: for the running statistics of batch norm,
    which are not those of averaged weights.
    """

    name: str
    module: nn.Module
    log_prob: Callable[[Tensor], Tensor]
    sample: Callable[[int, float], Tensor]
    settle: Callable[[Tensor], None] = lambda y: None
    curve: list[tuple[float, int, float]] = field(default_factory=list)

    @property
    def num_parameters(self) -> int:
        return sum(p.numel() for p in self.module.parameters())


def bits_per_dim(log_prob: Tensor, log_det: Tensor, numel: int) -> Tensor:
    return -(log_prob + log_det) / (numel * math.log(2))


@torch.no_grad()
def score(model: Model, images: Tensor, to: LogitPixels, *, seed: int = 1) -> tuple[float, float]:
    """Return bits/dim and two standard errors, with one draw of the noise for each image."""
    model.module.eval()
    generator, values = torch.Generator().manual_seed(seed), []
    for rows in images.split(500):
        y, log_det = to.logits(rows, generator)
        values.append(bits_per_dim(model.log_prob(y), log_det, rows[0].numel()))
    values = torch.cat(values).double()
    model.module.train()
    return values.mean().item(), 2 * values.std().item() / math.sqrt(len(values))


def train(
    model: Model,
    images: Tensor,
    held: Tensor,
    to: LogitPixels,
    *,
    minutes: float,
    batch: int = 64,
    learning_rate: float = 1e-3,
    clip: float = 1e4,
    average: float = 0.998,
    every: float = 2.0,
    flips: bool = False,
    after: Callable[[], None] = lambda: None,
) -> int:
    """Train by Adam for so many minutes of CPU time, evaluation left out; return the number of steps.

    The learning rate rises over the first 200 steps and falls linearly over the last third of the time, so
    that earlier points of the curve count too; `average` is the decay of an exponential average of the
    weights, which is what is scored, what `after` sees after each scoring and what is left, 0 for none.
    """
    optimiser = torch.optim.Adam(model.module.parameters(), lr=learning_rate, fused=True)
    parameters = [p for p in model.module.parameters() if p.requires_grad]
    generator = torch.Generator().manual_seed(0)
    kept: list[Tensor] | None = None
    budget, spent, step, total, count, due, numel = (
        minutes * 60,
        0.0,
        0,
        0.0,
        0,
        every * 60,
        images[0].numel(),
    )

    def swap() -> None:
        if kept is not None:
            with torch.no_grad():
                for parameter, value in zip(parameters, kept, strict=True):
                    held_back = parameter.clone()
                    parameter.copy_(value)
                    value.copy_(held_back)

    model.module.train()
    while spent < budget:
        for index in torch.randperm(len(images), generator=generator).split(batch):
            started = time.process_time()
            progress = spent / budget
            rate = min(1.0, progress / 0.01 + 0.01) * (
                0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * progress))
            )
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * rate
            y, log_det = to.logits(images[index], generator)
            if flips:
                y = torch.where(torch.rand(len(y), 1, 1, 1, generator=generator) < 0.5, y.flip(-1), y)
            optimiser.zero_grad()
            loss = bits_per_dim(model.log_prob(y), log_det, numel).mean()
            (loss * numel * math.log(2)).backward()
            nn.utils.clip_grad_norm_(parameters, clip)
            optimiser.step()
            step, total, count = step + 1, total + loss.item(), count + 1
            if average:
                if kept is None:
                    kept = [p.detach().clone() for p in parameters]
                decay = min(average, (1 + step) / (10 + step))
                torch._foreach_lerp_(kept, [p.detach() for p in parameters], 1 - decay)
            spent += time.process_time() - started
            if spent >= due or spent >= budget:
                swap()
                model.settle(to.logits(images[:1000], torch.Generator().manual_seed(2))[0])
                value, _ = score(model, held, to)
                model.curve.append((spent / 60, step, value))
                after()
                if spent < budget:
                    swap()
                print(
                    f"| {model.name} | {spent / 60:.1f} | {step} | {step * batch / len(images):.1f} | "
                    f"{total / count:.4f} | {value:.4f} |",
                    flush=True,
                )
                due, total, count = due + every * 60, 0.0, 0
            if spent >= budget:
                break
    return step


def grid(images: Tensor, columns: int) -> np.ndarray:
    """Lay bytes (n, C, H, W) out as one picture (H, W) or (H, W, 3)."""
    n, channels, height, width = images.shape
    rows = images[: n // columns * columns].reshape(-1, columns, channels, height, width)
    picture = rows.permute(0, 3, 1, 4, 2).reshape(-1, columns * width, channels)
    return picture.squeeze(-1).numpy()
