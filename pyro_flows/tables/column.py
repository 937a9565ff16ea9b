"""One column of a table: what its cells can be, how probable they are, and their normal scores."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.special import ndtri

from .body import Body
from .kinds import Kind
from .normal import squeezed, widened
from .places import places, sort_of
from .values import Array, plain, restored, tidy

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Column"]


class Column:
    """A column's distribution before any flow: of listed values, and of all others in order of size.

    The real line of normal scores is cut into intervals, one for each listed value, whose probabilities under
    N(0, 1) are the values'. The values that are not listed share one more interval, the `body`'s.

    Args:
        name: the column's.
        kind: what its values are.
        values: the listed ones, in the order of their intervals; None is a missing cell.
        counts: how often each interval was met, of which the probabilities are the shares.
        place: which interval the body has.
        body: the distribution of the values that are not listed, if there are any.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        values: list[Any],
        counts: list[float],
        place: int = -1,
        body: Body | None = None,
    ) -> None:
        self.name, self.kind, self.values, self.counts = name, kind, values, counts
        self.place, self.body = place, body
        below = torch.tensor([0.0, *counts], dtype=torch.float64).cumsum(0)
        above = torch.tensor([0.0, *counts[::-1]], dtype=torch.float64).cumsum(0).flip(0)
        self.edges = torch.where(below < above, ndtri(below / below[-1]), -ndtri(above / above[0]))
        self.log_probs = torch.tensor(counts, dtype=torch.float64).log() - below[-1].log()

    @classmethod
    def of(cls, series: pd.Series, kind: Kind, weights: Array) -> Column:
        """Return the column whose probabilities the rows tell, each counting `weights` times.

        What can occur, all rows tell. Each interval has half a row beside those that fall into it, so that
        nothing which can occur is impossible.
        """
        values, missing = plain(tidy(series), kind)
        listed = [*([None] if missing.any() else []), *kind.listed]
        where = places(values, missing, listed)
        counts = np.bincount(where + 1, weights, minlength=len(listed) + 1)[1:] + 0.5
        rest = where < 0
        if not rest.any():
            return cls(str(series.name), kind, listed, counts.tolist())
        used = rest & (weights > 0)
        if len(np.unique(values[used])) < 2:
            used, weights = rest, np.ones(len(weights))
        x = values[used]
        top = sum(value is not None and value >= x.max() for value in listed)
        place = int(len(listed) - top)
        counts = np.insert(counts, place, weights[rest].sum() + 0.5)
        body = Body.of(x, weights[used], low=kind.low, high=kind.high, whole=kind.is_whole)
        return cls(str(series.name), kind, listed, counts.tolist(), place, body)

    @property
    def is_constant(self) -> bool:
        """Whether only one value is possible."""
        return len(self.counts) < 2 and self.body is None

    def encode(self, series: pd.Series) -> tuple[Tensor, Tensor, Tensor]:
        """Return the lowest and highest score of each cell, and its log-probability or log-density.

        Cells that cannot occur have a log-probability of −∞.

        Raises:
            TypeError: if the cells are texts or Booleans instead of numbers, or the like.
        """
        series = tidy(series)
        values, missing = plain(series, self.kind)
        self._check(values, missing)
        if self.body is not None and values.dtype == object:  # categories that are numbers
            values = np.where(missing, 0, values).astype(np.float64)
        where = places(values, missing, self.values, dtypes=(self.kind.dtype, str(series.dtype)))
        interval = torch.from_numpy(where + ((where >= self.place) & (self.body is not None))).clamp(min=0)
        lower, upper = self.edges[interval], self.edges[interval + 1]
        log_prob = torch.where(torch.from_numpy(where >= 0), self.log_probs[interval], -math.inf)
        rest = np.flatnonzero(where == -1)
        if self.body is not None and len(rest):
            rest = rest[self.body.accepts(values[rest])]
            at = torch.from_numpy(rest)
            a, b = self.edges[self.place : self.place + 2]
            low, high, log_density = self.body.encode(values[rest])
            lower[at], upper[at] = squeezed(low, a, b), squeezed(high, a, b)
            log_prob[at] = log_density + self.log_probs[self.place]
        return lower, upper, log_prob

    def decode(self, z: Tensor) -> pd.Series:
        """Return the cells with these scores."""
        inner, intervals = self.edges[1:-1].contiguous(), list(self.values)
        interval = torch.searchsorted(inner, z.double().contiguous()).numpy()
        if self.body is not None:
            intervals.insert(self.place, None)
        missing = np.array([value is None for value in intervals])[interval]
        texts = any(isinstance(value, str | bool) for value in intervals)
        fill = np.array(
            [(None if texts else 0) if v is None else v for v in intervals], object if texts else None
        )
        cells = fill[interval]
        if self.body is not None:
            inside = np.flatnonzero(interval == self.place)
            a, b = self.edges[self.place : self.place + 2]
            numbers = self.body.decode(widened(z.double()[torch.from_numpy(inside)], a, b))
            cells, missing[inside] = cells.astype(numbers.dtype), False
            cells[inside] = numbers
        return restored(cells, missing, self.name, self.kind)

    def explain(self) -> str:
        """Return what the column can hold, in a few words."""
        parts = []
        if self.body is not None:
            parts.append(self.body.explain(self.kind))
        total = sum(self.counts)
        shares = {
            value: count / total
            for value, count in zip(
                self.values, np.delete(self.counts, self.place) if self.body else self.counts, strict=True
            )
        }
        gap = shares.pop(None, None)
        if self.kind.is_listed:
            shown = ", ".join(str(value) for value in list(shares)[:6])
            parts.append(f"{shown}{', …' if len(shares) > 6 else ''} ({len(shares)})")
        elif shares:
            parts.append(", ".join(f"{value:g}: {share:.0%}" for value, share in list(shares.items())[:3]))
        if gap is not None:
            parts.append(f"missing: {gap:.1%}")
        return "; ".join(parts)

    def state(self) -> dict[str, Any]:
        """Return plain values to save."""
        body = None if self.body is None else self.body.state()
        same = ("name", "values", "counts", "place")
        return {name: getattr(self, name) for name in same} | {"kind": self.kind.state(), "body": body}

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> Column:
        """Return the column that `state` is of."""
        body = None if state["body"] is None else Body.of_state(state["body"])
        return cls(**{**state, "kind": Kind(**state["kind"]), "body": body})

    def _check(self, values: Array, missing: Array) -> None:
        """Raise if the cells are of other sorts than the column's; one of them is too many for numbers."""
        sorts = {sort_of(value) for value in self.values if value is not None}
        if self.body is not None:
            sorts.add("numbers")
        known = np.flatnonzero(~missing)
        if not len(known) or not sorts:
            return
        if values.dtype == object:
            strange = np.array([sort_of(value) not in sorts for value in values[known]])
        else:
            strange = np.full(len(known), "numbers" not in sorts)
        if strange.all() or (strange.any() and self.body is not None):
            row = known[strange.argmax()]
            where = "" if strange.all() else f" in row {row + 1}"
            wanted = " or ".join(sorted(sorts))
            raise TypeError(f"column {self.name}: expected {wanted}; got {sort_of(values[row])}{where}")
