"""`python -m pyro_flows`: fit, score, sample, plot, demo."""

from __future__ import annotations

import argparse
import csv
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .. import tables
from ..training import NonFiniteLoss
from .arguments import parse
from .choice import Choice
from .errors import InputError
from .lines import is_first
from .model import Model, family
from .output import OUTPUTS, check_output, write
from .table import ROWS_AT_ONCE, Table
from .text import Known

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["main"]

NUMBERS = ("real", "positive", "fraction", "integer", "ordinal")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, or 2 after one line that says what is wrong."""
    options = parse(arguments)
    csv.field_size_limit(2**31 - 1)  # a long cell is no obstacle
    commands = {"fit": _fit, "score": _score, "sample": _sample, "plot": _plot, "demo": _demo}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = _one_line
            commands[options.command](options)
    except (InputError, NonFiniteLoss, ImportError) as error:
        print(f"pyro-flows: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("pyro-flows: stopped; a fit goes on with --resume", file=sys.stderr)
        return 130
    return 0


def _one_line(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"pyro-flows: {message}", file=sys.stderr)


def _fit(options: argparse.Namespace) -> None:
    out, run = Path(options.out), Path(f"{options.out}.run")
    check_output(options.out, inputs=[options.data])
    if run.exists() and not options.resume:
        raise InputError(f"{run}: a run was stopped here: go on with --resume, or remove the file")
    if options.resume and not run.exists():
        if out.exists():
            raise InputError(f"{out}: is finished: no run to resume")
        print(f"{run}: no run to resume: starting one", file=sys.stderr)
    given = {"depth": options.depth, "hidden": options.hidden and list(options.hidden)}
    architecture = {name: value for name, value in given.items() if value is not None}
    make = family(options.flow, architecture)
    known = Known(
        header=options.header,
        texts=frozenset(options.kinds.get("categorical", ())),
        numbers=frozenset(name for kind in NUMBERS for name in options.kinds.get(kind, ())),
    )
    table = Table(options.data, Choice(options.columns, options.drop), known, options.key, options.rows)
    frame = table.read()
    kinds = {name: kind for kind, names in options.kinds.items() for name in names}
    torch.manual_seed(options.seed)
    try:
        model = tables.fit(
            frame,
            family=make,
            kinds=kinds,
            context=options.context,
            checkpoint=run,
            on_schema=print if is_first() else None,
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
    except (ValueError, TypeError, OSError) as error:
        text = str(error).splitlines()[0]
        raise InputError(text if str(run) in text else f"{options.data}: {text}") from error
    if not is_first():
        return
    Model(options.flow, architecture, model, list(frame.columns), sorted(table.commas)).save(options.out)
    run.unlink(missing_ok=True)
    history = model.history
    compiling = f", {history.compile_seconds:.0f} of them compiling" if options.compile else ""
    print(
        f"{options.out}: {options.flow} of {len(frame.columns)} columns, held-out log-likelihood "
        f"{-history.best_loss:.4f} nats a row after {history.steps} steps in {history.seconds:.0f} s"
        f"{compiling}"
    )


def _table(path: str, model: Model, names: Sequence[str], options: argparse.Namespace) -> Table:
    """Return a file's table with columns of the model of these names."""
    known = Known(
        header=options.header,
        texts=frozenset(model.table.texts),
        numbers=frozenset(model.table.names) - frozenset(model.table.texts),
        commas=frozenset(model.commas),
    )
    ordered = [name for name in model.columns or model.table.names if name in names]
    in_order = bool(model.columns) or model.table.context is None
    columns = getattr(options, "columns", None)  # `sample` has no such options
    choice = Choice(columns, model=ordered, in_order=in_order)
    return Table(path, choice, known, getattr(options, "key", None), getattr(options, "rows", None))


def _score(options: argparse.Namespace) -> None:
    if options.out:
        check_output(options.out, *OUTPUTS, inputs=[options.data, options.model])
    saved = Model.load(options.model)
    model = saved.table
    sums = torch.zeros(3, dtype=torch.float64)  # of possible rows their count, scores and squares
    rows = 0

    def scored() -> Iterator[pd.DataFrame]:
        """Yield the scores of some rows at a time, and add them up."""
        import pandas as pd

        nonlocal rows
        for frame in _table(options.data, saved, model.names, options).parts(ROWS_AT_ONCE):
            try:
                scores = model.log_prob(frame, num_samples=options.draws, seed=rows)
            except (ValueError, TypeError) as error:
                raise InputError(f"{options.data}: {error}") from error
            rows += len(scores)
            possible = scores[scores.isfinite()]
            sums[0] += len(possible)
            sums[1] += possible.sum()
            sums[2] += possible.square().sum()
            yield pd.DataFrame({"log_prob": scores.numpy()})

    if options.out:
        write(options.out, scored())
    else:
        for _ in scored():
            pass
    count, total, squares = sums.tolist()
    mean = total / count if count else float("nan")
    error = ((squares / count - mean**2) * count / (count - 1) / count) ** 0.5 if count > 1 else float("nan")
    print(f"{options.data}: mean log-likelihood {mean:.4f} ± {error:.4f} nats over {count:.0f} rows")


def _sample(options: argparse.Namespace) -> None:
    check_output(options.out, *OUTPUTS, inputs=[options.model, *([options.given] if options.given else [])])
    saved = Model.load(options.model)
    model = saved.table
    torch.manual_seed(options.seed)

    if (model.context is None) != (options.given is None) or (options.given and options.number):
        needed = "--number" if model.context is None else f"--given, for {', '.join(model.context.names)}"
        raise InputError(f"{options.model}: expected {needed} and no other")

    def drawn() -> Iterator[pd.DataFrame]:
        """Yield some rows at a time."""
        if options.given and model.context is not None:
            given = _table(options.given, saved, model.context.names, options)
            for frame in given.parts(ROWS_AT_ONCE):
                try:
                    yield model.sample(given=frame)
                except (ValueError, TypeError) as error:
                    raise InputError(f"{options.given}: {error}") from error
            return
        number = options.number or 1000
        for first in range(0, number, ROWS_AT_ONCE):
            yield model.sample(min(ROWS_AT_ONCE, number - first))

    try:
        write(options.out, drawn())
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise InputError(f"{options.model}: sampling failed: {str(error).splitlines()[0]}") from error
        raise InputError(f"{options.out}: so many rows do not fit into memory") from error


def _is_memory(error: Exception) -> bool:
    """Whether memory ran out: torch says so by a `RuntimeError` on a CPU, with these words."""
    words = "not enough memory", "can't allocate memory", "out of memory"
    return isinstance(error, MemoryError) or any(w in str(error) for w in words)


def _plot(options: argparse.Namespace) -> None:
    from .. import plotting

    out = Path(options.out)
    pictures = {ending: out.with_stem(out.stem + ending) for ending in ("", "-loss")}
    for picture in pictures.values():
        check_output(str(picture), inputs=[options.data, options.model])
    saved = Model.load(options.model)
    model = saved.table
    torch.manual_seed(options.seed)
    frame = next(_table(options.data, saved, model.names, options).parts(ROWS_AT_ONCE))[model.names][:5000]
    samples = model.sample(len(frame)) if model.context is None else model.sample(given=frame)
    figures = {
        "": plotting.compare_tables(frame, samples),
        "-loss": plotting.loss_curve(model.history),
    }
    try:
        for ending, figure in figures.items():
            figure.savefig(pictures[ending])
    except (OSError, ValueError) as error:
        raise InputError(f"{options.out}: cannot be written: {error}") from error


def _demo(options: argparse.Namespace) -> None:
    from .demo import demo

    try:
        demo(Path(options.out), smoke=options.smoke)
    except OSError as error:
        raise InputError(f"{options.out}: cannot be written: {error.strerror}") from error
