"""`Chain`: mixing with Pyro's and torch's transforms, shapes, contexts, stale caches."""

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms as pyro_transforms

import pyro_flows as pf
from pyro_flows import Chain

from ..cases.registry import CASES


def test_order_is_from_noise_to_data():
    chain = Chain([dist.transforms.AffineTransform(1.0, 1.0), dist.transforms.AffineTransform(0.0, 10.0)])
    assert chain(torch.tensor(2.0)) == 30
    assert chain.inv(torch.tensor(30.0)) == 2


def test_equals_its_parts_one_after_another():
    parts = [CASES[name].build(torch.float64) for name in ("coupling-additive", "act-norm", "real-nvp")]
    x = torch.randn(5, 3, dtype=torch.float64)
    y, log_det = Chain(parts).forward_and_log_det(x)
    total = 0
    for part in parts:
        x, more = part.forward_and_log_det(x)
        total = total + more
    torch.testing.assert_close((y, log_det), (x, total))


def test_equals_torchs_composition():
    case = CASES["chain-mixed"]
    chain = case.build(torch.float64)
    plain = dist.transforms.ComposeTransform([getattr(p, "foreign", p) for p in chain])
    x = torch.randn(5, 3, dtype=torch.float64)
    y = plain(x)
    torch.testing.assert_close(
        chain.forward_and_log_det(x), (y, plain.log_abs_det_jacobian(x, y)), atol=1e-9, rtol=1e-9
    )
    assert chain.domain.event_dim == plain.domain.event_dim
    assert chain.codomain.event_dim == plain.codomain.event_dim
    assert chain.codomain.check(y).all()


def test_empty_chain_is_the_identity():
    x = torch.randn(5, 3)
    y, log_det = Chain([]).forward_and_log_det(x)
    assert torch.equal(y, x)
    assert not log_det.any()
    assert log_det.shape == x.shape  # event_dim 0
    torch.testing.assert_close(Chain([]).inverse_and_log_det(x), (x, torch.zeros(5, 3)))


def test_registers_every_parameter():
    spline = pyro_transforms.spline(3, count_bins=4)
    ours = CASES["real-nvp"].build()
    composed = dist.transforms.ComposeTransform([spline.inv, ours.inv])
    chain = Chain([composed, pyro_transforms.affine_coupling(3, [4])])
    assert {*spline.parameters(), *ours.parameters()} < set(chain.parameters())
    assert len(list(chain.parameters())) == len(set(chain.parameters()))


def test_sequence_protocol():
    parts = [pf.transforms.reverse(3), pf.transforms.ActNorm(3)]
    chain = Chain(parts)
    assert len(chain) == 2
    assert list(chain) == parts
    assert chain[1] is parts[1]
    assert chain[-1] is parts[1]


def test_context_reaches_every_part_that_takes_one():
    conditional = CASES["real-nvp-context"].build()
    pyros = pyro_transforms.conditional_affine_coupling(3, 2, [6])
    chain = Chain([conditional, pf.transforms.Foreign(pyros, context_dim=2), pf.transforms.reverse(3)])
    x, context = torch.randn(5, 3), torch.randn(5, 2)
    y = pyros.condition(context)(conditional.condition(context)(x)).flip(-1)
    torch.testing.assert_close(chain.condition(context)(x), y)
    assert chain.context_shape == (2,)


def test_foreign_caches_are_emptied_before_and_after_use():
    foreign = pyro_transforms.affine_coupling(4, [6])
    chain, x = Chain([foreign]), torch.randn(5, 4)
    for _ in range(3):
        y = chain(x)
        torch.testing.assert_close(chain.inv(y.detach().clone()), x)
        foreign(x)  # fills a cache that is stale after the next line
        with torch.no_grad():
            for p in foreign.parameters():
                p.add_(0.1)
        assert not torch.allclose(chain.forward_and_log_det(x)[0], y)
        assert foreign._cached_log_scale is None


def test_constants_of_foreign_parts_are_watched():
    scale = torch.tensor(2.0)
    chain, x = Chain([dist.transforms.AffineTransform(0.0, scale)]), torch.randn(5)
    y = chain(x)
    scale.mul_(2)
    torch.testing.assert_close(chain.inv(y), x / 2)


def test_event_dims_are_counted_as_torch_counts_them():
    chain = Chain([dist.transforms.ExpTransform(), dist.transforms.AffineTransform(0.0, 2.0, event_dim=1)])
    assert (chain.domain.event_dim, chain.codomain.event_dim) == (1, 1)
    _, log_det = chain.forward_and_log_det(torch.randn(5, 3))
    assert log_det.shape == (5,)


def test_changing_shapes():
    reshape = dist.transforms.ReshapeTransform((2, 3), (6,))
    chain = Chain([reshape, pf.real_nvp(6, depth=2)])
    assert (chain.domain_shape, chain.codomain_shape) == ((2, 3), (6,))
    assert chain.forward_shape((5, 2, 3)) == (5, 6)
    assert chain.inverse_shape((5, 6)) == (5, 2, 3)
    d = pf.Flow(chain)()
    assert d.sample((4,)).shape == (4, 6)
    assert d.log_prob(torch.randn(4, 6)).shape == (4,)


def test_errors():
    with pytest.raises(TypeError, match="expected a transform"):
        Chain([torch.nn.Linear(2, 2)])
    with pytest.raises(ValueError, match="event shape"):
        Chain([pf.real_nvp(3), pf.real_nvp(4)])
    with pytest.raises(ValueError, match="one context shape"):
        Chain([pf.real_nvp(3, context_dim=1), pf.real_nvp(3, context_dim=2)])
    with pytest.raises(ValueError, match="context_dim"):
        Chain([pyro_transforms.conditional_affine_coupling(3, 2, [6])])


def test_a_slice_is_a_chain_of_the_same_parts():
    chain, x = CASES["chain"].build(), torch.randn(5, 3)
    first, rest = chain[:1], chain[1:]
    assert isinstance(rest, Chain)
    assert list(first) + list(rest) == list(chain)
    y, a = first.forward_and_log_det(x)
    y, b = rest.forward_and_log_det(y)
    torch.testing.assert_close((y, a + b), chain.forward_and_log_det(x))
    assert pf.save_memory(chain, "reversible", every=3)[1:].memory == "reversible"
    assert len(chain[5:]) == 0
    assert chain[-1] is list(chain)[-1]
