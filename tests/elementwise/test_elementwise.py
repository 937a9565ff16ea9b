"""Elementwise maps: inverses, derivatives, the identity at zero, hostile values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pyro_flows as pf
from pyro_flows.elementwise import (
    Additive,
    Affine,
    CircularRationalQuadratic,
    Compose,
    Elementwise,
    Gaussian,
    Logistic,
    Mixture,
    PowerTails,
    RationalQuadratic,
)

SIMPLE = {"additive": Additive(), "affine": Affine(), "affine-tight": Affine(0.5)}
MAPS = {**SIMPLE, "spline": RationalQuadratic(), "circular": CircularRationalQuadratic(4)}
MAPS |= {"logistics": Mixture(3, Logistic()), "gaussians": Mixture(3, Gaussian())}
MAPS |= {"composed": Compose(Mixture(2), Affine()), "power-tails": PowerTails()}
BOUNDED = {"MixtureCDF"}  # see test_mixtures.py
each = pytest.mark.parametrize("g", MAPS.values(), ids=MAPS.keys())


def _inputs(g, event=(3,), batch=(5,)):
    x = torch.randn(*batch, *event, dtype=torch.float64)
    return x, torch.randn(*batch, g.num_params, *event, dtype=torch.float64)


def test_everything_exported_is_tested():
    kinds = {getattr(pf.elementwise, name) for name in set(pf.elementwise.__all__) - BOUNDED}
    assert {kind for kind in kinds if issubclass(kind, Elementwise)} == {
        Elementwise,
        *(type(g) for g in MAPS.values()),
    }


@each
@pytest.mark.parametrize(("event", "batch"), [((3,), (5,)), ((2, 3), (5,)), ((2, 3, 2), ()), ((1,), (0,))])
def test_inverse(g, event, batch):
    x, params = _inputs(g, event, batch)
    y, forward = g.forward(x, params, len(event))
    back, inverse = g.inverse(y, params, len(event))
    assert y.shape == forward.shape == x.shape
    torch.testing.assert_close((back, -inverse), (x, forward), atol=1e-10, rtol=1e-10)


@each
def test_log_derivative_is_autograds(g):
    x, params = _inputs(g)
    x.requires_grad_()
    y, log_derivative = g.forward(x, params)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(log_derivative, slope.log())


@each
def test_zero_params_are_the_identity(g):
    x, params = _inputs(g)
    y, log_derivative = g.forward(x, torch.zeros_like(params))
    # Components of a mixture start a little apart.
    near = {"atol": 0.1, "rtol": 0.1} if isinstance(g, Mixture | Compose) else {}
    torch.testing.assert_close(y, x, **near)
    torch.testing.assert_close(log_derivative, torch.zeros_like(x), **near)


@each
def test_context_batches_broadcast(g):
    x, params = _inputs(g, batch=(4, 5))
    alone, _ = g.forward(x[0, 0], params[:, 0])
    assert alone.shape == (4, 3)
    torch.testing.assert_close(alone[2], g.forward(x[0, 0], params[2, 0])[0])


values = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize("name", SIMPLE)
@settings(deadline=None, derandomize=True, max_examples=60)
@given(x=values, shift=values, raw=values)
def test_hostile_values(name, x, shift, raw):
    g = MAPS[name]
    x, params = torch.tensor([x]), torch.tensor([[shift], [raw]][: g.num_params])
    x.requires_grad_()
    params.requires_grad_()
    for run in (g.forward, g.inverse):
        y, log_derivative = run(x, params)
        assert y.isfinite().all()
        assert log_derivative.abs().max() <= getattr(g, "max_log_scale", 0.0)
        gradients = torch.autograd.grad(y.sum() + log_derivative.sum(), [x, params])
        assert all(gradient.isfinite().all() for gradient in gradients)
    y, _ = g.forward(x, params)
    scale = 10 * max(1.0, x.abs().item(), abs(shift))  # of exp(s)'s rounding
    torch.testing.assert_close(g.inverse(y, params)[0], x, rtol=1e-4, atol=2e-7 * scale)


@pytest.mark.parametrize("bound", [0.5, 3.0])
def test_affine_scale_stays_within_its_bound(bound):
    raw = torch.tensor([[0.0, 0.0, 0.0], [1e6, -1e6, 0.0]], dtype=torch.float64, requires_grad=True)
    _, log_scale = Affine(bound).inverse(torch.ones_like(raw[0]), raw)
    wanted = torch.tensor([bound, -bound, 0.0], dtype=torch.float64)
    torch.testing.assert_close(log_scale, wanted, atol=1e-5, rtol=1e-5)
    assert (log_scale.abs() < bound).all()
    (slope,) = torch.autograd.grad(log_scale.sum(), raw)
    assert slope[1, 2] == 1  # at the kink of |a| too
    assert (slope[1] > 0).all()


def test_affine_scales_and_shifts_towards_the_noise():
    params = torch.tensor([[10.0], [0.5]], dtype=torch.float64)
    x, log_derivative = Affine(1.0).inverse(torch.tensor([3.0], dtype=torch.float64), params)
    scale = torch.tensor([1 / 3], dtype=torch.float64)  # 0.5 / (1 + 0.5)
    torch.testing.assert_close((x, log_derivative), (3 * scale.exp() + 10, scale))


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan")])
def test_affine_refuses_a_bad_bound(bound):
    with pytest.raises(ValueError, match="max_log_scale"):
        Affine(bound)
