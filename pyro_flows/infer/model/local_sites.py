"""The latent sites of one row of a plate, as one unconstrained vector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from .packing import PackedSite, length, unpack

__all__ = ["LocalSites"]


class LocalSites:
    """Packs the latent sites of a plate's rows into vectors, one a row.

    `frame` is the plate's frame, `dim` the length d of a vector.

    Args:
        latent: a trace's latent sites by name; those in no plate are left out.

    Raises:
        ValueError: if there is no site in a plate, one is discrete, or they are not all in one plate, at
            dimension −1.
    """

    def __init__(self, latent: Mapping[str, Any]) -> None:
        local = {name: site for name, site in latent.items() if _frames(site)}
        self.frame = _only_frame(local)
        self.sites = [PackedSite.of(site, lead=1) for site in local.values()]
        self.dim = length(self.sites)

    def unpacked(self, vectors: Tensor) -> Iterator[tuple[str, Tensor, Tensor, int]]:
        """Yield name, value, log|det du/dx| and event_dim of each site, from vectors u, (*batch, d)."""
        for site, value, log_det in unpack(self.sites, vectors):
            density = vectors.new_zeros(vectors.shape[:-1]) if log_det is None else -log_det
            yield site.name, value, density, site.event_dim


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
