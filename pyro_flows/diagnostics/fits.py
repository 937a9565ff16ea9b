"""Whether independent fits agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ..infer import Importance
from .moments import Moments

__all__ = ["evidences_differ", "means_differ"]


def evidences_differ(results: Sequence[Importance]) -> str | None:
    """Say so if two fits' log evidences differ by more than chance and 0.05 nats."""
    known = [r for r in results if math.isfinite(r.log_evidence)]
    if len(known) < 2:
        return None
    low, high = (pick(known, key=lambda r: r.log_evidence) for pick in (min, max))
    difference = high.log_evidence - low.log_evidence
    error = math.hypot(high.log_evidence_error, low.log_evidence_error)
    if difference <= max(0.05, 4 * error):
        return None
    figures = ", ".join(f"{r.log_evidence:.2f} ± {r.log_evidence_error:.2f}" for r in results)
    return (
        f"independent fits disagree on the log evidence ({figures}): at least one misses a part of "
        "the posterior, which importance weights cannot see"
    )


def means_differ(fits: Sequence[Moments]) -> str | None:
    """Say so if two fits' corrected means differ by more than chance and 0.2 standard deviations.

    Fits of several modes of equal evidence, as those of exchangeable components, differ in nothing else.
    """
    if len(fits) < 2:
        return None
    means, errors = torch.stack([fit.mean for fit in fits]), torch.stack([fit.error for fit in fits])
    within = torch.stack([fit.sd for fit in fits]).square().mean(0)
    rounding = torch.stack([fit.rounding for fit in fits]).max(0).values
    (low, i), (high, j) = means.min(0), means.max(0)
    error = torch.hypot(errors.gather(0, i[None])[0], errors.gather(0, j[None])[0])
    apart = (high - low) / within.sqrt().clamp(min=torch.finfo(within.dtype).tiny)
    differ = (apart > 0.2) & (high - low > 5 * error) & (high - low > rounding)
    if not bool(differ.any()):
        return None
    worst = int(torch.where(differ, apart, -1.0).argmax())
    r_hat = float((1 + means[:, worst].var() / within[worst]).sqrt())
    return (
        f"the means of {fits[0].names[worst]} lie {float(apart[worst]):.3g} standard deviations apart "
        f"(R̂ {r_hat:.2f}): each fit holds a part of the posterior only, such as one of several modes"
    )
