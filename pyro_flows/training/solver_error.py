"""Whether the loss of a continuous flow is the equation's, or owed to the steps that it is solved in."""

from __future__ import annotations

from dataclasses import replace

import torch

from ..flow import Flow
from ..loop.generators import restored_generators, seed_generators
from ..loop.warning import warn_caller
from ..ode import RungeKutta
from ..transforms import NeuralODE
from .data import Source
from .likelihood import Loss, row_losses

__all__ = ["warn_of_solver_error"]

ROWS = 256
MOST_ERROR = 0.05  # nats of the mean loss
FACTOR = 4


@torch.no_grad()
def warn_of_solver_error(flow: Flow, loss: Loss, rows: Source) -> None:
    """Warn if equal steps, taken four times as many, change the mean loss of some rows by more than 0.05.

    A flow whose likelihood is trained through too few steps learns to profit from their error: its likelihood
    is then too good to be true. Losses that solve no equation, such as flow matching's, change by nothing.
    """
    layers = [part for part in flow.modules() if isinstance(part, NeuralODE)]
    coarse = {part: part.solver for part in layers if isinstance(part.solver, RungeKutta)}
    if not coarse:
        return
    x, context = next(iter(rows.batches([torch.arange(min(ROWS, len(rows)))])))
    means = []
    with restored_generators(x.device):
        try:
            for factor in (1, FACTOR):
                for part, solver in coarse.items():
                    part.solver = replace(solver, steps=factor * solver.steps)
                seed_generators(0, device=x.device)  # the same random signs of a trace
                means.append(float(row_losses(loss, flow, x, context).double().mean()))
        finally:
            for part, solver in coarse.items():
                part.solver = solver
    if not abs(means[0] - means[1]) <= MOST_ERROR:
        steps = ", ".join(str(solver.steps) for solver in coarse.values())
        warn_caller(
            f"the mean loss is {means[0]:.3f} by the solver's own steps ({steps}), and {means[1]:.3f} by "
            f"{FACTOR} times as many: the flow has learned to profit from the solver's error. Train with "
            "more steps or pyro_flows.ode.Adaptive(), or at a lower learning rate"
        )
