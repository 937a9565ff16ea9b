"""Draws of what a model observes, given draws of its latent variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Size, Tensor

from .program import is_data, predictive, samples
from .shapes import Shapes

__all__ = ["predict"]


def predict(
    model: Callable[..., Any], values: Mapping[str, Tensor], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Return draws of the observed sites, one for each draw of the latent ones.

    Args:
        model: a Pyro model.
        values: draws of its latent sites, of shape (draws, …).
        args: positional arguments of the model.
        kwargs: keyword arguments of the model.

    Returns:
        Tensors of shape (draws, *batch, *event); none if an observed site has no sampler.
    """
    draws = len(next(iter(values.values())))
    with torch.no_grad(), pyro.validation_enabled(False), poutine.block():
        first = {name: value[0] for name, value in values.items()}
        alone = poutine.trace(poutine.condition(model, data=first)).get_trace(*args, **kwargs)
        alone.compute_log_prob()
        shapes = Shapes.of((alone, alone))
        wanted = {
            name: shapes.batches[name] + site["fn"].event_shape
            for name, site in samples(alone).items()
            if name not in values and is_data(site) and site["value"].numel() > 0
        }
        try:
            found = _together(model, values, args, kwargs, shapes, wanted, draws)
        except NotImplementedError:
            return {}
        except Exception:  # a model of one draw at a time
            rows = [
                _drawn(model, {name: value[i] for name, value in values.items()}, args, kwargs)
                for i in range(draws)
            ]
            return {
                name: torch.stack([row.nodes[name]["value"].expand(shape) for row in rows])
                for name, shape in wanted.items()
            }
    return found


def _together(
    model: Callable[..., Any],
    values: Mapping[str, Tensor],
    args: Any,
    kwargs: Any,
    shapes: Shapes,
    wanted: Mapping[str, Size],
    draws: int,
) -> dict[str, Tensor]:
    given = {}
    for name, value in values.items():
        missing = shapes.nesting + shapes.event_dims[name] - (value.dim() - 1)
        given[name] = value.reshape(draws, *[1] * missing, *value.shape[1:])
    with pyro.plate("_pyro_flows_draws", draws, dim=-shapes.nesting - 1):
        trace = _drawn(model, given, args, kwargs)
    return {
        name: shapes.per_draw(trace.nodes[name]["value"], shape, shapes.event_dims[name], draws)
        for name, shape in wanted.items()
    }


def _drawn(model: Callable[..., Any], given: Mapping[str, Tensor], args: Any, kwargs: Any) -> Trace:
    return poutine.trace(poutine.condition(predictive(model), data=dict(given))).get_trace(*args, **kwargs)
