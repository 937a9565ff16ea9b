"""Data that have no density: repeated rows, columns of few values, columns that determine one another."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...loop.warning import warn_caller
from .moments import doubles, location_and_scale
from .sources import Source, TensorSource, first_row, inner_source

__all__ = ["dependence", "warn_of_no_density"]

_COPIES = 0.05  # the fraction of copied rows, or of one value in a column, that is told
_COLUMNS = 256  # so many at most are compared
_ROWS = 20_000  # from which columns are judged
_DEPENDENT = 1e-9  # variance left of a combination of standardised columns
_PART = 0.05  # the least weight in such a combination
_FAR = 1e3  # scales; one such row would hide the relation of all others
_SORTED = 5_000  # rows from which repeated values are found
_FEW = 12  # values of a column
_MET = 20  # rows that have each of them, in the mean
_ABOVE = 10  # times as frequent as the values beside it: rounding makes all of them frequent


def warn_of_no_density(source: Source, *, rows_at_once: int) -> None:
    """Warn, once, of what lets a density grow without bound: likelihoods then say nothing about the fit."""
    if not isinstance(inner_source(source), TensorSource):
        return
    found = list(_copies(source, rows_at_once))
    first = first_row(source)
    if first.dim() == 2 and first.shape[1] <= _COLUMNS:
        (x, _), *_ = source.batches([torch.arange(len(source))[:: max(1, len(source) // _ROWS)]])
        found += [*_repeated(x), *_dependent(x)]
    if found:
        warn_caller(
            f"the data have no density, so that the likelihood can grow without bound: {'; '.join(found)}. "
            "Leave out copies, and columns that others determine; columns of few or frequent values need "
            "pf.tables.fit, and whole numbers pf.transforms.Dequantize"
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


def _repeated(x: Tensor) -> Iterator[str]:
    """Tell columns of a few values, and columns in which one value is frequent, not by rounding."""
    x = x[:: max(1, len(x) // _SORTED)]
    if len(x) < _MET:
        return
    ordered = x.T.sort(1).values
    steps = (ordered[:, 1:] != ordered[:, :-1]).sum(1)
    few = (steps > 0) & (steps < _FEW) & ((steps + 1) * _MET <= len(x))
    if bool(few.any()):
        yield f"{_columns(few)} of {_FEW} values or fewer"
    least = max(_MET, int(_COPIES * len(x)))
    often = (ordered[:, least - 1 :] == ordered[:, : len(x) - least + 1]).any(1) & (steps > 0) & ~few
    for column in often.nonzero()[:, 0].tolist():
        counts = ordered[column].unique_consecutive(return_counts=True)[1]
        most = int(counts.argmax())
        beside = torch.cat((counts[max(0, most - 3) : most], counts[most + 1 : most + 4]))
        often[column] = counts[most] >= _ABOVE * beside.median()
    if bool(often.any()):
        yield f"{_columns(often)} at one value in {_COPIES:.0%} of the rows or more"


def _dependent(x: Tensor) -> Iterator[str]:
    constant = (x == x[0]).all(0)
    if bool(constant.any()):
        yield f"{_columns(constant)} constant"
    dependent = dependence(x).any(0)
    if bool(dependent.any()):
        yield f"{_columns(dependent)} linearly dependent"


def dependence(x: Tensor) -> Tensor:
    """Tell which columns take part, together, in linear combinations that are constant.

    Args:
        x: of shape (rows, columns). Columns that are constant themselves are in no combination.

    Returns:
        A symmetric Boolean matrix of shape (columns, columns); its diagonal tells the columns of all
        combinations, and the row of one of them those of its own.
    """
    found = torch.zeros(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device)
    varying = (x != x[:1]).any(0).nonzero()[:, 0]
    x = doubles(x[:, varying])
    if len(varying) < 2:
        return found
    loc, scale = location_and_scale(x)
    z = (x - loc) / scale
    z = z[(z.abs() <= _FAR).all(1)]
    z = z - z.mean(0)
    size = z.std(0)
    if len(z) <= 2 * len(varying) or not bool((size > 0).all()):
        return found
    z = z / size
    values, vectors = torch.linalg.eigh(z.T @ z / len(z))
    still = vectors[:, values < _DEPENDENT]
    # The projection, unlike the vectors, does not mix combinations that have no column in common.
    together = (still @ still.T).abs() > _PART**2
    found[varying[:, None], varying] = together.to(found.device)
    return found


def _columns(chosen: Tensor) -> str:
    numbers = chosen.nonzero()[:, 0].tolist()
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return f"column {shown} is" if len(numbers) == 1 else f"columns {shown} are"
