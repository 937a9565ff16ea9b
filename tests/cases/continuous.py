"""Cases of continuous flows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.ode import Adaptive, Checkpointed, Hutchinson, RungeKutta

from .case import Case

__all__ = ["CASES"]

# Laws that an adaptive solver does not obey, and why.
SHARED_STEPS = {
    "bad_rows": "the rows of a batch share each step: without a row they agree to the tolerance only",
    "placement": "torchdiffeq's steps are as long as an error it reads, which meta tensors do not have",
    "compiled_training": "how many steps there are depends on the data",
    "compiled_sampling": "how many steps there are depends on the data",
    "functional": "how many steps there are depends on the data",
    "scoring_reads_nothing": "each step is as long as an error it reads",
    "sampling_reads_nothing": "each step is as long as an error it reads",
}


# Training makes the field stiff. `ffjord-checkpointed` stands for the adaptive solvers.
LONG = ("training_on_one_tensor", "guide_transform", "prior_under_autoguide")

# The velocity net's gain makes more of it.
LITTLE = 0.05


class Swirl(nn.Module):
    """A field without methods of its own: what a user would write."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(size + 2, 5), nn.Tanh(), nn.Linear(5, size))
        self.twist = nn.Linear(size, size, bias=False)

    def forward(self, t: Tensor, x: Tensor, context: Tensor | None = None) -> Tensor:
        x, context = torch.broadcast_tensors(x, context)
        return self.layers(torch.cat([x, context], -1)) + t * self.twist(x.sin())


def _ffjord(size: int = 3, solver=RungeKutta(2), **options) -> tr.NeuralODE:  # noqa: B008 (it is frozen)
    return pf.ffjord(size, **{"hidden": (6, 5), "solver": solver} | options)


CASES: dict[str, Case] = {
    "ffjord": Case("ffjord", _ffjord, scale=LITTLE, tolerance=1e-2),
    "ffjord-adaptive": Case(
        "ffjord",
        lambda: _ffjord(solver=Adaptive(rtol=1e-4, atol=1e-4)),
        scale=LITTLE,
        tolerance=3e-2,
        outside=SHARED_STEPS,
        slow=LONG,
    ),
    "ffjord-adjoint": Case(
        "ffjord",
        lambda: _ffjord(2, Adaptive(rtol=1e-4, atol=1e-4, adjoint=True), context_dim=2),
        (2,),
        (2,),
        scale=LITTLE,
        tolerance=3e-2,
        outside=SHARED_STEPS,
        slow=LONG,
    ),
    "ffjord-checkpointed": Case(
        "ffjord",
        lambda: _ffjord(2, Checkpointed(rtol=1e-4, atol=1e-4), context_dim=2),
        (2,),
        (2,),
        scale=LITTLE,
        tolerance=3e-2,
        outside=SHARED_STEPS,
    ),
    # In one dimension the estimate is exact, and no other law sees its noise.
    "ffjord-hutchinson": Case(
        "ffjord",
        lambda: _ffjord(1, RungeKutta(4), activation=nn.SiLU, trace=Hutchinson()),
        (1,),
        scale=LITTLE,
        tolerance=1e-3,
        outside={"functional": "vmap wants to be told what to do about noise"},
    ),
    "neural-ode": Case(
        "NeuralODE",
        lambda: tr.NeuralODE(Swirl(2), 2, solver=RungeKutta(3, "midpoint"), context_dim=2),
        (2,),
        (2,),
        tolerance=3e-2,
    ),
}
