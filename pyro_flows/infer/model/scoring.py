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

from .program import Site, samples

__all__ = ["correct_scores", "log_density", "unscaled_log_density"]

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
    masked elements of a latent site, which Pyro lets be flat, that of a standard normal.
    """
    for site in samples(trace).values():
        if not site["infer"].get("_deterministic"):
            site["log_prob"] = _corrected(site, site["unscaled_log_prob"])
            site["log_prob_sum"] = site["log_prob"].sum()
    return trace


def _log_prob(site: Site) -> Tensor:
    fn, value = site["fn"], site["value"]
    computed = value.requires_grad or is_batchedtensor(value)
    if computed and site["is_observed"] and (ok := _inside(fn, value)) is not None:
        # A computed observation outside the support: its gradient may be NaN, and must not reach other draws.
        event = ok.reshape(ok.shape + (1,) * fn.event_dim)
        value = torch.where(event, value, _some_value(fn.support, value))
    log_prob: Tensor = fn.log_prob(value, *site["args"], **site["kwargs"])
    return log_prob


def _some_value(support: constraints.Constraint, like: Tensor) -> Tensor:
    transform = biject_to(support)
    value: Tensor = transform(like.new_zeros(transform.inverse_shape(like.shape)))
    return value


def _corrected(site: Site, log_prob: Tensor) -> Tensor:
    fn, value, mask = site["fn"], site["value"], site["mask"]
    ok = None if site["infer"].get("_deterministic") else _inside(fn, value)
    if ok is not None:
        log_prob = torch.where(ok, log_prob, -torch.inf)
    if isinstance(mask, Tensor) and not site["is_observed"] and not fn.support.is_discrete:
        scaled = scale_and_mask(log_prob, site["scale"], None)
        return torch.where(mask, scaled, _standard_normal(fn, value))
    corrected: Tensor = scale_and_mask(log_prob, site["scale"], mask)
    return corrected


def _inside(fn: Any, value: Tensor) -> Tensor | None:
    """Return where a value lies inside the support, over the batch shape; None if everywhere."""
    if isinstance(fn, MaskedDistribution):
        if fn._mask is False:
            return None
        ok = _inside(fn.base_dist, value)
        return ok if ok is None or fn._mask is True else ok | ~fn._mask
    if isinstance(fn, Independent):
        ok = _inside(fn.base_dist, value)
        return None if ok is None else sum_rightmost(~ok, fn.reinterpreted_batch_ndims) == 0
    if isinstance(fn, ExpandedDistribution):
        return _inside(fn.base_dist, value)
    if isinstance(fn, MaskedMixture):  # whose own check takes no wider mask than the value is
        parts = [_inside(component, value) for component in (fn.component0, fn.component1)]
        if parts == [None, None]:
            return None
        everywhere = torch.ones((), dtype=torch.bool, device=value.device)
        zero, one = (everywhere if part is None else part for part in parts)
        return torch.where(fn.mask, one, zero)
    try:
        support = inner = fn.support
    except NotImplementedError:
        return None
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
