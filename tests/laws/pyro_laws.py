"""Law 11: what Pyro does with distributions works with flows."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule

from ..cases.registry import Case


def _steps(model, guide, *args) -> list[float]:
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    return [svi.step(*args) for _ in range(3)]


def _all_moved(before: dict, module: torch.nn.Module) -> bool:
    return all(not torch.equal(before[name], value) for name, value in module.named_parameters())


def _parameters(module: torch.nn.Module) -> dict:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def likelihood_in_subsampled_plate(case: Case) -> None:
    """11. `pyro.module`, and `pyro.sample` of data inside a subsampled plate."""
    flow = case.flow(case.build(training=True))
    contexts = case.context_of((12,))
    data = flow(contexts).sample(() if contexts is not None else (12,))

    def model(data):
        pyro.module("flow", flow)
        with pyro.plate("rows", 12, subsample_size=4) as rows:
            context = None if contexts is None else contexts[rows]
            pyro.sample("y", flow(context), obs=data[rows])

    before = _parameters(flow)
    losses = _steps(model, lambda data: None, data)
    assert all(abs(loss) < float("inf") for loss in losses)
    assert set(pyro.get_param_store()) == {f"flow$$${name}" for name in before}
    assert _all_moved(before, flow)
    trace = pyro.poutine.trace(model).get_trace(data)
    trace.compute_log_prob()
    assert trace.nodes["y"]["log_prob"].shape == (4,)


def guide_transform(case: Case) -> None:
    """11. As a guide's transform, in a plate, with Pyro's own `TransformedDistribution`."""
    t = case.build()
    context = case.context_of(())

    def model():
        scales = torch.ones(3, *case.data_event())
        prior = dist.LogNormal if case.bound(t, ()).codomain.check(-scales).sum() == 0 else dist.Normal
        with pyro.plate("rows", 3):
            pyro.sample("z", prior(torch.zeros(()), scales * 2).to_event(len(case.data_event())))

    def guide():
        pyro.module("t", t)
        bound = t if context is None else t.condition(context)
        with pyro.plate("rows", 3):
            return pyro.sample("z", dist.TransformedDistribution(case.base(), [bound]))

    before = _parameters(t)
    assert all(abs(loss) < float("inf") for loss in _steps(model, guide))
    assert guide().shape == (3, *case.data_event())
    assert _all_moved(before, t)


def _prior_model(case: Case):
    flow, context = case.flow(case.build()), case.context_of(())

    def model():
        z = pyro.sample("z", flow(context))
        pyro.sample("y", dist.Normal(z.sum(), 1.0), obs=torch.tensor(0.5))

    return flow, context, model


def prior_under_autoguide(case: Case) -> None:
    """11. As the prior of a model under `AutoNormal`."""
    flow, context, model = _prior_model(case)
    guide = AutoNormal(model)
    assert all(abs(loss) < float("inf") for loss in _steps(model, guide))
    z = guide()["z"]
    assert z.shape == case.data_event()
    assert flow(context).support.check(z).all()


def prior_under_nuts(case: Case) -> None:
    """11. As the prior of a model under NUTS."""
    flow, context, model = _prior_model(case)
    mcmc = MCMC(NUTS(model, max_tree_depth=4), num_samples=10, warmup_steps=10, disable_progbar=True)
    mcmc.run()
    z = mcmc.get_samples()["z"]
    assert z.shape == (10, *case.data_event())
    assert flow(context).support.check(z).all()
    assert z.unique(dim=0).shape[0] > 1


def conditional_distribution(case: Case) -> None:
    """11. Through Pyro's `ConditionalTransformedDistribution`, whose batch takes in the context's."""
    t = case.build()
    context = case.context_of((2, 3))
    d = dist.ConditionalTransformedDistribution(case.base(), [t])
    given = d.condition(torch.zeros(2, 3, 1) if context is None else context)
    batch = () if context is None else (2, 3)
    assert given.batch_shape == batch
    assert given.event_shape == case.data_event()
    y = given.sample((4,))
    assert y.shape == (4, *batch, *case.data_event())
    wanted = case.flow(t)(context).log_prob(y.clone())
    torch.testing.assert_close(given.log_prob(y), wanted, **case.within(1e-5))


def parameter_names(case: Case) -> None:
    """11. Inside a `PyroModule` the parameter store holds the module's own names."""

    class Model(PyroModule):
        def __init__(self, flow):
            super().__init__()
            self.flow = flow

        def forward(self, context, data):
            with pyro.plate("rows", 5):
                pyro.sample("y", self.flow(context), obs=data)

    model = Model(case.flow(case.build()))
    context = case.context_of()
    data = model.flow(context).sample(() if context is not None else (5,))
    _steps(model, lambda *_: None, context, data)
    stored = {name.replace("$$$", ".") for name in pyro.get_param_store()}
    assert stored == {name for name, _ in model.named_parameters()}


LAWS = [
    likelihood_in_subsampled_plate,
    guide_transform,
    prior_under_autoguide,
    conditional_distribution,
    parameter_names,
]
