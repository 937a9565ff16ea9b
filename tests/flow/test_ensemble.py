"""Several flows as one density."""

import copy
import io
import math
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO

import pyro_flows as pf
from pyro_flows.ensemble import EnsembleDistribution
from pyro_flows.testing import perturb


def ensemble(count=3, context_dim=0):
    flows = [pf.Flow(pf.nsf(2, depth=1, hidden=(8,), context_dim=context_dim)) for _ in range(count)]
    for seed, flow in enumerate(flows):
        perturb(flow, seed)
    return pf.Ensemble(flows)


def normals(*locs, size=2):
    """Known members: unit normals at these places."""
    flows = []
    for loc in locs:
        shift = pf.transforms.Standardize(torch.full((size,), float(loc)), torch.ones(size))
        flows.append(pf.Flow(shift))
    return pf.Ensemble(flows)


def test_the_log_density_is_the_mixtures():
    y = torch.randn(50, 2) * 3
    components = dist.Normal(torch.tensor([[-2.0, -2.0], [0.0, 0.0], [5.0, 5.0]]), 1.0).to_event(1)
    mixture = dist.MixtureSameFamily(dist.Categorical(torch.ones(3)), components)
    torch.testing.assert_close(normals(-2, 0, 5)().log_prob(y), mixture.log_prob(y))


def test_the_spread_is_that_of_the_members():
    y = torch.zeros(1, 2)
    scores = [-(loc**2) - math.log(2 * math.pi) for loc in (0, 1, 2)]
    mean = sum(scores) / 3
    wanted = math.sqrt(sum((s - mean) ** 2 for s in scores) / 2)
    torch.testing.assert_close(normals(0, 1, 2)().spread(y), torch.tensor([wanted]))
    assert normals(0, 1)().log_probs(y).shape == (2, 1)


def test_draws_come_from_each_member_alike():
    y = normals(-100, 0, 100)().sample((3000,))
    assert y.shape == (3000, 2)
    shares = [((y - loc).abs() < 50).all(-1).double().mean() for loc in (-100, 0, 100)]
    assert sum(shares) == 1  # both elements of a draw come from one member
    assert all(abs(share - 1 / 3) < 0.03 for share in shares)


def test_draws_of_a_batch_choose_members_by_themselves():
    y = normals(-100, 100)().expand((4,)).sample((2000,))
    assert y.shape == (2000, 4, 2)
    signs = (y[..., 0] > 0).double()
    assert (torch.corrcoef(signs.T) - torch.eye(4)).abs().max() < 0.1


def test_contexts_give_batches():
    flows, context = ensemble(context_dim=3), torch.randn(4, 3)
    d = flows(context)
    assert (d.batch_shape, d.event_shape) == ((4,), (2,))
    assert d.sample((5,)).shape == (5, 4, 2)
    y = torch.randn(4, 2)
    wanted = torch.stack([flow(context).log_prob(y) for flow in flows.flows]).logsumexp(0) - math.log(3)
    torch.testing.assert_close(d.log_prob(y), wanted)
    assert d.expand((6, 4)).log_prob(y).shape == (6, 4)
    assert d.spread(y).shape == (4,)


def test_copies_and_saved_states_score_alike():
    flows, y = ensemble(), torch.randn(6, 2)
    stored = io.BytesIO()
    torch.save(flows.state_dict(), stored)
    stored.seek(0)
    loaded = ensemble()
    perturb(loaded, 9)
    loaded.load_state_dict(torch.load(stored, weights_only=True))
    for new in (loaded, copy.deepcopy(flows), pickle.loads(pickle.dumps(flows))):
        assert torch.equal(new().log_prob(y), flows().log_prob(y))


def test_a_bad_row_is_bad_by_itself():
    d, y = ensemble()(), torch.randn(3, 2)
    good, y[1, 0] = d.log_prob(y), torch.nan
    found = d.log_prob(y)
    assert found[1].isnan()
    assert torch.equal(found[[0, 2]], good[[0, 2]])


def test_it_is_a_likelihood_and_a_prior_in_pyro():
    flows, data = ensemble(), torch.randn(12, 2)

    def model(data):
        pyro.module("flows", flows)
        with pyro.plate("rows", 12, subsample_size=4) as rows:
            pyro.sample("y", flows(), obs=data[rows])
        z = pyro.sample("z", flows())
        assert z.shape == (2,)

    def guide(data):
        pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    before = [p.detach().clone() for p in flows.parameters()]
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO())
    assert math.isfinite(svi.step(data))
    assert all(not torch.equal(a, b) for a, b in zip(before, flows.parameters(), strict=True))


def test_whole_numbers_have_an_ensemble_too():
    parts = [
        pf.transforms.LogitPixels(levels=4, event_dim=1),
        pf.transforms.Dequantize(levels=4, event_dim=1),
    ]
    flows = pf.Ensemble([pf.Flow([pf.real_nvp(2, depth=1, hidden=(4,)), *parts]) for _ in range(2)])
    y = flows().sample((5,))
    assert torch.equal(y, y.round())
    assert flows().log_prob(y).shape == (5,)
    assert flows().support.is_discrete


@pytest.mark.parametrize(
    ("flows", "error", "match"),
    [
        ([], ValueError, "expected one flow at least; got none"),
        ([torch.nn.Linear(2, 2)], TypeError, "expected flows; got Linear"),
        ([pf.Flow(pf.planar(2))] * 2, ValueError, "expected flows of their own; got one twice"),
    ],
)
def test_errors(flows, error, match):
    with pytest.raises(error, match=match):
        pf.Ensemble(flows)


def test_errors_of_the_distribution():
    with pytest.raises(ValueError, match="expected one distribution at least; got none"):
        EnsembleDistribution([])
    with pytest.raises(ValueError, match="expected members of one batch and event shape"):
        pf.Ensemble([pf.Flow(pf.planar(2)), pf.Flow(pf.planar(3))])()
    with pytest.raises(ValueError, match="expected two members at least; got one"):
        normals(0)().spread(torch.zeros(2))
