"""Filters of FFmpeg, and how sound goes through any graph of its filters."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from typing import NamedTuple

import numpy as np

from fxstyle.train._program import PAIR, filled, in_pairs, knobs, piped
from fxstyle.train.units import Settings, Sound, Unit


class _Filter(NamedTuple):
    """A filter: family, its text with knobs, the knobs; `pair`: takes two channels only."""

    family: str
    text: str
    knobs: str
    pair: bool = False

    @property
    def name(self) -> str:
        return self.text.partition("=")[0]


_FILTERS = (
    _Filter("eq", "equalizer=f={f}:t=q:w={q}:g={g}", "f 100 6000 log, q 0.4 4 log, g -15 15"),
    _Filter("eq", "bass=f={f}:g={g}", "f 50 400 log, g -15 15"),
    _Filter("eq", "treble=f={f}:g={g}", "f 1500 8000 log, g -15 15"),
    _Filter("eq", "tiltshelf=f={f}:g={g}", "f 400 3000 log, g -12 12"),
    _Filter("eq", "highpass=f={f}:t=q:w={q}", "f 60 2000 log, q 0.5 3 log"),
    _Filter("eq", "lowpass=f={f}:t=q:w={q}", "f 400 9000 log, q 0.5 3 log"),
    _Filter("eq", "bandreject=f={f}:t=o:w={octaves}", "f 150 4000 log, octaves 0.5 3"),
    _Filter("eq", "superequalizer=1b={low}:2b={low}:3b={low}:6b={low_middle}:7b={low_middle}:8b={low_middle}"
            ":11b={high_middle}:12b={high_middle}:13b={high_middle}:16b={high}:17b={high}:18b={high}",
            "low 0.15 3 log, low_middle 0.15 3 log, high_middle 0.15 3 log, high 0.15 3 log"),
    _Filter("eq", "crystalizer=i={i}:c=0", "i 1 8"),
    _Filter("eq", "asubboost=dry={dry}:wet={wet}:decay={decay}:feedback={feedback}:cutoff={cutoff}",
            "dry 0.3 1, wet 0.3 1, decay 0.2 0.9, feedback 0.2 0.9, cutoff 60 300 log"),
    _Filter("speaker", "bandpass=f={f}:t=o:w={octaves}", "f 500 2500 log, octaves 0.7 3"),
    _Filter("dynamics", "acompressor=threshold={threshold}:ratio={ratio}:attack={attack}:release={release}"
            ":knee={knee}:makeup={makeup}",
            "threshold 0.01 0.15 log, ratio 2 20 log, attack 0.5 100 log, release 20 800 log, knee 1 8, "
            "makeup 1 4"),
    _Filter("dynamics", "alimiter=limit={limit}:attack={attack}:release={release}:level=0"
            ":level_in={level_in}",
            "limit 0.0625 0.5 log, attack 0.5 30 log, release 5 500 log, level_in 1 4 log"),
    _Filter("dynamics", "agate=threshold={threshold}:ratio={ratio}:attack={attack}:release={release}"
            ":range={range}",
            "threshold 0.03 0.3 log, ratio 2 15 log, attack 1 60 log, release 20 500 log, "
            "range 0.01 0.3 log"),
    _Filter("dynamics", "dynaudnorm=f={f}:g=3:p={p}:m={m}:s={s}", "f 20 300 log, p 0.3 0.95, m 3 20, s 0 20"),
    _Filter("dynamics", "speechnorm=p={p}:e={e}:r={r}",
            "p 0.4 0.95, e 1.5 10, r 0.0003 0.02 log"),
    _Filter("dynamics", "compand=attacks={attack}:decays={decay}"
            ":points=-80/-80|{threshold}/{threshold}|0/{top}"
            ":soft-knee=6:gain={gain}",
            "attack 0.002 0.1 log, decay 0.05 0.8 log, threshold -50 -25, top -22 -8, gain 0 6"),
    _Filter("saturation", "asoftclip=type={type}:threshold={threshold}",
            "type 0 6 steps, threshold 0.02 0.25 log"),
    _Filter("saturation", "aexciter=amount={amount}:drive={drive}:blend={blend}:freq={freq}",
            "amount 1 8 log, drive 1 10, blend -10 10, freq 2000 6000 log"),
    _Filter("crush", "acrusher=bits={bits}:mode={mode}:samples={samples}:mix={mix}:aa={aa}",
            "bits 2 8 log, mode 0 1 steps, samples 1 30 log, mix 0.5 1, aa 0 1"),
    _Filter("modulation", "aphaser=in_gain=0.6:out_gain=0.9:delay={delay}:decay={decay}:speed={speed}"
            ":type={type}",
            "delay 0.5 4.5, decay 0.2 0.7, speed 0.15 2 log, type 0 1 steps"),
    _Filter("modulation", "chorus=0.7:0.8:{delay}:{decay}:{speed}:{depth}",
            "delay 20 80, decay 0.3 0.8, speed 0.2 3 log, depth 1 6"),
    _Filter("modulation", "flanger=delay={delay}:depth={depth}:regen={regen}:width={width}:speed={speed}",
            "delay 0 12, depth 1 8, regen -80 80, width 30 100, speed 0.1 4 log"),
    _Filter("modulation", "tremolo=f={f}:d={d}", "f 1 14 log, d 0.3 1"),
    _Filter("modulation", "vibrato=f={f}:d={d}", "f 1.5 9 log, d 0.1 0.9"),
    _Filter("modulation", "apulsator=mode={mode}:amount={amount}:hz={hz}:offset_r={offset_r}:width={width}",
            "mode 0 4 steps, amount 0.4 1, hz 0.5 10 log, offset_r 0 0.6, width 0.5 1.5"),
    _Filter("modulation", "afreqshift=shift={shift}", "shift -60 60"),
    _Filter("delay", "aecho=0.8:0.9:{first}|{second}:{decay}|{second_decay}",
            "first 30 400 log, second 100 900 log, decay 0.2 0.7, second_decay 0.1 0.5"),
    _Filter("width", "stereowiden=delay={delay}:feedback={feedback}:crossfeed={crossfeed}:drymix={drymix}",
            "delay 5 40 log, feedback 0.1 0.8, crossfeed 0.1 0.7, drymix 0.4 0.9", pair=True),
    _Filter("width", "extrastereo=m={m}:c=0", "m 1.6 6", pair=True),
    _Filter("width", "haas=left_delay={left}:right_delay={right}:side_gain={side}:left_gain={gain}"
            ":right_gain={gain}",
            "left 0.5 20 log, right 0.5 20 log, side 0.5 2 log, gain 0.4 1.2", pair=True),
    _Filter("width", "stereotools=slev={slev}:base={base}:delay={delay}:phase={phase}",
            "slev 0.1 4 log, base -0.6 0.8, delay -12 12, phase 0 90", pair=True),
    _Filter("width", "crossfeed=strength={strength}:range={range}:slope={slope}:level_in=1:level_out=1",
            "strength 0.2 1, range 0.2 1, slope 0.1 0.9", pair=True),
)  # fmt: skip


def ffmpeg_units() -> list[Unit]:
    """Return those of the filters that the installed FFmpeg has; none where there is no FFmpeg."""
    return [_unit(entry) for entry in _FILTERS if entry.name in filters()]


@cache
def filters() -> frozenset[str]:
    """Return the names of the filters of the installed FFmpeg; none where there is no FFmpeg."""
    if not shutil.which("ffmpeg"):
        return frozenset()
    told = subprocess.run(["ffmpeg", "-hide_banner", "-filters"], capture_output=True, text=True, check=False)
    rows = (line.split() for line in told.stdout.splitlines())
    return frozenset(row[1] for row in rows if len(row) > 2 and "->" in row[2])


def filtered(graph: str, x: Sound, rate: int) -> Sound:
    """Return sound (channel, time) through a graph of filters with one way in and one out."""
    raw = ["-f", "f32le", "-ar", str(rate), "-ac", str(x.shape[0])]
    quiet = ["-hide_banner", "-nostdin", "-loglevel", "error"]
    return piped(
        ["ffmpeg", *quiet, *raw, "-i", "pipe:0", "-filter_threads", "1", "-af", graph, *raw, "pipe:1"], x
    )


def paired(graph: str, x: Sound, rate: int) -> Sound:
    """Return sound through what takes two channels: two by two; one alone is doubled, its left comes back."""
    out = [
        filtered(graph, np.repeat(part, PAIR // part.shape[0], axis=0), rate)[: part.shape[0]]
        for part in in_pairs(x)
    ]
    return np.concatenate(out)


def _unit(entry: _Filter) -> Unit:
    through = paired if entry.pair else filtered

    def run(x: Sound, rate: int, settings: Settings) -> Sound:
        return through(filled(entry.text, settings), x, rate)

    return Unit(f"ffmpeg.{entry.name}", entry.family, knobs(entry.knobs), run)
