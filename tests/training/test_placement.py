"""Whole training steps on the meta device: data, weights, optimiser and averages stay where the flow is."""

import pytest
import torch

import pyro_flows as pf
from pyro_flows.testing.placement import NoCPU
from pyro_flows.training.data.sources import TensorSource
from pyro_flows.training.learner import Learner
from pyro_flows.training.likelihood import negative_log_likelihood
from pyro_flows.training.order import Order
from pyro_flows.training.process import Process

from ..cases.registry import CASES
from ..helpers.placement import AdamAnywhere

META = torch.device("meta")
# Each step is as long as an error that it reads.
READING = {"ffjord-adaptive", "ffjord-adjoint", "ffjord-checkpointed"}
TRAINED = {
    name: case
    for name, case in CASES.items()
    if case.of in pf.families.__all__ and name not in READING and list(case.example.parameters())
}


def test_all_families_are_tried():
    assert {case.of for case in TRAINED.values()} == set(pf.families.__all__)


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_of_fit_touches_no_cpu_tensor(name):
    case = TRAINED[name]
    flow = case.flow(case.build(training=True)).to(META)
    rows = TensorSource(torch.empty(12, *case.data_event(), device=META), case.context_of((12,)), META)
    if rows.context is not None:
        rows.context = rows.context.to(META)
    rows.weights = torch.empty(12, device=META)
    settings = pf.training.Settings(ema=0.9, optimizer=AdamAnywhere, weight_decay=0.0)
    learner = Learner(flow, negative_log_likelihood, settings, Process(META))
    total = Process(META).zero()
    batches = Order(rows, 4, seed=0, process=Process(META)).batches(0, 0)
    for _ in range(2):
        # The order of rows is drawn on the host, and copied without waiting.
        x, context, weights = next(batches)
        with NoCPU():
            loss = learner.gradient(x, context, weights)
            learner.step(0.5, loss)
            total += loss
    assert total.device == loss.device == learner.skipped.device == META
    assert {p.device for p in flow.parameters()} == {v.device for v in learner.average.values} == {META}
