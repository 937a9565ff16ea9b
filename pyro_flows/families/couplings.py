"""Coupling flows of vectors: NICE and Real NVP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ..elementwise import Additive, Affine, Elementwise
from ..nn import MLP
from ..nn.mlp import Activation
from ..partitions import Alternating, Halves
from ..transform import FlowTransform
from ..transforms import Chain, Coupling, DiagonalScaling

__all__ = ["nice", "real_nvp"]

Norm = Callable[[int], FlowTransform] | None
Net = Callable[..., nn.Module]


def keen_net(inputs: int, outputs: int, hidden: Sequence[int], **options: Any) -> MLP:
    """Return an MLP that learns fine detail fast, and reads rows far from the others on a log scale.

    Its gain, spread and squash were chosen on eight tables (benchmarks/README.md).
    """
    return MLP(inputs, outputs, hidden, gain=3.0, spread=6.0, squash=torch.asinh, **options)


def couplings(
    input_dim: int,
    depth: int,
    elementwise: Elementwise,
    hidden: Sequence[int],
    context_dim: int,
    activation: Activation,
    net: Net = keen_net,
) -> list[FlowTransform]:
    """Return couplings of halves that move in turn."""
    if input_dim < 2:
        raise ValueError(
            f"expected input_dim ≥ 2, since a coupling needs one half to move the other; got {input_dim}. "
            "In one dimension use an autoregressive family, such as pyro_flows.nsf(1, autoregressive=True)"
        )
    if depth < 1:
        raise ValueError(f"expected depth ≥ 1; got {depth}")
    layers: list[FlowTransform] = []
    for i in range(depth):
        # Two ways to halve, so that no two elements stay on the same side throughout.
        halving = Halves if i % 4 < 2 or input_dim == 2 else Alternating
        partition = halving(input_dim, swap=i % 2 == 1)
        passive, active = partition.sizes()
        outputs = elementwise.num_params * active
        conditioner = net(passive, outputs, hidden, context_dim=context_dim, activation=activation)
        layers.append(Coupling(partition, elementwise, conditioner, context_dim=context_dim))
    return layers


def normed(layers: Sequence[FlowTransform], norm: Norm, input_dim: int) -> Chain:
    """Chain layers, each with a norm on its data side if there is one."""
    return Chain(layers if norm is None else [part for layer in layers for part in (layer, norm(input_dim))])


def nice(
    input_dim: int,
    *,
    depth: int = 4,
    hidden: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: Activation = nn.GELU,
) -> Chain:
    """Additive couplings after a diagonal scaling: base → data, event_dim 1.

    Dinh, Krueger & Bengio, "NICE: Non-linear Independent Components Estimation", 2015,
    arXiv:1410.8516.

    Args:
        input_dim: length of the data vector, at least 2.
        depth: number of couplings.
        hidden: widths of each conditioner's hidden layers.
        context_dim: length of the context vector, 0 for none.
        activation: the conditioners' nonlinearity.

    Raises:
        ValueError: if `input_dim` < 2 or `depth` < 1.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.nice(5), base=pf.bases.logistic(5))
        >>> flow().log_prob(torch.randn(10, 5)).shape
        torch.Size([10])
    """
    layers = couplings(input_dim, depth, Additive(), hidden, context_dim, activation)
    return Chain([DiagonalScaling(input_dim), *layers])


def real_nvp(
    input_dim: int,
    *,
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    context_dim: int = 0,
    activation: Activation = nn.GELU,
    elementwise: Elementwise | None = None,
    norm: Norm = None,
    net: Net = keen_net,
) -> Chain:
    """Affine couplings: base → data, event_dim 1.

    Each half of the vector moves in turn; the halves are the first and the last elements in two layers, the
    even and the odd ones in the next two, and so on.

    Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803.

    Args:
        input_dim: length of the data vector, at least 2.
        depth: number of couplings.
        hidden: widths of each conditioner's hidden layers.
        context_dim: length of the context vector, 0 for none.
        activation: the conditioners' nonlinearity.
        elementwise: the map of each coupling; `pyro_flows.elementwise.Affine` if None. A smaller
            `max_log_scale` of it is gentler on rows far from the rest.
        norm: what stands between the couplings and next to the data, called with `input_dim`: None,
            `pyro_flows.transforms.BatchNorm` or `pyro_flows.transforms.ActNorm`.
        net: makes each conditioner, called with the numbers of inputs and outputs, `hidden`, and
            `context_dim` and `activation` by name. The default was chosen on eight tables
            (benchmarks/README.md); a plain `pyro_flows.nn.MLP` learns more slowly, and suits guides.

    Raises:
        ValueError: if `input_dim` < 2 or `depth` < 1.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.real_nvp(5, depth=4, norm=pf.transforms.BatchNorm))
        >>> flow().sample((10,)).shape
        torch.Size([10, 5])
    """
    layers = couplings(input_dim, depth, elementwise or Affine(), hidden, context_dim, activation, net)
    return normed(layers, norm, input_dim)
