"""Holding a transform to the laws."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyro
import torch

from ..loop.generators import restored_generators, seed_generators
from ..transform import FlowTransform
from .case import Case
from .laws import LAWS, applies

__all__ = ["BrokenLaws", "check_transform"]


class BrokenLaws(AssertionError):
    """A transform breaks laws.

    Attributes:
        failures: what was raised, by the law's name, in the order in which the laws were tried.
    """

    def __init__(self, transform: str, failures: Mapping[str, Exception]) -> None:
        self.failures = dict(failures)
        lines = [f"  {name}: {_told(error)}" for name, error in failures.items()]
        super().__init__("\n".join([f"{transform} breaks laws:", *lines]))


def check_transform(
    transform: FlowTransform,
    event_shape: Sequence[int] | None = None,
    *,
    outside: Mapping[str, str] | None = None,
    laws: Sequence[str] | None = None,
    tolerance: float = 0.0,
    scale: float = 0.3,
) -> None:
    """Hold a transform of your own to the laws that all transforms of this library obey; print each result.

    The laws, `pyro_flows.testing.LAWS`, are about inverses near and far, log-determinants against autograd's
    Jacobian, batch shapes, dtypes and devices, gradients, training, copies and saved states, values that are
    not finite, autocast, `torch.compile`, `torch.func` and Pyro. A law that does not concern the transform,
    such as one about gradients if it has no parameters, is left out. Copies are tested; the transform itself
    stays as it is, and so do the random generators and Pyro's parameter store.

    Args:
        transform: the transform, with a context if it has a `context_shape`. Others' transforms must be
            wrapped in `pyro_flows.transforms.Foreign`, and need exemptions.
        event_shape: shape of an event on the base side; needed if the transform has no `domain_shape`.
        outside: names of laws that cannot hold, each with the reason.
        laws: names of the laws to try; all of them if None, which takes seconds.
        tolerance: the error, absolute and relative, that an iterative inverse may have: the laws ask for 1e-9
            in double and 1e-4 in single precision otherwise.
        scale: standard deviation of the noise added to the parameters, as a new layer is often the identity.

    Raises:
        BrokenLaws: an `AssertionError` that names the laws that fail, and why.
        TypeError: if `transform` is no `FlowTransform`.
        ValueError: if a law is unknown, the event's shape is missing or wrong, or the base side is neither
            all numbers nor the positive ones.

    Example:
        >>> import pyro_flows as pf
        >>> layer = pf.transforms.Planar(3)
        >>> pf.testing.check_transform(layer, laws=["round_trip", "gradients", "conditioners_counted"])
        round_trip                      holds
        gradients                       holds
        conditioners_counted            is about others
    """
    if not isinstance(transform, FlowTransform):
        raise TypeError(f"expected a FlowTransform; got {type(transform).__name__}")
    case = _case(transform, event_shape, outside or {}, tolerance, scale)
    tried = LAWS if laws is None else laws
    unknown = sorted({*tried, *case.outside} - set(LAWS))
    if unknown:
        raise ValueError(f"expected laws among {', '.join(LAWS)}; got {', '.join(unknown)}")
    case.base()  # raises if there is none on the domain
    failures: dict[str, Exception] = {}
    for name in tried:
        result = "holds"
        if name in case.outside:
            result = f"left out: {case.outside[name]}"
        elif not applies(name, case):
            result = "is about others"
        else:
            try:
                with _alone(case.device):
                    LAWS[name](case)
            except Exception as error:
                failures[name] = error
                result = f"FAILS: {_told(error)}"
        print(f"{name:<31} {result}")
    if failures:
        raise BrokenLaws(case.of, failures) from next(iter(failures.values()))


def _case(
    transform: FlowTransform,
    event_shape: Sequence[int] | None,
    outside: Mapping[str, str],
    tolerance: float,
    scale: float,
) -> Case:
    known, context = transform.domain_shape, transform.context_shape
    if event_shape is None and known is None:
        raise ValueError("expected event_shape, as the transform has no domain_shape; got none")
    event = tuple(known if event_shape is None else event_shape)  # type: ignore[arg-type]
    if known is not None and event != tuple(known):
        raise ValueError(f"expected event_shape {tuple(known)}; got {event}")
    tensors = (*transform.parameters(), *transform.buffers())
    name = type(transform).__name__
    try:
        original = copy.deepcopy(transform)
    except Exception as error:  # no other law can be tried
        raise BrokenLaws(name, {"copies": error}) from error
    return Case(
        name,
        lambda: copy.deepcopy(original),
        event,
        None if context is None else tuple(context),
        single=sum(isinstance(part, FlowTransform) for part in transform.modules()) == 1,
        tolerance=tolerance,
        scale=scale,
        outside=outside,
        device=str(tensors[0].device) if tensors else "cpu",
    )


@contextmanager
def _alone(device: str) -> Iterator[None]:
    """Run a law from one seed, in single precision, with a parameter store of its own."""
    dtype = torch.get_default_dtype()
    with restored_generators(torch.device(device)), pyro.get_param_store().scope():
        seed_generators(0, device=torch.device(device))
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)


def _told(error: Exception) -> str:
    """Return the error's text on one line."""
    text = " ".join(str(error).split())
    name = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    return f"{name}{text[:300]}"
