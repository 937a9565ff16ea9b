"""Fit the models of Pyro's examples and tutorials at defaults.

    python benchmarks/pyro_models.py PATH [--only eight gmm] [--nuts] [--csv results.csv] [--jobs 2]

PATH is a clone of pyro-ppl/pyro, whose examples are imported and whose notebooks' definitions are executed
from there. Data that their authors download is replaced by simulated data of the same shape, and large models
are reduced; `--list` names every model, and every file that is left out with the reason.

The columns: d, the dimension of the unconstrained latents; how draws ran; CPU seconds of `fit_vi`; the gap
log evidence − ELBO in nats, k̂ and the verdict of `report` on 4,000 draws. With `--nuts`, the largest
difference of a mean from NUTS's in SDs, the range of the ratios of SDs, and NUTS's smallest effective sample
size. A model that fails is a row with the error's first line. Each result is appended to the CSV file at
once; what is there with the same seed is not run again.
"""

from __future__ import annotations

import argparse
import csv
import math
import multiprocessing
import os
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import MCMC, NUTS
from pyro_cases import LEFT_OUT, NUTS_TOO, cases

import pyro_flows as pf

FIT = ("model", "seed", "d", "how", "seconds", "steps", "elbo", "gap", "khat", "verdict", "reason")
COLUMNS = (*FIT, "nuts_error", "nuts_least", "nuts_most", "nuts_ess", "nuts_seconds", "error")
_HOW = {"plate": "plate", "vmap": "vmap", "loop": "one by one"}


def fitted(name: str, root: Path, seed: int, nuts: bool, row: dict[str, Any]) -> None:
    """Fit one model and write into `row` what is known, as soon as it is known."""
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    model, args = cases(root)[name]()
    pyro.clear_param_store()
    pyro.set_rng_seed(seed)
    guide = pf.infer.AutoFlow(model)
    start = time.process_time()
    history = pf.infer.fit_vi(model, guide, *args, progress=False, seed=seed)
    row.update(d=guide.latents.dim, seconds=time.process_time() - start, steps=history.steps)
    result = pf.infer.importance(model, guide, *args)
    how = result.evaluation.runs.how if result.evaluation.runs else None
    row.update(how=_HOW[how.way] if how else "", elbo=result.elbo, gap=result.gap, khat=result.khat)
    report = pf.diagnostics.report(result)
    row.update(verdict=report.verdict, reason=report.reasons[0])
    if nuts:
        row.update(beside_nuts(model, args, result))


def beside_nuts(model: Any, args: Any, result: Any, draws: int = 600, warmup: int = 300) -> dict[str, float]:
    """Compare the guide's means and SDs with those of a run of NUTS."""
    start = time.process_time()
    mcmc = MCMC(NUTS(model), num_samples=draws, warmup_steps=warmup, disable_progbar=True)
    mcmc.run(*args)
    errors, ratios, sizes = [0.0], [], []
    means, sds = result.moments(corrected=False)
    for site, value in mcmc.get_samples().items():
        x = value.double().reshape(len(value), -1)
        sd, kept = x.std(0), x.std(0) > 1e-9
        mean, spread = means[site].reshape(-1), sds[site].reshape(-1)
        errors.append(float(((mean - x.mean(0)).abs() / sd)[kept].max()))
        ratios += (spread / sd)[kept].tolist()
    for site in mcmc.diagnostics().values():
        if isinstance(site, dict) and "n_eff" in site:
            size = torch.as_tensor(site["n_eff"]).reshape(-1)
            sizes += size[size.isfinite()].tolist()
    return {
        "nuts_error": max(errors),
        "nuts_least": min(ratios, default=math.nan),
        "nuts_most": max(ratios, default=math.nan),
        "nuts_ess": min(sizes, default=math.nan),
        "nuts_seconds": time.process_time() - start,
    }


def one(name: str, options: argparse.Namespace) -> None:
    """Run one model, print its row and end this process."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    row: dict[str, Any] = {"model": name, "seed": options.seed}
    try:
        fitted(name, options.path, options.seed, options.nuts and name in NUTS_TOO, row)
    except Exception as error:
        if options.verbose:
            traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        row["error"] = f"{type(error).__name__}: {lines[0][:200]}"
    append(options.csv, row)
    os._exit(0)  # a fork of a thread cannot end as a process usually does


def append(path: Path, row: dict[str, Any]) -> None:
    """Add a row to the CSV file, with its head if it is new."""
    new = not path.exists()
    cells = {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        writer.writerow(cells)
    print(" ".join(f"{k}={v}" for k, v in cells.items()), flush=True)


def in_process(name: str, options: argparse.Namespace) -> None:
    """Run one model in a process of its own, a fork of this one, which is ended after `options.seconds`."""
    process = multiprocessing.get_context("fork").Process(target=one, args=(name, options))
    process.start()
    process.join(options.seconds)
    problem = f"the process ended with code {process.exitcode}" if process.exitcode else None
    if process.is_alive():
        process.kill()
        problem = f"not done after {options.seconds:g} s"
    if problem:
        append(options.csv, {"model": name, "seed": options.seed, "error": problem})


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _number(row: dict[str, str], column: str, digits: int) -> str:
    return f"{float(row[column]):.{digits}f}" if row[column] else ""


def table(rows: list[dict[str, str]]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| model | d | draws | CPU s | gap, nats | k̂ | verdict | NUTS: max Δmean / SD; SD ratios; its ESS |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        beside = ""
        if row["nuts_error"]:
            ratios = f"{_number(row, 'nuts_least', 2)}–{_number(row, 'nuts_most', 2)}"
            beside = f"{_number(row, 'nuts_error', 2)}; {ratios}; {_number(row, 'nuts_ess', 0)}"
        verdict = "; ".join(part for part in (row["verdict"], row["error"]) if part)
        cells = [_number(row, "seconds", 0), _number(row, "gap", 4), _number(row, "khat", 2), verdict, beside]
        lines.append(f"| {row['model']} | {row['d']} | {row['how']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, help="a clone of pyro-ppl/pyro")
    parser.add_argument("--only", nargs="*", help="parts of models' names")
    parser.add_argument("--nuts", action="store_true", help="NUTS beside the guide, for some of the models")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=900.0, help="wall-clock limit of a model")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--csv", type=Path, default=Path("pyro_models.csv"))
    parser.add_argument("--list", action="store_true", help="name the models, and the files left out")
    parser.add_argument("--table", action="store_true", help="only print the table of the CSV file")
    parser.add_argument("--verbose", action="store_true", help="with tracebacks")
    options = parser.parse_args()
    if options.list:
        print(*cases(options.path), sep="\n")
        print(*(f"left out: {file}: {reason}" for file, reason in LEFT_OUT.items()), sep="\n")
        return
    done = {row["model"] for row in _read(options.csv) if row["seed"] == str(options.seed)}
    names = [n for n in cases(options.path) if not options.only or any(part in n for part in options.only)]
    if not options.table:
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda n: in_process(n, options), [n for n in names if n not in done]))
    print(f"\npyro_flows {pf.__version__}, torch {torch.__version__}, Pyro {pyro.__version__}\n")
    rows = {row["model"]: row for row in _read(options.csv)}
    print(table([rows[name] for name in names if name in rows]))


if __name__ == "__main__":
    main()
