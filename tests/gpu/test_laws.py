"""The laws on CUDA, and no operation that waits for the GPU."""

from dataclasses import replace

import pytest
import torch

from pyro_flows.testing.laws import LAWS, applies, devices

from ..cases.registry import CASES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
READS = "scoring_reads_nothing", "sampling_reads_nothing"
OTHERS = [
    law
    for law, function in LAWS.items()
    if law not in (*READS, "placement") and not function.__module__.endswith((".tracing", ".in_pyro"))
]


@pytest.fixture(autouse=True)
def _exact():
    """Matrix products are float32's."""
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


def _each(laws):
    return [
        pytest.param(LAWS[law], case, id=f"{law}-{name}")
        for law in laws
        for name, case in CASES.items()
        if applies(law, case)
    ]


@pytest.mark.parametrize(("law", "case"), _each(OTHERS))
def test_law(law, case):
    law(replace(case, device="cuda"))


@pytest.mark.parametrize(("law", "case"), _each(READS))
def test_waits_for_nothing(law, case, monkeypatch):
    """12. Nothing makes the host wait for the GPU, as CUDA itself sees it."""
    monkeypatch.setattr(devices, "Reads", NoWaits)
    law(replace(case, device="cuda"))


class NoWaits:
    """Raises when an operation waits for the device."""

    found = ()

    def __enter__(self):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        return self

    def __exit__(self, *_):
        torch.cuda.set_sync_debug_mode("default")
