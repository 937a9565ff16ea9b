"""A guide for models with global and local latent variables, its local part read off each row of the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoContinuous, AutoGuide
from torch import Tensor, nn
from torch.distributions import Transform

from ...flow import Flow
from ..model.local_sites import LocalSites
from ..model.program import is_enumerated, is_latent, samples
from .auto_flow import AutoFlow
from .defaults import local_transform
from .fixed_layers import fix_layers
from .param_store import ParamStoreEntry, unique_name

__all__ = ["AutoAmortized"]

_UNBUILT = "expected a guide that is set up: call guide.setup(*args) with the model's arguments"


class AutoAmortized(AutoGuide):
    r"""q(g) Π_i q(l_i | e(y_i), g): a flow over global sites, a conditional one over those inside a plate.

    An encoder e reads the rows y_i; its features, with the global variables' unconstrained values, are the
    context of the flow over the row's local variables. Inside a subsampled plate only the rows of the
    subsample are read, and terms are scaled as the model's are. Train it by Pyro's `SVI` with
    `PathELBO` or `Trace_ELBO`; `TraceMeanField_ELBO` leaves out the Jacobian of constrained sites. Discrete
    sites that are marked by ``infer={"enumerate": "parallel"}`` are summed out by Pyro's `TraceEnum_ELBO`.

    In an `AutoGuideList` it takes the list's plates. A guide of the local sites alone, beside another one of
    the global sites, is made of a model that hides the latter; it does not read their values.

    Args:
        model: a model whose local sites are all inside one plate, at dimension −1; its size may change from
            call to call.
        encoder: maps rows of shape (batch, …) to features of shape (batch, k).
        rows: takes the model's arguments and returns the rows that the encoder reads, of shape (N, …).
        transform: the local flow as a function of the number d of latent variables of a row and the length of
            the context; affine couplings after an affine map of the context if None.
        global_guide: makes the guide of the global sites, an `AutoContinuous`, from the model with its local
            sites hidden; `AutoFlow` if None.
        create_plates: takes the model's arguments and returns the plate, as in Pyro's automatic guides;
            needed if the subsample's size changes from call to call.

    Raises:
        ValueError: in `setup` or the first call, if the latent sites are not as above.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model(y):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("row", len(y), subsample_size=4) as rows:
        ...         z = pyro.sample("z", dist.Normal(mean, 1.0))
        ...         pyro.sample("y", dist.Normal(z, 1.0), obs=y[rows])
        >>> guide = pf.infer.AutoAmortized(model, torch.nn.Unflatten(0, (-1, 1)), rows=lambda y: y)
        >>> svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())
        >>> loss = svi.step(torch.randn(20))
        >>> guide.sample_rows(torch.randn(7), 5)["z"].shape
        torch.Size([5, 7])
    """

    def __init__(
        self,
        model: Callable[..., Any],
        encoder: nn.Module,
        rows: Callable[..., Tensor],
        *,
        transform: Callable[[int, int], Transform] = local_transform,
        global_guide: Callable[[Callable[..., Any]], AutoContinuous] | None = None,
        create_plates: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__(model, create_plates=create_plates)
        self.encoder = encoder
        self._rows = (rows,)
        self._transform, self._make_global = transform, global_guide
        self._name = unique_name(type(self).__name__)
        self._entry: ParamStoreEntry | None = None
        self._parts: tuple[nn.ModuleDict, ...] = ()  # not a part of the state: the modules are, by themselves
        self._sites: LocalSites | None = None

    # Past PyroModule's __getattr__, which would announce every parameter at each look, and past
    # AutoGuide's __setattr__, which would take the guide of the global sites for one of a list.
    @property
    def globals(self) -> AutoContinuous | None:
        """The guide of the global sites, if there are any."""
        return cast(AutoContinuous | None, self._modules.get("globals"))

    @property
    def flow(self) -> Flow | None:
        """The flow over a row's local variables, once the guide is set up."""
        return cast(Flow | None, self._modules.get("flow"))

    def _features(self, rows: Tensor) -> Tensor:
        return cast(Tensor, cast(nn.Module, self._modules["encoder"])(rows))

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Run the model once and build both parts; from then on a `state_dict` can be loaded."""
        if self.flow is not None:
            return
        model = self.model
        with torch.no_grad(), poutine.block():
            sites = samples(poutine.trace(model).get_trace(*args, **kwargs))
            features = self._features(self._rows[0](*args, **kwargs)[:2])
        latent = {name: site for name, site in sites.items() if is_latent(site) and not is_enumerated(site)}
        local = self._sites = LocalSites(latent)
        if features.dim() != 2:
            raise ValueError(f"expected features of shape (batch, k); got {tuple(features.shape)} of 2 rows")
        context_dim = features.shape[-1]
        if len(local.sites) < len(latent):
            hidden = poutine.block(model, hide=[site.name for site in local.sites])
            guide = AutoFlow(hidden) if self._make_global is None else self._make_global(hidden)
            guide.master = self.master
            self._modules["globals"] = guide
            with torch.no_grad(), poutine.block():
                vector = self._global_vector(args, kwargs)[1]
            context_dim += 0 if vector is None else vector.shape[-1]
        transform = self._transform(local.dim, context_dim)
        if getattr(transform, "context_shape", None) != (context_dim,):
            shape = getattr(transform, "context_shape", None)
            raise ValueError(f"expected a transform with a context of length {context_dim}; got {shape}")
        flow = self._modules["flow"] = Flow(transform).to(features.device, features.dtype)
        fix_layers(flow)
        self._parts = (nn.ModuleDict({"encoder": self._modules["encoder"], "flow": flow}),)

    def train(self, mode: bool = True) -> AutoAmortized:
        """Set the mode, but leave layers of the flows that depend on the batch in evaluation mode."""
        super().train(mode)
        if self.flow is not None:
            fix_layers(self.flow)
        return self

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Sample all latent sites, those of the plate for its present rows."""
        self.setup(*args, **kwargs)
        self._announce()
        result, vector = self._global_vector(args, kwargs)
        rows = self._rows[0](*args, **kwargs)
        with self._plate(len(rows), args, kwargs) as index:
            features = self._features(rows if len(index) == len(rows) else rows[index.to(rows.device)])
            local = pyro.sample(
                f"_{self._name}_local", self._conditional(features, vector), infer={"is_auxiliary": True}
            )
            for name, value, log_density, event_dim in self._local.unpacked(local):
                result[name] = pyro.sample(name, dist.Delta(value, log_density, event_dim))
        return result

    @property
    def _local(self) -> LocalSites:
        if self._sites is None:
            raise ValueError(_UNBUILT)
        return self._sites

    def _announce(self) -> None:
        if self._entry is None:
            self._entry = ParamStoreEntry(self._name, self._parts[0])
        self._entry.sync()
        self._entry.announce()

    def __getstate__(self) -> dict[str, Any]:
        # Pyro's would take the model away from the guide that is being copied.
        return self.__dict__ | {"_entry": None, "master": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        nn.Module.__setstate__(self, state)
        self._name = unique_name(type(self).__name__)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if self.flow is None and any(key.startswith(f"{prefix}flow.") for key in state_dict):
            raise ValueError(f"{_UNBUILT}, before loading")
        super()._load_from_state_dict(state_dict, prefix, *args)

    @torch.no_grad()
    def sample_rows(self, rows: Tensor, num_samples: int) -> dict[str, Tensor]:
        """Draw local sites for rows seen or new: tensors of shape (num_samples, len(rows), …).

        Args:
            rows: what the encoder reads, of shape (n, …).
            num_samples: number of draws, each with global variables of its own.

        Raises:
            ValueError: if the guide is not set up.
        """
        if self.globals is None:
            local = self._conditional(self._features(rows), None).sample((num_samples,))
        else:
            vector = self.globals.get_posterior().sample((num_samples, 1))
            local = self._conditional(self._features(rows), vector).sample()
        return {name: value for name, value, _, _ in self._local.unpacked(local)}

    def _conditional(self, features: Tensor, vector: Tensor | None) -> dist.TorchDistribution:
        """Return the flow given features (rows, k) and global vectors (*particles, 1, d) or (d,)."""
        if self.flow is None:
            raise ValueError(_UNBUILT)
        if vector is None:
            return self.flow(features)
        batch = torch.broadcast_shapes(vector.shape[:-1], features.shape[:-1])
        parts = [part.expand((*batch, part.shape[-1])) for part in (features, vector.to(features))]
        return self.flow(torch.cat(parts, -1))

    def _global_vector(self, args: Any, kwargs: Any) -> tuple[dict[str, Tensor], Tensor | None]:
        """Sample the global sites; return them, and their unconstrained values side by side."""
        if self.globals is None:
            return {}, None
        with poutine.trace() as tracer:
            result = self.globals(*args, **kwargs)
        return dict(result), tracer.trace.nodes[f"_{self.globals._pyro_name}_latent"]["value"]

    def _plate(self, size: int, args: Any, kwargs: Any) -> pyro.plate:
        frame = self._local.frame
        if self.master is not None:
            return self.master().plates[frame.name]
        if self.create_plates is not None:
            return self.create_plates(*args, **kwargs)
        full = frame.full_size or frame.size
        subsample = None if frame.size == full else min(frame.size, size)
        return pyro.plate(frame.name, size, subsample_size=subsample, dim=-1)
