"""The course of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ._figures import DATA, MODEL, new_axes, root

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["loss_curve"]


class History(Protocol):
    """Losses, one an epoch, as `pyro_flows.fit` returns them."""

    @property
    def train_loss(self) -> Sequence[float]:
        """Mean negative log-densities of the training data, in nats."""

    @property
    def val_loss(self) -> Sequence[float]:
        """Mean negative log-densities of the validation data, in nats; empty without validation."""


def loss_curve(history: History, ax: Axes | None = None) -> Figure:
    r"""Draw training and validation loss against the epoch, and mark the best validation loss.

    The loss axis spans the epochs after the first tenth, since the first ones would flatten the rest.

    Args:
        history: an object with lists `train_loss` and `val_loss` in nats, one entry an epoch. If it
            has a number of `dims` other than 0, as of a flow over images, losses are drawn in bits per
            dimension.
        ax: where to draw; a new figure if None.

    Returns:
        The figure drawn on.

    Raises:
        ImportError: without matplotlib.

    Example:
        >>> from types import SimpleNamespace
        >>> import pyro_flows as pf, pyro_flows.plotting
        >>> history = SimpleNamespace(train_loss=[3.0, 2.0, 1.5], val_loss=[3.1, 2.2, 2.3])
        >>> figure = pf.plotting.loss_curve(history)
        >>> figure.axes[0].get_ylabel()
        'negative log-likelihood (nats)'
    """
    ax = new_axes(5.6, 3.6) if ax is None else ax
    dims = getattr(history, "dims", 0)
    unit, nats = ("bits per dimension", dims * math.log(2)) if dims else ("nats", 1.0)
    train_loss, val_loss = ([loss / nats for loss in ls] for ls in (history.train_loss, history.val_loss))
    for losses, label, colour in ((train_loss, "training", DATA), (val_loss, "validation", MODEL)):
        if losses:
            marker = "o" if len(losses) == 1 else None
            ax.plot(range(1, len(losses) + 1), losses, label=label, color=colour, lw=1.6, marker=marker)
    seen = [(loss, epoch) for epoch, loss in enumerate(val_loss, 1) if math.isfinite(loss)]
    if seen:
        loss, epoch = min(seen)
        label = f"best: {loss:.3f} {unit}, epoch {epoch}"
        ax.plot([epoch], [loss], "o", color=MODEL, mfc="white", ms=7, mew=1.6, label=label)
    tenth = len(train_loss) // 10
    late = [x for losses in (train_loss, val_loss) for x in losses[tenth:] if math.isfinite(x)]
    if tenth and late:
        margin = 0.05 * (max(late) - min(late)) or 1.0
        ax.set_ylim(min(late) - margin, max(late) + margin)
    ax.set(title="Loss", xlabel="epoch", ylabel=f"negative log-likelihood ({unit})")
    ax.locator_params(axis="x", integer=True)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.lines:
        ax.legend(frameon=False)
    return root(ax)
