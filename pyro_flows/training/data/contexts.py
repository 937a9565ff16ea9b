"""What is given beside x, as a context for the flow."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.nn.functional import one_hot

from ...flow import Flow
from ...transform import FlowTransform

__all__ = ["ContextReader"]


class ContextReader:
    """Checks a batch of contexts, or makes one-hot vectors of labels.

    Args:
        shape: event shape of the flow's context; None if it takes none.
        event_dim: of the flow's data.
        labels: whether contexts come as whole numbers 0 … K − 1, for a flow whose contexts have length K.
        any_shape: whether a loss of the user's own may want anything here.

    Raises:
        ValueError: if there are labels, and the flow's context is no vector.
    """

    def __init__(
        self, shape: Size | None, event_dim: int, *, labels: bool = False, any_shape: bool = False
    ) -> None:
        if labels and (shape is None or len(shape) != 1):
            got = "none" if shape is None else f"shape {tuple(shape)}"
            raise ValueError(
                "expected a flow whose context is a vector as long as there are labels, built with "
                f"context_dim=…; got a context of {got}"
            )
        self.shape, self.event_dim, self.labels, self.any_shape = shape, event_dim, labels, any_shape

    @classmethod
    def of(
        cls, like: Flow | FlowTransform, *, labels: bool = False, any_shape: bool = False
    ) -> ContextReader:
        """Return the reader of what a flow or a transform is given."""
        transform = like.given_transform if isinstance(like, Flow) else like
        event_dim = transform.codomain.event_dim
        if isinstance(like, Flow):  # whose base may have more dimensions than the transform needs
            event_dim += max(0, len(like.base().event_shape) - transform.domain.event_dim)
        return cls(transform.context_shape, event_dim, labels=labels, any_shape=any_shape)

    def __call__(self, context: Tensor | None, x: Tensor) -> Tensor | None:
        """Return the contexts of rows x, of shape (*batch, *shape).

        Raises:
            ValueError: if they have another shape, the flow takes none, or a label is out of range.
        """
        if context is None:
            return None
        if self.labels and self.shape is not None:
            return self._checked(self._one_hot(self._squeezed(context, x), self.shape[0]), self.shape, x)
        if self.any_shape:
            return context
        if self.shape is None:
            raise ValueError(
                "the flow takes no context; got one: give x alone (weights have a keyword), or build a flow "
                "with context_dim=… (labels become one-hot contexts by labels=True)"
            )
        return self._checked(context, self.shape, x)

    def _checked(self, context: Tensor, shape: Size, x: Tensor) -> Tensor:
        """Return contexts, whose batch dimensions have to broadcast to those of x, and no further.

        A context of shape (rows, 1, *shape) would give each row of vectors the contexts of all of them.
        """
        batch = context.dim() - len(shape)
        if batch < 1 or context.shape[batch:] != shape:
            hint = "" if context.is_floating_point() else ": labels become one-hot vectors by labels=True"
            raise ValueError(
                f"expected a context of event shape {tuple(shape)}; got rows of shape "
                f"{tuple(context.shape[1:])}{hint}"
            )
        events, given = x.shape[1 : x.dim() - self.event_dim], context.shape[1:batch]
        if len(given) != len(events) or any(g not in (1, e) for g, e in zip(given, events, strict=True)):
            what = "labels" if self.labels else "a context"
            wanted, got = (tuple(s if self.labels else s + shape) for s in (events, given))
            raise ValueError(
                f"expected {what} of row shape {wanted}, one for each event in a row of data of shape "
                f"{tuple(x.shape[1:])}; got row shape {got}"
            )
        return context

    def _squeezed(self, labels: Tensor, x: Tensor) -> Tensor:
        """Return labels without further dimensions of one element, as a column of a table has."""
        while labels.dim() > max(1, x.dim() - self.event_dim) and labels.shape[-1] == 1:
            labels = labels.squeeze(-1)
        return labels

    def _one_hot(self, labels: Tensor, count: int) -> Tensor:
        whole = labels.long()
        if not bool(((whole == labels) & (whole >= 0) & (whole < count)).all()):
            raise ValueError(
                f"expected labels in 0 … {count - 1}, one for each element of the context; got others"
            )
        return one_hot(whole, count).to(torch.get_default_dtype())
