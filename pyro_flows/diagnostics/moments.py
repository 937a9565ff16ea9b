"""Means and standard deviations of all that a guide draws, element by element."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..infer import Importance
from .labels import labels

__all__ = ["RESOLVED", "Moments", "moments"]

RESOLVED = 2  # units in the last place, below which rounding moves a standard deviation by a hundredth
_ROUNDING = 8  # such units, of what is computed from several numbers


@dataclass(frozen=True)
class Moments:
    """Of each element of each latent variable and deterministic site: (elements,), double precision."""

    names: list[str]
    """What each element is called, such as "theta[3]"."""
    own_mean: Tensor
    """Mean of the guide's own draws."""
    own_sd: Tensor
    """Their standard deviation."""
    mean: Tensor
    """Mean by the smoothed importance weights."""
    sd: Tensor
    """Standard deviation by the weights."""
    error: Tensor
    """Standard error of `mean`."""
    rounding: Tensor
    """How far an element that is constant may move by rounding alone."""


def moments(result: Importance) -> Moments:
    """Return the moments of a result's draws."""
    kept = ~result.evaluation.raised.cpu()  # deterministic values are NaN where the model raised
    weights = result.smoothed.log_weights.exp().cpu()[kept, None]
    n = len(weights)
    latent = result.evaluation.values
    draws = {name: value.detach().cpu()[kept] for name, value in result.draws.items() if value.numel()}
    x = torch.cat([value.double().reshape(n, -1) for value in draws.values()], 1)
    # A deterministic site may be a difference that is zero but for the rounding of larger numbers.
    scale = max((float(draws[name].abs().double().median()) for name in latent if name in draws), default=0.0)
    floors = []
    for name, value in draws.items():
        size = value.double().abs().reshape(n, -1).median(0).values
        eps = torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
        floors.append(eps * (RESOLVED * size if name in latent else _ROUNDING * size.clamp(min=scale)))
    own_mean, mean = x.mean(0), (weights * x).sum(0)
    squares = (x - mean).square()
    return Moments(
        [label for name, value in draws.items() for label in labels(name, value.shape[1:])],
        own_mean,
        (x - own_mean).square().mean(0).sqrt(),
        mean,
        (weights * squares).sum(0).sqrt(),
        (weights.square() * squares).sum(0).sqrt(),
        torch.cat(floors),
    )
