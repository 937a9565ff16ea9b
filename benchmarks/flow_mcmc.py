"""Effective draws per CPU second of `flow_mcmc` beside Pyro's NUTS, in the same run.

    python benchmarks/flow_mcmc.py [--seeds 3] [--only funnel-10] [--json results.jsonl]

Eight schools, centred, and Neal's funnel in 10 and 100 dimensions. `flow_mcmc` runs at its defaults from an
`AutoFlow` that `fit_vi` has fitted at its defaults; NUTS runs at Pyro's defaults, its chains one after the
other in one process. Each result is appended to the JSON file at once, and what is there is not run again.

The columns: CPU seconds of the fit and of sampling (NUTS: with its warmup), the largest R̂, the smallest
effective sample size of any element (bulk and tails, by the same functions for both), that size per CPU
second of sampling and per CPU second of everything, and the mean and standard deviation of the logarithm of
the schools' scale, or of the funnel's v ~ N(0, 3).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from resumable import kept, told
from torch import Tensor

import pyro_flows as pf
from pyro_flows.infer.mcmc.mixing import bulk_ess, r_hat, tail_ess

Y = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SIGMA = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def schools() -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", 8):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, SIGMA), obs=Y)


def funnel(dim: int) -> Callable[[], None]:
    def model() -> None:
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        with pyro.plate("xs", dim - 1):
            pyro.sample("x", dist.Normal(0.0, (v / 2).exp()))

    return model


# The model, its known element, and chains and draws of NUTS.
TARGETS: dict[str, tuple[Callable[[], None], Callable[[dict[str, Tensor]], Tensor], int, int]] = {
    "schools": (schools, lambda x: x["tau"].log(), 2, 500),
    "funnel-10": (funnel(10), lambda x: x["v"], 2, 500),
    "funnel-100": (funnel(100), lambda x: x["v"], 2, 500),
}
KINDS = ("flow_mcmc", "NUTS")


def sampled(kind: str, name: str, seed: int) -> dict:
    model, known, chains, draws = TARGETS[name]
    pyro.set_rng_seed(seed)
    pyro.clear_param_store()
    found: dict = {"target": name, "sampler": kind, "seed": seed, "fit": 0.0}
    start = time.process_time()
    if kind == "NUTS":
        mcmc = MCMC(NUTS(model), num_samples=draws, warmup_steps=draws, num_chains=1, disable_progbar=True)
        parts = []
        for _ in range(chains):
            mcmc.run()
            parts.append(mcmc.get_samples())
        samples = {site: torch.stack([part[site] for part in parts]) for site in parts[0]}
    else:
        guide = pf.infer.AutoFlow(model)
        history = pf.infer.fit_vi(model, guide, progress=False, seed=seed)
        found |= {"fit": time.process_time() - start, "half_variance": history.half_variance[-1]}
        start = time.process_time()
        result = pf.infer.flow_mcmc(model, guide, progress=False, seed=seed)
        samples = result.latents
        found["told"] = str(result)
    found["seconds"] = time.process_time() - start
    return found | figures(samples, known(samples))


def figures(samples: dict[str, Tensor], known: Tensor) -> dict[str, float]:
    def extreme(statistic: Callable[[Tensor], Tensor], pick: Callable[..., float]) -> float:
        return pick(float(pick(statistic(value).flatten().tolist())) for value in samples.values())

    return {
        "r_hat": extreme(r_hat, max),
        "bulk": extreme(bulk_ess, min),
        "tail": extreme(tail_ess, min),
        "mean": float(known.mean()),
        "sd": float(known.std()),
    }


def table(results: list[dict]) -> str:
    lines = [
        "| target | sampler | fit, s | sampling, s | R̂ | ESS bulk / tail | ESS / s of sampling | "
        "ESS / s of all | mean, SD |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in TARGETS:
        for kind in KINDS:
            rows = [r for r in results if (r["target"], r["sampler"]) == (name, kind)]
            if not rows:
                continue
            middle = {
                key: statistics.median(r[key] for r in rows)
                for key in ("fit", "seconds", "bulk", "tail", "mean", "sd")
            }
            rate = statistics.median(r["bulk"] / r["seconds"] for r in rows)
            whole = statistics.median(r["bulk"] / (r["seconds"] + r["fit"]) for r in rows)
            lines.append(
                f"| {name} | {kind} | {middle['fit']:.0f} | {middle['seconds']:.0f} | "
                f"{max(r['r_hat'] for r in rows):.3f} | {middle['bulk']:.0f} / {middle['tail']:.0f} | "
                f"{rate:.1f} | {whole:.1f} | {middle['mean']:.2f}, {middle['sd']:.2f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(TARGETS))
    parser.add_argument("--samplers", nargs="*", default=list(KINDS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = (
        ((name, kind, seed), partial(sampled, kind, name, seed))
        for seed in range(options.seeds)
        for name in options.only
        for kind in options.samplers
    )
    told(table(kept(options.json, ("target", "sampler", "seed"), runs)))


if __name__ == "__main__":
    main()
