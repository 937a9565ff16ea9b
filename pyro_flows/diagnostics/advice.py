"""The call that would mend a fit that is not good."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pyro.infer.autoguide import AutoGuide

from ..infer import AutoFlow, Importance, VISettings
from .verdict import BAD, GOOD, Verdict

__all__ = ["advice"]

_MORE = "fit_vi(model, guide, ..., steps={steps}), to train on"
_RESTARTS = "fit_vi(model, AutoFlow(model), ..., restarts=5), the best of five fits"
_FLOW = "guide = AutoFlow(model); fit_vi(model, guide, ...), a flow in place of {name}"
_CORRECT = "result.resample(1000) or to_arviz(result, corrected=True), corrected draws"


def advice(results: Sequence[Importance], verdicts: Sequence[Verdict], split: str | None) -> str | None:
    """Return what to call next, or None if all is good or no call helps.

    Args:
        results: one for each fit.
        verdicts: theirs.
        split: "evidences" or "means" if independent fits disagree on them.
    """
    if split == "means":
        return (
            "single out one mode in the model, by an order or a sign; or draw from all fits in proportion to "
            "their evidence if there are no more modes"
        )
    words = [verdict.word for verdict in verdicts]
    worst = next((i for i, word in enumerate(words) if word == BAD), None)
    if worst is None:
        worst = next((i for i, word in enumerate(words) if word != GOOD), 0)
    guide = results[worst].guide
    flow = isinstance(guide, AutoFlow)
    better = _FLOW.format(name=type(guide).__name__ if isinstance(guide, AutoGuide) else "this guide")
    if split == "evidences" or verdicts[worst].missed:
        return _RESTARTS if flow else better
    if words[worst] == GOOD:
        return None
    if words[worst] == BAD and not math.isfinite(results[worst].log_evidence):
        return None
    train = _MORE.format(steps=2 * VISettings().steps) if flow else better
    return train if words[worst] == BAD else f"{_CORRECT}; or {train}"
