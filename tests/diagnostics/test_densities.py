"""ArviZ's groups, leave-one-out and importance sampling hold the same log-joint at the same draws."""

import warnings

import numpy as np
import pytest
import torch

import pyro_flows as pf

from ..infer.model.models import CASES
from ..infer.model.test_joint import by_hand, packed, unconstrained_normal

pytest.importorskip("arviz_base", reason="ArviZ's containers")
DRAWS = 100  # the fewest that leave-one-out takes


@pytest.fixture(scope="module", params=CASES)
def weighed(request):
    case = CASES[request.param]
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that draws run one by one, or that the model raised at some
        guide = unconstrained_normal(packed(case.model))
        result = pf.infer.importance(case.model, guide, num_samples=DRAWS)
        return case, result, pf.diagnostics.to_arviz(result)


def total(idata, group):
    parts = idata[group].data_vars.values() if group in idata else ()
    return sum(part.values.astype(float).reshape(DRAWS, -1).sum(-1) for part in parts)


def test_arviz_has_the_log_joint(weighed):
    case, result, idata = weighed
    lp = idata["sample_stats"]["lp"].values[0]
    np.testing.assert_allclose(lp, by_hand(case, result.evaluation.values), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(lp, result.evaluation.log_p)
    np.testing.assert_allclose(total(idata, "log_prior") + total(idata, "log_likelihood"), lp, rtol=1e-6)
    log_weight = idata["sample_stats"]["log_weight"].values[0]
    np.testing.assert_array_equal(log_weight, lp - idata["sample_stats"]["log_q"].values[0])


def test_leave_one_out_has_the_log_likelihood(weighed):
    _, result, idata = weighed
    if "log_likelihood" not in idata:
        pytest.skip("the model observes nothing")
    for site, scores in idata["log_likelihood"].data_vars.items():
        columns = torch.as_tensor(scores.values[0]).double().reshape(DRAWS, -1)
        if columns.shape[1] < 2 or not columns.isfinite().all():
            continue
        found = pf.diagnostics.loo(result, site)
        scale = result.evaluation.scales.get(site, 1.0)  # an observation is left out with it
        for column, got in zip(columns.T, found.pointwise[found.counted], strict=True):
            smoothed = pf.infer.psis(result.log_weights - column)
            assert float(got) == pytest.approx(
                float((smoothed.log_weights + column / scale).logsumexp(0)), abs=1e-9
            )
