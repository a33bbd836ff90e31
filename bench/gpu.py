"""Forward and backward on a GPU against the CPU: the whole default chain, and each effect.

    python bench/gpu.py [--repeats 5] [--rows 1,8,64,256] [--samples 131072] [--only eq,compressor]

Stereo float32 at 44.1 kHz with gradients to the sound and to every fitted knob, each row with settings of
its own. The CPU runs on all its threads. The two take turns; medians are printed, and how far the outputs
are apart in dB of the peak. Peak memory is what torch had allocated on the GPU beyond the batch. Each is run
once before, so that nothing is compiled while the clock runs.

Without a GPU it says so and ends.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from fxstyle import effects
from fxstyle.chain import Chain
from fxstyle.device import lane_functions
from fxstyle.effects import DEFAULT_CHAIN

RATE = 44_100.0
CHANNELS = 2
EFFECT_ROWS = 64
SLOW_S = 5.0
"""A run that takes longer than this is not repeated."""

OUT = Path(__file__).parent / "out"

Knobs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Result:
    """One chain at one number of rows."""

    chain: str
    rows: int
    cpu_s: float
    gpu_s: float
    speed_up: float
    peak_mib: float
    apart_db: float


def settings(chain: Chain, rows: int) -> Knobs:
    """Return knobs by address (rows,) around the defaults, those that are fitted with gradients."""
    rng = np.random.default_rng(0)
    knobs: Knobs = {}
    for slot in chain:
        for p in slot.effect.params:
            if p.fitted:
                units = np.clip(p.to_unit(p.default) + 0.2 * rng.uniform(-1.0, 1.0, rows), 0.02, 0.98)
                value = p.from_unit(torch.from_numpy(units)).requires_grad_()
                knobs[f"{slot.name}.{p.name}"] = value
    return knobs


def once(chain: Chain, x: torch.Tensor, knobs: Knobs) -> torch.Tensor:
    """Run forward and backward, and wait for the end; return the output."""
    given = x.detach().requires_grad_()
    y = chain.forward(given, RATE, knobs)
    torch.autograd.grad(y.square().mean(), [given, *knobs.values()], allow_unused=True)
    if x.is_cuda:
        torch.cuda.synchronize()
    return y.detach()


def seconds(run: Callable[[], torch.Tensor]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def compare(name: str, chain: Chain, rows: int, samples: int, repeats: int) -> Result:
    rng = np.random.default_rng(1)
    here = torch.from_numpy(0.2 * rng.standard_normal((rows, CHANNELS, samples))).float()
    there, knobs = here.cuda(), settings(chain, rows)
    wanted, found = once(chain, here[:1], {k: v[:1] for k, v in knobs.items()}), once(chain, there, knobs)
    error = float((found[:1].cpu() - wanted).abs().max()) / max(float(wanted.abs().max()), 1e-20)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    cpu, gpu = [], []
    for _ in range(repeats):
        gpu.append(seconds(lambda: once(chain, there, knobs)))
        if not cpu or cpu[0] < SLOW_S:
            cpu.append(seconds(lambda: once(chain, here, knobs)))
    peak_mib = (torch.cuda.max_memory_allocated() - before) / 2**20
    cpu_s, gpu_s = statistics.median(cpu), statistics.median(gpu)
    apart_db = 20.0 * float(np.log10(max(error, 1e-20)))
    return Result(name, rows, cpu_s, gpu_s, cpu_s / gpu_s, peak_mib, apart_db)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", default="1,8,64,256")
    parser.add_argument("--samples", type=int, default=131_072)
    parser.add_argument("--only", default="", help="effects, instead of all of them and the chain")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no CUDA device")
        return
    lanes = "lanes" if lane_functions.usable(torch.device("cuda")) else "no lanes: numba cannot compile"
    print(f"{torch.cuda.get_device_name()}, {lanes}; {torch.get_num_threads()} CPU threads")
    names = [name for name in options.only.split(",") if name] or list(effects.names())
    jobs = [(name, Chain.parse(name), EFFECT_ROWS) for name in names]
    if not options.only:
        chain = Chain.parse(DEFAULT_CHAIN)
        jobs += [("default chain", chain, int(rows)) for rows in options.rows.split(",")]
    print(f"{'':14}{'rows':>6}{'CPU ms':>10}{'GPU ms':>10}{'faster':>9}{'peak MiB':>10}{'apart dB':>10}")
    results = []
    for name, chain, rows in jobs:
        r = compare(name, chain, rows, options.samples, options.repeats)
        results.append(asdict(r))
        print(
            f"{r.chain:14}{r.rows:6}{1e3 * r.cpu_s:10.1f}{1e3 * r.gpu_s:10.1f}{r.speed_up:8.1f}x"
            f"{r.peak_mib:10.0f}{r.apart_db:10.0f}"
        )
    OUT.mkdir(exist_ok=True)
    (OUT / "gpu.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
