"""Simulation-based calibration: do posteriors of simulated data hold the truth as often as they say?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..infer import Importance, importance
from ..infer.model.layout import Layout
from ..infer.model.program import is_data, is_latent, predictive, samples
from ..loop.progress import progress_bar
from ..loop.warning import warn_caller
from .labels import labels
from .uniformity import symmetry_p_value, uniformity_p_value

__all__ = ["Calibration", "calibrate"]

Posterior = Callable[[Callable[..., Any], dict[str, Tensor]], Any]


@dataclass(frozen=True)
class Calibration:
    """Ranks of true values among posterior draws, one a simulation; uniform if the posteriors are right."""

    ranks: dict[str, Tensor]
    """For each quantity, how many of the draws lie below the truth: integers of shape (simulations,)."""
    num_samples: int
    """The number of posterior draws, which is the greatest rank."""

    def uniformity(self) -> dict[str, float]:
        """Return p-values of the ranks' uniformity: full simulation-based calibration."""
        return {name: uniformity_p_value(ranks, self.num_samples) for name, ranks in self.ranks.items()}

    def symmetry(self) -> dict[str, float]:
        """Return p-values of the ranks' symmetry; a small one says that posteriors are biased (VSBC)."""
        return {name: symmetry_p_value(ranks, self.num_samples) for name, ranks in self.ranks.items()}

    def verdicts(self, level: float = 0.01) -> dict[str, str]:
        """Say for each quantity what is wrong with its posteriors, if the p-value is below `level`."""
        uniform, symmetric = self.uniformity(), self.symmetry()
        words = {}
        for name, ranks in self.ranks.items():
            u = (ranks.double() + 0.5) / (self.num_samples + 1)
            if uniform[name] >= level:
                words[name] = "calibrated"
            elif symmetric[name] < level:
                words[name] = "too low" if float(u.mean()) > 0.5 else "too high"
            else:
                words[name] = "too narrow" if float((u - 0.5).square().mean()) > 1 / 12 else "too wide"
        return words

    def __str__(self) -> str:
        uniform, symmetric, words = self.uniformity(), self.symmetry(), self.verdicts()
        count = len(next(iter(self.ranks.values())))
        width = max(len(name) for name in self.ranks)
        lines = [
            f"{count} simulations, {self.num_samples} draws",
            f"{'':{width}}  uniform  symmetric  posteriors",
        ]
        for name in self.ranks:
            lines.append(f"{name:{width}}  {uniform[name]:7.3f}  {symmetric[name]:9.3f}  {words[name]}")
        return "\n".join(lines)


def calibrate(
    model: Callable[..., Any],
    posterior: Posterior,
    *args: Any,
    num_simulations: int = 200,
    num_samples: int = 99,
    progress: bool = True,
    **kwargs: Any,
) -> Calibration:
    """Simulate from the model, infer, and rank the truth among the posterior's draws, again and again.

    Over data drawn from the model, the true value's rank among exact posterior draws is uniform. A ∪ shape
    says that posteriors are too narrow, a ∩ shape too wide, a slope that they are biased.

    Talts, Betancourt, Simpson, Vehtari & Gelman, "Validating Bayesian Inference Algorithms with
    Simulation-Based Calibration", 2018, arXiv:1804.06788; Yao, Vehtari, Simpson & Gelman 2018,
    arXiv:1802.02538.

    Args:
        model: a Pyro model with proper priors. What it observes is simulated, so data among `args` tell
            shapes only.
        posterior: called with the model, conditioned on simulated data, and these data by site; returns a
            fitted guide for it, a result of `importance`, whose corrected draws are ranked, or a dictionary
            of at least `num_samples` draws by site. Discrete sites that are summed out are ranked too.
        *args: what the model is called with.
        num_simulations: number of simulations.
        num_samples: posterior draws among which each truth is ranked.
        progress: whether to show a bar, if tqdm is installed.
        **kwargs: what the model is called with.

    Raises:
        TypeError: if `posterior` returns something else.
        ValueError: if the model has a factor, a plate is subsampled, or `posterior` gives no or too few
            draws of a latent variable, or NaN.

    Example:
        >>> import torch, pyro, pyro.distributions as dist, pyro_flows as pf
        >>> def model():
        ...     x = pyro.sample("x", dist.Normal(0.0, 1.0))
        ...     pyro.sample("y", dist.Normal(x, 1.0), obs=torch.tensor(0.0))
        >>> def exact(model, data):
        ...     return {"x": dist.Normal(data["y"] / 2, 0.5**0.5).sample((99,))}
        >>> calibration = pf.diagnostics.calibrate(model, exact, num_simulations=100, progress=False)
        >>> calibration.verdicts()
        {'x': 'calibrated'}
    """
    for name, value in (("num_simulations", num_simulations), ("num_samples", num_samples)):
        if value < 2:
            raise ValueError(f"expected {name} ≥ 2; got {value}")
    latent, observed = _sites(model, args, kwargs)
    ranks: dict[str, list[int]] = {}
    bar = progress_bar(num_simulations, 0, shown=progress, unit="simulation")
    for _ in range(num_simulations):
        with torch.no_grad(), poutine.block():
            trace = poutine.trace(predictive(model)).get_trace(*args, **kwargs)
        data = {name: trace.nodes[name]["value"].detach() for name in observed}
        given = poutine.condition(model, data=data)
        draws = _draws(posterior(given, data), num_samples, given, args, kwargs)
        for name in latent:
            truth = trace.nodes[name]["value"]
            if name not in draws or len(draws[name]) < num_samples or draws[name].shape[1:] != truth.shape:
                got = f"shape {tuple(draws[name].shape)}" if name in draws else "none"
                raise ValueError(
                    f"expected ≥ {num_samples} draws of {name!r}, {tuple(truth.shape)} each; got {got}"
                )
            if bool(draws[name].isnan().any()):
                raise ValueError(f"expected draws of {name!r} that can be ranked; got NaN")
            for label, rank in _ranked(name, truth, draws[name][:num_samples]):
                ranks.setdefault(label, []).append(rank)
        bar.update(1)
    bar.close()
    return Calibration({label: torch.tensor(found) for label, found in ranks.items()}, num_samples)


def _sites(model: Callable[..., Any], args: Any, kwargs: Any) -> tuple[list[str], list[str]]:
    with torch.no_grad(), poutine.block():
        trace = poutine.trace(model).get_trace(*args, **kwargs)
    sites, layout = samples(trace), Layout.of(trace)
    if layout.part is not None:
        raise ValueError(
            "expected the model over all data, since a subsample's posterior is not that of the data drawn; "
            f"got {layout.part}"
        )
    if layout.scales:
        warn_caller(
            f"{', '.join(layout.scales)}: under pyro.poutine.scale, which data are drawn without, so that "
            "exact posteriors are not calibrated either"
        )
    observed = [name for name, site in sites.items() if is_data(site)]
    for name in observed:
        if sites[name]["value"].numel() == 0:
            raise ValueError(f"expected a model that data can be drawn from; got the factor {name!r}")
    return [name for name, site in sites.items() if is_latent(site)], observed


def _draws(
    found: Any, num_samples: int, model: Callable[..., Any], args: Any, kwargs: Any
) -> Mapping[str, Tensor]:
    if isinstance(found, Mapping):
        return found
    if isinstance(found, Importance):
        picks = found.resampled_indices(num_samples)
        return {name: value[picks.to(value.device)] for name, value in (found.draws | found.discrete).items()}
    if not callable(found):
        raise TypeError(
            "expected posterior to return a guide, a result of importance or a dictionary; "
            f"got {type(found).__name__}"
        )
    result = importance(model, found, *args, num_samples=num_samples, **kwargs)
    return result.draws | result.discrete


def _ranked(name: str, truth: Tensor, draws: Tensor) -> list[tuple[str, int]]:
    """Return label and rank of each element; ties are broken at random."""
    flat, many = truth.reshape(-1), draws.reshape(len(draws), -1)
    below, ties = (many < flat).sum(0), (many == flat).sum(0)
    broken = below + (torch.rand(ties.shape, device=ties.device) * (ties + 1)).floor().long()
    return list(zip(labels(name, truth.shape), broken.tolist(), strict=True))
