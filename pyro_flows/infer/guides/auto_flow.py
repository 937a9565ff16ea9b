"""A flow as the posterior of a model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.infer.autoguide import init_to_median, init_to_sample
from pyro.infer.autoguide.initialization import InitMessenger
from torch import Size, Tensor
from torch.distributions import Transform

from ...flow import Flow
from ...flow_distribution import FlowDistribution
from ...transform import FlowTransform
from ..model.density import unvalidated
from ..model.latents import Latents
from ..model.structure import fixed_latents, or_zero
from .defaults import default_transform
from .fixed_layers import fix_layers
from .known_arguments import KnownArguments
from .named_guide import NamedGuide
from .quasi_random import normal_points
from .start import starting_gaussian
from .whitened_flow import chain_of, is_factory, whitened_flow
from .whitening import Whitening

__all__ = ["AutoFlow"]

_UNBUILT = "expected a guide that is set up: call guide.setup(*args) with the model's arguments"
QUANTILE_DRAWS = 8192


class AutoFlow(NamedGuide):
    r"""q(u) with u = μ + L (m + A f(z)), z ~ N(0, I): a flow f as the posterior of all latent sites.

    u holds the latent sites in unconstrained space, side by side. `initialise` finds a Gaussian near the
    posterior and keeps its location μ and triangular scale L as fixed whitening; m and the triangular A
    start at zero and the identity, so that every posterior looks alike to the optimiser. Above 1,024 latent
    dimensions L and A are diagonal.

    Train it by `fit_vi`, or by Pyro's `SVI` with `PathELBO`, `Trace_ELBO` or another that scores draws; the
    first call of a guide that is neither initialised nor loaded initialises it. `TraceMeanField_ELBO`, which
    leaves out the Jacobian of constrained sites, and `ReweightedWakeSleep` find wrong posteriors of them,
    with Pyro's own guides too.

    A guide has a name of its own in Pyro's parameter store and shares values with no other guide. μ and L
    are there too; a store that holds the flow without them is refused. The values of a guide that is gone are
    taken out of the store, unless it was given a `name`.

    Batch norm, act norm and dropout inside f stay in evaluation mode: there is no data to take statistics
    from, and a guide has to score what it draws. Other data than in `setup` will do if they leave the latent
    sites' shapes and supports as they are; to predict, observations may be left out.

    In an `AutoGuideList` a guide's model hides the sites of other guides (`pyro.poutine.block`) and draws
    them anew in each run, so that its density says little. Such a guide starts at the initial values, with
    scales of 0.1.

    Args:
        model: a Pyro model with continuous latent sites of fixed shapes and supports.
        transform: f as a function of the number d of latent dimensions, or a transform of vectors of
            length d, ours, Pyro's or torch's; affine couplings if None.
        name: what the keys in the parameter store begin with, for loading it in another process.
        init_loc_fn: where `initialise` starts, one of Pyro's ``init_to_…``.

    Raises:
        ValueError: in `setup`, if a latent site is discrete or inside a subsampled plate, or its support
            depends on other latent sites.

    Example:
        >>> import pyro, pyro.distributions as dist, torch, pyro_flows as pf
        >>> def model():
        ...     scale = pyro.sample("scale", dist.HalfNormal(1.0))
        ...     pyro.sample("x", dist.Normal(0.0, scale))
        >>> guide = pf.infer.AutoFlow(model)
        >>> guide.setup()
        >>> sorted(guide.sample_posterior(5)), guide.sample_posterior(5)["x"].shape
        (['scale', 'x'], torch.Size([5]))
    """

    initialised: Tensor
    _functions = ("_model", "_bare_model", "_transform")

    def __init__(
        self,
        model: Callable[..., Any],
        transform: Callable[[int], Any] | Transform | Sequence[Transform] | None = None,
        *,
        name: str | None = None,
        init_loc_fn: Callable[..., Any] = init_to_median,
    ) -> None:
        super().__init__(model, name, init_loc_fn)
        self._bare_model = (model,)
        self._transform = (default_transform if transform is None else transform,)
        self._first_weights: list[dict[str, Tensor]] = []  # of a transform that was given built
        self._known: KnownArguments | None = None
        self._renewed = self._local = False
        self._latents: Latents | None = None
        self.register_buffer("initialised", torch.zeros(1, dtype=torch.bool))

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Run the model once and build everything; from then on a `state_dict` can be loaded.

        A guide that is set up already only checks that these arguments leave its latent sites as they are.

        Raises:
            ValueError: if the model's latent sites cannot be fitted, or have other shapes or supports than
                before.
        """
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        elif self.model is not None and self._known is not None:
            self._known.check(self.model, args, kwargs, values=True)

    def initialise(self, *args: Any, **kwargs: Any) -> None:
        """Place μ and L at a good Gaussian, in a time short beside that of a fit."""
        self.setup(*args, **kwargs)
        with torch.no_grad(), poutine.block(), unvalidated():
            model = self._scattered() if self._renewed else self.model
            trace = poutine.trace(model).get_trace(*args, **kwargs)
            start = self.latents.unconstrain(self.latents.values(trace))[0]
            dense, local = self.whitening.dense, self._local
            found = starting_gaussian(
                self._bare_model[0], self.latents, start, args, kwargs, dense=dense, local=local
            )
            self.whitening.place(*found)
        self.initialised.fill_(True)

    def renew(self, *, local: bool = False) -> None:
        """Give the flow new random weights; `initialise` then starts at a draw of the prior.

        A transform that was given built, and not as a function, gets back the weights that it came with.

        Args:
            local: whether `initialise` then looks for a Gaussian of the mode that it comes to, and not for
                the best one, which may cover several.

        Raises:
            ValueError: if the guide was unpickled, and has lost its model and transform.
        """
        given = self._transform[0]
        if given is None:
            raise ValueError(
                "expected a guide made from its model; got an unpickled one, which cannot start anew"
            )
        fresh = self._first_weights or [part.state_dict() for part in chain_of(given, self.latents.dim)]
        for part, weights in zip(self._built.transform, fresh, strict=False):
            part.load_state_dict(weights)
        self.initialised.fill_(False)
        self._renewed, self._local = True, local

    def _scattered(self) -> Callable[..., Any]:
        """Return the model with its latent sites drawn from the prior, so that starts differ."""
        initial: Callable[..., Any] = InitMessenger(or_zero(init_to_sample))(self._bare_model[0])
        return initial

    def train(self, mode: bool = True) -> AutoFlow:
        """Set the mode, but leave layers that depend on the batch in evaluation mode."""
        super().train(mode)
        fix_layers(self)
        return self

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        with torch.no_grad(), unvalidated():
            latents, trace = fixed_latents(self._bare_model[0], self.model, args, kwargs)
            super()._setup_prototype(*args, **kwargs)
            with poutine.block():  # who traces the guide's first call would see the plates twice
                self._create_plates(*args, **kwargs)
            loc = latents.unconstrain(latents.values(trace))[0]
        given = self._transform[0]
        inner = chain_of(given, latents.dim)
        if not is_factory(given):
            self._first_weights = [copy.deepcopy(part.state_dict()) for part in inner]
        flow = whitened_flow(inner, loc)
        self._latents = latents
        self._known = KnownArguments(latents, trace, args, kwargs)
        self.initialised = self.initialised.to(loc.device)
        self.flow = flow
        self._share()

    def _share(self) -> None:
        if self._sync(self._built):
            self.initialised.fill_(True)

    @property
    def _built(self) -> Flow:
        # Past PyroModule's __getattr__, which would announce every parameter at each look.
        flow = self._modules.get("flow")
        if not isinstance(flow, Flow):
            raise ValueError(_UNBUILT)
        return flow

    @property
    def latents(self) -> Latents:
        """How the latent sites are packed into u."""
        if self._latents is None:
            raise ValueError(_UNBUILT)
        return self._latents

    @property
    def whitening(self) -> Whitening:
        """The last part of the flow, u = μ + L (m + A x)."""
        return self._built.transform[-1]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if "flow" not in self._modules and any(key.startswith(f"{prefix}flow.") for key in state_dict):
            raise ValueError("expected a guide that is set up: call guide.setup(*args) before loading")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def get_posterior(self, *args: Any, **kwargs: Any) -> FlowDistribution:
        """Return q(u), a distribution of vectors of length d in unconstrained space."""
        self._share()
        if not self.initialised:
            self.initialise(*args, **kwargs)
        elif self.model is not None and self._known is not None and (args or kwargs):
            self._known.check(self.model, args, kwargs)
        if self._entry is not None:
            self._entry.announce()
        return self._built()

    def get_base_dist(self) -> Any:
        """Return the noise's distribution, as `NeuTraReparam` asks for."""
        return self._built.base()

    def get_transform(self, *args: Any, **kwargs: Any) -> FlowTransform:
        """Return the transform from noise to u, as `NeuTraReparam` asks for."""
        self._share()
        return self._built.transform

    def from_noise(self, noise: Tensor) -> dict[str, Tensor]:
        """Return the latent sites at noise of shape (*batch, d), each of shape (*batch, *site).

        What `NeuTraReparam` samples is noise; its own `transform_sample` wants room for plates.
        """
        return self.latents.constrain(self.get_transform().forward_and_log_det(noise)[0])[0]

    def rsample_and_log_prob(self, sample_shape: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """Return reparametrised vectors u, of shape (*sample_shape, d), and log q(u), (*sample_shape,)."""
        self._share()
        return self._built().rsample_and_log_prob(Size(sample_shape))

    @torch.no_grad()
    def sample_and_log_prob(self, num_samples: int | Sequence[int] = ()) -> tuple[dict[str, Tensor], Tensor]:
        """Draw latent sites, of shape (*num_samples, *site), and their log-density, (*num_samples,)."""
        shape = (num_samples,) if isinstance(num_samples, int) else num_samples
        u, log_prob = self.rsample_and_log_prob(shape)
        values, log_det = self.latents.constrain(u)
        return values, log_prob - log_det

    def log_prob(self, latents: dict[str, Tensor]) -> Tensor:
        """Return the guide's log-density of latent sites of shape (*batch, *site), as (*batch,).

        The density is over the values as the model has them, constrained; for a simplex and the like it
        is over the free coordinates that `torch.distributions.biject_to` takes.
        """
        self._share()
        u, log_det = self.latents.unconstrain(latents)
        return self._built().log_prob(u) - log_det

    @torch.no_grad()
    def quantiles(self, quantiles: Sequence[float] | Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return marginal quantiles of each latent site, of shape (number of quantiles, *site).

        They come from 8,192 quasi-random draws, the same at each call, and err by about a hundredth of a
        standard deviation. If a support couples elements, as a simplex does, the quantiles of the
        unconstrained coordinates are mapped onto it, which is what Pyro's guides do for all sites.
        """
        self._share()
        noise = normal_points(QUANTILE_DRAWS, self.latents.dim).to(self.whitening.loc)
        u = self._built.transform.forward_and_log_det(noise)[0]
        levels = torch.as_tensor(quantiles, dtype=u.dtype, device=u.device)
        return self.latents.quantiles(u, levels)
