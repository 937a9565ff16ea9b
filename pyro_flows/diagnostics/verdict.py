"""The verdict on one fit: what its weights show, and what draws that are spread out add."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..infer import Importance
from .causes import flat_priors, unresolved
from .missed import missed
from .moments import Moments, moments

__all__ = ["BAD", "GOOD", "USABLE", "Verdict", "judge"]

GOOD = "good"
USABLE = "usable after importance correction"
BAD = "do not trust"
_ENOUGH = 0.1  # of the draws as effective sample size, to correct by


@dataclass(frozen=True)
class Verdict:
    """What `judge` returns."""

    word: str
    """`GOOD`, `USABLE` or `BAD`."""
    reasons: list[str]
    """Why, one sentence each."""
    moments: Moments | None = None
    """Of the draws, if the weights are fit to correct them."""
    missed: str | None = None
    """What the guide is known to miss, if anything: a "mode", or the posterior's "spread"."""
    unresolved: bool = False
    """Whether a latent variable's dtype hardly tells its draws apart."""
    flat: tuple[str, ...] = ()
    """Sites of flat priors, if the verdict is `BAD`: perhaps there is no posterior."""


def judge(result: Importance) -> Verdict:
    """Return the verdict on one fit."""
    verdict = _weights(result)
    if verdict.moments is not None and (found := missed(result)) is not None:
        part, told = found
        verdict = Verdict(BAD, [told], verdict.moments, missed=part)
    if (coarse := unresolved(result)) is not None:
        others = verdict.reasons if verdict.word == BAD else []
        verdict = replace(verdict, word=BAD, reasons=[coarse, *others], unresolved=True)
    if verdict.word == BAD and (flat := flat_priors(result)):
        told = f"the prior of {', '.join(flat)} is flat: unless the data bound it, there is no posterior"
        verdict = replace(verdict, reasons=[*verdict.reasons, told], flat=flat)
    if failed := result.evaluation.failed:
        draws = f"{failed:,} of {len(result.log_weights):,} draws"
        first = f"; first {result.evaluation.failure.splitlines()[0]}" if result.evaluation.failure else ""
        verdict.reasons.append(f"the model raised at {draws}, which count as draws of density zero{first}")
    return verdict


def _weights(result: Importance) -> Verdict:
    if not math.isfinite(result.log_evidence):
        return Verdict(BAD, [str(result.problem)])
    n = len(result.log_weights)
    share = result.ess / n
    found = moments(result)
    shift, narrow, wide = _moved(found)
    constant = result.khat == -math.inf
    k = "the log weights are constant: k̂ has nothing to measure" if constant else f"k̂ = {result.khat:.2f}"
    tail = constant or result.khat < 0.7 or result.gap < 0.005
    checks = [
        (result.gap <= 0.02, f"log evidence − ELBO = {result.gap:.3f} nats", "≤ 0.02"),
        (share >= 0.8, f"effective sample size = {100 * share:.0f} % of {n} draws", "≥ 80 %"),
        (shift <= 0.05, f"importance correction moves a mean by {shift:.3f} standard deviations", "≤ 0.05"),
        (
            narrow >= 0.95 and wide <= 1.05,
            f"the guide's standard deviations are {narrow:.2f} to {wide:.2f} of the corrected ones",
            "within 0.95–1.05",
        ),
        (tail, k, "below 0.7, or the log evidence within 0.005 of the ELBO"),
    ]
    if all(passed for passed, _, _ in checks):
        told = [text for _, text, _ in checks]
        if not constant and result.khat >= 0.7:
            told[-1] += ", which so small a gap outweighs"
        return Verdict(GOOD, told, found)
    reasons = [f"{text}; good is {bound}" for passed, text, bound in checks if not passed]
    reasons += [result.problem] if result.problem else []
    if result.khat < 0.75 and share >= _ENOUGH:
        reasons.append(f"{k} and effective sample size {result.ess:.0f}: enough to correct")
        return Verdict(USABLE, reasons, found)
    failed = "k̂ ≥ 0.75" if result.khat >= 0.75 else "an effective sample size below 10 %"
    return Verdict(BAD, [*reasons, f"{failed}: the weights are too uneven to correct anything"])


def _moved(found: Moments) -> tuple[float, float, float]:
    """Return the largest shift of a mean in SDs, and the smallest and largest ratio of SDs."""
    varies = found.own_sd > found.rounding  # a deterministic site may be constant up to rounding
    if not bool(varies.any()):
        return 0.0, 1.0, 1.0
    shift = ((found.own_mean - found.mean).abs() / found.sd)[varies]
    ratio = (found.own_sd / found.sd)[varies]
    return float(shift.max()), float(ratio.min()), float(ratio.max())
