"""Which observations of a site a mask lets count."""

from __future__ import annotations

import torch
from pyro.distributions import Independent, MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Size, Tensor

from .program import Site

__all__ = ["mask_of"]


def mask_of(site: Site, shape: Size) -> Tensor | None:
    """Return where a site's log-density counts, of its shape; None without a mask.

    An event of which a part is masked counts.

    Args:
        site: a sample site of a trace.
        shape: that of its log-density.
    """
    masks = [] if site["mask"] is None else [torch.as_tensor(site["mask"])]
    fn, events = site["fn"], 0
    while isinstance(fn, Independent | MaskedDistribution | ExpandedDistribution):
        if isinstance(fn, Independent):
            events += fn.reinterpreted_batch_ndims
        elif isinstance(fn, MaskedDistribution):
            mask = torch.as_tensor(fn._mask)
            masks.append(mask.flatten(-events).any(-1) if 0 < events <= mask.dim() else mask)
        fn = fn.base_dist
    if not masks:
        return None
    found = torch.ones(shape, dtype=torch.bool, device=site["value"].device)
    for mask in masks:
        found = found & mask.to(found.device)
    return found
