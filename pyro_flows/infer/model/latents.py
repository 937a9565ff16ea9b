"""A model's continuous latent sites as one unconstrained vector."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pyro import poutine
from torch import Size, Tensor

from .packing import PackedSite, length, unpack
from .program import is_enumerated, is_latent, samples

__all__ = ["Latents"]


class Latents:
    """u ↔ {site: x}: the bijections of all latent sites side by side, packed in the trace's order.

    Discrete sites that the model marks to be summed out are left out.

    Args:
        trace: a trace of the model.

    Raises:
        ValueError: if another site is discrete, or there is none, or none that can take another value.
    """

    def __init__(self, trace: poutine.Trace) -> None:
        nodes = [site for site in samples(trace).values() if is_latent(site) and not is_enumerated(site)]
        if not nodes:
            raise ValueError("expected a model with latent sites; got none")
        self.sites = [PackedSite.of(node) for node in nodes]
        value = nodes[0]["value"]
        self.dtype, self.device = value.dtype, value.device
        self.dim = length(self.sites)
        if self.dim == 0:
            fixed = ", ".join(f"{site.name!r} of shape {tuple(site.shape)}" for site in self.sites)
            raise ValueError(f"expected latent sites with a free element; got none: {fixed}")

    def constrain(self, u: Tensor, nesting: int = 0) -> tuple[dict[str, Tensor], Tensor]:
        """Return the sites' values at u and log|det dx/du|.

        Args:
            u: of shape (*batch, d).
            nesting: the least number of dimensions that values have between `batch` and their event: those
                missing are of size 1, so that the batch lies on the left of so many plates.

        Returns:
            Values of shape (*batch, *site), and the log-det, of shape (*batch,).
        """
        values: dict[str, Tensor] = {}
        total = u.new_zeros(u.shape[:-1])
        for site, value, log_det in unpack(self.sites, u, nesting):
            values[site.name] = value
            if log_det is not None:
                total = total + log_det
        return values, total

    def values(self, trace: poutine.Trace) -> dict[str, Tensor]:
        """Return the latent sites' values in a trace."""
        return {site.name: trace.nodes[site.name]["value"].detach() for site in self.sites}

    def unconstrain(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return u, of shape (*batch, d), and log|det dx/du|, of shape (*batch,), of the sites' values.

        Args:
            values: one of shape (*batch, *site) for each latent site; others are ignored.

        Raises:
            ValueError: if a site is missing, or its shape does not fit.
        """
        batches = []
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
            batches.append(value.shape[:cut])
        batch = torch.broadcast_shapes(*batches)
        parts, total = [], torch.zeros((), dtype=self.dtype, device=self.device)
        for site in self.sites:
            value = values[site.name].expand(batch + site.shape)
            part = site.transform.inv(value)
            log_det = site.log_det(part, value, len(batch))
            total = total if log_det is None else total + log_det
            parts.append(part.reshape(batch + Size([site.length])))
        return torch.cat(parts, -1), total.expand(batch)

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
        like = torch.empty((), dtype=self.dtype, device=self.device)
        for site, other in zip(self.sites, Latents(trace).sites, strict=True):
            if not site.same_support(other, like):
                return site.name
        return None
