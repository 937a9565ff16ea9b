"""How `fit_vi` trains, and what it saw."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ...loop.schedule import cosine
from ...loop.settings import check_common, check_integers, check_numbers
from ..guides.auto_mixture import AutoMixture

__all__ = ["MAY_CHANGE", "VIHistory", "VISettings"]

MAY_CHANGE = ("progress", "checkpoint_every", "seed")  # when a run is resumed


@dataclass(frozen=True)
class VISettings:
    """How `fit_vi` trains.

    Args:
        steps: at most so many steps of Adam after the Gaussian start, for each restart; the second half only
            if half the variance of the log-weights is then above five tolerances. If it is below already
            after s steps, the first half is cut to 2 s steps, or 400; if the start is within a hundred
            tolerances, to 400, and doubled as long as it does not suffice.
        batch_size: draws a step.
        learning_rate: Adam's, warmed up over 2 % of the first half of the steps, then on a cosine down to
            1 %; in the second half likewise from half of it.
        clip: bound of the gradient's norm.
        tolerance: nats; a fit stops early when half the variance of the log-weights, about the distance
            to the posterior when it is small, is below, and their k̂ is below 0.7. Above 50 latent dimensions
            it grows in proportion to them, up to six times. If the model has parameters of its own, a fit
            stops half way at the earliest, and when the bound no longer rises.
        restarts: independent fits, of which the one with the best bound is kept. The first goes on from the
            guide as it is; the others start anew, from draws of the prior. If they find different modes, the
            history holds a mixture of all of them.
        path_gradient: whether to hold q's parameters fixed inside log q, which takes the flow's inverse;
            False for flows whose inverse is slow, such as inverse autoregressive ones.
        compile: whether `torch.compile` makes one graph of the flow's part of a step, drawing and scoring, or
            the name of the backend that does it. See `fit_vi`.
        seed: of everything random; None takes one from torch's global generator.
        progress: whether to show a bar, if tqdm is installed.
        checkpoint_every: seconds between two checkpoints.
    """

    steps: int = 4000
    batch_size: int = 256
    learning_rate: float = 1e-2
    clip: float = 10.0
    tolerance: float = 5e-4
    restarts: int = 1
    path_gradient: bool = True
    compile: bool | str = False
    seed: int | None = None
    progress: bool = True
    checkpoint_every: float = 10.0

    def __post_init__(self) -> None:
        check_integers(self, ("steps", "batch_size", "restarts"))
        check_common(self)
        check_numbers(self, ("tolerance",), infinite=True)

    @property
    def half(self) -> int:
        """How many steps the first half has."""
        return (self.steps + 1) // 2

    def schedule(self, step: int, half: int | None = None) -> float:
        """Return the share of the learning rate that `step` takes if the first half has `half` steps."""
        half = half or self.half
        if step < half:
            return cosine(step / half)
        return 0.5 * cosine((step - half) / (self.steps - half))


@dataclass
class VIHistory:
    """What `fit_vi` saw, in nats; one entry a check, every 100 steps and half way, of the fit kept.

    Of a mixture there is one entry, at the end; `bounds` and `separation` are those of its members' fits.

    Attributes:
        elbo: the evidence lower bound, from 2,000 draws, or 10,000 if the fit may have converged.
        half_variance: half the variance of the log-weights log p(x, z) − log q(z).
        bounds: each restart's last bound.
        steps: steps taken, over all restarts.
        skipped: of those, how many had a non-finite gradient and changed nothing.
        converged: whether the fit that was kept reached the tolerance.
        separation: the largest distance of two restarts' means, in standard deviations; of restarts that fit
            well and whose bounds are within 7 nats of the best. Above 1, a warning tells of different modes.
        mixture: if the restarts have found different modes, a guide that holds all of them, weighed by their
            shares of the evidence; None if they have not, or the model has parameters of its own.
        outside: the share of the last 10,000 draws of the fit that was kept at which the model has density
            zero, or is NaN. Above 0, a warning tells of it: the ELBO is −∞.
        seconds: wall-clock time.
        compile_seconds: of that, for compiling.
    """

    elbo: list[float] = field(default_factory=list)
    half_variance: list[float] = field(default_factory=list)
    bounds: list[float] = field(default_factory=list)
    steps: int = 0
    skipped: int = 0
    converged: bool = False
    separation: float = 0.0
    mixture: AutoMixture | None = None
    outside: float = 0.0
    seconds: float = 0.0
    compile_seconds: float = 0.0

    @property
    def best_bound(self) -> float:
        """The bound of the fit that was kept, or minus infinity before the first ends."""
        return max(self.bounds, default=-math.inf)
