"""KL of one-dimensional flows to a bimodal mixture, by quadrature, for three bases.

python benchmarks/one_dimension.py
"""

from __future__ import annotations

import argparse
import time

import pyro.distributions as dist
import torch
from peers import markdown

import pyro_flows as pf
from pyro_flows.elementwise import Affine, Compose, Gaussian, Mixture, MixtureCDF
from pyro_flows.transforms import Monotone

TRUTH = dist.MixtureSameFamily(
    dist.Categorical(torch.tensor([0.4, 0.6])),
    dist.Normal(torch.tensor([-1.5, 1.5]), torch.tensor([0.5, 0.7])),
)
FLOWS = {
    "Uniform(0, 1), Gaussians": (pf.bases.uniform(1), MixtureCDF(4, Gaussian())),
    "Uniform(0, 1), logistics": (pf.bases.uniform(1), MixtureCDF(8)),
    "Beta(5, 5), Gaussians": (pf.bases.beta(1), Compose(Mixture(4, Gaussian()), MixtureCDF(1, Gaussian()))),
    "Beta(5, 5), logistics": (pf.bases.beta(1), Compose(Mixture(8), MixtureCDF(1))),
    "Normal(0, 1), Gaussians": (None, Mixture(4, Gaussian())),
    "Normal(0, 1), logistics": (None, Compose(Mixture(8), Affine())),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=500)
    args = parser.parse_args()
    torch.set_num_threads(1)
    grid = torch.linspace(-6, 7, 2_601).unsqueeze(-1)
    p = TRUTH.log_prob(grid.squeeze(-1))
    rows = []
    for name, (base, g) in FLOWS.items():
        torch.manual_seed(0)
        flow = pf.Flow(Monotone(g, (1,)).inv, base)
        optimiser = torch.optim.Adam(flow.parameters(), lr=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, args.steps)
        data = TRUTH.sample((args.steps * args.batch, 1)).split(args.batch)
        start = time.process_time()
        for batch in data:
            optimiser.zero_grad()
            (-flow().log_prob(batch).mean()).backward()
            optimiser.step()
            schedule.step()
        seconds = time.process_time() - start
        with torch.no_grad():
            kl = ((p - flow().log_prob(grid)) * p.exp()).sum() * 0.005
        rows.append([name, str(g.num_params), f"{seconds:.1f}", f"{float(kl):.5f}"])
    print(markdown(["base and map", "parameters", "CPU seconds", "KL"], rows))


if __name__ == "__main__":
    main()
