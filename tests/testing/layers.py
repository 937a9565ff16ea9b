"""A layer that obeys the laws, and others that each break one."""

from __future__ import annotations

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from pyro_flows import FlowTransform


class Scaling(FlowTransform):
    """y = x·exp(s) + t, log|det dy/dx| = Σ s."""

    domain = codomain = constraints.real_vector

    def __init__(self) -> None:
        super().__init__()
        self.domain_shape = self.codomain_shape = Size([3])
        self.log_scale, self.shift = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(3))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp() + self.shift, self.log_scale.sum().expand(x.shape[:-1])

    def inverse_and_log_det(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (y - self.shift) * (-self.log_scale).exp(), -self.log_scale.sum().expand(y.shape[:-1])


class WrongInverse(Scaling):
    def inverse_and_log_det(self, y, context=None):
        x, log_det = super().inverse_and_log_det(y)
        return x + 1e-6, log_det


class CoarseInSinglePrecision(Scaling):
    def inverse_and_log_det(self, y, context=None):
        x, log_det = super().inverse_and_log_det(y)
        return x + (1e-3 if y.dtype is torch.float32 else 0), log_det


class CancelsFarAway(Scaling):
    """y = sinh x, by a formula of the inverse that loses its digits far below zero."""

    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        return y.sinh(), log_det + y.cosh().log().sum(-1)

    def inverse_and_log_det(self, y, context=None):
        inner = (y + (y * y + 1).sqrt()).log()
        x, log_det = super().inverse_and_log_det(inner)
        return x, log_det - inner.cosh().log().sum(-1)


class WrongLogDets(Scaling):
    """Both log-dets are wrong, by opposite amounts, so that each is the other's negative."""

    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        return y, log_det + 1

    def inverse_and_log_det(self, y, context=None):
        x, log_det = super().inverse_and_log_det(y)
        return x, log_det - 1


class LogDetOfEachElement(Scaling):
    def forward_and_log_det(self, x, context=None):
        return super().forward_and_log_det(x)[0], self.log_scale.expand(x.shape)


class LogDetOfOneEvent(Scaling):
    """The log-det has no batch shape."""

    def forward_and_log_det(self, x, context=None):
        return super().forward_and_log_det(x)[0], self.log_scale.sum()


class OnlyMatrices(Scaling):
    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        return torch.einsum("bi,ij->bj", y, torch.eye(3, dtype=x.dtype, device=x.device)), log_det


class NoEmptyBatch(Scaling):
    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        return y.reshape(-1, *x.shape[1:]) if x.dim() > 1 else y, log_det


class ForgetsDtype(Scaling):
    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        return y, log_det.float()


class NotABuffer(Scaling):
    """A constant that `.to` does not move."""

    def __init__(self):
        super().__init__()
        self.ones = torch.ones(3)

    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        return y + 0 * self.ones, log_det


class NormalisesByTheBatch(Scaling):
    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        return y + x.flatten(0, -2).mean(0) if x.dim() > 1 else y + x, log_det


class WrongCodomain(Scaling):
    codomain = constraints.independent(constraints.positive, 1)


class UnusedParameter(Scaling):
    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(2))


class DetachedParameter(Scaling):
    def forward_and_log_det(self, x, context=None):
        return x * self.log_scale.exp() + self.shift.detach(), self.log_scale.sum().expand(x.shape[:-1])

    def inverse_and_log_det(self, y, context=None):
        return (y - self.shift.detach()) * (-self.log_scale).exp(), -self.log_scale.sum().expand(y.shape[:-1])


class IgnoresContext(Scaling):
    def __init__(self):
        super().__init__()
        self.context_shape = Size([2])

    def forward_and_log_det(self, x, context=None):
        return super().forward_and_log_det(x + 0 * context.sum(-1, keepdim=True))

    def inverse_and_log_det(self, y, context=None):
        return super().inverse_and_log_det(y + 0 * context.sum(-1, keepdim=True))


class KeepsItsScale(Scaling):
    """exp(s) is computed once, and stale after an optimiser step."""

    def __init__(self):
        super().__init__()
        self.kept = None

    def inverse_and_log_det(self, y, context=None):
        if self.kept is None or self.kept.dtype != y.dtype or self.kept.device != y.device:
            self.kept = (-self.log_scale).exp().detach()
        return (y - self.shift) * self.kept, -self.log_scale.sum().expand(y.shape[:-1])


class HoldsALambda(Scaling):
    def __init__(self):
        super().__init__()
        self.exp = lambda value: value.exp()


class CountsItsCalls(Scaling):
    """Scores depend on how many came before."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def inverse_and_log_det(self, y, context=None):
        self.calls += 1
        x, log_det = super().inverse_and_log_det(y)
        return x + self.calls, log_det


class UpdatesInEval(Scaling):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def inverse_and_log_det(self, y, context=None):
        self.seen += 1
        return super().inverse_and_log_det(y)


class HidesNaN(Scaling):
    def inverse_and_log_det(self, y, context=None):
        return super().inverse_and_log_det(y.nan_to_num())


class SpreadsNaN(Scaling):
    def inverse_and_log_det(self, y, context=None):
        return super().inverse_and_log_det(y + 0 * y.sum())


class CoarseUnderAutocast(Scaling):
    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        return y @ torch.eye(3, dtype=y.dtype, device=y.device), log_det


class MakesTensorsOnTheCPU(Scaling):
    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        return y[..., torch.arange(3)], log_det


class ReadsInScoring(Scaling):
    def inverse_and_log_det(self, y, context=None):
        if bool((self.log_scale > 50).any()):
            raise ValueError("expected a log-scale below 50")
        return super().inverse_and_log_det(y)


class ReadsInSampling(Scaling):
    def forward_and_log_det(self, x, context=None):
        y, log_det = super().forward_and_log_det(x)
        y[y > 1e9] = 1e9
        return y, log_det


class BranchesOnItsInput(Scaling):
    def inverse_and_log_det(self, y, context=None):
        return super().inverse_and_log_det(y if y.sum() > 0 else y.clone())


class NoGradientInSampling(Scaling):
    def forward_and_log_det(self, x, context=None):
        with torch.no_grad():
            return super().forward_and_log_det(x)
