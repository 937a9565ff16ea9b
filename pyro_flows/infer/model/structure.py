"""What `AutoFlow` asks of a model before it makes a flow for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor

from .given import trace_at
from .latents import Latents
from .packing import bijection_of, support_of

__all__ = ["fixed_latents", "or_zero"]


def or_zero(init_loc_fn: Callable[[Any], Tensor]) -> Callable[[Any], Tensor]:
    """Return an init function that puts sites which cannot be sampled, such as flat priors, at u = 0.

    Raises:
        ValueError: in a call, if the site has no support, or a continuous one that has no bijection.
    """

    def init(site: Any) -> Tensor:
        """Return the site's initial value."""
        if support_of(site).is_discrete:
            value: Tensor = site["fn"]()
            return value
        try:
            return init_loc_fn(site)
        except NotImplementedError:
            transform = bijection_of(site)
            shape = transform.inverse_shape(site["fn"].shape())
            return transform(torch.zeros(shape))

    return init


def fixed_latents(
    model: Callable[..., Any], initial: Callable[..., Any], args: Any, kwargs: Any
) -> tuple[Latents, Trace]:
    """Return how the model's latent sites are packed into a vector, and a trace at the initial values.

    Args:
        model: the model.
        initial: the model with its initial values.
        args: what it takes.
        kwargs: what it takes.

    Raises:
        ValueError: if a latent site is discrete, in a subsampled plate, or of a support that depends on
            other latent sites.
    """
    with torch.no_grad():
        trace = poutine.block(poutine.trace(initial).get_trace)(*args, **kwargs)
        latents = Latents(trace)
        for site in latents.sites:
            if (dtype := trace.nodes[site.name]["value"].dtype) not in (torch.float32, torch.float64):
                raise ValueError(
                    f"expected latent sites in single or double precision; got {site.name!r} of {dtype}"
                )
            for frame in trace.nodes[site.name]["cond_indep_stack"]:
                if frame.full_size is not None and frame.full_size != frame.size:
                    raise ValueError(
                        f"expected latent sites outside of subsampled plates; got {site.name!r} inside "
                        f"{frame.name!r}: one flow over all latent sites cannot follow a changing subsample. "
                        "Write an amortised guide, with flow(context) inside the plate: see "
                        "tutorials/04_amortized_inference.ipynb"
                    )
        u, _ = latents.unconstrain(latents.values(trace))
        step = torch.linspace(0.3, -0.2, latents.dim, dtype=u.dtype, device=u.device)
        found = latents.depends(trace_at(model, latents.constrain(u + step)[0], args, kwargs))
    if found is not None:
        raise ValueError(
            f"expected latent sites of fixed support; that of {found!r} depends on other sites: sample it on "
            "a fixed support, such as the unit interval, and transform it in the model"
        )
    return latents, trace
