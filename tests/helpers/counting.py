"""Networks that count how often they are called."""

from __future__ import annotations

from torch import Tensor, nn


class Counting(nn.Module):
    """A network and the number of its calls since the last `take`; it tells what the network tells."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.calls = net, 0
        for name in ("ranks", "context_shape"):
            if hasattr(net, name):
                setattr(self, name, getattr(net, name))

    def forward(self, *inputs: Tensor) -> Tensor:
        self.calls += 1
        return self.net(*inputs)

    def take(self) -> int:
        """Return the number of calls, and begin again."""
        calls, self.calls = self.calls, 0
        return calls


def counted(module: nn.Module, kind: type[nn.Module]) -> list[Counting]:
    """Let the conditioners of all layers of a kind count."""
    layers = [layer for layer in module.modules() if isinstance(layer, kind)]
    for layer in layers:
        layer.conditioner = Counting(layer.conditioner)
    return [layer.conditioner for layer in layers]
