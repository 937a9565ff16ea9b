"""The columns of a table, and its rows as tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .column import Column
from .features import feature_count, features
from .frame import Label, check_frame, named_kinds, names_of, plain_label
from .kinds import Kind
from .values import Array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Schema"]

BOUND = 35.0  # stands for an infinite score: Φ(−35) is below the smallest number in double precision


class Schema:
    """The columns of a table with the distribution of each, before any flow; what a flow's rows mean.

    Args:
        columns: the columns in their order.
        labels: what the data frame calls them, if not by their names: numbers, say, or tuples.

    Example:
        >>> import pandas as pd, pyro_flows as pf
        >>> frame = pd.DataFrame({"height": [1.6, 1.7, 1.9, None], "plays": [True, False, True, True]})
        >>> schema = pf.tables.Schema.of(frame)
        >>> schema.encode(frame).shape, schema.names
        (torch.Size([4, 3, 2]), ['height', 'plays'])
    """

    def __init__(self, columns: Sequence[Column], labels: Sequence[Label] | None = None) -> None:
        self.columns = list(columns)
        self.names = [column.name for column in columns]
        self.labels = self.names if labels is None else list(labels)
        self.varying = [j for j, column in enumerate(columns) if not column.is_constant]

    @classmethod
    def of(
        cls, frame: pd.DataFrame, kinds: Mapping[Label, str] | None = None, *, weights: Array | None = None
    ) -> Schema:
        """Return the schema of a data frame.

        Args:
            frame: the table.
            kinds: the kinds (see `Kind`) of columns for which they are not to be inferred.
            weights: how often each row counts, of shape (rows,); 0 for rows that tell only what can occur.

        Raises:
            TypeError, ValueError: if it is no data frame, there is nothing to learn from, two columns have
                one name, or a column cannot be modelled, or not as the kind that is given.
        """
        check_frame(frame)
        kinds = named_kinds(kinds)
        names = names_of(frame)
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"expected columns of different names; got {', '.join(sorted(twice))} twice")
        unknown = sorted(set(kinds) - set(names))
        if unknown:
            raise ValueError(f"expected kinds of columns {', '.join(names[:20])}; got {', '.join(unknown)}")
        if not len(frame) or not names:
            raise ValueError(f"expected a table with rows and columns; got {len(frame)} × {len(names)}")
        counted = np.ones(len(frame)) if weights is None else np.asarray(weights, dtype=np.float64)
        if counted.shape != (len(frame),) or not (counted >= 0).all() or not 0 < counted.sum() < np.inf:
            raise ValueError(f"expected a weight ≥ 0 for each of {len(frame)} rows, some of them above 0")
        columns = []
        for j, name in enumerate(names):
            series = frame.iloc[:, j].rename(name)
            columns.append(Column.of(series, Kind.of(series, kinds.get(name)), counted))
        return cls(columns, [plain_label(label) for label in frame.columns])

    @property
    def dim(self) -> int:
        """How many columns vary: the length of the vectors that a flow has to model."""
        return len(self.varying)

    def encode(self, frame: pd.DataFrame) -> Tensor:
        """Return rows for a flow that ends in `Cells`, of shape (rows, 3, dim), in double precision.

        A row with a cell that cannot occur (a category never seen, a gap in a column that has none, a number
        out of bounds) has a log-probability of −∞ somewhere.

        Raises:
            TypeError, ValueError: if a column is missing, or holds texts instead of numbers.
        """
        rows, impossible = self._encode(frame)
        if len(rows):
            rows[:, 2, 0] += torch.where(impossible.any(1), -torch.inf, 0.0)
        return rows

    @property
    def feature_count(self) -> int:
        """How many numbers `features` gives a row."""
        return sum(map(feature_count, self.columns))

    def features(self, frame: pd.DataFrame) -> Tensor:
        """Return rows as the context of a conditional flow, of shape (rows, feature_count).

        Categories are one-hot, other cells their scores; see `fit`.

        Raises:
            TypeError, ValueError: if a column is missing, or a cell cannot occur.
        """
        return torch.cat([features(column, series) for column, series in self._columns_of(frame)], -1)

    def impossible(self, frame: pd.DataFrame) -> dict[str, int]:
        """Return how many cells of each column cannot occur, for those that have some."""
        counts = self._encode(frame)[1].sum(0).tolist()
        return {name: count for name, count in zip(self.names, counts, strict=True) if count}

    def _columns_of(self, frame: pd.DataFrame) -> Iterator[tuple[Column, pd.Series]]:
        check_frame(frame)
        names = names_of(frame)
        given, counts = {name: j for j, name in enumerate(names)}, Counter(names)
        absent = [name for name in self.names if name not in given]
        if absent:
            raise ValueError(
                f"expected columns {', '.join(self.names[:20])}; got none named {', '.join(absent)}"
            )
        twice = [name for name in self.names if counts[name] > 1]
        if twice:
            raise ValueError(f"expected one column of each name; got several named {', '.join(twice)}")
        for column in self.columns:
            yield column, frame.iloc[:, given[column.name]].rename(column.name)

    def _encode(self, frame: pd.DataFrame) -> tuple[Tensor, Tensor]:
        cells = [column.encode(series) for column, series in self._columns_of(frame)]
        impossible = torch.stack([log_f.isneginf() for *_, log_f in cells], -1)
        if not self.varying:
            return torch.zeros(len(frame), 3, 0, dtype=torch.float64), impossible
        lower, upper, log_f = (
            torch.stack(part, -1) for part in zip(*(cells[j] for j in self.varying), strict=True)
        )
        rows = torch.stack((lower.clamp(-BOUND, BOUND), upper.clamp(-BOUND, BOUND), log_f), 1)
        return rows, impossible

    def select(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the table's columns of a data frame, in their order.

        Raises:
            ValueError: if one is missing.
        """
        import pandas as pd

        columns = pd.concat([series for _, series in self._columns_of(frame)], axis=1)
        return columns.set_axis(pd.Index(self.labels), axis=1)

    def decode(self, rows: Tensor) -> pd.DataFrame:
        """Return the data frame of rows (…, 3, dim) that a flow drew, or of their scores (…, dim)."""
        import pandas as pd

        scores = (rows[..., 0, :] if rows.shape[-2:] == (3, self.dim) and rows.dim() > 2 else rows).reshape(
            -1, self.dim
        )
        place = {j: k for k, j in enumerate(self.varying)}
        constant = torch.zeros(len(scores))
        parts = [
            column.decode(scores[:, place[j]] if j in place else constant)
            for j, column in enumerate(self.columns)
        ]
        return pd.concat(parts, axis=1).set_axis(pd.Index(self.labels), axis=1)

    def state(self) -> dict[str, Any]:
        """Return plain values to save, for `torch.load(weights_only=True)`."""
        return {"columns": [column.state() for column in self.columns], "labels": self.labels}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Schema:
        """Return the schema that `state` is of."""
        return cls([Column.of_state(column) for column in state["columns"]], state["labels"])

    def __str__(self) -> str:
        width = max((len(name) for name in self.names), default=0)
        return "\n".join(f"{c.name:<{width}}  {c.kind.name:<11}  {c.explain()}" for c in self.columns)
