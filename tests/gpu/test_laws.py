"""The laws on CUDA, and no operation that waits for the GPU."""

import pytest
import torch

from ..cases.case import on
from ..cases.registry import CASES
from ..laws import core as laws
from ..laws import reads
from ..laws.test_laws import _applies

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def _cuda():
    """Cases are built on the GPU, and matrix products are float32's."""
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with on("cuda"):
        yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


@pytest.mark.parametrize(
    ("law", "case"),
    [
        pytest.param(law, case, id=f"{law.__name__}-{name}")
        for law in laws.LAWS
        if law is not laws.placement
        for name, case in CASES.items()
        if _applies(law, case)
    ],
)
def test_law(law, case):
    law(case)


@pytest.mark.parametrize(
    ("law", "case"),
    [
        pytest.param(law, case, id=f"{law.__name__}-{name}")
        for law in reads.LAWS
        for name, case in CASES.items()
        if _applies(law, case)
    ],
)
def test_waits_for_nothing(law, case, monkeypatch):
    """12. Nothing makes the host wait for the GPU, as CUDA itself sees it."""
    monkeypatch.setattr(reads, "Reads", NoWaits)
    law(case)


class NoWaits:
    """Raises when an operation waits for the device."""

    found = ()

    def __enter__(self):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        return self

    def __exit__(self, *_):
        torch.cuda.set_sync_debug_mode("default")
