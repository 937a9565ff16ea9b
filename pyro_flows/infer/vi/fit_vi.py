"""Variational inference without a knob to turn."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from ...loop.generators import restored_generators, seed_generators
from ...loop.settings import with_keywords
from ..guides.auto_flow import AutoFlow
from ..guides.auto_mixture import AutoMixture
from ..keywords import told_apart
from .mixture_fit import MixtureFit
from .vi_run import VIRun
from .vi_settings import VIHistory, VISettings

__all__ = ["fit_vi"]


def fit_vi(
    model: Callable[..., Any],
    guide: AutoFlow | AutoMixture,
    *args: Any,
    settings: VISettings | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> VIHistory:
    """Fit a guide to a model's posterior by maximising the evidence lower bound.

    A guide that is neither initialised nor loaded is first given a Gaussian's location and scales; then its
    flow is trained by path gradients on draws that go through the model together, and the fit stops early
    when the log-weights hardly vary. The model's own parameters (`pyro.param`, modules) are trained beside
    the flow. A guide that is initialised already is trained on from where it is.

    With ``compile=True`` torch makes one graph of the flow's part of a step, drawing and scoring with their
    gradient, before the first one; the model runs as it is, so that any model will do. If it cannot, a
    warning says why and everything runs eagerly. Compiling takes longer than most fits do, which end after a
    few hundred steps: it pays in long ones, with many restarts, or if the same flow is fitted again and again
    on one machine, which keeps most of it on disk.

    Args:
        model: the model; `guide` has been made for it.
        guide: an `AutoFlow`, trained in place; or an `AutoMixture`, each member of which gets a start of its
            own. Those that differ are fitted, together if they overlap, and then weighed.
        *args: positional arguments of the model.
        settings: how to train; the default should do.
        checkpoint: file that the run's state is written to and, if it exists, resumed from: the resumed run
            ends with the same bits as one that was never interrupted. Other arguments, another model or other
            settings make another run, and are refused. A mixture has a file of its members' starts,
            ``checkpoint.starts``, and one of each fit: ``checkpoint.0``, ``checkpoint.1+3``.
        **kwargs: fields of `VISettings`, which replace those of `settings`; all others are keyword arguments
            of the model.

    Returns:
        The bounds on the way.

    Raises:
        NonFiniteLoss: if nearly every step's gradient is NaN or infinite.
        TypeError, ValueError: if an argument is not as above, the checkpoint is of another run, or a model
            with parameters of its own is fitted by a mixture.

    Example:
        >>> import pyro, pyro.distributions as dist, torch, pyro_flows as pf
        >>> def model(y):
        ...     x = pyro.sample("x", dist.Normal(0.0, 2.0))
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("y", dist.Normal(x, 1.0), obs=y)
        >>> guide, y = pf.infer.AutoFlow(model), torch.tensor([1.0, 2.0, 4.0])
        >>> history = pf.infer.fit_vi(model, guide, y, progress=False)
        >>> history.converged
        True
    """
    if not isinstance(guide, AutoFlow | AutoMixture):
        raise TypeError(
            f"expected an AutoFlow or an AutoMixture; got {type(guide).__name__}: other guides train under "
            "pyro.infer.SVI with pyro_flows.infer.PathELBO"
        )
    own, kwargs = told_apart(model, VISettings, kwargs, caller="fit_vi")
    settings = with_keywords(VISettings, settings, own)
    # Drawn if none is given, so that two fits differ, and Pyro's own seed makes both reproducible.
    seed = int(torch.randint(2**32, ())) if settings.seed is None else settings.seed
    with restored_generators(None):  # of no device yet: the guide learns it in `setup`
        seed_generators(seed, device=None)
        guide.setup(*args, **kwargs)
        if isinstance(guide, AutoMixture):
            return MixtureFit(model, guide, args, kwargs, settings, seed, checkpoint)()
        return VIRun(model, guide, args, kwargs, settings, seed, checkpoint)()
