"""Reverbs fitted to rooms: to their impulse responses, and within a match together with EQ and dynamics.

    python bench/rooms_fit.py            needs FXSTYLE_DATA; 5 minutes, most of them the matches

Known: every measured space of the split `test`, its figures by ISO 3382 against those of the fitted effect's
own response, over the octaves in which the response can be measured.

Within a match: speech A, equalised and compressed by a fixed chain, in each room of the split `test`; the
input is other speech B of the same voice. Compared are the decay times of the fitted reverb in the octaves
125 Hz to 4 kHz with those of the response; beside it the same fit without an ear for the room (Quality.rooms
of 0). And the other way round: how far the equaliser is from the true one, rms over 100 Hz to 8 kHz less its
mean, with and without a room in the reference.

Convolution: 60 s of stereo through a response of 1 s, streaming, against pedalboard's, each on one thread;
the programs take turns.
"""

from __future__ import annotations

import csv
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pedalboard
import scipy.signal
from rooms_row import Row

import fxstyle.fit.match as matching
from fxstyle import effects, responses
from fxstyle.audio import Audio, read, resample
from fxstyle.chain import Chain
from fxstyle.errors import AudioError
from fxstyle.fit.quality import QUALITIES
from fxstyle.fit.rooms import fit_room
from fxstyle.octaves import BAND_NAMES
from fxstyle.render import render
from fxstyle.rooms.iso3382 import measure_response

Floats = npt.NDArray[np.float64]

TREATMENT = {
    "eq.low_shelf_db": 6.0,
    "eq.peak4_db": -5.0,
    "eq.high_shelf_db": 7.0,
    "compressor.threshold_db": -28.0,
    "compressor.ratio": 3.5,
}
CURVE_HZ = np.geomspace(100.0, 8000.0, 60)
MATCHED = slice(1, 7)
"""Octaves 125 Hz to 4 kHz."""


@cache
def _files() -> list[dict[str, str]]:
    with (Path(os.environ["FXSTYLE_DATA"]) / "MANIFEST.csv").open() as stream:
        return list(csv.DictReader(stream))


def _read(path: str) -> Audio:
    return read(Path(os.environ["FXSTYLE_DATA"]) / path)


def _spaces(*kinds: str) -> list[str]:
    return [
        row["path"]
        for row in _files()
        if row["split"] == "test" and row["path"].startswith(tuple(f"rir/{kind}__" for kind in kinds))
    ]


def known(kind: str) -> Iterator[Row]:
    """Fit one kind of reverb to every measured space."""
    times, clarities, seconds, refused = [], [], [], 0
    for path in _spaces("openair", "plate"):
        began = time.perf_counter()
        try:
            found = fit_room(_read(path), kind=kind)
        except AudioError:
            refused += 1
            continue
        seconds.append(time.perf_counter() - began)
        target, made = found.target, found.achieved
        assert target is not None
        count = min(target.centre_hz.size, made.centre_hz.size)
        for b in range(count):
            figure = next((f for f in ("t30_s", "t20_s", "edt_s") if target.sure(f)[b]), None)
            if figure is not None and target.sure("c50_db")[b]:
                times.append(abs(getattr(made, figure)[b] / getattr(target, figure)[b] - 1.0))
                clarities.append(abs(made.c50_db[b] - target.c50_db[b]))
    t, c = np.array(times), np.array(clarities)
    inside = float(np.mean((t <= 0.05) & (c <= 0.5)))
    yield Row(
        f"known response to {kind}: RT60 and C50, median error ({len(t)} octaves of {len(seconds)} spaces,"
        f" {refused} not measurable)",
        f"{100 * np.nanmedian(t):.1f} % and {np.nanmedian(c):.2f} dB; 90 % within"
        f" {100 * np.nanquantile(t, 0.9):.0f} % and {np.nanquantile(c, 0.9):.1f} dB; both right in"
        f" {100 * inside:.0f} %; {np.median(seconds):.1f} s",
        "<= 5 % and <= .5 dB",
        bool(np.nanmedian(t) <= 0.05 and np.nanmedian(c) <= 0.5),
    )


def _speech() -> tuple[Audio, Audio]:
    """Return speech A and B of one voice, some ten seconds each, of the split test if there is enough."""
    rows = [r for r in _files() if r["path"].startswith("speech/") and "arctic" in r["path"]]
    paths = [r["path"] for r in sorted(rows, key=lambda r: (r["split"] != "test", r["path"]))][:6]
    sounds = [_read(path) for path in paths]
    rate = sounds[0].rate
    joined = [np.concatenate([s.samples[:1] for s in part], axis=1) for part in (sounds[:3], sounds[3:])]
    return Audio(joined[0], rate), Audio(joined[1], rate)


def _curve_db(chain: Chain, rate: int) -> Floats:
    click = np.zeros((1, rate // 2), np.float32)
    click[0, 0] = 1e-3  # below every threshold
    eq = Chain(tuple(slot for slot in chain if slot.name == "eq"))
    y = render(eq, click, rate)[0] if eq.slots else click[0]
    _, h = scipy.signal.freqz(y.astype(np.float64) * 1e3, worN=CURVE_HZ, fs=rate)
    level = 20.0 * np.log10(np.maximum(np.abs(h), 1e-6))
    return np.asarray(level - level.mean())


def within_a_match() -> Iterator[Row]:
    """Match speech to treated speech in rooms."""
    a, b = _speech()
    treatment = Chain.parse("eq,compressor").with_settings(TREATMENT)
    treated = render(treatment, a.samples, a.rate).astype(np.float64)
    true_db = _curve_db(treatment, a.rate)
    errors: dict[int, list[float]] = {0: [], QUALITIES["standard"].rooms: []}
    curves: dict[str, list[float]] = {"aware": [], "deaf": [], "dry": []}
    usual = matching.QUALITIES
    try:
        for path in _spaces("openair"):
            h = _read(path)
            h = h if h.rate == a.rate else resample(h, a.rate)
            truth = measure_response(h.samples[:1], a.rate)
            wet = scipy.signal.fftconvolve(treated, h.samples[:1], axes=1)[:, : treated.shape[1]]
            reference = Audio((wet / np.abs(wet).max() * 0.5).astype(np.float32), a.rate)
            for rooms, found in errors.items():
                matching.QUALITIES = {**usual, "standard": replace(usual["standard"], rooms=rooms)}
                chain = matching.match(b, reference, chain="eq,compressor,reverb").chain
                settings = chain.settings()
                for octave in range(8)[MATCHED]:
                    value = settings.get(f"reverb.t60_{BAND_NAMES[octave]}_s")
                    if value is not None and truth.sure("t20_s")[octave]:
                        found.append(abs(value / truth.t20_s[octave] - 1.0))
                distance_db = float(np.std(_curve_db(chain, a.rate) - true_db))
                curves["aware" if rooms else "deaf"].append(distance_db)
    finally:
        matching.QUALITIES = usual
    dry = Audio((treated / np.abs(treated).max() * 0.5).astype(np.float32), a.rate)
    chain = matching.match(b, dry, chain="eq,compressor,reverb").chain
    curves["dry"].append(float(np.std(_curve_db(chain, a.rate) - true_db)))
    deaf, aware = (100.0 * float(np.median(found)) for found in errors.values())
    yield Row(
        "RT60 of the reverb fitted together with EQ and compressor, 125 Hz to 4 kHz, median error",
        f"{aware:.0f} % ({len(errors[0])} octaves); without an ear for the room {deaf:.0f} %",
        "<= 16 % (as alone)",
        aware <= 16.0,
    )
    yield Row(
        "equaliser fitted beside it: rms distance to the true curve",
        f"{np.mean(curves['aware']):.1f} dB in rooms, without an ear {np.mean(curves['deaf']):.1f} dB;"
        f" {curves['dry'][0]:.1f} dB where there is no room",
        "",
        None,
    )
    left = chain.settings().get("reverb.level_db", -np.inf)
    yield Row(
        "reverb that a treated but dry reference gets", f"{left:.0f} dB", "<= -20 dB", bool(left <= -20.0)
    )


def convolution() -> Iterator[Row]:
    """Stream a minute of stereo through a response of one second."""
    rate = 44_100
    rng = np.random.default_rng(0)
    t = np.arange(rate) / rate
    h = (10.0 ** (-3.0 * t) * rng.standard_normal((2, rate))).astype(np.float32)
    x = (0.1 * rng.standard_normal((2, 60 * rate))).astype(np.float32)
    effect = effects.get("convolution")
    settings = {**effect.defaults(), "ir": responses.add(responses.response("h.wav", h, rate)), "dry": 0.0}
    theirs = pedalboard.Convolution(np.ascontiguousarray(h), mix=1.0, sample_rate=rate)
    block = 131_072

    def ours() -> None:
        state: Any = None
        for begin in range(0, x.shape[1], block):
            _, state = effect.render(x[:, begin : begin + block], rate, state, **settings)

    def run_theirs() -> None:
        theirs.reset()
        for begin in range(0, x.shape[1], block):
            theirs.process(x[:, begin : begin + block], rate, reset=False)

    programs: dict[str, Callable[[], None]] = {"ours": ours, "theirs": run_theirs}
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(6):
        for name, run in programs.items():
            began = time.process_time()
            run()
            if turn:
                taken[name].append(time.process_time() - began)
    mine, other = (statistics.median(found) for found in taken.values())
    yield Row(
        "convolution with a response of 1 s against pedalboard, processor time",
        f"{other / mine:.1f}x ({60 / mine:,.0f}x real time against {60 / other:,.0f}x)",
        ">= 2x",
        other >= 2.0 * mine,
    )


def rows() -> Iterator[Row]:
    """Everything."""
    yield from convolution()
    for kind in ("reverb", "fdn", "room"):
        yield from known(kind)
    yield from within_a_match()


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what}: {row.measured}  (wanted {row.target or '-'}, met: {row.met})", flush=True)
