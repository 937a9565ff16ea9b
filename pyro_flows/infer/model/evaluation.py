"""Draws of a guide with everything that the model says of them, vectorised where the model allows it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from pyro.poutine import Trace
from torch import Size, Tensor

from .masks import mask_of
from .program import Program, is_data, is_deterministic, is_latent, plain, samples
from .shapes import Shapes

__all__ = ["Evaluation", "evaluate"]

_PLATE = "_pyro_flows_draws"
_CHUNK = 1000  # draws that run through the model together


@dataclass(frozen=True)
class Evaluation:
    """Draws of a guide, and the model's and guide's log-densities at them.

    Every tensor of a dictionary has shape (draws, *shape in a single run of the model).
    """

    values: dict[str, Tensor]
    """The model's latent variables."""
    deterministic: dict[str, Tensor]
    """Its `pyro.deterministic` sites."""
    log_prior: dict[str, Tensor]
    """Log-densities of the latent variables, over the site's batch shape."""
    log_likelihood: dict[str, Tensor]
    """Log-densities of the observations, over the site's batch shape; factors too."""
    log_q: Tensor
    """Log-density of the guide, of shape (draws,)."""
    observed: dict[str, Tensor]
    """What was observed, without a dimension of draws."""
    observed_masks: dict[str, Tensor]
    """For each observed site with a mask, over its batch shape, which observations count at some draw."""
    plates: dict[str, dict[int, str]]
    """For each site, the names of its plates by dimension, −1 the rightmost of the batch shape."""
    event_dims: dict[str, int]
    """For each site, the number of event dimensions."""
    event_names: dict[str, tuple[str, ...]]
    """Names of event dimensions, for sites with ``infer={"event_dims": [...]}``."""

    @property
    def log_p(self) -> Tensor:
        """The model's log p(y, θ), of shape (draws,)."""
        total = torch.zeros_like(self.log_q)
        for part in (*self.log_prior.values(), *self.log_likelihood.values()):
            total = total + part.double().reshape(len(part), -1).sum(-1)
        return total


def evaluate(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    num_samples: int,
) -> Evaluation:
    """Draw from the guide and score the draws under both programs.

    All draws run together under a plate. The first two are scored alone too; where that fails or differs,
    as for a model that sums over its batch dimensions, a warning is given and every draw runs alone.

    Args:
        model: a Pyro model.
        guide: a guide of all its latent variables.
        args: positional arguments of both.
        kwargs: keyword arguments of both.
        num_samples: number of draws.

    Raises:
        ValueError: where the guide and the model do not fit, a plate is subsampled, or `num_samples` < 1.

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
    program = Program(model, guide, args, kwargs or {})
    program.prepare()
    with torch.no_grad(), pyro.validation_enabled(False):
        alone = program.traces(plain)
        program.check(*alone)
        shapes = Shapes.of(alone)
        try:
            parts = [
                _together(program, shapes, min(_CHUNK, num_samples - done), check=done == 0)
                for done in range(0, num_samples, _CHUNK)
            ]
        except Exception as error:
            warnings.warn(
                f"the model or the guide does not run over many draws at once ({error}); "
                "running each draw alone, which is slow",
                stacklevel=3,
            )
            parts = [_collect(*program.traces(plain), shapes, None) for _ in range(num_samples)]
    return _joined(parts)


def _together(program: Program, shapes: Shapes, draws: int, *, check: bool) -> Evaluation:
    def many(fn: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with pyro.plate(_PLATE, draws, dim=-shapes.nesting - 1):
                return fn(*args, **kwargs)

        return wrapped

    q, p = program.traces(many)
    result = _collect(q, p, shapes, draws)
    if check:
        for i in range(min(2, draws)):
            _compare(program, q, result, shapes, draws, i)
    return result


def _compare(program: Program, q: Trace, result: Evaluation, shapes: Shapes, draws: int, i: int) -> None:
    """Raise where draw i scores differently alone."""
    fixed = q.copy()
    for name, site in samples(q).items():
        value = shapes.per_draw(site["value"], shapes.values[name], site["fn"].event_dim, draws)
        fixed.nodes[name] = site | {"value": value[i]}
    one = _collect(*program.traces(plain, fixed), shapes, None)
    for what in ("log_p", "log_q"):
        expected, got = float(getattr(one, what)), float(getattr(result, what)[i])
        close = math.isclose(expected, got, rel_tol=1e-4, abs_tol=1e-3)
        if not (close or (math.isnan(expected) and math.isnan(got))):
            raise ValueError(f"a draw has {what} {expected:.6g} alone and {got:.6g} among others")


def _collect(q: Trace, p: Trace, shapes: Shapes, draws: int | None) -> Evaluation:
    def value(name: str, site: Mapping[str, Any]) -> Tensor:
        return shapes.per_draw(site["value"], shapes.values[name], site["fn"].event_dim, draws)

    def log_prob(name: str, site: Mapping[str, Any]) -> Tensor:
        return shapes.per_draw(site["log_prob"], shapes.batches[name], 0, draws)

    model = samples(p)
    latent = {name: site for name, site in model.items() if is_latent(site)}
    data = {name: site for name, site in model.items() if is_data(site)}
    log_q = torch.stack([shapes.sums(site["log_prob"].double(), draws) for site in samples(q).values()])
    observed = {}
    for name, site in data.items():
        whole = shapes.batches[name] + site["fn"].event_shape
        if site["value"].numel() == 0:  # a factor has no value
            continue
        if _broadcasts(site["value"].shape, whole):
            observed[name] = site["value"].detach().expand(whole)
    return Evaluation(
        values={name: value(name, site) for name, site in latent.items()},
        deterministic={name: value(name, site) for name, site in model.items() if is_deterministic(site)},
        log_prior={name: log_prob(name, site) for name, site in latent.items()},
        log_likelihood={name: log_prob(name, site) for name, site in data.items()},
        log_q=log_q.sum(0),
        observed=observed,
        observed_masks={
            name: shapes.per_draw(mask, shapes.batches[name], 0, draws).any(0)
            for name, site in data.items()
            if (mask := mask_of(site)) is not None
        },
        plates=shapes.plates,
        event_dims=shapes.event_dims,
        event_names={
            name: tuple(site["infer"]["event_dims"])
            for name, site in model.items()
            if "event_dims" in site["infer"]
        },
    )


def _broadcasts(shape: Size, wanted: Size) -> bool:
    """Whether an observation is the same for all draws; one computed from latent variables is larger."""
    try:
        return torch.broadcast_shapes(shape, wanted) == wanted
    except RuntimeError:
        return False


def _joined(parts: list[Evaluation]) -> Evaluation:
    def joined(group: str) -> dict[str, Tensor]:
        names = getattr(parts[0], group)
        return {name: torch.cat([getattr(part, group)[name] for part in parts]) for name in names}

    return Evaluation(
        values=joined("values"),
        deterministic=joined("deterministic"),
        log_prior=joined("log_prior"),
        log_likelihood=joined("log_likelihood"),
        log_q=torch.cat([part.log_q for part in parts]),
        observed=parts[0].observed,
        observed_masks={
            name: torch.stack([part.observed_masks[name] for part in parts]).any(0)
            for name in parts[0].observed_masks
        },
        plates=parts[0].plates,
        event_dims=parts[0].event_dims,
        event_names=parts[0].event_names,
    )
