"""Tables whose real numbers have no joint density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..loop.warning import warn_caller
from .kinds import Kind
from .schema import Schema
from .values import plain, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["warn_of_no_density"]

COPIES = 0.05  # the fraction of copied rows that is told


def warn_of_no_density(schema: Schema, frame: pd.DataFrame) -> None:
    """Warn, once, of real columns that other numbers determine, and of rows that come twice.

    There a density has no bound, and likelihoods say nothing of the fit. Discrete columns that determine one
    another have probabilities, and nothing to fear.
    """
    import pandas as pd

    numbers = {c.name: c.kind for c in schema.columns if c.body is not None}
    columns = {str(name): frame.iloc[:, j] for j, name in enumerate(frame.columns)}
    found: list[str] = []
    orders: dict[bytes, str] = {}
    for name, kind in numbers.items():
        rank = _counted(columns[name], kind).rank(method="dense")
        # Rising and falling functions alike leave one of these as it is.
        seen = [np.nan_to_num(r).tobytes() for r in (rank, rank.max() + 1 - rank)]
        twin = next((orders[order] for order in seen if order in orders), None)
        if twin is not None and (kind.is_density or numbers[twin].is_density):
            found.append(f"columns {twin} and {name} determine each other")
        orders[seen[0]] = name
    names = [name for name, kind in numbers.items() if kind.is_density]
    real = (
        pd.concat([_counted(columns[name], numbers[name]) for name in names], axis=1)
        if names
        else frame.iloc[:, :0]
    )
    points = real.dropna()
    copies = int(points.duplicated().sum()) if len(names) > 1 else 0
    if copies > COPIES * len(frame):
        found.append(f"{copies} of {len(frame)} rows are copies of others in {', '.join(names[:10])}")
    if found:
        warn_caller(
            f"the table has no density, so that the likelihood can grow without bound: {'; '.join(found)}. "
            "Leave out copies and functions of other columns, or set their kinds"
        )


def _counted(series: pd.Series, kind: Kind) -> pd.Series:
    """Return a column's numbers, or the counts of its dates."""
    import pandas as pd

    values, missing = plain(tidy(series), kind)
    return pd.Series(values).mask(missing)
