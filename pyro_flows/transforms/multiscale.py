"""The multiscale architecture: each scale leaves half of its channels to the noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from ..transform import FlowTransform

__all__ = ["Multiscale"]


class Multiscale(FlowTransform):
    r"""h⁰ = y; (hˡ, z_l) = f_l⁻¹(hˡ⁻¹) by halves of the channels; x = (z_1, …, z_L) flattened.

    Each scale but the last keeps the first half of its channels for the next scale and leaves the
    other half to the noise; the last one leaves everything. z_1 is the finest detail, z_L the
    coarsest. The base side is the flat vector of all latents, the data side the image.

    Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP", 2017, arXiv:1605.08803,
    section 3.6.

    Args:
        scales: transforms of images with known shapes, finest first; each maps (base → data) the channels
            of the next scale's image and of its own latent together.

    Raises:
        ValueError: if shapes do not fit, or channels cannot be halved.

    Example:
        >>> import torch, pyro_flows as pf
        >>> scales = [pf.transforms.Squeeze((1, 8, 8)), pf.transforms.Squeeze((2, 4, 4))]
        >>> multiscale = pf.transforms.Multiscale(scales)
        >>> x = multiscale.inv(torch.randn(5, 1, 8, 8))
        >>> x.shape, [z.shape for z in multiscale.split(x)]
        (torch.Size([5, 64]), [torch.Size([5, 2, 4, 4]), torch.Size([5, 8, 2, 2])])
    """

    domain = constraints.real_vector
    codomain = constraints.independent(constraints.real, 3)

    def __init__(self, scales: Sequence[FlowTransform]) -> None:
        super().__init__()
        self.scales = nn.ModuleList(scales)
        if not scales:
            raise ValueError("expected at least one scale; got none")
        shapes = [(scale.domain_shape, scale.codomain_shape) for scale in scales]
        self.latent_shapes: list[Size] = []
        for (inner, _), (_, following) in pairwise(shapes):
            if inner is None or len(inner) != 3 or inner[0] < 2:
                raise ValueError(f"expected scales of images with channels to halve; got shape {inner}")
            kept = Size([inner[0] - inner[0] // 2, *inner[1:]])
            if following != kept:
                raise ValueError(f"expected the next scale to take images of {tuple(kept)}; got {following}")
            self.latent_shapes.append(Size([inner[0] // 2, *inner[1:]]))
        last, first = shapes[-1][0], shapes[0][1]
        if last is None or first is None:
            raise ValueError("expected scales that tell their shapes; got one that takes any")
        self.latent_shapes.append(last)
        self.codomain_shape = first
        self.domain_shape = Size([sum(shape.numel() for shape in self.latent_shapes)])
        contexts = {scale.context_shape for scale in scales if scale.context_shape is not None}
        if len(contexts) > 1:
            raise ValueError(f"expected scales with one context shape; got {contexts}")
        self.context_shape = contexts.pop() if contexts else None

    def split(self, x: Tensor) -> list[Tensor]:
        """Return the latents of x by scale, finest first, each of shape (*batch, *latent_shapes[l])."""
        self._check(x.shape, self.domain_shape, 1)
        flat = x.split([shape.numel() for shape in self.latent_shapes], -1)
        return [z.unflatten(-1, shape) for z, shape in zip(flat, self.latent_shapes, strict=True)]

    def join(self, latents: Sequence[Tensor]) -> Tensor:
        """Return the base-side vector of these latents: the inverse of `split`."""
        batch = torch.broadcast_shapes(*(z.shape[:-3] for z in latents))
        return torch.cat([z.expand(batch + z.shape[-3:]).flatten(-3) for z in latents], -1)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the image and the sum of the scales' log-dets."""
        *finer, y = self.split(x)
        total: Tensor | None = None
        for scale, last in reversed(list(self.from_data())):
            y = y if last else self._together(y, finer.pop())
            y, log_det = scale.forward_and_log_det(y, scale.routed(context))
            total = log_det if total is None else total + log_det
        return y, cast(Tensor, total)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the latents as one vector and the sum of the scales' inverse log-dets."""
        self._check(y.shape, self.codomain_shape, 3)
        latents: list[Tensor] = []
        total: Tensor | None = None
        h = y
        for scale, last in self.from_data():
            h, log_det = scale.inverse_and_log_det(h, scale.routed(context))
            total = log_det if total is None else total + log_det
            h, latent = (h, h) if last else self.halve(h)
            latents.append(latent)
        return self.join(latents), cast(Tensor, total)

    def from_data(self) -> Iterator[tuple[FlowTransform, bool]]:
        """Yield each scale, the finest first, and whether it is the last."""
        for i, scale in enumerate(self.scales, 1):
            yield cast(FlowTransform, scale), i == len(self.scales)

    @staticmethod
    def halve(h: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channels that the next scale gets, and those that are left to the noise."""
        channels = h.shape[-3]
        kept, latent = h.split([channels - channels // 2, channels // 2], -3)
        return kept, latent

    @staticmethod
    def _together(kept: Tensor, latent: Tensor) -> Tensor:
        return torch.cat((kept, latent.expand(kept.shape[:-3] + latent.shape[-3:])), -3)
