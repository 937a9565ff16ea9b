"""Training."""

from __future__ import annotations

import os
from typing import Any

import torch

from ..flow import Flow
from ..loop.generators import restored_generators
from .likelihood import Loss, negative_log_likelihood
from .run import Run
from .settings import History, Settings

__all__ = ["fit"]


def fit(
    flow: Flow,
    data: Any,
    *,
    context: Any = None,
    loss: Loss = negative_log_likelihood,
    validation: Any = 0.1,
    checkpoint: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> History:
    """Fit a flow to data by maximum likelihood: minimise −mean log p(data) with Adam.

    A tenth of the rows is held out; the weights that score them best are restored at the end, and
    the flow is left in evaluation mode. Running statistics are recomputed over the training data (at
    most 20,000 rows or 2,000 images of them) before each validation. Works under `torchrun` and
    `accelerate launch` as it is: the processes share each batch.

    With ``compile=True`` torch makes one graph of the loss and its gradient before the first step, with the
    same results to rounding. All batches are of one size, so it never compiles again. Where it cannot, or
    under `save_memory`, a warning says why and the training is eager. On a CPU it makes steps of dense nets
    1.4 to 2.4 times as fast and those of convolutions no faster, and pays after some ten thousand steps, or
    about a thousand where the same network and batch size have been compiled on the machine before;
    `History.compile_seconds` tells what it took. The loss is called once more, for compiling.

    Args:
        flow: a `Flow`; trained in place, on the device and in the dtype of its parameters.
        data: array or tensor of shape (rows, *event), or a map-style dataset that gives rows x, or
            pairs (x, context).
        context: array or tensor of shape (rows, *context_shape), for a conditional flow.
        loss: what to minimise instead of −log p: a function of the flow, rows and their context (or None)
            that returns one loss a row. It may draw from torch's global generator.
        validation: fraction of the rows held out, or data of their own, (data, context) for a
            conditional flow; 0 for none, which keeps the last weights.
        checkpoint: file that the run's state is written to and, where it exists, resumed from: the
            resumed run ends with the same bits as one that was never interrupted, where a data set's
            rows depend on the index and the global generators only.
        **settings: fields of `Settings`: epochs, batch_size, learning_rate, schedule, clip,
            patience, ema, augment, precision, compile, seed, progress, checkpoint_every.

    Returns:
        The losses by epoch, in nats where the loss is.

    Raises:
        NonFiniteLoss: where the loss becomes NaN or infinite; the error names the first layer that
            made it.
        TypeError, ValueError: where an argument is not as above, or the checkpoint is of another run.

    Example:
        >>> import torch, pyro_flows as pf
        >>> flow = pf.Flow(pf.real_nvp(2, depth=2))
        >>> history = pf.fit(flow, torch.randn(500, 2), epochs=3, progress=False)
        >>> len(history.train_loss)
        3
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"expected a Flow; got {type(flow).__name__}")
    device = next((p.device for p in flow.parameters()), torch.device("cpu"))
    with restored_generators(device):
        return Run(flow, data, context, loss, validation, checkpoint, Settings(**settings))()
