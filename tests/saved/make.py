"""Small files of each kind that the library writes, for `test_saved.py` to load in later versions.

``python -m tests.saved.make`` writes all of them anew. Run it after a format has changed on purpose and got
a new number, the `VERSION` beside the code that writes it. Files that a released version has written stay,
under another name, with a test that they are converted or refused.
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pandas as pd
import pyro
import pyro.distributions as dist
import torch

import pyro_flows as pf
from pyro_flows.cli.main import main as command_line
from pyro_flows.cli.model import Model
from pyro_flows.infer import AutoFlow, VISettings, fit_vi
from pyro_flows.loop.checkpoint import Checkpoint

HERE = Path(__file__).parent
ROWS = [[(7 * i) % 11 / 4, (5 * i) % 13 / 8] for i in range(40)]  # with the same bits everywhere
DATA = torch.tensor(ROWS)
FIT = {"epochs": 3, "batch_size": 12, "checkpoint_every": 0.0, "progress": False}
VI = VISettings(steps=101, batch_size=8, tolerance=0.0, seed=0, checkpoint_every=0.0, progress=False)


class Stop(Exception):
    """Raised where a run is killed."""


def flow() -> pf.Flow:
    """Return a new flow."""
    torch.manual_seed(0)
    return pf.Flow([pf.real_nvp(2, depth=1, hidden=(4,), norm=pf.transforms.BatchNorm)])


def model() -> None:
    """Observe 3 of two normal locations: the posterior of each is Normal(2.4, √0.8)."""
    x = pyro.sample("x", dist.Normal(torch.zeros(2), 2.0).to_event(1))
    pyro.sample("y", dist.Normal(x, 1.0).to_event(1), obs=torch.full((2,), 3.0))


def guide(name: str | None = None) -> AutoFlow:
    """Return the guide of `model`, set up and not yet trained."""
    torch.manual_seed(0)
    made = AutoFlow(model, lambda d: pf.real_nvp(d, depth=1, hidden=(4,)), name=name)
    made.setup()
    return made


def interrupted(path: Path) -> type[Checkpoint]:
    """Return a stand-in for `Checkpoint` that keeps the file half way and stops the run."""

    class Interrupted(Checkpoint):
        saves = 0

        def save(self, state, identity):
            super().save(state, identity)
            self.saves += 1
            if state()["history"]["steps"] in (4, 100):
                shutil.copy(self.path, path)
                raise Stop

    return Interrupted


def until_stopped(run, module) -> None:
    """Run with checkpoints until one of them stops it."""
    original = module.Checkpoint
    module.Checkpoint = interrupted(HERE / run.__name__)
    try:
        run(HERE / "unfinished")
    except Stop:
        pass
    finally:
        module.Checkpoint = original
        (HERE / "unfinished").unlink(missing_ok=True)


def training_run(path: Path | None) -> tuple[pf.Flow, pf.training.History]:
    """Fit a flow, or go on with the run in the file."""
    made = flow()
    return made, pf.fit(made, DATA, checkpoint=path, **FIT)


def variational_run(path: Path | None, name: str | None = None) -> tuple[AutoFlow, pf.infer.VIHistory]:
    """Fit a guide, or go on with the run in the file."""
    made = guide(name)
    return made, fit_vi(model, made, settings=VI, checkpoint=path)


def main() -> None:
    """Write all files, and what they have to give in expected.pt."""
    until_stopped(training_run, pf.training.run)
    until_stopped(variational_run, pf.infer.vi.vi_run)
    fitted, _ = training_run(None)
    torch.save(fitted.state_dict(), HERE / "flow")
    fitted_guide, _ = variational_run(None, name="saved")
    torch.save(fitted_guide.state_dict(), HERE / "guide")
    pyro.get_param_store().save(str(HERE / "param_store"))
    frame = pd.DataFrame(ROWS, columns=["a", "b"])
    frame.to_csv(HERE / "table.csv", index=False)
    options = "--flow real_nvp --depth 1 --hidden 4 --epochs 2"
    if command_line(["fit", str(HERE / "table.csv"), "--out", str(HERE / "model"), *options.split()]):
        raise RuntimeError("the command line failed")
    (HERE / "table.csv").unlink()
    with torch.no_grad():
        expected = {
            "flow": fitted().log_prob(DATA),
            "guide": fitted_guide.log_prob({"x": DATA}),
            "model": Model.load(str(HERE / "model")).table.log_prob(frame),
        }
    torch.save(expected, HERE / "expected")
    for path in sorted(HERE.iterdir()):
        if path.suffix != ".py":
            print(path.name, math.ceil(path.stat().st_size / 1024), "kB")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
