"""Laws 1 and 2: inverses and log-determinants."""

from __future__ import annotations

import torch

from ...transform import FlowTransform
from ...transforms.placing import is_real
from ..case import Case
from ..expect import expect, named

__all__ = [
    "TOLERANCE",
    "far_round_trip",
    "is_unbounded",
    "log_det_is_jacobians",
    "round_trip",
    "round_trip_float32",
]

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


def round_trip(case: Case) -> None:
    """1. Near the data f⁻¹(f(x)) = x and f(f⁻¹(y)) = y, and the log-dets are each other's negatives."""
    _round_trip(case, torch.float64)


def round_trip_float32(case: Case) -> None:
    """1. So too in single precision."""
    _round_trip(case, torch.float32)


def _round_trip(case: Case, dtype: torch.dtype) -> None:
    tolerance = case.within(TOLERANCE[dtype])
    t = case.bound(case.build(dtype), (64,), dtype)
    x = case.noise(t, (64,), dtype)
    y, forward = t.forward_and_log_det(x)
    back, inverse = t.inverse_and_log_det(y)
    torch.testing.assert_close(back, x, **tolerance, msg=named("f⁻¹(f(x)) differs from x"))
    torch.testing.assert_close(
        inverse, -forward, **tolerance, msg=named("log|det dx/dy| is not −log|det dy/dx|")
    )
    again = t.forward_and_log_det(back)[0]
    torch.testing.assert_close(again, y, **tolerance, msg=named("f(f⁻¹(y)) differs from y"))


def far_round_trip(case: Case) -> None:
    """1. At |y| = 1e3 and 1e6 all is finite, and a single layer's round trip exact to a relative 1e-4."""
    for dtype in TOLERANCE:
        t = case.bound(case.build(dtype), (64,), dtype)
        signs = torch.randint(0, 2, (64, *case.data_event()), device=case.device) * 2 - 1
        for size in (1e3, 1e6):
            y = (signs * size).to(dtype)
            x, log_det = t.inverse_and_log_det(y)
            back, _ = t.forward_and_log_det(x)
            for name, value in (("f⁻¹(y)", x), ("log|det dx/dy|", log_det), ("f(f⁻¹(y))", back)):
                expect(value.isfinite().all(), f"expected a finite {name} at |y| = {size:g} in {dtype}")
            if case.single:
                torch.testing.assert_close(
                    back, y, rtol=1e-4, atol=0, msg=named(f"f(f⁻¹(y)) differs from y at |y| = {size:g}")
                )


def log_det_is_jacobians(case: Case) -> None:
    """2. Log-det equals `slogdet` of the autograd Jacobian; the inverse's is its negative."""
    t = case.build(torch.float64)
    for _ in range(3):
        b = case.bound(t, (), torch.float64)
        x = case.noise(b, (), torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda z, b=b: b.forward_and_log_det(z)[0], x)
        wanted = torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet
        y, forward = b.forward_and_log_det(x)
        found = {
            "log|det dy/dx| of forward_and_log_det": forward,
            "log|det dx/dy| of inverse_and_log_det, negated,": -b.inverse_and_log_det(y)[1],
            "log_abs_det_jacobian": b.log_abs_det_jacobian(x, y),
            "log_abs_det_jacobian of the inverse, negated,": -b.inv.log_abs_det_jacobian(y, x),
        }
        for name, log_det in found.items():
            torch.testing.assert_close(
                log_det, wanted, **case.within(1e-9), msg=named(f"{name} is not the Jacobian's log-det")
            )


def is_unbounded(t: FlowTransform) -> bool:
    """Whether both sides are all of R^n: sigmoid and exp saturate far away."""
    return is_real(t.domain) and is_real(t.codomain)
