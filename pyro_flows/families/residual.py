"""The residual flow."""

from __future__ import annotations

from collections.abc import Sequence

from ..nn import LipschitzNet
from ..transforms import ActNorm, Chain, Residual
from ..transforms.log_det import Determinant, LogDet, Roulette
from .couplings import Norm, normed

__all__ = ["residual"]


def residual(
    input_dim: int,
    *,
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    context_dim: int = 0,
    coefficient: float = 0.97,
    log_det: LogDet | None = None,
    norm: Norm = ActNorm,
) -> Chain:
    """Return `depth` invertible residual blocks x = y + g(y): base → data, event_dim 1.

    Scoring is explicit; sampling solves each block by iteration. How the nets start, and the norms, were
    chosen by the KL to two moons (benchmarks/README.md).

    Behrmann, Grathwohl, Chen, Duvenaud & Jacobsen, "Invertible Residual Networks", 2019, arXiv:1811.00995;
    Chen, Behrmann, Duvenaud & Jacobsen, "Residual Flows for Invertible Generative Modeling", 2019,
    arXiv:1906.02735.

    Args:
        input_dim: length of the data vector.
        depth: number of blocks; a single one cannot bend space much.
        hidden: widths of each block's hidden layers.
        context_dim: length of the context vector, 0 for none.
        coefficient: bound in (0, 1) on how much each layer of a net stretches.
        log_det: `pyro_flows.transforms.Determinant()`, exact, or `transforms.Roulette()`, unbiased;
            if None, the former up to 16 dimensions and the latter above.
        norm: what stands next to each block, on its data side, called with `input_dim`:
            `pyro_flows.transforms.ActNorm`, `pyro_flows.transforms.BatchNorm` or None.

    Raises:
        ValueError: if an argument is out of its range.

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
    return normed([Residual(net, log_det=log_det) for net in nets], norm, input_dim)
