"""Training, inference and whole-step graphs on CUDA."""

import copy
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import pyro_flows as pf

from ..cases.registry import CASES
from ..helpers.schools import EVIDENCE, SIGMA, Y
from ..helpers.schools import schools as model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
MOONS = pf.datasets.TwoMoons(noise=0.1)
FAMILIES = [pf.real_nvp, pf.nsf, pf.maf]


def schools():
    model(Y.cuda(), SIGMA.cuda(), centred=False)


def gap(flow, x):
    with torch.no_grad():
        device = next(flow.parameters()).device
        return float((MOONS.log_prob(x) - flow().log_prob(x.to(device)).cpu()).mean())


def trained(family, device, where="cpu", precision="no"):
    """Return how far a short fit is from two moons, in nats."""
    torch.manual_seed(0)
    data, test = MOONS.sample((2000,)), MOONS.sample((4000,))
    flow = pf.Flow(family(2)).to(device)
    history = pf.fit(flow, data.to(where), epochs=20, progress=False, precision=precision)
    assert next(flow.parameters()).device.type == device
    assert history.best_epoch >= 1
    return gap(flow, test)


@pytest.mark.parametrize("where", ["cpu", "cuda"])
@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_fit(family, where):
    """Data on either device trains a flow on the GPU as on the CPU."""
    assert abs(trained(family, "cuda", where) - trained(family, "cpu")) < 0.05


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_bf16(family):
    """The networks in bfloat16 train as well as in float32."""
    assert abs(trained(family, "cuda", precision="bf16") - trained(family, "cuda")) < 0.05


def test_a_resumed_run_ends_with_the_same_bits(tmp_path, monkeypatch):
    data = MOONS.sample((1000,))
    start = pf.Flow(pf.real_nvp(2, norm=pf.transforms.BatchNorm)).cuda()

    def run(path, stop=None):
        flow, calls = copy.deepcopy(start), []

        def loss(flow, x, context):
            calls.append(1)
            if len(calls) == stop:
                raise KeyboardInterrupt
            return -flow(context).log_prob(x)

        pf.fit(flow, data, loss=loss, epochs=4, checkpoint=path, checkpoint_every=0.0, progress=False)
        return flow.state_dict()

    whole = run(tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed.pt", stop=7)
    resumed = run(tmp_path / "killed.pt")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_posterior():
    """`AutoFlow`, `fit_vi` and `importance` with everything on the GPU."""
    guide = pf.infer.AutoFlow(schools)
    history = pf.infer.fit_vi(schools, guide, settings=pf.infer.VISettings(progress=False, steps=1000))
    result = pf.infer.importance(schools, guide)
    assert result.draws["eta"].is_cuda
    assert abs(result.log_evidence - EVIDENCE) < 0.02
    assert history.best_bound > EVIDENCE - 0.05


TWO_RANKS = """
import sys, torch, pyro_flows as pf
torch.manual_seed(0)
data = torch.randn(1000, 2)
flow = pf.Flow(pf.real_nvp(2))
pf.fit(flow.cuda(), data, epochs=3, batch_size=100, progress=False)
torch.save(flow.cpu().state_dict(), sys.argv[1])
"""


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_ranks(tmp_path):
    """Two processes, joined by nccl, train the flow that one trains."""
    script = tmp_path / "train.py"
    script.write_text(TWO_RANKS)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    found = []
    for count in ("1", "2"):
        path = tmp_path / f"{count}.pt"
        subprocess.run([*torchrun, count, str(script), str(path)], check=True, timeout=300)
        found.append(torch.load(path, weights_only=True))
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], atol=1e-4, rtol=1e-4)


GRAPHED = [
    "real-nvp",
    "real-nvp-batch-norm",
    "real-nvp-image",
    "nice",
    "maf",
    "iaf",
    "nsf",
    "nsf-autoregressive",
    "glow",
]


@pytest.mark.parametrize("name", [name for name in CASES if name in GRAPHED])
def test_a_training_step_is_captured(name):
    """`torch.cuda.graph` takes a whole step, and its replay is what eager execution does."""
    case = replace(CASES[name], device="cuda")
    t, context = case.build(), case.context_of((16,))
    y = case.flow(t)(context).sample(case.sample_shape(context, (16,))).clone()
    flows = [case.flow(copy.deepcopy(t)) for _ in range(2)]

    def stepper(flow):
        optimiser = torch.optim.Adam(flow.parameters(), lr=1e-3, capturable=True)

        def step():
            optimiser.zero_grad(set_to_none=False)
            (-flow(context).log_prob(y).mean()).backward()
            optimiser.step()

        return step

    eager, graphed = map(stepper, flows)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            graphed()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        graphed()
    for _ in range(2):
        graph.replay()
    for _ in range(5):
        eager()
    for one, other in zip(*(flow.parameters() for flow in flows), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", [name for name in CASES if name in GRAPHED])
def test_drawing_and_scoring_is_captured(name):
    case = replace(CASES[name], device="cuda")
    t, context = case.build(), case.context_of((16,))
    flow, batch = case.flow(t), case.sample_shape(context, (16,))

    @torch.no_grad()
    def draw():
        return flow(context).rsample_and_log_prob(batch)

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            draw()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y, log_prob = draw()
    first = y.clone()
    graph.replay()
    assert not torch.equal(first, y)  # new noise at each replay
    with torch.no_grad():
        torch.testing.assert_close(flow(context).log_prob(y.clone()), log_prob, atol=1e-3, rtol=1e-3)


def test_rows_that_do_not_fit_are_copied_batch_by_batch(monkeypatch):
    flows = []
    for fits in (True, False):
        monkeypatch.setattr(pf.training.data.reading, "fits", lambda *_, fits=fits: fits)
        torch.manual_seed(1)
        flows.append(pf.Flow(pf.real_nvp(2, depth=2, context_dim=1)).cuda())
        data = torch.randn(2000, 2, generator=torch.Generator().manual_seed(0))
        options = {"context": data[:, :1] + 5, "weights": data[:, 0].abs(), "epochs": 3, "progress": False}
        pf.fit(flows[-1], data * 9 + 100, **options)
    for one, two in zip(*(flow.parameters() for flow in flows), strict=True):
        torch.testing.assert_close(one, two)


def test_a_loader_with_workers_and_pinned_memory():
    data = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    dataset, flows = torch.utils.data.TensorDataset(data), []
    for given in (data, torch.utils.data.DataLoader(dataset, num_workers=1, pin_memory=True)):
        torch.manual_seed(1)
        flows.append(pf.Flow(pf.real_nvp(2, depth=2)).cuda())
        pf.fit(flows[-1], given, epochs=2, progress=False)
    for one, two in zip(*(flow.parameters() for flow in flows), strict=True):
        torch.testing.assert_close(one, two)
