"""A mixture of flows as the posterior of a model: for posteriors of several modes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from pyro import poutine
from pyro.infer.autoguide import init_to_median
from torch import Tensor, nn

from ..model.density import LogDensity
from ..model.latents import Latents
from .auto_flow import QUANTILE_DRAWS, AutoFlow
from .flow_mixture import FlowMixture
from .mixture_weights import NEGLIGIBLE, apart, share_log_weights
from .named_guide import NamedGuide

__all__ = ["AutoMixture"]


class AutoMixture(NamedGuide):
    r"""q(u) = Σ_k w_k q_k(u), of several `AutoFlow`: a posterior of several modes, a member for each.

    `fit_vi` gives each member a start of its own, the first as it is and the others at draws of the prior,
    fits those whose starts differ, together if they come near each other, and then calls `weigh`: the
    weights w_k are the members' shares of the evidence, and members that have found the same mode as
    another, or less than a thousandth of the posterior, get the weight zero. Members that are fitted already
    need `weigh` alone.

    It is used as any guide is: for importance weights, verdicts, ArviZ, and `flow_mcmc`. Its density takes
    the inverse of every member; its samples carry no gradient. A mode that no start leads to stays unfound,
    and no weight shows it. `fit_vi` warns if members found modes that no other did: more members find more.

    Args:
        guides: the members, for the same model.
        name: what the key of the weights in the parameter store begins with, for loading it in another
            process; members have names of their own.

    Raises:
        TypeError: if a member is not an `AutoFlow`.
        ValueError: if there is none, or one is there twice; in `setup`, if they differ in latent sites.

    Example:
        >>> import pyro, pyro.distributions as dist, torch, pyro_flows as pf
        >>> def model():
        ...     x = pyro.sample("x", dist.Normal(0.0, 4.0))
        ...     pyro.sample("y", dist.Normal(x.abs(), 0.1), obs=torch.tensor(3.0))
        >>> guide = pf.infer.AutoMixture([pf.infer.AutoFlow(model) for _ in range(6)])
        >>> history = pf.infer.fit_vi(model, guide, progress=False, seed=3)
        >>> x = guide.sample_posterior(1000)["x"]
        >>> guide.weights.shape, 0.4 < float((x > 0).float().mean()) < 0.6
        (torch.Size([6]), True)
    """

    def __init__(self, guides: Sequence[AutoFlow], *, name: str | None = None) -> None:
        for guide in guides:
            if not isinstance(guide, AutoFlow):
                raise TypeError(f"expected members of the type AutoFlow; got {type(guide).__name__}")
        distinct = len(set(map(id, guides)))
        if distinct < max(len(guides), 1):
            raise ValueError(
                f"expected ≥ 1 members, each once; got {len(guides)}, {distinct} of them distinct"
            )
        super().__init__(guides[0].model, name, init_to_median)
        # Past PyroModule's __setattr__ and __getattr__, which would announce every parameter at each look.
        self._modules["guides"] = nn.ModuleList(guides)
        shares = self._modules["shares"] = nn.Module()
        shares.register_buffer("log_weights", torch.full((len(guides),), -math.log(len(guides))))

    @property
    def guides(self) -> list[AutoFlow]:
        """The members."""
        return list(cast(Any, self._modules["guides"]))

    @property
    def log_weights(self) -> Tensor:
        """The log w_k, of shape (members,); −∞ of members that are left out."""
        return cast(Tensor, cast(nn.Module, self._modules["shares"]).log_weights)

    @property
    def weights(self) -> Tensor:
        """The w_k, of shape (members,)."""
        return self.log_weights.exp()

    @property
    def latents(self) -> Latents:
        """How the latent sites are packed into u."""
        return self.guides[0].latents

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Set all members up; from then on a `state_dict` can be loaded.

        Raises:
            ValueError: as `AutoFlow.setup`, or if the members differ in latent sites.
        """
        for guide in self.guides:
            guide.setup(*args, **kwargs)
        first, *others = ({site.name: tuple(site.shape) for site in g.latents.sites} for g in self.guides)
        for other in others:
            if other != first:
                raise ValueError(f"expected members of the same latent sites; got {first} and {other}")
        if self.prototype_trace is None:
            with torch.no_grad():
                self._setup_prototype(*args, **kwargs)
                with poutine.block():  # who traces the guide's first call would see the plates twice
                    self._create_plates(*args, **kwargs)
            shares = cast(nn.Module, self._modules["shares"])
            shares.log_weights = self.log_weights.to(self.latents.device, self.latents.dtype)
        self._share()

    def _share(self) -> None:
        self._sync(cast(nn.Module, self._modules["shares"]))

    def get_posterior(self, *args: Any, **kwargs: Any) -> FlowMixture:
        """Return q(u), a distribution of vectors of length d in unconstrained space."""
        self.setup(*args, **kwargs)
        return self._mixture(args, kwargs)

    def _mixture(self, args: Any = (), kwargs: Any = None) -> FlowMixture:
        self._share()
        kept = (self.log_weights > -math.inf).nonzero()[:, 0]
        parts = [self.guides[k].get_posterior(*args, **(kwargs or {})) for k in kept.tolist()]
        return FlowMixture(parts, self.log_weights[kept])

    @torch.no_grad()
    def weigh(
        self,
        model: Callable[..., Any],
        *args: Any,
        num_samples: int = 10_000,
        only: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> list[list[int]]:
        """Set the weights to the members' shares of the evidence, and drop members that repeat another.

        Args:
            model: the model.
            *args: positional arguments of the model.
            num_samples: draws by which the shares are estimated, of all members together.
            only: the members to weigh; all others get the weight zero. All of them if None.
            **kwargs: keyword arguments of the model.

        Returns:
            Of each member with a weight, the members that have found what it has, itself first.

        Raises:
            ValueError: if no draw of a member lies where the model has density, or a plate is subsampled.
        """
        self.setup(*args, **kwargs)
        compared = range(len(self.guides)) if only is None else only
        parts = {k: self.guides[k].get_posterior(*args, **kwargs) for k in compared}
        density = LogDensity(model, self.latents, args, kwargs)
        alike = apart(parts, density)
        if not alike:
            raise ValueError("expected a member whose draws lie where the model has density; got none")
        found = share_log_weights([parts[k] for k in alike], density.in_parts, num_samples)
        kept = [k for k, weight in zip(alike, found.exp().tolist(), strict=True) if weight > NEGLIGIBLE]
        found = found[found.exp() > NEGLIGIBLE]
        self.log_weights.fill_(-math.inf)
        self.log_weights[kept] = (found - found.logsumexp(0)).to(self.log_weights)
        return [alike[k] for k in kept]

    @torch.no_grad()
    def sample_and_log_prob(self, num_samples: int | Sequence[int] = ()) -> tuple[dict[str, Tensor], Tensor]:
        """Draw latent sites, of shape (*num_samples, *site), and their log-density, (*num_samples,)."""
        shape = (num_samples,) if isinstance(num_samples, int) else num_samples
        mixture = self._mixture()
        u = mixture.sample(shape)
        values, log_det = self.latents.constrain(u)
        return values, mixture.log_prob(u) - log_det

    def log_prob(self, latents: dict[str, Tensor]) -> Tensor:
        """Return the guide's log-density of latent sites of shape (*batch, *site), as (*batch,)."""
        u, log_det = self.latents.unconstrain(latents)
        return self._mixture().log_prob(u) - log_det

    @torch.no_grad()
    def quantiles(self, quantiles: Sequence[float] | Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return quantiles of each latent site, of shape (number of quantiles, *site), of 8,192 draws."""
        u = self._mixture().sample((QUANTILE_DRAWS,))
        return self.latents.quantiles(u, torch.as_tensor(quantiles, dtype=u.dtype, device=u.device))

    def train(self, mode: bool = True) -> AutoMixture:
        """Set the mode, but leave layers of the members that depend on the batch in evaluation mode."""
        self.training = mode
        for guide in self.guides:
            guide.train(mode)
        return self
