"""The memo: what it may serve, what it must forget, and what it keeps alive."""

import contextlib
import copy
import gc
import pickle
import weakref

import pyro.distributions as dist
import pytest
import torch
from pyro.nn import PyroSample
from pyro.nn.module import to_pyro_module_
from torch.func import functional_call

import pyro_flows as pf
from pyro_flows import _memo
from pyro_flows.testing import perturb

from ..cases.registry import CASES


def _transform(context_dim=0, **options):
    t = pf.real_nvp(3, depth=2, hidden=(6,), context_dim=context_dim, net=pf.nn.MLP, **options)
    perturb(t)
    return t


def _base():
    return dist.Normal(torch.zeros(3), 1.0).to_event(1)


@contextlib.contextmanager
def _no_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


# -- what is served ---------------------------------------------------------------------------------


def test_a_sample_gives_back_the_exact_noise():
    t, x = _transform(), torch.randn(5, 3)
    y = t(x)
    assert t.inv(y) is x
    assert t.recall(y) is x
    assert t.inv(y) is x


def test_an_alias_is_scored_afresh():
    t, x = _transform(), torch.randn(5, 3)
    y = t(x)
    assert t.inv(y.view_as(y)) is not x
    (slope,) = torch.autograd.grad(t.inv(leaf := y.detach().requires_grad_()).sum(), leaf)
    assert slope.abs().min() > 0


def test_scoring_hands_over_its_log_det_once(monkeypatch):
    t, y = _transform(), torch.randn(5, 3)
    x = t.inv(y)
    monkeypatch.setattr(t, "forward_and_log_det", None)
    t.log_abs_det_jacobian(x, y)
    with pytest.raises(TypeError):
        t.log_abs_det_jacobian(x, y)


def test_scoring_a_fresh_sample_looks_at_the_modules_once(monkeypatch):
    flow = pf.Flow(_transform())
    looks, look = [], _memo.fingerprint
    monkeypatch.setattr(_memo, "fingerprint", lambda *args: looks.append(args) or look(*args))
    y = flow().rsample((5,))
    assert len(looks) == 1
    for seen in (2, 3):
        torch.testing.assert_close(flow().log_prob(y), flow().log_prob(y.detach().clone()))
        assert len(looks) == seen


def test_clear_cache_forgets():
    t, x = _transform(), torch.randn(5, 3)
    y = t(x)
    t.clear_cache()
    assert t.recall(y) is None


# -- what is forgotten ------------------------------------------------------------------------------


def _in_place(t, **_):
    with torch.no_grad():
        next(t.parameters()).add_(0.5)


def _fused_step(t, **_):
    optimiser = torch.optim.Adam(t.parameters(), lr=0.1, fused=True)
    for p in t.parameters():
        p.grad = torch.ones_like(p)
    optimiser.step()


def _load(t, **_):
    state = copy.deepcopy(t.state_dict())
    t.load_state_dict({name: value + 0.3 for name, value in state.items()})


def _load_assign(t, **_):
    t.load_state_dict({name: value + 0.3 for name, value in t.state_dict().items()}, assign=True)


def _new_data(t, **_):
    for p in t.parameters():
        p.data = p.data + 0.3


def _replace(t, **_):
    last = t.parts[0].conditioner.last
    last.weight = torch.nn.Parameter(last.weight.detach() + 0.3)


def _double_and_back(t, **_):
    t.double()
    with torch.no_grad():
        next(t.parameters()).add_(0.5)
    t.float()


def _change_y(y, **_):
    with torch.no_grad():
        y.mul_(2)


def _change_x(x, **_):
    x.mul_(2)


CHANGES = [
    _in_place,
    _fused_step,
    _load,
    _load_assign,
    _new_data,
    _replace,
    _double_and_back,
    _change_y,
    _change_x,
]


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__.strip("_"))
def test_a_sample_from_before_a_change_is_scored_afresh(change, grad):
    t, x = _transform(), torch.randn(5, 3)
    with torch.set_grad_enabled(grad):
        y = t(x)
        change(t=t, x=x, y=y)
        fresh = copy.deepcopy(t)
        fresh.load_state_dict(t.state_dict())
        found = t.inv(y)
        torch.testing.assert_close(found, fresh.inverse_and_log_det(y.detach().clone())[0])
        torch.testing.assert_close(
            t.log_abs_det_jacobian(found, y), fresh.forward_and_log_det(found.detach().clone())[1]
        )


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__.strip("_"))
def test_a_log_det_from_before_a_change_is_not_handed_over(change):
    t, y = _transform(), torch.randn(5, 3)
    x = t.inv(y)
    change(t=t, x=x.detach() if change is _change_x else x, y=y)
    found = t.log_abs_det_jacobian(x, y)
    torch.testing.assert_close(found, t.forward_and_log_det(x)[1])


def test_changing_mode_forgets():
    t, y = _transform(norm=pf.transforms.BatchNorm), torch.randn(5, 3)
    x = t.inv(y).detach().clone()
    sample = t(x)
    t.eval()
    torch.testing.assert_close(t.inv(sample), t.inverse_and_log_det(sample.clone())[0])
    assert t.recall(sample) is None


def test_a_batch_normalised_twice_moves_twice():
    t, y = _transform(norm=pf.transforms.BatchNorm), torch.randn(5, 3)
    d = dist.TransformedDistribution(_base(), [t])
    weights = []
    for _ in range(2):
        d.log_prob(y)
        weights.append(t.parts[1].moments.weight.item())
    assert weights[1] > weights[0] > 0.5 * (weights[0] > 0)


def test_changing_grad_mode_forgets():
    t, x = _transform(), torch.randn(5, 3)
    with torch.no_grad():
        y = t(x)
    assert t.recall(y) is None
    assert t.log_abs_det_jacobian(x, y).requires_grad


def test_changing_autocast_forgets():
    t, x = _transform(), torch.randn(5, 3)
    y = t(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert t.recall(y) is None


def test_freezing_a_parameter_forgets():
    t, x = _transform(), torch.randn(5, 3)
    y = t(x)
    t.requires_grad_(False)
    assert t.recall(y) is None


def test_inference_mode_tensors_are_scored_afresh():
    t, x = _transform(), torch.randn(5, 3)
    with torch.inference_mode():
        y = t(x)
        y.mul_(2)
        torch.testing.assert_close(t.inv(y), t.inverse_and_log_det(y.clone())[0])


def test_context_changed_in_place_forgets():
    t, context, x = _transform(2), torch.randn(5, 2), torch.randn(5, 3)
    bound = t.condition(context)
    y = bound(x)
    context.mul_(3)
    assert bound.recall(y) is None
    torch.testing.assert_close(bound.inv(y), t.inverse_and_log_det(y, context)[0])


def test_other_context_does_not_serve():
    t, x = _transform(2), torch.randn(5, 3)
    first, second = (t.condition(torch.randn(5, 2)) for _ in range(2))
    y = first(x)
    assert second.recall(y) is None
    torch.testing.assert_close(second.inv(y), second.inverse_and_log_det(y)[0])


def test_functional_call_with_other_parameters_does_not_serve():
    class Draw(torch.nn.Module):
        def __init__(self, t):
            super().__init__()
            self.t = t

        def forward(self, x, inverse):
            return self.t.inv(x) if inverse else self.t(x)

    draw, x = Draw(_transform()), torch.randn(5, 3)
    y = draw(x, False)
    moved = {name: value.detach() + 0.3 for name, value in draw.named_parameters()}
    found = functional_call(draw, moved, (y, True))
    torch.testing.assert_close(found, functional_call(draw, moved, (y.detach().clone(), True)))
    assert not torch.allclose(found, x)


def test_a_bayesian_flow_is_scored_with_its_new_weights():
    t, x = _transform(), torch.randn(5, 3)
    to_pyro_module_(t)
    t.parts[0].conditioner.last.bias = PyroSample(
        dist.Normal(torch.zeros(t.parts[0].conditioner.last.out_features), 1.0).to_event(1)
    )
    y = t(x)
    assert not torch.allclose(t.inv(y), x)  # a new draw of the bias


# -- what is kept alive -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["real-nvp", "chain-context", "inverse", "bound", "chain-mixed"])
@pytest.mark.parametrize("how", ["rsample", "log_prob", "sample and score", "plain"])
def test_no_graph_outlives_its_tensors(name, how):
    case = CASES[name]
    t = case.build()
    flow = case.flow(t)
    with _no_garbage_collector():
        noise = [torch.randn(5, requires_grad=True) for _ in range(2)]
        alive = [weakref.ref(n) for n in noise]
        context = None if case.context is None else noise[0].unsqueeze(1) * torch.ones(case.context)
        x = case.noise(t).detach() + noise[1].unsqueeze(1).square()
        if how == "rsample":
            y = t(x) if context is None else t.condition(context)(x)
            del y
        elif how == "log_prob":
            flow(context).log_prob(x.sigmoid())
        elif how == "sample and score":
            bound = t if context is None else t.condition(context)
            y = bound(x)
            flow(context).log_prob(y)
            bound.inv(y)
            del y, bound
        else:
            bound = t if context is None else t.condition(context)
            d = dist.TransformedDistribution(case.base(), [bound])
            d.log_prob(x.sigmoid())
            del bound, d
        del x, context, noise
        assert [ref() for ref in alive] == [None, None]


def test_a_transform_dies_without_the_garbage_collector():
    with _no_garbage_collector():
        t = _transform(2)
        bound = t.condition(torch.randn(5, 2))
        bound.inv(bound(torch.randn(5, 3)))
        refs = [weakref.ref(t), weakref.ref(bound)]
        del bound, t
        assert [ref() for ref in refs] == [None, None]


def test_copies_and_pickles_are_empty_and_small():
    t = _transform()
    size = len(pickle.dumps(t))
    y = t(torch.randn(1000, 3))
    assert len(pickle.dumps(t)) == size
    new = copy.deepcopy(t)
    assert new._memo is not t._memo
    assert new.recall(y) is None
    assert "memo" not in "".join(t.state_dict())


def test_a_copied_inverse_shares_the_copys_memo():
    inverse = copy.deepcopy(_transform().inv)
    x = torch.randn(5, 3)
    y = inverse(x)
    assert inverse.inv(y) is x
