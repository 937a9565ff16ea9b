"""A flow as the posterior of a model."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoContinuous, init_to_median
from torch import Size, Tensor
from torch.distributions import Transform

from ...flow import Flow, FlowDistribution
from ...transform import FlowTransform
from ...transforms import Chain
from ..model.density import LogDensity
from ..model.latents import Latents
from ..model.structure import fixed_latents, or_zero
from .defaults import default_transform
from .gaussian import best_gaussian, simple_gaussians
from .param_store import ParamStoreEntry, unique_name
from .whitening import Whitening

__all__ = ["AutoFlow"]

_UNBUILT = "expected a guide that is set up: call guide.setup(*args) with the model's arguments"
MOST_DENSE = 200  # dimensions, above which no d × d matrix is made
QUANTILE_DRAWS = 8192


class AutoFlow(AutoContinuous):
    r"""q(u) with u = μ + L (m + A f(z)), z ~ N(0, I): a flow f as the posterior of all latent sites.

    u holds the latent sites in unconstrained space, side by side. `initialise` finds a Gaussian near the
    posterior and keeps its location μ and triangular scale L as fixed whitening; m and the triangular A
    start at zero and the identity, so that every posterior looks alike to the optimiser. Train it by
    `fit_vi`, or by Pyro's `SVI` with any ELBO; the first call of a guide that is neither initialised nor
    loaded initialises it.

    A guide has a name of its own in Pyro's ParamStore and shares values with no other guide. μ and L are
    there too; a store that holds the flow without them is refused.

    Args:
        model: a Pyro model with continuous latent sites of fixed shapes and supports.
        transform: f as a function of the number d of latent dimensions, or a transform of vectors of
            length d, ours, Pyro's or torch's; affine couplings where None.
        name: what the keys in the ParamStore begin with, for loading it in another process.
        init_loc_fn: where `initialise` starts, one of Pyro's ``init_to_…``.

    Raises:
        ValueError: in `setup`, where a latent site is discrete or inside of a subsampled plate, or its
            support depends on other latent sites.

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

    def __init__(
        self,
        model: Callable[..., Any],
        transform: Callable[[int], Any] | Transform | Sequence[Transform] | None = None,
        *,
        name: str | None = None,
        init_loc_fn: Callable[..., Any] = init_to_median,
    ) -> None:
        super().__init__(model, init_loc_fn=or_zero(init_loc_fn))
        self._bare_model = (model,)
        self._named = name is not None
        self._pyro_name = name or unique_name(type(self).__name__)
        self._transform = (default_transform if transform is None else transform,)
        self._entry: ParamStoreEntry | None = None
        self._latents: Latents | None = None
        self.register_buffer("initialised", torch.zeros(1, dtype=torch.bool))

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Run the model once and build everything; from then on a `state_dict` can be loaded."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)

    def initialise(self, *args: Any, **kwargs: Any) -> None:
        """Place μ and L at the best Gaussian that Newton steps and a thousand of Adam's, at most, find."""
        self.setup(*args, **kwargs)
        density = LogDensity(self._bare_model[0], self.latents, args, kwargs)
        with torch.no_grad(), poutine.block():
            trace = poutine.trace(self.model).get_trace(*args, **kwargs)
            start = self.latents.unconstrain(self.latents.values(trace))[0]
            starts = simple_gaussians(density.seeded, start, dense=self.whitening.dense)
            self.whitening.place(*best_gaussian(density, starts))
        self.initialised.fill_(True)

    def renew(self) -> None:
        """Give the flow new random weights, as when it was built; μ and L are for `initialise` to place."""
        given = self._transform[0]
        if callable(given) and not isinstance(given, Transform):
            fresh = self._inner(given)
            for i, part in enumerate(fresh):
                self._built.transform[i].load_state_dict(part.state_dict())
        self.initialised.fill_(False)

    def _inner(self, given: Any) -> Chain:
        built = given(self.latents.dim) if callable(given) and not isinstance(given, Transform) else given
        return Chain([built] if isinstance(built, Transform) else built)

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        with torch.no_grad():
            super()._setup_prototype(*args, **kwargs)
            with poutine.block():  # who traces the guide's first call would see the plates twice
                self._create_plates(*args, **kwargs)
            latents, trace = fixed_latents(self._bare_model[0], self.model, args, kwargs)
            loc = latents.unconstrain(latents.values(trace))[0]
        self._latents = latents
        inner = self._inner(self._transform[0])
        shapes = inner.domain_shape, inner.codomain_shape
        if any(shape is not None and shape != (latents.dim,) for shape in shapes):
            raise ValueError(f"expected a transform of vectors of length {latents.dim}; got shapes {shapes}")
        frame = Whitening(latents.dim, dense=latents.dim <= MOST_DENSE)
        flow = Flow([*inner, frame])
        flow.to(loc.device, loc.dtype)
        frame.place(loc, frame.scale)
        self.initialised = self.initialised.to(loc.device)
        self.flow = flow
        self._entry = ParamStoreEntry(self._pyro_name, flow)
        self._share()

    def _share(self) -> None:
        if self._entry is None or self._entry.name != self._pyro_name:  # copied, or put into a list of guides
            self._entry = ParamStoreEntry(self._pyro_name, self._built)
        if self._entry.sync():
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

    def __getstate__(self) -> dict[str, Any]:
        # Pyro's would take the model away from the guide that is being copied; functions may not pickle.
        state = dict(self.__dict__)
        for parameter in self.parameters():
            parameter.__dict__.pop("unconstrained", None)  # a weak reference of Pyro's
        state.update(_model=(None,), _bare_model=(None,), _transform=(None,), _entry=None, master=None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not self._named:
            self._pyro_name = unique_name(type(self).__name__)

    def __deepcopy__(self, memo: dict[int, Any]) -> AutoFlow:
        """Return a copy with a name of its own and the same model."""
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        shared = {key: self.__dict__[key] for key in ("_model", "_bare_model", "_transform")}
        new.__dict__.update(shared, _named=False, _pyro_name=unique_name(type(self).__name__))
        return new

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if "flow" not in self._modules and any(key.startswith(f"{prefix}flow.") for key in state_dict):
            raise ValueError("expected a guide that is set up: call guide.setup(*args) before loading")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def get_posterior(self, *args: Any, **kwargs: Any) -> FlowDistribution:
        """Return q(u), a distribution of vectors of length d in unconstrained space."""
        self._share()
        if not self.initialised:
            self.initialise(*args, **kwargs)
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
    def sample_posterior(self, num_samples: int | Sequence[int] = ()) -> dict[str, Tensor]:
        """Draw latent sites: tensors of shape (*num_samples, *site)."""
        return self.sample_and_log_prob(num_samples)[0]

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
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the median of each latent site, as `quantiles` finds it."""
        return {name: value[0] for name, value in self.quantiles([0.5], *args, **kwargs).items()}

    @torch.no_grad()
    def quantiles(self, quantiles: Sequence[float] | Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return marginal quantiles of each latent site, of shape (number of quantiles, *site).

        They come from 8,192 quasi-random draws, the same at each call, and err by about a hundredth of a
        standard deviation. Where a support couples elements, as a simplex does, the quantiles of the
        unconstrained coordinates are mapped onto it, which is what Pyro's guides do for all sites.
        """
        self._share()
        engine = torch.quasirandom.SobolEngine(self.latents.dim, scramble=True, seed=0)
        uniform = engine.draw(QUANTILE_DRAWS, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
        noise = (math.sqrt(2) * torch.erfinv(2 * uniform - 1)).to(self.whitening.loc)
        u = self._built.transform.forward_and_log_det(noise)[0]
        levels = torch.as_tensor(quantiles, dtype=u.dtype, device=u.device)
        return self.latents.quantiles(u, levels)
