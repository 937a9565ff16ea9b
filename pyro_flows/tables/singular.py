"""Tables whose real numbers have no joint density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..loop.warning import warn_caller
from .schema import Schema

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["warn_of_no_density"]

COPIES = 0.05  # the fraction of copied rows that is told


def warn_of_no_density(schema: Schema, frame: pd.DataFrame) -> None:
    """Warn, once, of real columns that are functions of one another, and of rows that come twice.

    There a density has no bound, and likelihoods say nothing of the fit. Discrete columns have
    probabilities, and nothing to fear.
    """
    import pandas as pd

    names = [c.name for c in schema.columns if c.kind.is_density and c.body is not None]
    columns = {str(name): frame.iloc[:, j] for j, name in enumerate(frame.columns)}
    real = pd.concat([columns[name].astype(float) for name in names], axis=1) if names else frame.iloc[:, :0]
    found: list[str] = []
    orders: dict[bytes, str] = {}
    for name in real:
        rank = real[name].rank(method="dense")
        # Rising and falling functions alike leave one of these as it is.
        seen = [np.nan_to_num(r).tobytes() for r in (rank, rank.max() + 1 - rank)]
        twin = next((orders[order] for order in seen if order in orders), None)
        if twin is not None:
            found.append(f"columns {twin} and {name} determine each other")
        orders[seen[0]] = name
    points = real.dropna()
    copies = int(points.duplicated().sum()) if len(names) > 1 else 0
    if copies > COPIES * len(frame):
        found.append(f"{copies} of {len(frame)} rows are copies of others in {', '.join(names[:10])}")
    if found:
        warn_caller(
            f"the table has no density, so that the likelihood can grow without bound: {'; '.join(found)}. "
            "Leave out copies and functions of other columns, or set their kinds"
        )
