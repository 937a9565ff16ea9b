"""The mean loss of rows that are not trained on."""

from __future__ import annotations

import torch

from ..flow import Flow
from .data import Source, rows_at_once
from .likelihood import Loss, row_losses
from .process import Process

__all__ = ["mean_loss"]


@torch.no_grad()
def mean_loss(flow: Flow, loss: Loss, rows: Source, process: Process) -> float:
    """Return Σ w l / Σ w over all rows, which the processes share; the device is read once."""
    mine = torch.arange(process.rank, len(rows), process.world)
    order = mine.split(rows_at_once(flow.transform))
    total, weights = process.zero(), rows.weights
    for index, (x, context) in zip(order, rows.batches(order), strict=True):
        losses = row_losses(loss, flow, x, context).to(total.dtype)
        if weights is not None:
            losses = losses * weights[index.to(weights.device)].to(losses)
        total += losses.sum()
    size = len(rows) if weights is None else float(weights.to(total).sum())
    return float(process.mean(total)) * process.world / size
