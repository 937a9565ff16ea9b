"""What a model's sites look like in a single run: everything that runs many draws is measured against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from pyro.distributions import constraints
from pyro.poutine import Trace
from torch import Size, Tensor

from .masks import mask_of
from .program import (
    Site,
    how_to_sum_out,
    is_data,
    is_deterministic,
    is_enumerated,
    is_latent,
    is_point,
    known_support,
    samples,
)
from .scoring import log_density

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """Shapes and plates of a model's sites, by name, and what kind each site is of."""

    values: dict[str, Size]
    """Shapes of the values."""
    batches: dict[str, Size]
    """Shapes of the log-densities."""
    plates: dict[str, dict[int, str]]
    """Names of each site's plates by dimension, −1 the rightmost of the batch shape."""
    event_dims: dict[str, int]
    """Number of event dimensions."""
    supports: dict[str, constraints.Constraint]
    """Supports of continuous latent sites, as far as their distributions tell."""
    event_names: dict[str, tuple[str, ...]]
    """Names of event dimensions, as far as ``infer={"event_dims": …}`` gives them."""
    latent: tuple[str, ...]
    """Latent sites, those that are summed out left out."""
    discrete: dict[str, str]
    """Those of them that are discrete, each with how it could be summed out."""
    enumerated: tuple[str, ...]
    """Discrete sites that are summed out."""
    data: tuple[str, ...]
    factors: tuple[str, ...]
    deterministic: tuple[str, ...]
    weighted: tuple[str, ...]
    """Deterministic sites that have a log-density all the same, a change of variables."""
    dependent: tuple[str, ...]
    """Deterministic sites that depend on enumerated ones."""
    observed: dict[str, Tensor]
    """Values of data sites, factors left out, over batch and event shape."""
    observed_masks: dict[str, Tensor]
    """Which elements of a data site count, over its batch shape; sites without a mask are left out."""
    scales: dict[str, Tensor]
    """What `pyro.poutine.scale` multiplies a site's log-density by; sites that count once are left out."""
    points: tuple[str, ...]
    """Sites that are point masses."""
    part: str | None
    """Which plate was subsampled, in words; None if none was."""
    nesting: int
    """Batch dimensions, of all sites together: draws lie on their left."""

    @classmethod
    def of(cls, trace: Trace) -> Layout:
        """Return what the trace of a single run says."""
        sites = samples(trace)
        values, batches, plates, event_dims = {}, {}, {}, {}
        for name, site in sites.items():
            if not isinstance(site["value"], Tensor):
                raise TypeError(
                    f"expected a tensor as observation of the site {name!r}; got {_kind(site['value'])}: "
                    "torch.as_tensor makes one"
                )
            shape, frames = site["value"].shape, [f for f in site["cond_indep_stack"] if f.vectorized]
            values[name] = shape
            batches[name] = torch.broadcast_shapes(
                site["fn"].batch_shape, shape[: len(shape) - site["fn"].event_dim]
            )
            plates[name] = {frame.dim: frame.name for frame in frames}
            event_dims[name] = site["fn"].event_dim
            spans = all(len(shape) >= -f.dim and shape[f.dim] == f.size for f in frames)
            if site["infer"].get("_deterministic") and spans:
                event_dims[name] = 0  # if nobody says, Pyro takes all of it for event
        dims = [len(batch) for batch in batches.values()]
        dims += [-dim for frames in plates.values() for dim in frames]
        enumerated = tuple(name for name, site in sites.items() if is_enumerated(site))
        data = {name: site for name, site in sites.items() if is_data(site)}
        masks = {name: mask_of(site, batches[name]) for name, site in data.items()}
        scales = {name: torch.as_tensor(site["scale"]) for name, site in sites.items()}
        frames = [frame for site in sites.values() for frame in site["cond_indep_stack"]]
        deterministic = tuple(name for name, site in sites.items() if is_deterministic(site))
        parts = [f for f in frames if f.full_size not in (None, f.size)]
        return cls(
            values=values,
            batches=batches,
            plates=plates,
            event_dims=event_dims,
            supports={name: found for name, site in sites.items() if (found := _support(site)) is not None},
            event_names={name: tuple(site["infer"].get("event_dims", ())) for name, site in sites.items()},
            latent=tuple(n for n, site in sites.items() if is_latent(site) and n not in enumerated),
            discrete={
                n: how_to_sum_out(site)
                for n, site in sites.items()
                if is_latent(site) and site["fn"].support.is_discrete
            },
            enumerated=enumerated,
            data=tuple(data),
            factors=tuple(name for name, site in data.items() if site["value"].numel() == 0),
            deterministic=deterministic,
            weighted=tuple(
                name
                for name in deterministic
                if not sites[name]["infer"].get("_deterministic") and bool(log_density(sites[name]).any())
            ),
            dependent=(),
            observed={
                name: site["value"].detach().expand(whole)
                for name, site in data.items()
                if site["value"].numel() > 0  # a factor has no value
                and _broadcasts(site["value"].shape, whole := batches[name] + site["fn"].event_shape)
            },
            observed_masks={name: mask for name, mask in masks.items() if mask is not None},
            scales={name: scale for name, scale in scales.items() if not bool((scale == 1).all())},
            points=tuple(name for name, site in sites.items() if is_point(site)),
            part=f"{parts[0].size} of {parts[0].full_size} in plate {parts[0].name!r}" if parts else None,
            nesting=max(dims, default=0),
        )

    def check_guide(self, names: Iterable[str]) -> None:
        """Raise a ValueError if a guide has other latent sites beside the model's."""
        if extra := sorted(set(names) - set(self.latent)):
            raise ValueError(f"expected a guide of the latent variables only; got also {', '.join(extra)}")

    def whole(self, name: str) -> Size:
        """Return the shape of a site's batch and event."""
        if name not in self.values:  # data whose one score is summed with that of others
            return Size(self.batches[name])
        value = self.values[name]
        # The batch is that of the score, which rows share if they depend on a common site that is summed out.
        return torch.broadcast_shapes(self.batches[name] + value[len(value) - self.event_dims[name] :], value)

    def arrange(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return values of shape (draws, *site) with ones between: the draws lie left of all plates."""
        found = {}
        for name, value in values.items():
            missing = self.nesting + self.event_dims.get(name, 0) - (value.dim() - 1)
            found[name] = (
                value.reshape(value.shape[0], *[1] * missing, *value.shape[1:]) if missing else value
            )
        return found

    def per_draw(self, tensor: Tensor, shape: Size, event_dim: int, draws: int) -> Tensor:
        """Return `tensor`, of a run over many draws at once, with shape (draws, *shape)."""
        if tensor.dim() == self.nesting + event_dim + 1 and tensor.shape[0] in (1, draws):
            if tensor.numel() == draws * shape.numel():
                return tensor.reshape(draws, *shape)
            # Between the draws and the site's own dimensions stand ones, for the plates that it is not in.
            kept = tensor.shape[1:]
            surplus = max(len(kept) - len(shape), 0)
            return tensor.reshape(tensor.shape[0], *kept[surplus:]).expand(draws, *shape)
        if tensor.numel() == shape.numel():  # it does not depend on the draw
            return tensor.reshape(shape).expand(draws, *shape)
        if tensor.shape[0] == draws and tensor.numel() == draws * shape.numel():
            return tensor.reshape(draws, *shape)
        return tensor.expand(shape).expand(draws, *shape)


def _support(site: Site) -> constraints.Constraint | None:
    support = known_support(site["fn"]) if is_latent(site) else None
    return None if support is None or support.is_discrete else support


def _kind(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _broadcasts(shape: Size, wanted: Size) -> bool:
    """Whether an observation is the same for all draws; one computed from latent variables is larger."""
    return len(shape) <= len(wanted) and all(
        a in (1, b) for a, b in zip(reversed(shape), reversed(wanted), strict=False)
    )
