"""A verdict on a guide, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..infer import Importance
from .advice import advice
from .fits import evidences_differ, means_differ
from .results import as_list, enough
from .verdict import BAD, GOOD, USABLE, judge

__all__ = ["Report", "report"]

_ORDER = (GOOD, USABLE, BAD)


@dataclass(frozen=True)
class Report:
    """What `report` returns; its text, by `str` or `print`, is the verdict with its reasons."""

    verdict: str
    """"good", "usable after importance correction" or "do not trust"."""
    reasons: tuple[str, ...]
    """Why, one sentence each."""
    advice: str | None
    """What to call next; None if the verdict is good, or no call helps."""
    results: tuple[Importance, ...] = field(repr=False)
    """The weighed draws of each fit."""

    def __str__(self) -> str:
        lines = [f"Verdict: {self.verdict}", *(f"  - {reason}" for reason in self.reasons)]
        return "\n".join(lines if self.advice is None else [*lines, f"Next: {self.advice}"])


def report(result: Importance | Sequence[Importance]) -> Report:
    """Say how far to trust a guide: good, usable after importance correction, or not; why; and what to do.

    Good means that mean and standard deviation of every latent variable may be read off the guide's own
    draws: the gap between log evidence and ELBO is at most 0.02 nats, the effective sample size 80 % of the
    draws, importance correction moves no mean by more than 0.05 standard deviations and no standard deviation
    by more than 5 %, and k̂ < 0.7 or the gap is below 0.005. Usable means that corrected draws
    (`Importance.resample`) may be: k̂ < 0.75 and an effective sample size of 10 %. Their means err by about
    one standard deviation over the root of that size.

    Weights see only where the guide puts draws. So the draws are spread out too, to 2, 4 and 8 times their
    width, to see whether there is more evidence further out, or a broader posterior; in many dimensions
    they will not find it. A latent variable whose standard deviation is below two units in the last place of
    its values is mostly rounding, and the verdict says so. A mode that a guide misses also shows in
    independent fits whose log evidences or means disagree: give the results of several.

    Args:
        result: from `pyro_flows.infer.importance`, of at least 100 draws, or several, of independent fits;
            then the verdict is that on the worst.

    Raises:
        TypeError: if `result` is not of `importance`.
        ValueError: if there is no result, or one has fewer than 100 draws.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model():
        ...     pyro.sample("x", dist.Normal(0.0, 1.0))
        >>> def guide():
        ...     pyro.sample("x", dist.Normal(3.0, 0.1))
        >>> report = pf.diagnostics.report(pf.infer.importance(model, guide))
        >>> print(report)  # doctest: +ELLIPSIS
        Verdict: do not trust
          - ...
    """
    results = as_list(result)
    for one in results:
        enough(one)
    verdicts = [judge(one) for one in results]
    reasons = []
    for i, verdict in enumerate(verdicts):
        label = f"fit {i + 1} ({verdict.word}): " if len(results) > 1 else ""
        reasons += [label + reason for reason in verdict.reasons]
    worst = max((verdict.word for verdict in verdicts), key=_ORDER.index)
    split = None
    if len(results) > 1:
        comparable = [verdict.moments for verdict in verdicts if verdict.moments is not None]
        found = {"evidences": evidences_differ(results), "means": means_differ(comparable)}
        told = {kind: text for kind, text in found.items() if text is not None}
        what = "log evidences and means" if len(comparable) == len(results) else "log evidences"
        agree = [f"the {what} of {len(results)} fits agree"]
        reasons = [*(told.values() or agree), *reasons]
        worst, split = (BAD, next(iter(told))) if told else (worst, None)
    return Report(worst, tuple(reasons), advice(results, verdicts, split), tuple(results))
