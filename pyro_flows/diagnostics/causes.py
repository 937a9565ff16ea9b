"""What no training mends: numbers that a dtype hardly tells apart, and priors that nothing bounds."""

from __future__ import annotations

import math

import torch
from pyro.distributions import ImproperUniform

from ..infer import Importance
from ..infer.model.latents import Latents
from ..infer.model.program import is_point
from .labels import labels
from .moments import RESOLVED

__all__ = ["flat_priors", "unresolved"]


def unresolved(result: Importance) -> str | None:
    """Say so if draws of a latent variable lie so close together that its dtype hardly tells them apart.

    Supports that couple elements are left out, since some of theirs are constant.
    """
    if result.trace is None:
        return None
    try:
        sites = Latents(result.trace).sites
    except ValueError:
        return None
    worst, told = float(RESOLVED), None
    for site in sites:
        value = result.evaluation.values[site.name].detach().cpu()
        if not site.elementwise or not value.numel() or is_point(result.trace.nodes[site.name]):
            continue
        x, eps = value.double().reshape(len(value), -1), torch.finfo(value.dtype).eps
        sd, size = x.std(0), x.abs().median(0).values
        units = torch.where(sd == 0, 0.0, sd / (eps * size))
        i = int(units.nan_to_num(math.inf).argmin())
        if float(units[i]) <= worst:
            worst = float(units[i])
            apart = eps * 2.0 ** math.floor(math.log2(float(size[i]))) if size[i] > 0 else 0.0
            told = (
                f"the guide's standard deviation of {labels(site.name, value.shape[1:])[i]} is "
                f"{float(sd[i]):.3g} at {float(x[:, i].median()):.3g}, where numbers of "
                f"{str(value.dtype).removeprefix('torch.')} lie {apart:.3g} apart"
            )
    return told


def flat_priors(result: Importance) -> tuple[str, ...]:
    """Return the latent sites whose prior is flat: if the data do not bound them, no posterior exists."""
    found = []
    for name, site in result.trace.nodes.items() if result.trace is not None else ():
        fn = site.get("fn")
        while hasattr(fn, "base_dist"):
            fn = fn.base_dist
        if isinstance(fn, ImproperUniform):
            found.append(name)
    return tuple(found)
