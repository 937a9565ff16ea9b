"""Training an ensemble."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, cast

from ..ensemble import Ensemble
from ..flow import Flow
from ..loop.settings import with_keywords
from .fit import fit
from .settings import History, Settings

__all__ = ["fit_ensemble"]


def fit_ensemble(
    ensemble: Ensemble,
    data: Any,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
    **keywords: Any,
) -> list[History]:
    """Fit each flow of an ensemble by `fit`, one after the other, from a seed of its own.

    The seed sets which rows are held out, the order of the batches and what is random inside a flow. New
    flows start from different weights anyway.

    Args:
        ensemble: the flows, trained in place.
        data: as for `fit`.
        checkpoint: file for each flow's run, to which its number is added: "run.pt.0", "run.pt.1", ….
        settings: as for `fit`; the k-th flow's seed is `seed` + k, from k = 0.
        **keywords: whatever else `fit` takes.

    Returns:
        What `fit` saw of each flow.

    Raises:
        NonFiniteLoss, TypeError, ValueError: as `fit`.
    """
    if not isinstance(ensemble, Ensemble):
        raise TypeError(f"expected an Ensemble; got {type(ensemble).__name__}")
    fields = {name: keywords.pop(name) for name in list(keywords) if name in Settings.__dataclass_fields__}
    settings = with_keywords(Settings, settings, fields)
    return [
        fit(
            flow,
            data,
            checkpoint=None if checkpoint is None else f"{os.fspath(checkpoint)}.{k}",
            settings=settings,
            seed=settings.seed + k,
            **keywords,
        )
        for k, flow in enumerate(cast(Iterable[Flow], ensemble.flows))
    ]
