"""Activation normalisation, as in Glow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .._tracing import is_traced, may_learn
from ..nn.moments import batch_moments
from ..transform import FlowTransform
from ._features import Features

__all__ = ["ActNorm", "act_norm"]


class ActNorm(FlowTransform):
    r"""y = x · exp(s) + b with learnable s, b of one element a feature; log|det dy/dx| = Σ s.

    The first batch that is scored in training mode with gradients enabled (and has at least two
    finite rows) sets b to its mean and s to its log standard deviation, so that x starts
    standardised. The buffer `initialised` remembers that this has happened, through saving too.

    Kingma & Dhariwal, "Glow: Generative Flow with Invertible 1×1 Convolutions", 2018,
    arXiv:1807.03039, section 3.1.

    Args:
        num_features: d for vectors, the number of channels for images.
        event_dim: 1 for vectors (*batch, d), 3 for images (*batch, C, H, W).
        eps: added to the standard deviation of the first batch.

    Raises:
        ValueError: if an argument is out of its range, or the input's shape is wrong.

    Example:
        >>> import torch, pyro_flows as pf
        >>> layer, y = pf.transforms.ActNorm(3), torch.randn(100, 3) * 7
        >>> x, log_det = layer.inverse_and_log_det(y)
        >>> bool((x.std(0) - 1).abs().max() < 0.02), bool(layer.initialised)
        (True, True)
    """

    initialised: Tensor

    reversible = True

    def __init__(self, num_features: int, *, event_dim: int = 1, eps: float = 1e-6) -> None:
        super().__init__()
        if not eps > 0:
            raise ValueError(f"expected eps > 0; got {eps}")
        self.features, self.eps = Features(num_features, event_dim), eps
        self.domain = self.codomain = self.features.constraint
        self.domain_shape = self.codomain_shape = self.features.shape
        self.loc = nn.Parameter(torch.zeros(num_features))
        self.log_scale = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))
        self._known: tuple[int, int] | None = None

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x · exp(s) + b and Σ s."""
        self.features.check(x)
        y = x * self.features.column(self.log_scale.exp()) + self.features.column(self.loc)
        return y, self.features.log_det(x, self.log_scale)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (y − b) · exp(−s) and −Σ s; the first batch in training sets b and s."""
        self.features.check(y)
        loc, log_scale = self._set_by(y) if self._may_set() else (self.loc, self.log_scale)
        negative = -log_scale
        x = (y - self.features.column(loc)) * self.features.column(negative.exp())
        return x, self.features.log_det(y, negative)

    def _may_set(self) -> bool:
        if not (self.training and may_learn()):
            return False
        if is_traced() or self.initialised.is_meta or self.initialised.is_inference():
            return True
        # Reading the flag makes the host wait for the device, so it is read once for each change of it.
        value = id(self.initialised), self.initialised._version
        if self._known != value:
            self._known = value if bool(self.initialised) else None
        return self._known != value

    def _set_by(self, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            mean, variance, rows = batch_moments(y, self.features.event_dim)
            wanted = (rows >= 2) & ~self.initialised
            loc_step = torch.where(wanted, mean - self.loc, 0)
            log_scale_step = torch.where(wanted, (variance.sqrt() + self.eps).log() - self.log_scale, 0)
        loc, log_scale = self.loc + loc_step, self.log_scale + log_scale_step
        with torch.no_grad():
            self.loc.copy_(loc)
            self.log_scale.copy_(log_scale)
            self.initialised.copy_(self.initialised | wanted)
        return loc, log_scale

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_known": None}

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{self.features.count}, event_dim={self.features.event_dim}"


def act_norm(input_dim: int) -> ActNorm:
    """Return an `ActNorm` for vectors of length `input_dim`, under the name Pyro users expect."""
    return ActNorm(input_dim)
