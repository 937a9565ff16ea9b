"""Values and scores of many draws: counting, picking, joining and comparing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .joint import DETERMINISTIC

__all__ = ["Values", "close", "count_of", "even_parts", "filled", "in_parts", "one_of", "stacked"]

Values = Mapping[str, Tensor]  # of shape (draws, *site)


def count_of(values: Values) -> int:
    """Return the number of draws."""
    return len(next(iter(values.values())))


def one_of(values: Values, i: int) -> dict[str, Tensor]:
    """Return the draw of index i."""
    return {name: value[i] for name, value in values.items()}


def even_parts(rows: Tensor, most: int) -> tuple[Tensor, ...]:
    """Return rows in parts of about one size, of no more than `most` each.

    Of a few rows at the end the model might raise at most, which is an error.
    """
    return rows.tensor_split(max(1, -(-len(rows) // most)))


def in_parts(values: Values, most: int) -> list[dict[str, Tensor]]:
    """Return the draws in parts of about one size, of no more than `most` each."""
    parts = zip(*(even_parts(value, most) for value in values.values()), strict=True)
    return [dict(zip(values, part, strict=True)) for part in parts]


def stacked(parts: list[Any]) -> Any:
    """Join the scores of single draws."""
    if isinstance(parts[0], Tensor):
        return torch.stack(parts)
    return {key: torch.stack([part[key] for part in parts]) for key in parts[0]}


def filled(parts: list[Any]) -> Any:
    """Join the scores of batches; a number stands for so many draws at which the model raised."""
    good = next(part for part in parts if not isinstance(part, int))
    if isinstance(good, Tensor):
        return torch.cat(
            [good.new_full((part,), -torch.inf) if isinstance(part, int) else part for part in parts]
        )
    found = {}
    for key, like in good.items():
        fill = torch.nan if key[0] == DETERMINISTIC else -torch.inf
        blanks = [
            like.new_full((part, *like.shape[1:]), fill) if isinstance(part, int) else part[key]
            for part in parts
        ]
        found[key] = torch.cat(blanks)
    return found


def close(a: Tensor, b: Tensor) -> bool:
    """Whether two runs agree up to rounding; what is not finite is the same."""
    if not a.is_floating_point():
        return a.equal(b)
    tolerance = (1e-3 if a.dtype == torch.float32 else 1e-6) * (1 + b.abs())
    return bool((((a - b).abs() <= tolerance) | ~(a.isfinite() | b.isfinite())).all())
