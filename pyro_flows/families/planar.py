"""The planar flow."""

from __future__ import annotations

from collections.abc import Sequence

from ..transforms import Chain, Planar
from .layers import chain_of

__all__ = ["planar"]


def planar(input_dim: int, *, depth: int = 16, hidden: Sequence[int] = (32,), context_dim: int = 0) -> Chain:
    """Return `depth` planar maps y = x + u tanh(w·x + b): base → data, event_dim 1.

    Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, arXiv:1505.05770.

    Args:
        input_dim: length of the data vector.
        depth: number of maps.
        hidden: widths of the nets that read the context, if there is one.
        context_dim: length of the context vector, 0 for none.

    Raises:
        ValueError: if `input_dim` or `depth` < 1.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.planar(5))
        >>> flow().log_prob(torch.randn(10, 5)).shape
        torch.Size([10])
    """
    return chain_of(Planar, 2 * input_dim + 1, input_dim, depth, hidden, context_dim)
