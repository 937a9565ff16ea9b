"""What the command line takes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..tables import KINDS
from .model import FAMILIES
from .table import ENDINGS

__all__ = ["parse"]


class _Parser(argparse.ArgumentParser):
    """Ends a wrong call with one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}: see {self.prog} --help\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options and the name of the `command`; a wrong call exits with code 2."""
    parser = _Parser(prog="pyro-flows", description="Normalizing flows of tables.")
    parser.add_argument("--version", action="version", version=f"pyro-flows {__version__}")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")

    command = commands.add_parser("fit", help="fit a flow to a table and save it")
    _add_data(command)
    _add_kinds(command)
    command.add_argument("--flow", choices=FAMILIES, default="column_by_column", help="(column_by_column)")
    command.add_argument("--out", required=True, metavar="MODEL.pt")
    command.add_argument("--depth", type=_positive, help="number of layers")
    command.add_argument("--hidden", type=_widths, help="widths of each net's hidden layers, such as 64,64")
    command.add_argument("--epochs", type=_positive, help="passes over the data (about 8,000 steps)")
    command.add_argument("--batch-size", type=_positive, default=256)
    command.add_argument("--learning-rate", type=_rate, default=1e-3)
    command.add_argument("--seed", type=_seed, default=0)
    command.add_argument("--compile", action="store_true", help="by torch.compile, which pays in long runs")
    command.add_argument("--resume", action="store_true", help="go on with a run that was stopped")

    command = commands.add_parser(
        "score", help="the log-likelihood of rows, in nats: print its mean, write each"
    )
    command.add_argument("model", metavar="MODEL.pt")
    _add_data(command)
    command.add_argument("--draws", type=_positive, default=16, help="of the noise, a row (16)")
    command.add_argument("--out", metavar="SCORES.csv", help="write them too")

    command = commands.add_parser("sample", help="draw rows")
    command.add_argument("model", metavar="MODEL.pt")
    command.add_argument("--number", "-n", type=_positive, help="how many (1000)")
    command.add_argument("--given", metavar="DATA", help="the context instead, for one row each")
    _add_header(command)
    command.add_argument("--seed", type=_seed, default=0)
    command.add_argument("--out", required=True, metavar="SAMPLES.csv")

    command = commands.add_parser("plot", help="draw the loss curve, and data against samples")
    command.add_argument("model", metavar="MODEL.pt")
    _add_data(command)
    command.add_argument("--seed", type=_seed, default=0)
    command.add_argument("--out", required=True, metavar="PLOT.png")

    command = commands.add_parser("demo", help="fit two densities and a real table, and show how well")
    command.add_argument("--out", default="out", metavar="FOLDER", help="where the pictures go (out)")
    command.add_argument("--smoke", action="store_true", help="a few steps only, to see that it runs")
    options = parser.parse_args(arguments)
    if options.command == "fit":
        options.kinds = {kind: getattr(options, kind) for kind in KINDS if getattr(options, kind)}
        names = [name for kind in options.kinds.values() for name in kind]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            parser.error(f"expected one kind for column {twice[0]}; got two")
    return options


def _add_data(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", metavar="DATA", help=", ".join(ENDINGS))
    command.add_argument("--columns", type=_names, help="names or numbers, such as a,b,3; all if not given")
    command.add_argument("--key", help="which array of an .npz file")
    command.add_argument("--rows", type=_positive, help="read so many rows at most")
    _add_header(command)


def _add_header(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether the first line of a text file holds names; guessed, and told if not sure",
    )


def _add_kinds(command: argparse.ArgumentParser) -> None:
    command.add_argument("--drop", type=_names, default=[], metavar="A,B", help="leave columns out")
    command.add_argument(
        "--context", type=_names, default=[], metavar="A,B", help="columns that rows are given, not modelled"
    )
    kinds = command.add_argument_group("kinds of columns, which are inferred and printed otherwise")
    for kind in KINDS:
        kinds.add_argument(f"--{kind}", type=_names, default=[], metavar="A,B")


def _names(text: str) -> list[str]:
    return text.split(",")


def _integer(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected an integer; got {text!r}") from None
    if not least <= value < 2**32:
        raise argparse.ArgumentTypeError(f"expected an integer from {least} to 2³²; got {value}")
    return value


def _positive(text: str) -> int:
    return _integer(text, 1)


def _seed(text: str) -> int:
    return _integer(text, 0)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0; got {text!r}")
    return value


def _widths(text: str) -> tuple[int, ...]:
    return tuple(_positive(width) for width in text.split(","))
