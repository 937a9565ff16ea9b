"""A chain of like layers whose parameters, with a context, come from a net."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from ..nn import MLP
from ..transform import FlowTransform
from ..transforms import Chain

__all__ = ["chain_of"]


def chain_of(
    layer: Callable[..., FlowTransform],
    outputs: int,
    input_dim: int,
    depth: int,
    hidden: Sequence[int],
    context_dim: int,
) -> Chain:
    """Return `depth` layers; a net of its own reads the context for each, if there is one."""
    if depth < 1:
        raise ValueError(f"expected depth ≥ 1; got {depth}")

    def conditioner() -> nn.Module | None:
        return MLP(context_dim, outputs, hidden, activation=nn.Tanh) if context_dim else None

    return Chain(layer(input_dim, conditioner(), context_dim=context_dim) for _ in range(depth))
