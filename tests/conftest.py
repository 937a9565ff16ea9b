import pyro
import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _fixed_state():
    """Every test starts from the same seed, an empty parameter store and the default dtype."""
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(torch.float32)
