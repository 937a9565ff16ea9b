"""MNIST in logit space and BSDS300 by the protocol of Papamakarios et al. 2017, beside published figures.

    python benchmarks/published.py mnist --data mnist.npz --flow maf --depth 5 --hidden 1024
    python benchmarks/published.py bsds300 --data BSDS300/images --flow nsf --depth 10 --hidden 256 256

MNIST: 50,000, 10,000 and 10,000 images; pixels are dequantised uniformly and mapped by
y = logit(α + (1 − 2α) x) with α = 1e-6. The file holds `x_train` and `x_test` as whole numbers.

BSDS300: 8 × 8 patches of the greyscale images in the folder's `train` and `test` (nine tenths of the training
images give 1,000,000 training patches, the others 50,000 for validation; 250,000 for the test). Pixels are
dequantised uniformly and divided by 256, each patch's mean is taken off, and its last pixel is left out.

Noise is drawn once, as there. The weights with the best validation score are tested. Scores are mean
log-densities in nats, ± two standard errors over the test rows. `--fraction` makes both smaller for a trial.

Papamakarios, Pavlakou & Murray, "Masked Autoregressive Flow for Density Estimation", 2017, arXiv:1705.07057.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from peers import markdown
from torch import Tensor

import pyro_flows as pf

ALPHA, SIDE = 1e-6, 8
PUBLISHED = {
    "mnist": {
        "Gaussian, full covariance": "−1366.9 ± 1.4",
        "Real NVP (5)": "−1323.2 ± 6.6",
        "MAF (5)": "−1300.5",
    },
    "bsds300": {
        "Gaussian, full covariance": "96.7",
        "Real NVP (10)": "153.28",
        "MAF (Durkan et al. 2019)": "156.95",
        "RQ-NSF by couplings (Durkan et al. 2019)": "157.54",
        "NAF (Huang et al. 2018)": "157.73",
    },
}
FLOWS = {"real-nvp": pf.real_nvp, "maf": pf.maf, "nsf": pf.nsf, "naf": pf.naf}
NORMS = {"none": None, "batch": pf.transforms.BatchNorm, "act": pf.transforms.ActNorm}


def logits(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Dequantise; log(1 − p) comes from the complement, as 1 − p would lose its digits at white."""
    x = pixels.float() + torch.rand(pixels.shape, generator=generator)
    return (ALPHA + (1 - 2 * ALPHA) * x / 256).log() - (ALPHA + (1 - 2 * ALPHA) * (256 - x) / 256).log()


def mnist(path: Path, fraction: float) -> list[Tensor]:
    """Return the training, validation and test rows, of 784 elements."""
    generator = torch.Generator().manual_seed(0)
    with np.load(path) as arrays:
        train, test = (torch.from_numpy(arrays[name]).flatten(1) for name in ("x_train", "x_test"))
    held = len(train) // 6
    parts = [train[:-held], train[-held:], test]
    return [logits(part[: max(2, int(fraction * len(part)))], generator) for part in parts]


def patches(images: Sequence[np.ndarray], count: int, generator: torch.Generator) -> Tensor:
    """Return patches from random places, of 63 elements each: without a mean, and without the last pixel."""
    found = []
    for i, image in enumerate(images):
        share = count // len(images) + (i < count % len(images))
        corners = [torch.randint(side - SIDE + 1, (share,), generator=generator) for side in image.shape]
        rows, columns = ((corner[:, None] + torch.arange(SIDE)) for corner in corners)
        found.append(torch.from_numpy(np.array(image))[rows[:, :, None], columns[:, None, :]].flatten(1))
    x = torch.cat(found).double()
    x = (x + torch.rand(x.shape, generator=generator, dtype=x.dtype)) / 256
    return (x - x.mean(1, keepdim=True))[:, :-1].float()


def bsds300(path: Path, fraction: float) -> list[Tensor]:
    """Return the training, validation and test rows, of 63 elements."""
    from PIL import Image

    def read(folder: str) -> list[np.ndarray]:
        names = sorted(p for p in (path / folder).glob("*") if p.suffix in (".jpg", ".jpeg", ".png"))
        if not names:
            raise SystemExit(f"no images in {path / folder}: pass BSDS300's folder of images with --data")
        return [np.asarray(Image.open(name).convert("L")) for name in names]

    train, test = read("train"), read("test")
    held = max(1, len(train) // 10)
    if held == len(train):
        raise SystemExit(f"expected two training images or more; got {len(train)}")
    generator = torch.Generator().manual_seed(0)
    parts = ((train[:-held], 1_000_000), (train[-held:], 50_000), (test, 250_000))
    return [patches(images, max(2, int(fraction * count)), generator) for images, count in parts]


def gaussian(train: Tensor, test: Tensor) -> Tensor:
    """Return each test row's log-density under the full-covariance Gaussian of the training rows."""
    exact = train.double()
    covariance = torch.cov(exact.T) + 1e-9 * torch.eye(exact.shape[1], dtype=exact.dtype)
    return torch.distributions.MultivariateNormal(exact.mean(0), covariance).log_prob(test.double())


def told(scores: Tensor) -> str:
    """Return the mean and two standard errors."""
    mean, error = float(scores.mean()), 2 * float(scores.std()) / math.sqrt(len(scores))
    return f"{mean:.2f} ± {error:.2f}".replace("-", "−")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data_set", choices=PUBLISHED)
    parser.add_argument("--data", type=Path, required=True, help="MNIST's .npz, or BSDS300's folder")
    parser.add_argument("--flow", choices=FLOWS, default="maf")
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--hidden", type=int, nargs="+", default=[512, 512])
    parser.add_argument("--norm", choices=NORMS, default="none", help="between the layers")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--average", type=float, default=0.999, help="decay of the weights' average")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the rows, for a trial")
    parser.add_argument("--checkpoint", type=Path, help="to resume from")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    train, validation, test = {"mnist": mnist, "bsds300": bsds300}[args.data_set](args.data, args.fraction)
    print(f"{len(train):,} training, {len(validation):,} validation and {len(test):,} test rows", flush=True)
    rows = [[name, f"{score} (published)"] for name, score in PUBLISHED[args.data_set].items()]
    rows.append(["Gaussian, full covariance", told(gaussian(train, test))])
    torch.manual_seed(args.seed)
    name = f"{args.flow}, {args.depth} layers of {tuple(args.hidden)}"
    flow = pf.Flow(
        FLOWS[args.flow](train.shape[1], depth=args.depth, hidden=args.hidden, norm=NORMS[args.norm])
    )
    began = time.process_time()
    history = pf.fit(
        flow,
        train,
        validation=validation,
        epochs=args.epochs,
        batch_size=args.batch,
        learning_rate=args.learning_rate,
        ema=args.average,
        seed=args.seed,
        checkpoint=args.checkpoint,
    )
    minutes = (time.process_time() - began) / 60
    with torch.no_grad():
        scores = torch.cat([flow().log_prob(part) for part in test.split(2000)]).double()
    rows.append([name, told(scores)])
    count = sum(p.numel() for p in flow.parameters())
    print(f"\n{count:,} parameters, {history.steps:,} steps, {minutes:.2f} CPU minutes\n")
    print(markdown([args.data_set, "test log-density, nats"], rows))


if __name__ == "__main__":
    main()
