"""Whole numbers: the logit map to the last digit, dequantisation, bits per dimension, temperature."""

import copy
import itertools
import math
import pickle

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pyro_flows as pf
from pyro_flows import transforms as tr

from ..cases.discrete import noise

ENDS = [0.0, 1e-6, 1e-3, 0.5, 1.0, 127.5, 128.0, 254.999, 255.0, 255.5, 255.999, 256.0]


def small(size=2, levels=3, hidden=(16,), alpha=0.05, noise=None):
    """A flow over vectors of whole numbers."""
    return pf.Flow(
        [
            pf.real_nvp(size, depth=4, hidden=hidden, net=pf.nn.MLP),
            tr.LogitPixels(alpha, levels=levels, event_dim=1),
            tr.Dequantize(noise, levels=levels, event_dim=1),
        ]
    )


def uniform(shape=(3,), levels=256):
    """Exactly 1 / levels for each whole number: a logistic variable through the sigmoid."""
    event_dim = len(shape)
    parts = [
        tr.LogitPixels(0.0, levels=levels, event_dim=event_dim),
        tr.Dequantize(levels=levels, event_dim=event_dim),
    ]
    return pf.Flow(parts, base=pf.bases.logistic(shape)).double()


def in_high_precision(y, alpha, levels):
    """Logits and log-slopes in long doubles, log(1 − p) as it is written in books."""
    y, alpha = y.double().numpy().astype(np.longdouble), np.longdouble(alpha)
    p = alpha + (1 - 2 * alpha) * y / levels
    return np.log(p) - np.log1p(-p), np.log((1 - 2 * alpha) / levels) - np.log(p) - np.log1p(-p)


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-6])
@pytest.mark.parametrize("levels", [256, 17])
def test_single_precision_is_exact_at_both_ends(alpha, levels):
    y = torch.cat([torch.tensor(ENDS), torch.linspace(0, 256, 999)]) * (levels / 256)
    x, log_det = tr.LogitPixels(alpha, levels=levels, event_dim=0).inverse_and_log_det(y)
    logits, slopes = in_high_precision(y, alpha, levels)
    # Of p = α + …, numbers of 24 bits round the sum: half a unit in the last place of log p, and of x.
    assert np.abs(x.numpy() - logits).max() < 2e-6
    assert np.abs(log_det.numpy() - slopes).max() < 3e-6
    naive = torch.logit(alpha + (1 - 2 * alpha) * y / levels)
    assert alpha > 1e-5 or np.abs(naive.numpy() - logits).max() > 5e-3


@settings(deadline=None, derandomize=True)
@given(
    x=st.floats(-1e4, 1e4, width=32),
    alpha=st.sampled_from([0.0, 1e-7, 1e-6, 0.05, 0.4]),
    levels=st.sampled_from([1, 2, 17, 256, 65536]),
)
def test_no_sample_is_beyond_scoring(x, alpha, levels):
    for dtype in (torch.float32, torch.float64):
        t = tr.LogitPixels(alpha, levels=levels, event_dim=0)
        y, log_det = t.forward_and_log_det(torch.tensor(x, dtype=dtype))
        back, inverse = t.inverse_and_log_det(y)
        assert t.codomain.check(y)
        for value in (y, log_det, back, inverse):
            assert value.isfinite()


def test_nan_and_infinity_stay():
    t = tr.LogitPixels(event_dim=0)
    assert t(torch.tensor(torch.nan)).isnan()
    for bad in (torch.nan, torch.inf, -torch.inf, 271.0, -15.0):
        assert not any(v.isfinite() for v in t.inverse_and_log_det(torch.tensor(bad)))
    for bad in (torch.nan, 300.0):
        with pytest.raises(ValueError, match="within the support"):
            pf.Flow(tr.LogitPixels(), pf.bases.logistic((1, 2, 2)))().log_prob(torch.full((1, 2, 2), bad))


def test_whole_numbers_are_asked_for():
    d = small()()
    for bad in (0.5, 3.0, -1.0, torch.nan, torch.inf):
        with pytest.raises(ValueError, match="within the support"):
            d.log_prob(torch.tensor([0.0, bad]))


def test_samples_are_whole_and_within_the_levels():
    flow = small(levels=3)
    for temperature in (0.1, 1.0, 3.0, 50.0):
        y = flow.tempered(temperature)().sample((200,))
        assert flow().support.check(y).all()
    assert y.unique().tolist() == [0, 1, 2]
    assert not flow().has_rsample
    assert flow().support.is_discrete


def test_bytes_are_scored_in_the_flows_precision():
    for dtype in (torch.float32, torch.float64):
        flow = small().to(dtype)
        y = torch.tensor([[0, 2], [1, 1]], dtype=torch.uint8)
        torch.manual_seed(0)
        scores = flow().log_prob(y)
        torch.manual_seed(0)
        assert scores.dtype == dtype
        assert torch.equal(scores, flow().log_prob(y.to(dtype)))


@pytest.mark.parametrize("kind", ["flow", "plain", "inverse"])
def test_scoring_a_sample_draws_new_noise(kind):
    """What a sample was rounded from comes from the posterior of the noise, and would score too high."""
    flow = small()
    d = flow() if kind == "flow" else dist.TransformedDistribution(flow().base_dist, [flow.transform])
    if kind == "inverse":
        d = dist.TransformedDistribution(d.base_dist, [flow.transform.inv.inv])
    y = d.sample((5,))
    torch.manual_seed(0)
    scores = d.log_prob(y)
    torch.manual_seed(0)
    torch.testing.assert_close(scores, d.log_prob(y.clone()))
    assert not torch.allclose(scores, d.log_prob(y))
    assert not torch.equal(flow.transform.inv(y), flow.transform.inv(y))


def test_uniform_noise_spares_a_flat_density():
    flow = uniform((3,), 5)
    y = torch.tensor(list(itertools.product(range(5), repeat=3)))
    torch.testing.assert_close(flow().log_prob(y).exp(), torch.full((125,), 1 / 125, dtype=torch.float64))


@pytest.mark.parametrize("variational", [False, True])
def test_probabilities_sum_to_at_most_one_and_with_many_draws_to_all_there_is(variational):
    torch.manual_seed(1)
    flow = small(alpha=0.01, noise=noise(2) if variational else None).double()
    for parameter in flow.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    y = torch.tensor(list(itertools.product(range(3), repeat=2)))
    with torch.no_grad():
        scores = flow().log_prob(y.expand(40_000, 9, 2))
    bound, exact = scores.mean(0).exp(), scores.exp().mean(0)
    assert (bound < exact).all()
    assert bound.sum() < 0.99
    # The rest lies a little beyond black and white, and is rounded back in sampling.
    before = pf.Flow(list(flow.transform)[:-1])().sample((40_000,))
    within = ((before >= 0) & (before < 3)).all(-1).double().mean()
    assert exact.sum() == pytest.approx(within.item(), abs=0.01)
    assert within > 0.9
    few, many = (pf.bits_per_dim(flow, y, draws=500, weighted=weighted) for weighted in (False, True))
    assert (few > many).all()
    torch.testing.assert_close((-2 * many * math.log(2)).exp(), exact, atol=0.02, rtol=0)


def test_the_right_noise_leaves_nothing_to_chance():
    """Where q is the posterior of the noise, every draw gives the exact log-probability."""
    base = dist.Uniform(torch.zeros(1, dtype=torch.float64), 1.0).to_event(1)

    class Shear(pf.FlowTransform):
        """y = √(4x) on (0, 2): of density y/2, so P(0) = 1/4, P(1) = 3/4."""

        domain = codomain = torch.distributions.constraints.real_vector

        def forward_and_log_det(self, x, context=None):
            return (4 * x).sqrt(), -(x.log() / 2).sum(-1)

        def inverse_and_log_det(self, y, context=None):
            return y.square() / 4, (y / 2).log().sum(-1)

    class Posterior(nn.Module):
        transform = tr.Coupling(
            pf.partitions.Halves(2), pf.elementwise.Affine(), pf.nn.MLP(1, 2, (2,), context_dim=1)
        )

        def forward(self, context):
            return self

        def rsample_and_log_prob(self):
            v = self.y + torch.rand_like(self.y)  # u of density (y + u) / (y + ½)
            start = self.y.square()
            v = (start + (2 * self.y + 1) * (v - self.y)).sqrt()
            return v - self.y, (v / (self.y + 0.5)).log().sum(-1)

    q = Posterior()
    flow = pf.Flow([Shear(), tr.Dequantize(q, levels=2, event_dim=1)], base=base)
    q.y = torch.tensor([[0.0], [1.0]], dtype=torch.float64).repeat(50, 1)
    torch.testing.assert_close(flow().log_prob(q.y).exp(), 0.25 + 0.5 * q.y[:, 0])
    plain = pf.Flow([Shear(), tr.Dequantize(levels=2, event_dim=1)], base=base)
    y = torch.zeros(100_000, 1, dtype=torch.float64)
    assert plain().log_prob(y).mean() == pytest.approx(math.log(0.5) - 1, abs=0.02)  # E log(u/2)


def test_learned_noise_is_at_least_as_good_as_uniform():
    torch.manual_seed(0)
    y = torch.randint(0, 3, (600, 2)).float()
    y[:, 1] = (y[:, 0] + (torch.rand(600) < 0.1)).clamp(max=2)
    found = {}
    for name, q in (("uniform", None), ("variational", noise(2))):
        torch.manual_seed(0)
        flow = small(alpha=1e-3, noise=q)
        pf.fit(flow, y, epochs=25, batch_size=100, learning_rate=0.01, validation=0, progress=False)
        found[name] = pf.bits_per_dim(flow, y, draws=20).mean()
    assert found["variational"] < found["uniform"]


def test_learned_noise_of_images_starts_uniform():
    t = pf.variational_dequantize((3, 4, 6), levels=17).double()
    y = torch.randint(0, 17, (500, 2, 3, 4, 6)).double()
    v, log_det = t.inverse_and_log_det(y)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det))
    u = (v - y).flatten()
    assert ((u > 0) & (u < 1)).all()
    assert u.histc(10, 0, 1).std() < 0.02 * len(u) / 10
    with torch.no_grad():
        for parameter in t.parameters():
            parameter += 0.1
    other = t.inverse_and_log_det(y)[1]
    assert other.std() > 0.1  # it sees the image
    with pytest.raises(ValueError, match="depth ≥ 1; got 0"):
        pf.variational_dequantize((1, 4, 4), depth=0)


def test_gradients_reach_the_noise_as_finite_differences_say():
    flow = small(noise=noise(2)).double()
    y = torch.tensor([[0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    parameters = {name: p.detach() for name, p in flow.named_parameters()}

    def score(*values):
        torch.manual_seed(0)

        class Score(nn.Module):
            def __init__(self):
                super().__init__()
                self.flow = flow

            def forward(self):
                return self.flow().log_prob(y)

        named = {f"flow.{name}": value for name, value in zip(parameters, values, strict=True)}
        return torch.func.functional_call(Score(), named, ())

    generator = torch.Generator().manual_seed(3)
    leaves = [
        (p + 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)).requires_grad_()
        for p in parameters.values()
    ]
    assert any("noise" in name for name in parameters)
    score(*leaves).sum().backward()
    assert all(leaf.grad.abs().max() > 0 for name, leaf in zip(parameters, leaves, strict=True))
    for leaf in leaves:
        direction = torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype)
        ends = [
            score(*(other + step * direction if other is leaf else other for other in leaves)).sum()
            for step in (1e-5, -1e-5)
        ]
        assert ((ends[0] - ends[1]) / 2e-5).item() == pytest.approx(
            (leaf.grad * direction).sum().item(), rel=1e-4, abs=1e-7
        )


def seeded(flow, y):
    torch.manual_seed(0)
    return flow().log_prob(y)


def test_copies_score_alike():
    flow = small(noise=noise(2))
    y = flow().sample((5,))
    wanted = seeded(flow, y)
    for new in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert torch.equal(seeded(new, y), wanted)
    other = small(noise=noise(2))
    other.load_state_dict(flow.state_dict())
    assert torch.equal(seeded(other, y), wanted)


@pytest.mark.parametrize("variational", [pytest.param(False, marks=pytest.mark.slow), True])
def test_compiles_in_one_graph(variational):
    torch._dynamo.reset()
    flow = small(noise=noise(2) if variational else None)
    y = torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    compiled = torch.compile(lambda y: flow().log_prob(y), fullgraph=True, backend="aot_eager")
    torch.manual_seed(0)
    torch.testing.assert_close(compiled(y), seeded(flow, y))


def test_a_likelihood_in_a_subsampled_plate():
    flow = small()
    data = torch.randint(0, 3, (12, 2)).float()

    def model():
        pyro.module("flow", flow)
        with pyro.plate("rows", 12, subsample_size=4) as rows:
            pyro.sample("y", flow(), obs=data[rows])

    optimiser = pyro.optim.Adam({"lr": 0.01})
    svi = pyro.infer.SVI(model, lambda: None, optimiser, pyro.infer.Trace_ELBO())
    losses = [svi.step() for _ in range(200)]
    assert sum(losses[-20:]) < sum(losses[:20])


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_bits_of_a_uniform_model_are_its_levels(levels):
    images = torch.randint(0, levels, (7, 1, 2, 3))
    bits = pf.bits_per_dim(uniform((1, 2, 3), levels), images)
    assert bits.shape == (7,)
    torch.testing.assert_close(bits, torch.full((7,), math.log2(levels), dtype=torch.float64))


def test_bits_of_real_numbers_count_their_scale():
    """The same model, over [0, 256) and over [0, 1), with the noise drawn outside."""
    images = torch.randint(0, 256, (7, 6), dtype=torch.uint8)
    for levels, scale in ((256, 1.0), (1, 1 / 256)):
        flow = pf.Flow(tr.LogitPixels(0.0, levels=levels, event_dim=1), base=pf.bases.logistic(6)).double()
        bits = pf.bits_per_dim(flow, images, scale=scale)
        torch.testing.assert_close(bits, torch.full((7,), 8.0, dtype=torch.float64))


def test_bits_leave_the_mode_as_it_is_and_average_draws():
    flow = small(hidden=(4,))
    flow.transform[1].train(False)
    images = torch.randint(0, 3, (9, 2))
    few, many = pf.bits_per_dim(flow, images), pf.bits_per_dim(flow, images, draws=400)
    assert flow.training
    assert not flow.transform[1].training
    assert not torch.equal(few, pf.bits_per_dim(flow, images))
    torch.testing.assert_close(many, pf.bits_per_dim(flow, images, draws=400), atol=0.1, rtol=0)
    with pytest.raises(ValueError, match="draws ≥ 1"):
        pf.bits_per_dim(flow, images, draws=0)


def test_bits_of_a_conditional_flow():
    parts = [pf.real_nvp(2, depth=1, hidden=(4,), context_dim=1), tr.LogitPixels(event_dim=1)]
    flow = pf.Flow([*parts, tr.Dequantize(event_dim=1)])
    images = torch.randint(0, 256, (9, 2))
    assert pf.bits_per_dim(flow, images, context=torch.randn(9, 1)).shape == (9,)


def test_temperature_scales_the_base_about_its_mean():
    flow = pf.Flow(tr.DiagonalScaling(2), base=pf.bases.diagonal_normal(2))
    with torch.no_grad():
        flow.base.loc += 5.0
    d = flow.tempered(0.5)()
    wanted = dist.Normal(torch.full((2,), 5.0), 0.5).to_event(1)
    y = torch.randn(10, 2) + 5
    torch.testing.assert_close(d.log_prob(y), wanted.log_prob(y))
    assert d.sample((20_000,)).std(0).mean() == pytest.approx(0.5, abs=0.01)
    assert flow.tempered(0.5).transform is flow.transform
    with pytest.raises(ValueError, match="temperature > 0; got 0"):
        flow.tempered(0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tr.LogitPixels(0.5), r"alpha in \[0, ½\); got 0.5"),
        (lambda: tr.LogitPixels(-0.1), r"alpha in \[0, ½\); got -0.1"),
        (lambda: tr.LogitPixels(levels=0), "levels ≥ 1; got 0"),
        (lambda: tr.Dequantize(levels=1), "levels ≥ 2; got 1"),
        (lambda: tr.Dequantize(pf.Flow(pf.nice(2))), "takes an image as its context; got noise that"),
    ],
)
def test_bad_arguments_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_sample_is_scored_as_the_whole_number_it_is():
    flow = small(levels=3)
    torch.manual_seed(3)
    y, log_prob = flow().rsample_and_log_prob((50,))
    torch.manual_seed(3)
    assert torch.equal(flow().sample((50,)), y)
    torch.testing.assert_close(flow().log_prob(y), log_prob)
    # With a uniform density every dequantisation of a whole number has the same: its exact probability.
    y, log_prob = uniform((3,), levels=17)().rsample_and_log_prob((50,))
    torch.testing.assert_close(log_prob, torch.full((50,), -3 * math.log(17), dtype=log_prob.dtype))


@pytest.mark.parametrize("between", [[], [tr.Reshape((4,), (4,))], [pf.Chain([tr.reverse(4)])]])
def test_neighbours_mean_the_same_levels(between):
    logit = [pf.Chain([tr.LogitPixels(levels=256, event_dim=1)])]
    with pytest.raises(ValueError, match="one number of levels; got 256 and 17"):
        pf.Flow([*logit, *between, tr.Dequantize(levels=17, event_dim=1)])
    pf.Chain([*logit, *between, tr.Dequantize(levels=256, event_dim=1)])
    rescaled = dist.transforms.AffineTransform(0.0, 17 / 256)
    pf.Chain([*logit, rescaled, tr.Dequantize(levels=17, event_dim=1)])
