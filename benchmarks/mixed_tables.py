"""Held-out log-likelihood of tables with mixed columns: independent columns, a Gaussian copula, a flow.

All three share the columns' own distributions, so that differences are those of how columns hang together.
The Gaussian copula is fitted by maximum likelihood as the flow is: a triangular matrix in its place.
Scores are bounds of 128 draws, for both. Rows that hold a value which the training rows lack have no
probability under any of the three, and are counted and left out.

    python benchmarks/mixed_tables.py --seeds 0 1 2                  # three tables that ship with statsmodels
    python benchmarks/mixed_tables.py --tables diabetes --pictures out
"""

from __future__ import annotations

import argparse
import math
import pathlib
import statistics
import time
from collections.abc import Callable

import pandas as pd
import torch

import pyro_flows as pf
from pyro_flows.cli.demo import redbook


def randhie() -> pd.DataFrame:
    """Visits to doctors of 20,190 persons and years: counts, Booleans, amounts with many zeros."""
    from statsmodels.datasets import randhie as source

    frame = source.load_pandas().data
    return frame.astype(dict.fromkeys(("idp", "hlthg", "hlthf", "hlthp"), bool))


def anes96() -> pd.DataFrame:
    """944 voters of 1996: opinions in levels, ages, incomes, a heavy-tailed population, a vote."""
    from statsmodels.datasets import anes96 as source

    frame = source.load_pandas().data.drop(columns="logpopul")  # a function of popul has no density beside it
    vote = frame.pop("vote").map({0.0: "Clinton", 1.0: "Dole"})
    return frame.astype(int).assign(vote=vote)


def diabetes() -> pd.DataFrame:
    """442 patients: ages, a sex, six real and some whole measurements."""
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True, scaled=False).frame
    return frame.assign(sex=frame["sex"].map({1.0: "a", 2.0: "b"}))


def wine() -> pd.DataFrame:
    """178 wines: thirteen real measurements and a cultivar."""
    from sklearn.datasets import load_wine

    frame = load_wine(as_frame=True).frame
    return frame.assign(target=frame["target"].map({0: "first", 1: "second", 2: "third"}))


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "fair": redbook,
    "randhie": randhie,
    "anes96": anes96,
    "diabetes": diabetes,
    "wine": wine,
}


def gaussian(dim: int) -> pf.FlowTransform:
    """x = A z + b: any normal distribution of the scores."""
    return pf.transforms.Linear(pf.matrices.Triangular(dim)).inv


def split(frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    order = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    count = len(frame) // 5
    return order[count:].reset_index(drop=True), order[:count].reset_index(drop=True)


def fitted(
    frame: pd.DataFrame, family: pf.tables.Family, seed: int, steps: int, rate: float
) -> pf.tables.TableFlow:
    torch.manual_seed(seed)
    batch = min(256, round(0.9 * len(frame)))
    epochs = math.ceil(steps / (round(0.9 * len(frame)) // batch))
    return pf.tables.fit(
        frame, family=family, epochs=epochs, batch_size=batch, learning_rate=rate, seed=seed, progress=False
    )


def run(name: str, seed: int, steps: int) -> tuple[dict[str, float], pf.tables.TableFlow, pd.DataFrame]:
    train, test = split(TABLES[name](), seed)
    started = time.process_time()
    flow = fitted(train, pf.tables.column_by_column, seed, steps, 2e-3)
    seconds = time.process_time() - started
    copula = fitted(train, gaussian, seed, min(steps, 1000), 1e-2)
    rows = flow.schema.encode(test)
    possible = rows[:, 2].isfinite().all(-1)
    rows = rows[possible]
    alone, bound, best = rows[:, 2].sum(-1), *(m.score(rows, num_samples=128) for m in (copula, flow))
    gain = best - bound
    scores = {
        "independent": float(alone.mean()),
        "copula": float(bound.mean()),
        "flow": float(best.mean()),
        "error of flow − copula": float(gain.std()) / len(gain) ** 0.5,
        "one draw": float(flow.score(rows, num_samples=1).mean()),
        "left out": float((~possible).sum()),
        "CPU seconds": seconds,
    }
    return scores, flow, test


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=["fair", "randhie", "anes96"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--pictures", type=pathlib.Path, help="a folder for pictures of samples beside data")
    args = parser.parse_args()
    torch.set_num_threads(1)
    columns = [
        "independent",
        "copula",
        "flow",
        "error of flow − copula",
        "one draw",
        "left out",
        "CPU seconds",
    ]
    print(f"| table | rows × columns | {' | '.join(columns)} |")
    print(f"| --- | --- |{' ---: |' * len(columns)}")
    for name in args.tables:
        shape = TABLES[name]().shape
        results = []
        for seed in args.seeds:
            scores, flow, test = run(name, seed, args.steps)
            results.append(scores)
            if args.pictures and seed == args.seeds[0]:
                args.pictures.mkdir(parents=True, exist_ok=True)
                samples = flow.sample(5 * len(test))
                pf.plotting.compare_tables(test, samples).savefig(args.pictures / f"{name}.png", dpi=130)
        means = " | ".join(f"{statistics.fmean(r[c] for r in results):.2f}" for c in columns)
        print(f"| {name} | {shape[0]} × {shape[1]} | {means} |", flush=True)


if __name__ == "__main__":
    main()
