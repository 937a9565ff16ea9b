"""What draws that are spread out show of the posterior that a guide's own draws cannot."""

from __future__ import annotations

import math

from ..infer import Importance
from ..infer.weights.spread import SpreadOut, spread_out

__all__ = ["MODE", "SPREAD", "missed"]

_ENOUGH = 0.1  # of the draws as effective sample size, for standard deviations by weights
_MISSED = "the guide misses a part of the posterior"
MODE, SPREAD = "mode", "spread"


def missed(result: Importance) -> tuple[str, str] | None:
    """Say so if draws that are spread out find significantly more evidence, or a broader posterior.

    Returns:
        What is missed, `MODE` or `SPREAD`, and the finding in words; None if nothing is.
    """
    for found in spread_out(result, (2.0, 4.0, 8.0)):
        if not math.isfinite(found.smoothed.log_mean) or found.smoothed.khat >= 0.7:
            continue
        if found.smoothed.ess < 25:
            continue
        more = found.smoothed.log_mean - result.log_evidence
        error = math.hypot(found.smoothed.ess**-0.5, result.log_evidence_error)
        start = f"draws spread to {found.factor:.0f} times their width find"
        if more > max(0.1, 4 * error):
            return MODE, f"{start} {more:.2f} ± {error:.2f} nats more evidence: {_MISSED}"
        if (ratio := _broader(found)) is not None:
            return SPREAD, f"{start} a standard deviation {ratio} times the guide's: {_MISSED}"
    return None


def _broader(found: SpreadOut) -> str | None:
    """Return how much broader the posterior is in the surest coordinate, if that is sure and matters."""
    if found.smoothed.ess < _ENOUGH * len(found.smoothed.log_weights):  # the error is as doubtful then
        return None
    least = found.ratio - 3 * found.ratio_error
    i = int(least.argmax())
    return f"{float(found.ratio[i]):.2f} ± {float(found.ratio_error[i]):.2f}" if least[i] > 1.05 else None
