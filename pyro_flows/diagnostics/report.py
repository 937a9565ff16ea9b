"""A verdict on a guide, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..infer import Importance, Widened, importance, widen

__all__ = ["Report", "judge", "report"]

GOOD = "good"
USABLE = "usable after importance correction"
BAD = "do not trust"
_ORDER = (GOOD, USABLE, BAD)
_FEWEST = 100
_ENOUGH = 0.1  # of the draws as effective sample size, for standard deviations by weights
_MISSED = "the guide misses a part of the posterior"


@dataclass(frozen=True)
class Report:
    """What `report` returns and prints."""

    verdict: str
    """"good", "usable after importance correction" or "do not trust"."""
    reasons: tuple[str, ...]
    """Why, one sentence each."""
    results: tuple[Importance, ...]
    """The weighed draws of every guide."""

    def __str__(self) -> str:
        return "\n".join([f"Verdict: {self.verdict}", *(f"  - {reason}" for reason in self.reasons)])


def report(
    model: Callable[..., Any],
    guide: Callable[..., Any] | Sequence[Callable[..., Any]],
    *args: Any,
    num_samples: int = 4000,
    **kwargs: Any,
) -> Report:
    """Print how far to trust a guide: good, usable after importance correction, or not; and why.

    Good means that mean and standard deviation of every latent variable may be read off the guide's own
    draws: the gap between log evidence and ELBO is at most 0.02 nats, the effective sample size 80 % of the
    draws, importance correction moves no mean by more than 0.05 standard deviations and no standard deviation
    by more than 5 %, and k̂ < 0.7 or the gap is below 0.005. Usable means that corrected draws
    (`Importance.resample`) may be: k̂ < 0.75 and an effective sample size of 10 %. Their means err by about
    one standard deviation over the root of that size.

    Weights see only where the guide puts draws. So the draws are spread out too, to 2, 4 and 8 times their
    width, to see whether there is more evidence further out, or a broader posterior; in many dimensions
    they will not find it. A mode that a guide misses also shows in independent fits whose log evidences
    disagree: give several guides.

    Args:
        model: the model.
        guide: a fitted guide, or several, fitted independently; then the verdict is that on the worst.
        *args: what both are called with.
        num_samples: draws of each guide.
        **kwargs: what both are called with.

    Raises:
        ValueError: where guide and model do not fit, or there are fewer than 100 draws.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model():
        ...     pyro.sample("x", dist.Normal(0.0, 1.0))
        >>> def guide():
        ...     pyro.sample("x", dist.Normal(3.0, 0.1))
        >>> pf.diagnostics.report(model, guide).verdict  # doctest: +ELLIPSIS
        Verdict: do not trust
        ...
        'do not trust'
    """
    guides: list[Any] = list(guide) if isinstance(guide, list | tuple) else [guide]
    _enough(num_samples)
    results = [importance(model, one, *args, num_samples=num_samples, **kwargs) for one in guides]
    made = judge(results, [_missed(result, model, args, kwargs) for result in results])
    print(made)
    return made


def judge(results: Sequence[Importance], missed: Sequence[str | None] = ()) -> Report:
    """Return the verdict on draws that were weighed already.

    Args:
        results: one for each independent fit, of at least 100 draws.
        missed: for each, in words, what of the posterior it is known to miss, or None; nothing where empty.

    Raises:
        ValueError: where there is no fit, or one has too few draws.
    """
    if not results:
        raise ValueError("expected a fit, or several; got none")
    verdicts, reasons = [], []
    for i, (result, part) in enumerate(zip(results, missed or [None] * len(results), strict=True)):
        _enough(len(result.log_weights))
        verdict, why = _judge_one(result)
        if part is not None and verdict != BAD:
            verdict, why = BAD, [part]
        verdicts.append(verdict)
        label = f"fit {i + 1} ({verdict}): " if len(results) > 1 else ""
        reasons += [label + reason for reason in why]
    if split := _disagreement(results):
        verdicts.append(BAD)
        reasons.insert(0, split)
    elif len(results) > 1:
        reasons.insert(0, f"the log evidences of {len(results)} fits agree")
    return Report(max(verdicts, key=_ORDER.index), tuple(reasons), tuple(results))


def _enough(draws: int) -> None:
    if draws < _FEWEST:  # one draw's weight is constant, and would be good
        raise ValueError(f"expected ≥ {_FEWEST} draws to judge by; got {draws}")


def _judge_one(result: Importance) -> tuple[str, list[str]]:
    if not math.isfinite(result.log_evidence):
        return BAD, [str(result.problem)]
    n = len(result.log_weights)
    share = result.ess / n
    shift, narrow, wide = _moved(result)
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
        return GOOD, told
    reasons = [f"{text}; good is {bound}" for passed, text, bound in checks if not passed]
    reasons += [result.problem] if result.problem else []
    if result.khat < 0.75 and share >= _ENOUGH:
        return USABLE, [*reasons, f"{k} and effective sample size {result.ess:.0f}: enough to correct"]
    failed = "k̂ ≥ 0.75" if result.khat >= 0.75 else "an effective sample size below 10 %"
    return BAD, [*reasons, f"{failed}: the weights are too uneven to correct anything"]


def _missed(result: Importance, model: Callable[..., Any], args: Any, kwargs: Any) -> str | None:
    """Say so where the guide made wider finds significantly more evidence, or a broader posterior."""
    if not math.isfinite(result.log_evidence):
        return None
    for factor in (2.0, 4.0, 8.0):
        found = widen(result, model, args, kwargs, factor=factor)
        if found is None or not math.isfinite(found.smoothed.log_mean) or found.smoothed.khat >= 0.7:
            continue
        if found.smoothed.ess < 25:
            continue
        more = found.smoothed.log_mean - result.log_evidence
        error = math.hypot(found.smoothed.ess**-0.5, result.log_evidence_error)
        spread = f"draws spread to {factor:.0f} times their width find"
        if more > max(0.1, 4 * error):
            return f"{spread} {more:.2f} ± {error:.2f} nats more evidence: {_MISSED}"
        if (ratio := _broader(found)) is not None:
            return f"{spread} a standard deviation {ratio} times the guide's: {_MISSED}"
    return None


def _broader(found: Widened) -> str | None:
    """Return how much broader the widened draws are where that is surest, if it is sure and matters."""
    if found.smoothed.ess < _ENOUGH * len(found.smoothed.log_weights):  # the error is as doubtful then
        return None
    least = found.spread - 3 * found.spread_error
    i = int(least.argmax())
    return f"{float(found.spread[i]):.2f} ± {float(found.spread_error[i]):.2f}" if least[i] > 1.05 else None


def _moved(result: Importance) -> tuple[float, float, float]:
    """Return the largest shift of a mean in SDs, and the smallest and largest ratio of SDs."""
    (raw_means, raw_sds), (means, sds) = result.moments(corrected=False), result.moments()
    flat = [torch.cat([part[name].flatten() for name in means]) for part in (raw_means, raw_sds, means, sds)]
    raw_mean, raw_sd, mean, sd = flat
    moves = raw_sd > 0  # a deterministic site may be constant
    if not bool(moves.any()):
        return 0.0, 1.0, 1.0
    shift = ((raw_mean - mean).abs() / sd)[moves]
    ratio = (raw_sd / sd)[moves]
    return float(shift.max()), float(ratio.min()), float(ratio.max())


def _disagreement(results: Sequence[Importance]) -> str | None:
    """Say so where two fits' log evidences differ by more than chance and 0.05 nats."""
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
