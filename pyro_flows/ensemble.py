"""Several flows as one density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Size, Tensor, nn
from torch.distributions import Distribution, constraints

from .flow import Flow
from .flow_distribution import FlowDistribution

__all__ = ["Ensemble", "EnsembleDistribution"]


class EnsembleDistribution(TorchDistribution):
    """p(y) = 1/K Σ_k p_k(y), the mixture of K flows in equal parts; what calling an `Ensemble` returns.

    Args:
        members: the K distributions, of equal batch and event shapes.

    Raises:
        ValueError: if there are none, or their shapes differ.
    """

    has_rsample = False  # which member a draw comes from has no gradient
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, members: Sequence[FlowDistribution]) -> None:
        if not members:
            raise ValueError("expected one distribution at least; got none")
        shapes = [(tuple(member.batch_shape), tuple(member.event_shape)) for member in members]
        if len(set(shapes)) > 1:
            raise ValueError(f"expected members of one batch and event shape; got {shapes}")
        self.members = list(members)
        super().__init__(members[0].batch_shape, members[0].event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """What the values are constrained to."""
        return self.members[0].support

    def log_probs(self, value: Any) -> Tensor:
        """Return log p_k(y) of each member, of shape (K, *sample_shape, *batch_shape)."""
        return torch.stack([member.log_prob(value) for member in self.members])

    def log_prob(self, value: Any) -> Tensor:
        """Return log 1/K Σ_k p_k(y), of shape (*sample_shape, *batch_shape)."""
        return self.log_probs(value).logsumexp(0) - math.log(len(self.members))

    def spread(self, value: Any) -> Tensor:
        """Return the standard deviation of log p_k(y) over the members, of log_prob's shape, in nats.

        It is large at values whose density the data leave open, for flows of this kind and this training. It
        does not show what all members get wrong alike: a small spread is no proof that the density is right.

        Raises:
            ValueError: if there is one member only.
        """
        if len(self.members) < 2:
            raise ValueError("expected two members at least; got one")
        return self.log_probs(value).std(0)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return draws, each from a member chosen at random; all members draw, and one draw in K is kept."""
        with torch.no_grad():
            draws = torch.stack([member.sample(Size(sample_shape)) for member in self.members])
            batch = Size(sample_shape) + self.batch_shape
            chosen = torch.randint(len(self.members), batch, device=draws.device)
            index = chosen.reshape(1, *batch, *(1 for _ in self.event_shape))
            return draws.gather(0, index.expand(1, *draws.shape[1:])).squeeze(0)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> EnsembleDistribution:
        """Return the distribution with another batch shape, sharing everything."""
        new = self._get_checked_instance(EnsembleDistribution, _instance)
        new.members = [member.expand(Size(batch_shape)) for member in self.members]
        Distribution.__init__(new, Size(batch_shape), self.event_shape, validate_args=False)
        return new


class Ensemble(nn.Module):
    """A lazy mixture of several flows in equal parts: ``ensemble()``, or ``ensemble(context)``.

    Flows of one kind, started and trained from different seeds, agree if the data determine the density and
    differ if they do not. By Jensen's inequality their mixture scores any rows at least as well as its
    members do in the mean. As a posterior it is usually wider than that of a single flow, which is often too
    narrow. It costs K times as much to train, store and score. `fit_ensemble` trains it.

    Lakshminarayanan, Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
    Ensembles", 2017, arXiv:1612.01474; as posteriors of simulators: Hermans et al., "A Trust Crisis in
    Simulation-Based Inference?", 2022, arXiv:2110.06581.

    Args:
        flows: the members, of one event shape and one context shape.

    Raises:
        TypeError: if one is no `Flow`.
        ValueError: if there are none, or one comes twice.

    Example:
        >>> import torch, pyro_flows as pf
        >>> ensemble = pf.Ensemble([pf.Flow(pf.nsf(2, depth=2)) for _ in range(3)])
        >>> histories = pf.fit_ensemble(ensemble, torch.randn(200, 2), epochs=1, progress=False)
        >>> y = ensemble().sample((5,))
        >>> ensemble().log_prob(y).shape, ensemble().spread(y).shape
        (torch.Size([5]), torch.Size([5]))
    """

    def __init__(self, flows: Sequence[Flow]) -> None:
        super().__init__()
        if not flows:
            raise ValueError("expected one flow at least; got none")
        for flow in flows:
            if not isinstance(flow, Flow):
                raise TypeError(f"expected flows; got {type(flow).__name__}")
        if len({id(flow) for flow in flows}) < len(flows):
            raise ValueError("expected flows of their own; got one twice")
        self.flows = nn.ModuleList(flows)

    def forward(self, context: Any = None) -> EnsembleDistribution:
        """Return the distribution, given `context` of shape (*batch, *context_shape) if flows take one."""
        return EnsembleDistribution([flow(context) for flow in self.flows])
