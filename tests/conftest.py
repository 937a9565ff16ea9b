import warnings
from importlib.metadata import PackageNotFoundError, version

import pyro
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
# The same examples in each run; `--hypothesis-profile=random` looks for others.
settings.register_profile("fixed", derandomize=True)
settings.register_profile("random", derandomize=False)
settings.load_profile("fixed")


def pytest_configure(config):
    """Import ArviZ 0.x before workers do: they race for a file that its first import of a day writes."""
    starts_workers = getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput")
    try:
        if starts_workers and version("arviz").startswith("0."):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import arviz  # noqa: F401
    except PackageNotFoundError:
        pass


@pytest.fixture(autouse=True)
def _fixed_state():
    """Every test starts from the same seed, an empty parameter store and the default dtype."""
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(torch.float32)
