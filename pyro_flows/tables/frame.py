"""Data frames, and what they call their columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Label", "check_frame", "name_of", "named_kinds", "names_of", "plain_label"]

Label = Any  # a text, a number, or a tuple of such, of columns that have several levels


def check_frame(frame: Any) -> None:
    """Raise a TypeError unless it is a data frame of pandas."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        kind = type(frame)
        package = "" if kind.__module__ == "builtins" else kind.__module__.split(".")[0] + "."
        raise TypeError(f"expected a table as a pandas.DataFrame; got {package}{kind.__name__}")


def plain_label(label: Label) -> Label:
    """Return a column's label as it can be saved: numbers as they are, tuples part by part, else its text."""
    if isinstance(label, tuple):
        return tuple(map(plain_label, label))
    if isinstance(label, np.generic):
        label = label.item()
    return label if isinstance(label, int | float) else str(label)


def name_of(label: Label) -> str:
    """Return the text that a column is known by."""
    return str(plain_label(label))


def names_of(frame: pd.DataFrame) -> list[str]:
    """Return the names of all columns."""
    return [name_of(label) for label in frame.columns]


def named_kinds(kinds: Mapping[Label, str] | None) -> dict[str, str]:
    """Return kinds by their columns' names.

    Raises:
        TypeError: if they are no mapping.
    """
    if kinds is not None and not isinstance(kinds, Mapping):
        raise TypeError(f'expected kinds as a mapping, such as {{"zip": "categorical"}}; got {kinds!r}')
    return {name_of(label): kind for label, kind in (kinds or {}).items()}
