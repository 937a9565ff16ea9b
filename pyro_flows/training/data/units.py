"""Setting the units of a flow, and finding rows that lie absurdly far off in them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...flow import Flow
from ...loop.warning import warn_caller
from ...transforms import Chain, Units
from ...transforms.placing import split_at_units
from .moments import doubles, location_and_scale, needs_double
from .sources import Rows, Source, TensorSource, first_row, inner_source, row_of, rows_at_once

__all__ = ["place_units", "without_absurd_rows"]

MODES = (True, False, "new")
ABSURD = 1e3  # scales from the location: the square of that would drown all other rows
_NUMBERS = 2**21  # of data, from which locations and scales are found
_FEWEST, _DATASET_ROWS = 100, 20_000  # rows: at least, and at most of a dataset, which may be slow to read


class _Sample(NamedTuple):
    """Data as they arrive at the units, and contexts or None."""

    x: Tensor
    context: Tensor | None


def place_units(flow: Flow, source: Source, units: bool | str, *, any_shape: bool = False) -> bool:
    """Give a flow the location and scale of the rows of `source`, and of their contexts.

    Returns whether the flow had units already, from other data.

    Args:
        flow: the flow, which keeps the units that it has been fitted with.
        source: the training rows.
        any_shape: whether rows may be other than the flow's events, for a loss of the user's own; then
            units are left as they are.
        units: True; False to leave data and contexts as they are; "new" to replace the units it has.

    Raises:
        ValueError: if `units` is something else.
    """
    if units not in MODES:
        raise ValueError(f'expected units to be True, False or "new"; got {units!r}')
    places = [place for place in (flow.units, flow.context_units) if place is not None]
    wanted = [place for place in places if units == "new" or not place.fitted]
    known = len(wanted) < len(places)
    if not wanted:
        return known
    if units is False:
        for place in wanted:
            place.place(torch.zeros_like(place.loc), torch.ones_like(place.scale))
        return known
    if not _is_of_events(flow, source, any_shape=any_shape):
        return known
    with torch.no_grad():
        sample = _sample(flow, source)
        if flow.units is not None and flow.units in wanted:
            _place(flow.units, _at_units(flow, flow.units, sample.x))
        if flow.context_units is not None and flow.context_units in wanted and sample.context is not None:
            rows = sample.context.reshape(-1, *flow.context_units.event_shape)
            _place(flow.context_units, rows, keep_flags=True)
    return known


def _sample(flow: Flow, source: Source) -> _Sample:
    """Return training rows, as many as are needed."""
    generator = torch.Generator().manual_seed(0)
    most = max(_FEWEST, _NUMBERS // max(1, first_row(source).numel()))
    if not isinstance(inner_source(source), TensorSource):
        most = min(most, _DATASET_ROWS)
    rows = torch.arange(len(source))
    if most < len(source):
        rows = torch.randperm(len(source), generator=generator)[:most].sort().values
    pairs = list(source.batches(rows.split(rows_at_once(flow.given_transform))))
    contexts = [context for _, context in pairs if context is not None]
    return _Sample(torch.cat([x for x, _ in pairs]), torch.cat(contexts) if contexts else None)


def _is_of_events(flow: Flow, source: Source, *, any_shape: bool) -> bool:
    """Whether rows are the flow's events; an error if they are not and have to be."""
    if flow.units is None:
        return True
    shape, row = _outer(flow).forward_shape(flow.units.event_shape), first_row(source)
    if row.dim() > len(shape) and row.shape[row.dim() - len(shape) :] == shape:
        return True
    if any_shape:
        return False
    got = tuple(row.shape[1:])
    raise ValueError(f"expected values of event shape {tuple(shape)}; got rows of shape {got}")


def _outer(flow: Flow) -> Chain:
    """Return the fixed parts between the units and the data."""
    places = split_at_units(flow.given_transform)
    return Chain([] if places is None else places[1])


def _at_units(flow: Flow, units: Units, x: Tensor) -> Tensor:
    """Return data as they arrive at the units, as rows of events."""
    outer = _outer(flow)
    if len(outer):
        batches = x.split(rows_at_once(flow.given_transform))
        x = torch.cat([outer.inverse_and_log_det(batch)[0] for batch in batches])
    return x.reshape(-1, *units.event_shape)


def _place(units: Units, x: Tensor, *, keep_flags: bool = False) -> None:
    """Set units from rows of events, of images by channel; elements that are 0 or 1 may stay so."""
    double = needs_double(x)
    if units.loc.shape != units.event_shape:
        x = x.movedim(1, -1).reshape(-1, x.shape[1])
    loc, scale = location_and_scale(x)
    if keep_flags:
        flags = ((x == 0) | (x == 1)).all(0)
        loc, scale = torch.where(flags, 0, loc), torch.where(flags, 1, scale)
    units.place(loc.reshape(units.loc.shape), scale.reshape(units.scale.shape), double=double)


def without_absurd_rows(flow: Flow, source: Source, *, name: str, known: bool, warn: bool = True) -> Source:
    """Leave out rows with a cell more than a thousand scales from the rest, and warn of them.

    One cell of 1e12 among five hundred would decide every step that sees it. Of a dataset, nothing is left
    out, and nothing if it would be all.

    Args:
        flow: the flow, which has its units.
        source: the rows.
        name: what they are called.
        known: whether the units are those of other data, of an earlier fit.
        warn: whether to warn.
    """
    inner = inner_source(source)
    if flow.units is None or not flow.units.active or not isinstance(inner, TensorSource):
        return source
    if not _is_of_events(flow, source, any_shape=True):
        return source
    far = []
    with torch.no_grad():
        for rows in torch.arange(len(source)).split(rows_at_once(flow.given_transform)):
            (x, context), *_ = source.batches([rows])
            found = _far(flow.units, _at_units(flow, flow.units, x), len(x))
            if context is not None and flow.context_units is not None:
                found |= _far(flow.context_units, context, len(x))
            far.append(found.cpu())
    gone = torch.cat(far)
    if not bool(gone.any()):
        return source
    everything = bool(gone.all())
    if warn:
        count, first = int(gone.sum()), row_of(source, gone.nonzero()[0, 0])
        rows = f"{count} of {len(source)} rows of the {name} are left out, the first is row {first}: each has"
        if everything:
            rows = f"all {count} rows of the {name} have"
        others = "the others; units=False keeps them"
        if known:
            others = 'the data of an earlier fit, whose units the flow keeps; units="new" gives it new ones'
        warn_caller(f"{rows} a cell more than {ABSURD:,.0f} standard deviations from {others}")
    if everything:
        return source
    return Rows(source, (~gone).nonzero()[:, 0])


def _far(units: Units, values: Tensor, rows: int) -> Tensor:
    """Whether any element of a row is far off; a row may hold several events."""
    loc, scale = doubles(units.loc) + doubles(units.rest), doubles(units.scale)
    z = (doubles(values) - loc) / scale
    return ((z.abs() > ABSURD) & z.isfinite()).reshape(rows, -1).any(1)
