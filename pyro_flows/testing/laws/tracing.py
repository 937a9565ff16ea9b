"""Law 8: `torch.compile` and `torch.func` agree with eager execution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...flow import Flow
from ..case import Case
from ..expect import expect, named

__all__ = ["compiled_sampling", "compiled_training", "functional"]


class Score(nn.Module):
    """A flow's log-density as a module, for `functional_call` and the compiler."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return log p(y | context)."""
        return self.flow(context).log_prob(y)


class CountingBackend:
    """A compiler that counts the graphs it is given."""

    def __init__(self, name: str) -> None:
        from torch._dynamo.backends.registry import lookup_backend  # takes long to import

        self.compile, self.graphs = lookup_backend(name), 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return self.compile(graph, inputs)


def compiled_training(case: Case, backend: str = "aot_eager") -> None:
    """8. Several compiled training steps, in one graph, give what eager execution gives."""
    torch._dynamo.reset()
    counting = CountingBackend(backend)
    eager, compiled = (
        Score(case.flow(case.build(torch.float64, training=True), torch.float64)) for _ in range(2)
    )
    run = torch.compile(compiled, fullgraph=True, backend=counting)
    source = case.build(torch.float64, seed=3)
    for _ in range(3):
        context = case.context_of((8,), torch.float64)
        y = case.flow(source, torch.float64)(context).sample(case.sample_shape(context, (8,)))
        losses = []
        for module, score in ((eager, eager), (compiled, run)):
            log_prob = score(y, context)
            losses.append(log_prob.detach())
            if list(module.parameters()):
                module.zero_grad()
                (-log_prob.mean()).backward()
                with torch.no_grad():
                    for parameter in module.parameters():
                        if parameter.grad is not None:
                            parameter.sub_(0.05 * parameter.grad)
        torch.testing.assert_close(losses[1], losses[0], msg=named("a compiled score differs"))
        for name, value in eager.state_dict().items():
            found = compiled.state_dict()[name]
            torch.testing.assert_close(found, value, msg=named(f"after a compiled step {name} differs"))
    expect(counting.graphs == 1, f"expected one graph for all steps; got {counting.graphs}")


def compiled_sampling(case: Case, backend: str = "aot_eager") -> None:
    """8. A compiled `rsample` draws what eager execution draws, and its log-density is right."""
    torch._dynamo.reset()
    flow = case.flow(case.build(torch.float64), torch.float64)
    context = case.context_of((8,), torch.float64)

    @torch.compile(fullgraph=True, backend=backend)
    def draw(noise: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        transform = flow(context).transforms[0]
        y = transform(noise)
        return y, transform.log_abs_det_jacobian(noise, y)

    for _ in range(2):
        noise = case.noise(flow.transform, (8,), torch.float64)
        wanted = flow.transform.forward_and_log_det(noise, context)
        torch.testing.assert_close(draw(noise, context), wanted, msg=named("a compiled sample differs"))


def functional(case: Case) -> None:
    """8. `vmap`, `grad` and `functional_call` agree with batches and autograd."""
    score = Score(case.flow(case.build(torch.float64), torch.float64))
    context = case.context_of((4,), torch.float64)
    y = score.flow(context).sample(case.sample_shape(context, (4,)))
    parameters = {name: value.detach() for name, value in score.named_parameters()}
    rows = 0 if context is not None else None

    def log_prob(parameters: dict[str, Tensor], y: Tensor, context: Tensor | None) -> Tensor:
        return torch.func.functional_call(score, parameters, (y, context))

    wanted = score(y, context)
    torch.testing.assert_close(
        torch.vmap(log_prob, (None, 0, rows))(parameters, y, context),
        wanted,
        msg=named("scores under vmap differ"),
    )
    slopes = torch.vmap(torch.func.grad(log_prob, argnums=1), (None, 0, rows))(parameters, y, context)
    leaf = y.clone().requires_grad_()
    torch.testing.assert_close(
        slopes,
        torch.autograd.grad(score(leaf, context).sum(), leaf)[0],
        msg=named("gradients by torch.func.grad differ"),
    )
    if parameters:
        per_row = torch.vmap(torch.func.grad(log_prob), (None, 0, rows))(parameters, y, context)
        whole = torch.autograd.grad(wanted.sum(), list(score.parameters()))
        torch.testing.assert_close(
            [per_row[name].sum(0) for name in parameters],
            list(whole),
            msg=named("per-row gradients of parameters do not add up to the batch's"),
        )
        moved = {name: value + 0.1 for name, value in parameters.items()}
        expect(
            not torch.allclose(log_prob(moved, y, context), wanted),
            "expected functional_call to score by the parameters it is given; got the module's own",
        )
        torch.testing.assert_close(
            log_prob(parameters, y, context), wanted, msg=named("scores by functional_call differ")
        )
