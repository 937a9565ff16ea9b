"""How the layers call their conditioners, and what they accept of them."""

from __future__ import annotations

from torch import Size, Tensor, nn

__all__ = ["context_shape_of", "paired", "read"]


def context_shape_of(conditioner: nn.Module, context_dim: int) -> Size | None:
    """Return the event shape of the context that a conditioner takes: as given, or as it tells itself."""
    return Size([context_dim]) if context_dim else getattr(conditioner, "context_shape", None)


def paired(conditioner: nn.Module | None, context_dim: int) -> Size | None:
    """Return the context's shape for a conditioner that reads nothing else, None without one.

    Raises:
        ValueError: if only one of the two is given.
    """
    if (conditioner is None) != (not context_dim):
        raise ValueError(
            f"expected a conditioner and context_dim ≥ 1, or neither; got {conditioner} and {context_dim}"
        )
    return Size([context_dim]) if context_dim else None


def read(conditioner: nn.Module, *inputs: Tensor | None, shape: Size, batch_dim: int, like: Tensor) -> Tensor:
    """Return the conditioner's parameters of the inputs that are there, of shape (*batch, *shape).

    They may come with the dimensions of `shape` merged, and get the dtype of `like`: under autocast a
    network is coarse, but not the map that it gives parameters to.

    Args:
        conditioner: the network.
        inputs: what it reads; None for a context that there is none of.
        shape: shape of the parameters of one event.
        batch_dim: number of batch dimensions, those of the context included.
        like: a tensor of the map's dtype.

    Raises:
        ValueError: if there is nothing to read, or the conditioner gives another number of values.
    """
    given = [tensor for tensor in inputs if tensor is not None]
    if not given:
        raise ValueError("expected a context; got none: use .condition(context)")
    params: Tensor = conditioner(*given)
    if params.dtype != like.dtype:
        params = params.to(like.dtype)
    found = params.shape[batch_dim:]
    if found == shape:
        return params
    if params.dim() < batch_dim or found.numel() != shape.numel():
        got = tuple(params.shape)
        raise ValueError(f"expected the conditioner to give {tuple(shape)} values an event; got shape {got}")
    return params.reshape(params.shape[:batch_dim] + shape)
