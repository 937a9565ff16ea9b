"""Evidence lower bounds for Pyro's `SVI` with path gradients: those without the score of q."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from pyro.infer import JitTrace_ELBO, Trace_ELBO
from pyro.infer.util import get_dependent_plate_dims, torch_item
from pyro.poutine import Trace
from pyro.poutine.util import prune_subsample_sites, site_is_subsample
from torch import Tensor

from .._tracing import fixed_statistics
from .model.program import is_latent, samples
from .model.scoring import correct_scores

__all__ = ["DRegELBO", "JitPathELBO", "PathELBO"]

Program = Callable[..., Any]


class _Recorder:
    """Runs a program and keeps its whole trace; Pyro prunes the subsample sites before it scores."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.trace = Trace()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with poutine.trace() as tracer:
            result = self.program(*args, **kwargs)
        self.trace = tracer.trace
        return result

    def again(self, args: Any, kwargs: Any) -> Trace:
        """Return the scored trace of another run at the same values, detached."""
        fixed = Trace()
        for name, site in self.trace.nodes.items():
            if site["type"] == "sample":
                fixed.add_node(name, **{**site, "value": site["value"].detach()})
        with fixed_statistics():  # batch norm's, say: these values have been drawn by the present ones
            trace = poutine.trace(poutine.replay(self.program, trace=fixed)).get_trace(*args, **kwargs)
            trace = prune_subsample_sites(trace)
            trace.compute_log_prob()
        return trace


def _without_score(guide_trace: Trace, held: Trace) -> None:
    """Let log q depend on the parameters through the samples only.

    The score ∇_φ log q_φ(z) at a fixed z has mean zero and is noise. It is the gradient of log q at the
    detached z, which is subtracted here, so that it does not matter where the guide keeps its parameters.
    """
    for name, site in guide_trace.nodes.items():
        if site["type"] == "sample" and getattr(site["fn"], "has_rsample", False):
            parts = site["score_parts"]
            entropy = parts.entropy_term - held.nodes[name]["log_prob"]
            site["score_parts"] = parts._replace(entropy_term=entropy)


def _refuse_drawn(model_trace: Trace, guide_trace: Trace) -> None:
    """Raise a ValueError if the model draws a discrete site that the guide leaves out."""
    for name, site in samples(model_trace).items():
        if name not in guide_trace.nodes and is_latent(site) and site["fn"].support.is_discrete:
            raise ValueError(
                f"expected a guide of every discrete site; got none for {name!r}, which this bound does not "
                "sum out: mark it by infer={'enumerate': 'parallel'} and train by pyro_flows.infer.fit_vi or "
                "pyro.infer.TraceEnum_ELBO"
            )


class PathELBO(Trace_ELBO):
    r"""E_q[log p(x, z) − log q_φ(z)], its gradient taken through z = f_φ(ε) only: "sticking the landing".

    The parameters inside log q are held fixed. The gradient is unbiased, and has no variance when q is
    the posterior; `Trace_ELBO`'s, which keeps the score, still has some then. Sites that are not
    reparametrised are treated as `Trace_ELBO` treats them. The guide is run twice a step: what it draws
    outside of sample sites, such as dropout, must be switched off. Discrete sites are not summed out: if the
    guide leaves one out, that is a ValueError.

    Works with any guide and model, plates, subsampling and ``vectorize_particles``; takes the arguments of
    `pyro.infer.Trace_ELBO`.

    Roeder, Wu & Duvenaud, "Sticking the Landing: Simple, Lower-Variance Gradient Estimators for
    Variational Inference", 2017, arXiv:1703.09194.

    Example:
        >>> import pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model():
        ...     pyro.sample("x", dist.Normal(0.0, 1.0))
        >>> guide = pyro.infer.autoguide.AutoNormal(model)
        >>> svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), pf.infer.PathELBO())
        >>> isinstance(svi.step(), float)
        True
    """

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        recorder = _Recorder(guide)
        model_trace, guide_trace = super()._get_trace(model, recorder, args, kwargs)
        _refuse_drawn(model_trace, guide_trace)
        _without_score(guide_trace, recorder.again(args, kwargs))
        return correct_scores(model_trace), guide_trace


class JitPathELBO(PathELBO, JitTrace_ELBO):
    """`PathELBO`, compiled by `torch.jit.trace` as `pyro.infer.JitTrace_ELBO` is."""


class DRegELBO(Trace_ELBO):
    r"""The importance-weighted bound E[log (1/K) Σ_k w_k] with doubly reparametrised gradients.

    With normalised weights ŵ_k the guide's parameters follow Σ ŵ_k² ∂log w_k/∂z_k · ∂z_k/∂φ, whose
    signal-to-noise ratio does not fall with K as that of the plain bound's gradient does (Rainforth et
    al. 2018, arXiv:1802.04537), and the model's follow Σ ŵ_k ∇ log p. K is `num_particles`. In plates
    that hold every site, such as a VAE's, the bound is the sum of one for each row, and a subsample's
    scale multiplies these.

    Takes the arguments of `pyro.infer.Trace_ELBO`; every site of the guide has to be reparametrised.

    Tucker, Lawson, Gu & Maddison, "Doubly Reparameterized Gradient Estimators for Monte Carlo
    Objectives", 2018, arXiv:1810.04152.

    Example:
        >>> import pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model():
        ...     pyro.sample("x", dist.Normal(0.0, 1.0))
        >>> guide = pyro.infer.autoguide.AutoNormal(model)
        >>> elbo = pf.infer.DRegELBO(num_particles=8, vectorize_particles=True)
        >>> svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), elbo)
        >>> isinstance(svi.step(), float)
        True
    """

    _subsample: Trace | None = None

    def _get_trace(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        if self._subsample is not None:  # one bound a row takes all particles of the same rows
            guide = poutine.replay(guide, trace=self._subsample)
            model = poutine.replay(model, trace=self._subsample)
        recorder, model_recorder = _Recorder(guide), _Recorder(model)
        model_trace, guide_trace = super()._get_trace(model_recorder, recorder, args, kwargs)
        _refuse_drawn(model_trace, guide_trace)
        correct_scores(model_trace)
        self._subsample = Trace()
        for name, site in model_recorder.trace.nodes.items():
            if site["type"] == "sample" and site_is_subsample(site):
                self._subsample.add_node(name, **site)
        for name, site in guide_trace.nodes.items():
            if site["type"] == "sample" and not getattr(site["fn"], "has_rsample", False):
                raise NotImplementedError(f"expected reparametrised sites in the guide; got {name!r}")
        if torch.is_grad_enabled():
            _without_score(guide_trace, recorder.again(args, kwargs))
            if any(site["type"] == "param" for site in model_trace.nodes.values()):
                held = correct_scores(model_recorder.again(args, kwargs))
                for name, site in model_trace.nodes.items():
                    if site["type"] == "sample":
                        site["held_log_prob"] = held.nodes[name]["log_prob"]
        return model_trace, guide_trace

    def _bound(self, model: Program, guide: Program, args: Any, kwargs: Any) -> tuple[Tensor, Tensor | None]:
        """Return the bound, detached, and a tensor that has its gradient; None if none is wanted."""
        weights, paths, models = [], [], []
        outside: Any = 1.0
        self._subsample = None
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            sites = [
                site
                for trace in (model_trace, guide_trace)
                for site in trace.nodes.values()
                if site["type"] == "sample"
            ]
            dims = get_dependent_plate_dims(sites)
            outside = _common_scale(sites)
            parts = [
                _total(model_trace, "log_prob", dims, outside),
                -_total(guide_trace, "log_prob", dims, outside),
            ]
            weights.append(sum(parts).detach())
            if torch.is_grad_enabled():
                entropy = _total(guide_trace, "entropy_term", dims, outside)
                paths.append(parts[0] - entropy)
                models.append(_total(model_trace, "held_log_prob", dims, outside))
        vectorized = self.vectorize_particles and self.num_particles > 1

        def stacked(terms: list[Any]) -> Tensor:
            return terms[0] if vectorized else torch.stack([torch.as_tensor(t) for t in terms])

        log_weights = stacked(weights)
        bound = ((log_weights.logsumexp(0) - math.log(self.num_particles)) * outside).sum()
        if not torch.is_grad_enabled():
            return bound, None
        shares = log_weights.softmax(0)
        surrogate = shares.square() * stacked(paths)
        if any(isinstance(term, Tensor) for term in models):
            surrogate = surrogate + (shares - shares.square()) * stacked(models)
        return bound, (surrogate * outside).sum()

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Return minus the bound."""
        with torch.no_grad():
            return -torch_item(self._bound(model, guide, args, kwargs)[0])

    def differentiable_loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Tensor:
        """Return minus the bound, with its doubly reparametrised gradient."""
        bound, surrogate = self._bound(model, guide, args, kwargs)
        return -bound if surrogate is None else -bound - (surrogate - surrogate.detach())

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Return minus the bound, and add its gradient to the parameters'."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        return torch_item(loss)


def _total(trace: Trace, term: str, dims: list[int], scale: Any) -> Any:
    """Sum a term over sites, and over the plates that not every site is in."""
    total: Any = 0.0
    for site in trace.nodes.values():
        if site["type"] != "sample":
            continue
        value = site["score_parts"].entropy_term if term == "entropy_term" else site.get(term, 0.0)
        if isinstance(value, Tensor):
            inside = [dim for dim in dims if -dim <= value.dim()]
            value = value.sum(inside, keepdim=True) if inside else value
        total = total + value
    return total / scale


def _common_scale(sites: list[dict[str, Any]]) -> Any:
    """Return the scale that all sites have, such as a subsampled plate's, or 1."""
    scales = [site["scale"] for site in sites]
    if all(not isinstance(scale, Tensor) and scale == scales[0] for scale in scales):
        return scales[0]
    return 1.0
