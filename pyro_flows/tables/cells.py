"""A table's cells as intervals of normal scores, and the noise that makes points of them."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import constraints
from torch.special import ndtri

from ..transform import FlowTransform
from .normal import log_normal, ndtr

__all__ = ["Cells"]


class Cells(FlowTransform):
    r"""z ~ N(0, 1) within the interval of each cell, and log-det Σ_j [log f_j(y_j) − log φ(z_j)].

    The last part of a flow of d scores makes it one of the rows that `Schema.encode` gives, of shape (3, d):
    the lowest and the highest score of each cell, and the cell's log-probability (or log-density) log f_j
    when its column stands alone. So

        log p(row) ≥ E_z[log p_flow(z) − Σ_j log φ(z_j)] + Σ_j log f_j(y_j),

    exactly for rows of real numbers, whose intervals are points; with equality, too, for any flow that leaves
    the scores independent. As `pyro_flows.transforms.Dequantize` it draws anew whenever it scores, and it is
    no bijection. Sampling gives points z, for `Schema.decode`.

    Rüschendorf, "On the distributional transform, Sklar's theorem, and the empirical copula process", 2009;
    Theis, van den Oord & Bethge 2016, arXiv:1511.01844.

    Args:
        size: d, how many columns vary.

    Raises:
        ValueError: if `size` is less than 1.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow([pf.real_nvp(2), pf.tables.Cells(2)])
        >>> coin = torch.tensor([[-35.0, -35.0], [0.0, 0.0], [0.5, 0.5]])  # heads, twice
        >>> coin[2] = coin[2].log()
        >>> flow().log_prob(coin.expand(5, 3, 2)).shape
        torch.Size([5])
    """

    bijective = False
    domain = constraints.real_vector
    codomain = constraints.independent(constraints.real, 2)

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"expected size ≥ 1; got {size}")
        self.size = size
        self.domain_shape, self.codomain_shape = Size([size]), Size([3, size])

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return scores as intervals of no width, and 0."""
        return torch.stack((x, x, torch.zeros_like(x)), -2), x.new_zeros(x.shape[:-1])

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return scores drawn within the intervals, and Σ (log f − log φ)."""
        lower, upper, log_f = y.unbind(-2)
        # In the lower half probabilities are small numbers, and exact ones.
        sign = torch.where(lower + upper > 0, -1.0, 1.0).to(y.dtype)
        flipped = sign < 0
        a, b = torch.where(flipped, -upper, lower), torch.where(flipped, -lower, upper)
        low = ndtr(a)
        u = (low + torch.rand_like(low) * (ndtr(b) - low)).clamp(min=torch.finfo(y.dtype).tiny)
        z = torch.where(lower < upper, sign * ndtri(u).clamp(a, b), lower)
        return z, (log_f - log_normal(z)).sum(-1)

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{self.size}"
