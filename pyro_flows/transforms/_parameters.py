"""Parameters that are learned, or learned and moved by a context."""

from __future__ import annotations

from torch import Size, Tensor, nn

__all__ = ["Parameters"]


class Parameters(nn.Module):
    """θ, or θ + net(c): a vector of shape (n,), or (*context batch, n)."""

    def __init__(self, initial: Tensor, conditioner: nn.Module | None, context_dim: int) -> None:
        super().__init__()
        if (conditioner is None) != (not context_dim):
            raise ValueError(
                f"expected a conditioner and context_dim ≥ 1, or neither; got {conditioner} and {context_dim}"
            )
        self.shared = nn.Parameter(initial)
        self.conditioner = conditioner
        self.context_shape = Size([context_dim]) if context_dim else None

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Return the parameters in x's dtype."""
        if self.conditioner is None:
            return self.shared
        if context is None:
            raise ValueError("expected a context; got none: use .condition(context)")
        moved = self.conditioner(context)
        if moved.shape[-1:] != self.shared.shape:
            raise ValueError(
                f"expected the conditioner to give {len(self.shared)} values; got shape {tuple(moved.shape)}"
            )
        return self.shared + moved.to(x.dtype)
