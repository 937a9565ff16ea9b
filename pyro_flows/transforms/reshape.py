"""Another shape for the same elements."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Size, Tensor
from torch.distributions import constraints

from ..transform import FlowTransform

__all__ = ["Reshape"]


class Reshape(FlowTransform):
    """y = x in another shape; log|det dy/dx| = 0.

    Args:
        domain_shape: event shape of x, the base side.
        codomain_shape: event shape of y, the data side.

    Raises:
        ValueError: if the numbers of elements differ.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.Chain([pf.nice(64), pf.transforms.Reshape((64,), (1, 8, 8))]))
        >>> flow().sample((5,)).shape
        torch.Size([5, 1, 8, 8])
    """

    reversible = True

    def __init__(self, domain_shape: Sequence[int], codomain_shape: Sequence[int]) -> None:
        super().__init__()
        self.domain_shape, self.codomain_shape = Size(domain_shape), Size(codomain_shape)
        if self.domain_shape.numel() != self.codomain_shape.numel():
            raise ValueError(
                f"expected equally many elements; got {tuple(domain_shape)} and {tuple(codomain_shape)}"
            )
        self.domain = constraints.independent(constraints.real, len(self.domain_shape))
        self.codomain = constraints.independent(constraints.real, len(self.codomain_shape))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x in the data's shape, and 0."""
        return x.reshape(self.forward_shape(x.shape)), x.new_zeros(x.shape[: x.dim() - self.domain.event_dim])

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y in the base's shape, and 0."""
        return y.reshape(self.inverse_shape(y.shape)), y.new_zeros(
            y.shape[: y.dim() - self.codomain.event_dim]
        )
