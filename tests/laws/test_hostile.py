"""Values up to a million, of any batch shape, through every case: finite, and rows apart."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_flows.testing.laws.numbers import is_unbounded

from ..cases.registry import CASES

UNBOUNDED = [name for name, case in CASES.items() if is_unbounded(case.example)]
batches = st.lists(st.integers(0, 3), max_size=3).map(tuple)
values = st.floats(-1e6, 1e6, width=32)


@pytest.mark.parametrize("name", UNBOUNDED)
@settings(deadline=None, derandomize=True, max_examples=15)
@given(batch=batches, value=values, size=values, seed=st.integers(0, 9))
def test_values_up_to_a_million_stay_finite(name, batch, value, size, seed):
    case, t = CASES[name], CASES[name].example
    if "empty_batch" in case.outside and 0 in batch:
        batch = ()
    generator = torch.Generator().manual_seed(seed)
    y = value + size * (torch.rand((*batch, *case.data_event()), generator=generator) - 0.5)
    t = case.bound(t, batch)
    x, log_det = t.inverse_and_log_det(y)
    assert x.shape == (*batch, *case.event)
    assert log_det.shape == batch
    assert x.isfinite().all()
    assert log_det.isfinite().all()
