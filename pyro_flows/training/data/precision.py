"""Which precision data are kept in, and whether it can hold them."""

from __future__ import annotations

import torch
from torch import Tensor

from .moments import needs_double

__all__ = ["dtype_for"]

_DIGITS = 1e4  # how many of the smallest normal number the largest of an element has to be


def dtype_for(rows: Tensor, dtype: torch.dtype, name: str, *, exact: bool, step: int = 1) -> torch.dtype:
    """Return the dtype that rows are to have for a flow of another one.

    Args:
        rows: rows of data or context, or some of them.
        dtype: the flow's.
        name: what the rows are called in errors.
        exact: whether rows that need double precision keep it, for units to be subtracted first.
        step: of the rows among all.

    Raises:
        ValueError: if the flow's dtype cannot hold such numbers.
    """
    _check_range(rows, dtype, name, step)
    return torch.float64 if exact and needs_double(rows) else dtype


def _check_range(rows: Tensor, dtype: torch.dtype, name: str, step: int) -> None:
    """Raise if finite numbers would become infinite in `dtype`, or all of an element's lose their digits."""
    if not rows.is_floating_point() or torch.finfo(rows.dtype).max <= torch.finfo(dtype).max or not len(rows):
        return
    info = torch.finfo(dtype)
    sizes = rows.reshape(len(rows), -1).abs()
    sizes = torch.where(sizes.isfinite(), sizes, 0)
    largest, row = sizes.max(0)
    small = (largest > 0) & (largest < _DIGITS * info.smallest_normal)
    bad = ((largest > info.max) | small).nonzero()[:, 0]
    if len(bad):
        column = int(bad[0])
        where = f"row {step * int(row[column])}" + (f", column {column}" if rows.dim() == 2 else "")
        what = "as an element's largest" if bool(small[column]) else "as the largest"
        raise ValueError(
            f"expected {name} of sizes that the flow's {str(dtype).removeprefix('torch.')} can hold, "
            f"{_DIGITS * info.smallest_normal:.0e} to {info.max:.0e}; got {float(largest[column]):.3g} "
            f"{what}, in {where}: give other units, or fit flow.double()"
        )
