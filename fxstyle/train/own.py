"""fxstyle's own effects as units of treatment: one drawn number may turn several knobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from fxstyle import effects
from fxstyle.chain import Chain, Slot
from fxstyle.octaves import BAND_NAMES, CENTRES_HZ
from fxstyle.render import render
from fxstyle.train.units import Knob, Run, Settings, Sound, Unit

Turned = Callable[[Settings], Mapping[str, float]]
"""From what was drawn to knobs of the effect."""


def _run(name: str, turned: Turned) -> Run:
    def run(x: Sound, rate: int, settings: Settings) -> Sound:
        effect = effects.get(name)
        knobs = {**effect.defaults(), **turned(settings)}
        held = {p.name: min(max(knobs[p.name], p.low), p.high) for p in effect.params}
        made: Sound = render(Chain((Slot(effect, held),)), x, rate).astype(np.float32)
        return made

    return run


def _same(settings: Settings) -> Settings:
    return settings


def _unit(name: str, family: str, *knobs: Knob, turned: Turned = _same, kind: str = "") -> Unit:
    return Unit(f"fxstyle.{name}{kind}", family, knobs, _run(name, turned))


def _decays(kind: str, bands: tuple[str, ...]) -> Turned:
    """Return what turns a decay at 1 kHz, its slope per octave, and a level into knobs of a reverb."""

    def turned(s: Settings) -> dict[str, float]:
        octaves = np.log2(np.array([*CENTRES_HZ, 16_000.0][: len(bands)]) / 1000.0)
        # treble decays faster, and bass with it: nothing rings for a minute down there
        t60_s = s["t60_s"] * np.exp2(-s["damping"] * np.maximum(octaves, -1.0))
        knobs = {f"t60_{band}_s": float(t) for band, t in zip(bands, t60_s, strict=True)}
        return knobs | {n: s[n] for n in ("level_db", "predelay_ms", "width")}

    return turned


def _room(s: Settings) -> dict[str, float]:
    walls = ("left", "right", "front", "back", "floor", "ceiling")
    cube_m = s["cube_m"]
    knobs = {"length_m": 1.4 * cube_m, "width_m": 1.1 * cube_m, "height_m": 0.75 * cube_m}
    for wall in walls:
        for b, band in enumerate(BAND_NAMES):
            knobs[f"absorption_{wall}_{band}"] = s["absorption"] * 2.0 ** (s["damping"] * (b - 4.0) / 2.0)
    return knobs | {"level_db": s["level_db"], "source_x": s["near"], "order": 4.0}


def _multiband(s: Settings) -> dict[str, float]:
    knobs = {"low_hz": s["low_hz"], "high_hz": s["high_hz"]}
    for band in ("low", "mid", "high"):
        knobs |= {f"{band}_threshold_db": s["threshold_db"], f"{band}_ratio": s["ratio"]}
        knobs[f"{band}_makeup_db"] = s[f"{band}_db"]
        knobs[f"{band}_attack_ms"] = s["attack_ms"]
    return knobs


def own_units() -> list[Unit]:
    """Return fxstyle's effects in families, with ranges in which they are heard."""
    sweep = (Knob("stereo_phase_deg", 0, 180), Knob("mix", 0.3, 0.8))
    decay = (
        Knob("t60_s", 0.2, 6.0, True), Knob("damping", 0.0, 0.5), Knob("level_db", -14, 6),
        Knob("predelay_ms", 0, 100), Knob("width", 0, 1),
    )  # fmt: skip
    return [
        _unit("eq", "eq", Knob("peak4_hz", 80, 12_000, True), Knob("peak4_db", -18, 18),
              Knob("peak4_q", 0.3, 6, True), kind=".peak"),
        _unit("eq", "eq", Knob("low_shelf_hz", 60, 600, True), Knob("low_shelf_db", -18, 18),
              Knob("high_shelf_hz", 2000, 12_000, True), Knob("high_shelf_db", -18, 18), kind=".shelves"),
        _unit("eq", "eq", Knob("low_cut_hz", 30, 2000, True), Knob("low_cut_q", 0.5, 2, True),
              kind=".low_cut"),
        _unit("eq", "eq", Knob("high_cut_hz", 600, 16_000, True), Knob("high_cut_q", 0.5, 2, True),
              kind=".high_cut"),
        _unit("eq", "eq", *(Knob(f"peak{n}_db", -12, 12) for n in range(1, 7)), kind=".graphic"),
        _unit("dynamic_eq", "eq", Knob("band1_range_db", -18, 12), Knob("band2_range_db", -18, 12),
              Knob("band3_range_db", -18, 12)),
        _unit("compressor", "dynamics", Knob("threshold_db", -50, -10), Knob("ratio", 2, 20, True),
              Knob("attack_ms", 0.1, 150, True), Knob("release_ms", 10, 800, True)),
        _unit("multiband", "dynamics", Knob("low_hz", 80, 500, True), Knob("high_hz", 1500, 8000, True),
              Knob("threshold_db", -50, -15), Knob("ratio", 1.5, 10, True), Knob("attack_ms", 1, 60, True),
              Knob("low_db", 0, 10), Knob("mid_db", 0, 10), Knob("high_db", 0, 10), turned=_multiband),
        _unit("limiter", "dynamics", Knob("gain_db", 3, 24), Knob("release_ms", 5, 500, True)),
        _unit("gate", "dynamics", Knob("threshold_db", -40, -10), Knob("ratio", 1.5, 20, True),
              Knob("release_ms", 10, 500, True)),
        _unit("transient", "dynamics", Knob("attack_db", -18, 18), Knob("sustain_db", -18, 18)),
        _unit("deesser", "dynamics", Knob("hz", 2500, 9000, True), Knob("threshold_db", -30, -8),
              Knob("range_db", 6, 24)),
        _unit("saturation", "saturation", Knob("drive_db", 3, 36), Knob("curve", 0, 3, steps=True)),
        _unit("tape", "tape", Knob("drive_db", -6, 18), Knob("bump_db", 0, 6),
              Knob("loss_hz", 3000, 20_000, True), Knob("wow_percent", 0, 0.8),
              Knob("flutter_percent", 0, 0.5)),
        _unit("bitcrush", "crush", Knob("bits", 3, 12), Knob("hold_hz", 2000, 40_000, True)),
        _unit("chorus", "modulation", Knob("rate_hz", 0.1, 6, True), Knob("depth_ms", 0.3, 8, True),
              Knob("delay_ms", 1, 25, True), Knob("feedback", -0.8, 0.8), *sweep),
        _unit("phaser", "modulation", Knob("rate_hz", 0.1, 5, True), Knob("depth", 0.1, 1),
              Knob("centre_hz", 200, 5000, True), Knob("feedback", -0.9, 0.9), *sweep),
        _unit("tremolo", "modulation", Knob("rate_hz", 0.5, 15, True), Knob("depth", 0.3, 1),
              Knob("stereo_phase_deg", 0, 180)),
        _unit("delay", "delay", Knob("time_ms", 30, 900, True), Knob("feedback", 0, 0.85),
              Knob("level_db", -12, 0), Knob("high_cut_hz", 1500, 18_000, True)),
        _unit("reverb", "reverb", *decay, turned=_decays("reverb", BAND_NAMES)),
        _unit("fdn", "reverb", *decay, turned=_decays("fdn", (*BAND_NAMES, "16k"))),
        _unit("room", "reverb", Knob("cube_m", 2, 10, True), Knob("absorption", 0.03, 0.5, True),
              Knob("damping", 0, 1), Knob("near", 0.1, 0.35), Knob("level_db", -3, 12), turned=_room),
        _unit("convolution", "reverb", Knob("ir", 0, 2, steps=True), Knob("level_db", -14, 6),
              Knob("predelay_ms", 0, 80), Knob("early_late_db", -9, 9)),
        _unit("width", "width", Knob("width", 0, 2), Knob("balance_db", -9, 9)),
    ]  # fmt: skip
