"""Fixed permutations of a vector."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from ..transform import FlowTransform

__all__ = ["Permutation", "permutation", "random_permutation", "reverse"]


class Permutation(FlowTransform):
    """y_i = x_{p(i)} for a fixed permutation p; log|det dy/dx| = 0.

    p is a buffer, saved with the module.

    Args:
        order: integer tensor of shape (d,) with p, each of 0 … d − 1 once.

    Raises:
        ValueError: if `order` is no permutation.

    Example:
        >>> import torch, pyro_flows as pf
        >>> pf.transforms.Permutation(torch.tensor([2, 0, 1]))(torch.tensor([5.0, 6.0, 7.0])).tolist()
        [7.0, 5.0, 6.0]
    """

    domain = codomain = constraints.real_vector
    order: Tensor
    inverse_order: Tensor

    reversible = True

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        if order.dim() != 1 or order.numel() < 1 or order.is_floating_point():
            raise ValueError(
                f"expected a vector of integers; got {order.dtype} of shape {tuple(order.shape)}"
            )
        inverse = order.argsort()
        if not torch.equal(order[inverse], torch.arange(len(order), device=order.device)):
            raise ValueError(f"expected each of 0 … {len(order) - 1} once; got {order.tolist()}")
        self.domain_shape = self.codomain_shape = Size([len(order)])
        self.register_buffer("order", order.long())
        self.register_buffer("inverse_order", inverse)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the permuted vector and 0."""
        self._check(x.shape, self.domain_shape, 1)
        return x.index_select(-1, self.order), x.new_zeros(x.shape[:-1])

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the vector put back in order and 0."""
        self._check(y.shape, self.codomain_shape, 1)
        return y.index_select(-1, self.inverse_order), y.new_zeros(y.shape[:-1])

    def extra_repr(self) -> str:
        """Name the size."""
        return str(len(self.order))


def permutation(order: Tensor) -> Permutation:
    """Return the `Permutation` that puts element order[i] in place i."""
    return Permutation(order)


def reverse(input_dim: int) -> Permutation:
    """Return the `Permutation` that reverses vectors of length `input_dim`."""
    return Permutation(torch.arange(input_dim - 1, -1, -1, dtype=torch.long))


def random_permutation(input_dim: int, *, generator: torch.Generator | None = None) -> Permutation:
    """Return a `Permutation` drawn uniformly, from `generator` or torch's global one."""
    return Permutation(torch.randperm(input_dim, generator=generator))
