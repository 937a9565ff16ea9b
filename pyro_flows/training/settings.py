"""How `fit` trains, and what it saw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from ..loop.schedule import cosine

__all__ = ["History", "Settings"]


@dataclass(frozen=True)
class Settings:
    """How `fit` trains.

    Args:
        epochs: passes over the data; None makes about 8,000 steps of it, at least 10 passes.
        batch_size: rows a step, over all processes together; an epoch's last, smaller batch is left out.
        learning_rate: Adam's, multiplied by `schedule`.
        schedule: a function of progress in [0, 1].
        clip: bound of the gradient's norm; `math.inf` for none.
        patience: epochs without a better validation loss before stopping; None waits for a quarter
            of all epochs, at least 10.
        ema: decay of the weights' exponential moving average, such as 0.999, which is what is validated
            and kept; 0 for none.
        augment: a function that changes a training batch, such as `random_flips`; it may draw from
            torch's global generator.
        precision: "no" or "bf16", which runs the networks in bfloat16 and keeps log-dets as they are.
        compile: whether `torch.compile` makes one graph of the loss and its gradient, or the name of the
            backend that does it. See `fit`.
        seed: of the split, the order and everything random inside the flow and the data set.
        progress: whether to show a bar, where tqdm is installed.
        checkpoint_every: seconds between two checkpoints.
    """

    epochs: int | None = None
    batch_size: int = 256
    learning_rate: float = 1e-3
    schedule: Callable[[float], float] = cosine
    clip: float = 5.0
    patience: int | None = None
    ema: float = 0.0
    augment: Callable[[Tensor], Tensor] | None = None
    precision: str = "no"
    compile: bool | str = False
    seed: int = 0
    progress: bool = True
    checkpoint_every: float = 10.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "seed"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, int):
                raise TypeError(f"expected {name} as an integer; got {value!r}")
        for name in ("epochs", "batch_size", "learning_rate", "clip", "patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"expected {name} > 0; got {value}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"expected ema in [0, 1); got {self.ema}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"expected a seed in [0, 2³²); got {self.seed}")
        if not isinstance(self.compile, bool | str):
            raise TypeError(f"expected compile as True, False or a backend's name; got {self.compile!r}")
        if self.precision not in ("no", "bf16"):
            raise ValueError(f'expected precision "no" or "bf16"; got {self.precision!r}')


@dataclass
class History:
    """What `fit` saw: mean negative log-densities in nats, one entry an epoch.

    `seconds` is the wall-clock time of the run; `compile_seconds`, of which it is a part, that of compiling.
    Of a flow over whole numbers, such as images, `dims` counts the numbers in an event, and
    `bits_per_dim` gives the same losses in bits per dimension.
    """

    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    best_epoch: int = -1
    steps: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    dims: int = 0

    @property
    def best_loss(self) -> float:
        """The validation loss of the weights that were kept, or infinity before the first."""
        return self.val_loss[self.best_epoch] if self.best_epoch >= 0 else math.inf

    def bits_per_dim(self, loss: float) -> float:
        """Return a loss in bits per dimension.

        Raises:
            ValueError: where the flow was not one over whole numbers.
        """
        if not self.dims:
            raise ValueError("expected the history of a flow over whole numbers; got one over real numbers")
        return loss / (self.dims * math.log(2))
