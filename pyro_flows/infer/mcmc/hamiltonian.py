"""Hamiltonian Monte Carlo in the coordinates of a guide's flow."""

from __future__ import annotations

import torch
from torch import Tensor

from .target import States, Target
from .trajectory import Trajectory

__all__ = ["hamiltonian_step"]

JITTER = 0.3  # of the step size, by which chains differ, so that no trajectory closes upon itself


def hamiltonian_step(target: Target, states: States, k: int, path: Trajectory) -> tuple[States, Tensor]:
    """Move chains along Hamiltonian trajectories in the coordinates of flow k, and accept their ends or not.

    Args:
        target: the posterior.
        states: of n chains.
        k: which flow.
        path: the steps of the trajectory, whose size is jittered for each chain.

    Returns:
        The states after the step, and each chain's probability of acceptance, of shape (n,).
    """
    z = target.noise(k, states.u)
    size = path.step_size * path.scales * (1 + JITTER * (2 * torch.rand_like(z[:, :1]) - 1))
    momentum = torch.randn_like(z)
    _, value, gradient = target.at(k, z)
    before = value - _kinetic(momentum)
    lost = torch.zeros_like(value, dtype=torch.bool)  # where the trajectory leaves the finite
    moved = states
    momentum = momentum + size / 2 * gradient
    for i in range(path.steps):
        lost = lost | ~(momentum.isfinite().all(-1) & gradient.isfinite().all(-1))
        z = torch.where(lost[:, None], z, z + size * momentum)
        moved, value, gradient = target.at(k, z)
        lost = lost | ~value.isfinite()
        last = i == path.steps - 1
        momentum = momentum + (size / 2 if last else size) * gradient
    energy = value - _kinetic(momentum)
    probability = torch.where(lost, 0.0, (energy - before).clamp(max=0.0).exp()).nan_to_num(0.0)
    return states.replaced(torch.rand_like(probability) < probability, moved), probability


def _kinetic(momentum: Tensor) -> Tensor:
    return momentum.double().square().sum(-1) / 2
