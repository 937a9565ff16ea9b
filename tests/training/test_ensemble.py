"""Fitting an ensemble."""

import pytest
import torch

import pyro_flows as pf

DATA = torch.randn(120, 2, generator=torch.Generator().manual_seed(1)) * 3 + 40
OPTIONS = {"epochs": 2, "batch_size": 40, "progress": False}


def ensemble(count=2):
    torch.manual_seed(0)
    return pf.Ensemble([pf.Flow(pf.real_nvp(2, depth=1, hidden=(8,))) for _ in range(count)])


def test_each_flow_is_fitted_from_a_seed_of_its_own():
    flows = ensemble()
    histories = pf.fit_ensemble(flows, DATA, seed=5, **OPTIONS)
    assert [len(history.train_loss) for history in histories] == [2, 2]
    alone = ensemble()
    for k, flow in enumerate(alone.flows):
        pf.fit(flow, DATA, seed=5 + k, **OPTIONS)
    assert torch.equal(flows().log_prob(DATA), alone().log_prob(DATA))
    assert not torch.equal(*(flow.units.loc for flow in flows.flows))  # other rows were held out
    assert not flows.flows[0].training


def test_the_mixture_scores_better_than_its_members_do_in_the_mean():
    flows = ensemble(3)
    pf.fit_ensemble(flows, DATA, **OPTIONS)
    with torch.no_grad():
        d = flows()
        assert float(d.log_prob(DATA).mean()) > float(d.log_probs(DATA).mean())


def test_an_interrupted_run_goes_on(tmp_path):
    path = tmp_path / "run.pt"
    flows = ensemble()
    pf.fit_ensemble(flows, DATA, checkpoint=path, **OPTIONS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.pt.0", "run.pt.1"]
    (tmp_path / "run.pt.1").unlink()
    again = ensemble()
    pf.fit_ensemble(again, DATA, checkpoint=path, **OPTIONS)
    assert torch.equal(again().log_prob(DATA), flows().log_prob(DATA))


def test_settings_and_keywords_of_fit_are_passed_on():
    flows = pf.Ensemble([pf.Flow(pf.real_nvp(2, depth=1, hidden=(8,), context_dim=1)) for _ in range(2)])
    settings = pf.training.Settings(seed=3, **OPTIONS)
    histories = pf.fit_ensemble(flows, DATA, context=DATA[:, :1], validation=0, settings=settings, epochs=1)
    assert [(len(h.train_loss), h.val_loss) for h in histories] == [(1, [])] * 2


def test_errors():
    with pytest.raises(TypeError, match="expected an Ensemble; got Flow"):
        pf.fit_ensemble(pf.Flow(pf.planar(2)), DATA)
    with pytest.raises(TypeError, match=r"expected settings among .*; got epoch"):
        pf.fit_ensemble(ensemble(), DATA, epoch=3)
