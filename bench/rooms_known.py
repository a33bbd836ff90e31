"""Rooms that are known: ISO 3382 figures of exponentials in noise, and of responses deconvolved from pairs.

Run with FXSTYLE_DATA naming the folder of real recordings: python bench/rooms_known.py
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.signal
import soundfile as sf
from rooms_row import Row

from fxstyle.rooms.deconvolve import deconvolve
from fxstyle.rooms.iso3382 import measure_response

Floats = npt.NDArray[np.float64]

TIME_TARGET, CLARITY_TARGET_DB = 0.05, 0.5
SNRS_DB = (60.0, 40.0, 30.0, 20.0)
DECAY_S, RATE = 1.0, 48000.0
SEEDS = 10


def _read(path: Path) -> tuple[Floats, float]:
    x, rate = sf.read(path, always_2d=True)
    return x.T, float(rate)


def _exponentials() -> Iterator[Row]:
    t = np.arange(round(2.0 * DECAY_S * RATE)) / RATE
    for floor_db in (-70.0, -50.0, -40.0):
        errors = []
        for seed in range(SEEDS):
            rng = np.random.default_rng(seed)
            h = 10.0 ** (-3.0 * t / DECAY_S) * rng.standard_normal(t.size)
            found = measure_response(h + 10.0 ** (floor_db / 20.0) * rng.standard_normal(t.size), RATE)
            errors.append(np.where(found.sure("t20_s"), np.abs(found.t20_s / DECAY_S - 1.0), np.nan)[3:])
        error = float(np.nanmedian(errors))
        yield Row(
            f"T20 of a 1 s exponential, noise at {floor_db:g} dB, 500 Hz to 8 kHz: median error",
            f"{100.0 * error:.1f} %",
            f"<= {100.0 * TIME_TARGET:g} %",
            error <= TIME_TARGET,
        )


def _errors(dry: Floats, wet: Floats, true: Floats, rate: float) -> tuple[Floats, Floats]:
    """Return errors of T20 and of C50 in dB, (band,), NaN where a value is not sure."""
    h, confidence = deconvolve(dry, wet, rate)
    truth, found = measure_response(true, rate), measure_response(h, rate)

    def sure(name: str) -> npt.NDArray[np.bool_]:
        return truth.sure(name) & found.sure(name) & confidence.sure

    return (
        np.where(sure("t20_s"), np.abs(found.t20_s / truth.t20_s - 1.0), np.nan),
        np.where(sure("c50_db"), np.abs(found.c50_db - truth.c50_db), np.nan),
    )


def _medians(what: str, errors: list[tuple[Floats, Floats]]) -> Iterator[Row]:
    for k, (name, scale, unit, target) in enumerate(
        (("T20", 100.0, " %", TIME_TARGET), ("C50", 1.0, " dB", CLARITY_TARGET_DB))
    ):
        values = np.array([pair[k] for pair in errors])
        bands = [
            f"{scale * np.median(b[~np.isnan(b)]):.2f}" if not np.isnan(b).all() else "-" for b in values.T
        ]
        known = values[~np.isnan(values)]
        error = float(np.median(known)) if known.size else float("nan")
        worst = float(known.max()) if known.size else float("nan")
        yield Row(
            f"{what}: {name}, median error where sure",
            f"{scale * error:.2f}{unit} (largest {scale * worst:.2f}; {known.size} of {values.size} sure; "
            f"per octave {' '.join(bands)})",
            f"<= {scale * target:g}{unit}",
            error <= target,
        )


def _pairs(folder: Path) -> Iterator[Row]:
    with (folder / "MANIFEST.csv").open() as table:
        names = [row["path"] for row in csv.DictReader(table)]
    wet_names = [n for n in names if n.startswith("drywet/speech_in_rooms/")]
    given: list[tuple[Floats, Floats]] = []
    noisy: dict[float, list[tuple[Floats, Floats]]] = {snr_db: [] for snr_db in SNRS_DB}
    rng = np.random.default_rng(0)
    began, seconds = time.perf_counter(), 0.0
    for name in wet_names:
        speech, response = Path(name).stem.split("__", 1)
        dry, rate = _read(folder / "speech" / f"{speech}.flac")
        true, _ = _read(folder / "rir" / f"{response}.flac")
        wet, _ = _read(folder / name)
        seconds += wet.shape[1] / rate
        given.append(_errors(dry, wet, true, rate))
    took = time.perf_counter() - began
    yield from _medians("deconvolved, speech in measured rooms (16 bit)", given)
    yield Row("deconvolution of two channels, per second of recording", f"{took / seconds:.1f} s", "-", None)
    for name in wet_names:
        speech, response = Path(name).stem.split("__", 1)
        dry, rate = _read(folder / "speech" / f"{speech}.flac")
        true, _ = _read(folder / "rir" / f"{response}.flac")
        wet = scipy.signal.oaconvolve(dry, true[:1], axes=1)
        for snr_db in SNRS_DB:
            hiss = 10.0 ** (-snr_db / 20.0) * wet.std() * rng.standard_normal(wet.shape)
            noisy[snr_db].append(_errors(dry, wet + hiss, true[:1], rate))
    for snr_db in SNRS_DB:
        yield from _medians(f"deconvolved, the same with white noise at {snr_db:g} dB SNR", noisy[snr_db])


def rows() -> Iterator[Row]:
    """Yield the rows; those on recordings only where FXSTYLE_DATA names their folder."""
    yield from _exponentials()
    named = os.environ.get("FXSTYLE_DATA", "")
    if named:
        yield from _pairs(Path(named))


def main() -> int:
    """Print the rows; 1 where a target is missed."""
    found = list(rows())
    for row in found:
        met = {True: "met", False: "MISSED", None: ""}[row.met]
        print(f"{row.what}\n    {row.measured}   target {row.target}   {met}")
    return int(any(row.met is False for row in found))


if __name__ == "__main__":
    sys.exit(main())
