"""What guides of all latent sites together share: a name of their own, copies, and draws."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.infer.autoguide import AutoContinuous
from pyro.infer.autoguide.guides import prototype_hide_fn
from torch import Tensor, nn

from ..model.program import is_enumerated
from ..model.structure import or_zero
from .param_store import ParamStoreEntry, unique_name

__all__ = ["NamedGuide"]


class NamedGuide(AutoContinuous):
    """A guide over one unconstrained vector, with a name of its own in Pyro's parameter store.

    A copy gets a name of its own and shares the model; a pickle has no model, and a new name when it is
    loaded, unless one was given.

    Args:
        model: a Pyro model.
        name: what the keys in the parameter store begin with; one that no other guide has if None.
        init_loc_fn: where it starts, one of Pyro's ``init_to_…``.
    """

    _functions: tuple[str, ...] = ("_model",)  # fields of functions, which may not pickle
    _prototype_hide_fn = staticmethod(lambda msg: prototype_hide_fn(msg) or is_enumerated(msg))

    def __init__(self, model: Callable[..., Any], name: str | None, init_loc_fn: Callable[..., Any]) -> None:
        super().__init__(model, init_loc_fn=or_zero(init_loc_fn))
        self._take(name)
        self._entry: ParamStoreEntry | None = None

    def _take(self, name: str | None) -> None:
        self._named = name is not None
        self._pyro_name = self._store_name = name or unique_name(type(self).__name__)

    def _sync(self, module: nn.Module) -> bool:
        """Keep a module and the store the same; return whether values were taken over from the store."""
        if self._entry is None:
            self._entry = ParamStoreEntry(self._store_name, module, keep=self._named)
        return self._entry.sync()

    def __getstate__(self) -> dict[str, Any]:
        # Pyro's would take the model away from the guide that is being copied.
        for parameter in self.parameters():
            parameter.__dict__.pop("unconstrained", None)  # a weak reference of Pyro's
        return self.__dict__ | dict.fromkeys(self._functions, (None,)) | {"_entry": None, "master": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        nn.Module.__setstate__(self, state)  # Pyro's would make the plates of guides inside ours
        if not self._named:
            self._take(None)

    def __deepcopy__(self, memo: dict[int, Any]) -> NamedGuide:
        """Return a copy with a name of its own and the same model."""
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update(copy.deepcopy(self.__getstate__(), memo))
        new.__dict__.update({key: self.__dict__[key] for key in self._functions})
        new._take(None)
        return new

    @torch.no_grad()
    def sample_posterior(self, num_samples: int | Sequence[int] = ()) -> dict[str, Tensor]:
        """Draw latent sites: tensors of shape (*num_samples, *site)."""
        return self.sample_and_log_prob(num_samples)[0]

    @abstractmethod
    def sample_and_log_prob(self, num_samples: int | Sequence[int] = ()) -> tuple[dict[str, Tensor], Tensor]:
        """Draw latent sites, of shape (*num_samples, *site), and their log-density, (*num_samples,)."""

    @torch.no_grad()
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the median of each latent site, as `quantiles` finds it."""
        return {name: value[0] for name, value in self.quantiles([0.5], *args, **kwargs).items()}

    @abstractmethod
    def quantiles(self, quantiles: Sequence[float] | Tensor, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return marginal quantiles of each latent site, of shape (number of quantiles, *site)."""
