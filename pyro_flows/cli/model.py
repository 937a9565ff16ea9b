"""A fitted table in a file."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from .. import families, tables
from ..loop import checkpoint
from .errors import InputError

__all__ = ["FAMILIES", "Model", "family"]

FAMILIES = {"column_by_column": tables.column_by_column} | {
    name: factory
    for name in sorted(families.__all__)
    if "input_dim" in signature(factory := getattr(families, name)).parameters
}

VERSION = 2  # of the file's format


def family(name: str, options: dict[str, Any]) -> tables.Family:
    """Return what gives a flow of the named family when called with the number of columns.

    Raises:
        InputError: if the family has no such option.
    """
    factory = FAMILIES[name]
    for option in options:
        if option not in signature(factory).parameters:
            raise InputError(f"--{option}: {name} has none")
    return partial(factory, **options)


@dataclass
class Model:
    """A family by its name, its options, the table's flow itself, and how its file was read.

    Args:
        family: its name.
        options: its own.
        table: the flow.
        columns: all of the table, in the order of its file; none in files from before this was kept.
        commas: those which had decimal commas.
    """

    family: str
    options: dict[str, Any]
    table: tables.TableFlow
    columns: list[str] = field(default_factory=list)
    commas: list[str] = field(default_factory=list)

    def save(self, path: str) -> None:
        """Write the file, whole or not at all."""
        state = {**vars(self), "table": self.table.state()}
        try:
            checkpoint.save(state, path, kind="model", version=VERSION)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: str) -> Model:
        """Read a file that `save` wrote."""
        if not Path(path).is_file():
            raise InputError(f"{path}: no such file")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, of files that are none of ours
                state = checkpoint.load(path, kind="model", version=VERSION)
            name, options = state["family"], state["options"]
            if name not in FAMILIES:
                raise ValueError(f"no flow is called {name}")
            table = tables.TableFlow.of_state(state["table"], family(name, options))
            return cls(name, options, table, state.get("columns", []), state.get("commas", []))
        except RuntimeError as error:
            raise InputError(f"{path}: not a model of ours: weights of another shape") from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            text = str(error).splitlines()[0]
            raise InputError(text if path in text else f"{path}: not a model of ours: {text}") from error
