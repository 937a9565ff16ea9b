"""A model's continuous latent sites as one unconstrained vector."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from pyro.poutine.util import site_is_subsample
from torch import Size, Tensor
from torch.distributions import Transform, biject_to, constraints

__all__ = ["Latents"]


class _Site(NamedTuple):
    name: str
    shape: Size  # of the constrained value, plates included
    unconstrained: Size
    event_dim: int
    unconstrained_event_dim: int
    transform: Transform
    elementwise: bool


class Latents:
    """u ↔ {site: x}: the bijections of all latent sites side by side, packed in the trace's order.

    Args:
        trace: a trace of the model.

    Raises:
        ValueError: where a site is discrete, or there is none.
    """

    def __init__(self, trace: poutine.Trace) -> None:
        nodes = [node for _, node in trace.iter_stochastic_nodes() if not site_is_subsample(node)]
        if not nodes:
            raise ValueError("expected a model with latent sites; got none")
        self.sites = [_site(node) for node in nodes]
        value = nodes[0]["value"]
        self.dtype, self.device = value.dtype, value.device
        self.dim = sum(math.prod(site.unconstrained) for site in self.sites)
        frames = [frame for node in trace.nodes.values() for frame in node.get("cond_indep_stack", ())]
        self.depth = max((-frame.dim for frame in frames if frame.vectorized), default=0)

    def constrain(self, u: Tensor, depth: int = -1) -> tuple[dict[str, Tensor], Tensor]:
        """Return the sites' values at u and log|det dx/du|.

        Args:
            u: of shape (*batch, d); (particles, d) where `depth` is given.
            depth: dimensions that the values leave for plates on the right of the particles'; −1 puts
                the batch right before the sites' own shapes.

        Returns:
            Values of shape (*batch, *site) or (particles, 1 …, *plates, *event), and the log-det, of
            shape (*batch,).
        """
        values: dict[str, Tensor] = {}
        total, start = u.new_zeros(u.shape[:-1]), 0
        for site in self.sites:
            stop = start + math.prod(site.unconstrained)
            shape = site.unconstrained
            if depth >= 0:
                shape = Size([1] * (depth + site.unconstrained_event_dim - len(shape))) + shape
            part = u[..., start:stop].reshape(u.shape[:-1] + shape)
            value = site.transform(part)
            if site.transform is not _IDENTITY:
                log_det = site.transform.log_abs_det_jacobian(part, value)
                total = total + sum_rightmost(log_det, log_det.dim() - (u.dim() - 1))
            values[site.name], start = value, stop
        return values, total

    def values(self, trace: poutine.Trace) -> dict[str, Tensor]:
        """Return the latent sites' values in a trace."""
        return {site.name: trace.nodes[site.name]["value"].detach() for site in self.sites}

    def unconstrain(self, values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return u, of shape (*batch, d), and log|det dx/du|, of shape (*batch,), of the sites' values.

        Args:
            values: one of shape (*batch, *site) for each latent site; others are ignored.

        Raises:
            ValueError: where a site is missing, or its shape does not fit.
        """
        parts, total = [], 0.0
        batches = {}
        for site in self.sites:
            if site.name not in values:
                raise ValueError(f"expected a value of the latent site {site.name!r}; got {sorted(values)}")
            value = values[site.name]
            cut = value.dim() - len(site.shape)
            if cut < 0 or value.shape[cut:] != site.shape:
                raise ValueError(
                    f"expected {site.name!r} of shape (*batch, {', '.join(map(str, site.shape))}); "
                    f"got {tuple(value.shape)}"
                )
            batches[site.name] = value.shape[:cut]
        batch = torch.broadcast_shapes(*batches.values())
        for site in self.sites:
            value = values[site.name].expand(batch + site.shape)
            part = site.transform.inv(value)
            log_det = site.transform.log_abs_det_jacobian(part, value)
            total = total + sum_rightmost(log_det, log_det.dim() - len(batch))
            parts.append(part.reshape(batch + Size([math.prod(site.unconstrained)])))
        return torch.cat(parts, -1), torch.as_tensor(total)

    def quantiles(self, u: Tensor, levels: Tensor) -> dict[str, Tensor]:
        """Return quantiles of the sites' values over rows of u, of shape (levels, *site)."""
        values = self.constrain(u)[0]
        across = self.constrain(u.quantile(levels, 0))[0]
        return {
            site.name: values[site.name].quantile(levels, 0) if site.elementwise else across[site.name]
            for site in self.sites
        }

    def depends(self, trace: poutine.Trace) -> str | None:
        """Return the first site whose support is another one in `trace`, or None."""
        for site, other in zip(self.sites, Latents(trace).sites, strict=True):
            if site.transform is _IDENTITY:
                continue
            probe = torch.linspace(-1, 1, math.prod(site.unconstrained), dtype=self.dtype, device=self.device)
            probe = probe.reshape(site.unconstrained)
            if not torch.allclose(site.transform(probe), other.transform(probe)):
                return site.name
        return None


_IDENTITY = biject_to(constraints.real)


def _site(node: dict[str, Any]) -> _Site:
    fn = node["fn"]
    name, value = node["name"], node["value"]
    if fn.support.is_discrete:
        raise ValueError(
            f"expected continuous latent sites; got the discrete {name!r}: sum it out of the model, or hide "
            "it by poutine.block"
        )
    transform = biject_to(fn.support)
    unconstrained = transform.inv(value).shape
    inner = fn.support
    while isinstance(inner, constraints.independent):
        inner = inner.base_constraint
    event_dim = fn.event_dim + len(unconstrained) - len(value.shape)
    if isinstance(inner, type(constraints.real)):
        transform = _IDENTITY
    return _Site(name, value.shape, unconstrained, fn.event_dim, event_dim, transform, inner.event_dim == 0)
