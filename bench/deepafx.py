"""The synthetic protocol of DeepAFx-ST (Steinmetz, Bryan, Reiss 2022): equaliser and compressor.

    python bench/deepafx.py [--items 12] [--methods nothing,loudness,...] [--quality standard]

Of two adjacent halves a, b of a `test` recording (speech: 131072 samples at 24 kHz; music: 262144 at 44.1),

    input = E_1(G(a)),   reference = K(E_2(b)),   truth = K(E_2(a)),   each at -12 dBFS peak

with equalisers E (p = .75 on each side), an expander G (p = .10) and a compressor K (p = .75), all of
pedalboard. The publication leaves ranges open; ours are in `draw`. Speech is heard by all methods at
44.1 kHz, for they all run at that rate, and compared at 24 kHz. Known chain: eq,compressor,gain.

    STFT   multi-resolution STFT of auraloss, linear and log magnitude, FFT 32 .. 32768 by four, hop a half
    MSD    mean |difference| of ln mel magnitudes, FFT 65536, 128 bands (O'Shaughnessy's mel)
    SCE    |difference| of mean spectral centroids, Hz;   RMS, LUFS: |difference| in dB
    PESQ   wideband, speech at 16 kHz, higher is nearer; only where the package pesq is installed
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import auraloss
import numpy as np
import pedalboard
import soxr
import torch
from baselines import METHODS, Task
from counterfx import RATE, Stereo, data_folder, load, loudness_lufs, recordings

from fxstyle.memory import keep_large_blocks

OUT = Path(__file__).parent / "out"
CHAIN = "eq,compressor,gain"
SETS = {"speech": (24_000, 131_072), "music": (44_100, 262_144)}
PEAK = 10.0 ** (-12.0 / 20.0)
FFT_SIZES = (32, 128, 512, 2048, 8192, 32768)
MEL_FFT, MELS = 65_536, 128
LEAST = 1e-7
NAMES = ("nothing", "loudness", "rules", "rules+loudness", "matchering", "fxstyle")
ROUNDS = 100
"""Windows tried until both have sound."""


def _peaked(x: Stereo) -> Stereo:
    return np.asarray(x * (PEAK / max(float(np.abs(x).max()), LEAST)), np.float32)


def draw(rng: np.random.Generator) -> tuple[list[Any], list[Any]]:
    """Draw what is done to the input, and what to reference and truth."""

    def equaliser() -> list[Any]:
        def shelf(kind: Any, low: float, high: float) -> Any:
            return kind(low * (high / low) ** rng.random(), rng.uniform(-12.0, 12.0), 0.7)

        peaks = [
            pedalboard.PeakFilter(low * 4.0 ** rng.random(), rng.uniform(-12.0, 12.0), rng.uniform(0.3, 3.0))
            for low in (100.0, 400.0, 1200.0, 3000.0)
        ]
        low, high = (pedalboard.LowShelfFilter, 60.0, 250.0), (pedalboard.HighShelfFilter, 4000.0, 9000.0)
        return [shelf(*low), *peaks, shelf(*high)]

    source: list[Any] = equaliser() if rng.random() < 0.75 else []
    if rng.random() < 0.10:
        source.insert(0, pedalboard.NoiseGate(rng.uniform(-50.0, -30.0), 2.0, 5.0, 100.0))
    wanted: list[Any] = equaliser() if rng.random() < 0.75 else []
    if rng.random() < 0.75:
        attack, release = 0.5 * 100.0 ** rng.random(), 50.0 * 6.0 ** rng.random()
        wanted.append(
            pedalboard.Compressor(rng.uniform(-45.0, -15.0), rng.uniform(2.0, 10.0), attack, release)
        )
    return source, wanted


def item(kind: str, number: int, seed: int) -> tuple[Stereo, Stereo, Stereo]:
    """Return input, reference and truth, (2, time) at RATE."""
    rng = np.random.default_rng([seed, number, list(SETS).index(kind)])
    rate, size = SETS[kind]
    frames = round(size * RATE / rate)
    group = recordings(data_folder())[kind]
    paths = [group[number % len(group)][i] for i in rng.permutation(len(group[number % len(group)]))]
    for _ in range(ROUNDS):
        x = np.concatenate([load(path) for path in paths], axis=1)
        x = np.concatenate([x] * (1 + 2 * frames // x.shape[1]), axis=1)
        start = int(rng.integers(x.shape[1] - 2 * frames + 1))
        a, b = x[:, start : start + frames], x[:, start + frames : start + 2 * frames]
        source, wanted = draw(rng)
        if min(loudness_lufs(a), loudness_lufs(b)) > -50.0 and (source or wanted):
            break
    played = [
        _peaked(pedalboard.Pedalboard(chain)(_peaked(half), RATE, reset=True))
        for chain, half in ((source, a), (wanted, b), (wanted, a))
    ]
    return played[0], played[1], played[2]


@cache
def _mel(rate: int) -> np.ndarray:
    edges = np.linspace(0.0, 2595.0 * np.log10(1.0 + rate / 2.0 / 700.0), MELS + 2)
    f = 2595.0 * np.log10(1.0 + np.fft.rfftfreq(MEL_FFT, 1.0 / rate) / 700.0)[:, None]
    rise, fall = (f - edges[:-2]), (edges[2:] - f)
    return np.clip(np.minimum(rise, fall) / (edges[1] - edges[0]), 0.0, None)


def _mels(x: np.ndarray, rate: int) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(x, MEL_FFT)[:: MEL_FFT // 2] * np.hanning(MEL_FFT)
    return np.asarray(np.log(np.abs(np.fft.rfft(frames)) @ _mel(rate) + LEAST))


def _centroid(x: np.ndarray, rate: int) -> float:
    frames = np.lib.stride_tricks.sliding_window_view(x, 2048)[::1024] * np.hanning(2048)
    power = np.abs(np.fft.rfft(frames))
    hz = np.fft.rfftfreq(2048, 1.0 / rate)
    return float(np.mean((power @ hz) / (power.sum(axis=1) + LEAST)))


def scores(kind: str, y: Stereo, truth: Stereo) -> dict[str, float]:
    """Return the metrics of an output."""
    rate = SETS[kind][0]
    level = abs(loudness_lufs(y) - loudness_lufs(truth))
    mono = [soxr.resample(z.mean(axis=0), RATE, rate) if rate != RATE else z.mean(axis=0) for z in (y, truth)]
    size = min(len(z) for z in mono)
    own, goal = (np.asarray(z[:size], np.float64) for z in mono)
    loss = auraloss.freq.MultiResolutionSTFTLoss(
        FFT_SIZES, [n // 2 for n in FFT_SIZES], FFT_SIZES, w_sc=0.0, w_log_mag=1.0, w_lin_mag=1.0
    )
    tensors = [torch.from_numpy(z)[None, None].float() for z in (own, goal)]
    rms = [20.0 * np.log10(np.sqrt(np.square(z).mean()) + LEAST) for z in (own, goal)]
    found = {
        "STFT": float(loss(*tensors)),
        "MSD": float(np.abs(_mels(own, rate) - _mels(goal, rate)).mean()),
        "SCE": abs(_centroid(own, rate) - _centroid(goal, rate)),
        "RMS": float(abs(rms[0] - rms[1])),
        "LUFS": level,
    }
    if kind == "speech" and importlib.util.find_spec("pesq"):
        from pesq import pesq

        own16, goal16 = (soxr.resample(z, rate, 16_000) for z in (own, goal))
        found["PESQ"] = float(pesq(16_000, goal16, own16, "wb"))
    return found


def main(argv: list[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--items", type=int, default=12, help="of each set")
    parser.add_argument("--methods", default=",".join(NAMES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quality", default="standard")
    options = parser.parse_args(argv)
    names = [name.strip() for name in options.methods.split(",")]
    if unknown := [name for name in names if name not in METHODS]:
        parser.error(f"unknown method {', '.join(unknown)}; there are {', '.join(METHODS)}")
    keep_large_blocks()
    OUT.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    for number in range(options.items):
        for kind in SETS:
            source, reference, truth = item(kind, number, options.seed)
            for name in names:
                began = time.perf_counter()
                y = METHODS[name](Task(source, reference, CHAIN, (), options.quality, options.seed))
                seconds = time.perf_counter() - began
                told = {"set": kind, "item": number, "method": name, "seconds": seconds}
                rows.append(told | scores(kind, y, truth))
            print(kind, number, *(f"{r['method']} {r['STFT']:.3f}" for r in rows[-len(names) :]), flush=True)
    (OUT / f"deepafx-seed{options.seed}.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    for kind in SETS:
        own = [r for r in rows if r["set"] == kind]
        metrics = [m for m in ("STFT", "MSD", "SCE", "RMS", "LUFS", "PESQ") if m in own[0]]
        print(
            f"\n{kind:<16}" + "".join(f"{m:>9}" for m in metrics) + "   worse %   s/item   (share of nothing)"
        )
        base = {m: np.mean([r[m] for r in own if r["method"] == names[0]]) for m in metrics}
        untouched = {r["item"]: r["STFT"] for r in own if r["method"] == names[0]}
        for name in names:
            here = [r for r in own if r["method"] == name]
            means = {m: float(np.mean([r[m] for r in here])) for m in metrics}
            worse = 100.0 * np.mean([r["STFT"] > untouched[r["item"]] + 1e-6 for r in here])
            seconds = float(np.median([r["seconds"] for r in here]))
            shares = f"STFT {means['STFT'] / base['STFT']:.2f}, LUFS {means['LUFS'] / base['LUFS']:.2f}"
            cells = "".join(f"{means[m]:>9.3f}" for m in metrics)
            print(f"{name:<16}{cells}{worse:>10.1f}{seconds:>9.1f}   {shares}")


if __name__ == "__main__":
    main()
