"""The invertible residual block."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from ..nn import LipschitzNet
from ..nn.lipschitz import Contraction
from ..transform import FlowTransform
from .full_precision import full_precision
from .log_det import Determinant, LogDet

__all__ = ["Residual"]


class Residual(FlowTransform):
    r"""x = y + g(y) with a contraction g, log|det dx/dy| = log det(I + ∂g/∂y): scoring is explicit.

    Sampling solves y = x − g(y) by fixed-point iteration, which converges if g has a Lipschitz constant
    below 1. A last Newton step makes the solution differentiable. For variational inference, which
    needs fast sampling, take `.inv`.

    Behrmann, Grathwohl, Chen, Duvenaud & Jacobsen, "Invertible Residual Networks", 2019,
    arXiv:1811.00995; Chen, Behrmann, Duvenaud & Jacobsen, "Residual Flows for Invertible Generative
    Modeling", 2019, arXiv:1906.02735.

    Args:
        net: g.
        log_det: how log det(I + ∂g/∂y) is found: `pyro_flows.transforms.Determinant()` if None, or
            `pyro_flows.transforms.Roulette()`, which makes log-densities random, for many dimensions. The
            attribute can be changed for an evaluation.
        tolerance: how far the last iteration may move an element, relative to 1 + |y|; None for the
            precision's eps^(3/4).
        max_iterations: how many iterations to give up after.

    Raises:
        ValueError: if an argument is out of its range, or the input's shape is wrong.
        RuntimeError: in sampling, if the tolerance is not met.

    Example:
        >>> import torch, pyro_flows as pf
        >>> layer = pf.transforms.Residual(pf.nn.LipschitzNet(3))
        >>> y = layer(torch.randn(10, 3))
        >>> layer.inv(y).shape
        torch.Size([10, 3])
    """

    domain = codomain = constraints.real_vector

    def __init__(
        self,
        net: LipschitzNet,
        *,
        log_det: LogDet | None = None,
        tolerance: float | None = None,
        max_iterations: int = 1000,
    ) -> None:
        super().__init__()
        if tolerance is not None and not tolerance > 0:
            raise ValueError(f"expected tolerance > 0; got {tolerance}")
        if max_iterations < 1:
            raise ValueError(f"expected max_iterations ≥ 1; got {max_iterations}")
        self.net, self.tolerance, self.max_iterations = net, tolerance, max_iterations
        self.log_det: LogDet = Determinant() if log_det is None else log_det
        self.domain_shape = self.codomain_shape = torch.Size([net.input_dim])
        self.context_shape = net.context_shape

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the y with y + g(y) = x, and −log det(I + ∂g/∂y)."""
        self._check(x.shape, self.domain_shape, 1)
        with full_precision(x):  # here the network is the map
            g = self.net.contraction(context)
            fixed = g.detach()
            with torch.no_grad():
                start = self._iterated(fixed, x.detach())
            value, slopes = g.linearised(start)
            # One Newton step squares the error of the iteration, and its gradient is the implicit one.
            y = start - self.log_det.solve(fixed, [slope.detach() for slope in slopes], start + value - x)
            return y, -self.log_det(g, y)[1]

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return y + g(y) and log det(I + ∂g/∂y)."""
        self._check(y.shape, self.codomain_shape, 1)
        with full_precision(y):
            value, log_det = self.log_det(self.net.contraction(context), y)
            return y + value, log_det

    def _iterated(self, g: Contraction, x: Tensor) -> Tensor:
        tolerance = torch.finfo(x.dtype).eps ** 0.75 if self.tolerance is None else self.tolerance
        y = x - g(x)
        open_rows = y.isfinite().all(-1, keepdim=True)  # NaNs and infinities never converge
        for _ in range(self.max_iterations):
            new = x - g(y)
            moved = ((new - y).abs() / (1 + new.abs())).amax(-1, keepdim=True)
            # A row that has converged is left alone, so that no row's value depends on the others.
            y = torch.where(open_rows, new, y)
            open_rows = open_rows & (moved > tolerance)
            if y.is_meta or not bool(open_rows.any()):
                return y
        worst = float(moved[open_rows].max())
        raise RuntimeError(
            f"expected the iteration to move y by at most {tolerance:.1g} in round {self.max_iterations}; "
            f"got {worst:.1g}: with a smaller coefficient the net converges faster"
        )

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"log_det={self.log_det}"
