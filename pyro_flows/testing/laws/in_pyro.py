"""Law 11: what Pyro does with distributions works with flows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from torch import Tensor

from ...flow import Flow
from ..case import Case
from ..expect import expect, named

__all__ = [
    "conditional_distribution",
    "guide_transform",
    "likelihood_in_subsampled_plate",
    "parameter_names",
    "prior_under_autoguide",
    "prior_under_nuts",
]


def _steps(model: Callable[..., Any], guide: Callable[..., Any], *args: Any) -> None:
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), Trace_ELBO())
    losses = [svi.step(*args) for _ in range(3)]
    expect(all(abs(loss) < float("inf") for loss in losses), f"expected finite losses of SVI; got {losses}")


def _parameters(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def _all_moved(before: dict[str, Tensor], module: torch.nn.Module) -> None:
    still = [name for name, value in module.named_parameters() if torch.equal(before[name], value)]
    expect(not still, f"expected SVI to move every parameter; {', '.join(still)} stayed")


def _same(name: str, found: object, wanted: object) -> None:
    expect(found == wanted, f"expected {name} {wanted}; got {found}")


def likelihood_in_subsampled_plate(case: Case) -> None:
    """11. `pyro.module`, and `pyro.sample` of data inside a subsampled plate."""
    flow = case.flow(case.build(training=True))
    contexts = case.context_of((12,))
    data = flow(contexts).sample(case.sample_shape(contexts, (12,)))

    def model(data: Tensor) -> None:
        pyro.module("flow", flow)
        with pyro.plate("rows", 12, subsample_size=4) as rows:
            context = None if contexts is None else contexts[rows]
            pyro.sample("y", flow(context), obs=data[rows])

    before = _parameters(flow)
    _steps(model, lambda data: None, data)
    _same("parameter store", set(pyro.get_param_store()), {f"flow$$${name}" for name in before})
    _all_moved(before, flow)
    trace = pyro.poutine.trace(model).get_trace(data)
    trace.compute_log_prob()
    _same("log-densities of shape", tuple(trace.nodes["y"]["log_prob"].shape), (4,))


def guide_transform(case: Case) -> None:
    """11. As a guide's transform, in a plate, with Pyro's own `TransformedDistribution`."""
    t = case.build()
    context = case.context_of(())
    event = case.data_event()

    def model() -> None:
        scales = torch.ones(3, *event, device=case.device)
        positive = case.bound(t, ()).codomain.check(-scales).sum() == 0
        prior = dist.LogNormal if positive else dist.Normal
        with pyro.plate("rows", 3):
            pyro.sample("z", prior(scales.new_zeros(()), scales * 2).to_event(len(event)))

    def guide() -> Tensor:
        pyro.module("t", t)
        bound = t if context is None else t.condition(context)
        with pyro.plate("rows", 3):
            return pyro.sample("z", dist.TransformedDistribution(case.base(), [bound]))

    before = _parameters(t)
    _steps(model, guide)
    _same("draws of shape", tuple(guide().shape), (3, *event))
    _all_moved(before, t)


def _prior_model(case: Case) -> tuple[Flow, Tensor | None, Callable[[], None]]:
    flow, context = case.flow(case.build()), case.context_of(())

    def model() -> None:
        z = pyro.sample("z", flow(context))
        pyro.sample("y", dist.Normal(z.sum(), 1.0), obs=z.new_tensor(0.5))

    return flow, context, model


def prior_under_autoguide(case: Case) -> None:
    """11. As the prior of a model under `AutoNormal`."""
    flow, context, model = _prior_model(case)
    guide = AutoNormal(model)
    _steps(model, guide)
    z = guide()["z"]
    _same("draws of shape", tuple(z.shape), case.data_event())
    expect(flow(context).support.check(z).all(), "expected draws within the flow's support")


def prior_under_nuts(case: Case) -> None:
    """11. As the prior of a model under NUTS."""
    flow, context, model = _prior_model(case)
    mcmc = MCMC(NUTS(model, max_tree_depth=4), num_samples=10, warmup_steps=10, disable_progbar=True)
    mcmc.run()
    z = mcmc.get_samples()["z"]
    _same("draws of shape", tuple(z.shape), (10, *case.data_event()))
    expect(flow(context).support.check(z).all(), "expected draws within the flow's support")
    expect(z.unique(dim=0).shape[0] > 1, "expected NUTS to move; it stayed at one point")


def conditional_distribution(case: Case) -> None:
    """11. Through Pyro's `ConditionalTransformedDistribution`, whose batch takes in the context's."""
    t = case.build()
    context = case.context_of((2, 3))
    d = dist.ConditionalTransformedDistribution(case.base(), [t])
    given = d.condition(torch.zeros(2, 3, 1) if context is None else context)
    batch = () if context is None else (2, 3)
    _same("batch shape", tuple(given.batch_shape), batch)
    _same("event shape", tuple(given.event_shape), case.data_event())
    y = given.sample((4,))
    _same("draws of shape", tuple(y.shape), (4, *batch, *case.data_event()))
    torch.testing.assert_close(
        given.log_prob(y),
        case.flow(t)(context).log_prob(y.clone()),
        **case.within(1e-5),
        msg=named("scores differ from those of a Flow"),
    )


def parameter_names(case: Case) -> None:
    """11. Inside a `PyroModule` the parameter store holds the module's own names."""

    class Model(PyroModule):
        """Five observations of a flow."""

        def __init__(self, flow: Flow) -> None:
            super().__init__()
            self.flow = flow

        def forward(self, context: Tensor | None, data: Tensor) -> None:
            with pyro.plate("rows", 5):
                pyro.sample("y", self.flow(context), obs=data)

    model = Model(case.flow(case.build()))
    context = case.context_of()
    data = model.flow(context).sample(case.sample_shape(context))
    _steps(model, lambda *_: None, context, data)
    stored = {name.replace("$$$", ".") for name in pyro.get_param_store()}
    _same("parameter store", stored, {name for name, _ in model.named_parameters()})
