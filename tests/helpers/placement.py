"""An optimiser for any device."""

from __future__ import annotations

import torch


class AdamAnywhere(torch.optim.Adam):
    """Adam that skips steps on the device, as the fused one does if there are kernels for it."""

    _step_supports_amp_scaling = True

    def __init__(self, parameters):
        super().__init__(parameters, lr=1e-3, foreach=True)

    def step(self):
        scale, skip = self.__dict__.pop("grad_scale"), self.__dict__.pop("found_inf")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad = torch.where(skip > 0, 0.0, parameter.grad / scale)
        super().step()
