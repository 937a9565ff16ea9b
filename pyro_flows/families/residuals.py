"""Flows of maps near the identity: y = x + something."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from ..nn import DenseNet, LipschitzNet
from ..nn.log_det import Determinant, LogDet, Roulette
from ..transform import FlowTransform
from ..transforms import Chain, Planar, Radial, Residual

__all__ = ["planar", "radial", "residual"]


def _stack(
    layer: Callable[..., FlowTransform],
    outputs: int,
    input_dim: int,
    depth: int,
    hidden: Sequence[int],
    context_dim: int,
) -> Chain:
    if depth < 1:
        raise ValueError(f"expected depth ≥ 1; got {depth}")

    def conditioner() -> nn.Module | None:
        return DenseNet(context_dim, outputs, hidden, activation=nn.Tanh) if context_dim else None

    return Chain(layer(input_dim, conditioner(), context_dim=context_dim) for _ in range(depth))


def planar(input_dim: int, *, depth: int = 16, hidden: Sequence[int] = (32,), context_dim: int = 0) -> Chain:
    """Return `depth` planar maps y = x + u tanh(w·x + b): base → data, event_dim 1.

    Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, arXiv:1505.05770.

    Args:
        input_dim: length of the data vector.
        depth: number of maps.
        hidden: widths of the nets that read the context, where there is one.
        context_dim: length of the context vector, 0 for none.

    Raises:
        ValueError: where `input_dim` or `depth` < 1.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.planar(5))
        >>> flow().log_prob(torch.randn(10, 5)).shape
        torch.Size([10])
    """
    return _stack(Planar, 2 * input_dim + 1, input_dim, depth, hidden, context_dim)


def radial(input_dim: int, *, depth: int = 16, hidden: Sequence[int] = (32,), context_dim: int = 0) -> Chain:
    """Return `depth` radial maps y = x + β (x − z) / (α + |x − z|): base → data, event_dim 1.

    Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, arXiv:1505.05770.

    Args:
        input_dim: length of the data vector.
        depth: number of maps.
        hidden: widths of the nets that read the context, where there is one.
        context_dim: length of the context vector, 0 for none.

    Raises:
        ValueError: where `input_dim` or `depth` < 1.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.radial(5))
        >>> flow().sample((10,)).shape
        torch.Size([10, 5])
    """
    return _stack(Radial, input_dim + 2, input_dim, depth, hidden, context_dim)


def residual(
    input_dim: int,
    *,
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    context_dim: int = 0,
    coefficient: float = 0.97,
    log_det: LogDet | None = None,
) -> Chain:
    """Return `depth` invertible residual blocks x = y + g(y): base → data, event_dim 1.

    Scoring is explicit; sampling solves each block by iteration.

    Behrmann, Grathwohl, Chen, Duvenaud & Jacobsen, "Invertible Residual Networks", 2019, arXiv:1811.00995;
    Chen, Behrmann, Duvenaud & Jacobsen, "Residual Flows for Invertible Generative Modeling", 2019,
    arXiv:1906.02735.

    Args:
        input_dim: length of the data vector.
        depth: number of blocks; each one bends space little.
        hidden: widths of each block's hidden layers.
        context_dim: length of the context vector, 0 for none.
        coefficient: bound in (0, 1) of how much each layer stretches.
        log_det: `pyro_flows.nn.Determinant()`, exact, or `pyro_flows.nn.Roulette()`, unbiased; where None
            the former up to 16 dimensions.

    Raises:
        ValueError: where an argument is out of its range.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.residual(5, depth=2))
        >>> flow().log_prob(torch.randn(10, 5)).shape
        torch.Size([10])
    """
    if depth < 1:
        raise ValueError(f"expected depth ≥ 1; got {depth}")
    if log_det is None:
        log_det = Determinant() if input_dim <= 16 else Roulette()
    nets = [
        LipschitzNet(input_dim, hidden, coefficient=coefficient, context_dim=context_dim)
        for _ in range(depth)
    ]
    return Chain(Residual(net, log_det=log_det) for net in nets)
