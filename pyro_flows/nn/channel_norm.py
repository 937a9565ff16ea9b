"""Batch norm inside a net of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .moments import RunningMoments, batch_moments, is_distributed

__all__ = ["ChannelNorm"]


class ChannelNorm(nn.Module):
    r"""h ↦ γ (h − μ) / √(σ² + ε) + β for each channel: the batch's μ, σ² in training, running ones else.

    Unlike `pyro_flows.transforms.BatchNorm`, which is a layer of a flow and must be inverted, it
    normalises by the batch itself, as networks do, in one fused operation. The statistics are those
    of all ranks under `torch.distributed`, and `update_statistics` sets them like any other. A
    batch that holds a NaN or an infinity leaves the averages as they are.

    Ioffe & Szegedy, "Batch Normalization", 2015, arXiv:1502.03167.

    Args:
        channels: number of channels.
        decay: of the running averages, in [0, 1).
        eps: ε, added to the variance.

    Example:
        >>> import torch, pyro_flows as pf
        >>> norm = pf.nn.ChannelNorm(3)
        >>> norm(torch.randn(5, 3, 4, 4)).shape, bool(norm.moments.weight > 0)
        (torch.Size([5, 3, 4, 4]), True)
    """

    def __init__(self, channels: int, *, decay: float = 0.9, eps: float = 1e-5) -> None:
        super().__init__()
        self.moments, self.eps = RunningMoments(channels, decay), eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, h: Tensor) -> Tensor:
        """Return the normalised images, (N, C, H, W)."""
        if self.moments.moves() and is_distributed():
            return self._normalised_over_ranks(h)
        if not self.moments.moves() or len(h) < 2:
            mean, variance = self.moments(h, 3)
            return functional.batch_norm(h, mean, variance, self.weight, self.bias, eps=self.eps)
        # With momentum 1 these two become the batch's moments.
        mean, variance = torch.zeros_like(self.moments.mean), torch.zeros_like(self.moments.variance)
        result = functional.batch_norm(h, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        count = h.numel() // h.shape[1]
        with torch.no_grad():
            finite = (mean + variance).isfinite().all()
            self.moments.update(mean, variance * ((count - 1) / count), finite * len(h))
        return result

    def _normalised_over_ranks(self, h: Tensor) -> Tensor:
        mean, variance, rows = batch_moments(h, 3)
        self.moments.update(mean.detach(), variance.detach(), rows)
        factor = self.weight * (variance + self.eps).rsqrt()
        return h * factor[:, None, None] + (self.bias - mean * factor)[:, None, None]

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{len(self.weight)}, decay={self.moments.decay}"
