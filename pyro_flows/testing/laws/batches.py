"""Laws 3 and 9: batch shapes, and rows that know nothing of each other."""

from __future__ import annotations

import torch

from ..case import Case
from ..expect import expect, named
from .numbers import TOLERANCE

__all__ = ["bad_rows", "empty_batch", "rows_are_independent", "shapes", "values_lie_in_the_codomain"]


def shapes(case: Case) -> None:
    """3. Any batch shape, none included; shape arithmetic; dtype and device are the input's."""
    _shapes(case, (), (3,), (2, 3), (3, 1))


def empty_batch(case: Case) -> None:
    """3. So too with no event at all."""
    _shapes(case, (0,), (2, 0))


def _shapes(case: Case, *batches: tuple[int, ...]) -> None:
    for dtype in TOLERANCE:
        built = case.build(dtype)
        for batch in batches:
            t = case.bound(built, batch, dtype)
            x = case.noise(t, batch, dtype)
            y, forward = t.forward_and_log_det(x)
            back, inverse = t.inverse_and_log_det(y)
            for name, found, wanted in (
                ("f(x)", y.shape, t.forward_shape(x.shape)),
                ("f⁻¹(y)", back.shape, x.shape),
                ("inverse_shape(y.shape)", t.inverse_shape(y.shape), x.shape),
                ("log|det dy/dx|", forward.shape, batch),
                ("log|det dx/dy|", inverse.shape, batch),
                ("t(x)", t(x).shape, y.shape),
                ("t.inv(y)", t.inv(y).shape, x.shape),
            ):
                expect(
                    tuple(found) == tuple(wanted),
                    f"expected shape {tuple(wanted)} of {name} for an x of shape {tuple(x.shape)}; "
                    f"got {tuple(found)}",
                )
            values = {"f(x)": y, "f⁻¹(y)": back, "log|det dy/dx|": forward, "log|det dx/dy|": inverse}
            for name, value in values.items():
                expect(value.dtype == dtype, f"expected {dtype} of {name}; got {value.dtype}")
                expect(value.device == x.device, f"expected {name} on {x.device}; got {value.device}")


def rows_are_independent(case: Case) -> None:
    """3. A batch gives what its rows give alone."""
    t = case.build(torch.float64)
    context = case.context_of((2, 3), torch.float64)
    x = case.noise(t, (2, 3), torch.float64)
    y, log_det = t.forward_and_log_det(x, context)
    for i in range(2):
        for j in range(3):
            alone = t.forward_and_log_det(x[i, j], None if context is None else context[i, j])
            torch.testing.assert_close(
                (y[i, j], log_det[i, j]),
                alone,
                **case.within(1e-7),
                msg=named("a row in a batch differs from the same row alone"),
            )


def values_lie_in_the_codomain(case: Case) -> None:
    """3. f(x) satisfies the transform's `codomain`, and f⁻¹(y) its `domain`."""
    t = case.bound(case.build(torch.float64), (64,), torch.float64)
    y = t.forward_and_log_det(case.noise(t, (64,), torch.float64))[0]
    expect(t.codomain.check(y).all(), f"expected f(x) within the codomain {t.codomain}; got others")
    x = t.inverse_and_log_det(y)[0]
    expect(t.domain.check(x).all(), f"expected f⁻¹(y) within the domain {t.domain}; got others")


def bad_rows(case: Case) -> None:
    """9. NaN or ±inf in a row gives NaN or ±inf out in that row and no other, or a ValueError."""
    t = case.build()
    for bad in (float("nan"), float("inf"), -float("inf")):
        context = case.context_of((3,))
        d = case.flow(t)(context)
        y = d.sample(case.sample_shape(context, (3,)))
        good = d.log_prob(y)
        for element in range(y[0].numel()):
            poisoned = y.clone(memory_format=torch.contiguous_format)
            poisoned[1].view(-1)[element] = bad
            try:
                found = d.log_prob(poisoned)
            except ValueError:
                continue
            where = f"with {bad} in one element of a row"
            expect(not found[1].isfinite(), f"expected NaN or ±inf for that row {where}; got {found[1]:g}")
            expect(torch.equal(found[[0, 2]], good[[0, 2]]), f"expected other rows unchanged {where}")
