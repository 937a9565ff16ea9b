"""What is given beside x, as a context for the flow."""

from __future__ import annotations

import torch
from torch import Size, Tensor
from torch.nn.functional import one_hot

__all__ = ["ContextReader"]


class ContextReader:
    """Checks a batch of contexts, or makes one-hot vectors of labels.

    Args:
        shape: event shape of the flow's context; None if it takes none.
        labels: whether contexts come as whole numbers 0 … K − 1, for a flow whose contexts have length K.
        any_shape: whether a loss of the user's own may want anything here.

    Raises:
        ValueError: if there are labels, and the flow's context is no vector.
    """

    def __init__(self, shape: Size | None, *, labels: bool = False, any_shape: bool = False) -> None:
        if labels and (shape is None or len(shape) != 1):
            got = "none" if shape is None else f"shape {tuple(shape)}"
            raise ValueError(
                "expected a flow whose context is a vector as long as there are labels, built with "
                f"context_dim=…; got a context of {got}"
            )
        self.shape, self.labels, self.any_shape = shape, labels, any_shape

    def __call__(self, context: Tensor | None) -> Tensor | None:
        """Return contexts of shape (*batch, *shape).

        Raises:
            ValueError: if they have another shape, the flow takes none, or a label is out of range.
        """
        if context is None:
            return None
        if self.labels and self.shape is not None:
            return self._one_hot(context, self.shape[0])
        if self.any_shape:
            return context
        if self.shape is None:
            raise ValueError(
                "the flow takes no context; got one: give x alone (weights have a keyword), or build a flow "
                "with context_dim=… (labels become one-hot contexts by labels=True)"
            )
        if context.shape[context.dim() - len(self.shape) :] != self.shape or context.dim() <= len(self.shape):
            hint = "" if context.is_floating_point() else ": labels become one-hot vectors by labels=True"
            raise ValueError(
                f"expected a context of event shape {tuple(self.shape)}; got rows of shape "
                f"{tuple(context.shape[1:])}{hint}"
            )
        return context

    def _one_hot(self, labels: Tensor, count: int) -> Tensor:
        whole = labels.long()
        if not bool(((whole == labels) & (whole >= 0) & (whole < count)).all()):
            raise ValueError(
                f"expected labels in 0 … {count - 1}, one for each element of the context; got others"
            )
        return one_hot(whole, count).to(torch.get_default_dtype())
