"""Whole numbers made continuous."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["Dequantized"]


class Dequantized(Dataset[Tensor]):
    """Rows x + u with u ~ U[0, 1) drawn anew at each look, from torch's global generator.

    A density can grow without bound on whole numbers; on x + u its mean log-density is at most the
    log-probability of x. Noise drawn once would be learned by heart.

    Theis, van den Oord & Bethge, "A note on the evaluation of generative models", 2016,
    arXiv:1511.01844, section 3.1.

    Args:
        counts: tensor of whole numbers, of shape (rows, *event).

    Example:
        >>> import torch, pyro_flows as pf
        >>> rows = pf.datasets.Dequantized(torch.zeros(100, 3, dtype=torch.uint8))
        >>> len(rows), rows[5].shape, bool((rows[5] < 1).all())
        (100, torch.Size([3]), True)
    """

    def __init__(self, counts: Tensor) -> None:
        self.counts = counts

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: int) -> Tensor:
        row = self.counts[index].to(torch.get_default_dtype())
        return row + torch.rand_like(row)
