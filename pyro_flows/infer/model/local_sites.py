"""The latent sites of one row of a plate, as one unconstrained vector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pyro.distributions.util import sum_rightmost
from torch import Size, Tensor
from torch.distributions import Transform, biject_to

__all__ = ["LocalSites"]


class _Site(NamedTuple):
    """How a site's value follows from a slice of the row's vector."""

    name: str
    shape: Size  # of the slice
    event_dim: int
    transform: Transform


class LocalSites:
    """Packs the latent sites of a plate's rows into vectors, one a row.

    `frame` is the plate's frame, `dim` the length d of a vector.

    Args:
        latent: a trace's latent sites by name; those in no plate are left out.

    Raises:
        ValueError: where the sites in plates are not all in one, at dimension −1, are discrete, or there is
            none.
    """

    def __init__(self, latent: Mapping[str, Any]) -> None:
        local = {name: site for name, site in latent.items() if _frames(site)}
        self.frame = _only_frame(local)
        self.sites = [_site(site) for site in local.values()]
        self.dim = sum(math.prod(site.shape) for site in self.sites)

    def unpacked(self, vectors: Tensor) -> Iterator[tuple[str, Tensor, Tensor, int]]:
        """Yield name, value, log|det du/dx| and event_dim of each site, from vectors u, (*batch, d)."""
        start = 0
        for name, shape, event_dim, transform in self.sites:
            stop = start + math.prod(shape)
            part = vectors[..., start:stop].reshape(vectors.shape[:-1] + shape)
            value = transform(part)
            log_det = transform.log_abs_det_jacobian(part, value)
            yield name, value, -sum_rightmost(log_det, log_det.dim() - vectors.dim() + 1), event_dim
            start = stop


def _frames(site: Mapping[str, Any]) -> list[Any]:
    return [frame for frame in site["cond_indep_stack"] if frame.vectorized]


def _only_frame(local: Mapping[str, Any]) -> Any:
    """Return the plate that all local sites are in."""
    if not local:
        raise ValueError("expected a model with latent sites inside a plate; got none")
    found = {name: [(frame.name, frame.dim) for frame in _frames(site)] for name, site in local.items()}
    first = next(iter(found.values()))
    if any(plates != first for plates in found.values()) or len(first) > 1 or first[0][1] != -1:
        raise ValueError(f"expected local sites in one and the same plate, at dimension −1; got {found}")
    return _frames(next(iter(local.values())))[0]


def _site(site: Mapping[str, Any]) -> _Site:
    fn, value = site["fn"], site["value"]
    if fn.support.is_discrete:
        raise ValueError(f"expected continuous local sites; got the discrete {site['name']!r}")
    transform = biject_to(fn.support)
    return _Site(site["name"], transform.inv(value).shape[1:], fn.event_dim, transform)
