"""The radial flow."""

from __future__ import annotations

from collections.abc import Sequence

from ..transforms import Chain, Radial
from .layers import chain_of

__all__ = ["radial"]


def radial(input_dim: int, *, depth: int = 16, hidden: Sequence[int] = (32,), context_dim: int = 0) -> Chain:
    """Return `depth` radial maps y = x + β (x − z) / (α + |x − z|): base → data, event_dim 1.

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
        >>> flow = pf.Flow(pf.radial(5))
        >>> flow().sample((10,)).shape
        torch.Size([10, 5])
    """
    return chain_of(Radial, input_dim + 2, input_dim, depth, hidden, context_dim)
