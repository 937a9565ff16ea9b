"""Conditional flows as density estimators of the `sbi` package; needs sbi."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from sbi.neural_nets.estimators.base import ConditionalDensityEstimator
from torch import Size, Tensor, nn

from .families import nsf
from .flow import Flow
from .flow_distribution import FlowDistribution
from .training.data.moments import location_and_scale
from .transform import FlowTransform
from .transforms import Units

__all__ = ["FlowEstimator", "posterior_flow"]


class FlowEstimator(ConditionalDensityEstimator):
    """q(θ | x) by a conditional flow, with the methods that sbi trains, scores and samples by.

    Args:
        flow: over θ, given a context.
        input_shape: shape of a θ.
        condition_shape: shape of an x.
        embedding_net: a module that maps each x to a context; None if x is the context.
    """

    def __init__(
        self,
        flow: Flow,
        input_shape: Sequence[int],
        condition_shape: Sequence[int],
        embedding_net: nn.Module | None = None,
    ) -> None:
        super().__init__(flow, Size(input_shape), Size(condition_shape))
        self._embedding_net = embedding_net or nn.Identity()

    @property
    def embedding_net(self) -> nn.Module:
        """The module that maps each x to a context."""
        return self._embedding_net

    def distribution(self, condition: Tensor) -> FlowDistribution:
        """Return q(θ | x) of conditions of shape (*batch, *condition_shape)."""
        batch = condition.shape[: condition.dim() - len(self.condition_shape)]
        context = self._embedding_net(condition.reshape(-1, *self.condition_shape))
        return self.net(context.reshape(*batch, -1))

    def log_prob(self, input: Tensor, condition: Tensor, **_: Any) -> Tensor:
        """Return log q(θ | x), of shape (samples, batch).

        Args:
            input: θ of shape (samples, batch, *input_shape), or (batch, *input_shape) for one sample.
            condition: x of shape (batch, *condition_shape), or (samples, batch, *condition_shape).
        """
        if input.dim() <= len(self.input_shape) + 1:
            input = input.unsqueeze(0)
        return self.distribution(condition).log_prob(input)

    def loss(self, input: Tensor, condition: Tensor, **_: Any) -> Tensor:
        """Return −log q(θ | x) of pairs, of shape (batch,)."""
        return -self.log_prob(input, condition)[0]

    def sample(self, sample_shape: Sequence[int], condition: Tensor, **_: Any) -> Tensor:
        """Return draws of θ, of shape (*sample_shape, batch, *input_shape)."""
        return self.distribution(condition).sample(Size(sample_shape))

    def sample_and_log_prob(
        self, sample_shape: Sequence[int], condition: Tensor, **_: Any
    ) -> tuple[Tensor, Tensor]:
        """Return draws of θ and their log-densities, in one pass."""
        return self.distribution(condition).rsample_and_log_prob(Size(sample_shape))


def posterior_flow(
    family: Callable[..., FlowTransform] = nsf, *, embedding_net: nn.Module | None = None, **options: Any
) -> Callable[[Tensor, Tensor], FlowEstimator]:
    """Return what sbi's `NPE` takes as `density_estimator`: a function that builds a flow from simulations.

    `pyro_flows.diagnostics.calibrate` ranks the truth among sbi's draws, if its second argument is
    ``lambda model, data: {"theta": posterior.sample((99,), x=data["x"])}``.

    The flow has the location and scale of the θ and x that it is built from. With an embedding net, x as a
    whole has one location and scale, so that its elements keep their relations.

    Args:
        family: returns a transform when called with the length of θ and with a keyword `context_dim`.
        embedding_net: a module that maps x, of shape (batch, *event), to vectors.
        **options: keywords of `family`, such as depth and hidden.

    Example:
        >>> import torch
        >>> from sbi.inference import NPE
        >>> from pyro_flows.sbi import posterior_flow
        >>> prior = torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2))
        >>> theta = prior.sample((200,))
        >>> npe = NPE(prior, density_estimator=posterior_flow(depth=2), show_progress_bars=False)
        >>> x = theta + 0.1 * torch.randn(200, 2)
        >>> _ = npe.append_simulations(theta, x).train(max_num_epochs=2)
        >>> npe.build_posterior().sample((10,), x=torch.zeros(1, 2), show_progress_bars=False).shape
        torch.Size([10, 2])
    """
    return partial(_build, family=family, embedding_net=embedding_net, options=options)


def _build(
    theta: Tensor,
    x: Tensor,
    *,
    family: Callable[..., FlowTransform],
    embedding_net: nn.Module | None,
    options: dict[str, Any],
) -> FlowEstimator:
    if theta.dim() != 2:
        raise ValueError(f"expected θ of shape (rows, length); got {tuple(theta.shape)}")
    context = x.flatten(1)
    if embedding_net is not None:
        embedding_net = nn.Sequential(_Standardised(x), embedding_net)
        with torch.no_grad():
            context = embedding_net(x[:2])
    flow = Flow(family(theta.shape[1], context_dim=context.shape[-1], **options))
    if flow.units is not None:
        flow.units.place(*location_and_scale(theta))
    if flow.context_units is not None and embedding_net is None:
        flow.context_units.place(*location_and_scale(context))
    return FlowEstimator(flow, theta.shape[1:], x.shape[1:], embedding_net)


class _Standardised(nn.Module):
    """(x − μ) / σ with one location and scale of all elements of x."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.units = Units(())
        self.units.place(*location_and_scale(x.flatten()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the standardised x."""
        return self.units.inverse_and_log_det(x)[0]
