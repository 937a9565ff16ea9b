"""The laws of every transform, as plain functions of a `Case` that raise an `AssertionError`."""

from __future__ import annotations

from collections.abc import Callable

from ...transform import FlowTransform
from ..case import Case
from . import batches, devices, in_pyro, learning, numbers, state, tracing

__all__ = ["LAWS", "Law", "applies"]

Law = Callable[[Case], None]

LAWS: dict[str, Law] = {
    law.__name__: law
    for law in (
        numbers.round_trip,
        numbers.round_trip_float32,
        numbers.far_round_trip,
        numbers.log_det_is_jacobians,
        batches.shapes,
        batches.empty_batch,
        batches.rows_are_independent,
        batches.values_lie_in_the_codomain,
        learning.gradients,
        learning.training_on_one_tensor,
        learning.conditioners_counted,
        state.copies,
        state.nothing_remembered_in_eval,
        batches.bad_rows,
        devices.mixed_precision,
        devices.placement,
        devices.scoring_reads_nothing,
        devices.sampling_reads_nothing,
        tracing.compiled_training,
        tracing.compiled_sampling,
        tracing.functional,
        in_pyro.likelihood_in_subsampled_plate,
        in_pyro.guide_transform,
        in_pyro.prior_under_autoguide,
        in_pyro.conditional_distribution,
        in_pyro.parameter_names,
        in_pyro.prior_under_nuts,
    )
}

# Which transforms a law is about, if not all.
ABOUT: dict[str, Callable[[FlowTransform], bool]] = {
    "far_round_trip": numbers.is_unbounded,
    "gradients": learning.has_parameters,
    "training_on_one_tensor": learning.has_parameters,
    "conditioners_counted": learning.has_couplings,
}


def applies(name: str, case: Case) -> bool:
    """Whether a law is about the case's transform, and the case is not outside of it."""
    return name not in case.outside and ABOUT.get(name, lambda _: True)(case.example)
