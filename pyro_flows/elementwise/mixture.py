"""Maps by the distribution function of a mixture: Flow++'s, and one-dimensional flows'."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import constraints

from ._tails import Logistic, StandardDistribution
from .base import Elementwise
from .solve import invert

__all__ = ["Mixture", "MixtureCDF"]

_LOG_SCALE_BOUND = 7.0
_BETWEEN = 0.1


class _Components:
    """K components of weights π_k, places μ_k and scales σ_k, read from 3K params.

    At zero params they are spread a little, since equal ones would get equal gradients for ever.
    """

    def __init__(self, components: int, standard: StandardDistribution) -> None:
        if components < 1:
            raise ValueError(f"expected components ≥ 1; got {components}")
        self.count, self.standard = components, standard
        # A tenth of the standard's variance lies between components, the rest within each.
        places = [2 * k - components + 1 for k in range(components)]
        between = _BETWEEN if components > 1 else 0.0
        unit = standard.deviation * math.sqrt(between * components / max(1, sum(p * p for p in places)))
        self.places = [unit * place for place in places]
        self.log_scale = 0.5 * math.log1p(-between)

    def read(self, params: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return log π, μ and log σ."""
        raw, place, log_scale = params.split(self.count, dim)
        grid = torch.linspace(
            self.places[0], self.places[-1], self.count, dtype=params.dtype, device=params.device
        )
        place = place + grid.reshape(-1, *[1] * (-1 - dim))
        log_scale = self.log_scale + log_scale / (1 + log_scale.abs() / _LOG_SCALE_BOUND)
        return raw.log_softmax(dim), place, log_scale

    def tail(self, x: Tensor, params: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return whether x lies above the median, log T and log f(x)/T, where T is the mass beyond x."""
        log_weight, place, log_scale = self.read(params, dim)
        z = (x.unsqueeze(dim) - place) * (-log_scale).exp()
        upper = (log_weight + self.standard.log_survival(z)).logsumexp(dim)
        lower = (log_weight + self.standard.log_survival(-z)).logsumexp(dim)
        above = upper < lower
        z = torch.where(above.unsqueeze(dim), z, -z)
        shares = (log_weight + self.standard.log_survival(z)).log_softmax(dim)
        log_hazard = (shares + self.standard.log_hazard(z) - log_scale).logsumexp(dim)
        return above, torch.where(above, upper, lower), log_hazard

    def quantile(self, x: Tensor, params: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        """Return the standard's quantile of F(x), and the logarithm of its derivative in x."""
        above, log_tail, log_hazard = self.tail(x, params, dim)
        t = self.standard.upper_quantile(log_tail)
        return torch.where(above, t, -t), log_hazard - self.standard.log_hazard(t)

    def inverse(self, y: Tensor, params: Tensor, dim: int) -> Tensor:
        """Return the x whose `quantile` is y."""
        _, place, log_scale = self.read(params, dim)
        # F(x) = u lies between the components' own quantiles of u.
        candidates = place + log_scale.exp() * y.unsqueeze(dim)
        low, high = candidates.amin(dim), candidates.amax(dim)
        return invert(lambda x, p: self.quantile(x, p, dim), y.expand_as(low), params, low, high)


class Mixture(Elementwise):
    r"""y = Q(Σ π_k F((x − μ_k) / σ_k)), where F is a standard distribution function and Q its inverse.

    From all numbers to all numbers: a mixture of logistics through a logit, or of Gaussians through a
    probit. Values and derivatives come from the tails, so that nothing saturates. The inverse is
    found by safeguarded Newton steps, and is differentiated implicitly (up to third derivatives).
    3K params: K logits of weights, K places and K log-scales, bounded smoothly.

    ``Compose(Mixture(8), Affine())`` is the map of Flow++: Ho, Chen, Srinivas, Duan & Abbeel, 2019,
    arXiv:1902.00275. With logistic components it is also the sigmoidal flow of Huang, Krueger, Lacoste &
    Courville, "Neural Autoregressive Flows", 2018, arXiv:1804.00779.

    Args:
        components: K.
        standard: F: `pyro_flows.elementwise.Logistic` or `pyro_flows.elementwise.Gaussian`.

    Raises:
        ValueError: if `components` is less than 1.

    Example:
        >>> import torch, pyro_flows as pf
        >>> g, x = pf.elementwise.Mixture(4), torch.randn(5, 3)
        >>> params = torch.randn(5, g.num_params, 3)
        >>> y, _ = g.forward(x, params)
        >>> bool((g.inverse(y, params)[0] - x).abs().max() < 1e-4)
        True
    """

    def __init__(self, components: int = 8, standard: StandardDistribution | None = None) -> None:
        self.components = _Components(components, standard or Logistic())
        self.num_params = 3 * components

    def forward(self, x: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return Q(F(x)) and its log-derivative."""
        return self.components.quantile(x, params, -1 - event_dim)

    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return the x with Q(F(x)) = y, and its log-derivative."""
        x = self.components.inverse(y, params, -1 - event_dim)
        return x, -self.components.quantile(x, params, -1 - event_dim)[1]

    def __repr__(self) -> str:
        return f"Mixture({self.components.count}, {self.components.standard})"


class MixtureCDF(Elementwise):
    r"""u = Σ π_k F((x − μ_k) / σ_k), the distribution function of a mixture: from all numbers to (0, 1).

    Its inverse turns uniform noise (or any other on (0, 1)) into data. With a uniform base,
    ``Monotone(MixtureCDF(8)).inv`` is the mixture's own density. Params as for `Mixture`; at zero
    they are near the standard's.

    Args:
        components: K.
        standard: F: `pyro_flows.elementwise.Logistic` or `pyro_flows.elementwise.Gaussian`.

    Raises:
        ValueError: if `components` is less than 1.

    Example:
        >>> import torch, pyro_flows as pf
        >>> g = pf.elementwise.MixtureCDF(4, pf.elementwise.Gaussian())
        >>> u, log_density = g.forward(torch.randn(5, 3), torch.randn(5, g.num_params, 3))
        >>> bool(((0 < u) & (u < 1)).all())
        True
    """

    codomain = constraints.unit_interval

    def __init__(self, components: int = 8, standard: StandardDistribution | None = None) -> None:
        self.components = _Components(components, standard or Logistic())
        self.num_params = 3 * components

    def forward(self, x: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return F(x) and the mixture's log-density."""
        above, log_tail, log_hazard = self.components.tail(x, params, -1 - event_dim)
        u = torch.where(above, -log_tail.expm1(), log_tail.exp())
        # Strictly within (0, 1), as bases there ask for: rounding must not make a point impossible.
        number = torch.finfo(u.dtype)
        return u.clamp(number.tiny, 1 - number.eps), log_tail + log_hazard

    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return the mixture's quantile of y, and minus its log-density there."""
        above = y > 0.5
        t = self.components.standard.upper_quantile(torch.where(above, 1 - y, y).log())
        x = self.components.inverse(torch.where(above, t, -t), params, -1 - event_dim)
        _, log_tail, log_hazard = self.components.tail(x, params, -1 - event_dim)
        return x, -(log_tail + log_hazard)

    def __repr__(self) -> str:
        return f"MixtureCDF({self.components.count}, {self.components.standard})"
