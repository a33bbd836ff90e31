"""Speed and memory of rendering: each effect and a whole chain against pedalboard and scipy.

    python bench/render.py [--seconds 60] [--repeats 7] [--only eq,compressor]

Stereo float32 at 44.1 kHz on one thread each. The programs of a case take turns (A B C A B C ...), so
that a busy machine slows all of them alike; medians are printed. Where both compute the same law the
null (largest difference in dB of full scale) says so; where they do not, the note says what differs.
Peak memory is that of a fresh process while it renders once, input and output included, its
interpreter and libraries not.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pedalboard
import scipy.signal
import torch
from pedalboard import Pedalboard

import fxstyle
from fxstyle import effects
from fxstyle.effects import eq
from fxstyle.octaves import BAND_NAMES
from fxstyle.performance import perform
from fxstyle.render import render as fxstyle_render
from fxstyle.units import PEDALBOARD_TIME_RATIO

RATE = 44100
BLOCK = 8192
"""pedalboard's own default; fxstyle renders in blocks of its own."""

Stereo = npt.NDArray[np.float32]
Program = Callable[[Stereo], Any]
OUT = Path(__file__).parent / "out"
IR_S = 1.5
PEAKS = ((80.0, 3.0, 0.8), (200.0, -4.0, 1.0), (500.0, 2.0, 1.4), (1250.0, -3.0, 2.0), (3200.0, 4.0, 1.0),
         (8000.0, -2.0, 0.7))  # fmt: skip
"""Frequency in Hz, gain in dB, Q of the six bands compared."""


@dataclass(frozen=True)
class Case:
    """Programs for one job, fxstyle's first; `same_law`: which of them must give the same samples."""

    name: str
    programs: dict[str, Program]
    same_law: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Result:
    """One program of a case. `ratio`: fxstyle's speed over this one's."""

    case: str
    program: str
    seconds: float
    times_real_time: float
    ratio: float
    null_db: float | None
    peak_mib: float


def _slot(name: str, **settings: float | str) -> fxstyle.Slot:
    effect = effects.get(name)
    return fxstyle.Slot(effect, {knob: effect.param(knob).check(value) for knob, value in settings.items()})


def _ours(*slots: fxstyle.Slot) -> Program:
    chain = fxstyle.Chain(slots)
    return lambda x: fxstyle_render(chain, x, RATE)


def _theirs(*plugins: Any) -> Program:
    board = Pedalboard(list(plugins))
    return lambda x: board(x, RATE, buffer_size=BLOCK, reset=True)


def _eq_slot() -> fxstyle.Slot:
    bands: dict[str, float] = {}
    for i, (hz, gain_db, q) in enumerate(PEAKS, start=1):
        bands |= {f"peak{i}_hz": hz, f"peak{i}_db": gain_db, f"peak{i}_q": q}
    return _slot("eq", **bands)


def _peak_sos(hz: float, gain_db: float, q: float) -> list[float]:
    """RBJ peaking biquad (Audio EQ Cookbook), normalised to a0 = 1."""
    a, w = 10.0 ** (gain_db / 40.0), 2.0 * math.pi * hz / RATE
    alpha, c = math.sin(w) / (2.0 * q), -2.0 * math.cos(w)
    a0 = 1.0 + alpha / a
    row = (1.0 + alpha * a, c, 1.0 - alpha * a, 1.0 + alpha / a, c, 1.0 - alpha / a)
    return [v / a0 for v in row]


def _scipy_eq(x: Stereo) -> Any:
    return scipy.signal.sosfilt(np.array([_peak_sos(*p) for p in PEAKS], dtype=np.float32), x, axis=1)


def _scipy_same_eq(x: Stereo) -> Any:
    """All sections of fxstyle's equaliser that do something, by scipy."""
    settings = {k: torch.tensor([v], dtype=torch.float64) for k, v in _eq_slot().settings.items()}
    sos = eq.design(RATE, settings)[0].numpy()
    return scipy.signal.sosfilt(sos[np.any(sos[:, :3] != sos[:, 3:], axis=1)], x, axis=1)


def _peaks() -> list[Any]:
    return [pedalboard.PeakFilter(hz, gain_db, q) for hz, gain_db, q in PEAKS]


@cache
def _impulse_response() -> Stereo:
    t = np.arange(round(IR_S * RATE)) / RATE
    noise = np.random.default_rng(0).standard_normal((2, t.size)) * 10.0 ** (-3.0 * t / IR_S)
    return (noise / np.linalg.norm(noise, axis=1, keepdims=True)).astype(np.float32)


def _scipy_convolve(x: Stereo) -> Any:
    return scipy.signal.oaconvolve(x, _impulse_response(), axes=1)[:, : x.shape[1]]


def _mid_side(x: Stereo) -> Any:
    mid, side = 0.5 * (x[0] + x[1]), 0.75 * (x[0] - x[1])
    return np.stack((mid + side, mid - side))


def cases() -> list[Case]:
    """All cases whose effects exist."""
    comp = {"threshold_db": -24.0, "ratio": 4.0, "attack_ms": 10.0, "release_ms": 120.0}

    def compressors(count: int = 1) -> list[Any]:
        times = 10.0 * PEDALBOARD_TIME_RATIO, 120.0 * PEDALBOARD_TIME_RATIO
        return [pedalboard.Compressor(-24.0, 4.0, *times) for _ in range(count)]

    reverb = {f"t60_{band}_s": IR_S for band in BAND_NAMES}
    convolution = pedalboard.Convolution(_impulse_response(), mix=1.0, sample_rate=RATE)
    gate = {"threshold_db": -30.0, "ratio": 4.0, "attack_ms": 1.0, "release_ms": 120.0}
    hard = {"knee_db": 0.0, "makeup_db": 0.0, "link": 0.0}
    freeverb = pedalboard.Reverb(0.7, 0.5, 0.3, 0.4)
    return [
        Case(
            "gain",
            {"fxstyle": _ours(_slot("gain", gain_db=-4.5)), "pedalboard": _theirs(pedalboard.Gain(-4.5))},
            ("pedalboard",),
        ),
        Case(
            "eq",
            {
                "fxstyle": _ours(_eq_slot()),
                "pedalboard": _theirs(*_peaks()),
                "scipy sosfilt": _scipy_eq,
                "scipy, all sections": _scipy_same_eq,
            },
            ("scipy, all sections",),
            "fxstyle has two parked cuts besides, pedalboard and scipy the 6 peaks alone",
        ),
        Case(
            "compressor",
            {"fxstyle": _ours(_slot("compressor", **comp, **hard)), "pedalboard": _theirs(*compressors())},
            ("pedalboard",),
        ),
        Case(
            "compressor, default",
            {"fxstyle": _ours(_slot("compressor")), "pedalboard": _theirs(*compressors())},
            note="knee and stereo link, which pedalboard lacks",
        ),
        Case(
            "limiter",
            {
                "fxstyle": _ours(_slot("limiter", gain_db=6.0, detect="sample_peak")),
                "pedalboard": _theirs(pedalboard.Gain(6.0), pedalboard.Limiter(-0.3)),
            },
            note="look-ahead and a guaranteed ceiling of samples, which pedalboard lacks",
        ),
        Case(
            "limiter, true peak",
            {
                "fxstyle": _ours(_slot("limiter", gain_db=6.0)),
                "pedalboard": _theirs(pedalboard.Gain(6.0), pedalboard.Limiter(-0.3)),
            },
            note="a ceiling of true peaks as well",
        ),
        Case(
            "saturation, 1x",
            {
                "fxstyle": _ours(_slot("saturation", drive_db=12.0, oversampling="1")),
                "pedalboard": _theirs(pedalboard.Distortion(12.0)),
            },
            ("pedalboard",),
        ),
        Case(
            "saturation, 4x",
            {
                "fxstyle": _ours(_slot("saturation", drive_db=12.0)),
                "pedalboard": _theirs(pedalboard.Distortion(12.0)),
                "pedalboard, 4x": _oversampled_tanh,
            },
            note="fxstyle oversamples 4x; pedalboard does not: '4x' puts its tanh between scipy resamplers",
        ),
        Case(
            "delay",
            {
                "fxstyle": _ours(_slot("delay", time_ms=350.0, feedback=0.4)),
                "pedalboard": _theirs(pedalboard.Delay(0.35, 0.4, 0.3)),
            },
            note="fxstyle filters every echo and interpolates the time",
        ),
        Case(
            "gate",
            {
                "fxstyle": _ours(_slot("gate", **gate, range_db=80.0, knee_db=0.0, hold_ms=0.0, link=0.0)),
                "pedalboard": _theirs(
                    pedalboard.NoiseGate(
                        -30.0, 4.0, 1.0 * PEDALBOARD_TIME_RATIO, 120.0 * PEDALBOARD_TIME_RATIO
                    )
                ),
            },
            ("pedalboard",),
        ),
        Case("transient", {"fxstyle": _ours(_slot("transient"))}),
        Case(
            "multiband",
            {
                "fxstyle": _ours(_slot("multiband")),
                "pedalboard": _theirs(*compressors(3), *_peaks(), *_peaks()[:3]),
            },
            note="pedalboard has no crossover: three compressors and nine peaks, sections of the same cost",
        ),
        Case(
            "dynamic_eq",
            {
                "fxstyle": _ours(_slot("dynamic_eq")),
                "pedalboard": _theirs(*compressors(3), *_peaks()[:3]),
            },
            note="parts of the same cost: three compressors, three peaks",
        ),
        Case(
            "deesser",
            {"fxstyle": _ours(_slot("deesser")), "pedalboard": _theirs(*compressors(), *_peaks()[:1])},
            note="parts of the same cost: a compressor, a peak",
        ),
        Case(
            "tape",
            {
                "fxstyle": _ours(_slot("tape")),
                "pedalboard": _theirs(
                    pedalboard.Distortion(12.0),
                    *_peaks()[:1],
                    pedalboard.LowpassFilter(15000.0),
                    pedalboard.Chorus(0.8, 0.2, 8.0, 0.2, 0.4),
                ),
            },
            note="parts of like cost: a distortion that is not oversampled, a peak, a low-pass, a chorus",
        ),
        Case(
            "bitcrush",
            {
                # their bits count one polarity; at the sound's own rate nothing is held
                "fxstyle": _ours(_slot("bitcrush", bits=9.0, hold_hz=float(RATE))),
                "pedalboard": _theirs(pedalboard.Bitcrush(8.0)),
            },
            ("pedalboard",),
        ),
        Case("tremolo", {"fxstyle": _ours(_slot("tremolo"))}),
        Case(
            "phaser",
            {
                # their feedback has the other sign
                "fxstyle": _ours(_slot("phaser", feedback=-0.3, stereo_phase_deg=0.0)),
                "pedalboard": _theirs(pedalboard.Phaser(0.4, 0.4, 1000.0, 0.3, 0.5)),
            },
            note="fxstyle moves its filters at every sample, pedalboard at every fourth",
        ),
        Case(
            "chorus",
            {
                # their feedback has the other sign
                "fxstyle": _ours(_slot("chorus", feedback=-0.2)),
                "pedalboard": _theirs(pedalboard.Chorus(0.8, 0.2, 8.0, 0.2, 0.4)),
            },
            note="fxstyle interpolates by cubics",
        ),
        Case(
            "reverb",
            {
                "fxstyle": _ours(_slot("reverb", **reverb)),
                "pedalboard Reverb": _theirs(freeverb),
                "pedalboard Convolution": _theirs(convolution),
                "scipy oaconvolve": _scipy_convolve,
            },
            note="a response to -80 dB against Freeverb, and against plain convolutions of 1.5 s",
        ),
        Case("width", {"fxstyle": _ours(_slot("width", width=1.5)), "numpy": _mid_side}, ("numpy",)),
        Case(
            "whole chain",
            {
                "fxstyle": _ours(
                    _eq_slot(),
                    _slot("compressor", **comp),
                    _slot("saturation", drive_db=6.0),
                    _slot("delay"),
                    _slot("reverb", **reverb),
                    _slot("limiter"),
                ),
                "pedalboard": _theirs(
                    *_peaks(),
                    *compressors(),
                    pedalboard.Distortion(6.0),
                    pedalboard.Delay(0.35, 0.3),
                    freeverb,
                    pedalboard.Limiter(-0.3),
                ),
            },
            note="eq, compressor, saturation, delay, reverb, limiter, with the differences above",
        ),
    ]


def _oversampled_tanh(x: Stereo) -> Any:
    up = scipy.signal.resample_poly(x, 4, 1, axis=1).astype(np.float32)
    bent = pedalboard.Distortion(12.0)(up, 4 * RATE, buffer_size=4 * BLOCK)
    return scipy.signal.resample_poly(bent, 1, 4, axis=1)


def find(case: str) -> Case:
    """Return the case of that name."""
    return next(c for c in cases() if c.name == case)


def _resident_mib(key: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return float(line.split()[1]) / 1024.0
    raise RuntimeError(f"/proc/self/status has no {key}")


def measure_memory(case: str, program: str, path: str) -> float:
    """Peak MiB of one rendering in this process, above what it held before it loaded the input."""
    run = find(case).programs[program]
    # Compiled code, tables and thread pools are not what a longer file costs.
    run(np.load(path, mmap_mode="r")[:, :RATE].copy())
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _resident_mib("VmRSS")
        run(np.load(path))
        return _resident_mib("VmHWM") - before
    except OSError:  # not Linux, or not permitted: the high-water mark of the whole process
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        run(np.load(path))
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0 - before


def _memory_in_fresh_process(case: str, program: str, path: str) -> float:
    command = [sys.executable, __file__, "--memory", case, program, path]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run_case(case: Case, x: Stereo, path: str, repeats: int) -> list[Result]:
    """Time the programs of a case in turns and measure the memory of each."""
    outputs = {name: np.asarray(program(x)) for name, program in case.programs.items()}
    times: dict[str, list[float]] = {name: [] for name in case.programs}
    for _ in range(repeats):
        for name, program in case.programs.items():
            began = time.perf_counter()
            program(x)
            times[name].append(time.perf_counter() - began)
    own = float(np.median(times["fxstyle"]))
    results = []
    for name in case.programs:
        seconds = float(np.median(times[name]))
        null_db = None
        if name in case.same_law:
            null = float(np.abs(outputs[name].astype(float) - outputs["fxstyle"]).max())
            null_db = 20.0 * math.log10(max(null, 1e-12))
        results.append(
            Result(case.name, name, seconds, x.shape[1] / RATE / seconds, seconds / own, null_db,
                   _memory_in_fresh_process(case.name, name, path))
        )  # fmt: skip
    return results


def main() -> None:
    """Run the cases, print the table, write bench/out/render.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the audio")
    parser.add_argument("--repeats", type=int, default=7, help="turns; the median counts")
    parser.add_argument("--only", default="", help="cases whose name begins with one of these words")
    parser.add_argument("--memory", nargs=3, metavar=("CASE", "PROGRAM", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        print(measure_memory(*options.memory))
        return

    x = perform(options.seconds, RATE, song=1, seed=0)
    words = tuple(w.strip() for w in options.only.split(","))
    results: list[Result] = []
    print(
        f"{options.seconds:g} s stereo float32 at {RATE} Hz, one thread, medians of {options.repeats} turns"
    )
    print(f"{'case':<22}{'program':<24}{'x real time':>12}{'fxstyle is':>12}{'null dB':>9}{'peak MiB':>10}")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "input.npy")
        np.save(path, x)
        for case in cases():
            if not case.name.startswith(words):
                continue
            for r in run_case(case, x, path, options.repeats):
                results.append(r)
                ratio = "" if r.program == "fxstyle" else f"{r.ratio:.2f}x"
                null = "" if r.null_db is None else f"{r.null_db:.0f}"
                print(
                    f"{r.case:<22}{r.program:<24}{r.times_real_time:>12.0f}{ratio:>12}{null:>9}{r.peak_mib:>10.0f}"
                )
            if case.note:
                print(f"{'':<22}({case.note})")
            sys.stdout.flush()
    OUT.mkdir(exist_ok=True)
    (OUT / "render.json").write_text(json.dumps([asdict(r) for r in results], indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
