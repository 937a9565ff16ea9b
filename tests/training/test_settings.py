"""`fit`'s settings: an object or keywords; optimisers and weight decay."""

import math

import numpy as np
import pytest
import torch

import pyro_flows as pf
from pyro_flows.training import Settings

from ..loop.test_checkpoint import load
from .test_resume import kept_checkpoints

DATA = torch.randn(60, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(5)) * 2 + 1
FLAT = {"schedule": lambda progress: 1.0, "clip": math.inf, "validation": 0, "units": False}


def flow():
    torch.manual_seed(1)
    return pf.Flow(pf.real_nvp(2, depth=2, hidden=(8,))).double()


def fit(made, **options):
    return pf.fit(made, DATA, **{"epochs": 2, "batch_size": 20, "progress": False} | options)


def by_hand(optimizer, steps):
    """Take full-batch steps of −mean log p in a plain loop."""
    made = flow()
    stepper = optimizer(list(made.parameters()))
    for _ in range(steps):
        stepper.zero_grad()
        (-made().log_prob(DATA).mean()).backward()
        stepper.step()
    return made


OPTIMISERS = {
    "weight decay": (
        {"weight_decay": 0.5, "learning_rate": 0.01},
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.5),
    ),
    "no decay": ({"learning_rate": 0.01}, lambda p: torch.optim.Adam(p, lr=0.01)),
    "plain SGD": (
        {"optimizer": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)},
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    ),
    "fused SGD": (
        {"optimizer": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True)},
        lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
    ),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_step_as_in_a_loop_of_ones_own(name):
    options, optimizer = OPTIMISERS[name]
    made = flow()
    fit(made, epochs=4, batch_size=60, **FLAT, **options)
    for mine, theirs in zip(made.parameters(), by_hand(optimizer, 4).parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["weight decay", "plain SGD", "fused SGD"])
def test_a_resumed_run_ends_with_the_same_bits(name, tmp_path):
    options = OPTIMISERS[name][0] | {"checkpoint_every": 0.0}
    whole = flow()
    with kept_checkpoints(tmp_path) as paths:
        fit(whole, checkpoint=tmp_path / "run", **options)
    again = flow()
    fit(again, checkpoint=paths[3], **options)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_another_optimiser_is_another_run(tmp_path):
    def sgd(**options):
        return lambda p: torch.optim.SGD(p, **{"lr": 0.01} | options)

    fit(flow(), checkpoint=tmp_path / "run", optimizer=sgd())
    for other in (sgd(lr=0.1), sgd(momentum=0.5), lambda p: torch.optim.Adam(p, lr=0.01), None):
        with pytest.raises(ValueError, match=r"of another run: expected optimizer SGD"):
            fit(flow(), checkpoint=tmp_path / "run", optimizer=other)
    fit(flow(), checkpoint=tmp_path / "decay", weight_decay=0.1)
    with pytest.raises(ValueError, match=r"of another run: expected weight_decay 0.1; got 0.0"):
        fit(flow(), checkpoint=tmp_path / "decay")


def test_settings_as_an_object_keywords_or_both():
    results = []
    for options in (
        {"epochs": 3, "learning_rate": 0.01},
        {"settings": Settings(epochs=3, batch_size=20, learning_rate=0.01, progress=False)},
        {"settings": Settings(epochs=7, learning_rate=0.01), "epochs": 3},
    ):
        results.append(fit(flow(), **{"epochs": 3} | options).train_loss)
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == 3


class FastLoss:
    """−log p, which asks for a learning rate of its own."""

    learning_rate = 0.01

    def __call__(self, flow, x, context=None):
        return -flow(context).log_prob(x)


def test_a_loss_may_bring_its_learning_rate():
    asked = fit(flow(), epochs=2, loss=FastLoss()).train_loss
    assert asked == fit(flow(), epochs=2, learning_rate=0.01).train_loss
    told = fit(flow(), epochs=2, loss=FastLoss(), learning_rate=1e-3).train_loss
    assert told == fit(flow(), epochs=2).train_loss != asked
    ode = pf.ffjord(2, solver=pf.ode.RungeKutta(2))
    assert Settings().rate_for(pf.training.FlowMatching(), ode) == 5e-3
    assert Settings(learning_rate=0.1).rate_for(pf.training.FlowMatching(), ode) == 0.1


def test_layers_may_bring_a_learning_rate():
    ode, couplings = pf.ffjord(2, solver=pf.ode.RungeKutta(2)), pf.real_nvp(2, depth=2)
    fixed = pf.transforms.Permutation(torch.tensor([1, 0]))
    loss = pf.training.negative_log_likelihood
    for transform, rate in (
        (ode, 5e-3),
        (couplings, 1e-3),
        (pf.transforms.Chain([ode, fixed]), 5e-3),
        (pf.transforms.Chain([pf.transforms.Chain([ode]), fixed]).inv, 5e-3),
        (ode.inv, 5e-3),
        (pf.transforms.Chain([ode, *couplings]), 1e-3),
        (fixed, 1e-3),
    ):
        assert Settings().rate_for(loss, transform) == rate
    assert Settings().rate_for(FastLoss(), ode) == 0.01


BAD = {
    "no settings": ({"settings": {"epochs": 3}}, TypeError, "expected settings as Settings; got dict"),
    "unknown": ({"epoch": 3}, TypeError, "expected settings among epochs, .*; got epoch"),
    "decay": ({"weight_decay": -1.0}, ValueError, "expected weight_decay ≥ 0; got -1.0"),
    "decay beside": (
        {"weight_decay": 0.1, "optimizer": torch.optim.SGD},
        ValueError,
        "expected learning_rate and weight_decay inside `optimizer`",
    ),
    "rate beside": (
        {"learning_rate": 0.1, "optimizer": torch.optim.SGD},
        ValueError,
        "expected learning_rate and weight_decay inside `optimizer`",
    ),
    "no optimiser": (
        {"optimizer": lambda p: torch.optim.SGD},
        TypeError,
        "expected `optimizer` to return a torch optimiser; got type",
    ),
    "truth": ({"epochs": True}, TypeError, "expected epochs as an integer; got True"),
    "real epochs": (
        {"epochs": np.float64(3)},
        TypeError,
        r"expected epochs as an integer; got np.float64\(3.0\)",
    ),
    "no batch size": ({"batch_size": None}, TypeError, "expected batch_size as an integer; got None"),
    "no seed": ({"seed": None}, TypeError, "expected seed as an integer; got None"),
    "text rate": ({"learning_rate": "1e-3"}, TypeError, "expected learning_rate as a number; got '1e-3'"),
    "infinite rate": ({"learning_rate": math.inf}, ValueError, "expected a finite learning_rate; got inf"),
    "no number": ({"learning_rate": math.nan}, ValueError, "expected learning_rate > 0; got nan"),
    "text clip": ({"clip": "5"}, TypeError, "expected clip as a number; got '5'"),
    "infinite decay": ({"weight_decay": math.inf}, ValueError, "expected a finite weight_decay; got inf"),
    "text average": ({"ema": "0.9"}, TypeError, "expected ema as a number; got '0.9'"),
    "seconds": ({"checkpoint_every": -1}, ValueError, "expected checkpoint_every ≥ 0; got -1.0"),
    "flat schedule": ({"schedule": 1.0}, TypeError, "expected schedule as a function; got 1.0"),
    "augment": ({"augment": True}, TypeError, "expected augment as a function; got True"),
    "loss": ({"loss": "nll"}, TypeError, "expected loss as a function of flow, rows and context; got 'nll'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings(name):
    options, error, message = BAD[name]
    with pytest.raises(error, match=message):
        fit(flow(), **options)


def test_numbers_of_numpy_are_python_s(tmp_path):
    plain = {"epochs": 2, "batch_size": 20, "seed": 3, "learning_rate": 0.25, "clip": 1.0, "validation": 0.25}
    theirs = {
        "epochs": np.int64(2),
        "batch_size": torch.tensor(20),
        "seed": np.uint32(3),
        "learning_rate": np.float32(0.25),
        "clip": np.int8(1),
        "validation": np.float32(0.25),
    }
    history = fit(flow(), **plain)
    assert fit(flow(), checkpoint=tmp_path / "run", **theirs).val_loss == history.val_loss
    assert fit(flow(), checkpoint=tmp_path / "run", **plain).val_loss == history.val_loss  # the same run
    settings = pf.infer.VISettings(steps=np.int32(7), seed=np.int64(1), tolerance=np.float32(0.5))
    assert [type(v) for v in (settings.steps, settings.seed, settings.tolerance)] == [int, int, float]
    settings = pf.infer.MCMCSettings(num_chains=np.int64(8), warmup_steps=np.int64(0), seed=np.int64(1))
    assert [type(v) for v in (settings.num_chains, settings.warmup_steps, settings.seed)] == [int] * 3
    with pytest.raises(TypeError, match="expected learning_rate as a number; got '1e-3'"):
        pf.infer.VISettings(learning_rate="1e-3")


@pytest.mark.parametrize("fused", [True, False])
def test_a_non_finite_gradient_stops_any_optimiser(fused):
    made = flow()
    with pytest.raises(pf.training.NonFiniteLoss, match="smaller learning_rate"):
        fit(made, validation=0, optimizer=lambda p: torch.optim.SGD(p, lr=1e30, fused=fused))
    assert bool(made().log_prob(DATA).isfinite().all())


def test_scalar_losses_are_refused():
    """They trained on one loss and validated on another."""
    with pytest.raises(ValueError, match=r"one a row, of shape \(20,\); got \(\)"):
        fit(flow(), loss=lambda made, x, context: -made(context).log_prob(x).mean())


def test_best_epoch_counts_from_one_as_plots_do(tmp_path):
    made = flow()
    history = fit(made, epochs=4, checkpoint=tmp_path / "run")
    assert history.val_loss[history.best_epoch - 1] == min(history.val_loss) == history.best_loss
    assert (
        load(tmp_path / "run", kind="training run", version=2)["history"]["best_epoch"] == history.best_epoch
    )
    pytest.importorskip("matplotlib")
    labels = [line.get_label() for line in pf.plotting.loss_curve(history).axes[0].lines]
    assert any(label.endswith(f"epoch {history.best_epoch}") for label in labels)
