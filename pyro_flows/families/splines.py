"""Neural spline flows of vectors."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..elementwise import Elementwise, RationalQuadratic
from ..nn.mlp import Activation
from ..transforms import Chain
from .autoregressive import autoregressive_layers
from .couplings import Norm, couplings, normed

__all__ = ["nsf"]


def nsf(
    input_dim: int,
    *,
    depth: int = 5,
    hidden: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: Activation = nn.ReLU,
    elementwise: Elementwise | None = None,
    norm: Norm = None,
    autoregressive: bool = False,
) -> Chain:
    """Neural spline flow, by couplings or autoregressive: base → data, event_dim 1.

    With couplings scoring and sampling take one pass of each net, autoregressive layers score in
    one and sample in `input_dim`. The splines act within [−5, 5] and are the identity outside:
    standardise the data. One dimension needs `autoregressive`.

    Durkan, Bekasov, Murray & Papamakarios, "Neural Spline Flows", 2019, arXiv:1906.04032.

    Args:
        input_dim: length of the data vector.
        depth: number of layers.
        hidden: widths of each net's hidden layers.
        context_dim: length of the context vector, 0 for none.
        activation: the nets' nonlinearity.
        elementwise: the map; `pyro_flows.elementwise.RationalQuadratic` of 8 bins if None.
        norm: what stands next to each layer, on its data side, called with `input_dim`: None,
            `pyro_flows.transforms.BatchNorm` or `pyro_flows.transforms.ActNorm`.
        autoregressive: every element depends on those before it, instead of one half on the other.

    Raises:
        ValueError: if `input_dim` or `depth` is out of its range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.nsf(5, depth=2, elementwise=pf.elementwise.RationalQuadratic(4, 3.0)))
        >>> flow().log_prob(torch.randn(10, 5)).shape
        torch.Size([10])
    """
    spline = elementwise or RationalQuadratic()
    make = autoregressive_layers if autoregressive else couplings
    layers = make(input_dim, depth, spline, hidden, context_dim, activation)
    return normed([layer.inv for layer in layers] if autoregressive else layers, norm, input_dim)
