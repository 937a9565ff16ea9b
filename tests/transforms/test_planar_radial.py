"""Planar and radial maps: invertible for any parameters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pyro_flows as pf
from pyro_flows.elementwise.solve import invert
from pyro_flows.transforms import Planar, Radial

LAYERS = [Planar, Radial]
SIZES = st.sampled_from([1e-30, 1e-6, 1e-2, 1.0, 30.0, 1e3])


def wild(layer, dim, scale, seed, dtype=torch.float64):
    torch.manual_seed(seed)
    t = layer(dim)
    with torch.no_grad():
        t.parts.shared.normal_().mul_(scale)
    return t.to(dtype)


@pytest.mark.parametrize("layer", LAYERS)
@settings(max_examples=40, deadline=None)
@given(dim=st.integers(1, 5), scale=SIZES, size=SIZES, seed=st.integers(0, 1000))
def test_any_parameters_are_invertible(layer, dim, scale, size, seed):
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 2e-2)):
        t = wild(layer, dim, scale, seed, dtype)
        x = torch.randn(20, dim, dtype=dtype) * size
        y, forward = t.forward_and_log_det(x)
        back, inverse = t.inverse_and_log_det(y)
        for value in (y, forward, back, inverse):
            assert value.isfinite().all()
        # Rounding of the values on the way is as large as they are, parameters included; the map
        # stretches it by its Jacobian.
        jacobian = torch.vmap(torch.func.jacrev(t.forward_and_log_det))(back)[0]
        stretch = torch.linalg.matrix_norm(jacobian.double(), ord=2)[:, None].to(dtype)
        largest = torch.maximum(y.abs(), back.abs()).amax(-1, keepdim=True) + t.parts.shared.abs().max()
        again = t.forward_and_log_det(back)[0]
        room = tolerance * 1e-3 * (1 + y.abs()) + 8 * torch.finfo(dtype).eps * largest * stretch
        assert ((again - y).abs() <= room).all()
        # Where the map is almost flat, rounding moves x by a thousand times as much as y.
        room = tolerance * (1 + scale + size) * (1 + (-forward).exp().max())
        assert ((back - x).abs() <= room).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_new_layer_is_the_identity(layer):
    x = torch.randn(10, 3)
    y, log_det = layer(3).forward_and_log_det(x)
    torch.testing.assert_close(y, x)
    torch.testing.assert_close(log_det, torch.zeros(10), atol=1e-6, rtol=0)


@pytest.mark.parametrize("layer", LAYERS)
def test_zero_parameters_and_the_centre_give_finite_gradients(layer):
    t = layer(2)
    with torch.no_grad():
        t.parts.shared.zero_()
    x = torch.zeros(3, 2, requires_grad=True)
    for found in (t.forward_and_log_det(x), t.inverse_and_log_det(x)):
        gradients = torch.autograd.grad(found[0].sum() + found[1].sum(), [x, t.parts.shared])
        assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_density_integrates_to_one(layer):
    flow = pf.Flow([wild(layer, 2, 1.0, 3), wild(layer, 2, 1.5, 4)])
    axis = torch.linspace(-15, 15, 401).double()
    with torch.no_grad():
        total = flow().log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert abs(total - 1) < 2e-3


@pytest.mark.parametrize("layer", LAYERS)
def test_the_inverse_has_the_derivatives_of_its_equation(layer):
    t = wild(layer, 3, 1.0, 0)
    y = torch.randn(2, 3).double().requires_grad_()
    parameters = t.parts.shared

    def of(y, values):
        x, log_det = t_with(values).inverse_and_log_det(y)
        return torch.cat([x, log_det.unsqueeze(-1)], -1)

    def t_with(values):
        new = layer(3).double()
        del new.parts.shared
        new.parts.shared = values
        return new

    assert torch.autograd.gradcheck(of, (y, parameters.detach().clone().requires_grad_()))


def test_planar_fits_what_it_can_by_maximum_likelihood():
    """Two bumps along a line are one planar map of a normal."""
    torch.manual_seed(0)
    truth = pf.Flow(wild(Planar, 2, 2.0, 5).float())
    data = truth().sample((4000,))
    flow = pf.Flow(pf.planar(2, depth=2))
    pf.fit(flow, data, epochs=12, learning_rate=2e-2, units=False, progress=False)  # truth has none
    with torch.no_grad():
        assert (truth().log_prob(data) - flow().log_prob(data)).mean() < 0.05


def test_a_root_is_found_in_the_worst_case():
    torch.manual_seed(0)
    s = torch.cat([torch.full((5000,), -0.999), 10 ** (4 * torch.rand(5000))]).double()
    wanted = torch.cat([torch.randn(5000) * 10 ** (2 - 6 * torch.rand(5000)), torch.randn(5000) * 3]).double()
    y = wanted + s * wanted.tanh()

    def g(x, s):
        h = x.tanh()
        return x + s * h, (s * (1 - h * h)).log1p()

    found = invert(g, y, s, y - s.abs(), y + s.abs())
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0,), {}, "input_dim"),
        ((2, nn.Linear(3, 5)), {}, "neither"),
        ((2,), {"context_dim": 3}, "neither"),
    ],
)
def test_bad_arguments(layer, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        layer(*arguments, **options)


def test_bad_conditioners_and_depths():
    with pytest.raises(ValueError, match=r"to give \(5,\) values"):
        Planar(2, nn.Linear(3, 7), context_dim=3).condition(torch.zeros(3))(torch.zeros(2))
    for family in (pf.planar, pf.radial):
        with pytest.raises(ValueError, match="depth"):
            family(2, depth=0)
