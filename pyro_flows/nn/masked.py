"""The masked net of autoregressive flows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Size, Tensor, nn
from torch.nn.functional import linear

from .mlp import Activation, _build, _context_layer, _with_context, _zeroed

__all__ = ["MaskedNet"]


class _MaskedLinear(nn.Linear):
    """gain · W x + b with some of W's elements held at zero."""

    mask: Tensor

    def __init__(self, mask: Tensor, gain: float = 1.0) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        # A gain within the mask costs nothing.
        self.register_buffer("mask", gain * mask.to(self.weight.dtype), persistent=False)

    def masked(self) -> Tensor:
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.masked(), self.bias)


class MaskedNet(nn.Module):
    r"""A multilayer perceptron that gives each element of x parameters that depend on lower-ranked ones only.

    Starts at zero, as `MLP` does, and learns faster by its gain: Adam moves weights by its learning
    rate, however far they have to go from zero. Hidden unit j has a degree m_j and reads what has a rank or a
    degree of at most m_j; the parameters of element i read the units with m_j < rank i.

    Germain, Gregor, Murray & Larochelle, "MADE: Masked Autoencoder for Distribution Estimation", 2015,
    arXiv:1502.03509.

    Args:
        ranks: place of each of the d elements in the order, d numbers; elements of equal rank do not
            depend on each other. Numbers may be left out: only their order counts.
        num_params: how many parameters each element gets.
        hidden: widths of the hidden layers.
        context_dim: length of the context vector, which all parameters depend on; 0 for none.
        activation: a module class or a function.
        gain: what the last layer's weights are multiplied by, which acts as their learning rate.

    Raises:
        ValueError: if all ranks are equal, or a context is needed and missing.

    Example:
        >>> import torch, pyro_flows as pf
        >>> net = pf.nn.MaskedNet([0, 1, 2], 2, hidden=(32, 32))
        >>> net(torch.randn(10, 3)).shape
        torch.Size([10, 2, 3])
    """

    ranks: Tensor
    by_rank: Tensor

    def __init__(
        self,
        ranks: Sequence[int] | Tensor,
        num_params: int,
        hidden: Sequence[int] = (64, 64),
        *,
        context_dim: int = 0,
        activation: Activation = nn.ReLU,
        gain: float = 3.0,
    ) -> None:
        super().__init__()
        places = torch.as_tensor(ranks).unique(return_inverse=True)[1]
        if places.dim() != 1 or not len(places) or not hidden:
            raise ValueError(
                f"expected one rank an element and hidden widths; got shape {tuple(places.shape)}, {hidden}"
            )
        # How many elements have each rank, 0 … K − 1.
        self.sizes: list[int] = places.bincount().tolist()
        if len(self.sizes) < 2:
            raise ValueError(
                "expected elements of two ranks at least, as none would depend on another; "
                "pyro_flows.transforms.Monotone moves each by itself"
            )
        # Units of degree −1 read the context alone.
        degrees = range(-1 if context_dim else 0, len(self.sizes) - 1)
        self.num_params, self.context_shape = num_params, Size([context_dim]) if context_dim else None
        self.register_buffer("ranks", places)
        self.register_buffer("by_rank", places.argsort(stable=True), persistent=False)
        units = [
            torch.tensor([degrees[-(-(j + 1) * len(degrees) // n) - 1] for j in range(n)]) for n in hidden
        ]
        # How many units of each hidden layer the parameters of each rank read: they are sorted by degree.
        self.units = [[int((u < k).sum()) for k in range(len(self.sizes))] for u in units]
        self.first = _MaskedLinear(units[0][:, None] >= places)
        self.context = _context_layer(context_dim, hidden[0])
        self.middle = nn.ModuleList(_MaskedLinear(b[:, None] >= a) for a, b in pairwise(units))
        self.last = _zeroed(_MaskedLinear((places[:, None] > units[-1]).repeat(num_params, 1), gain))
        self.gain = gain
        self.activation = _build(activation, inplace=True)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the parameters, of shape (*batch, num_params, d)."""
        h = self.activation(_with_context(self.first(x), self.context, context))
        for layer in self.middle:
            h = self.activation(layer(h))
        return self.last(h).unflatten(-1, (self.num_params, len(self.ranks)))

    def rank_by_rank(self, x: Tensor, context: Tensor | None = None) -> RankByRank:
        """Return the net as a function that gives the parameters of one rank after another.

        Args:
            x: any tensor of the batch shape, dtype and device of the evaluation, and one more dimension.
            context: the context, whose batch shape broadcasts to that of x.
        """
        return RankByRank(self, x, context)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        ranks = state_dict.get(prefix + "ranks")
        if ranks is not None and not (ranks.is_meta or self.ranks.is_meta):
            mine = self.ranks.to(ranks.device)
            if ranks.shape != mine.shape or not torch.equal(ranks, mine):
                raise ValueError(f"expected weights for ranks {mine.tolist()}; got {ranks.tolist()}")
        super()._load_from_state_dict(state_dict, prefix, *args)


class RankByRank:
    """A `MaskedNet` evaluated for one rank after another, every unit once: all ranks cost one pass.

    Each call takes the elements known by then, sorted by rank, and gives the parameters of the next
    rank's, of shape (*batch, num_params, number of these).
    """

    def __init__(self, net: MaskedNet, x: Tensor, context: Tensor | None) -> None:
        self.net, self.rank, self.start = net, 0, 0
        # Units, inputs and outputs sorted by degree or rank make the masked matrices block-triangular.
        self.weights = [
            net.first.weight.index_select(1, net.by_rank),
            *(cast(nn.Linear, layer).weight for layer in net.middle),
        ]
        self.biases = [net.first.bias, *(cast(nn.Linear, layer).bias for layer in net.middle)]
        shape = (net.num_params, len(net.ranks))
        self.last = (net.gain * net.last.weight).unflatten(0, shape).index_select(1, net.by_rank)
        self.last_bias = net.last.bias.unflatten(0, shape).index_select(1, net.by_rank)
        self.offset = _with_context(net.first.bias, net.context, context)
        self.hidden = [x.new_empty((*x.shape[:-1], 0)) for _ in self.weights]

    def __call__(self, known: Tensor) -> Tensor:
        net, rank, h = self.net, self.rank, known
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            old, new = self.hidden[i].shape[-1], net.units[i][rank]
            if new > old:
                part = linear(h, weight[old:new, : h.shape[-1]], bias[old:new] if i else None)
                part = part if i else part + self.offset[..., old:new]
                self.hidden[i] = torch.cat((self.hidden[i], net.activation(part)), -1)
            h = self.hidden[i]
        end = self.start + net.sizes[rank]
        last, bias = self.last[:, self.start : end, : h.shape[-1]], self.last_bias[:, self.start : end]
        self.rank, self.start = rank + 1, end
        return linear(h, last.flatten(0, 1), bias.flatten()).unflatten(-1, bias.shape)
