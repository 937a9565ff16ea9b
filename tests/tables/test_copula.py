"""The Gaussian copula from which the flow of a table starts."""

import numpy as np
import pandas as pd
import pytest
import torch

import pyro_flows as pf
from pyro_flows.tables.copula import gaussian_copula, start_at_correlations


def normal_rows(rows, correlations, seed=0):
    """Rows as `Schema.encode` gives them, of scores with these correlations."""
    lower = torch.linalg.cholesky(torch.as_tensor(correlations, dtype=torch.float64))
    noise = torch.randn(rows, len(lower), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    z = noise @ lower.T
    return torch.stack((z, z, torch.zeros_like(z)), 1)


def started(rows, *args):
    copula = gaussian_copula(rows.shape[-1])
    start_at_correlations(copula, rows, *args)
    with torch.no_grad():
        lower = copula.matrix().double()
        return lower @ lower.T


def test_it_starts_at_the_correlations():
    wanted = torch.tensor([[1, 0.8, 0], [0.8, 1, -0.5], [0, -0.5, 1]], dtype=torch.float64)
    assert (started(normal_rows(20_000, wanted)) - wanted).abs().max() < 0.03


def test_cells_count_by_all_scores_that_they_may_have():
    # Two coins that always agree: their scores have one sign, so that r = E[|z|]² = 2/π.
    rows = torch.zeros(10_000, 3, 2, dtype=torch.float64)
    rows[::2, 0], rows[1::2, 1] = -35.0, 35.0
    assert float(started(rows)[0, 1]) == pytest.approx(2 / torch.pi, abs=0.03)


def test_few_rows_are_shrunk_towards_independence():
    rows = normal_rows(12, np.eye(10))
    own = torch.corrcoef(rows[:, 0].T)
    found = started(rows)
    assert (found - torch.eye(10)).square().sum() < 0.3 * (own - torch.eye(10)).square().sum()


def test_copies_and_constants_leave_it_finite():
    rows = normal_rows(100, np.eye(2))[..., [0, 0, 1]]
    rows[..., 2] = 0.3
    found = started(rows)
    assert bool(found.isfinite().all())
    assert 0.95 < float(found[0, 1]) < 1
    assert started(rows[:1]).isfinite().all()


def test_what_the_context_tells_is_taken_off():
    context = torch.randn(5000, 1, dtype=torch.float64)
    z = normal_rows(5000, np.eye(2))[:, 0] + 3 * context
    rows = torch.stack((z, z, torch.zeros_like(z)), 1)
    assert float(started(rows)[0, 1]) > 0.85
    assert abs(float(started(rows, torch.cat((context, context), 1))[0, 1])) < 0.05


def test_weights_count_rows():
    rows = normal_rows(300, [[1, 0.5], [0.5, 1]])
    weights = torch.zeros(300, dtype=torch.float64)
    weights[:200] = 2.0
    torch.testing.assert_close(started(rows, None, weights), started(rows[:200]))


def test_a_small_table_of_normals_is_fitted_about_as_well_as_by_a_copula():
    g = np.random.default_rng(0)
    correlations = 0.6 * np.ones((5, 5)) + 0.4 * np.eye(5)
    values = g.multivariate_normal(np.zeros(5), correlations, size=1150)
    frame = pd.DataFrame(values, columns=list("abcde"))
    torch.manual_seed(0)
    model = pf.tables.fit(frame[:150], epochs=30, learning_rate=2e-3, progress=False)
    truth = torch.distributions.MultivariateNormal(torch.zeros(5).double(), torch.tensor(correlations))
    gap = truth.log_prob(torch.tensor(values[150:])) - model.log_prob(frame[150:])
    assert float(gap.mean()) < 0.5  # 1.2 nats if columns were independent
