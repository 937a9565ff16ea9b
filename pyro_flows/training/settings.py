"""How `fit` trains, and what it saw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor
from torch.optim import Optimizer

from ..loop.schedule import cosine
from ..loop.settings import check_common, check_functions, check_integers, check_numbers
from ..transform import FlowTransform

__all__ = ["History", "Settings"]

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Settings:
    """How `fit` trains.

    Args:
        epochs: passes over the data; None makes about 8,000 steps of it, at least 10 passes.
        batch_size: rows a step, over all processes together; an epoch's last, smaller batch is left out.
        learning_rate: Adam's, multiplied by `schedule`; if None, the one that the loss brings, as
            `FlowMatching` does, or that all layers bring, as `NeuralODE` does, or else 1e-3.
        schedule: a function of progress in [0, 1].
        weight_decay: λ of decoupled weight decay, θ ← (1 − λ · rate) θ in each step (AdamW; Loshchilov &
            Hutter 2019, arXiv:1711.05101).
        optimizer: a function of the list of parameters that returns an optimiser to use instead of Adam, such
            as ``lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, fused=True)``; `schedule` multiplies its
            learning rates. One that is not fused reads the device once a step.
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
        progress: whether to show a bar, if tqdm is installed.
        checkpoint_every: seconds between two checkpoints.
    """

    epochs: int | None = None
    batch_size: int = 256
    learning_rate: float | None = None
    schedule: Callable[[float], float] = cosine
    weight_decay: float = 0.0
    optimizer: Callable[[list[Tensor]], Optimizer] | None = None
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
        check_integers(self, ("epochs", "batch_size", "patience"))
        check_common(self)
        check_numbers(self, ("weight_decay", "ema"))
        check_functions(self, ("schedule", "optimizer", "augment"))
        if self.optimizer is not None and (self.weight_decay or self.learning_rate is not None):
            raise ValueError("expected learning_rate and weight_decay inside `optimizer`; got them beside it")
        if self.ema >= 1:
            raise ValueError(f"expected ema in [0, 1); got {self.ema}")
        if self.precision not in ("no", "bf16"):
            raise ValueError(f'expected precision "no" or "bf16"; got {self.precision!r}')

    def rate_for(self, loss: Callable[..., Tensor], transform: FlowTransform) -> float:
        """Return the learning rate that a transform is trained with by a loss."""
        if self.learning_rate is not None:
            return self.learning_rate
        bringing = [
            m for m in transform.modules() if isinstance(m, FlowTransform) and hasattr(m, "learning_rate")
        ]
        theirs = {p for layer in bringing for p in layer.parameters()}
        brought = {layer.learning_rate for layer in bringing}
        if any(p.requires_grad and p not in theirs for p in transform.parameters()):
            brought.add(LEARNING_RATE)
        rate: float = getattr(loss, "learning_rate", min(brought, default=LEARNING_RATE))
        return rate


@dataclass
class History:
    """What `fit` saw: mean negative log-densities in nats, one entry an epoch.

    Attributes:
        train_loss: of the training rows, each batch with the weights that it met.
        val_loss: of the validation rows after each epoch; empty without validation.
        best_epoch: the epoch whose weights were kept, counted from 1; 0 if there was none.
        steps: steps taken.
        seconds: wall-clock time.
        compile_seconds: of that, for compiling.
        dims: of a flow over whole numbers, such as images, how many numbers an event has; 0 for others.
    """

    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    best_epoch: int = 0
    steps: int = 0
    seconds: float = 0.0
    compile_seconds: float = 0.0
    dims: int = 0

    @property
    def best_loss(self) -> float:
        """The validation loss of the weights that were kept, or infinity before the first."""
        return self.val_loss[self.best_epoch - 1] if self.best_epoch else math.inf

    def bits_per_dim(self, loss: float) -> float:
        """Return a loss in bits per dimension.

        Raises:
            ValueError: if the flow was not one over whole numbers.
        """
        if not self.dims:
            raise ValueError("expected the history of a flow over whole numbers; got one over real numbers")
        return loss / (self.dims * math.log(2))
