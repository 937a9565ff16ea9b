"""Draws of a guide with everything that the model says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ...loop.warning import warn_caller
from .batches import in_parts
from .guide_draws import GuideDraws
from .joint import DETERMINISTIC, LIKELIHOOD, PRIOR, Scores
from .layout import Layout
from .nan_draws import without_nan
from .runs import How, ModelRuns
from .seeds import unvalidated

__all__ = ["Evaluation", "evaluate", "evaluate_at"]

_CHUNK = 1000  # draws that the guide makes together
_FEWEST = 100  # draws that run through the model together, be it large
_MOST_KEPT = 2**28  # numbers of one site, 1 GiB in single precision


@dataclass(frozen=True)
class Evaluation:
    """Draws of a guide, and the model's and guide's log-densities at them.

    Every tensor of a dictionary has shape (draws, *shape in a single run), unless said otherwise.
    """

    values: dict[str, Tensor]
    """The model's latent variables, without the discrete ones that are summed out."""
    deterministic: dict[str, Tensor]
    """Its `pyro.deterministic` sites, and reparameterised ones."""
    log_prior: dict[str, Tensor]
    """Log-densities of the latent variables, over the site's batch shape."""
    log_likelihood: dict[str, Tensor]
    """Log-densities of the observations, over the site's batch shape; factors too.

    Observations that depend on a common discrete site which is summed out share one, "y_1, y_2" say. Of the
    sites in `summed` there are only the sums over their observations, of shape (draws,).
    """
    log_q: Tensor
    """Log-density of the guide, of shape (draws,)."""
    observed: dict[str, Tensor]
    """What was observed, without a dimension of draws."""
    plates: dict[str, dict[int, str]]
    """For each site, the names of its plates by dimension, −1 the rightmost of the batch shape."""
    event_dims: dict[str, int]
    """For each site, the number of event dimensions."""
    event_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """For each site, the names of its event dimensions that ``infer={"event_dims": …}`` gives."""
    observed_masks: dict[str, Tensor] = field(default_factory=dict)
    """For each observed site under a mask, which elements count: of the batch shape, without draws."""
    scales: dict[str, Tensor] = field(default_factory=dict)
    """For each site under `pyro.poutine.scale`, what its log-densities above are multiplied by."""
    failed: int = 0
    """The number of draws at which the model raised: they have the density zero."""
    undefined: int = 0
    """The number of draws at which the model's log-density is NaN: if few, they have the density zero."""
    failure: str | None = None
    """Where the model raised first, and its own words."""
    how: How | None = None
    """How the model ran at many draws, and why."""
    summed: dict[str, int] = field(default_factory=dict)
    """Observed sites whose log-densities would take too much memory one by one: how many a draw has."""
    runs: ModelRuns | None = field(default=None, repr=False, compare=False)
    """The model's runs, to score or predict at other draws."""

    @property
    def log_p(self) -> Tensor:
        """The model's log p(y, θ), of shape (draws,), discrete sites summed out."""
        total = torch.zeros_like(self.log_q)
        for part in (*self.log_prior.values(), *self.log_likelihood.values()):
            total = total + part.reshape(len(part), -1).sum(-1, dtype=torch.float64)
        return total

    @property
    def raised(self) -> Tensor:
        """At which draws the model raised, of shape (draws,)."""
        found = torch.full_like(self.log_q, bool(self.failed), dtype=torch.bool)
        if self.failed:
            for part in (*self.log_prior.values(), *self.log_likelihood.values()):
                found &= (part == -torch.inf).reshape(len(part), -1).all(-1)
        return found


def evaluate(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    num_samples: int,
) -> Evaluation:
    """Draw from the guide and score the draws under both programs.

    Draws run together: under a plate, else by `torch.func.vmap`. A few are scored alone too; if both ways
    fail or differ, a warning is given and every draw runs alone.

    Args:
        model: a Pyro model.
        guide: a guide of all its latent variables; discrete ones that it leaves out are summed out, if the
            model marks them by ``infer={"enumerate": "parallel"}`` or `pyro.infer.config_enumerate`.
        args: positional arguments of both.
        kwargs: keyword arguments of both.
        num_samples: number of draws.

    Raises:
        ValueError: if the guide and the model do not fit, a plate is subsampled, the model raises at more
            than half of the draws, or `num_samples` < 1.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model():
        ...     pyro.sample("x", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        >>> found = pf.infer.evaluate(model, model, num_samples=5)
        >>> found.values["x"].shape, found.log_p.shape, found.log_q.shape
        (torch.Size([5, 3]), torch.Size([5]), torch.Size([5]))
    """
    if num_samples < 1:
        raise ValueError(f"expected num_samples ≥ 1; got {num_samples}")
    with poutine.block():
        guide(*args, **kwargs or {})  # with gradients on: it may set itself up in its first call
    with torch.no_grad(), unvalidated():
        draws = GuideDraws(guide, args, kwargs or {})
        _whole("guide", draws.layout)
        parts = [draws(min(_CHUNK, num_samples - done)) for done in range(0, num_samples, _CHUNK)]
    values = {name: torch.cat([drawn[name] for drawn, _ in parts]) for name in parts[0][0]}
    log_q = torch.cat([log_density for _, log_density in parts])
    return evaluate_at(model, values, log_q, args, kwargs, guide=draws.layout)


@torch.no_grad()
def evaluate_at(
    model: Callable[..., Any],
    values: Mapping[str, Tensor],
    log_q: Tensor,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    guide: Layout | None = None,
) -> Evaluation:
    """Score draws under the model.

    Args:
        model: a Pyro model.
        values: of its latent sites, of shape (draws, *site).
        log_q: the log-density that the draws had where they come from, of shape (draws,).
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.
        guide: the layout of the guide that they come from, which must not have other sites.

    Raises:
        ValueError: as `evaluate`.
    """
    runs = ModelRuns(model, args, kwargs or {})
    with unvalidated():
        runs.prepare(values, sites=True, check=lambda layout: _whole("model", layout))
        layout = runs.joint.layout
        if guide is not None:
            layout.check_guide(guide.latent)
        scores: list[Scores] = []
        large: dict[tuple[str, str], int] = {}
        for part in in_parts(values, max(_FEWEST, runs.together)):
            found = runs.sites(part)
            large = large or _large(found, len(log_q))
            scores.append(_without(found, large))
    if left := [name for group, name in large if group == DETERMINISTIC]:
        warn_caller(
            f"deterministic sites are left out, since {len(log_q):,} draws of them would take more than "
            f"{_MOST_KEPT:,} numbers: {', '.join(left)}"
        )
    densities, undefined = without_nan(_group(scores, PRIOR), _group(scores, LIKELIHOOD))
    return Evaluation(
        values={name: values[name] for name in layout.latent},
        deterministic=_group(scores, DETERMINISTIC),
        log_prior=densities[0],
        log_likelihood=densities[1],
        log_q=log_q,
        observed=layout.observed,
        plates=layout.plates,
        event_dims=layout.event_dims,
        event_names=layout.event_names,
        observed_masks=layout.observed_masks,
        scales=layout.scales,
        failed=runs.failed,
        undefined=undefined,
        failure=None if runs.failure is None else str(runs.failure),
        how=runs.how,
        summed={name: size for (group, name), size in large.items() if group == LIKELIHOOD},
        runs=runs,
    )


def _large(scores: Scores, draws: int) -> dict[tuple[str, str], int]:
    """Return the sites of which so many draws would take too much memory, and the elements of each."""
    sizes = {key: part[0].numel() for key, part in scores.items() if key[0] != PRIOR}
    return {key: size for key, size in sizes.items() if size * draws > _MOST_KEPT}


def _without(scores: Scores, large: Mapping[tuple[str, str], int]) -> Scores:
    """Return the scores with sums in place of large log-densities, and without large deterministic sites."""
    found = {key: part for key, part in scores.items() if key not in large}
    for key in large:
        if key[0] == LIKELIHOOD:
            part = scores[key]
            found[key] = part.reshape(len(part), -1).sum(-1, dtype=torch.float64)
    return found


def _group(scores: list[Scores], group: str) -> dict[str, Tensor]:
    return {key[1]: torch.cat([part[key] for part in scores]) for key in scores[0] if key[0] == group}


def _whole(who: str, layout: Layout) -> None:
    if layout.part:
        raise ValueError(
            f"expected the {who} over all data, since weights of a subsample say nothing of the posterior; "
            f"got {layout.part}"
        )
