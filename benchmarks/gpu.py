"""On a CUDA device: steps/s, samples/s, memory and the host's waits, ours against the peers.

    pip install nflows normflows zuko
    python benchmarks/gpu.py                    # --only d64-large, --seconds 2, --libraries ours zuko

A training step is zero_grad, -log_prob(x).mean(), backward and one step of fused Adam on a batch that lies
on the device; "captured" replays such a step as one CUDA graph, "compiled" makes one graph of the loss.
Samples are drawn without a gradient. Times are wall-clock between two synchronisations; MB are the most that
the allocator held. "waits" counts what makes the host wait for the device in one training step
(`torch.cuda.set_sync_debug_mode`). The last table trains Glow on scikit-learn's digits by `pf.fit`, in
float32 and in bfloat16, and gives bits per dimension of the held-out images.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable

import torch
from peers import BUILDERS, Model, build, markdown
from peers_autoregressive import FAMILIES
from torch import Tensor, nn

import pyro_flows as pf

COUPLINGS = {  # dimensions, layers, widths, batch
    "moons-8": (2, 8, (64, 64), 512),
    "d8-8": (8, 8, (64, 64), 512),
    "d64": (64, 10, (128, 128), 512),
    "d64-large": (64, 10, (512, 512), 16_384),
}
AUTOREGRESSIVE = {  # family, dimensions, layers, widths, batch
    "maf": ("maf", 6, 5, (64, 64), 512),
    "nsf": ("nsf", 6, 5, (64, 64), 512),
    "nsf-large": ("nsf", 32, 5, (256, 256), 8192),
}


def made(row: str, library: str) -> tuple[Model, int, int]:
    """Return a library's flow on the device, its dimension and the batch size."""
    if row in COUPLINGS:
        dim, depth, hidden, batch = COUPLINGS[row]
        model = build(library, dim, depth, hidden)
    else:
        family, dim, depth, hidden, batch = AUTOREGRESSIVE[row]
        torch.manual_seed(0)
        model = FAMILIES[family][library](dim, depth, list(hidden), nn.ReLU)
    return model.cuda(), dim, batch


def trainer(model: Model, x: Tensor, *, compiled: bool = False) -> Callable[[], None]:
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True, capturable=True)

    def loss(x: Tensor) -> Tensor:
        return -model(x).mean()

    run = torch.compile(loss) if compiled else loss

    def step() -> None:
        optimiser.zero_grad(set_to_none=False)
        run(x).backward()
        optimiser.step()

    return step


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """Return the replay of a step as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def per_second(run: Callable[[], object], seconds: float) -> float:
    """Return calls a second, after a warm-up; the median of three measurements."""
    for _ in range(3):
        run()
    found = []
    for _ in range(3):
        torch.cuda.synchronize()
        start, calls = time.perf_counter(), 0
        while time.perf_counter() - start < seconds / 3:
            run()
            calls += 1
            if calls % 20 == 0:
                torch.cuda.synchronize()
        torch.cuda.synchronize()
        found.append(calls / (time.perf_counter() - start))
    return statistics.median(found)


def waits(step: Callable[[], None]) -> int:
    """Return how often one step makes the host wait for the device."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(w.message) for w in caught)


def attempt(run: Callable[[], object]) -> str:
    try:
        found = run()
    except Exception as error:  # a peer that cannot do it is a result too
        return type(error).__name__
    return f"{found:,.0f}" if isinstance(found, float) else str(found)


def row(name: str, library: str, seconds: float, *, compiled: bool) -> list[str]:
    model, dim, batch = made(name, library)
    x = torch.randn(batch, dim, device="cuda")
    step = trainer(model, x)
    step()
    torch.cuda.reset_peak_memory_stats()
    step()
    peak = torch.cuda.max_memory_allocated() / 2**20

    @torch.no_grad()
    def sample() -> Tensor:
        drawn = model.draw(batch)
        if drawn.device.type != "cuda":
            raise RuntimeError("drawn on the CPU")
        return drawn

    cells = [name, library, f"{model.num_parameters:,}", attempt(lambda: waits(step)), f"{peak:.0f}"]
    cells.append(attempt(lambda: per_second(step, seconds)))
    cells.append(attempt(lambda: per_second(sample, seconds) * batch))
    if compiled:
        cells.append(attempt(lambda: per_second(trainer(made(name, library)[0], x, compiled=True), seconds)))
    else:
        cells.append("")
    # Last: a capture that fails spoils the process.
    cells.append(attempt(lambda: per_second(captured(trainer(made(name, library)[0], x)), seconds)))
    return cells


def digits(precision: str) -> list[str]:
    from sklearn.datasets import load_digits

    images = torch.tensor(load_digits().images)[:, None]
    flow = pf.Flow(
        [
            pf.glow((1, 8, 8), depth=4, width=64),
            pf.transforms.LogitPixels(1e-6, levels=17),
            pf.transforms.Dequantize(levels=17),
        ]
    ).cuda()
    start = time.perf_counter()
    history = pf.fit(
        flow, images[:1500], epochs=40, batch_size=100, ema=0.98, precision=precision, progress=False
    )
    seconds = time.perf_counter() - start
    bits = pf.bits_per_dim(flow, images[1500:], draws=4).mean()
    return [precision, f"{history.steps / seconds:.1f}", f"{float(bits):.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*COUPLINGS, *AUTOREGRESSIVE, "digits"])
    parser.add_argument(
        "--libraries", nargs="+", default=["ours", "ours_in_pyro", "nflows", "normflows", "zuko"]
    )
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--no-compiled", dest="compiled", action="store_false", help="compile nothing")
    parser.add_argument("--cell", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("expected a CUDA device; found none")
    wanted = given.only or [*COUPLINGS, *AUTOREGRESSIVE, "digits"]
    header = ["row", "library", "parameters", "waits", "MB", "steps/s", "samples/s", "compiled", "captured"]
    if given.cell:
        name, library = given.cell
        print(
            "| " + " | ".join(row(name, library, given.seconds, compiled=given.compiled)) + " |", flush=True
        )
        return
    print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    print(markdown(header, []), flush=True)
    for name in wanted:
        known = (
            () if name == "digits" else BUILDERS if name in COUPLINGS else FAMILIES[AUTOREGRESSIVE[name][0]]
        )
        for library in given.libraries:
            if library in known:  # in a process of its own: a capture that fails spoils it
                again = [sys.executable, *sys.argv, "--cell", name, library]
                done = subprocess.run(again, capture_output=True, text=True)
                print(
                    done.stdout or f"| {name} | {library} | {done.stderr.strip().splitlines()[-1]} |",
                    flush=True,
                )
    if "digits" in wanted:
        print(markdown(["precision", "fit's steps/s", "bits/dim"], [digits("no"), digits("bf16")]))


if __name__ == "__main__":
    main()
