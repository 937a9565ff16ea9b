"""Parameters that are learned, or learned with an offset that depends on a context."""

from __future__ import annotations

from torch import Tensor, nn

from ._conditioner import paired, read

__all__ = ["Parameters"]


class Parameters(nn.Module):
    """θ, or θ + net(c): a vector of shape (n,), or (*context batch, n)."""

    def __init__(self, initial: Tensor, conditioner: nn.Module | None, context_dim: int) -> None:
        super().__init__()
        self.shared = nn.Parameter(initial)
        self.conditioner = conditioner
        self.context_shape = paired(conditioner, context_dim)

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the parameters in x's dtype."""
        if self.conditioner is None:
            return self.shared
        batch_dim = 0 if context is None else context.dim() - 1
        return self.shared + read(
            self.conditioner, context, shape=self.shared.shape, batch_dim=batch_dim, like=x
        )
