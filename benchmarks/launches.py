"""Operations that a training step launches on a GPU, counted on a CPU for every library.

Counts the ATen operations of scoring, the loss and the backward pass under a `TorchDispatchMode`; the
optimiser is the same for all. Views and other operations that only rename memory launch nothing and are left
out. "reads" copy a number to the host, which waits for it. A GPU may launch several kernels for an operation.

    python benchmarks/launches.py
    python benchmarks/launches.py --dim 8 --depth 8 --hidden 64 64 --show ours
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

import torch
from peers import BUILDERS, MissingPeer, Model, build, markdown
from peers_autoregressive import FAMILIES
from peers_autoregressive import build as build_autoregressive
from torch.utils._python_dispatch import TorchDispatchMode

READS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero"}
# Results that share their input's memory without being declared a view of it, or hold no numbers yet.
FREE = {"detach", "_unsafe_view", "_reshape_alias", "lift_fresh", "empty", "empty_like", "empty_strided"}


class Launches(TorchDispatchMode):
    """Counts the operations within, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if not func.is_view and name not in FREE:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def step(model: Model, x: torch.Tensor) -> Counter[str]:
    """Return the operations of a second step, as lazy set-up is behind it then."""
    for _ in range(2):
        model.zero_grad()
        with Launches() as seen:
            (-model(x.clone()).mean()).backward()  # of a new tensor: Pyro's caches keep the last graph
    return seen.counts


def row(family: str, builders: dict[str, Callable[..., Model]], args: argparse.Namespace) -> list[list[str]]:
    lines = []
    for name in builders:
        make = build if family == "real-nvp" else lambda *a, **k: build_autoregressive(family, *a, **k)
        try:
            model = make(name, args.dim, args.depth, args.hidden)
        except MissingPeer as error:
            print(error)
            continue
        counts = step(model, torch.randn(args.batch, args.dim))
        reads = sum(counts[name] for name in READS)
        lines.append([family, name, str(counts.total()), "", str(reads)])
        if args.show == name:
            print(family, name, dict(counts.most_common()))
    ours = int(lines[0][2])
    for line in lines[1:]:
        line[3] = f"{ours / int(line[2]):.2f}"
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dim", type=int, default=8)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 64])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--show", help="print this library's operations by name")
    args = parser.parse_args()
    torch.set_num_threads(1)
    families = {"real-nvp": BUILDERS, **FAMILIES}
    lines = [line for family, builders in families.items() for line in row(family, builders, args)]
    print(markdown(["family", "library", "launches", "ours ÷ it", "reads"], lines))


if __name__ == "__main__":
    main()
