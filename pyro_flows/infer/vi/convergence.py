"""How near a fit is to the posterior, how fast its learning rate comes down, and when it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..weights.psis import psis
from .vi_settings import VISettings

__all__ = ["Convergence", "tolerance_of"]

CHECK_EVERY = 100  # steps
CHECK_DRAWS = 2000
FINAL_DRAWS = 10_000
MOST_KHAT = 0.7  # above, a few weights of rare draws outweigh what the others say
NEAR = 5  # tolerances: how near a fit must be to end half way
FEWEST_STEPS = 400  # of a fit that is near, before it ends
HOPEFUL = 100  # tolerances: how near a start must be for a short first half to be tried
FEW = 50  # dimensions, above which the tolerance grows
MOST_GROWTH = 6.0  # of the tolerance, so that a fit that is near is still what reports call good


def tolerance_of(settings: VISettings, dim: int) -> float:
    """Return the nats within which a fit of so many latent dimensions counts as converged."""
    return settings.tolerance * min(max(1.0, dim / FEW), MOST_GROWTH)


class Convergence:
    """The checks of one fit, and what follows from them.

    The learning rate comes down in the first half of the steps. A fit that is then within five tolerances
    ends; another goes on through the second half. A fit that is as near as that early on needs no such long
    first half: it is cut to twice the steps that were taken so far, and that of a good start to a few
    hundred. If the fit is not near at the end of so short a half, the half is doubled.

    The log-weights tell nothing of the model's own parameters. If there are any, the fit goes through the
    whole first half, and does not count as converged while the bound still rises.

    Many dimensions add up: above 50 the tolerance grows in proportion to them, up to six times.

    Args:
        settings: how to train.
        learns: whether parameters of the model are trained too.
        dim: how many latent dimensions there are.
    """

    def __init__(self, settings: VISettings, *, learns: bool, dim: int = 1) -> None:
        self.settings, self.learns = settings, learns
        self.tolerance = tolerance_of(settings, dim)
        self.elbo: list[float] = []
        self.half_variance: list[float] = []
        self.half = settings.half
        self.converged = False

    def is_due(self, step: int) -> bool:
        """Whether to check after so many steps."""
        return step % CHECK_EVERY == 0 or step in (self.half, self.settings.steps)

    def check(self, step: int, log_weights: Callable[[int], Tensor]) -> None:
        """Look at log-weights, of which `log_weights` returns as many as it is asked for."""
        weights = log_weights(CHECK_DRAWS)
        half_way = step == self.half
        enough = NEAR * self.tolerance if half_way else self.tolerance
        if float(weights.var() / 2) <= enough:  # which rare, heavy weights can feign
            weights = log_weights(FINAL_DRAWS)
        half_variance = float(weights.var() / 2)
        self.elbo.append(float(weights.mean()))
        self.half_variance.append(half_variance)
        self.converged = (
            half_variance <= self.tolerance and psis(weights).khat < MOST_KHAT and not self._rises(step)
        )
        near = half_variance <= NEAR * self.tolerance
        if half_way and not near:
            self.half = min(2 * self.half, self.settings.half)
        elif not half_way and not self.learns:
            if near:
                self.half = min(max(2 * step, FEWEST_STEPS), self.half)
            elif step == 0 and half_variance <= HOPEFUL * self.tolerance:
                self.half = min(FEWEST_STEPS, self.half)

    def ends(self, step: int) -> bool:
        """Whether to end the fit."""
        near = step == self.half and self.half_variance[-1] <= NEAR * self.tolerance
        return self.converged or (near and not self._rises(step)) or step >= self.settings.steps

    def rate(self, step: int) -> float:
        """Return the share of the learning rate that `step` takes."""
        return self.settings.schedule(step, self.half)

    def __str__(self) -> str:
        return f"ELBO {self.elbo[-1]:.3f}, half variance {self.half_variance[-1]:.4f}"

    def _rises(self, step: int) -> bool:
        """Whether parameters of the model still move the bound."""
        if not self.learns:
            return False
        since = max(1, self.half // (2 * CHECK_EVERY))  # half of a half, in which the rate is not small yet
        if step < self.half or len(self.elbo) <= since:
            return True
        return self.elbo[-1] - self.elbo[-1 - since] > NEAR * self.tolerance

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {name: getattr(self, name) for name in ("elbo", "half_variance", "half", "converged")}

    def load(self, state: dict[str, Any]) -> None:
        """Take in what `state` returned."""
        for name, value in state.items():
            setattr(self, name, value)
