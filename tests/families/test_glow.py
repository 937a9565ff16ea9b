"""Glow: a whole Jacobian, where the first batch sets it, its net, and what does not fit."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.nn.conv_glow import ZeroConv
from pyro_flows.testing import perturb


def _flow(**options) -> pf.Flow:
    torch.manual_seed(0)
    return pf.Flow(pf.glow((2, 8, 8), **{"depth": 2, "width": 6, **options}))


def test_log_det_of_a_whole_glow():
    t = _flow(scales=3).transform.double()
    perturb(t, scale=0.1)
    y = torch.randn(2, 8, 8, dtype=torch.float64)
    x, log_det = t.inverse_and_log_det(y)
    jacobian = torch.autograd.functional.jacobian(lambda y: t.inverse_and_log_det(y)[0], y, vectorize=True)
    torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian.reshape(128, 128)).logabsdet)
    torch.testing.assert_close(t.forward_and_log_det(x)[0], y)


def test_the_first_batch_sets_every_act_norm():
    flow = _flow()
    norms = [part for part in flow.modules() if isinstance(part, tr.ActNorm)]
    assert len(norms) == 6
    y = torch.randn(64, 2, 8, 8).cumsum(-1) * 20 + 100
    flow().log_prob(y).mean().backward()
    assert all(bool(norm.initialised) for norm in norms)
    # Couplings begin as the identity and convolutions as rotations: all latents come out standardised.
    for z in flow.transform.split(flow.transform.inv(y)):
        torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(z.shape[1]), atol=1e-3, rtol=0)
        assert bool((z.var((0, 2, 3)) - 1).abs().max() < 2)


def test_fit_sets_it_and_learns():
    torch.manual_seed(0)
    data = torch.randn(300, 1, 4, 4).cumsum(-1) * 5 + 30
    flow = pf.Flow(pf.glow((1, 4, 4), depth=1, width=4))
    history = pf.fit(flow, data, epochs=3, batch_size=50, progress=False)
    # Independent Gaussians of the data's own moments, which act norm alone would give.
    alone = torch.distributions.Normal(data.mean(0), data.std(0)).log_prob(data).sum((1, 2, 3)).mean()
    assert history.best_loss < -alone + 5
    assert all(bool(p.initialised) for p in flow.modules() if isinstance(p, tr.ActNorm))


def test_a_new_coupling_net_is_zero_and_leaves_it():
    net = pf.nn.GlowNet((3, 4, 6), 8, width=5)
    x = torch.randn(2, 7, 3, 4, 6)
    assert torch.equal(net(x), torch.zeros(2, 7, 8, 4, 6))
    (net(x) - 1).square().sum().backward()
    assert net.last.weight.grad.abs().max() > 0
    perturb(net)
    torch.testing.assert_close(net(x)[1, 3], net(x[1, 3]))


def test_zero_conv_scales_as_in_the_paper():
    conv = ZeroConv(2, 3)
    perturb(conv)
    h = torch.randn(4, 2, 5, 5)
    plain = torch.nn.functional.conv2d(h, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(h), plain * (3 * conv.log_scale).exp()[:, None, None])


def test_conditional_glow_hears_its_context():
    flow = pf.Flow(pf.glow((1, 4, 4), depth=1, width=4, context_dim=3))
    perturb(flow)
    y, classes = torch.randn(1, 4, 4), torch.eye(3)
    scores = flow(classes).log_prob(y)
    assert scores.shape == (3,)
    assert len(set(scores.tolist())) == 3
    assert flow(classes).sample((2,)).shape == (2, 3, 1, 4, 4)


@pytest.mark.parametrize(("shape", "scales"), [((1, 28, 28), 2), ((3, 32, 32), 3), ((3, 64, 16), 3)])
def test_scales_are_as_many_as_fit(shape, scales):
    t = pf.glow(shape, depth=1, width=2)
    assert len(t.latent_shapes) == scales
    assert t.forward_shape(t.domain_shape) == shape


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="multiples of 8"):
        pf.glow((1, 28, 28), scales=3)
    with pytest.raises(ValueError, match="multiples of 2"):
        pf.glow((1, 7, 8))
    with pytest.raises(ValueError, match="scales ≥ 1"):
        pf.glow((1, 8, 8), scales=0)
    with pytest.raises(ValueError, match="depth"):
        pf.glow((1, 8, 8), depth=0)
    with pytest.raises(ValueError, match="width"):
        pf.glow((1, 8, 8), width=0)
    with pytest.raises(ValueError, match="image shape"):
        pf.glow((8, 8))
