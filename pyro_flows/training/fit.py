"""Training."""

from __future__ import annotations

import os
from typing import Any

import torch

from ..flow import Flow
from ..loop.generators import restored_generators
from ..loop.settings import with_keywords
from .data import Data
from .likelihood import Loss, negative_log_likelihood
from .run import Run
from .settings import History, Settings

__all__ = ["fit"]


def fit(
    flow: Flow,
    data: Any,
    *,
    context: Any = None,
    weights: Any = None,
    units: bool | str = True,
    labels: bool = False,
    loss: Loss = negative_log_likelihood,
    validation: Any = 0.1,
    checkpoint: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
    **keywords: Any,
) -> History:
    """Fit a flow to data by maximum likelihood: minimise −mean log p(data) with Adam.

    A tenth of the rows is held out; the weights that score them best are restored at the end, and
    the flow is left in evaluation mode. Running statistics are updated over the training data (at
    most 20,000 rows or 2,000 images of them) before each validation. Works under `torchrun` and
    `accelerate launch` as it is: the processes share each batch.

    Between two checks, 50 steps apart, nothing is read back from the device, so that a GPU never waits. After
    a loss or gradient that is NaN or infinite no weight moves any more, and the next check raises.

    With ``compile=True`` torch makes one graph of the loss and its gradient before the first step, with the
    same results to rounding. All batches are of one size, so it never compiles again. If it cannot, or
    under `save_memory`, a warning says why and the training is eager. On a CPU it makes steps of dense nets
    1.4 to 2.4 times as fast and those of convolutions no faster, and pays after some ten thousand steps, or
    about a thousand if the same network and batch size have been compiled on the machine before;
    `History.compile_seconds` tells what it took. The loss is called once more, for compiling.

    Data and contexts come in any units, such as dollars or seconds since 1970. Before the first step the
    flow is given `flow.units`: a fixed affine layer next to the last layer that learns, which brings each
    element of the training data to location zero and scale one (fixed layers nearer to the data, such as
    an `ExpTransform` or `LogitPixels`, come first; an image has one pair a channel). `flow.context_units`
    does the same for the context, in which elements that are only ever 0 or 1 stay so. Densities, samples
    and `flow.transform` are in the data's own units, and the units are saved with the flow. This is one
    layer of buffers that a new flow has too, as the identity: a state loads into any flow built alike, and
    nothing else need know. Weights trained by a loop of your own expect no units: go on with
    ``units=False``.

    Cells that lie far off do not move the units; rows of a tensor with a cell beyond 1,000 scales are left
    out, with a warning. Doubles whose digits single precision cannot hold are kept until the location has
    been subtracted, and samples are doubles then. A warning tells of rows that come twice, of columns that
    others determine, and of columns of few values or of a frequent one: such data have no density.

    Args:
        flow: a `Flow`; trained in place, on the device and in the dtype of its parameters.
        data: rows of shape (rows, *event): a tensor, an array of any numeric dtype, a data frame; or a
            map-style dataset that gives rows x, or pairs (x, context); or a `DataLoader`, of which the data
            set, the workers, the pinning and the collation are used. A row may hold several events, in
            batch dimensions of its own. Tensors that fit into half of a GPU's free memory lie there, others
            are copied batch by batch. Of data frames the flow keeps the names of the columns, see `Flow`.
        context: rows of shape (rows, *context_shape), for a conditional flow: one for each event of the data.
        weights: a number ≥ 0 for each row, in any unit; the loss is Σ w l / Σ w, in training, validation and
            `History`. Rows of weight zero are left out before any are held out.
        units: whether the flow is given location and scale of each element of the training data and contexts,
            which it keeps: see below. A flow that has been fitted keeps the units it has, also without any;
            "new" gives it new ones.
        labels: whether contexts are whole numbers 0 … K − 1, of shape (rows,) or a column, that the flow, of
            ``context_dim=K``, is to see as one-hot vectors. Score with
            ``flow(torch.nn.functional.one_hot(labels, K))``.
        loss: what to minimise instead of −log p: a function of the flow, rows and their context (or None)
            that returns one loss a row. It may draw from torch's global generator.
        validation: fraction of the rows held out, or data of their own, (data, context) for a
            conditional flow, (data, context, weights) for weighted rows; 0 for none, which keeps the last
            weights of the flow.
        checkpoint: file that the run's state is written to and, if it exists, resumed from: the
            resumed run ends with the same bits as one that was never interrupted, if a data set's
            rows depend on the index and the global generators only. Other tensors, in all their numbers,
            other settings or another flow are refused; of a data set of your own only the number of rows
            is compared.
        settings: how to train.
        **keywords: fields of `Settings`, in place of those in `settings`: epochs, batch_size, learning_rate,
            schedule, weight_decay, optimizer, clip, patience, ema, augment, precision, compile, seed,
            progress, checkpoint_every.

    Returns:
        The losses by epoch, in nats if the loss is.

    Raises:
        NonFiniteLoss: if the loss or its gradient becomes NaN or infinite; the error names the first layer
            that made it.
        TypeError, ValueError: if an argument is not as above, rows lie outside the flow's support or beyond
            its precision, or the checkpoint is of another run.

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
    settings = with_keywords(Settings, settings, keywords)
    if not callable(loss):
        raise TypeError(f"expected loss as a function of flow, rows and context; got {loss!r}")
    with restored_generators(device):
        given = Data(data, context, weights, validation, units=units, labels=labels)
        return Run(flow, given, loss, checkpoint, settings)()
