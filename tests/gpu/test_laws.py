"""The laws on CUDA, and no operation that waits for the GPU."""

import pytest
import torch

from ..cases.case import on
from ..cases.registry import CASES
from ..laws import core as laws
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
    "case",
    [
        pytest.param(case, id=name)
        for name, case in CASES.items()
        if _applies(laws.placement, case) and "reads" not in case.outside
    ],
)
def test_waits_for_nothing(case):
    """12. Scoring, sampling and their backward passes never make the host wait for the GPU."""
    t = case.build()
    flow = case.flow(t)
    context = case.context_of()
    batch = () if context is not None else (5,)
    y = flow(context).sample(batch)
    flow(context).log_prob(y)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        z = flow(context).rsample(batch)
        total = flow(context).log_prob(z).sum() + flow(context).log_prob(y.view_as(y)).sum()
        if total.requires_grad:
            total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
