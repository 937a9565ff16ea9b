"""Memory modes: the same values, gradients and statistics as plain, and little kept for the backward pass."""

import copy
import pickle

import pyro
import pytest
import torch
from torch import nn

import pyro_flows as pf
from pyro_flows import transforms as tr
from pyro_flows.nn import MLP, RunningMoments
from pyro_flows.testing import perturb
from pyro_flows.testing.counting import counted

from ..cases.registry import CASES
from ..helpers.ranks import two_ranks

MODES = {
    "checkpointed": {"memory": "checkpointed"},
    "reversible": {"memory": "reversible", "every": 0},
    "reversible-2": {"memory": "reversible", "every": 2},
}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


class NormedNet(nn.Module):
    """A conditioner with a batch norm of its own: ours, or torch's."""

    def __init__(self, inputs, outputs, width=6, norm="ours"):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, outputs)
        self.norm = RunningMoments(width, 0.5) if norm == "ours" else nn.BatchNorm1d(width)

    def forward(self, x):
        h = self.first(x)
        if isinstance(self.norm, RunningMoments):
            mean, variance = self.norm(h)
            h = (h - mean) * (variance + 1e-5).rsqrt()
        else:
            h = self.norm(h)
        return self.last(h.tanh())


def couplings(count, net=lambda i: MLP(2 - i % 2, 2 * (1 + i % 2), (6,), activation=nn.Tanh)):
    halves = [pf.partitions.Halves(3, swap=i % 2 == 1) for i in range(count)]
    return [tr.Coupling(halves[i], pf.elementwise.Affine(), net(i)) for i in range(count)]


def normed(norm):
    return couplings(4, lambda i: NormedNet(2 - i % 2, 2 * (1 + i % 2), norm=norm))


def shared():
    layers, twice = couplings(3), couplings(1)[0]
    norm = tr.BatchNorm(3)
    return [twice, norm, layers[0], layers[1], twice, norm, layers[2]]


BUILD = {
    "couplings": lambda: pf.Chain(couplings(5)),
    "batch norm": lambda: pf.real_nvp(3, depth=5, hidden=(6,), activation=nn.Tanh, norm=tr.BatchNorm),
    "act norm": lambda: pf.real_nvp(3, depth=5, hidden=(6,), activation=nn.Tanh, norm=tr.ActNorm),
    "batch norm in nets": lambda: pf.Chain(normed("ours")),
    "torch's batch norm in nets": lambda: pf.Chain(normed("torch")),
    "layers used twice": lambda: pf.Chain(shared()),
    "dropout": lambda: pf.Chain(
        couplings(3, lambda i: nn.Sequential(nn.Dropout(0.3), nn.Linear(2 - i % 2, 2 * (1 + i % 2))))
    ),
    "permutations": lambda: pf.Chain([tr.reverse(3), *couplings(2), tr.reverse(3), *couplings(1)]),
    "residual blocks": lambda: pf.residual(3, depth=3, hidden=(6, 6)),
    "nested": lambda: pf.Chain([pf.Chain(couplings(3)), tr.DiagonalScaling(3), pf.Chain(couplings(2)).inv]),
}


def build(name, mode=None, context_dim=0):
    torch.manual_seed(0)
    chain = BUILD[name]().double()
    if name not in ("batch norm", "act norm"):
        perturb(chain)
    return pf.save_memory(chain, **mode) if mode else chain


def outcome(chain, run):
    """What `run(chain)` returns, every gradient, and the state after it."""
    torch.manual_seed(1)
    loss, inputs = run(chain)
    loss.backward()
    gradients = {name: p.grad for name, p in chain.named_parameters()}
    return loss, [x.grad for x in inputs], gradients, dict(chain.state_dict())


def scored(chain):
    y = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    x, log_det = chain.inverse_and_log_det(y)
    weight = torch.randn(7, 3, dtype=torch.float64)
    return (x * weight).sum() + (x**2).sum() - log_det.mean(), [y]


def sampled(chain):
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    y, log_det = chain.forward_and_log_det(x)
    return (y**2).sum() - log_det.mean(), [x]


def scored_twice(chain):
    one, inputs = scored(chain)
    two, more = scored(chain)
    return one + two, inputs + more


def sampled_and_scored(chain):
    chain.inverse_and_log_det(torch.randn(7, 3, dtype=torch.float64))  # act norm's first batch
    one, inputs = sampled(chain)
    two, more = scored(chain)
    return one * two, inputs + more


def log_dets_only(chain):
    y = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    return chain.inverse_and_log_det(y)[1].sum(), [y]


def data(chain):
    return chain.inverse_and_log_det(torch.randn(7, 3, dtype=torch.float64))[0].square().sum(), []


RUNS = [scored, sampled, scored_twice, sampled_and_scored, log_dets_only, data]


@every_mode
@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.__name__)
def test_equals_plain(name, run, mode):
    wanted = outcome(build(name), run)
    found = outcome(build(name, mode), run)
    torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-9)


NAMED = [
    "real-nvp-context",
    "chain-context",
    "inverse-context",
    "bound-in-chain",
    "chain-image",
    "chain-mixed",
]


@every_mode
@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("forward", [True, False], ids=["sample", "score"])
def test_cases_with_context_images_and_others_transforms(name, mode, forward):
    def gradients(memory):
        case = CASES[name]
        t = case.build(torch.float64)
        torch.manual_seed(2)
        # The context has more batch dimensions than the value.
        context = None if case.context is None else torch.randn(4, 3, *case.context, dtype=torch.float64)
        x = case.noise(t, (3,), torch.float64)
        y = x if forward else t.forward_and_log_det(x, context)[0].detach()
        leaves = [
            v.requires_grad_() for v in (y if context is None or forward else y[0], context) if v is not None
        ]
        if memory:
            pf.save_memory(t, **memory)
        run = t.forward_and_log_det if forward else t.inverse_and_log_det
        value, log_det = run(*leaves)
        (value.square().sum() + log_det.sin().sum()).backward()
        return value, log_det, [v.grad for v in leaves], [p.grad for p in t.parameters()]

    torch.testing.assert_close(gradients(mode), gradients(None), atol=1e-8, rtol=1e-8)


@every_mode
@pytest.mark.parametrize("name", ["glow", "real-nvp-image"])
def test_families_of_images(name, mode):
    def gradients(memory):
        t = CASES[name].build(torch.float64, training=True)
        if memory:
            pf.save_memory(t, **memory)
        torch.manual_seed(3)
        y = torch.randn(4, *CASES[name].data_event(), dtype=torch.float64)
        x, log_det = t.inverse_and_log_det(y)
        z, other = t.forward_and_log_det(torch.randn_like(x))
        (x.square().sum() - log_det.sum() + z.square().mean() + other.sum()).backward()
        return {n: p.grad for n, p in t.named_parameters()}, t.state_dict()

    torch.testing.assert_close(gradients(mode), gradients(None), atol=1e-7, rtol=1e-7)


def saved_bytes(run):
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = run()
    del result
    return kept


def test_keeps_little_and_reversible_no_more_with_depth():
    def kept(depth, memory, every=8):
        chain = pf.save_memory(pf.Chain(couplings(depth)), memory, every=every)
        parameters = {p.untyped_storage().data_ptr() for p in chain.parameters()}
        y = torch.randn(1000, 3)
        seen = saved_bytes(lambda: chain.inverse_and_log_det(y))
        return sum(storage.nbytes() for address, storage in seen.items() if address not in parameters)

    row = 1000 * 3 * 4
    assert kept(16, "plain") > 16 * 4 * row
    assert kept(16, "checkpointed") <= 11 * row  # each layer adds the half that moves: here one or two thirds
    assert kept(16, "reversible") == 2 * row
    assert kept(8, "reversible", 0) == kept(64, "reversible", 0) == row


def test_a_conditioner_runs_twice_in_a_step():
    for mode in MODES.values():
        chain = pf.save_memory(pf.Chain(couplings(4)), **mode)
        nets = counted(chain, tr.Coupling)
        loss = chain.inverse_and_log_det(torch.randn(5, 3))[1].sum()
        assert [net.take() for net in nets] == [1] * 4
        loss.backward()
        assert [net.take() for net in nets] == [1] * 4
        with torch.no_grad():
            chain.inverse_and_log_det(torch.randn(5, 3))
        assert [net.take() for net in nets] == [1] * 4


@every_mode
def test_statistics_are_committed_once(mode):
    norm = tr.BatchNorm(3, decay=0.5).double()
    chain = pf.save_memory(pf.Chain([*couplings(2), norm]), **mode).double()
    y = torch.randn(9, 3, dtype=torch.float64)
    loss = chain.inverse_and_log_det(y)[0].sum()
    after = {name: value.clone() for name, value in norm.state_dict().items()}
    torch.testing.assert_close(after["moments.mean"], y.mean(0))
    assert after["moments.weight"] == 0.5
    loss.backward()
    assert all(torch.equal(after[name], value) for name, value in norm.state_dict().items())


@every_mode
def test_backward_may_be_repeated(mode):
    chain = build("batch norm", mode)
    loss, (y,) = scored(chain)
    one = torch.autograd.grad(loss, y, retain_graph=True)
    two = torch.autograd.grad(loss, y)
    torch.testing.assert_close(one, two)


@every_mode
@pytest.mark.parametrize("fused", [False, True])
def test_parameters_changed_before_backward_are_an_error(mode, fused):
    chain = build("couplings", mode)
    optimiser = torch.optim.Adam(chain.parameters(), fused=fused)
    other = torch.optim.Adam([torch.ones(2, requires_grad=True)], fused=True)
    scored(chain)[0].backward()
    loss, _ = scored(chain)
    other.param_groups[0]["params"][0].grad = torch.ones(2)
    other.step()  # of no concern
    loss.backward(retain_graph=True)
    optimiser.step()
    with pytest.raises(RuntimeError, match="expected the parameters and the mode of Coupling as they were"):
        loss.backward()


@every_mode
def test_a_changed_mode_is_an_error(mode):
    chain = build("batch norm", mode)
    loss, _ = scored(chain)
    chain.eval()
    with pytest.raises(RuntimeError, match="got others"):
        loss.backward()


def test_double_backward():
    def penalty(chain):
        loss, (y,) = scored(chain)
        (slope,) = torch.autograd.grad(loss, y, create_graph=True)
        return slope.square().sum() + loss, [y]

    for name in ("couplings", "layers used twice", "batch norm in nets"):
        wanted = outcome(build(name), penalty)
        torch.testing.assert_close(outcome(build(name, MODES["checkpointed"]), penalty), wanted)
        with pytest.raises(RuntimeError, match="create_graph=True"):
            penalty(build(name, MODES["reversible"]))


def test_buffers_that_change_otherwise_are_an_error():
    def net(i):
        return nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Linear(2 - i % 2, 4)), nn.Linear(4, 2 + 2 * (i % 2))
        )

    chain = pf.save_memory(pf.Chain(couplings(2, net)))
    with pytest.raises(ValueError, match="change no buffers but batch norms'"):
        chain.inverse_and_log_det(torch.randn(5, 3))


@every_mode
def test_mixed_precision(mode):
    def gradients(memory, again=True):
        torch.manual_seed(0)
        chain = pf.Chain(couplings(4))
        perturb(chain)
        if memory:
            pf.save_memory(chain, **memory)
        y = torch.randn(50, 3)
        with torch.autocast("cpu", torch.bfloat16):
            x, log_det = chain.inverse_and_log_det(y)
            seen = chain[0].conditioner(y[:, :2])  # a weight used with and without a graph in one autocast
        (x.square().sum() - log_det.sum() + again * seen.float().square().sum()).backward()
        return [p.grad for p in chain.parameters()]

    plain = gradients(None)
    scale = torch.cat([g.flatten() for g in plain]).abs().max()
    for a, b in zip(gradients(mode), plain, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).abs().max() < 0.02 * scale
    if mode["memory"] == "checkpointed":
        torch.testing.assert_close(gradients(mode, again=False), gradients(None, again=False))


@every_mode
def test_compiled_and_functorch_fall_back_to_plain(mode):
    chain, y = build("couplings", mode), torch.randn(4, 3, dtype=torch.float64)

    def log_det(y):
        return chain.inverse_and_log_det(y)[1]

    wanted = log_det(y)
    torch.testing.assert_close(torch.compile(log_det, fullgraph=True, backend="aot_eager")(y), wanted)
    torch.testing.assert_close(torch.vmap(log_det)(y), wanted)
    slope = torch.func.grad(lambda y: log_det(y).sum())(y)
    leaf = y.clone().requires_grad_()
    torch.testing.assert_close(slope, torch.autograd.grad(log_det(leaf).sum(), leaf)[0])


@every_mode
def test_copies_keep_the_mode(mode):
    chain = build("nested", mode)
    for new in (copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):
        assert new.memory == new[0].memory == new[2].transform.memory == mode["memory"]
        torch.testing.assert_close(outcome(new, scored), outcome(build("nested"), scored))


@every_mode
def test_a_guide_in_svi(mode):
    def model():
        pyro.sample("z", pyro.distributions.Normal(torch.ones(3), 0.5).to_event(1))

    def losses(memory):
        pyro.clear_param_store()
        pyro.set_rng_seed(0)
        flow = pf.Flow(pf.Chain(couplings(4)))
        if memory:
            pf.save_memory(flow, **memory)

        def guide():
            pyro.module("flow", flow)
            pyro.sample("z", flow())

        optimiser = pyro.optim.Adam({"lr": 1e-2})
        svi = pyro.infer.SVI(model, guide, optimiser, pyro.infer.Trace_ELBO(4, vectorize_particles=True))
        return [svi.step() for _ in range(5)]

    assert losses(mode) == pytest.approx(losses(None), rel=1e-4)


@pytest.mark.parametrize("arguments", [{"memory": "none"}, {"memory": "reversible", "every": -1}])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="expected"):
        pf.save_memory(pf.Chain(couplings(1)), **arguments)


def test_nothing_to_set_is_an_error():
    with pytest.raises(ValueError, match="expected a Chain"):
        pf.save_memory(tr.ActNorm(3), "reversible")


class Loss(nn.Module):
    def __init__(self, chain):
        super().__init__()
        self.chain = chain

    def forward(self, y):
        x, log_det = self.chain.inverse_and_log_det(y)
        return (0.5 * x.square().sum(-1) - log_det).mean()


def _trained(mode, rank=None):
    """Two steps on a batch of eight, or on this rank's half of it; all parameters then."""
    loss = Loss(build("batch norm", mode))
    if rank is not None:
        loss = nn.parallel.DistributedDataParallel(loss, bucket_cap_mb=0.0005)
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.01)
    for y in torch.randn(2, 8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)):
        optimiser.zero_grad()
        loss(y if rank is None else y[rank::2]).backward()
        optimiser.step()
    return torch.cat([p.detach().flatten() for p in loss.parameters()]).tolist()


def _all_trained(rank, modes):
    return [_trained(mode, rank) for mode in modes]


def test_two_ranks_equal_one():
    wanted = pytest.approx(_trained(None), rel=1e-7, abs=1e-9)
    for found in two_ranks(_all_trained, [MODES["checkpointed"], MODES["reversible"]]):
        assert found == wanted
