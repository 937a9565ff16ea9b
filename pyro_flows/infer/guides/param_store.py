"""A guide's tensors in Pyro's parameter store, under names that no other guide has."""

from __future__ import annotations

import uuid
import weakref
from typing import Any

import pyro
import torch
from pyro.distributions import constraints
from pyro.poutine.runtime import effectful
from torch import Tensor, nn

__all__ = ["ParamStoreEntry", "unique_name"]

_owners: weakref.WeakValueDictionary[str, ParamStoreEntry] = weakref.WeakValueDictionary()


def unique_name(kind: str) -> str:
    """Return a name that no other guide has, in this process or another."""
    return f"{kind}_{uuid.uuid4().hex[:12]}"


class ParamStoreEntry:
    """Keeps a module and Pyro's parameter store the same: parameters, and buffers too, which Pyro leaves out.

    Values that somebody else has put into the store under our names, from a loaded file say, are taken over;
    a part of them is refused, since a flow without its whitening is another distribution. Tensors
    that the module has got since, by ``load_state_dict(assign=True)`` say, are put into the store.

    Args:
        name: what all keys begin with.
        module: the module.
        keep: whether the values stay in the store when the module is gone.

    Raises:
        ValueError: if another module in use has the name.
    """

    def __init__(self, name: str, module: nn.Module, *, keep: bool = False) -> None:
        owner = _owners.get(name)
        if owner is not None and owner.module() is not module:
            raise ValueError(
                f"expected a name of its own for each guide; got {name!r} twice: two guides of one name "
                "would share their values in Pyro's parameter store"
            )
        self.name = name
        self.module: weakref.ref[nn.Module] = weakref.ref(module)
        self.put: dict[str, Tensor] = {}  # into the store, by us
        _owners[name] = self
        if not keep:
            weakref.finalize(module, _forget, name).atexit = False

    def sync(self) -> bool:
        """Put into the store what it lacks; return whether other values were taken over from it."""
        module = self.module()
        if module is None or pyro.settings.get("module_local_params"):
            return False
        store = pyro.get_param_store()
        mine: dict[str, Tensor] = {f"{self.name}.{key}": p for key, p in module.named_parameters()}
        for key, buffer in module.named_buffers():
            if buffer.is_floating_point() and buffer.numel():
                mine[f"{self.name}.{key}"] = self._alias(f"{self.name}.{key}", buffer)
        foreign = {
            key
            for key, value in mine.items()
            if (held := store._params.get(key, value)) is not value and held is not self.put.get(key)
        }
        if foreign:
            missing = sorted(key for key in mine if key not in store)
            if missing:
                raise ValueError(
                    f"expected the parameter store to hold all of {self.name!r}; got none of {missing}: "
                    "without its location and scales the flow would be another distribution"
                )
            with torch.no_grad():
                for key in foreign:
                    mine[key].data.copy_(store._params[key])
        for key, value in mine.items():
            self.put[key] = value
            old = store._params.get(key)
            if old is not value:
                store._param_to_name.pop(old, None)
                store._constraints[key] = constraints.real
                store._params[key] = value
                store._param_to_name[value] = key
        return bool(foreign)

    def _alias(self, key: str, buffer: Tensor) -> Tensor:
        """Return a leaf for the store that shares the buffer's memory."""
        alias = self.put.get(key)
        if alias is None or alias.data_ptr() != buffer.data_ptr() or alias.dtype != buffer.dtype:
            alias = buffer.detach().requires_grad_()
        return alias

    def announce(self) -> None:
        """Tell Pyro's handlers about the parameters, as `pyro.param` does, but not about the buffers."""
        module = self.module()
        if module is None:
            return
        for key, parameter in module.named_parameters():
            if parameter.requires_grad:
                _param(f"{self.name}.{key}", parameter)


def _forget(name: str) -> None:
    """Take the values of a module that is gone out of the store."""
    store = pyro.get_param_store()
    for key in [key for key in store._params if key.startswith(f"{name}.")]:
        value = store._params.pop(key)
        store._param_to_name.pop(value, None)
        store._constraints.pop(key, None)


def _param(name: str, parameter: Tensor) -> None:
    if pyro.settings.get("module_local_params"):
        given: Any = effectful(type="param")(lambda *_, **__: parameter)
        given(name, parameter, constraint=constraints.real, name=name)
    else:
        pyro.param(name, parameter)
