"""Whole numbers as rounded continuous ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..transform import FlowTransform

__all__ = ["Dequantize"]


class Dequantize(FlowTransform):
    r"""y = ⌊v⌋ in sampling; in scoring v = y + u with a new draw u ~ q(u|y), and log-det −log q(u|y).

    As the last part of a flow, next to the data, it makes the flow a distribution of whole numbers
    0 … L − 1: samples are whole, and log_prob is an unbiased draw of a lower bound,
    log P(y) ≥ E_q[log p(y + u) − log q(u|y)]. With one fixed u for each y, a flow would overfit it.

    It is the one transform that is not a bijection: nothing is remembered of a sample when it is
    scored, no gradient passes through sampling, and the log-det of sampling, 0, says nothing of P(y).

    Theis, van den Oord & Bethge 2016, arXiv:1511.01844 (uniform noise); Ho, Chen, Srinivas, Duan &
    Abbeel, "Flow++", 2019, arXiv:1902.00275 (variational); Nielsen et al., "SurVAE Flows", 2020,
    arXiv:2007.02731 (rounding as a layer).

    Args:
        noise: q: a `Flow` over (0, 1)^event that takes an image of shape (*batch, *event), scaled to
            (−1, 1), as its context; uniform noise if None. A flow of couplings and
            `LogitPixels(0.0, levels=1)` with a logistic base starts out as uniform noise.
        levels: L, how many values a pixel can have.
        event_dim: dimensions of an event; 3 for images, 1 for vectors.

    Raises:
        ValueError: if `levels` is below 2, or `noise` takes no context.

    Example:
        >>> import torch, pyro_flows as pf
        >>> to_levels = [pf.transforms.LogitPixels(event_dim=1), pf.transforms.Dequantize(event_dim=1)]
        >>> flow = pf.Flow([pf.nice(6), *to_levels])
        >>> y = flow().sample((5,))
        >>> bool((y == y.round()).all()), flow().log_prob(y).shape
        (True, torch.Size([5]))
    """

    bijective = False
    like: Tensor

    def __init__(self, noise: nn.Module | None = None, *, levels: int = 256, event_dim: int = 3) -> None:
        super().__init__()
        if not levels >= 2:
            raise ValueError(f"expected levels ≥ 2; got {levels}")
        if noise is not None and getattr(getattr(noise, "transform", None), "context_shape", None) is None:
            raise ValueError("expected noise that takes an image as its context; got noise that takes none")
        self.noise, self.levels, self._event_dim = noise, levels, event_dim
        self.domain = constraints.independent(constraints.real, event_dim)
        self.codomain = constraints.independent(constraints.integer_interval(0, levels - 1), event_dim)
        self.register_buffer("like", torch.empty(0), persistent=False)  # its dtype serves for images of bytes

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x rounded down, within the levels, and 0."""
        return x.floor().clamp(0, self.levels - 1), x.new_zeros(x.shape[: x.dim() - self._event_dim])

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y + u and −log q(u|y)."""
        y = y if y.is_floating_point() else y.to(self.like.dtype)
        if self.noise is None:
            return y + torch.rand_like(y), y.new_zeros(y.shape[: y.dim() - self._event_dim])
        u, log_q = self.noise((2 * y + 1) / self.levels - 1).rsample_and_log_prob()
        return y + u, -log_q

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"levels={self.levels}, event_dim={self._event_dim}"
