"""How well is a reference of the same performance detected, laid on the input, and identified?

    python bench/paired.py [detect] [known] [effects] [counterfx] [plugins] [--items 24] [--seed 0]

Windows of 10 s of `test` recordings, as bench/counterfx.py cuts them.

detect      pairs: a window and itself through one treatment each of PAIRS, up to half a second late; others:
            the window after it, plain and treated, another recording, a stretched and a jittered copy.
known       chains of fxstyle's own effects with random settings, the settings sought again.
effects     one pedalboard effect with random settings, fitted with ours: how near come the settings.
counterfx   chains of counterfx.py: Ld before, of the fit to R(B) (other content), of the paired fit to R(A).
plugins     drywet/plugins of the data: Ld and MR-STFT against doing nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pedalboard
import soundfile
import soxr  # type: ignore[import-untyped]  # compiled, without stubs
from counterfx import KINDS, RATE, Stereo, data_folder, draw_steps, items, load, process, recordings, windows
from scipy.stats import spearmanr

import fxstyle
from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.features.truth_distance import ld
from fxstyle.fit.locks import Locks
from fxstyle.fit.paired import detect
from fxstyle.fit.space import Space
from fxstyle.memory import keep_large_blocks
from fxstyle.render import render
from fxstyle.rooms.iso3382 import measure_response

OUT = Path(__file__).parent / "out"
DRIFT_PPM = 50.0
Random = np.random.Generator


def _board(*plugins: Any) -> Callable[[Stereo], Stereo]:
    return lambda x: np.asarray(pedalboard.Pedalboard(list(plugins))(x, RATE, reset=True), np.float32)


def _late(x: Stereo, rng: Random) -> Stereo:
    late = int(rng.integers(0, RATE // 2))
    return np.pad(x, ((0, 0), (late, 0)))[:, : x.shape[1]]


def _drifting(x: Stereo, rng: Random) -> Stereo:
    y = soxr.resample(x.T, 1e6, 1e6 + DRIFT_PPM, quality="VHQ").T
    return np.ascontiguousarray(y[:, : x.shape[1]], np.float32)


PAIRS: dict[str, Callable[[Stereo, Random], Stereo]] = {
    "compressor": lambda x, rng: _board(
        pedalboard.Compressor(float(rng.uniform(-40, -25)), float(rng.uniform(4, 12)), 2.0, 100.0)
    )(x),
    "distortion": lambda x, rng: _board(pedalboard.Distortion(float(rng.uniform(10, 30))))(x),
    "reverb, half wet": lambda x, rng: _board(
        pedalboard.Reverb(float(rng.uniform(0.3, 0.9)), 0.4, wet_level=0.5, dry_level=0.25)
    )(x),
    "equaliser": lambda x, rng: _board(
        pedalboard.HighpassFilter(float(rng.uniform(100, 800))),
        pedalboard.PeakFilter(2000.0, float(rng.uniform(-12, 12)), 1.0),
        pedalboard.LowpassFilter(float(rng.uniform(4000, 12000))),
    )(x),
    "chorus": lambda x, rng: _board(pedalboard.Chorus(mix=0.5, depth=0.25))(x),
    "late and inverted": lambda x, rng: -0.5 * _late(x, rng),
    "MP3": lambda x, rng: _board(pedalboard.MP3Compressor(6.0))(x),
    "drift of 50 ppm": _drifting,
    "chain, late": lambda x, rng: _late(process(x, draw_steps(rng)), rng),
}


def _jittered(x: Stereo, rng: Random) -> Stereo:
    """Another take, as it were: slices of half a second, each some milliseconds early or late."""
    size = RATE // 2
    out = np.zeros_like(x)
    for begin in range(0, x.shape[1] - 2 * size, size):
        shift = int(rng.normal(0.0, 0.012) * RATE)
        first = min(max(begin + shift, 0), x.shape[1] - size)
        out[:, begin : begin + size] = x[:, first : first + size] * rng.uniform(0.8, 1.2)
    return out


def _windows(count: int, seed: int) -> Iterator[tuple[str, Stereo, Stereo, Random]]:
    data = data_folder()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        group = recordings(data)[kind]
        rng = np.random.default_rng([seed, number])
        paths = group[int(rng.integers(len(group)))]
        while (pair := windows(paths, rng)) is None:
            paths = group[int(rng.integers(len(group)))]
        yield paths[0].stem, pair[0], pair[1], rng


def _log(rows: list[dict[str, Any]], **row: Any) -> None:
    rows.append(row)
    said = {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()}
    print("  ".join(f"{k} {v}" for k, v in said.items()), flush=True)


def run_detect(count: int, seed: int) -> list[dict[str, Any]]:
    """Detect pairs and others; the delays of `late` treatments are known by their draw."""
    rows: list[dict[str, Any]] = []
    before: Stereo | None = None
    for number, (name, a, b, rng) in enumerate(_windows(count, seed)):
        stretched = pedalboard.time_stretch(a, RATE, 1.01)
        others = {
            "next window": b,
            "next window, treated": process(b, draw_steps(rng)),
            "jittered": _jittered(a, rng),
            "stretched by 1 %": np.asarray(stretched, np.float32),
        }
        if before is not None:
            others["other recording"] = before
        kinds = [list(PAIRS)[(number * 3 + k) % len(PAIRS)] for k in range(3)]
        for paired, kind, y in (
            *((True, kind, PAIRS[kind](a, rng)) for kind in kinds),
            *((False, kind, y) for kind, y in others.items()),
        ):
            began = time.perf_counter()
            found = detect(a, y, RATE)
            seconds = time.perf_counter() - began
            where = "" if found is None else str(found)
            _log(
                rows,
                name=name,
                kind=kind,
                paired=paired,
                found=found is not None,
                seconds=seconds,
                where=where,
            )
        before = a
    for paired in (True, False):
        for kind in sorted({r["kind"] for r in rows if r["paired"] == paired}):
            some = [r for r in rows if r["kind"] == kind]
            print(f"{'pair ' if paired else 'other'} {kind:<24}{sum(r['found'] for r in some)}/{len(some)}")
    for paired in (True, False):
        some = [r for r in rows if r["paired"] == paired]
        print(f"{'pairs' if paired else 'others'} called paired: {sum(r['found'] for r in some)}/{len(some)}")
    return rows


OWN = ("eq,gain", "compressor,gain", "delay,gain", "reverb,gain", "saturation,gain",
       "eq,compressor,gain", "eq,compressor,delay,gain", "eq,compressor,delay,reverb,gain")  # fmt: skip
WIDELY: dict[str, tuple[float, float]] = {
    "compressor.threshold_db": (-40.0, -22.0), "compressor.makeup_db": (0.0, 6.0),
    "gain.gain_db": (-8.0, 4.0),
    "delay.time_ms": (60.0, 700.0), "delay.level_db": (-14.0, -3.0), "reverb.level_db": (-12.0, 0.0),
}  # fmt: skip
"""Drawn evenly; every other setting from what a fit thinks of it beforehand."""

REPORTED = (
    "compressor.threshold_db", "compressor.ratio", "delay.time_ms", "delay.feedback", "delay.level_db",
    "reverb.t60_500_s", "reverb.t60_1k_s", "reverb.t60_2k_s", "reverb.level_db", "reverb.predelay_ms",
    "saturation.drive_db",
)  # fmt: skip


def _match(
    x: Stereo, y: Stereo, chain: str, lock: tuple[str, ...] = (), paired: str = "auto"
) -> fxstyle.Match:
    return fxstyle.match(Audio(x, RATE), Audio(y, RATE), chain=chain, lock=lock, paired=paired)  # type: ignore[arg-type]


def _is_paired(found: fxstyle.Match) -> bool:
    return any("same performance" in note for note in found.notes)


def run_known(count: int, seed: int) -> list[dict[str, Any]]:
    """Recover chains of our own effects."""
    rows: list[dict[str, Any]] = []
    errors: dict[str, list[tuple[float, float]]] = {}
    for number, (name, a, _, rng) in enumerate(_windows(count, seed + 1)):
        chain = Chain.parse(OWN[number % len(OWN)])
        space = Space(chain, Locks())
        u = np.clip(space.home + space.factor.numpy() @ rng.normal(0.0, 1.0, space.size), 0.0, 1.0)
        truth = space.chain(u)
        there = set(truth.settings())
        truth = truth.with_settings({k: float(rng.uniform(*s)) for k, s in WIDELY.items() if k in there})
        y = np.asarray(render(truth, a, RATE), np.float32)
        found = _match(a, y, OWN[number % len(OWN)])
        output = found.audio.samples
        settings = found.chain.settings()
        for address in REPORTED:
            if address in there and address in settings:
                errors.setdefault(address, []).append((truth.settings()[address], settings[address]))
        _log(rows, name=name, chain=OWN[number % len(OWN)], paired=_is_paired(found), before=ld(a, y, RATE),
             after=ld(output, y, RATE), seconds=found.seconds, pruned=",".join(found.pruned))  # fmt: skip
    _print_errors(errors)
    return rows


def _print_errors(errors: dict[str, list[tuple[float, float]]]) -> None:
    for address, pairs in errors.items():
        truth, found = np.array(pairs).T
        in_db = address.endswith("_db")
        error = np.abs(found - truth) if in_db else np.abs(found / np.where(truth == 0.0, 1e-9, truth) - 1.0)
        rank = float(spearmanr(truth, found).statistic) if len(pairs) > 3 else math.nan
        unit = "dB" if in_db else "of it"
        print(
            f"{address:<32} n {len(pairs):>2}  median error {np.median(error):.3f} {unit}"
            f"  worst {error.max():.3f}  Spearman {rank:+.2f}"
        )


def _reverb_t60(settings: dict[str, float]) -> float:
    click = np.zeros((2, 8 * RATE), np.float32)
    click[:, 0] = 1.0
    h = _board(pedalboard.Reverb(**{**settings, "dry_level": 0.0}))(click)
    return float(np.nanmedian(measure_response(h, RATE).t30_s[3:6]))


def _log_uniform(rng: Random, low: float, high: float) -> float:
    return float(low * (high / low) ** rng.random())


ONLY_PEAK = ("eq.low_cut_hz=5", "eq.low_shelf_db=0", "eq.high_shelf_db=0", "eq.high_cut_hz=40000", *(
    f"eq.peak{k}_db=0" for k in (1, 2, 3, 5, 6)
))  # fmt: skip
ONLY_CUTS = ("eq.low_shelf_db=0", "eq.high_shelf_db=0", *(f"eq.peak{k}_db=0" for k in range(1, 7)))


def _one_effect(kind: str, rng: Random) -> tuple[Any, str, tuple[str, ...], dict[str, float]]:
    """Return a pedalboard effect, our chain, locks, and what our settings should be."""
    if kind == "highpass":
        hz = _log_uniform(rng, 60, 1000)
        locks = (*ONLY_CUTS, "eq.low_cut_slope=6", "eq.high_cut_hz=40000")
        return pedalboard.HighpassFilter(hz), "eq", locks, {"eq.low_cut_hz": hz}
    if kind == "lowpass":
        hz = _log_uniform(rng, 1500, 12000)
        locks = (*ONLY_CUTS, "eq.high_cut_slope=6", "eq.low_cut_hz=5")
        return pedalboard.LowpassFilter(hz), "eq", locks, {"eq.high_cut_hz": hz}
    if kind == "peak":
        hz, db, q = (
            _log_uniform(rng, 150, 8000),
            float(rng.choice([-9.0, -6.0, 6.0, 9.0])),
            _log_uniform(rng, 0.5, 4),
        )
        wanted = {"eq.peak4_hz": hz, "eq.peak4_db": db, "eq.peak4_q": q}
        return pedalboard.PeakFilter(hz, db, q), "eq", ONLY_PEAK, wanted
    if kind == "compressor":
        threshold, ratio = float(rng.uniform(-40, -22)), _log_uniform(rng, 2, 10)
        attack, release = _log_uniform(rng, 1, 60), _log_uniform(rng, 40, 400)
        turn = 2.0 * math.pi  # effects/compressor.py says why
        wanted = {"compressor.threshold_db": threshold, "compressor.ratio": ratio,
                  "compressor.attack_ms": attack / turn, "compressor.release_ms": release / turn}  # fmt: skip
        return pedalboard.Compressor(threshold, ratio, attack, release), "compressor", (), wanted
    if kind == "distortion":
        drive = float(rng.uniform(6, 28))
        return pedalboard.Distortion(drive), "saturation", (), {"saturation.drive_db": drive}
    if kind == "delay":
        seconds, feedback, mix = (
            _log_uniform(rng, 0.06, 0.9),
            float(rng.uniform(0, 0.6)),
            float(rng.uniform(0.15, 0.5)),
        )
        wanted = {"delay.time_ms": 1000 * seconds, "delay.feedback": feedback,
                  "delay.level_db": 20 * math.log10(mix / (1 - mix))}  # fmt: skip
        return pedalboard.Delay(seconds, feedback, mix), "delay,gain", (), wanted
    settings = {"room_size": float(rng.uniform(0.2, 0.9)), "damping": float(rng.uniform(0.1, 0.6)),
                "wet_level": float(rng.uniform(0.15, 0.5)), "dry_level": 0.4, "width": 1.0}  # fmt: skip
    return pedalboard.Reverb(**settings), "reverb,gain", (), {"reverb.t60_1k_s": _reverb_t60(settings)}


EFFECTS = ("highpass", "lowpass", "peak", "compressor", "distortion", "delay", "reverb")


def run_effects(count: int, seed: int) -> list[dict[str, Any]]:
    """Identify the settings of pedalboard's effects with ours."""
    rows: list[dict[str, Any]] = []
    errors: dict[str, list[tuple[float, float]]] = {}
    for number, (name, a, _, rng) in enumerate(_windows(count, seed + 2)):
        kind = EFFECTS[number % len(EFFECTS)]
        plugin, chain, lock, wanted = _one_effect(kind, rng)
        y = _board(plugin)(a)
        found = _match(a, y, chain, lock)
        settings = found.chain.settings()
        pairs = {k: (v, settings[k]) for k, v in wanted.items() if k in settings}
        for address, pair in pairs.items():
            errors.setdefault(address, []).append(pair)
        _log(rows, name=name, kind=kind, paired=_is_paired(found), before=ld(a, y, RATE),
             after=ld(found.audio.samples, y, RATE), seconds=found.seconds,
             settings=" ".join(f"{k}={v[0]:.4g}~{v[1]:.4g}" for k, v in pairs.items()))  # fmt: skip
    _print_errors(errors)
    return rows


def run_counterfx(count: int, seed: int) -> list[dict[str, Any]]:
    """Compare the fit to R(B) with the paired fit to R(A), chain known."""
    rows: list[dict[str, Any]] = []
    for item in items(count, seed):
        row = {"name": item.name, "chain": item.chain, "before": item.untouched}
        for word, reference in (("unpaired", item.reference), ("paired", item.truth)):
            found = _match(item.input, reference, item.chain, item.lock)
            row |= {word: ld(found.audio.samples, item.truth, RATE), f"{word}_s": found.seconds,
                    f"{word}_detected": _is_paired(found)}  # fmt: skip
        _log(rows, **row)
    for word in ("before", "unpaired", "paired", "unpaired_s", "paired_s"):
        values = [r[word] for r in rows]
        print(f"{word}: mean {np.mean(values):.3f}, median {np.median(values):.3f}")
    return rows


def run_plugins(count: int, seed: int) -> list[dict[str, Any]]:
    """Fit the default chain to dry/wet pairs through plugins nobody here wrote."""
    from fxstyle.fit.paired import find_pair

    rows: list[dict[str, Any]] = []
    data = data_folder()
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        paths = sorted(
            data / row["path"]
            for row in csv.DictReader(file)
            if row["path"].startswith("drywet/plugins/")
            and row["split"] == "test"
            and "__dry" not in row["path"]
        )
    for path in paths[:count]:
        dry = load(path.with_name(path.name.split("__")[0] + "__dry.flac"))
        wet = load(path)
        if soundfile.info(path).channels == 1:
            dry, wet = dry[:1], wet[:1]
        pair = find_pair(Audio(dry, RATE), Audio(wet, RATE), RATE)
        if pair is None:
            frames = min(dry.shape[1], wet.shape[1])
            truth, span = wet[:, :frames], slice(0, frames)
        else:
            truth, span = pair.aligned, slice(pair.begin, pair.end)
        found = fxstyle.match(Audio(dry, RATE), Audio(wet, RATE))
        before, after = (ld(np.asarray(y)[:, span], truth[:, span], RATE) for y in (dry, found.audio.samples))
        _log(rows, name=path.stem, paired=_is_paired(found), where="" if pair is None else str(pair)[35:],
             before=before, after=after, ratio=after / before, seconds=found.seconds,
             chain=",".join(s.name for s in found.chain if s.active))  # fmt: skip
    print(f"mean Ld {np.mean([r['before'] for r in rows]):.3f} -> {np.mean([r['after'] for r in rows]):.3f};"
          f" median ratio {np.median([r['ratio'] for r in rows]):.3f};"
          f" worse {sum(r['after'] > r['before'] + 1e-6 for r in rows)}/{len(rows)}")  # fmt: skip
    return rows


PARTS = {"detect": run_detect, "known": run_known, "effects": run_effects, "counterfx": run_counterfx,
         "plugins": run_plugins}  # fmt: skip


def main() -> None:
    """Run the named parts, print and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keep_large_blocks()
    OUT.mkdir(exist_ok=True)
    for part in options.parts or PARTS:
        print(f"\n{part}")
        rows = PARTS[part](options.items, options.seed)
        text = json.dumps({"seed": options.seed, "rows": rows}, indent=1, default=str)
        (OUT / f"paired-{part}-seed{options.seed}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
