"""`Flow` and `FlowDistribution`: bases, shapes, support, plates, dtype and device."""

import copy
import math
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import constraints

import pyro_flows as pf
from pyro_flows import Flow, bases
from pyro_flows.testing import perturb
from pyro_flows.testing.placement import NoCPU

BASES = {
    "default": lambda: None,
    "standard normal": lambda: bases.StandardNormal((3,), torch.empty(0)),
    "diagonal normal": lambda: bases.diagonal_normal(3),
    "logistic": lambda: bases.logistic((3,)),
    "learned logistic": lambda: bases.logistic(3, learn=True),
    "uniform": lambda: bases.uniform(3, -50.0, 50.0),
    "beta": lambda: bases.Base(dist.Beta, concentration1=torch.full((3,), 2.0), concentration0=torch.ones(3)),
    "mixture": lambda: bases.Mixture(3, 2),
    "laplace": lambda: bases.Base(dist.Laplace, loc=torch.zeros(3), scale=torch.ones(3)),
    "pyro event": lambda: dist.Normal(torch.zeros(3), torch.ones(3)).to_event(1),
    "pyro batch": lambda: dist.StudentT(5.0, torch.zeros(3), torch.ones(3)),
    "pyro scalar": lambda: dist.Normal(torch.tensor(0.0), torch.tensor(1.0)),
    "torch": lambda: torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3)),
    "transformed": lambda: dist.TransformedDistribution(
        dist.Normal(torch.zeros(3), torch.ones(3), validate_args=False).to_event(1),
        [dist.transforms.AffineTransform(torch.ones(3), 2.0), pf.transforms.ActNorm(3)],
        validate_args=False,  # which reads the device
    ),
    "transformed by an inverse": lambda: dist.TransformedDistribution(
        dist.Normal(torch.zeros(3), 1.0),
        [dist.transforms.ComposeTransform([dist.transforms.AffineTransform(torch.ones(3), 2.0).inv])],
    ),
    "components": lambda: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(torch.zeros(2, 3), torch.ones(2, 3)).to_event(1)
    ),
    "torch batch": lambda: torch.distributions.Normal(torch.zeros(3), torch.ones(3)),
}


def _flow(base=None, context_dim=0):
    t = pf.real_nvp(3, depth=2, hidden=(6,), context_dim=context_dim, net=pf.nn.MLP)
    if base == "beta":
        t = pf.transforms.reverse(3)
    perturb(t)
    return Flow(t, None if base is None else BASES[base]())


@pytest.mark.parametrize("base", BASES)
def test_any_base(base):
    flow = _flow(base)
    d = flow()
    assert (d.batch_shape, d.event_shape) == ((), (3,))
    y = d.sample((7,))
    assert y.shape == (7, 3)
    x, log_det = flow.transform.inverse_and_log_det(y.detach())
    wanted = flow.base().log_prob(x)
    torch.testing.assert_close(
        d.log_prob(y.detach()), (wanted.sum(-1) if wanted.dim() > 1 else wanted) + log_det
    )
    torch.testing.assert_close(d.log_prob(y), d.log_prob(y.detach().clone()), atol=1e-4, rtol=1e-4)


def test_the_light_bases_are_torchs():
    for light, slow in (
        (bases.StandardNormal, torch.distributions.Normal(torch.zeros(2, 3).double(), 1.0)),
        (bases.StandardLogistic, dist.Logistic(torch.zeros(2, 3).double(), 1.0)),
    ):
        d = light((2, 3), torch.empty(0, dtype=torch.float64))
        x = torch.randn(5, 2, 3, dtype=torch.float64) * 30
        torch.testing.assert_close(d.log_prob(x), slow.log_prob(x).sum((-2, -1)))
        draws = d.sample((20_000,))
        assert draws.isfinite().all()
        for found, wanted in ((draws.mean(0), d.mean), (draws.var(0), d.variance)):
            torch.testing.assert_close(found, wanted, atol=0.15, rtol=0)
        torch.testing.assert_close(d.variance, slow.variance)
        assert d.expand((4,)).sample().shape == (4, 2, 3)
        assert d.log_prob(x.new_zeros(0, 2, 3)).shape == (0,)


def test_logistic_draws_are_symmetric(monkeypatch):
    for dtype, end in ((torch.float32, 24), (torch.float64, 53)):
        ends = torch.tensor([0.0, 2.0**-end, 1 - 2.0**-end], dtype=dtype)
        monkeypatch.setattr(torch, "rand", lambda *_, ends=ends, **__: ends)
        low, same, high = bases.StandardLogistic((3,), torch.empty(0, dtype=dtype)).sample()
        torch.testing.assert_close(low, torch.tensor(-end * math.log(2), dtype=dtype))
        assert low == same == -high


@pytest.mark.parametrize("base", BASES)
def test_bases_follow_dtype(base):
    flow = _flow(base).double()
    y = flow().sample((7,))
    assert y.dtype == flow().log_prob(y).dtype == torch.float64


@pytest.mark.parametrize("base", ["default", "diagonal normal", "learned logistic", "transformed"])
def test_bases_follow_device(base):
    flow = _flow(base).to("meta")
    y = torch.empty(7, 3, device="meta")
    with NoCPU():
        assert flow().log_prob(y).device == y.device
        assert flow().rsample((2,)).device == y.device


@pytest.mark.parametrize("base", ["diagonal normal", "learned logistic", "mixture", "beta", "laplace"])
def test_learned_bases_learn(base):
    flow = _flow(base)
    flow().log_prob(flow().sample((20,))).sum().backward()
    gradients = {n: p.grad for n, p in flow.base.named_parameters()}
    assert gradients
    assert all(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in gradients.values())


def test_a_base_distributions_own_transforms_are_trained():
    flow = _flow("transformed")
    flow().log_prob(torch.randn(20, 3)).sum().backward()
    gradients = {n: p.grad for n, p in flow.base.named_parameters()}
    assert set(gradients) == {"inner.0.loc", "inner.0.log_scale"}
    assert all(g.abs().min() > 0 for g in gradients.values())


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: dist.TransformedDistribution(d, [])])
def test_parameters_that_no_module_owns_are_refused(wrap):
    base = dist.Normal(torch.nn.Parameter(torch.zeros(3)), 1.0).to_event(1)
    with pytest.raises(ValueError, match=r"expected a base without parameters; got a .* with some"):
        Flow(pf.real_nvp(3), wrap(base))


@pytest.mark.parametrize("base", [b for b in BASES if "inverse" not in b])  # torch's own lose themselves
def test_flows_copy_and_pickle(base):
    flow = _flow(base)
    y = flow().sample((7,))
    wanted = flow().log_prob(y.clone())
    for new in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
        assert torch.equal(new().log_prob(y), wanted)


@pytest.mark.parametrize("base", BASES)
def test_expand(base):
    flow = _flow(base)
    d = flow().expand((4, 2))
    assert d.batch_shape == (4, 2)
    y = d.sample((5,))
    assert y.shape == (5, 4, 2, 3)
    torch.testing.assert_close(d.log_prob(y), flow().log_prob(y.clone()))
    assert d.log_prob(y[0, 0, 0].clone()).shape == (4, 2)


def test_rsample_and_log_prob():
    flow = _flow("diagonal normal")
    y, log_prob = flow().rsample_and_log_prob((7,))
    assert y.requires_grad
    torch.testing.assert_close(log_prob, flow().log_prob(y.detach()))


def test_context_gives_the_batch_shape():
    flow, context = _flow(context_dim=2), torch.randn(4, 5, 2)
    d = flow(context)
    assert d.batch_shape == (4, 5)
    y = d.sample((6,))
    assert y.shape == (6, 4, 5, 3)
    assert d.log_prob(y).shape == (6, 4, 5)
    assert d.log_prob(torch.randn(3)).shape == (4, 5)
    assert d.expand((2, 4, 5)).sample().shape == (2, 4, 5, 3)
    for i in range(5):
        torch.testing.assert_close(flow(context[1, i]).log_prob(y[2, 1, i]), d.log_prob(y.clone())[2, 1, i])


def test_noise_differs_between_contexts():
    y = _flow(context_dim=2)(torch.zeros(4, 2)).sample()
    assert len(y.unique(dim=0)) == 4


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_empty_batches(shape):
    for flow, context in ((_flow(), None), (_flow(context_dim=2), torch.randn(*shape, 2))):
        d = flow(context)
        y = torch.randn(*shape, 3)
        assert d.log_prob(y).shape == shape
        d.log_prob(y).sum().backward()
        assert d.sample(() if context is not None else shape).shape == (*shape, 3)


def test_support():
    flow = Flow([pf.real_nvp(3), dist.transforms.SigmoidTransform()])
    assert flow().support.event_dim == 1
    assert flow().support.check(flow().sample((50,))).all()
    assert not flow().support.check(torch.tensor([0.5, 0.5, 1.5]))
    assert _flow()().support.event_dim == 1
    wide = Flow(dist.transforms.ExpTransform(), dist.Normal(torch.zeros(2, 3), 1.0).to_event(2))()
    assert (wide.event_shape, wide.support.event_dim) == ((2, 3), 2)
    assert constraints.positive.check(wide.sample()).all()


@pytest.mark.parametrize("value", [-0.5, 1.5, math.inf, -math.inf])
def test_a_value_outside_the_support_never_gets_a_plausible_score(value):
    flow = Flow([pf.real_nvp(3), dist.transforms.SigmoidTransform()])
    y = torch.full((2, 3), 0.5)
    y[1, 1] = value
    try:
        log_prob = flow().log_prob(y)
    except ValueError:
        return
    assert not log_prob[1].isfinite()


def test_matches_a_known_log_normal():
    flow = Flow(dist.transforms.ExpTransform(), dist.Normal(torch.zeros(2, 3), 1.5).to_event(1))
    y = torch.rand(7, 2, 3) + 0.1
    wanted = dist.LogNormal(torch.zeros(3), 1.5).to_event(1).log_prob(y)
    assert flow().batch_shape == (2,)
    torch.testing.assert_close(flow().log_prob(y), wanted)


def test_a_flow_equal_to_a_gaussian_has_its_nll():
    t = pf.transforms.Standardize(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0]))
    y = torch.randn(50, 2)
    wanted = dist.Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 3.0])).to_event(1).log_prob(y)
    torch.testing.assert_close(Flow(t)().log_prob(y), wanted)


def test_density_integrates_to_one():
    t = pf.real_nvp(2, depth=4, hidden=(8,), net=pf.nn.MLP).double()
    perturb(t, scale=0.1)
    grid = torch.linspace(-15, 15, 501, dtype=torch.float64)
    points = torch.cartesian_prod(grid, grid)
    mass = Flow(t)().log_prob(points).exp().sum() * (grid[1] - grid[0]) ** 2
    torch.testing.assert_close(mass.item(), 1.0, atol=1e-3, rtol=0)


def test_plates_expand():
    flow, conditional = _flow(), _flow(context_dim=2)

    def model():
        with pyro.plate("rows", 4):
            a = pyro.sample("a", flow())
            b = pyro.sample("b", conditional(torch.randn(4, 2)))
            with pyro.plate("columns", 6, dim=-2):
                c = pyro.sample("c", flow())
        return a, b, c

    trace = pyro.poutine.trace(model).get_trace()
    trace.compute_log_prob()
    assert [v.shape for v in trace.nodes["_RETURN"]["value"]] == [(4, 3), (4, 3), (6, 4, 3)]
    assert [trace.nodes[n]["log_prob"].shape for n in "abc"] == [(4,), (4,), (6, 4)]


def test_errors():
    with pytest.raises(ValueError, match="expected a base"):
        Flow(dist.transforms.ExpTransform())
    with pytest.raises(TypeError, match="base"):
        Flow(pf.real_nvp(3), base=3.0)
    with pytest.raises(TypeError, match="expected a transform"):
        Flow([3.0])
    with pytest.raises(ValueError, match="expected a context"):
        _flow(context_dim=2)()
    with pytest.raises(ValueError, match="takes no context"):
        _flow()(torch.randn(2))
    with pytest.raises(ValueError, match="event shape"):
        _flow()().log_prob(torch.randn(5, 4))
    with pytest.raises((ValueError, RuntimeError)):
        Flow(pf.real_nvp(3), dist.Normal(torch.zeros(4), 1.0).to_event(1))()


def test_other_families_as_bases_compile_in_double_precision():
    base = dist.Laplace(torch.zeros(2).double(), 1.0, validate_args=False).to_event(1)
    flow = pf.Flow([pf.real_nvp(2, depth=1, hidden=(4,))], base).double()
    y = torch.randn(3, 2).double()
    compiled = torch.compile(lambda y: flow().log_prob(y), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(y), flow().log_prob(y))
