"""Location and scale of elements, which a few absurd cells cannot move."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["WIDE", "doubles", "location_and_scale", "needs_double"]

WIDE = (torch.float64, torch.int64, torch.int32)  # hold digits that single precision does not
_SEEN = 20_000  # rows that medians are taken over
_FAR, _ABSURD = 30.0, 1000.0  # typical distances from the median
_FEW, _SHARE = 10, 0.003  # so many cells between these two are no accident


def doubles(values: Tensor) -> Tensor:
    """Return values in double precision, on the CPU if their device has none."""
    return (values.cpu() if values.device.type == "mps" else values).double()


def location_and_scale(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each element, over the cells that are not far off.

    A cell is far off if it lies more than 30 typical distances from the median, where the typical distance is
    the median one of the cells that differ from the median: about 20 standard deviations of a normal, more of
    heavier tails. If 0.3 % of the cells, and ten or more, lie between 30 and 1,000 of them, these count: they
    are a level of the element that is rarer than another, and not errors. Of an element that never varies,
    the scale is 1. NaNs do not count.

    Args:
        rows: of shape (rows, *event).

    Returns:
        Two double tensors of shape event.
    """
    event = rows.shape[1:]
    rows = doubles(rows.reshape(len(rows), -1))
    seen = rows
    if len(rows) > _SEEN:
        generator = torch.Generator().manual_seed(0)
        seen = rows[torch.randperm(len(rows), generator=generator)[:_SEEN].to(rows.device)]
    center = seen.nanmedian(0).values
    distances = (seen - center).abs()
    typical = torch.where(distances > 0, distances, torch.nan).nanmedian(0).values
    center = center.nan_to_num()
    offsets = rows - center
    distances = offsets.abs() / typical.nan_to_num(torch.inf)
    beyond = ((distances > _FAR) & (distances <= _ABSURD)).sum(0)
    near = distances <= torch.where(beyond >= max(_FEW, _SHARE * len(rows)), _ABSURD, _FAR)
    count = near.sum(0).clamp(min=1)
    unit = typical.nan_to_num(1.0).log2().round().exp2()  # whose squares are neither infinite nor 0
    offsets = torch.where(near, offsets / unit, 0)
    mean = offsets.sum(0) / count
    variance = torch.where(near, offsets - mean, 0).square().sum(0) / count
    scale = torch.where(variance > 0, variance.sqrt() * unit, 1)
    return (center + mean * unit).reshape(event), scale.reshape(event)


def needs_double(rows: Tensor) -> bool:
    """Whether single precision would round elements at more than a ten thousandth of their scale."""
    if rows.dtype not in WIDE or rows.dim() < 1 or len(rows) == 0:
        return False
    loc, scale = location_and_scale(rows[:: max(1, len(rows) // _SEEN)])
    return bool((loc.abs() * torch.finfo(torch.float32).eps > 1e-4 * scale).any())
