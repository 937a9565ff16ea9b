"""Runs whose results a JSON file keeps: each is appended at once, and what is there is not run again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

import pyro_flows as pf

__all__ = ["kept", "told"]


def kept(
    path: Path | None, keys: tuple[str, ...], runs: Iterable[tuple[tuple, Callable[[], dict]]] = ()
) -> list[dict]:
    """Return the results in a file, and those of the runs that it lacks.

    Args:
        path: the file, a result a line; None for none.
        keys: the fields by which a result is known.
        runs: values of these fields, and what returns the result.
    """
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    results = []
    if path and path.exists():
        results = [json.loads(line) for line in path.read_text().splitlines()]
    done = {tuple(result[key] for key in keys) for result in results}
    for key, run in runs:
        if key in done:
            continue
        results.append(run())
        print(results[-1], flush=True)
        if path:
            with path.open("a") as file:
                file.write(json.dumps(results[-1]) + "\n")
    return results


def told(table: str) -> None:
    """Print a table, and with which versions it was made."""
    print(f"\npyro_flows {pf.__version__}, torch {torch.__version__}\n\n{table}")
