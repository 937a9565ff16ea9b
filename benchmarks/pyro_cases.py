"""Every model of `pyro_models.py`, and what is left out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from pyro_example_cases import EXAMPLES, Case
from pyro_tutorial_cases import TUTORIAL

__all__ = ["LEFT_OUT", "NUTS_TOO", "cases"]

NUTS_TOO = {
    "baseball fully_pooled",
    "bayesian_regression_ii",
    "csis",
    "eight schools, mcmc",
    "intro_part_ii",
    "jit",
    "mle_map",
    "mle_map, uniform",
    "model_rendering",
    "svi_part_i",
    "working_memory",
    "working_memory, times",
}

LOCALS = "an encoder for each row's latents: AutoAmortized's task, not AutoFlow's"
DISCRETE = "no continuous latents"
OWN = "inference of its own"
LEFT_OUT = {
    "examples/air": LOCALS,
    "examples/vae, cvae, scanvi, dmm.py, contrib/cevae; vae.ipynb, ss-vae, vae_flow_prior, prodlda": LOCALS,
    "examples/sparse_gamma_def.py": "61,000 local latents of 320 images that need the network",
    "examples/rsa; RSA-hyperbole.ipynb, RSA-implicature, search_inference.py": DISCRETE,
    "examples/contrib/autoname/mixture.py, scoping_mixture.py; hmm.py's model_6": DISCRETE,
    "examples/contrib/funsor; contrib_funsor_intro_i.ipynb, ii": "needs funsor",
    "examples/contrib/epidemiology; epi_intro.ipynb": f"{OWN}: CompartmentalModel; sir_hmc has its models",
    "examples/contrib/forecast/bart.py; forecasting_iii.ipynb": "10,000 latents; as forecasting_i",
    "examples/contrib/gp/sv-dkl.py; gplvm.ipynb, bo, dkl": f"{OWN}: a sparse process with a guide built in",
    "examples/contrib/timeseries/gp_models.py": "no latents, parameters only",
    "examples/contrib/mue": f"{OWN}: a MuE class with its guide",
    "examples/contrib/oed": f"{OWN}: experimental design",
    "examples/einsum.py": "no model",
    "examples/smcfilter.py": f"{OWN}: a particle filter's step",
    "examples/svi_torch.py, svi_lightning.py, svi_horovod.py, minipyro.py": "a normal's mean, as in jit",
    "intro_part_i.ipynb, effect_handlers, custom_objectives, svi_part_ii, _iii, _iv": "no model of their own",
    "tracking_1d.ipynb": "runs under its guide's enumeration only, not forward",
    "normalizing_flows_intro.ipynb": "no model",
}


def cases(root: Path) -> dict[str, Callable[[], Case]]:
    """Return what builds each model with its arguments, by name."""
    return {name: partial(build, root) for name, build in (EXAMPLES | TUTORIAL).items()}
