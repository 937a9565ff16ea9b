"""Run the cells of a grid in parallel processes of one thread each, and append each result to a CSV at once.

A cell is a function's name and its arguments; a grid that is cut short keeps what it has found.
"""

from __future__ import annotations

import csv
import multiprocessing
import pathlib
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Cell = Mapping[str, Any]


def _run(job: tuple[Callable[..., Mapping[str, Any]], Cell, float]) -> dict[str, Any] | None:
    function, cell, deadline = job
    if time.time() > deadline:
        return None
    torch.set_num_threads(1)
    began = time.process_time()
    try:
        found = dict(function(**cell))
    except Exception as error:
        found = {"failed": f"{type(error).__name__}: {str(error)[:150]}".replace("\n", " ")}
    return dict(cell) | found | {"cpu": round(time.process_time() - began, 1)}


def run(
    function: Callable[..., Mapping[str, Any]],
    cells: Sequence[Cell],
    path: pathlib.Path,
    *,
    jobs: int,
    minutes: float,
    columns: Sequence[str],
) -> None:
    """Call `function` with each cell, in order; start none after so many minutes.

    Args:
        function: returns a cell's results by their columns; importable by its name.
        cells: the arguments.
        path: the CSV, which is appended to.
        jobs: how many processes.
        minutes: when to start no other cell.
        columns: of the results; `cpu`, the CPU seconds, and `failed` are added.
    """
    names = list(dict.fromkeys([*(key for cell in cells for key in cell), *columns, "cpu", "failed"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.time() + 60 * minutes
    with path.open("a", newline="") as file, multiprocessing.get_context("spawn").Pool(jobs) as pool:
        writer = csv.DictWriter(file, names)
        if not path.stat().st_size:
            writer.writeheader()
        for row in pool.imap_unordered(_run, [(function, cell, deadline) for cell in cells]):
            if row is not None:
                writer.writerow(row)
                file.flush()
                print(row, file=sys.stderr, flush=True)


def table(path: pathlib.Path, across: str, down: str, value: str) -> str:
    """Return the CSV's means over all else as a table, each with the number of cells."""
    groups: dict[tuple[str, str], list[float]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            groups[row[down], row[across]].append(float(row[value]) if row[value] else float("nan"))
    columns = list(dict.fromkeys(key[1] for key in groups))
    lines = [[down, *columns], ["---"] * (1 + len(columns))]
    for name in dict.fromkeys(key[0] for key in groups):
        found = [groups.get((name, column), []) for column in columns]
        lines.append([name, *(f"{statistics.mean(v):.3f} ({len(v)})" if v else "" for v in found)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
