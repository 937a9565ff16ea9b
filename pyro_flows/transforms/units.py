"""The data's own units, which a flow is given when it is fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Size, Tensor
from torch.distributions import constraints

from .._tracing import is_traced
from ..transform import FlowTransform

__all__ = ["Units"]


class Units(FlowTransform):
    r"""y = x · σ + μ, log|det dy/dx| = Σ log σ, with fixed μ and σ of an element; the identity until `place`.

    What `pyro_flows.fit` puts between the layers that learn and the data, so that they work at location
    zero and scale one while values and densities are in the units of the data. An image has one μ and one
    σ a channel, as convolutions treat all places alike.

    μ is subtracted in the precision of y; then x has the dtype of the buffers, which is the flow's. μ is
    kept as the sum of two numbers, so that a flow of single precision loses no digits of, say, seconds since
    1970. If single precision cannot hold the data themselves, samples are double.

    Args:
        event_shape: shape of an event, as far as elements have μ and σ of their own.
        event_dim: how many of its dimensions are the event's; all if None.
        dtype: the flow's dtype; torch's default if None.

    Example:
        >>> import torch, pyro_flows as pf
        >>> data = torch.randn(1000, 3) * 50 + 3000
        >>> units = pf.transforms.Units((3,))
        >>> units.place(data.mean(0), data.std(0))
        >>> x = units.inv(data)
        >>> bool((x.mean(0).abs() < 1e-3).all()), bool(units.fitted)
        (True, True)
    """

    loc: Tensor
    rest: Tensor
    scale: Tensor
    fitted: Tensor
    needs_double: Tensor

    def __init__(
        self, event_shape: Sequence[int], *, event_dim: int | None = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        shape = Size(event_shape)
        self._event_dim = len(shape) if event_dim is None else event_dim
        real = constraints.real
        self.domain = self.codomain = (
            constraints.independent(real, self._event_dim) if self._event_dim else real
        )
        self.domain_shape = self.codomain_shape = shape if self._event_dim == len(shape) else None
        self.event_shape = shape
        shape = Size([shape[0], 1, 1]) if len(shape) == 3 else shape
        self.register_buffer("loc", torch.zeros(shape, dtype=dtype))
        self.register_buffer("rest", torch.zeros(shape, dtype=dtype))  # what `loc` rounds away
        self.register_buffer("scale", torch.ones(shape, dtype=dtype))
        self.register_buffer("fitted", torch.zeros((), dtype=torch.bool))
        self.register_buffer("needs_double", torch.zeros((), dtype=torch.bool))
        # What the buffers say, for Python: reading them would wait for the device.
        self._active, self._double, self._log_scale = False, False, 0.0

    @torch.no_grad()
    def place(self, loc: Tensor, scale: Tensor, *, double: bool = False) -> None:
        """Set μ and σ, for good.

        Args:
            loc: μ, which broadcasts to the shape of the buffers.
            scale: σ > 0.
            double: whether the data need double precision.

        Raises:
            ValueError: if a μ is not finite, or a σ is not positive and finite, in the dtype of the buffers.
        """
        loc, scale = (t.detach().cpu().double().expand(self.loc.shape) for t in (loc, scale))
        own = [t.to(self.loc.dtype) for t in (loc, scale)]
        if not bool((own[0].isfinite() & own[1].isfinite() & (own[1] > 0)).all()):
            raise ValueError("expected finite locations and positive, finite scales; got others")
        rounded = loc.float().double()  # a number that `.float()` and `.double()` both keep
        rest = (loc - rounded).float().double() if double else torch.zeros_like(loc)
        kept = (loc - rounded - rest).abs() <= 1e-3 * scale  # not of 1e60 or 1e-60, of a flow of doubles
        self.loc.copy_(torch.where(kept, rounded, loc))
        self.rest.copy_(torch.where(kept, rest, 0))
        self.scale.copy_(scale)
        self.fitted.fill_(True)
        self.needs_double.fill_(double)
        self._read()

    @property
    def active(self) -> bool:
        """Whether μ or σ is anything but 0 and 1."""
        return self._active

    def standardized(self, y: Tensor) -> Tensor:
        """Return (y − μ) / σ in the precision of the buffers."""
        if not self._active:
            return y.to(self.scale.dtype)
        x = y - self.loc
        if is_traced() or self._double:
            x = x - self.rest
        return (x / self.scale).to(self.scale.dtype)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x · σ + μ and Σ log σ."""
        if self._double:
            y = x.double() * self.scale + self.rest + self.loc
        else:
            y = torch.addcmul(self.loc, x, self.scale)
        return y, self._log_det(y, 1.0)

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (y − μ) / σ and −Σ log σ."""
        return self.standardized(y), self._log_det(y, -1.0)

    def _log_det(self, y: Tensor, sign: float) -> Tensor:
        batch = y.shape[: y.dim() - self._event_dim]
        size = self.event_shape[len(self.event_shape) - self._event_dim :].numel()
        if self._event_dim == len(self.event_shape) and not is_traced():
            return y.new_full(batch, sign * self._log_scale * (size // max(1, self.scale.numel())))
        logs = self.scale.log().expand(self.event_shape).to(y.dtype)
        if self._event_dim:
            logs = logs.flatten(-self._event_dim).sum(-1)
        return (sign * logs).expand(batch)

    def _read(self) -> None:
        if not self.loc.is_meta:
            self._active = not bool(((self.loc == 0) & (self.scale == 1)).all())
            self._double = bool(self.needs_double)
            self._log_scale = float(self.scale.cpu().double().log().sum())

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        if f"{prefix}loc" not in state:  # of a flow that was saved before there were units
            new = Units(self.event_shape, event_dim=self._event_dim)
            state = {**state, **{prefix + name: buffer for name, buffer in new.named_buffers()}}
        super()._load_from_state_dict(state, prefix, *args)
        self._read()

    def extra_repr(self) -> str:
        """Name the arguments."""
        return f"{tuple(self.event_shape)}, event_dim={self._event_dim}"
