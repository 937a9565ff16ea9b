"""Tables whose real numbers have no joint density."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..loop.warning import warn_caller
from ..training.data.singular import dependence
from .column import Column
from .frame import names_of
from .kinds import Kind
from .schema import Schema
from .values import plain, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["warn_of_no_density"]

COPIES = 0.05  # the fraction of copied rows that is told
COLUMNS = 256  # so many numbers at most are compared
ROWS = 20_000  # from which relations are found


def warn_of_no_density(schema: Schema, frame: pd.DataFrame, context: Schema | None = None) -> None:
    """Warn, once, of real columns that other numbers determine, and of rows that come twice.

    There a density has no bound, and likelihoods say nothing of the fit. Discrete columns that determine one
    another have probabilities, and nothing to fear; nor have columns of the context.
    """
    import pandas as pd

    series = {name: frame.iloc[:, j] for j, name in enumerate(names_of(frame))}
    columns = [*schema.columns, *(context.columns if context else [])]
    cells = [_counted(series[c.name], c.kind).rename(c.name) for c in columns if _is_number(c)]
    real = [c.name for c in schema.columns if c.body is not None and c.kind.is_density]
    numbers = pd.concat(cells, axis=1) if cells else frame.iloc[:, :0]
    found: list[str] = []
    orders: dict[bytes, str] = {}
    for name in numbers:
        rank = numbers[name].rank(method="dense")
        # Rising and falling functions alike leave one of these as it is.
        seen = [np.nan_to_num(r).tobytes() for r in (rank, rank.max() + 1 - rank)]
        twin = next((orders[order] for order in seen if order in orders), None)
        if twin is not None and (name in real or twin in real):
            found.append(f"columns {twin} and {name} determine each other")
            numbers = numbers.drop(columns=name)
        orders[seen[0]] = name
    found += _dependent(numbers, real)
    points = numbers[[name for name in real if name in numbers]].dropna()
    copies = int(points.duplicated().sum()) if len(real) > 1 else 0
    if copies > COPIES * len(frame):
        found.append(f"{copies} of {len(frame)} rows are copies of others in {', '.join(real[:10])}")
    if found:
        warn_caller(
            f"the table has no density, so that the likelihood can grow without bound: {'; '.join(found)}. "
            "Leave out copies and functions of other columns, or set their kinds"
        )


def _is_number(column: Column) -> bool:
    return column.body is not None or (column.kind.name == "ordinal" and not column.is_constant)


def _dependent(numbers: pd.DataFrame, real: list[str]) -> Iterator[str]:
    """Tell groups of columns, some of them real, of which a sum or a product is constant."""
    points = numbers.dropna()
    points = points.iloc[:: max(1, len(points) // ROWS)]
    if points.shape[1] > COLUMNS:
        return
    positive = points.loc[:, (points > 0).all()]
    told: set[str] = set()
    for x, how in ((points, "linearly dependent"), (np.log(positive), "dependent by a product")):
        names = list(x.columns)
        together = dependence(torch.tensor(x.to_numpy(np.float64)))
        for j in together.any(0).nonzero()[:, 0].tolist():
            group = [names[k] for k in together[j].nonzero()[:, 0].tolist()]
            if names[j] in real and not told.issuperset(group):
                told.update(group)
                yield f"columns {', '.join(group[:10])} are {how}"


def _counted(series: pd.Series, kind: Kind) -> pd.Series:
    """Return a column's numbers, or the counts of its dates."""
    import pandas as pd

    values, missing = plain(tidy(series), kind)
    return pd.Series(values).mask(missing)
