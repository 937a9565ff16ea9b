"""What `compile=True` costs and saves: seconds of compiling, steps per second, steps until it has paid.

A step is what `fit` and `fit_vi` do with a batch, clipping and fused Adam included. Eager and compiled
steps take turns within one process and one thread; time is CPU time, the C++ compiler's included. Each row
compiles in a process of its own that finds no earlier result, and again in another that finds all on disk.

    python benchmarks/compiled_fit.py
    python benchmarks/compiled_fit.py --rows moons-8 schools
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
import torch._inductor.config
from peers import markdown

import pyro_flows as pf
from pyro_flows.infer.guides.bound import Bound
from pyro_flows.infer.model.density import LogDensity
from pyro_flows.training.learner import Learner
from pyro_flows.training.likelihood import negative_log_likelihood
from pyro_flows.training.process import Process
from pyro_flows.training.settings import Settings


class Trained(NamedTuple):
    prepare: Callable[[], float]
    step: Callable[[], None]


def likelihood(transform: Callable[[], Any], batch: torch.Tensor) -> Callable[[bool], Trained]:
    def build(compile: bool) -> Trained:
        torch.manual_seed(0)
        learner = Learner(
            pf.Flow(transform()), negative_log_likelihood, Settings(compile=compile), Process(batch.device)
        )

        def step() -> None:
            learner.step(0.1, learner.gradient(batch, None))

        return Trained(lambda: learner.prepare(batch, None), step)

    return build


def schools() -> None:
    effects = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12])
    errors = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18])
    mu, tau = pyro.sample("mu", dist.Normal(0.0, 5.0)), pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        theta = pyro.sample("theta", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * theta, errors), obs=effects)


X, Y = torch.randn(1000, 30), torch.randint(2, (1000,)).float()


def logistic() -> None:
    scale = pyro.sample("scale", dist.HalfNormal(1.0))
    weights = pyro.sample("weights", dist.Normal(torch.zeros(30), scale[..., None]).to_event(1))
    pyro.sample("y", dist.Bernoulli(logits=weights @ X.mT).to_event(1), obs=Y)


def variational(model: Callable[[], None]) -> Callable[[bool], Trained]:
    def build(compile: bool) -> Trained:
        torch.manual_seed(0)
        guide = pf.infer.AutoFlow(model)
        guide.setup()
        guide.initialised.fill_(True)
        density = LogDensity(model, guide.latents, (), {})
        objective = Bound(
            density, guide.get_transform(), guide.get_base_dist(), path_gradient=True, compile=compile
        )
        parameters = list(guide.parameters())
        optimiser = torch.optim.Adam(parameters, lr=1e-5, fused=True)

        def step() -> None:
            optimiser.zero_grad()
            objective.backward(256)
            torch.nn.utils.clip_grad_norm_(parameters, 10.0)
            optimiser.step()

        return Trained(lambda: objective.prepare(256), step)

    return build


def moons(size: int) -> torch.Tensor:
    return pf.datasets.TwoMoons(noise=0.1).sample((size,))


wide, deep = {"hidden": (128, 128)}, {"hidden": (64, 64)}
ROWS = {
    "moons-8": likelihood(lambda: pf.real_nvp(2, depth=8, **deep), moons(256)),
    "moons-16": likelihood(lambda: pf.real_nvp(2, depth=16, **deep), moons(512)),
    "dim-64": likelihood(lambda: pf.real_nvp(64, depth=10, **wide), torch.randn(256, 64)),
    "MAF, dim-8": likelihood(lambda: pf.maf(8, depth=5, **deep), torch.randn(256, 8)),
    "NSF, dim-8": likelihood(lambda: pf.nsf(8, depth=5, **deep), torch.randn(256, 8)),
    "Glow, 3×16×16": likelihood(
        lambda: pf.glow((3, 16, 16), scales=2, depth=4, width=32), torch.randn(32, 3, 16, 16)
    ),
    "schools": variational(schools),
    "logistic, dim-31": variational(logistic),
}


def spent() -> float:
    """Return this process's CPU seconds, and its finished children's."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(name: str, rounds: int, steps: int) -> dict[str, float]:
    """Compile a row and time its steps; without rounds, only compile."""
    warnings.simplefilter("error", UserWarning)  # of not being compiled
    torch._inductor.config.compile_threads = 1  # no helpers, whose time would not be seen
    trained = {compile: ROWS[name](compile) for compile in (False, True)}
    start = spent()
    trained[True].prepare()
    result = {"compile": spent() - start}
    times: dict[bool, list[float]] = {False: [], True: []}
    for i in range(rounds + 1):
        for compile in (i % 2 == 0, i % 2 == 1):
            start = time.process_time()
            for _ in range(steps):
                trained[compile].step()
            if i:  # the first round warms up
                times[compile].append((time.process_time() - start) / steps)
    if rounds:
        result |= {"eager": statistics.median(times[False]), "compiled": statistics.median(times[True])}
    return result


def child(name: str, cache: str, rounds: int, steps: int) -> dict[str, float]:
    """Measure in another process."""
    line = [sys.executable, __file__, "--child", name, "--rounds", str(rounds), "--steps", str(steps)]
    env = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
    done = subprocess.run(line, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=14)
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.child:
        print(json.dumps(measure(args.child, args.rounds, args.steps)))
        return
    lines = []
    for name in args.rows:
        with tempfile.TemporaryDirectory() as cache:
            found = child(name, cache, args.rounds, args.steps)
            again = child(name, cache, 0, args.steps)["compile"]
        saved = found["eager"] - found["compiled"]
        pays = [f"{seconds / saved:,.0f}" if saved > 0 else "never" for seconds in (found["compile"], again)]
        speeds = [f"{1 / found[kind]:.0f}" for kind in ("eager", "compiled")]
        seconds = [f"{found['compile']:.1f}", f"{again:.1f}"]
        lines.append([name, *speeds, f"{found['eager'] / found['compiled']:.2f}", *seconds, *pays])
        print(lines[-1], file=sys.stderr, flush=True)
    header = [
        "row",
        "eager steps/s",
        "compiled",
        "ratio",
        "compile s",
        "from disk",
        "pays after steps",
        "from disk",
    ]
    print(f"\ntorch {torch.__version__}, CPU time, {args.rounds} × {args.steps} steps\n")
    print(markdown(header, lines))


if __name__ == "__main__":
    main()
