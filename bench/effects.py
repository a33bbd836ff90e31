"""What each effect costs: rendering, silence, threads, gradients, memory, and its first call.

    python bench/effects.py [--seconds 60] [--repeats 5] [--only eq,compressor]

Stereo float32 at 44.1 kHz, default settings, one thread unless said. Per effect:

x real time     seconds of audio rendered per second
silence         time for the same length of which all but the first ten seconds is silence, over that of
                music throughout; 1 or less: nothing crawls through denormal numbers
2 threads       files per second with two threads on two files, over one thread
possible        the same of a loop that shares nothing and touches no memory, in the same turns: what the
                machine gave to two threads at the time
forward, backward   ms of one fitting pass over 8 x 2 x 131,072, two threads as a fit has
MiB per row     what a row of that batch holds between forward and backward beyond its input and output
null dB         forward against render, the worst of three random settings, in dB of full scale
first call s    import, compilation and rendering of one second in a fresh process with nothing cached
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from fxstyle import effects
from fxstyle.chain import Chain, Slot
from fxstyle.effect import Effect
from fxstyle.performance import perform
from fxstyle.render import render

RATE = 44100
ROWS, FRAMES = 8, 131_072
MUSIC_S = 10.0
SPINS = 20_000_000  # about as long as a chain takes
SIX = "eq,compressor,saturation,delay,reverb,limiter"
OUT = Path(__file__).parent / "out"

Stereo = npt.NDArray[np.float32]

FIRST_CALL = """
import time
began = time.perf_counter()
import sys
import numpy as np
from fxstyle.chain import Chain
from fxstyle.render import render
x = (0.1 * np.random.default_rng(0).standard_normal((2, 44100))).astype(np.float32)
render(Chain.parse(sys.argv[1]), x, 44100)
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Cost:
    """Figures of one effect, as in the module's docstring."""

    effect: str
    times_real_time: float
    silence: float
    two_threads: float
    possible: float
    forward_ms: float
    backward_ms: float
    row_mib: float
    null_db: float
    first_call_s: float


def turns(repeats: int, *programs: Callable[[], Any]) -> list[float]:
    """Return the median seconds of programs that take turns, after one round that does not count."""
    times: list[list[float]] = [[] for _ in programs]
    for turn in range(repeats + 1):
        for program, taken in zip(programs, times, strict=True):
            began = time.perf_counter()
            program()
            if turn:
                taken.append(time.perf_counter() - began)
    return [statistics.median(taken) for taken in times]


@njit(nogil=True)
def _spin(count: int) -> float:
    """Wait for `count` products and sums, each for the last."""
    value = 0.0
    for i in range(count):
        value = 0.999 * value + i
    return value


def twice(work: Callable[[], Any]) -> Callable[[], None]:
    """Return what does `work` on two threads at once."""

    def both() -> None:
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(work) for _ in range(2)]:
                done.result()

    return both


def rendering(chain: Chain, x: Stereo, repeats: int) -> tuple[float, float, float, float]:
    """Return x real time, silence over music, what a second thread brings, and what it could."""
    quiet = x.copy()
    quiet[:, round(MUSIC_S * RATE) :] = 0.0

    def one() -> None:
        render(chain, x, RATE)

    def spin() -> None:
        _spin(SPINS)

    music, silence, pair, alone, together = turns(
        repeats, one, lambda: render(chain, quiet, RATE), twice(one), spin, twice(spin)
    )
    return x.shape[1] / RATE / music, silence / music, 2.0 * music / pair, 2.0 * alone / together


def gradients(effect: Effect, x: Stereo, repeats: int) -> tuple[float, float, float]:
    """Return ms of forward and of backward, and MiB per row held in between."""
    batch = torch.from_numpy(np.stack([x[:, i * RATE : i * RATE + FRAMES] for i in range(ROWS)]))
    knobs = {
        name: torch.full((ROWS,), value, dtype=torch.float64).requires_grad_(not effect.param(name).choices)
        for name, value in effect.defaults().items()
    }
    batch.requires_grad_()
    forward, backward, held = [], [], 0.0
    for turn in range(repeats + 1):
        bytes_held: dict[int, int] = {}

        def keep(tensor: torch.Tensor, bytes_held: dict[int, int] = bytes_held) -> torch.Tensor:
            storage = tensor.untyped_storage()
            bytes_held[storage.data_ptr()] = storage.nbytes()
            return tensor

        began = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = effect.forward(batch, RATE, **knobs)
        middle = time.perf_counter()
        y.backward(torch.ones_like(y))
        if turn:
            forward.append(middle - began)
            backward.append(time.perf_counter() - middle)
        for tensor in (batch, y):
            bytes_held.pop(tensor.untyped_storage().data_ptr(), None)
        held = sum(bytes_held.values()) / ROWS / 2**20
    return 1e3 * statistics.median(forward), 1e3 * statistics.median(backward), held


def null_db(effect: Effect, x: Stereo) -> float:
    """Return the largest difference of both forms over three random settings, in float64."""
    signal = x[:, : 2 * RATE].astype(np.float64)
    worst = 0.0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        settings = {
            p.name: float(rng.integers(len(p.choices)))
            if p.choices
            else float(p.from_unit(torch.tensor(rng.uniform(0.02, 0.98), dtype=torch.float64)))
            for p in effect.params
        }
        knobs = {name: torch.tensor([value], dtype=torch.float64) for name, value in settings.items()}
        y = effect.forward(torch.from_numpy(signal)[None], RATE, **knobs)[0].numpy()
        z = render(Chain((Slot(effect, settings),)), signal, RATE)
        scale = max(1.0, float(np.abs(y).max()))
        worst = max(worst, float(np.abs(y - z).max()) / scale)
    return 20.0 * float(np.log10(max(worst, 1e-12)))


def first_call(chain: str) -> float:
    """Return the seconds of a first render in a fresh process with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        command = [sys.executable, "-c", FIRST_CALL, chain]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return float(done.stdout)


def after_warm() -> tuple[float, float]:
    """Return the seconds of `fxstyle warm` with an empty cache, and of the first render after it."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "fxstyle.cli", "warm"], env=environment, check=True, capture_output=True
        )
        warmed = time.perf_counter() - began
        command = [sys.executable, "-c", FIRST_CALL, effects.DEFAULT_CHAIN]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return warmed, float(done.stdout)


def cost(effect: Effect, x: Stereo, repeats: int) -> Cost:
    """Measure one effect."""
    torch.set_num_threads(1)
    speed, silence, threads, possible = rendering(Chain((Slot(effect),)), x, repeats)
    torch.set_num_threads(2)
    forward, backward, held = gradients(effect, x, repeats)
    return Cost(
        effect.name, speed, silence, threads, possible, forward, backward, held, null_db(effect, x),
        first_call(effect.name),
    )  # fmt: skip


def main() -> None:
    """Measure the effects, print the table, write bench/out/effects.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the audio, at least 15")
    parser.add_argument("--repeats", type=int, default=5, help="turns; the median counts")
    parser.add_argument("--only", default="", help="effects, separated by commas; all by default")
    options = parser.parse_args()
    x = perform(max(options.seconds, 15.0), RATE, song=1, seed=0)
    names = options.only.split(",") if options.only else effects.names()
    print(f"{x.shape[1] / RATE:g} s stereo float32 at {RATE} Hz, medians of {options.repeats} turns")
    heads = (
        "x real time",
        "silence",
        "2 threads",
        "possible",
        "forward ms",
        "backward ms",
        "MiB/row",
        "null dB",
    )
    print(f"{'effect':<12}" + "".join(f"{head:>13}" for head in heads) + f"{'first call s':>14}")
    results = []
    for name in names:
        c = cost(effects.get(name), x, options.repeats)
        results.append(c)
        print(
            f"{c.effect:<12}{c.times_real_time:>13.0f}{c.silence:>13.2f}{c.two_threads:>13.2f}{c.possible:>13.2f}"
            f"{c.forward_ms:>13.1f}{c.backward_ms:>13.1f}{c.row_mib:>13.2f}{c.null_db:>13.0f}"
            f"{c.first_call_s:>14.1f}",
            flush=True,
        )
    content: dict[str, Any] = {"effects": [asdict(c) for c in results]}
    if not options.only:
        torch.set_num_threads(1)
        for chain in (effects.DEFAULT_CHAIN, SIX):
            speed, _, threads, possible = rendering(Chain.parse(chain), x, options.repeats)
            print(f"{chain}: {speed:.0f} x real time, two threads {threads:.2f} of {possible:.2f}")
            content[chain] = {"times_real_time": speed, "two_threads": threads, "possible": possible}
        cold = first_call(effects.DEFAULT_CHAIN)
        warmed, warm_call = after_warm()
        print(f"default chain, first call: {cold:.1f} s with nothing compiled;")
        print(f"fxstyle warm: {warmed:.1f} s, first call after it: {warm_call:.1f} s (import included)")
        content |= {"cold_s": cold, "warm_s": warmed, "warm_call_s": warm_call}
    OUT.mkdir(exist_ok=True)
    (OUT / "effects.json").write_text(json.dumps(content, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
