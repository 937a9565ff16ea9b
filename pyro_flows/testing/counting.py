"""Networks that count how often they are called."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Counting", "counted"]


class Counting(nn.Module):
    """A network and the number of its calls since the last `take`; it has the network's ranks and context."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.calls = net, 0
        for name in ("ranks", "context_shape"):
            if hasattr(net, name):
                setattr(self, name, getattr(net, name))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return what the network returns, and count the call."""
        self.calls += 1
        return self.net(*inputs)

    def take(self) -> int:
        """Return the number of calls, and begin again."""
        calls, self.calls = self.calls, 0
        return calls


def counted(module: nn.Module, kind: type[nn.Module]) -> list[Counting]:
    """Replace the conditioner of each layer of a kind by one that counts its calls, and return those."""
    layers = [layer for layer in module.modules() if isinstance(layer, kind)]
    counters = []
    for layer in layers:
        counter = Counting(layer.get_submodule("conditioner"))
        layer.conditioner = counter
        counters.append(counter)
    return counters
