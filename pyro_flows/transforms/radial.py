"""The radial flow."""

from __future__ import annotations

import math

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints
from torch.nn import functional as F

from ..transform import FlowTransform
from ._parameters import Parameters

__all__ = ["Radial"]

_MARGIN = 1e-3  # the least slope at the centre: without one, single precision rounds it to zero
_SHIFT = math.log(math.expm1(1 - _MARGIN))


class Radial(FlowTransform):
    r"""y = x + β (x − z) / (α + r) with r = |x − z|.

    log|det dy/dx| = (d − 1) log(1 + β/(α + r)) + log(1 + αβ/(α + r)²).

    α > 0 and β > −α make the map invertible. Its inverse is in closed form: the new radius R of y obeys
    r² + (α + β − R) r − α R = 0, whose one positive root is r.

    Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015, arXiv:1505.05770, section 4.1
    and appendix A.2.

    Args:
        input_dim: length d of the event vector, at least 1.
        conditioner: a module that maps the context to d + 2 values, which are added to z and to the
            unconstrained values of α and β, or None.
        context_dim: length of the context vector; needed with a conditioner.

    Raises:
        ValueError: if `input_dim` < 1, or only one of conditioner and context is given.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.transforms.Radial(3))
        >>> flow().log_prob(torch.randn(10, 3)).shape
        torch.Size([10])
    """

    domain = codomain = constraints.real_vector

    def __init__(self, input_dim: int, conditioner: nn.Module | None = None, *, context_dim: int = 0) -> None:
        super().__init__()
        if input_dim < 1:
            raise ValueError(f"expected input_dim ≥ 1; got {input_dim}")
        z = torch.randn(input_dim)  # with β = 0 the map is the identity
        self.parts = Parameters(torch.cat([z, z.new_zeros(2)]), conditioner, context_dim)
        self.context_shape = self.parts.context_shape
        self.domain_shape = self.codomain_shape = Size([input_dim])

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x + β (x − z) / (α + r) and its log-det."""
        self._check(x.shape, self.domain_shape, 1)
        z, alpha, beta = self._parts(x, context)
        out = x - z
        reach = alpha + torch.linalg.vector_norm(out, dim=-1)
        return x + (beta / reach).unsqueeze(-1) * out, self._log_det(x, alpha, beta, reach)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return z + (y − z) / (1 + β/(α + r)) for the root r, and its log-det."""
        self._check(y.shape, self.codomain_shape, 1)
        z, alpha, beta = self._parts(y, context)
        out = y - z
        radius = torch.linalg.vector_norm(out, dim=-1)
        half = 0.5 * (radius - alpha - beta)
        root = (half * half + alpha * radius).sqrt()
        # Either formula for r loses digits for the sign of `half` for which the other keeps them.
        r = torch.where(half > 0, half + root, alpha * radius / (root + half.abs()))
        reach = alpha + r
        return z + out / (1 + beta / reach).unsqueeze(-1), -self._log_det(y, alpha, beta, reach)

    def _log_det(self, x: Tensor, alpha: Tensor, beta: Tensor, reach: Tensor) -> Tensor:
        log_det = (alpha * beta / (reach * reach)).log1p()
        return log_det + (x.shape[-1] - 1) * (beta / reach).log1p()

    def _parts(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        z, a, b = self.parts(x, context).split([x.shape[-1], 1, 1], -1)
        alpha = F.softplus(a).squeeze(-1)
        return z, alpha, alpha * (F.softplus(b + _SHIFT) - (1 - _MARGIN)).squeeze(-1)
