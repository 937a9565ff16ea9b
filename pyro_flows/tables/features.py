"""A table's cells as inputs of a network: the context of a conditional flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.special import ndtri

from .column import Column
from .normal import ndtr

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["feature_count", "features"]

ONE_HOT = 20  # categories at most


def feature_count(column: Column) -> int:
    """Return how many inputs a column gives."""
    return len(column.values) if _is_one_hot(column) else 1 + (column.values[:1] == [None])


def features(column: Column, series: pd.Series) -> Tensor:
    """Return a column's cells as numbers of about the size of one, of shape (rows, feature_count).

    Up to twenty categories are one-hot. Else it is the middle of a cell's scores, and whether it is missing.

    Raises:
        TypeError: if the cells are texts instead of numbers, or the like.
        ValueError: if a cell cannot occur.
    """
    lower, upper, log_prob = column.encode(series)
    impossible = torch.nonzero(log_prob.isneginf())
    if len(impossible):
        row = int(impossible[0])
        raise ValueError(
            f"column {column.name}: row {row + 1} holds {series.iloc[row]!r}, which cannot occur"
        )
    if _is_one_hot(column):
        places = torch.searchsorted(column.edges, lower)
        return (places[:, None] == torch.arange(len(column.values))).double()
    flip = lower + upper > 0  # in the lower half probabilities are small numbers, and exact ones
    a, b = torch.where(flip, -upper, lower), torch.where(flip, -lower, upper)
    middle = torch.where(lower < upper, ndtri((ndtr(a) + ndtr(b)) / 2), a)
    middle = torch.where(flip, -middle, middle).clamp(-5, 5)
    if column.values[:1] != [None]:
        return middle[:, None]
    gap = upper <= column.edges[1]
    return torch.stack((torch.where(gap, 0.0, middle), gap.double()), -1)


def _is_one_hot(column: Column) -> bool:
    return column.kind.name in ("categorical", "boolean") and len(column.values) <= ONE_HOT
