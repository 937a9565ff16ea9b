"""The log-density of one sample site, as every part of the library counts it."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import (
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
    MaskedMixture,
    constraints,
)
from pyro.distributions.util import scale_and_mask, sum_rightmost
from pyro.poutine import Trace
from torch import Tensor
from torch._C._functorch import is_batchedtensor
from torch.distributions import biject_to

from .program import Site, known_support, samples

__all__ = ["correct_scores", "inside", "log_density", "unscaled_log_density"]

_REAL = type(constraints.real)
_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of what a simplex sums to, and the like


def log_density(site: Site) -> Tensor:
    """Return log p of a site's value over its batch shape: −∞ outside the support, scaled and masked."""
    return _corrected(site, _log_prob(site))


def unscaled_log_density(site: Site, *, enumerated: bool) -> Tensor:
    """Return the same without the scale, which belongs outside a sum over discrete sites.

    Args:
        site: the site.
        enumerated: whether it is summed out: then without the mask too, so that its probabilities sum to one.
    """
    mask = None if enumerated else site["mask"]
    return _corrected({**site, "scale": 1.0, "mask": mask}, _log_prob(site))


def correct_scores(trace: Trace) -> Trace:
    """Let a trace that Pyro has scored count as `log_density` does; return it.

    For the traces of Pyro's ELBOs, after ``compute_log_prob``. Values outside a support get the density zero;
    elements of a latent site that a tensor masks, which Pyro lets be flat, that of a standard normal in
    unconstrained space. A site masked by False stays flat.
    """
    for site in samples(trace).values():
        if not site["infer"].get("_deterministic"):
            site["log_prob"] = _corrected(site, site["unscaled_log_prob"])
            site["log_prob_sum"] = site["log_prob"].sum()
    return trace


def _log_prob(site: Site) -> Tensor:
    fn, value = site["fn"], site["value"]
    if (kept := _counting(site)) is not None and value.is_floating_point():
        # The log-density of a masked NaN does not count, but its gradient would be NaN all the same.
        value = torch.where(kept | ~value.isnan(), value, _some_value(fn.support, value))
    computed = value.requires_grad or is_batchedtensor(value)
    if computed and site["is_observed"] and (ok := inside(fn, value)) is not None:
        # A computed observation outside the support: its gradient may be NaN, and must not reach other draws.
        event = ok.reshape(ok.shape + (1,) * fn.event_dim)
        value = torch.where(event, value, _some_value(fn.support, value))
    log_prob: Tensor = fn.log_prob(value, *site["args"], **site["kwargs"])
    return log_prob


def _counting(site: Site) -> Tensor | None:
    """Return which elements of an observation count, to be broadcast with its value; None without a mask."""
    if not site["is_observed"]:
        return None
    kept = _unmasked(site["fn"])
    if isinstance(mask := site["mask"], Tensor):
        mask = mask.reshape(mask.shape + (1,) * site["fn"].event_dim)
        kept = mask if kept is None else kept & mask
    return kept


def _unmasked(fn: Any) -> Tensor | None:
    """Return which elements of a value a distribution's own masks leave; None without a mask."""
    kept: Tensor | None = None
    while isinstance(fn, Independent | ExpandedDistribution | MaskedDistribution):
        if isinstance(fn, MaskedDistribution) and isinstance(fn._mask, Tensor):
            mask = fn._mask.reshape(fn._mask.shape + (1,) * fn.event_dim)
            kept = mask if kept is None else kept & mask
        fn = fn.base_dist
    return kept


def _some_value(support: constraints.Constraint, like: Tensor) -> Tensor:
    """Return a value inside a support; zeros if it is one of whole numbers."""
    try:
        transform = biject_to(support)
    except NotImplementedError:
        return torch.zeros_like(like)
    value: Tensor = transform(like.new_zeros(transform.inverse_shape(like.shape)))
    return value


def _corrected(site: Site, log_prob: Tensor) -> Tensor:
    fn, value, mask = site["fn"], site["value"], site["mask"]
    ok = None if site["infer"].get("_deterministic") else inside(fn, value)
    if ok is not None:
        log_prob = torch.where(ok, log_prob, -torch.inf)
    # Who masks a whole site by False wants a flat prior, whose density a factor gives.
    masked = isinstance(mask, Tensor) or _unmasked(fn) is not None
    if site["is_observed"] or mask is False or not masked or fn.support.is_discrete:
        corrected: Tensor = scale_and_mask(log_prob, site["scale"], mask)
        return corrected
    scaled: Tensor = scale_and_mask(log_prob, site["scale"], None)
    if (padding := _masked_normal(fn, value)) is not None:
        scaled = scaled + padding
    return torch.where(mask, scaled, _standard_normal(fn, value)) if isinstance(mask, Tensor) else scaled


def _masked_normal(fn: Any, value: Tensor) -> Tensor | None:
    """Return the log-density, over the batch shape, of what a distribution masks, as a standard normal."""
    if isinstance(fn, Independent):
        inner = _masked_normal(fn.base_dist, value)
        return None if inner is None else sum_rightmost(inner, fn.reinterpreted_batch_ndims)
    if isinstance(fn, ExpandedDistribution):
        return _masked_normal(fn.base_dist, value)
    if not isinstance(fn, MaskedDistribution) or fn._mask is False:
        return None
    inner = _masked_normal(fn.base_dist, value)
    if not isinstance(fn._mask, Tensor):
        return inner
    return torch.where(fn._mask, 0.0 if inner is None else inner, _standard_normal(fn, value))


def inside(fn: Any, value: Tensor) -> Tensor | None:
    """Return where a value lies inside the support, over the batch shape; None if everywhere."""
    if isinstance(fn, MaskedDistribution):
        if fn._mask is False:
            return None
        ok = inside(fn.base_dist, value)
        return ok if ok is None or fn._mask is True else ok | ~fn._mask
    if isinstance(fn, Independent):
        ok = inside(fn.base_dist, value)
        return None if ok is None else sum_rightmost(~ok, fn.reinterpreted_batch_ndims) == 0
    if isinstance(fn, ExpandedDistribution):
        return inside(fn.base_dist, value)
    if isinstance(fn, MaskedMixture):  # whose own check takes no wider mask than the value is
        parts = [inside(component, value) for component in (fn.component0, fn.component1)]
        if parts == [None, None]:
            return None
        everywhere = torch.ones((), dtype=torch.bool, device=value.device)
        zero, one = (everywhere if part is None else part for part in parts)
        return torch.where(fn.mask, one, zero)
    if (support := known_support(fn)) is None:
        return None
    inner = support
    while isinstance(inner, constraints.independent):
        inner = inner.base_constraint
    if inner is constraints.real or isinstance(inner, _REAL) or constraints.is_dependent(inner):
        return None
    try:
        ok = _check(support, value)
    except NotImplementedError:
        return None
    rest = fn.event_dim - support.event_dim
    return sum_rightmost(~ok, rest) == 0 if rest else ok


def _check(support: constraints.Constraint, value: Tensor) -> Tensor:
    """Return the constraint's own check, with a tolerance of rounding if it asks for an equality."""
    tolerance = _TOLERANCE.get(value.dtype, 0.0)
    if isinstance(support, type(constraints.simplex)):
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() <= tolerance)
    if isinstance(support, type(constraints.corr_cholesky)):
        unit = ((value.square().sum(-1) - 1).abs() <= tolerance).all(-1)
        return unit & constraints.lower_cholesky.check(value)
    if isinstance(support, type(constraints.sphere)):
        return (value.square().sum(-1) - 1).abs() <= tolerance
    if isinstance(support, type(constraints.positive_definite) | type(constraints.corr_matrix)):
        return support.check((value + value.mT) / 2)
    if isinstance(support, constraints.multinomial) and support.upper_bound == 1:
        # A total that is left at its default: the log-density is that given the value's own total, and counts
        # whose totals vary are written so.
        return (value >= 0).all(-1)
    ok: Tensor = support.check(value)
    return ok


def _standard_normal(fn: Any, value: Tensor) -> Tensor:
    """Return the log-density, over the batch shape, of N(0, I) in unconstrained space."""
    transform = biject_to(fn.support)
    u = transform.inv(value)
    batch = value.dim() - fn.event_dim
    log_prob = torch.distributions.Normal(0.0, 1.0, validate_args=False).log_prob(u)
    log_det = transform.log_abs_det_jacobian(u, value)
    total: Tensor = sum_rightmost(log_prob, log_prob.dim() - batch)
    return total - sum_rightmost(log_det, log_det.dim() - batch)
