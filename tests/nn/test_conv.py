"""Convolutional nets and Real NVP of images."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pyro_flows as pf
from pyro_flows.nn import ChannelNorm, ConvResidualNet, WeightNormConv
from pyro_flows.testing import perturb


def net(**options):
    built = ConvResidualNet((3, 4, 6), 5, width=6, blocks=2, **options)
    perturb(built)
    return built.eval()


def test_weight_norm_by_hand():
    conv = WeightNormConv(2, 3).double()
    x = torch.randn(4, 2, 5, 4, dtype=torch.float64)
    length = conv.direction.square().sum((1, 2, 3)).sqrt()
    weight = conv.direction * (conv.scale / length)[:, None, None, None]
    torch.testing.assert_close(conv(x), nn.functional.conv2d(x, weight, conv.bias, padding=1))
    torch.testing.assert_close(conv.weight().square().sum((1, 2, 3)).sqrt(), conv.scale)
    # At the start it is what torch's convolution starts with.
    torch.testing.assert_close(conv.weight(), conv.direction)


def test_one_by_one_is_a_matrix():
    conv = WeightNormConv(3, 4, 1)
    x = torch.randn(5, 3, 2, 6)
    wanted = torch.einsum("oi,nihw->nohw", conv.weight()[..., 0, 0], x) + conv.bias[:, None, None]
    torch.testing.assert_close(conv(x), wanted)
    with pytest.raises(ValueError, match="odd kernel"):
        WeightNormConv(3, 4, 2)


@pytest.mark.parametrize("kernel", [1, 3])
def test_weight_norm_starts_at_zero_and_learns(kernel):
    conv = WeightNormConv(3, 4, kernel, zero=True)
    x = torch.randn(5, 3, 2, 6)
    assert not conv(x).any()
    optimiser = torch.optim.Adam(conv.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (conv(x) - 1).square().sum().backward()
        assert all(p.grad.isfinite().all() for p in conv.parameters())
        optimiser.step()
    assert conv.scale.all()
    assert conv.direction.grad.any()
    with torch.no_grad():  # not even a direction of zeros divides by them
        conv.direction.zero_()
    conv(x).sum().backward()
    assert conv(x).isfinite().all()
    assert all(p.grad.isfinite().all() for p in conv.parameters())


def test_weight_norm_copies_and_pickles_after_use():
    conv = WeightNormConv(3, 4)
    x = torch.randn(5, 3, 2, 6)
    wanted = conv(x)
    wanted.sum().backward()
    for new in (copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert torch.equal(new(x), wanted)
    other = WeightNormConv(3, 4)
    other.load_state_dict(conv.state_dict())
    assert torch.equal(other(x), wanted)


def test_channel_norm_is_torchs():
    ours, theirs = ChannelNorm(3, decay=0.7).double(), nn.BatchNorm2d(3, momentum=0.3).double()
    perturb(ours, scale=0.0)
    with torch.no_grad():
        theirs.weight.copy_(ours.weight.uniform_())
        theirs.bias.copy_(ours.bias.uniform_())
    ours.moments.weight.fill_(1.0)  # torch's average counts its start as seen
    for _ in range(3):
        x = torch.randn(6, 3, 4, 2, dtype=torch.float64) * 3 + 1
        torch.testing.assert_close(ours(x), theirs(x))
    count = 6 * 4 * 2
    torch.testing.assert_close(ours.moments.mean, theirs.running_mean)
    unbiased = (ours.moments.variance - 0.7**3) * count / (count - 1) + 0.7**3
    torch.testing.assert_close(unbiased, theirs.running_var)
    theirs.running_var.copy_(ours.moments.variance)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("rows", [0, 1])
def test_channel_norm_of_too_few_rows_uses_what_it_knows(rows):
    norm = ChannelNorm(3)
    perturb(norm)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(rows, 3, 1, 1)
    assert torch.equal(norm(x), norm.eval()(x))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_channel_norm_moves_only_by_finite_batches_it_may_learn_from():
    norm = ChannelNorm(3)
    before = norm.moments.mean.clone()
    x = torch.randn(5, 3, 2, 2) + 4
    with torch.no_grad():
        norm(x)
    torch.func.vmap(norm)(x[:, None])
    x[1, 2] = torch.nan
    assert norm(x).isnan().any()
    assert torch.equal(norm.moments.mean, before)
    assert norm.moments.weight == 0
    norm(x[2:])
    assert norm.moments.mean.min() > 2


def test_net_starts_at_zero_in_both_modes():
    built = ConvResidualNet((3, 4, 6), 5, width=6, blocks=2, context_dim=2)
    for training in (True, False):
        assert not built.train(training)(torch.randn(4, 3, 4, 6), torch.randn(4, 2)).any()


@pytest.mark.parametrize(
    ("x", "context", "batch"),
    [((), (), ()), ((7, 5), (5,), (7, 5)), ((5,), (4, 1), (4, 5)), ((0,), (1,), (0,))],
)
@pytest.mark.parametrize("shape", [(2,), (2, 4, 6), (2, 8, 13), (1, 2, 3)])
def test_context_broadcasts(shape, x, context, batch):
    options = {"context_dim": shape[0]} if len(shape) == 1 else {"context_shape": shape}
    built = net(**options).double()
    x = torch.randn(*x, 3, 4, 6, dtype=torch.float64)
    c = torch.randn(*context, *shape, dtype=torch.float64)
    found = built(x, c)
    assert found.shape == (*batch, 5, 4, 6)
    torch.testing.assert_close(found, built(x.expand(*batch, 3, 4, 6), c.expand(*batch, *shape)))
    if 0 not in batch:
        assert not torch.allclose(found, built(x, c + 1))


def test_every_pixel_of_a_larger_context_is_read():
    built = net(context_shape=(1, 8, 12)).double()
    x = torch.randn(3, 4, 6, dtype=torch.float64)
    c = torch.randn(1, 8, 12, dtype=torch.float64, requires_grad=True)
    built(x, c)[:, 2, 3].square().sum().backward()
    assert c.grad[0, 4:6, 6:8].all()


def test_context_is_asked_for():
    with pytest.raises(ValueError, match=r"context of event shape \(2,\)"):
        net(context_dim=2)(torch.randn(3, 4, 6))
    with pytest.raises(ValueError, match="got both 2"):
        net(context_dim=2, context_shape=(1, 4, 6))
    with pytest.raises(ValueError, match=r"context_shape \(c, h, w\)"):
        net(context_shape=(4, 6))


def test_a_nan_stays_in_its_row():
    built = net()
    x = torch.randn(4, 3, 4, 6)
    wanted = built(x)
    x[2, 0, 1, 1] = torch.nan
    found = built(x)
    assert found[2].isnan().any()
    assert torch.equal(found[[0, 1, 3]], wanted[[0, 1, 3]])


def test_memory_layout_changes_nothing():
    built = net()
    x = torch.randn(4, 3, 4, 6)
    found = built(x)
    torch.testing.assert_close(built(x.contiguous(memory_format=torch.channels_last)), found)
    torch.testing.assert_close(torch.stack([built(row) for row in x]), found)


def test_statistics_of_nets_and_flow_are_recomputed():
    t = pf.real_nvp_image((1, 4, 4), scales=1, blocks=1, width=3).double()
    perturb(t)
    data = torch.randn(60, 1, 4, 4, dtype=torch.float64) * 2 + 3
    pf.update_statistics(t, data, batch_size=25)
    once = {name: value.clone() for name, value in t.state_dict().items()}
    norms = [m for m in t.modules() if isinstance(m, ChannelNorm)]
    seen = {m: [] for m in norms}
    for m in norms:
        m.register_forward_hook(lambda m, inputs, output: seen[m].append(output.detach().clone()))
    t.eval()
    with torch.no_grad():
        t.inverse_and_log_det(data)
    assert len(norms) == 6 * 4
    for m in norms:  # each norm's output has the mean and variance that its parameters say
        (h,) = seen[m]
        torch.testing.assert_close(h.mean((0, 2, 3)), m.bias.detach(), rtol=0, atol=1e-7)
        variance = m.moments.variance
        wanted = m.weight.detach() ** 2 * variance / (variance + m.eps)
        torch.testing.assert_close(h.var((0, 2, 3), correction=0), wanted)
    pf.update_statistics(t, data, batch_size=60)
    for name, value in t.state_dict().items():
        torch.testing.assert_close(value, once[name])


def test_log_det_of_a_whole_flow_is_the_jacobians():
    t = pf.real_nvp_image((2, 8, 8), blocks=1, width=4).double()
    perturb(t)
    y = torch.randn(2, 8, 8, dtype=torch.float64)
    t.eval()
    assert len(t.scales) == 3
    jacobian = torch.autograd.functional.jacobian(lambda v: t.inverse_and_log_det(v)[0], y)
    x, log_det = t.inverse_and_log_det(y)
    wanted = torch.linalg.slogdet(jacobian.reshape(128, 128)).logabsdet
    torch.testing.assert_close(log_det, wanted, rtol=1e-9, atol=1e-9)
    back, forward = t.forward_and_log_det(x)
    torch.testing.assert_close(back, y, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(forward, -wanted, rtol=1e-9, atol=1e-9)


def test_the_papers_architecture():
    t = pf.real_nvp_image((3, 32, 32), blocks=0, width=2)
    assert t.latent_shapes == [(6, 16, 16), (12, 8, 8), (48, 4, 4)]
    cuts = [[p.partition for p in scale if isinstance(p, pf.transforms.Coupling)] for scale in t.scales]
    names = [[type(cut).__name__ for cut in reversed(scale)] for scale in cuts]
    assert names == [["Checkerboard"] * 3 + ["Channels"] * 3] * 3
    assert [cut.swap for cut in cuts[0]] == [False, True, False] * 2
    widths = {m.width for m in t.modules() if isinstance(m, ConvResidualNet)}
    assert widths == {2, 4, 8, 16}


@pytest.mark.parametrize(
    ("shape", "latents"),
    [
        ((1, 28, 28), [(2, 14, 14), (4, 7, 7), (4, 7, 7)]),
        ((3, 4, 8), [(6, 2, 4), (12, 1, 2), (12, 1, 2)]),
        ((1, 2, 2), [(2, 1, 1), (2, 1, 1)]),
        ((2, 5, 3), [(2, 5, 3)]),
    ],
)
def test_as_many_scales_as_fit(shape, latents):
    t = pf.real_nvp_image(shape, blocks=0, width=2).eval()
    assert t.latent_shapes == latents
    perturb(t)
    t.double()
    y = torch.randn(2, *shape, dtype=torch.float64)
    torch.testing.assert_close(t(t.inv(y).clone()), y, rtol=1e-9, atol=1e-9)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"at most 3 scales for \(1, 28, 28\).*got 4"):
        pf.real_nvp_image((1, 28, 28), scales=4, blocks=0, width=2)
    with pytest.raises(ValueError, match=r"pad to \(8, 6\)"):
        pf.real_nvp_image((1, 7, 6))
    for bad in ({"scales": 0}, {"blocks": -1}, {"width": 0}):
        with pytest.raises(ValueError, match=f"expected {next(iter(bad))}|and width"):
            pf.real_nvp_image((1, 8, 8), **bad)
    with pytest.raises(ValueError, match=r"\(C, H, W\)"):
        pf.real_nvp_image((8, 8))


@settings(deadline=None, derandomize=True, max_examples=10)
@given(
    channels=st.integers(1, 3),
    halves=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    batch=st.lists(st.integers(0, 2), max_size=2).map(tuple),
    size=st.floats(0, 1e6),
    seed=st.integers(0, 5),
)
def test_hostile_images_stay_finite(channels, halves, batch, size, seed):
    shape = channels, 2 * halves[0], 2 * halves[1]
    torch.manual_seed(seed)
    t = pf.real_nvp_image(shape, blocks=1, width=2).eval()
    perturb(t, seed, 0.1)
    y = size * (torch.rand(*batch, *shape) - 0.3)
    x, log_det = t.inverse_and_log_det(y)
    assert x.shape == (*batch, *t.domain_shape)
    assert log_det.shape == batch
    assert x.isfinite().all()
    assert log_det.isfinite().all()


def test_conditional_flow_learns_from_both_kinds_of_context():
    x = torch.randn(40, 1, 4, 4)
    for options, context in (
        ({"context_dim": 3}, torch.randn(40, 3)),
        ({"context_shape": (2, 4, 4)}, torch.randn(40, 2, 4, 4)),
    ):
        flow = pf.Flow(pf.real_nvp_image((1, 4, 4), scales=1, blocks=1, width=4, **options))
        history = pf.fit(flow, x, context=context, epochs=2, batch_size=12, validation=0, progress=False)
        assert history.steps == 6
        assert flow(context[:5]).sample((2,)).shape == (2, 5, 1, 4, 4)
        assert not torch.allclose(flow(context[:5]).log_prob(x[:5]), flow(context[5:10]).log_prob(x[:5]))
