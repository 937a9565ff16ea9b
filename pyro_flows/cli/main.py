"""`python -m pyro_flows`: fit, score, sample, plot, demo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from .. import __version__
from ..training import NonFiniteLoss, fit
from .errors import InputError
from .model import FAMILIES, Model
from .table import Table, read, write

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, or 2 after one line that says what is wrong."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (InputError, NonFiniteLoss) as error:
        print(f"pyro-flows: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pyro-flows", description="Normalizing flows of tables of numbers.")
    parser.add_argument("--version", action="version", version=f"pyro-flows {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("fit", help="fit a flow to a table and save it")
    command.set_defaults(run=_fit)
    _add_data(command)
    command.add_argument("--flow", choices=FAMILIES, default="real_nvp")
    command.add_argument("--out", required=True, metavar="MODEL.pt")
    command.add_argument("--depth", type=_positive, default=8, help="number of layers (8)")
    command.add_argument("--hidden", type=_widths, default=(64, 64), help="hidden widths, such as 64,64")
    command.add_argument("--epochs", type=_positive, help="passes over the data (about 8,000 steps)")
    command.add_argument("--batch-size", type=_positive, default=256)
    command.add_argument("--learning-rate", type=float, default=1e-3)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--resume", action="store_true", help="go on with a run that was stopped")

    command = commands.add_parser("score", help="print or write the log-density of each row, in nats")
    command.set_defaults(run=_score)
    command.add_argument("model", metavar="MODEL.pt")
    _add_data(command)
    command.add_argument("--out", metavar="SCORES.csv", help="write them instead of their mean")

    command = commands.add_parser("sample", help="draw rows")
    command.set_defaults(run=_sample)
    command.add_argument("model", metavar="MODEL.pt")
    command.add_argument("--number", "-n", type=_positive, default=1000)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", required=True, metavar="SAMPLES.csv|.npy")

    command = commands.add_parser("plot", help="draw the loss curve, and data against samples")
    command.set_defaults(run=_plot)
    command.add_argument("model", metavar="MODEL.pt")
    _add_data(command)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--out", required=True, metavar="PLOT.png")

    command = commands.add_parser("demo", help="fit two moons and a real table, and show how well")
    command.set_defaults(run=_demo)
    command.add_argument("--out", default="out", metavar="FOLDER", help="where the pictures go (out)")
    command.add_argument("--smoke", action="store_true", help="a few steps only, to see that it runs")
    return parser


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", metavar="DATA.csv|.npy|.npz")
    command.add_argument(
        "--columns", type=lambda text: text.split(","), help="names or numbers, such as a,b,3"
    )
    command.add_argument("--key", help="which array of an .npz file")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1; got {value}")
    return value


def _widths(text: str) -> tuple[int, ...]:
    return tuple(_positive(width) for width in text.split(","))


def _fit(options: argparse.Namespace) -> None:
    out, run = Path(options.out), Path(f"{options.out}.run")
    if not out.parent.is_dir():
        raise InputError(f"{options.out}: no such folder: {out.parent}")
    if out.is_dir():
        raise InputError(f"{options.out}: is a folder")
    if run.exists() and not options.resume:
        raise InputError(f"{run}: a run was stopped here: go on with --resume, or remove the file")
    if options.resume and not run.exists():
        raise InputError(f"{run}: no run to resume")
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
            progress=sys.stderr.isatty(),
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    model.history = vars(history)
    model.save(options.out)
    run.unlink(missing_ok=True)
    print(
        f"{options.out}: {options.flow} of {len(table.columns)} columns, held-out log-density "
        f"{-history.best_loss:.4f} nats after {history.steps} steps in {history.seconds:.0f} s"
    )


def _checked(table: Table, options: argparse.Namespace) -> torch.Tensor:
    rows, width = table.values.shape
    if width < 2:
        raise InputError(f"{options.data}: a flow of couplings needs at least two columns; got {width}")
    if rows * 0.9 < options.batch_size:
        raise InputError(
            f"{options.data}: {rows} rows, of which a tenth is held out, are fewer than a batch of "
            f"{options.batch_size}: choose a smaller --batch-size"
        )
    if not options.learning_rate > 0:
        raise InputError(f"--learning-rate: expected more than 0; got {options.learning_rate}")
    data = torch.tensor(table.values, dtype=torch.get_default_dtype())
    if not bool(data.isfinite().all()):
        raise InputError(f"{options.data}: a number is too large for {data.dtype}")
    for name, column in zip(table.columns, data.T, strict=True):
        spread, size = column.std(), column.abs().max()
        if not spread > 1e-6 * size:
            raise InputError(f"{options.data}: column {name} is constant: leave it out with --columns")
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
    return torch.tensor(table.values, dtype=torch.get_default_dtype())


def _score(options: argparse.Namespace) -> None:
    model = Model.load(options.model)
    data = _matching(model, options)
    with torch.no_grad():
        scores = torch.cat([model.flow().log_prob(rows) for rows in data.split(65536)]).double()
    if options.out:
        write(options.out, scores[:, None].numpy(), ["log_density"])
    error = scores.std().item() / len(scores) ** 0.5 if len(scores) > 1 else float("nan")
    print(f"{options.data}: mean log-density {scores.mean():.4f} ± {error:.4f} nats over {len(scores)} rows")


def _sample(options: argparse.Namespace) -> None:
    model = Model.load(options.model)
    torch.manual_seed(options.seed)
    write(options.out, model.flow().sample((options.number,)).numpy(), model.columns)


def _plot(options: argparse.Namespace) -> None:
    from .. import plotting
    from ..training import History

    model = Model.load(options.model)
    data = _matching(model, options)
    torch.manual_seed(options.seed)
    samples = model.flow().sample((min(len(data), 5000),))
    figure = plotting.pairs(data[:5000], samples, names=model.columns)
    curve = plotting.loss_curve(History(**model.history))
    out = Path(options.out)
    try:
        figure.savefig(out)
        curve.savefig(out.with_stem(out.stem + "-loss"))
    except (OSError, ValueError) as error:
        raise InputError(f"{options.out}: cannot be written: {error}") from error


def _demo(options: argparse.Namespace) -> None:
    from .demo import demo

    demo(Path(options.out), smoke=options.smoke)
