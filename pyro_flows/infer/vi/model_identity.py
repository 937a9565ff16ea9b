"""What tells a model and its data from others, so that a checkpoint serves its own run only."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch

from ...loop.generators import restored_generators, seed_generators
from ..guides.arguments import digest_of
from ..model.density import log_joint
from ..model.given import ModelFailure
from ..model.latents import Latents

__all__ = ["ModelIdentity"]

CLOSE = 1e-4  # relative, up to which log-densities are the same: threads and devices round otherwise


class ModelIdentity:
    """Latent sites, a digest of the arguments, and the log-joint at two places.

    The last tells of what the model holds besides: priors, and data that are no arguments. It depends on the
    model's own parameters too.

    Args:
        model: the model.
        latents: its latent sites.
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
    """

    def __init__(
        self, model: Callable[..., Any], latents: Latents, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self.model, self.latents, self.args, self.kwargs = model, latents, args, kwargs

    @cached_property
    def told(self) -> dict[str, str]:
        """What two runs share that have the same model, in words."""
        sites = (f"{site.name} of shape {tuple(site.shape)}" for site in self.latents.sites)
        return {
            "latent sites": ", ".join(sites),
            "arguments of the digest": digest_of(self.args, self.kwargs),
        }

    @torch.no_grad()
    def log_joints(self) -> list[float]:
        """Return the log-joint at two fixed places, NaN if the model raises there."""
        like = {"dtype": self.latents.dtype, "device": self.latents.device}
        found = []
        for u in (torch.zeros(self.latents.dim, **like), torch.linspace(0.5, -0.3, self.latents.dim, **like)):
            with restored_generators(self.latents.device):
                seed_generators(0, device=self.latents.device)  # the same subsample each time
                try:
                    values = self.latents.constrain(u)[0]
                    found.append(float(log_joint(self.model, values, self.args, self.kwargs)))
                except ModelFailure:
                    found.append(math.nan)
        return found

    def check(self, theirs: list[float], path: str | os.PathLike[str] | None) -> None:
        """Compare the log-joints with those of the run that wrote a file.

        Raises:
            ValueError: if they differ.
        """
        for wanted, got in zip(theirs, self.log_joints(), strict=True):
            same = wanted == got or abs(wanted - got) <= CLOSE * (1 + abs(wanted))
            if not (same or (math.isnan(wanted) and math.isnan(got))):
                raise ValueError(
                    f"{path} is of another run: expected a model whose log-density at a fixed place is "
                    f"{wanted:.6g}; got {got:.6g}"
                )
