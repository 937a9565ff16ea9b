"""Autoregressive flows of vectors: masked, inverse, and by splines."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ..elementwise import Affine, Elementwise, Mixture
from ..nn import MLP, MaskedNet
from ..nn.mlp import Activation
from ..transform import FlowTransform
from ..transforms import Autoregressive, Chain, Monotone
from .couplings import Norm, normed

__all__ = ["iaf", "maf", "naf"]


def autoregressive_layers(
    input_dim: int,
    depth: int,
    elementwise: Elementwise,
    hidden: Sequence[int],
    context_dim: int,
    activation: Activation,
    passes: int | None = None,
) -> list[FlowTransform]:
    """Return layers whose forward takes one pass, in the order of the elements and its reverse in turn."""
    if input_dim < 1 or depth < 1:
        raise ValueError(f"expected input_dim ≥ 1 and depth ≥ 1; got {input_dim} and {depth}")
    passes = input_dim if passes is None else passes
    if not 1 <= passes <= input_dim:
        raise ValueError(f"expected passes within 1 … {input_dim}; got {passes}")
    layers: list[FlowTransform] = []
    for i in range(depth):
        layer: FlowTransform
        if passes > 1:
            ranks = [j * passes // input_dim for j in range(input_dim)]
            net = MaskedNet(
                ranks[:: -1 if i % 2 else 1],
                elementwise.num_params,
                hidden,
                context_dim=context_dim,
                activation=activation,
            )
            layer = Autoregressive(elementwise, net)
        else:  # there is nothing to depend on but the context
            outputs = elementwise.num_params * input_dim
            reader = MLP(context_dim, outputs, hidden, activation=activation) if context_dim else None
            layer = Monotone(elementwise, (input_dim,), reader, context_dim=context_dim)
        layers.append(layer)
    return layers


def maf(
    input_dim: int,
    *,
    depth: int = 5,
    hidden: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: Activation = nn.ReLU,
    elementwise: Elementwise | None = None,
    norm: Norm = None,
    passes: int | None = None,
) -> Chain:
    """Masked autoregressive flow, x_i = g(y_i; θ_i(y_1 … y_{i−1})): base → data, scores fast, event_dim 1.

    Scoring takes one pass of each net, sampling `passes`. Every other layer runs through the
    elements in reverse. One dimension will do: its parameters are free, or the context's.

    Papamakarios, Pavlakou & Murray, "Masked Autoregressive Flow for Density Estimation", 2017,
    arXiv:1705.07057.

    Args:
        input_dim: length of the data vector.
        depth: number of layers.
        hidden: widths of each net's hidden layers.
        context_dim: length of the context vector, 0 for none.
        activation: the nets' nonlinearity.
        elementwise: the map g; `pyro_flows.elementwise.Affine` if None.
        norm: what stands next to each layer, on its data side, called with `input_dim`: None,
            `pyro_flows.transforms.BatchNorm` or `pyro_flows.transforms.ActNorm`.
        passes: how many groups of consecutive elements depend on each other, and passes sampling
            takes: `input_dim` if None, 2 for a coupling.

    Raises:
        ValueError: if `input_dim`, `depth` or `passes` is out of its range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.maf(5, depth=2))
        >>> flow().log_prob(torch.randn(10, 5)).shape, flow().sample((10,)).shape
        (torch.Size([10]), torch.Size([10, 5]))
    """
    g = elementwise or Affine()
    layers = autoregressive_layers(input_dim, depth, g, hidden, context_dim, activation, passes)
    return normed([layer.inv for layer in layers], norm, input_dim)


def iaf(
    input_dim: int,
    *,
    depth: int = 5,
    hidden: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: Activation = nn.ReLU,
    elementwise: Elementwise | None = None,
    norm: Norm = None,
    passes: int | None = None,
) -> Chain:
    """Inverse autoregressive flow, y_i = g(x_i; θ_i(x_1 … x_{i−1})): base → data, samples fast, event_dim 1.

    Sampling takes one pass of each net, and so does scoring the fresh sample, as guides do; scoring
    other values takes `passes`.

    Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016,
    arXiv:1606.04934.

    Args:
        input_dim: length of the data vector.
        depth: number of layers.
        hidden: widths of each net's hidden layers.
        context_dim: length of the context vector, 0 for none.
        activation: the nets' nonlinearity.
        elementwise: the map g; `pyro_flows.elementwise.Affine` if None.
        norm: what stands next to each layer, on its data side, called with `input_dim`.
        passes: how many groups of consecutive elements depend on each other; `input_dim` if None.

    Raises:
        ValueError: if `input_dim`, `depth` or `passes` is out of its range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> posterior = pf.Flow(pf.iaf(5, depth=2, context_dim=3))
        >>> posterior(torch.randn(7, 3)).rsample().shape
        torch.Size([7, 5])
    """
    g = elementwise or Affine()
    layers = autoregressive_layers(input_dim, depth, g, hidden, context_dim, activation, passes)
    return normed(layers, norm, input_dim)


def naf(
    input_dim: int,
    *,
    depth: int = 3,
    hidden: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: Activation = nn.ReLU,
    components: int = 8,
    norm: Norm = None,
) -> Chain:
    """Neural autoregressive flow by deep sigmoidal flows: base → data, scores fast, event_dim 1.

    The map of each layer is a net of one layer of sigmoids, x = logit Σ π_k sigmoid((y − μ_k) / σ_k), whose
    weights a masked net gives. Scoring takes one pass of each net; sampling takes `input_dim` passes,
    and in each a safeguarded Newton's method, to full precision.

    Huang, Krueger, Lacoste & Courville, "Neural Autoregressive Flows", 2018, arXiv:1804.00779.

    Args:
        input_dim: length of the data vector.
        depth: number of layers.
        hidden: widths of each net's hidden layers.
        context_dim: length of the context vector, 0 for none.
        activation: the nets' nonlinearity.
        components: how many sigmoids each element's map has.
        norm: what stands next to each layer, on its data side, called with `input_dim`.

    Raises:
        ValueError: if `input_dim`, `depth` or `components` is out of its range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.naf(2, depth=1))
        >>> flow().log_prob(torch.randn(10, 2)).shape
        torch.Size([10])
    """
    g = Mixture(components)
    layers = autoregressive_layers(input_dim, depth, g, hidden, context_dim, activation)
    return normed([layer.inv for layer in layers], norm, input_dim)
