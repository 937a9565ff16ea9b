"""How `flow_mcmc` samples."""

from __future__ import annotations

from dataclasses import dataclass

from ...loop.settings import check_integers, check_seed

__all__ = ["MCMCSettings"]


@dataclass(frozen=True)
class MCMCSettings:
    """How `flow_mcmc` samples.

    Args:
        num_samples: draws that each chain keeps, at least 4.
        num_chains: chains, which run together: many cost little more than a few.
        warmup_steps: steps before the first draw that is kept, in which the size of local steps is adapted.
        proposals: of the guide, that each step tries one after the other before its local move.
        thinning: steps for each draw that is kept. None begins with one and doubles it, up to 16, until every
            R̂ is at most 1.01, dropping the older half of the draws each time.
        acceptance: of local moves, which their size is adapted to; between 0 and 1.
        seed: of everything random; None takes one from torch's global generator.
        progress: whether to show a bar, if tqdm is installed.
    """

    num_samples: int = 250
    num_chains: int = 128
    warmup_steps: int = 200
    proposals: int = 4
    thinning: int | None = None
    acceptance: float = 0.8
    seed: int | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        check_integers(self, ("num_samples", "num_chains", "proposals", "thinning"))
        if self.num_samples < 4:
            raise ValueError(f"expected num_samples ≥ 4; got {self.num_samples}")
        check_integers(self, ("warmup_steps",), least=0)
        if not 0 < self.acceptance < 1:
            raise ValueError(f"expected an acceptance between 0 and 1; got {self.acceptance}")
        check_seed(self)
