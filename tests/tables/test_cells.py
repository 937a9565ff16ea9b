import copy
import pickle

import pytest
import torch

import pyro_flows as pf
from pyro_flows.tables import Cells
from pyro_flows.tables.normal import log_mass, log_normal

EDGES = torch.tensor([-35.0, -6.0, -5.9, -0.5, 0.7, 5.9, 6.0, 35.0], dtype=torch.float64)


def every_cell(dtype=torch.float64):
    """A row whose cells are the intervals between the edges, and a point; with their probabilities."""
    lower, upper = torch.cat([EDGES[:-1], EDGES[3:4]]), torch.cat([EDGES[1:], EDGES[3:4]])
    log_f = torch.cat([log_mass(EDGES[:-1], EDGES[1:]), log_normal(EDGES[3:4])])
    return torch.stack((lower, upper, log_f)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_is_normal_within_the_cells(dtype):
    row = every_cell(dtype)
    z, log_det = Cells(8).inverse_and_log_det(row.expand(20_000, 3, 8))
    assert z.dtype == dtype
    assert bool(((z >= row[0]) & (z <= row[1])).all())
    torch.testing.assert_close(log_det, (row[2] - log_normal(z)).sum(-1))
    heights = log_normal(EDGES).exp()
    means = (heights[:-1] - heights[1:]) / log_mass(EDGES[:-1], EDGES[1:]).exp()
    torch.testing.assert_close(z.double().mean(0)[:7], means, rtol=0, atol=0.02)


def test_cells_too_narrow_for_single_precision_have_finite_scores():
    row = torch.tensor([[1.0], [1.0 + 2**-23], [-20.0]])
    z, log_det = Cells(1).inverse_and_log_det(row.expand(5, 3, 1))
    assert bool(((z >= 1) & (z <= row[1, 0])).all())
    assert bool(log_det.isfinite().all())


def test_any_batch_shape():
    flow = pf.Flow([pf.maf(8, depth=1), Cells(8)])
    for shape in ((), (0,), (2, 3)):
        assert flow().log_prob(every_cell(torch.float32).expand(*shape, 3, 8)).shape == shape
    drawn = flow().sample((5,))
    assert drawn.shape == (5, 3, 8)
    assert torch.equal(drawn[:, 0], drawn[:, 1])


def test_a_bad_row_stays_one_row():
    rows = every_cell(torch.float32).repeat(3, 1, 1)
    rows[1, 0, 2] = torch.nan
    assert pf.Flow([pf.maf(8, depth=1), Cells(8)])().log_prob(rows).isnan().tolist() == [False, True, False]


def test_copies_and_graphs_draw_alike():
    flow, rows = pf.Flow([pf.maf(8, depth=1), Cells(8)]), every_cell(torch.float32).expand(4, 3, 8)

    def score(other):
        torch.manual_seed(0)
        return other().log_prob(rows).detach()

    compiled = torch.compile(lambda: flow().log_prob(rows), backend="eager", fullgraph=True)
    torch.manual_seed(0)
    torch.testing.assert_close(compiled().detach(), score(flow))
    for other in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert torch.equal(score(other), score(flow))
    assert not torch.equal(flow().log_prob(rows), score(flow))  # drawn anew


def test_size_is_checked():
    with pytest.raises(ValueError, match="expected size ≥ 1; got 0"):
        Cells(0)
