"""Standard distributions by their tails, which stay exact where distribution functions round to 0 or 1."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["Gaussian", "Logistic", "StandardDistribution"]


class StandardDistribution(ABC):
    """A symmetric distribution about 0 with survival function S and density f.

    deviation: its standard deviation.
    """

    deviation: float

    @abstractmethod
    def log_survival(self, z: Tensor) -> Tensor:
        """Return log S(z)."""

    @abstractmethod
    def log_hazard(self, z: Tensor) -> Tensor:
        """Return log f(z)/S(z)."""

    @abstractmethod
    def upper_quantile(self, log_tail: Tensor) -> Tensor:
        """Return the t ≥ 0 with log S(t) = `log_tail`, which is at most −log 2."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Logistic(StandardDistribution):
    """S(z) = 1 / (1 + eᶻ)."""

    deviation = math.pi / math.sqrt(3)

    def log_survival(self, z: Tensor) -> Tensor:
        """Return log S(z)."""
        return logsigmoid(-z)

    def log_hazard(self, z: Tensor) -> Tensor:
        """Return log f(z)/S(z), log 1 / (1 + e⁻ᶻ)."""
        return logsigmoid(z)

    def upper_quantile(self, log_tail: Tensor) -> Tensor:
        """Return the t ≥ 0 with log S(t) = `log_tail`."""
        return (-log_tail.exp()).log1p() - log_tail


class Gaussian(StandardDistribution):
    """S(z) = Φ(−z)."""

    deviation = 1.0

    def log_survival(self, z: Tensor) -> Tensor:
        """Return log S(z)."""
        # Not `log_ndtr`, which vmap does not batch.
        left, right = z.clamp(max=0) / math.sqrt(2), z.clamp(min=0) / math.sqrt(2)
        below = (-0.5 * torch.special.erfc(-left)).log1p()
        above = torch.special.erfcx(right).log() - right.square() - math.log(2)
        return torch.where(z < 0, below, above)

    def log_hazard(self, z: Tensor) -> Tensor:
        """Return log f(z)/S(z)."""
        half_log = 0.5 * math.log(2 * math.pi)
        left, right = z.clamp(max=0), z.clamp(min=0)
        below = -left.square() / 2 - half_log - self.log_survival(left)
        above = math.log(2) - half_log - torch.special.erfcx(right / math.sqrt(2)).log()
        return torch.where(z < 0, below, above)

    def upper_quantile(self, log_tail: Tensor) -> Tensor:
        """Return the t ≥ 0 with log S(t) = `log_tail`, by Newton's method from an approximation."""
        with torch.no_grad():
            double = -2 * log_tail.detach()
            near = -torch.special.ndtri((-double / 2).clamp(min=-60).exp())
            far = (double - (2 * math.pi * double.clamp(min=1)).log()).clamp(min=0).sqrt()
            t = torch.where(double < 100, near, far)
        for _ in range(2):  # two, for derivatives up to the third
            t = t + (self.log_survival(t) - log_tail) * (-self.log_hazard(t)).exp()
        return t
