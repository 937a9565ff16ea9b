"""One walk through the layers of a flow, from the data to the noise."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from torch import Tensor

from ..transform import Conditioned, FlowTransform
from .chain import Chain, chained
from .multiscale import Multiscale

__all__ = ["Visit", "Walk"]


class Visit:
    """A layer on the way from the data to the noise, with the value that reaches it.

    Attributes:
        name: path of the layer's module, below the walk's name.
        layer: the transform, which is no composition of others.
        y: its value on the data side.
        context: the context if the layer takes one, else None.
        x: its value on the base side, which the next layer gets; None before the layer is evaluated.
    """

    def __init__(
        self, name: str, layer: FlowTransform, y: Tensor, context: Tensor | None, batch_dim: int
    ) -> None:
        self.name, self.layer, self.y, self.context = name, layer, y, context
        self.x: Tensor | None = None
        self._batch_dim = batch_dim

    def score(self) -> tuple[Tensor, Tensor]:
        """Evaluate the layer: return x and log|det dx/dy|, which is summed over whole events of the flow."""
        self.x, log_det = self.layer.inverse_and_log_det(self.y, self.context)
        if log_det.dim() > self._batch_dim:  # the layer's events are parts of the flow's
            log_det = log_det.flatten(self._batch_dim).sum(-1)
        return self.x, log_det


class Walk:
    """Visits the layers of a transform from the data side, those inside chains and multiscale parts too.

    The loop evaluates each visited layer, by `Visit.score` or its own way, which sets `Visit.x`; a layer
    that it leaves alone is scored. Afterwards `x` holds the value on the base side.

    Args:
        transform: the transform of a flow.
        y: values of shape (*batch, *event).
        context: of shape (*batch, *context_shape), or None.
        name: the transform's own name, which those of its layers begin with.
    """

    def __init__(
        self, transform: FlowTransform, y: Tensor, context: Tensor | None = None, *, name: str = "transform"
    ) -> None:
        batch_dim = y.dim() - transform.codomain.event_dim
        if context is not None and transform.context_shape is not None:
            batch_dim = max(batch_dim, context.dim() - len(transform.context_shape))
        self._visits = _visits(transform, y, context, name, batch_dim)

    x: Tensor

    def __iter__(self) -> Iterator[Visit]:
        self.x = yield from self._visits


def _visits(
    transform: FlowTransform, y: Tensor, context: Tensor | None, name: str, batch_dim: int
) -> Generator[Visit, None, Tensor]:
    if isinstance(transform, Chain):
        context = transform.inner_context(context)
    for path, layer in chained(transform, name):
        if isinstance(layer, Chain):
            y = yield from _visits(layer, y, context, path, batch_dim)
        elif isinstance(layer, Conditioned):
            batch_dim = max(batch_dim, len(layer.context_batch))
            y = yield from _visits(layer.transform, y, layer.context, f"{path}.transform", batch_dim)
        elif isinstance(layer, Multiscale):
            latents = []
            for i, (scale, last) in enumerate(layer.from_data()):
                y = yield from _visits(scale, y, context, f"{path}.scales.{i}", batch_dim)
                y, latent = (y, y) if last else layer.halve(y)
                latents.append(latent)
            y = layer.join(latents)
        else:
            visit = Visit(path, layer, y, layer.routed(context), batch_dim)
            yield visit
            y = visit.score()[0] if visit.x is None else visit.x
    return y
