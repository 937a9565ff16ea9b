"""Exact draws from a posterior, by chains that a guide speeds up."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...loop.generators import restored_generators, seed_generators
from ...loop.progress import progress_bar
from ...loop.settings import with_keywords
from ...loop.warning import warn_caller
from ..guides.auto_flow import AutoFlow
from ..guides.auto_mixture import AutoMixture
from ..guides.flow_mixture import FlowMixture
from ..keywords import told_apart
from ..model.density import LogDensity
from ..model.latents import Latents
from .chains import Chains
from .mcmc_settings import MCMCSettings
from .mixing import MOST_R_HAT, r_hat
from .sampler import sample
from .target import Target

__all__ = ["flow_mcmc"]

TRIED = 100  # draws of the guide, by which the model's way of running is chosen


def flow_mcmc(
    model: Callable[..., Any],
    guide: AutoFlow | AutoMixture,
    *args: Any,
    settings: MCMCSettings | None = None,
    **kwargs: Any,
) -> Chains:
    r"""Sample a posterior by many Markov chains, in which a guide proposes and its flow straightens the way.

    Each step of a chain tries some draws of the guide, accepting u′ with probability min(1, w(u′) / w(u)) by
    the importance weights w = p / q, and then moves by Hamiltonian Monte Carlo in the flow's own coordinates,
    in which the posterior is standard normal if the guide is exact. Both leave the posterior as it is,
    however bad the guide: a better one only makes the chains mix faster. A guide that weights cannot correct
    ("do not trust") will often do.

    Chains go on until every R̂ is at most 1.01, or 16 steps a draw are taken; a warning tells if one is above
    then. A mode that the guide misses altogether is not found by the chains either, and R̂ cannot tell.

    Gabrié, Rotskoff & Vanden-Eijnden, "Adaptive Monte Carlo augmented with normalizing flows", 2022,
    arXiv:2105.12603; Hoffman et al., "NeuTra-lizing Bad Geometry in Hamiltonian Monte Carlo Using Neural
    Transport", 2019, arXiv:1903.03704.

    Args:
        model: a Pyro model.
        guide: an `AutoFlow` or an `AutoMixture` for it, fitted.
        *args: positional arguments of the model.
        settings: how to sample; the default should do.
        **kwargs: fields of `MCMCSettings`, which replace those of `settings`; all others are keyword
            arguments of the model.

    Returns:
        The draws, with R̂ and effective sample sizes.

    Raises:
        TypeError: if an argument is not as above.
        ValueError: if guide and model do not fit, a plate is subsampled, or the model has no density at the
            guide's draws.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model():
        ...     x = pyro.sample("x", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...     pyro.sample("y", dist.Normal(x.sum(-1), 1.0), obs=torch.tensor(1.0))
        >>> guide = pf.infer.AutoFlow(model)
        >>> chains = pf.infer.flow_mcmc(model, guide, num_samples=100, num_chains=32, progress=False)
        >>> chains.samples["x"].shape, chains.converged
        (torch.Size([32, 100, 2]), True)
    """
    start = time.perf_counter()
    own, kwargs = told_apart(model, MCMCSettings, kwargs, caller="flow_mcmc")
    settings = with_keywords(MCMCSettings, settings, own)
    if not isinstance(guide, AutoFlow | AutoMixture):
        raise TypeError(f"expected an AutoFlow or an AutoMixture; got {type(guide).__name__}")
    seed = int(torch.randint(2**32, ())) if settings.seed is None else settings.seed
    with restored_generators(None):  # of no device yet: the guide learns it in `setup`
        seed_generators(seed, device=None)
        guide.setup(*args, **kwargs)
        latents = guide.latents
        target = _target(model, guide, args, kwargs)
        steps = settings.warmup_steps + settings.num_samples * (settings.thinning or 1)
        bar = progress_bar(steps, 0, shown=settings.progress, unit="step")
        try:
            sampled = sample(target, settings, bar, partial(_has_mixed, latents))
        finally:
            bar.close()
    with torch.no_grad():
        values, log_det = latents.constrain(sampled.states.u.transpose(0, 1))
    chains = Chains(
        latents=values,
        log_q=sampled.states.log_q.T - log_det,
        independence_acceptance=sampled.independence.T,
        local_acceptance=sampled.local.T,
        step_sizes=tuple(path.step_size for path in sampled.paths),
        thinning=sampled.thinning,
        seconds=time.perf_counter() - start,
        model=model,
        guide=guide,
        args=args,
        kwargs=kwargs,
    )
    if not chains.converged:
        warn_caller(_not_mixed(chains))
    return chains


def _target(model: Callable[..., Any], guide: AutoFlow | AutoMixture, args: Any, kwargs: Any) -> Target:
    posterior = guide.get_posterior(*args, **kwargs)
    density = LogDensity(model, guide.latents, args, kwargs)
    with torch.no_grad():
        u = posterior.sample((TRIED,))
    density.prepare(u)
    if part := density.runs.joint.layout.part:
        raise ValueError(
            f"expected a model over all data, since chains on subsamples sample another posterior; got {part}"
        )
    mixture = posterior if isinstance(posterior, FlowMixture) else FlowMixture([posterior], u.new_zeros(1))
    return Target(density, mixture, density.runs.together)


@torch.no_grad()
def _has_mixed(latents: Latents, u: Tensor) -> bool:
    """Whether every R̂ of the latent sites is small enough; u is of shape (chains, draws, d)."""
    values = latents.constrain(u)[0].values()
    return all(not bool((r_hat(value) > MOST_R_HAT).any()) for value in values)


def _not_mixed(chains: Chains) -> str:
    worst = {name: float(value.nan_to_num(-torch.inf).max()) for name, value in chains.r_hat.items()}
    name = max(worst, key=lambda name: worst[name])
    draws = chains.shape[1]
    return (
        f"the chains have not mixed: R̂ of {name!r} is {worst[name]:.3f}, above {MOST_R_HAT}, after {draws} "
        f"draws, {chains.thinning} steps each. Sample for longer, flow_mcmc(..., thinning="
        f"{4 * chains.thinning}), or train the guide further"
    )
