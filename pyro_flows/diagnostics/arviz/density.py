"""A density flow's scores and samples in ArviZ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...flow import Flow
from .container import attributes, check_names, container
from .naming import SAMPLE, Variable, array

__all__ = ["density_to_arviz"]


def density_to_arviz(
    flow: Flow | Sequence[Flow],
    data: Any,
    context: Any = None,
    *,
    name: str = "y",
    num_samples: int = 1000,
    coords: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Return a density flow's scores of held-out rows, and samples of it, in ArviZ's groups.

    The groups are log_likelihood (one draw, since a flow fitted by maximum likelihood is a point),
    observed_data, posterior_predictive, and constant_data for a context. The rows' dimension is called
    ``row``.

    Args:
        flow: a trained flow, or several, trained independently: each becomes a chain.
        data: held-out rows, of shape (rows, *event).
        context: their contexts, of shape (rows, *context), for conditional flows.
        name: what to call the data.
        num_samples: samples of each flow; of each row's distribution if there is a context.
        coords: labels by dimension, ``row`` among them.

    Raises:
        ImportError: without ArviZ.
        ValueError: if the shapes do not fit, `coords` names an unknown dimension, or `name` is that of one.

    Example:
        >>> import torch, pyro_flows as pf
        >>> idata = pf.diagnostics.density_to_arviz(pf.Flow(pf.real_nvp(2)), torch.randn(5, 2))
        >>> dict(idata["log_likelihood"]["y"].sizes)
        {'chain': 1, 'draw': 1, 'row': 5}
    """
    flows: list[Any] = list(flow) if isinstance(flow, list | tuple) else [flow]
    if not flows:
        raise ValueError("expected a flow, or several; got none")
    like = next((t for t in flows[0].state_dict().values() if t.is_floating_point()), torch.empty(0))
    rows = torch.as_tensor(data).to(like)
    given = None if context is None else torch.as_tensor(context).to(like)
    with torch.no_grad():
        scores = torch.stack([one(given).log_prob(rows) for one in flows]).unsqueeze(1)
        samples = torch.stack([one(given).sample((num_samples,)) for one in flows])
    if scores.dim() != 3:
        raise ValueError(f"expected data of shape (rows, *event); got {tuple(rows.shape)}")
    events = [f"{name}_dim_{i}" for i in range(rows.dim() - 1)]
    per_row = ["row"] if given is not None else []
    groups: dict[str, dict[str, Variable]] = {
        "log_likelihood": {name: ((*SAMPLE, "row"), array(scores))},
        "posterior_predictive": {name: ((*SAMPLE, *per_row, *events), array(samples))},
        "observed_data": {name: (("row", *events), array(rows))},
    }
    if given is not None:
        dims = ("row", *(f"context_dim_{i}" for i in range(given.dim() - 1)))
        groups["constant_data"] = {"context": (dims, array(given))}
    used = {dim for variables in groups.values() for dims, _ in variables.values() for dim in dims}
    check_names("coords", coords or {}, used)
    return container(groups, coords or {}, attributes())
