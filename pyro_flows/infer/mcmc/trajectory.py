"""How long the trajectories of local moves are, and in how many steps, adapted in the warmup."""

from __future__ import annotations

import math

import torch
from pyro.ops.dual_averaging import DualAveraging
from torch import Tensor

__all__ = ["Trajectory"]

LENGTH = math.pi / 2  # in standard deviations: on a normal its end is independent of its start
MOST_STEPS = 16  # of the leapfrog integrator
FEWEST = 20  # states, to tell a scale by


class Trajectory:
    """The step size, which dual averaging brings to a wanted acceptance, and each coordinate's scale.

    Scales are the standard deviations of all chains' coordinates over a part of the warmup. They are all
    about one if the guide is good.

    Hoffman & Gelman, "The No-U-Turn Sampler", 2014, arXiv:1111.4246, section 3.2.

    Args:
        like: a vector of the coordinates' length, dtype and device.
        acceptance: the mean probability of acceptance that is wanted.
    """

    def __init__(self, like: Tensor, acceptance: float) -> None:
        self.acceptance = acceptance
        self.scales = torch.ones_like(like)
        self._restart(len(like) ** -0.25)
        self._forget()

    def _restart(self, step_size: float) -> None:
        self._size = step_size
        self._averaging = DualAveraging(prox_center=math.log(2 * step_size))

    def _forget(self) -> None:
        self._count = 0
        self._sum, self._squares = (torch.zeros_like(self.scales, dtype=torch.double) for _ in range(2))

    @property
    def steps(self) -> int:
        """How many steps a trajectory has."""
        return max(1, min(MOST_STEPS, math.ceil(LENGTH / self._size)))

    @property
    def step_size(self) -> float:
        """The size of a step, in standard deviations."""
        return min(self._size, LENGTH / self.steps)

    def adapt(self, acceptance: float) -> None:
        """Take in the mean acceptance of one move."""
        self._averaging.step(self.acceptance - acceptance)
        self._size = math.exp(self._averaging.get_state()[0])

    def note(self, z: Tensor) -> None:
        """Take in the coordinates of chains, of shape (n, d), for their scales."""
        self._count += len(z)
        self._sum += z.double().sum(0)
        self._squares += z.double().square().sum(0)

    def rescale(self) -> None:
        """Take over the scales of what was noted since the last time, and seek the step size anew."""
        if self._count >= FEWEST:
            mean = self._sum / self._count
            variance = (self._squares / self._count - mean.square()).clamp(min=0)
            known = variance.isfinite() & (variance > 0)
            self.scales = torch.where(known, variance.sqrt(), 1.0).to(self.scales)
            self._restart(len(self.scales) ** -0.25)
        self._forget()

    def settle(self) -> None:
        """Take the average of the step sizes so far, if there were any."""
        if self._averaging._t:
            self._size = math.exp(self._averaging.get_state()[1])
