"""Data that have no density: rows that come twice, columns that determine one another."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...loop.warning import warn_caller
from .moments import doubles, location_and_scale
from .sources import Source, TensorSource, first_row, inner_source

__all__ = ["warn_of_no_density"]

_COPIES = 0.05  # the fraction of copied rows that is told
_COLUMNS = 256  # so many at most are compared
_ROWS = 20_000  # from which linear dependence is found
_DEPENDENT = 1e-9  # variance left of a combination of standardised columns


def warn_of_no_density(source: Source, *, rows_at_once: int) -> None:
    """Warn, once, of what lets a density grow without bound: likelihoods then say nothing about the fit."""
    if not isinstance(inner_source(source), TensorSource):
        return
    found = list(_copies(source, rows_at_once))
    first = first_row(source)
    if first.dim() == 2 and first.shape[1] <= _COLUMNS:
        (x, _), *_ = source.batches([torch.arange(len(source))[:: max(1, len(source) // _ROWS)]])
        found += _dependent(x)
    if found:
        warn_caller(
            f"the data have no density, so that the likelihood can grow without bound: {'; '.join(found)}. "
            "Leave out copies, and columns that others determine; whole numbers need pf.transforms.Dequantize"
        )


def _copies(source: Source, rows_at_once: int) -> Iterator[str]:
    marks = []
    for x, _ in source.batches(torch.arange(len(source)).split(rows_at_once)):
        rows = doubles(x.reshape(len(x), -1))
        generator = torch.Generator().manual_seed(0)
        direction = torch.rand(rows.shape[1], generator=generator, dtype=torch.float64) + 0.5
        marks.append((rows * direction.to(rows.device)).sum(1))
    copies = len(source) - len(torch.cat(marks).unique())
    if copies > _COPIES * len(source):
        yield f"{copies} of {len(source)} rows are copies of others"


def _dependent(x: Tensor) -> Iterator[str]:
    constant = (x == x[0]).all(0)
    if bool(constant.any()):
        yield f"{_columns(constant)} constant"
    varying = (~constant).nonzero()[:, 0]
    if len(varying) < 2 or len(x) <= 2 * len(varying):
        return
    loc, scale = location_and_scale(x[:, varying])
    z = (doubles(x[:, varying]) - loc) / scale
    z = (z - z.mean(0)) / z.std(0)
    values, vectors = torch.linalg.eigh(z.T @ z / len(z))
    if values[0] < _DEPENDENT:
        weights = vectors[:, values < _DEPENDENT].abs().amax(1)
        dependent = torch.zeros_like(constant)
        dependent[varying[weights > 0.05]] = True
        yield f"{_columns(dependent)} linearly dependent"


def _columns(chosen: Tensor) -> str:
    numbers = chosen.nonzero()[:, 0].tolist()
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"column {shown} is" if len(numbers) == 1 else f"columns {shown} are"
