"""Each kernel leaves the posterior as it is."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_flows.infer import AutoFlow, LogDensity
from pyro_flows.infer.guides.flow_mixture import FlowMixture
from pyro_flows.infer.mcmc.hamiltonian import hamiltonian_step
from pyro_flows.infer.mcmc.independence import independence_steps
from pyro_flows.infer.mcmc.sampler import local_step
from pyro_flows.infer.mcmc.target import States, Target
from pyro_flows.infer.mcmc.trajectory import Trajectory
from pyro_flows.transforms import DiagonalScaling

LOC = torch.tensor([1.0, -2.0], dtype=torch.double)
SCALE = torch.tensor([[0.5, 0.0], [1.0, 2.0]], dtype=torch.double)
CHAINS = 20_000


def model():
    pyro.sample("x", dist.MultivariateNormal(LOC, scale_tril=SCALE))


def guide_at(loc, scale):
    """A Gaussian guide, as a flow."""
    torch.set_default_dtype(torch.double)
    guide = AutoFlow(model, lambda dim: DiagonalScaling(dim))
    guide.setup()
    guide.whitening.place(torch.as_tensor(loc), torch.as_tensor(scale))
    guide.initialised.fill_(True)
    return guide


def target_of(*guides, weights=None):
    density = LogDensity(model, guides[0].latents, (), {})
    parts = [guide.get_posterior() for guide in guides]
    log_weights = torch.zeros(len(parts)) if weights is None else torch.tensor(weights).log()
    return Target(density, FlowMixture(parts, log_weights), together=2000)


def exact(target, count=CHAINS):
    u = LOC + torch.randn(count, 2, dtype=torch.double) @ SCALE.T
    with torch.no_grad():
        return States(u, target.density(u), target.guide.log_prob(u))


def is_exact(states):
    """Whether means, covariances and a tail are those of the posterior, within four standard errors."""
    z = (states.u - LOC) @ torch.linalg.inv(SCALE).T
    products = z[:, :, None] * z[:, None, :]
    error = 4 / math.sqrt(len(z))
    assert z.mean(0).abs().max() < error
    assert (products.mean(0) - torch.eye(2)).abs().max() < error * math.sqrt(2)
    assert float((z[:, 0] > 1).double().mean()) == pytest.approx(0.15866, abs=error * 0.3654)


WRONG = ([0.5, -1.0], [[0.8, 0.0], [0.3, 1.5]])


def test_proposals_carry_both_densities():
    guide = guide_at(*WRONG)
    found = target_of(guide).proposals(5000)
    torch.testing.assert_close(found.log_q, guide.get_posterior().log_prob(found.u))
    torch.testing.assert_close(found.log_p, dist.MultivariateNormal(LOC, scale_tril=SCALE).log_prob(found.u))


def test_independence_steps_are_in_detailed_balance():
    """The share of moves from one state to the other, times its density: p(u) q(u′) a(u → u′)."""
    target = target_of(guide_at(*WRONG))
    two = target.proposals(2)
    flows = []
    for i, j in ((0, 1), (1, 0)):
        here = States(*(part[i].expand(CHAINS, *part.shape[1:]) for part in two))
        there = States(*(part[j].expand(1, CHAINS, *part.shape[1:]) for part in two))
        moved, accepted = independence_steps(here, there)
        assert float((moved.u == two.u[j]).all(-1).double().mean()) == pytest.approx(float(accepted.mean()))
        flows.append(float((two.log_p[i] + two.log_q[j]).exp() * accepted.mean()))
    assert min(flows) > 0.0
    assert flows[0] == pytest.approx(flows[1], rel=0.05)


def test_independence_steps_leave_the_posterior_as_it_is():
    target = target_of(guide_at(*WRONG))
    states = exact(target)
    proposals = States(*(part.unflatten(0, (3, CHAINS)) for part in target.proposals(3 * CHAINS)))
    moved, accepted = independence_steps(states, proposals)
    assert 0.2 < float(accepted.mean()) < 0.9
    assert (moved.u != states.u).any(-1).double().mean() > 0.5
    is_exact(moved)
    torch.testing.assert_close(moved.log_q, target.guide.log_prob(moved.u))


def test_states_of_no_density_are_never_taken():
    here = States(torch.zeros(3, 1), torch.zeros(3), torch.zeros(3))
    log_p = torch.tensor([-math.inf, math.nan, math.inf])
    there = States(torch.ones(1, 3, 1), log_p[None], torch.zeros(1, 3))
    moved, accepted = independence_steps(here, there)
    assert moved.u.eq(0).all()
    assert accepted.eq(0).all()


@pytest.mark.parametrize("size", [0.4, 1.2])  # of the second, a third of the moves are rejected
def test_hamiltonian_steps_leave_the_posterior_as_it_is(size):
    target = target_of(guide_at(*WRONG))
    path = Trajectory(LOC, 0.8)
    path._size = size
    path.scales = torch.tensor([1.2, 0.8])
    states = exact(target)
    moved, probability = hamiltonian_step(target, states, 0, path)
    assert (float(probability.mean()) < 0.8) == (size > 1)
    assert (moved.u != states.u).any(-1).double().mean() == pytest.approx(float(probability.mean()), abs=0.02)
    is_exact(moved)
    torch.testing.assert_close(moved.log_p, target.density(moved.u))
    torch.testing.assert_close(moved.log_q, target.guide.log_prob(moved.u))


def test_local_steps_by_a_mixture_leave_the_posterior_as_it_is():
    """Two flows of quite different widths, each moving the states that it has a share in."""
    flows = [guide_at(*WRONG), guide_at([2.0, 1.0], [[1.5, 0.0], [0.0, 0.7]])]
    target = target_of(*flows, weights=[0.3, 0.7])
    states = exact(target)
    shares = torch.bincount(target.assigned(states.u), minlength=2) / CHAINS
    with torch.no_grad():
        expected = target.guide.joint_log_probs(states.u).softmax(-1).mean(0)
    assert shares == pytest.approx(expected, abs=0.01)
    assert 0.1 < float(shares[0]) < 0.9
    paths = [Trajectory(LOC, 0.8) for _ in flows]
    moved, probability = local_step(target, states, paths, adapt=False)
    assert 0.3 < float(probability.mean()) < 0.95
    is_exact(moved)
    torch.testing.assert_close(moved.log_q, target.guide.log_prob(moved.u))


def test_the_trajectory_comes_to_the_posteriors_scales_and_the_wanted_acceptance():
    target = target_of(guide_at([0.0, 0.0], [[10.0, 0.0], [0.0, 0.1]]))  # far too wide, and far too narrow
    path = Trajectory(LOC, 0.8)
    states = exact(target, 200)
    for i in range(60):
        if i == 20:
            path.rescale()
        states, _ = local_step(target, states, [path], adapt=True)
    path.settle()
    assert path.scales == pytest.approx(torch.tensor([0.05, math.sqrt(5) / 0.1]), rel=0.15)
    found = torch.cat([hamiltonian_step(target, states, 0, path)[1] for _ in range(10)])
    assert float(found.mean()) > 0.75
    assert path.steps <= 3
    assert path.steps * path.step_size <= math.pi / 2 + 1e-6


def test_a_trajectory_without_states_keeps_its_scales():
    path = Trajectory(LOC, 0.8)
    path.rescale()
    path.settle()
    assert path.scales.equal(torch.ones(2, dtype=torch.double))
    path.note(torch.full((100, 2), 3.0))
    path.rescale()  # chains that have not moved tell none
    assert path.scales.equal(torch.ones(2, dtype=torch.double))
    path.note(torch.tensor([[1.0, -2.0], [3.0, 2.0]]).repeat(10, 1))
    path.rescale()
    assert path.scales.tolist() == [1.0, 2.0]
