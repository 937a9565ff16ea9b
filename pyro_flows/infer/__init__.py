"""Variational inference: flows as posteriors of Pyro models."""

from .elbo import DRegELBO, JitPathELBO, PathELBO
from .guides.amortized import AutoAmortized
from .guides.auto_flow import AutoFlow
from .guides.auto_mixture import AutoMixture
from .mcmc.chains import Chains
from .mcmc.flow_mcmc import flow_mcmc
from .mcmc.mcmc_settings import MCMCSettings
from .model.density import LogDensity, log_joint
from .model.evaluation import Evaluation, evaluate
from .model.latents import Latents
from .vi.fit_vi import fit_vi
from .vi.vi_settings import VIHistory, VISettings
from .weights.importance import Importance, importance
from .weights.psis import Smoothed, psis

__all__ = [
    "AutoAmortized",
    "AutoFlow",
    "AutoMixture",
    "Chains",
    "DRegELBO",
    "Evaluation",
    "Importance",
    "JitPathELBO",
    "Latents",
    "LogDensity",
    "MCMCSettings",
    "PathELBO",
    "Smoothed",
    "VIHistory",
    "VISettings",
    "evaluate",
    "fit_vi",
    "flow_mcmc",
    "importance",
    "log_joint",
    "psis",
]
