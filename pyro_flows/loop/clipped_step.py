"""A step of an optimiser along a clipped gradient, which reads nothing back from the device."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["ClippedStep", "NonFiniteLoss", "adam"]


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient became NaN or infinite; the last good weights are kept."""


def adam(parameters: Iterable[Tensor], *, rate: float, weight_decay: float = 0.0) -> Optimizer:
    """Return Adam, or with a `weight_decay` AdamW, fused if the device has it."""
    parameters = list(parameters)
    fused = parameters[0].device.type in ("cpu", "cuda")
    if weight_decay:
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=weight_decay, fused=fused)
    return torch.optim.Adam(parameters, lr=rate, fused=fused)


class ClippedStep:
    """Move θ along min(1, c / |g|) g; if the gradient g or the loss is NaN or infinite, nothing moves.

    A skipped step leaves parameters and the optimiser's state as they were. Fused optimisers (torch's Adam,
    AdamW, SGD and Adagrad with ``fused=True``) decide that on the device, as for `torch.amp.GradScaler`;
    for others it is decided on the host, which waits for the device once a step.

    Args:
        optimizer: moves the parameters; its groups' learning rates are those of a factor of 1.
        clip: bound c of the norm of all gradients together; `math.inf` for none.
        halt: whether every step after a skipped one is skipped too. Fused SGD with momentum needs it: it
            takes its first step for done, and its momentum for set, if the step was skipped.

    Attributes:
        skipped: how many steps have been skipped, of shape ().
        in_a_row: how many of them since the last one that was not, of shape ().
    """

    def __init__(self, optimizer: Optimizer, *, clip: float, halt: bool = False) -> None:
        self.optimizer, self.clip, self.halt = optimizer, clip, halt
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rates = [group["lr"] for group in optimizer.param_groups]
        self.fused = getattr(optimizer, "_step_supports_amp_scaling", False)
        self.skipped = torch.zeros((), dtype=torch.float32, device=self.parameters[0].device)
        self.in_a_row = self.skipped.clone()

    def __call__(self, factor: float = 1.0, loss: Tensor | None = None) -> None:
        """Take the step, at `factor` times the learning rates."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        scale = (norm / self.clip).clamp(min=1).float()  # single precision is all that fused steps take
        finite = (scale if loss is None else scale + loss).isfinite()
        skip = (~finite).to(self.skipped)
        if self.halt:
            skip = torch.maximum(skip, self.skipped.clamp(max=1))
        self.skipped = self.skipped + skip
        self.in_a_row = (self.in_a_row + skip) * skip
        if self.fused:
            fused: Any = self.optimizer
            fused.found_inf, fused.grad_scale = skip, scale
            self.optimizer.step()
        elif not bool(skip):
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip, norm)
            self.optimizer.step()

    def state(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        counts = {"skipped": self.skipped, "in_a_row": self.in_a_row}
        return {"optimizer": self.optimizer.state_dict()} | counts

    def load(self, state: dict[str, Any]) -> None:
        """Take in what `state` returned."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.skipped, self.in_a_row = (state[name].to(self.skipped) for name in ("skipped", "in_a_row"))
