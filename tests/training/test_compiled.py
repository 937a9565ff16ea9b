"""`compile=True`: one graph that learns what eager execution learns, or a warning that says why not."""

import pytest
import torch
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.registry import register_backend
from torch._dynamo.utils import counters
from torch._functorch.aot_autograd import make_boxed_func

import pyro_flows as pf

from . import test_resume as runs

STRUCTURE = "aot_eager"  # the graphs of the real compiler, run one operation at a time


@pytest.fixture(autouse=True)
def _counted():
    torch._dynamo.reset()
    counters.clear()


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def graphs():
    return counters["stats"]["unique_graphs"]


def fit(data=runs.DATA, transform=None, **options):
    torch.manual_seed(1)
    flow = pf.Flow(transform or runs.couplings(pf.transforms.BatchNorm))
    options = {"epochs": 2, "batch_size": 32, "progress": False} | options
    return flow, pf.fit(flow, data, **options)


def differ(one, two, tolerance=0.0):
    """Name the entries that are not close."""
    one, two = one.state_dict(), two.state_dict()
    assert one.keys() == two.keys()
    near = {"rtol": tolerance, "atol": tolerance}
    return [name for name in one if not torch.allclose(one[name].double(), two[name].double(), **near)]


def twice(case, compile):
    eager, history = runs.run(case, None)
    flow, compiled = runs.run(case, None, compile=compile)
    assert graphs() == 1
    assert compiled.steps == history.steps
    assert history.compile_seconds == 0 < compiled.compile_seconds < compiled.seconds
    return eager, flow


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow) if case == "dataset" else case for case in runs.CASES]
)
def test_a_run_is_one_graph_and_ends_where_an_eager_one_does(case, double):
    assert not differ(*twice(case, STRUCTURE), 1e-2 if case == "bf16" else 1e-9)


def test_the_default_compiler(double):
    """What is drawn inside the graph is what eager execution draws."""
    assert not differ(*twice("images", True), 1e-9)


FAMILIES = {
    "NICE": (runs.DATA, lambda: pf.nice(2, depth=3, hidden=(8,))),
    "Real NVP": (runs.DATA, lambda: pf.real_nvp(2, depth=3, hidden=(8,))),
    "splines": (runs.DATA, lambda: pf.nsf(2, depth=2, hidden=(8,))),
    "MAF": (runs.DATA, lambda: pf.maf(2, depth=2, hidden=(8,))),
    "Real NVP, images": (runs.IMAGES, lambda: pf.real_nvp_image((1, 2, 4), scales=1, blocks=1, width=4)),
    "Glow": (runs.IMAGES, lambda: pf.glow((1, 2, 4), scales=1, depth=2, width=4)),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families(family, double):
    data, transform = FAMILIES[family]

    def trained(compile):
        torch.manual_seed(1)
        return fit(data, transform(), compile=compile)[0]

    eager, flow = trained(False), trained(True)
    assert graphs() == 1
    assert not differ(eager, flow, 1e-9)


def test_single_precision():
    (_, history), (_, compiled) = (fit(compile=c) for c in (False, STRUCTURE))
    assert compiled.val_loss == pytest.approx(history.val_loss, abs=1e-4)


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    with runs.kept_checkpoints(tmp_path) as paths:
        whole, history = runs.run("images", tmp_path / "run", compile=STRUCTURE)
    for path in (paths[1], paths[len(paths) // 2]):  # after one step, and after many
        found = torch.load(path, weights_only=True)["history"]["steps"]
        resumed, again = runs.run("images", path, compile=STRUCTURE)
        assert 0 < found < history.steps == again.steps
        assert not differ(whole, resumed)
        assert again.val_loss == history.val_loss


def test_an_eager_run_is_not_resumed_compiled(tmp_path):
    runs.run("tensor", tmp_path / "run", epochs=1)
    with pytest.raises(ValueError, match="is of another run: expected compile False; got True"):
        runs.run("tensor", tmp_path / "run", epochs=1, compile=True)


def test_many_fits_in_one_process():
    """Each has graphs of its own, and none runs out of a common store of them."""
    with torch._dynamo.config.patch(recompile_limit=2):
        for _ in range(4):
            fit(transform=pf.nice(2, depth=1, hidden=(4,)), epochs=1, compile="eager")
    assert graphs() == 4


def test_weights_that_explode_are_taken_back():
    flow = pf.Flow(pf.real_nvp(2, depth=2, hidden=(8,)))
    options = {"learning_rate": 1e30, "validation": 0, "progress": False, "batch_size": 32}
    with pytest.raises(pf.training.NonFiniteLoss, match="smaller learning_rate"):
        pf.fit(flow, runs.DATA, compile="eager", **options)
    assert bool(flow().log_prob(runs.DATA).isfinite().all())


def by_the_data(flow, x, context):
    return -flow(context).log_prob(x) * (2 if x.mean() > 100 else 1)


def backwards(graph, inputs):
    """Compile the forward pass, and fail at the backward pass."""

    def fail(graph, inputs):
        raise RuntimeError("no backward pass today")

    forward = lambda graph, inputs: make_boxed_func(graph.forward)  # noqa: E731
    return aot_autograd(fw_compiler=forward, bw_compiler=fail)(graph, inputs)


class Annealed:
    """A loss that changes with each call, by what the graph takes for a constant."""

    def __init__(self):
        self.calls = 0

    def __call__(self, flow, x, context):
        self.calls += 1
        return -flow(context).log_prob(x) * (0.5 + 0.1 * self.calls)


def test_a_loss_that_cannot_be_compiled():
    eager, _ = fit(loss=by_the_data)
    with pytest.warns(UserWarning, match=r"without torch\.compile: .*[Dd]ata-dependent") as caught:
        flow, history = fit(loss=by_the_data, compile=True)
    assert [w.filename for w in caught if "torch.compile" in str(w.message)] == [__file__]
    assert not differ(eager, flow)
    assert history.compile_seconds > 0


def test_a_failure_in_the_backward_pass_leaves_no_trace():
    eager, _ = fit()
    register_backend(backwards)
    with pytest.warns(UserWarning, match="no backward pass today"):
        flow, _ = fit(compile="backwards")
    assert not differ(eager, flow)


def test_nothing_is_compiled_again_in_silence(double):
    with pytest.warns(UserWarning, match="recompile") as caught:
        _, history = fit(loss=Annealed(), compile=STRUCTURE)
    assert graphs() == 1
    assert history.steps == 6  # the rest of them eagerly
    assert [w.filename for w in caught if "torch.compile" in str(w.message)] == [__file__]


def test_no_compiler(monkeypatch):
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(torch._inductor.config, "fx_graph_cache", False)
    monkeypatch.setattr(torch._functorch.config, "enable_autograd_cache", False)
    eager, _ = fit()
    with pytest.warns(UserWarning, match="without torch.compile: .*[Nn]o working C.. compiler"):
        flow, _ = fit(compile=True)
    assert not differ(eager, flow)


@pytest.mark.parametrize("memory", ["checkpointed", "reversible"])
def test_saved_memory_stays_saved(memory):
    def saved():
        torch.manual_seed(1)
        return pf.save_memory(pf.Chain(runs.couplings(pf.transforms.ActNorm)), memory)

    eager, _ = fit(transform=saved())
    with pytest.warns(UserWarning, match=f"would keep more than '{memory}' memory"):
        flow, _ = fit(transform=saved(), compile=True)
    assert graphs() == 0
    assert not differ(eager, flow)


def test_what_compile_may_be():
    with pytest.raises(TypeError, match="expected compile as True, False or a backend's name; got 2"):
        fit(compile=2)
