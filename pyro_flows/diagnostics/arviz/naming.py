"""Names and labels of the dimensions of a model's sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from ...infer import Evaluation

__all__ = ["SAMPLE", "Names", "Variable", "array"]

SAMPLE = ("chain", "draw")
Variable = tuple[Sequence[str], Any]


def array(x: Any) -> Any:
    """Return a numpy array of a tensor, a number or an array."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)


@dataclass
class Names:
    """Names the dimensions of sites: as the caller says, else after plates and event dimensions.

    Args:
        source: what knows the sites' plates.
        dims: names of all dimensions of a variable but chain and draw, plates included, as the caller wants
            them.
        coords: labels by dimension, as the caller wants them.
    """

    source: Evaluation
    dims: Mapping[str, Sequence[str]] = field(default_factory=dict)
    coords: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    labels: dict[str, list[str]] = field(default_factory=dict)
    """Labels of the dimensions that hold the unmasked observations of a site."""
    known: set[str] = field(default_factory=set)
    """Every dimension named so far."""

    def variable(self, value: Tensor, name: str, lead: int, *, events: bool = True) -> Variable:
        """Name the dimensions of a site, and drop those of size one outside of plates.

        Args:
            value: of shape (*lead, *batch, *event), or without event if `events` is false.
            name: the site's.
            lead: 2 for values that start with chain and draw, 0 for values that don't.
            events: whether the value has the site's event dimensions.

        Raises:
            ValueError: if `dims` has another number of names for the site.
        """
        plates = self.source.plates.get(name, {})
        event_dim = self.source.event_dims.get(name, 0) if events else 0
        shape = value.shape[lead:]
        batch_dim = len(shape) - event_dim
        own = self.source.event_names.get(name, ())
        found: list[str] = []
        kept: list[int] = []
        for i, size in enumerate(shape):
            plate = plates.get(i - batch_dim)
            if i < batch_dim and plate is None and size == 1:
                continue
            if i >= batch_dim and i - batch_dim < len(own):
                plate = own[i - batch_dim]
            found.append(plate or f"{name}_dim_{len(found)}")
            kept.append(size)
        found = self._chosen(name, found, partial=not events)
        self.known |= set(found)
        return (*SAMPLE[:lead], *found), array(value.reshape((*value.shape[:lead], *kept)))

    def observed(self, value: Tensor, name: str, lead: int, *, events: bool = True) -> Variable:
        """Name the dimensions of an observed site and leave its masked observations out.

        With a mask the site's batch dimensions become one, called after the site: ``y_observed``. Its labels
        are those of the plates, joined by commas if there are several.
        """
        dims, whole = self.variable(value, name, lead, events=events)
        mask = self.source.observed_masks.get(name)
        if mask is None:
            return dims, whole
        keep = self.variable(mask, name, 0, events=False)[1]
        batch = dims[lead : lead + keep.ndim]
        label = f"{name}_observed"
        where = [tuple(int(i) for i in place) for place in np.argwhere(keep)]
        self.labels[label] = [
            ", ".join(str(self.coords.get(dim, range(i + 1))[i]) for dim, i in zip(batch, place, strict=True))
            for place in where
        ]
        self.known.add(label)
        picked = whole[(slice(None),) * lead + (keep,)]  # a mask of no dimensions adds one too
        return (*dims[:lead], label, *dims[lead + keep.ndim :]), picked

    def _chosen(self, name: str, found: list[str], *, partial: bool) -> list[str]:
        if name not in self.dims:
            return found
        wanted = list(self.dims[name])
        if partial and len(wanted) >= len(found):
            return wanted[: len(found)]
        if len(wanted) != len(found):
            raise ValueError(f"expected {len(found)} names of dimensions of {name!r}; got {wanted}")
        return wanted
