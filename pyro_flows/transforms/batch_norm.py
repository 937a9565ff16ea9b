"""Batch normalisation by running averages, as in Real NVP."""

from __future__ import annotations

from torch import Tensor

from ..nn.moments import RunningMoments
from ..transform import FlowTransform
from ._features import Features

__all__ = ["BatchNorm", "batch_norm"]


class BatchNorm(FlowTransform):
    r"""Scoring normalises: x = (y − μ̃) / √(σ̃² + ε), log|det dx/dy| = −½ Σ log(σ̃² + ε).

    μ̃ and σ̃² are running averages, μ̃ ← ρ μ̃ + (1 − ρ) μ̂ with the bias of the first steps
    corrected, and normalise in training too; gradients pass through the current batch's μ̂ and σ̂²
    only. There is no learnable scale or shift. Each scoring in training mode with gradients enabled
    updates the averages, from the finite rows of the batch (of all ranks under
    `torch.distributed`); with fewer than two of them, under ``torch.no_grad()``, in ``eval()`` and
    under `torch.func` they stay. Sampling uses the averages as they are, which makes it the exact
    inverse of the last scoring.

    A slow average lags behind its network: call `update_statistics` before an evaluation.

    Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803,
    section 3.7.

    Args:
        num_features: d for vectors, the number of channels for images.
        event_dim: 1 for vectors (*batch, d); 3 for images (*batch, C, H, W), with one pair of
            averages a channel.
        decay: ρ in [0, 1); 0 gives plain batch statistics. Close to 1 the gradients hardly see the
            statistics, and deep stacks can diverge.
        eps: ε, added to the variance.

    Raises:
        ValueError: if an argument is out of its range, or the input's shape is wrong.

    Example:
        >>> import torch, pyro_flows as pf
        >>> layer, y = pf.transforms.BatchNorm(3), torch.randn(100, 3) + 5
        >>> x, log_det = layer.inverse_and_log_det(y)
        >>> bool(x.mean().abs() < 1e-4), log_det.shape
        (True, torch.Size([100]))
    """

    reversible = True

    def __init__(
        self, num_features: int, *, event_dim: int = 1, decay: float = 0.9, eps: float = 1e-5
    ) -> None:
        super().__init__()
        if not eps > 0:
            raise ValueError(f"expected eps > 0; got {eps}")
        self.features, self.eps = Features(num_features, event_dim), eps
        self.domain = self.codomain = self.features.constraint
        self.domain_shape = self.codomain_shape = self.features.shape
        self.moments = RunningMoments(num_features, decay)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x · √(σ̃² + ε) + μ̃ by the current averages, and its log-det."""
        self.features.check(x)
        mean, variance = self.moments.mean, self.moments.variance + self.eps
        return x * self.features.column(variance.sqrt()) + self.features.column(mean), self.features.log_det(
            x, 0.5 * variance.log()
        )

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (y − μ̃) / √(σ̃² + ε), and its log-det; in training, update the averages first."""
        self.features.check(y)
        mean, variance = self.moments(y, self.features.event_dim)
        variance = variance + self.eps
        x = (y - self.features.column(mean)) * self.features.column(variance.rsqrt())
        return x, self.features.log_det(y, -0.5 * variance.log())

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{self.features.count}, event_dim={self.features.event_dim}, decay={self.moments.decay}"


def batch_norm(input_dim: int, *, decay: float = 0.9, eps: float = 1e-5) -> BatchNorm:
    """Return a `BatchNorm` for vectors of length `input_dim`, under the name Pyro users expect."""
    return BatchNorm(input_dim, decay=decay, eps=eps)
