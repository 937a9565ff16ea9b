import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyro_flows.tables.normal import log_mass, log_normal, ndtr, squeezed, widened
from pyro_flows.tables.scores import Scores

DRAWS = {
    "normal": lambda g: g.normal(size=1000) * 50 + 1000,
    "heavy tails": lambda g: g.standard_t(1, size=1000),
    "skewed": lambda g: g.exponential(size=1000) ** 3,
    "two humps": lambda g: g.normal(size=1000) + 20 * g.integers(2, size=1000),
    "an absurd cell": lambda g: np.append(g.normal(size=499), 1e12),
    "mostly ties": lambda g: np.repeat(g.normal(size=30), 20),
    "three rows": lambda g: np.array([1.0, 2.0, 4.0]),
    "two rows": lambda g: np.array([1.0, 1.0 + 1e-9]),
}


def scores_of(values, *, straight=False):
    return Scores.of(values, np.ones(len(values)), straight=straight)


@pytest.mark.parametrize("straight", [False, True])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_scores_increase_invert_and_know_their_slope(draw, straight):
    values = draw(np.random.default_rng(0))
    scores = scores_of(values, straight=straight)
    middle, spread = np.median(values), np.ptp(values)
    t = torch.from_numpy(np.sort(np.append(values, middle + spread * np.linspace(-3, 3, 61))))
    t = t.unique().requires_grad_()
    z, slope = scores.forward(t)
    assert bool((z.diff() > 0).all())
    torch.testing.assert_close(scores.inverse(z), t, rtol=1e-6, atol=1e-9 * spread)
    torch.testing.assert_close(torch.autograd.grad(z.sum(), t)[0].log(), slope)


def test_values_become_normal():
    values = np.random.default_rng(0).gamma(0.5, size=5000)
    z = scores_of(values).forward(torch.from_numpy(values))[0]
    assert abs(float(z.mean())) < 0.02
    assert abs(float(z.std()) - 1) < 0.02
    assert (
        float(
            (
                z.quantile(torch.tensor([0.01, 0.1, 0.9, 0.99], dtype=z.dtype)).abs()
                - torch.tensor([2.326, 1.282, 1.282, 2.326])
            )
            .abs()
            .max()
        )
        < 0.05
    )


def test_an_absurd_cell_costs_the_others_nothing():
    values = np.random.default_rng(0).normal(size=499)
    with_it = np.append(values, 1e12)
    clean, t = scores_of(values), torch.from_numpy(values)
    both = [log_normal(s.forward(t)[0]) + s.forward(t)[1] for s in (clean, scores_of(with_it))]
    assert abs(float(both[0].mean() - both[1].mean())) < 0.02
    z, slope = scores_of(with_it).forward(torch.tensor([1e12], dtype=torch.float64))
    assert -700 < float(log_normal(z) + slope) < -30  # not −10²⁴, as of a normal tail


@pytest.mark.parametrize("unit", [1e-60, 1e-18, 1e18, 1e200])
def test_scores_do_not_depend_on_the_unit(unit):
    values = np.random.default_rng(0).normal(size=500)
    (z, slope), (same, steeper) = (scores_of(v).forward(torch.from_numpy(v)) for v in (values, values * unit))
    torch.testing.assert_close(same, z)
    torch.testing.assert_close(steeper, slope - math.log(unit))
    torch.testing.assert_close(scores_of(values * unit).inverse(z) / unit, torch.from_numpy(values))


@pytest.mark.parametrize("fill", [-3.4e38, 3.4e38])
def test_cells_filled_with_a_huge_number_leave_the_others_their_knots(fill):
    values = np.random.default_rng(0).normal(size=5000)
    values[:50] = fill
    scores, bulk = scores_of(values), torch.linspace(-1.5, 1.5, 31, dtype=torch.float64)
    z = scores.forward(bulk)[0]
    torch.testing.assert_close(z, bulk, rtol=0, atol=0.1)
    torch.testing.assert_close(scores.inverse(z), bulk)


@given(st.lists(st.floats(-1e300, 1e300), min_size=3, max_size=40))
@example([0.0, 0.0, 6.47e-184, 6.47e-184])
@example([0.0, 2.6e221, 8.1e228])
@example([0.0] * 8 + [1.9e28, 3e-280])
@example([0.0] * 8 + [5.5e28, 3e-280])
@example([0.0] * 8 + [1e300, 1e-200])
@settings(max_examples=60, deadline=None)
def test_any_numbers_have_finite_scores(values):
    values = np.array(values)
    if len(np.unique(values)) < 2 or not math.isfinite(np.ptp(values)):
        return
    if np.ptp(values) < 1e-8 * np.abs(values).max():
        return
    if np.ptp(values) <= 1e-100:
        with pytest.raises(ValueError, match="expected values that span more than"):
            scores_of(values)
        return
    z, slope = scores_of(values).forward(torch.from_numpy(values))
    assert bool(z.isfinite().all())
    assert bool(slope.isfinite().all())


def test_counts_have_the_probabilities_that_were_counted():
    counts = np.array([500.0, 300.0, 100.0, 60.0, 40.0])
    scores = Scores.of_counts(np.arange(5.0), counts, lowest=0)
    edges = torch.arange(6, dtype=torch.float64)
    z = scores.forward(edges)[0]
    z[0] = -math.inf
    probabilities = log_mass(z[:-1], z[1:]).exp()
    torch.testing.assert_close(probabilities, torch.tensor(counts / 1000.5))


def test_frequent_numbers_far_apart_share_nothing_with_those_between():
    numbers, counts = 100.0 * np.arange(20), np.full(20, 50.0)
    scores = Scores.of_counts(numbers, counts, lowest=0)
    lower, upper = (scores.forward(torch.from_numpy(numbers + k))[0] for k in (0, 1))
    lower[0] = -math.inf
    torch.testing.assert_close(
        log_mass(lower, upper).exp(), torch.full((20,), 50 / (1000 + 19 / 2 + 1 / 2)).double()
    )


@pytest.mark.parametrize("bounds", [(-math.inf, 0.3), (0.3, math.inf), (-6.0, -5.5), (5.5, 6.0), (-0.1, 0.1)])
def test_squeezing_into_an_interval(bounds):
    lower, upper = (torch.tensor(b, dtype=torch.float64) for b in bounds)
    z = torch.linspace(-5, 5, 101, dtype=torch.float64)
    inside = squeezed(z, lower, upper)
    assert bool(((inside > lower) & (inside < upper) & (inside.diff(prepend=lower[None]) > 0)).all())
    torch.testing.assert_close(widened(inside, lower, upper), z, rtol=1e-3, atol=1e-3)


def test_the_mass_of_an_interval_is_exact_in_both_tails():
    lower = torch.tensor([-math.inf, -20.0, 19.0, 0.0, -math.inf], dtype=torch.float64)
    upper = torch.tensor([0.0, -19.0, 20.0, math.inf, math.inf], dtype=torch.float64)
    mass = log_mass(lower, upper)
    torch.testing.assert_close(mass[[0, 3, 4]].exp(), torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
    assert float(mass[1]) == float(mass[2])
    assert -185 < float(mass[1]) < -184


@pytest.mark.parametrize(("dtype", "far"), [(torch.float32, -13.0), (torch.float64, -37.0)])
def test_the_distribution_function_is_exact_far_below_zero(dtype, far):
    z = torch.linspace(far, 3, 50, dtype=dtype)
    torch.testing.assert_close(ndtr(z).log(), torch.special.log_ndtr(z), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(torch.special.ndtri(ndtr(z)), z, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [17, 70, 300, 3000])
def test_tails_of_few_normals_are_not_far_too_heavy(rows):
    levels = (np.arange(rows) + 0.5) / rows
    values = torch.special.ndtri(torch.from_numpy(levels)).numpy()
    scores = Scores.of(values, np.ones(rows), straight=False)
    ends = scores.inverse(torch.tensor([-2.3263, 2.3263], dtype=torch.float64))
    # With knots no further out than at the quartiles 17 rows gave ±4.6.
    np.testing.assert_allclose(ends, [-2.3263, 2.3263], atol=1.0 if rows < 50 else 0.3)
