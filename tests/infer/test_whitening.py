"""The whitening layer in full precision."""

import pytest
import torch

from pyro_flows.infer.guides.whitening import Whitening


@pytest.mark.parametrize("dense", [False, True])
def test_autocast_does_not_reach_the_map(dense):
    layer = Whitening(3, dense=dense)
    scale = torch.randn(3, 3).tril() + 3 * torch.eye(3)
    layer.place(torch.randn(3) * 100, scale if dense else scale.diagonal())
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    x = torch.randn(5, 3)
    wanted = layer.forward_and_log_det(x)
    back = layer.inverse_and_log_det(wanted[0])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.forward_and_log_det(x)[0], wanted[0])
        assert torch.equal(layer.inverse_and_log_det(wanted[0])[0], back[0])
    torch.testing.assert_close(back[0], x, atol=1e-4, rtol=1e-4)
