"""The page: six representative rows, ours against every peer, then the cost with depth and with dimension.

    pip install nflows normflows zuko
    python benchmarks/page.py                                  # --only moons-8 svi, --rounds 8, --steps 4
    python benchmarks/page.py --images /a/clone/of/real-nvp    # chrischute/real-nvp, for the row of images

A training step is zero_grad, -log_prob(x).mean(), backward and one step of fused Adam; compiled, the loss is.
Scores and samples are rows without a gradient, eager. Libraries take turns in rounds within one process and
one thread, by the process's CPU time. A cell has the median speed, and the median and the quartiles of the
rounds' ratios, ours ÷ it. "floor" is the arithmetic alone: the same nets, one after the other, and
nothing in between. MB are those saved for the backward pass.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import peers_autoregressive
import real_nvp_images
import torch
from measure import ratio, saved_bytes, turns
from peers import BUILDERS, MissingPeer, Model, build, markdown
from torch import Tensor, nn

import pyro_flows as pf

COUPLINGS = {  # dimensions, layers, widths, batch
    "moons-2": (2, 2, (64, 64), 512),
    "moons-8": (2, 8, (64, 64), 512),
    "d = 64": (64, 10, (128, 128), 512),
    "d = 1,024": (1024, 4, (512, 512), 256),
}
AUTOREGRESSIVE = {"maf, d = 6": "maf", "nsf, d = 6": "nsf"}
IMAGES = "images, 3×32×32"
DEPTHS, DIMS = (2, 8, 32, 64), (2, 32, 256, 1024)
HEADER = ["row", "library", "parameters", "MB", "steps/s", "compiled steps/s", "scores/s", "samples/s"]


class Floor(nn.Module):
    """The nets of our couplings, each reading what it needs of the one before, and no coupling."""

    def __init__(self, dim: int, depth: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(part.conditioner for part in pf.real_nvp(dim, depth=depth, hidden=hidden))
        self.passive = [net.first.in_features for net in self.nets]

    def forward(self, x: Tensor) -> Tensor:
        for net, size in zip(self.nets, self.passive, strict=True):
            x = net(x[..., :size])
        return x.sum(-1)


def floor(dim: int, depth: int, hidden: tuple[int, ...]) -> Model:
    nets = Floor(dim, depth, hidden)
    return Model("floor", nets, nets, lambda count: nets(torch.randn(count, dim)))


def own(function: Callable) -> Callable:
    """Compile a closure as code of its own: programs of the same code would be tried one after the other."""
    function.__code__ = function.__code__.replace()
    return torch.compile(function)


def trainer(model: Model, batches: list[Tensor], compiled: bool = False) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def eager(x: Tensor) -> Tensor:
        return -model(x).mean()

    loss = own(eager) if compiled else eager

    def steps() -> None:
        for x in batches:
            optimiser.zero_grad()
            loss(x).backward()
            optimiser.step()

    steps()
    return steps


def scorer(model: Model, batches: list[Tensor]) -> Callable[[], None]:
    @torch.no_grad()
    def scores() -> None:
        for x in batches:
            model(x)

    return scores


def sampler(model: Model, batches: list[Tensor]) -> Callable[[], None]:
    @torch.no_grad()
    def samples() -> None:
        for x in batches:
            model.draw(len(x))

    return samples


def ready(makers: Mapping[str, Callable[[], object]]) -> dict:
    """Make what can be made, and say what cannot."""
    made = {}
    for name, make in makers.items():
        torch.manual_seed(0)
        try:
            made[name] = make()
        except Exception as error:
            if name == "ours":
                raise
            told = error if isinstance(error, MissingPeer) else f"{type(error).__name__}: {str(error)[:200]}"
            print(f"{name} left out: {told}", file=sys.stderr)
    return made


def cells(runs: Mapping[str, Callable[[], object]], rounds: int, count: int) -> dict[str, str]:
    """Return the speed of each run, which does `count` things, and how much faster ours is."""
    seconds = turns(runs, rounds)
    found = {}
    for name, taken in seconds.items():
        rate = count / statistics.median(taken)
        speed = f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"
        found[name] = speed if name == "ours" else f"{speed}; {ratio(taken, seconds['ours'])}"
    return found


def row(
    title: str, makers: Mapping[str, Callable[[], Model]], x: Tensor, args: argparse.Namespace
) -> list[list[str]]:
    """Return the lines of one row of the page."""
    models = ready({name: make for name, make in makers.items() if name in (args.libraries or makers)})
    many = list(x.split(len(x) // args.steps))
    one = {  # a sample of an autoregressive flow takes as many passes as there are dimensions
        name: {"batches": many[: max(1, args.steps // 4)] if name == "samples/s" else many}
        for name in HEADER[4:]
    }
    jobs = {"steps/s": trainer, "compiled steps/s": partial(trainer, compiled=True)}
    jobs |= {"scores/s": scorer, "samples/s": sampler}
    columns: dict[str, dict[str, str]] = {}
    for what, job in jobs.items():
        if what not in args.columns:
            continue
        batches = one[what]["batches"]
        runs = ready({name: partial(job, model, batches) for name, model in models.items()})
        count = len(batches) if "steps" in what else sum(len(batch) for batch in batches)
        columns[what] = cells(runs, args.rounds, count)
        print(title, what, columns[what], file=sys.stderr, flush=True)
    lines = []
    for name, model in models.items():
        saved = saved_bytes(lambda model=model: -model(many[0]).mean(), model) / 1e6
        told = [columns.get(what, {}).get(name, "") for what in HEADER[4:]]
        lines.append([title, name, f"{model.num_parameters:,}", f"{saved:.2f}", *told])
    return lines


def coupling_row(title: str, args: argparse.Namespace) -> list[list[str]]:
    dim, depth, hidden, batch = COUPLINGS[title]
    makers = {name: partial(build, name, dim, depth, hidden) for name in BUILDERS}
    makers["floor"] = partial(floor, dim, depth, hidden)
    # Noise for data: no figure of the page depends on what is learned.
    x = torch.randn(batch * args.steps, dim)
    return row(title, makers, x, args)


def autoregressive_row(title: str, args: argparse.Namespace) -> list[list[str]]:
    family = AUTOREGRESSIVE[title]
    makers = {
        name: partial(peers_autoregressive.build, family, name, 6, 5, (64, 64))
        for name in peers_autoregressive.FAMILIES[family]
    }
    return row(title, makers, torch.randn(512 * args.steps, 6), args)


def image_row(args: argparse.Namespace) -> list[list[str]]:
    args = argparse.Namespace(**{**vars(args), "steps": 1})
    names = {"ours": "depth, plain", "ours, rows": "rows, plain", "ours, checkpointed": "depth, checkpointed"}
    names["chrischute/real-nvp"] = "real-nvp"
    makers = {name: partial(real_nvp_images.build, kind, args.images) for name, kind in names.items()}
    return row(IMAGES, makers, torch.rand(16, 3, 32, 32), args)


def svi_table(args: argparse.Namespace) -> str:
    """A step of variational inference on eight schools, non-centred, with 256 draws."""
    import pyro
    import pyro.distributions as dist
    from pyro.infer import SVI, Trace_ELBO
    from pyro.infer.autoguide import AutoIAFNormal, AutoNormalizingFlow

    from pyro_flows.infer import AutoFlow, VISettings
    from pyro_flows.infer.vi.vi_run import VIRun

    y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def model() -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        tau = pyro.sample("tau", dist.HalfCauchy(5.0))
        with pyro.plate("schools", 8):
            eta = pyro.sample("eta", dist.Normal(0.0, 1.0))
            pyro.sample("y", dist.Normal(mu + tau * eta, sigma), obs=y)

    hidden, depth = (32, 32), 8

    def transform(dim: int) -> pf.FlowTransform:
        return pf.real_nvp(dim, depth=depth, hidden=hidden)

    def pyros(dim: int) -> dist.transforms.ComposeTransformModule:
        parts = []
        for _ in range(depth):
            parts += [dist.transforms.affine_coupling(dim, list(hidden)), dist.transforms.Permute(swap)]
        return dist.transforms.ComposeTransformModule(parts)

    swap = torch.arange(10).roll(5)
    parameters = {}

    def ours(name: str, compiled: bool) -> Callable[[], None]:
        guide = AutoFlow(model, transform)
        guide.initialise()
        settings = VISettings(progress=False, seed=0, compile=compiled)
        run = VIRun(model, guide, (), {}, settings, 0, None)
        run.objective.prepare(settings.batch_size)
        run._optimizer()
        parameters[name] = guide

        def steps() -> None:
            for _ in range(args.steps):
                run._step()

        return steps

    def under_svi(name: str, guide: nn.Module) -> Callable[[], None]:
        elbo = Trace_ELBO(num_particles=256, vectorize_particles=True)
        svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 1e-3, "clip_norm": 10.0}), elbo)
        parameters[name] = guide

        def steps() -> None:
            for _ in range(args.steps):
                svi.step()

        steps()
        return steps

    iaf = "AutoIAFNormal under SVI"
    makers: dict[str, Callable] = {
        "ours": partial(ours, "ours", False),
        "ours, compiled": partial(ours, "ours, compiled", True),
        "ours under SVI": lambda: under_svi("ours under SVI", AutoFlow(model, transform)),
        "AutoNormalizingFlow under SVI": lambda: under_svi(
            "AutoNormalizingFlow under SVI", AutoNormalizingFlow(model, pyros)
        ),
        iaf: lambda: under_svi(iaf, AutoIAFNormal(model, list(hidden), num_transforms=depth)),
    }
    runs = ready(makers)
    found = cells(runs, args.rounds, args.steps)
    lines = []
    for name, cell in found.items():
        count = len({id(p): p for p in parameters[name].parameters()})
        numbers = sum({id(p): p.numel() for p in parameters[name].parameters()}.values())
        lines.append([name, f"{numbers:,}", str(count), cell])
    return markdown(["guide", "parameters", "tensors of them", "steps/s; ours ÷ it"], lines)


def growth(title: str, sizes: tuple[int, ...], make: Callable[[int], tuple], args: argparse.Namespace) -> str:
    """Milliseconds of an eager training step."""
    names = ["ours", "nflows", "normflows", "zuko"]
    lines: list[list[str]] = [[name] for name in names]
    for size in sizes:
        dim, depth, hidden = make(size)
        models = ready({name: partial(build, name, dim, depth, hidden) for name in names})
        batches = [torch.randn(256, dim)]
        seconds = turns({name: trainer(model, batches) for name, model in models.items()}, args.rounds)
        for line in lines:
            taken = seconds.get(line[0])
            told = "" if taken is None else f"{1e3 * statistics.median(taken):.1f}"
            if taken is not None and line[0] != "ours":
                told += (
                    f" ({statistics.median(a / b for a, b in zip(taken, seconds['ours'], strict=True)):.2f})"
                )
            line.append(told)
        print(title, size, [line[-1] for line in lines], file=sys.stderr, flush=True)
    return markdown([title, *map(str, sizes)], lines)


def main() -> None:
    kinds = [*COUPLINGS, *AUTOREGRESSIVE, IMAGES, "svi", "depth", "dimension"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=8, help="batches a round")
    parser.add_argument("--libraries", nargs="+", help="some of those of the rows' tables, ours among them")
    parser.add_argument("--columns", nargs="+", choices=HEADER[4:], default=HEADER[4:])
    parser.add_argument("--images", type=Path, help="a clone of chrischute/real-nvp")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch._dynamo.config.recompile_limit = 64
    print(f"torch {torch.__version__}, {args.rounds} rounds of {args.steps} batches", flush=True)
    for title in args.only:
        if title in COUPLINGS:
            found = markdown(HEADER, coupling_row(title, args))
        elif title in AUTOREGRESSIVE:
            found = markdown(HEADER, autoregressive_row(title, args))
        elif title == IMAGES:
            found = markdown(HEADER, image_row(args))
        elif title == "svi":
            found = svi_table(args)
        elif title == "depth":
            found = growth("d = 8, layers", DEPTHS, lambda depth: (8, depth, (64, 64)), args)
        else:
            found = growth("4 layers, d", DIMS, lambda dim: (dim, 4, (64, 64)), args)
        print(f"\n{found}", flush=True)


if __name__ == "__main__":
    main()
