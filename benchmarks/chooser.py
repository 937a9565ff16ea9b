"""Which flow for what: families side by side at equal CPU seconds of training. Writes the tables of the docs.

    python benchmarks/chooser.py                       # quick: ten minutes of one core
    python benchmarks/chooser.py --seconds 120 --seeds 0 1 2
    python benchmarks/chooser.py --only plane images   # rewrites these tables only

Each family is trained at its defaults, by `pf.fit` or `pf.infer.fit_vi`, for as many epochs as fit into
`--seconds` of CPU time, judged by a short run before, and four times as many for images; early stopping may
end it sooner. Scores are of held-out rows; speeds are CPU time of one thread. With several seeds, scores,
seconds and speeds are medians.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import chooser_problems as problems
import torch
from torch import nn

import pyro_flows as pf

TABLES = pathlib.Path(__file__).parents[1] / "docs" / "which_flow"


@dataclass(frozen=True)
class Row:
    """What a table says of one family."""

    score: float
    seconds: float
    steps: int
    samples: float
    parameters: int


def per_second(sample: Callable[[int], Any], start: int = 100) -> float:
    """Return how many samples a second `sample(count)` gives, from a run of at least 0.1 s."""
    count = start
    while True:
        begin = time.process_time()
        sample(count)
        spent = time.process_time() - begin
        if spent > 0.1:
            return count / spent
        count *= 4


def epochs_in(seconds: float, fit: Callable[[int], object]) -> int:
    """Return how many epochs fit into so many CPU seconds.

    Args:
        seconds: CPU time.
        fit: trains something new for some epochs; called with more of them until that takes a
            twelfth of the time.
    """
    fit(1)  # warms up
    epochs = 1
    while True:
        begin = time.process_time()
        fit(epochs)
        spent = time.process_time() - begin
        if spent > seconds / 12:
            return max(1, round(seconds / spent * epochs))
        epochs *= 2


def density(problem: problems.Density, name: str, seconds: float, seed: int) -> Row:
    """Train a family on rows, or on pairs of rows and contexts."""
    seconds *= problem.patience

    def fit(epochs: int, rows: int | None = None) -> tuple[pf.Flow, Any]:
        torch.manual_seed(seed)
        flow = pf.Flow(problem.families[name]())
        loss = {"loss": pf.training.FlowMatching()} if "flow matching" in name else {}
        context = None if problem.context is None else problem.context[:rows]
        options = {"batch_size": problem.batch_size, "seed": seed, "progress": False} | loss
        return flow, pf.fit(flow, problem.train[:rows], context=context, epochs=epochs, **options)

    few = min(20 * problem.batch_size, len(problem.train))
    epochs = epochs_in(seconds * few / len(problem.train), lambda epochs: fit(epochs, few))
    begin = time.process_time()
    flow, history = fit(epochs)
    spent = time.process_time() - begin
    given = () if problem.test_context is None else (problem.test_context[:1],)
    with torch.no_grad():
        score = problem.score(flow)
        samples = per_second(lambda count: flow(*given).sample((count,)))
    return Row(score, spent, history.steps, samples, size_of(flow))


def mixed(problem: problems.Mixed, name: str, seconds: float, seed: int) -> Row:
    """Train a family inside `pf.tables`."""

    def fit(epochs: int) -> pf.tables.TableFlow:
        torch.manual_seed(seed)
        family = problem.families[name]
        return pf.tables.fit(problem.train, family=family, epochs=epochs, seed=seed, progress=False)

    epochs = epochs_in(seconds, fit)
    begin = time.process_time()
    table = fit(epochs)
    spent = time.process_time() - begin
    scores = table.log_prob(problem.test, num_samples=32)
    score = float(scores[scores.isfinite()].mean())
    samples = per_second(lambda count: table.sample(count))
    return Row(score, spent, table.history.steps, samples, size_of(table.flow))


def posterior(problem: problems.Posterior, name: str, seconds: float, seed: int) -> Row:
    """Train a guide; its score is the gap between log evidence and ELBO."""
    fitted = problem.guides[name](seconds, seed)
    result = pf.infer.importance(problem.model, fitted.guide, num_samples=20_000)
    samples = per_second(fitted.sample)
    return Row(result.gap, fitted.seconds, fitted.steps, samples, size_of(fitted.guide))


def size_of(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def rows_of(problem: Any, measure: Callable[..., Row], seconds: float, seeds: list[int]) -> Iterator[str]:
    for name in problem.names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runs = [measure(problem, name, seconds, seed) for seed in seeds]
        score, spent, samples = (
            statistics.median(getattr(r, f) for r in runs) for f in ("score", "seconds", "samples")
        )
        line = (
            f"| {name} | {score:{problem.digits}} | {spent:.0f} | {runs[0].steps:,} | {_rounded(samples)} |"
        )
        yield f"{line} {runs[0].parameters:,} |"


def _counted(seeds: int) -> str:
    return "One seed" if seeds == 1 else f"{seeds} seeds"


def _rounded(rate: float) -> str:
    """Write two digits of a rate: the third one differs from run to run."""
    return f"{float(f'{rate:.2g}'):,.0f}"


PROBLEMS: Mapping[str, tuple[Callable[[], Any], Callable[..., Row]]] = {
    "plane": (problems.plane, density),
    "table": (problems.table, density),
    "mixed": (problems.mixed, mixed),
    "images": (problems.images, density),
    "amortized": (problems.amortized, density),
    "posterior": (problems.posterior, posterior),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="CPU time of each training; images four times"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=pathlib.Path, default=TABLES, help="folder of the tables")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        build, measure = PROBLEMS[name]
        begin, problem = time.process_time(), build()
        lines = [
            f"| family | {problem.heading} | CPU s | steps | samples/s | parameters |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for line in rows_of(problem, measure, args.seconds, args.seeds):
            print(line, flush=True)
            lines.append(line)
        lines += [
            "",
            f"{problem.about} {_counted(len(args.seeds))}, torch {torch.__version__.split('+')[0]}, "
            f"{datetime.date.today()}, {time.process_time() - begin:.0f} CPU s for the table.",
        ]
        (args.out / f"{name}.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
