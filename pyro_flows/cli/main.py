"""`python -m pyro_flows`: fit, score, sample, plot, demo."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..training import NonFiniteLoss, fit
from .arguments import parse
from .errors import InputError
from .model import Model
from .table import Table, check_output, read, write

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, or 2 after one line that says what is wrong."""
    options = parse(arguments)
    commands = {"fit": _fit, "score": _score, "sample": _sample, "plot": _plot, "demo": _demo}
    try:
        commands[options.command](options)
    except (InputError, NonFiniteLoss, ImportError) as error:
        print(f"pyro-flows: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pyro-flows: stopped; a fit goes on with --resume", file=sys.stderr)
        return 130
    return 0


def _fit(options: argparse.Namespace) -> None:
    out, run = Path(options.out), Path(f"{options.out}.run")
    check_output(options.out)
    if run.exists() and not options.resume:
        raise InputError(f"{run}: a run was stopped here: go on with --resume, or remove the file")
    if options.resume and not run.exists():
        if out.exists():
            raise InputError(f"{out}: is finished: no run to resume")
        print(f"{run}: no run to resume: starting one", file=sys.stderr)
    table = read(options.data, key=options.key, columns=options.columns)
    data = _checked(table, options)
    torch.manual_seed(options.seed)
    architecture = {"depth": options.depth, "hidden": list(options.hidden)}
    model = Model.build(options.flow, architecture, table.columns, data)
    try:
        history = fit(
            model.flow,
            data,
            checkpoint=run,
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            seed=options.seed,
            compile=options.compile,
            progress=sys.stderr.isatty(),
        )
    except NonFiniteLoss as error:
        run.unlink(missing_ok=True)
        what = str(error).split(". ")[0]
        raise InputError(
            f"{options.data}: {what}; nothing was saved: try a smaller --learning-rate"
        ) from error
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from error
    if os.environ.get("RANK", "0") != "0":
        return
    model.history = history
    model.save(options.out)
    run.unlink(missing_ok=True)
    compiling = f", {history.compile_seconds:.0f} of them compiling" if options.compile else ""
    print(
        f"{options.out}: {options.flow} of {len(table.columns)} columns, held-out log-density "
        f"{-history.best_loss:.4f} nats after {history.steps} steps in {history.seconds:.0f} s{compiling}"
    )


def _checked(table: Table, options: argparse.Namespace) -> torch.Tensor:
    rows, width = table.values.shape
    if width < 2:
        raise InputError(f"{options.data}: a flow of couplings needs at least two columns; got {width}")
    if rows - round(rows * 0.1) < options.batch_size:
        raise InputError(
            f"{options.data}: {rows} rows, of which a tenth is held out, are fewer than a batch of "
            f"{options.batch_size}: choose a smaller --batch-size"
        )
    if round(rows * 0.1) < 1:
        raise InputError(f"{options.data}: {rows} rows are too few to hold out a tenth of them")
    for name, column in zip(table.columns, table.values.T, strict=True):
        if column.min() == column.max():
            raise InputError(f"{options.data}: column {name} is constant: leave it out with --columns")
        if not np.ptp(column) > 1e-5 * np.abs(column).max():
            raise InputError(
                f"{options.data}: column {name} varies too little beside its size for single precision: "
                f"subtract {column.mean():.6g} from it first"
            )
    return _tensor(table, options)


def _tensor(table: Table, options: argparse.Namespace) -> torch.Tensor:
    data = torch.tensor(table.values, dtype=torch.get_default_dtype())
    if not bool((data.abs() < 1e18).all()):  # its square is finite
        raise InputError(f"{options.data}: a number is too large for single precision: rescale its column")
    return data


def _matching(model: Model, options: argparse.Namespace) -> torch.Tensor:
    columns = options.columns
    table = read(options.data, key=options.key, columns=columns)
    if columns is None and table.columns != model.columns and set(model.columns) <= set(table.columns):
        table = read(options.data, key=options.key, columns=model.columns)
    if len(table.columns) != len(model.columns):
        raise InputError(
            f"{options.data}: {len(table.columns)} columns; the model has {len(model.columns)}: "
            f"{', '.join(model.columns[:20])}"
        )
    return _tensor(table, options)


def _score(options: argparse.Namespace) -> None:
    if options.out:
        check_output(options.out, ".csv", ".npy")
    model = Model.load(options.model)
    data = _matching(model, options)
    with torch.no_grad():
        scores = torch.cat([model.flow().log_prob(rows) for rows in data.split(65536)]).double()
    if options.out:
        write(options.out, scores[:, None].numpy(), ["log_density"])
    error = scores.std().item() / len(scores) ** 0.5 if len(scores) > 1 else float("nan")
    print(f"{options.data}: mean log-density {scores.mean():.4f} ± {error:.4f} nats over {len(scores)} rows")


def _sample(options: argparse.Namespace) -> None:
    check_output(options.out, ".csv", ".npy")
    model = Model.load(options.model)
    torch.manual_seed(options.seed)
    try:
        rows = model.flow().sample((options.number,)).numpy()
    except (MemoryError, RuntimeError) as error:
        raise InputError(f"--number: {options.number} rows do not fit into memory") from error
    write(options.out, rows, model.columns)


def _plot(options: argparse.Namespace) -> None:
    from .. import plotting

    check_output(options.out)
    model = Model.load(options.model)
    data = _matching(model, options)
    torch.manual_seed(options.seed)
    samples = model.flow().sample((min(len(data), 5000),))
    figure = plotting.pairs(data[:5000], samples, names=model.columns)
    curve = plotting.loss_curve(model.history)
    out = Path(options.out)
    try:
        figure.savefig(out)
        curve.savefig(out.with_stem(out.stem + "-loss"))
    except (OSError, ValueError) as error:
        raise InputError(f"{options.out}: cannot be written: {error}") from error


def _demo(options: argparse.Namespace) -> None:
    from .demo import demo

    try:
        demo(Path(options.out), smoke=options.smoke)
    except OSError as error:
        raise InputError(f"{options.out}: cannot be written: {error.strerror}") from error
