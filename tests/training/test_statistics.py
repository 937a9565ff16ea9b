import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import pyro_flows as pf
from pyro_flows.nn import RunningMoments
from pyro_flows.training import update_statistics

DATA = torch.randn(1000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 4 + 9
CONTEXT = DATA[:, :2].sin()


class NormedNet(nn.Module):
    """A conditioner with two batch norms of its own, the second fed by the first."""

    def __init__(self, passive, active, context_dim=0):
        super().__init__()
        self.first = nn.Linear(passive + context_dim, 5)
        self.outer, self.inner = RunningMoments(5, 0.9), RunningMoments(5, 0.9)  # inner is called second
        self.last = nn.Linear(5, 2 * active)

    def forward(self, x, context=None):
        h = self.first(x if context is None else torch.cat([x, context], -1))
        for moments in (self.outer, self.inner):
            mean, variance = moments(h) if moments is self.inner else moments(h, event_dim=1)
            h = ((h - mean) / (variance + 1e-5).sqrt()).relu()
        return self.last(h)

    def numpy(self, x):
        """Return the exact moments and the output, both batch norms by numpy."""
        h, found = x @ array(self.first.weight).T + array(self.first.bias), []
        for _ in range(2):
            found.append((h.mean(0), h.var(0)))
            h = np.maximum((h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5), 0)
        return found, h @ array(self.last.weight).T + array(self.last.bias)


def array(tensor):
    return tensor.detach().numpy()


def check(moments, mean, variance):
    np.testing.assert_allclose(array(moments.mean), mean, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(array(moments.variance), variance, rtol=1e-10)
    assert moments.weight.item() == 1


def normed(y, eps=1e-5):
    return (y - y.mean(0)) / np.sqrt(y.var(0) + eps)


def coupling(net, context_dim=0):
    mask = torch.tensor([True, False, True])
    return pf.transforms.Coupling(
        pf.partitions.Mask(mask), pf.elementwise.Affine(), net, context_dim=context_dim
    )


def test_nested_chains_from_the_data_side_inwards():
    norms = [pf.transforms.BatchNorm(3) for _ in range(3)]
    scale = pf.transforms.Standardize(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, 0.1, 7.0]))
    flow = pf.Flow(pf.Chain([norms[0], pf.Chain([scale, pf.Chain([norms[1]])]), norms[2]])).double()
    update_statistics(flow, DATA, batch_size=300)
    y = array(DATA)
    check(norms[2].moments, y.mean(0), y.var(0))
    y = normed(y)
    check(norms[1].moments, y.mean(0), y.var(0))
    y = (normed(y) - array(scale.mean)) / array(scale.std)
    check(norms[0].moments, y.mean(0), y.var(0))


@pytest.mark.parametrize("batch_size", [7, 1000, 4096])
def test_norms_inside_a_conditioner_in_the_order_of_their_calls(batch_size):
    net, norm = NormedNet(2, 1), pf.transforms.BatchNorm(3)
    transform = pf.Chain([norm, coupling(net)]).double()
    update_statistics(transform, DATA, batch_size=batch_size)
    y = array(DATA)
    (outer, inner), _ = net.numpy(y[:, [0, 2]])
    check(net.outer, *outer)
    check(net.inner, *inner)
    with torch.no_grad():
        x = array(transform[1].eval().inverse_and_log_det(DATA)[0])
    check(norm.moments, x.mean(0), x.var(0))
    assert np.abs(x[:, 1] - y[:, 1]).max() > 0.1  # the coupling does something


def test_with_context():
    net, norm = NormedNet(2, 1, context_dim=2), pf.transforms.BatchNorm(3)
    flow = pf.Flow([coupling(net, context_dim=2), norm]).double()
    update_statistics(flow, DATA, context=CONTEXT)
    y = array(DATA)
    check(norm.moments, y.mean(0), y.var(0))
    (outer, inner), _ = net.numpy(np.concatenate([normed(y)[:, [0, 2]], array(CONTEXT)], -1))
    check(net.outer, *outer)
    check(net.inner, *inner)
    one = {name: value.clone() for name, value in flow.state_dict().items()}
    update_statistics(flow, TensorDataset(DATA, CONTEXT))
    assert all(torch.equal(one[name], value) for name, value in flow.state_dict().items())


def test_a_context_that_is_needed_is_asked_for():
    flow = pf.Flow(pf.real_nvp(3, context_dim=2, norm=pf.transforms.BatchNorm)).double()
    with pytest.raises(ValueError, match="context"):
        update_statistics(flow, DATA)


def test_images_have_a_mean_and_a_variance_a_channel():
    images = torch.randn(50, 2, 4, 4, dtype=torch.float64) * 3 + 1
    norm = pf.transforms.BatchNorm(2, event_dim=3).double()
    update_statistics(norm, images, batch_size=16)
    check(norm.moments, array(images.mean((0, 2, 3))), array(images.var((0, 2, 3), correction=0)))


def test_far_off_data_in_single_precision():
    norm = pf.transforms.BatchNorm(3)
    data = DATA * 0.25 + 10_000
    update_statistics(norm, data, batch_size=100)
    y = array(data.float()).astype(np.float64)
    np.testing.assert_allclose(array(norm.moments.mean), y.mean(0), rtol=1e-6)
    np.testing.assert_allclose(array(norm.moments.variance), y.var(0), rtol=1e-3)


def test_rows_with_nan_are_left_out():
    norm = pf.transforms.BatchNorm(3).double()
    data = DATA.clone()
    data[5, 1] = torch.nan
    data[400:, 0] = torch.inf
    update_statistics(norm, data, batch_size=128)
    kept = array(data[data.isfinite().all(-1)])
    check(norm.moments, kept.mean(0), kept.var(0))


def test_one_row_is_too_few_and_changes_nothing():
    norm = pf.transforms.BatchNorm(3)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    update_statistics(norm, DATA[:1])
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_modes_parameters_and_gradients_stay(training):
    net = NormedNet(2, 1)
    flow = pf.Flow([coupling(net), pf.transforms.BatchNorm(3), pf.transforms.ActNorm(3)]).double()
    flow.train(training)
    net.first.train(not training)
    parameters = [p.clone() for p in flow.parameters()]
    update_statistics(flow, DATA)
    assert flow.training == net.inner.training == training != net.first.training
    assert all(torch.equal(a, b) for a, b in zip(parameters, flow.parameters(), strict=True))
    assert all(p.grad is None for p in flow.parameters())
    assert not flow.transform[2].initialised


def test_scores_see_the_new_statistics_at_once():
    flow = pf.Flow(pf.transforms.BatchNorm(3)).double().eval()
    before = flow().log_prob(DATA).mean()
    update_statistics(flow, DATA)
    independent = torch.distributions.Normal(DATA.mean(0), (DATA.var(0, correction=0) + 1e-5).sqrt())
    torch.testing.assert_close(flow().log_prob(DATA), independent.log_prob(DATA).sum(-1))
    assert flow().log_prob(DATA).mean() > before


def test_flows_without_statistics_cost_nothing(monkeypatch):
    def scored(*_):
        raise AssertionError("scored a flow that has nothing to update")

    monkeypatch.setattr(pf.Chain, "inverse_and_log_det", scored)
    monkeypatch.setattr(pf.transforms.Coupling, "inverse_and_log_det", scored)
    update_statistics(pf.real_nvp(3), DATA)


def test_at_most_so_many_rows_are_drawn_from_all():
    from pyro_flows.training.data import source_of
    from pyro_flows.training.statistics import update

    norm = pf.transforms.BatchNorm(1).double()
    sorted_rows = torch.arange(1000.0)[:, None]
    update(norm, source_of(sorted_rows, None, like=norm), at_most=500)
    assert 450 < norm.moments.mean.item() < 550
