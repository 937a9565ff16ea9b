"""What a model's sites look like in a single run, to tell the dimension of draws in a run of many."""

from __future__ import annotations

from dataclasses import dataclass

from pyro.poutine import Trace
from torch import Size, Tensor

from .program import is_deterministic, samples

__all__ = ["Shapes"]


@dataclass(frozen=True)
class Shapes:
    """What the sites look like in a single run: everything else is measured against that."""

    values: dict[str, Size]
    batches: dict[str, Size]
    plates: dict[str, dict[int, str]]
    event_dims: dict[str, int]
    nesting: int  # batch dimensions, of all sites together

    @classmethod
    def of(cls, alone: tuple[Trace, Trace]) -> Shapes:
        """Return what the traces of a guide and a model, both of a single run, say."""
        values, batches, plates, event_dims = {}, {}, {}, {}
        for trace in alone:  # the model's word is the last
            for name, site in samples(trace).items():
                shape, frames = site["value"].shape, [f for f in site["cond_indep_stack"] if f.vectorized]
                values[name], batches[name] = shape, site["log_prob"].shape
                plates[name] = {frame.dim: frame.name for frame in frames}
                event_dims[name] = site["fn"].event_dim
                spans = all(len(shape) >= -f.dim and shape[f.dim] == f.size for f in frames)
                if is_deterministic(site) and spans:
                    event_dims[name] = 0  # where nobody says, Pyro takes all of it for event
        dims = [len(batch) for batch in batches.values()]
        dims += [-dim for frames in plates.values() for dim in frames]
        return cls(values, batches, plates, event_dims, max(dims, default=0))

    def per_draw(self, tensor: Tensor, shape: Size, event_dim: int, draws: int | None) -> Tensor:
        """Return `tensor`, of a run over many draws at once or of one alone, with shape (draws, *shape)."""
        if draws is None:
            return tensor.reshape(1, *shape)
        if tensor.numel() == shape.numel():  # it does not depend on the draw
            return tensor.reshape(shape).expand(draws, *shape)
        if tensor.shape[0] == draws and tensor.numel() == draws * shape.numel():
            return tensor.reshape(draws, *shape)
        if tensor.dim() <= self.nesting + event_dim:
            return tensor.expand(shape).expand(draws, *shape)
        # Between the draws and the site's own dimensions stand ones, for the plates that it is not in.
        kept = tensor.shape[1:]
        surplus = max(len(kept) - len(shape), 0)
        return tensor.reshape(tensor.shape[0], *kept[surplus:]).expand(draws, *shape)

    def sums(self, log_prob: Tensor, draws: int | None) -> Tensor:
        """Return (draws,) from the log-densities of a site, which may lack the dimension of draws."""
        if draws is None:
            return log_prob.sum().reshape(1)
        if log_prob.dim() <= self.nesting:
            return log_prob.sum().expand(draws)
        return log_prob.reshape(log_prob.shape[0], -1).sum(-1).expand(draws)
