"""The call that would mend a fit that is not good."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.infer.autoguide import AutoGuide

from ..infer import AutoFlow, AutoMixture, Importance, VISettings
from .missed import MODE
from .verdict import BAD, GOOD, Verdict

__all__ = ["advice"]

_CORRECT = "result.resample(1000) or to_arviz(result, corrected=True), corrected draws"
_MORE = "fit_vi(model, guide, ..., steps={steps}), to train on"
_CHAINS = "flow_mcmc(model, guide, ...), exact draws by chains that this guide speeds up"
_MODES = (
    "guide = AutoMixture([AutoFlow(model) for _ in range({count})]); fit_vi(model, guide, ...), "
    "a flow for each mode"
)
_ONE_MODE = "single out one mode in the model, by an order or a sign"
_FLOW = "guide = AutoFlow(model); fit_vi(model, guide, ...), a flow in place of {name}"
_DOUBLE = "torch.set_default_dtype(torch.float64) and data of that type, for double precision"
_CENTRE = "subtract a constant from the data and their priors, so that they lie nearer to zero"
_PROPER = "a proper prior of {names}"
_MEMBERS = 8
_HEAVY = 0.7  # k̂ from which single weights outweigh the others, and more draws help little


def advice(results: Sequence[Importance], verdicts: Sequence[Verdict], split: str | None) -> str | None:
    """Return what to call next, or None if all is good or no call helps.

    A heavy tail of the weights asks for more training, few effective draws for chains, and a mode that is
    missed, or fits that disagree, for a mixture of several fits. None of it helps where a dtype hardly tells
    draws apart, or nothing bounds a flat prior.

    Args:
        results: one for each fit.
        verdicts: theirs.
        split: "evidences" or "means" if independent fits disagree on them.
    """
    words = [verdict.word for verdict in verdicts]
    worst = next((i for i, word in enumerate(words) if word == BAD), None)
    if worst is None:
        worst = next((i for i, word in enumerate(words) if word != GOOD), 0)
    result, verdict = results[worst], verdicts[worst]
    guide = result.guide
    count = 2 * len(guide.guides) if isinstance(guide, AutoMixture) else _MEMBERS
    modes = _MODES.format(count=count)
    if split == "means":
        return f"{modes}; or {_ONE_MODE}"
    if split is None and verdict.word == GOOD:
        return None
    flow = isinstance(guide, AutoFlow | AutoMixture)
    if verdict.unresolved and flow:
        single = any(value.dtype != torch.float64 for value in result.evaluation.values.values())
        return f"{_DOUBLE}; or {_CENTRE}" if single else _CENTRE
    if verdict.word == BAD and not math.isfinite(result.log_evidence):
        return _PROPER.format(names=", ".join(verdict.flat)) if verdict.flat else None
    heavy = result.khat >= _HEAVY
    if not flow:
        better = _FLOW.format(name=type(guide).__name__ if isinstance(guide, AutoGuide) else "this guide")
        return f"{_CORRECT}; or {better}" if split is None and verdict.word != BAD else better
    if split == "evidences" or verdict.missed == MODE:
        return modes
    if verdict.missed is not None:
        return _CHAINS
    train = _MORE.format(steps=2 * VISettings().steps)
    if verdict.word == BAD:
        told = f"{train}; or {_CHAINS}" if heavy else f"{_CHAINS}; or {train}"
        return f"{_PROPER.format(names=', '.join(verdict.flat))}; or {told}" if verdict.flat else told
    few = not heavy and result.ess < len(result.log_weights) / 2
    return f"{_CORRECT}; or {_CHAINS if few else train}"
