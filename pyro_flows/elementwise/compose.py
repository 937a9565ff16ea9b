"""Several maps one after another."""

from __future__ import annotations

from torch import Tensor

from .base import Elementwise

__all__ = ["Compose"]


class Compose(Elementwise):
    """y = g_n(… g_2(g_1(x)) …), the log-derivative the sum of the maps'; params stand in the maps' order.

    Args:
        maps: g_1, …, g_n.

    Raises:
        ValueError: if there is no map.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow_plus_plus = pf.elementwise.Compose(pf.elementwise.Mixture(8), pf.elementwise.Affine())
        >>> flow_plus_plus.num_params
        26
    """

    def __init__(self, *maps: Elementwise) -> None:
        if not maps:
            raise ValueError("expected at least one map; got none")
        self.maps = maps
        self.domain, self.codomain = maps[0].domain, maps[-1].codomain
        self._sizes = [g.num_params for g in maps]
        self.num_params = sum(self._sizes)

    def forward(self, x: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return y and the sum of the log-derivatives."""
        parts = params.split(self._sizes, -1 - event_dim)
        x, total = self.maps[0].forward(x, parts[0], event_dim)
        for g, part in zip(self.maps[1:], parts[1:], strict=True):
            x, slope = g.forward(x, part, event_dim)
            total = total + slope
        return x, total

    def inverse(self, y: Tensor, params: Tensor, event_dim: int = 1) -> tuple[Tensor, Tensor]:
        """Return x and the sum of the inverses' log-derivatives."""
        parts = params.split(self._sizes, -1 - event_dim)
        y, total = self.maps[-1].inverse(y, parts[-1], event_dim)
        for g, part in zip(self.maps[-2::-1], parts[-2::-1], strict=True):
            y, slope = g.inverse(y, part, event_dim)
            total = total + slope
        return y, total

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.maps))})"
