"""Echoes: a delay line with feedback, its loop filtered by a one-pole low cut and high cut; ping-pong.

The equations of the line, its filters and its adjoint are those of `fxstyle.dsp.echo`. The echoes at D, 2D,
3D ... have the levels l, l r, l r^2 ... (r = feedback, l = 10^(level_db/20)), and each has passed the
filters once more than the one before it. The filters are the bilinear transforms of first-order sections,

    p, q = (1 - tan(pi f/rate)) / (1 + tan(pi f/rate)),

3 dB down exactly at their frequency (J. O. Smith, "Introduction to digital filters", app. E); above
.49 of the rate they stay there. The time D = rate * time_ms/1000 is fractional, with cubic
interpolation (`fxstyle.dsp.convolve.lagrange_taps`, which states the error); its gain never exceeds one,
nor do the filters', so the loop is stable whenever r < 1. With `sync` the time is a note value at
`tempo_bpm` (`fxstyle.tempo`), from 25 ms to 8 s, and time_ms does not count.

Ping-pong, s, of a pair of channels: at 1 the sum to mono M = (L + R)/2 enters on the right alone, and the
loop crosses over: the echoes of M at D, 2D, 3D ... come right, left, right ... with the levels above. In
between the line takes in (1 - s) of each channel and s of M on the right, and hands back 1 - s to the same
side and s to the other: echoes turn from one picture into the other, and at .5 those after the first are
mono. Mid and side are the crossing's own directions, with the loop gains r and r (1 - 2 s): stable
alike. At 0 channels are independent, as they always are in mono and in more than two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from fxstyle import tempo
from fxstyle.dsp import echo
from fxstyle.dsp.convolve import lagrange_split, lagrange_taps
from fxstyle.dsp.kernel import each_row
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import amplitude_to_db, db_to_amplitude, ms_to_samples, power_to_db

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement

HIGHEST_OF_RATE = 0.49
"""Corner frequencies stop here, short of half the rate, where the bilinear transform has its pole."""

STEREO = 2


def _pole(frequency_hz: torch.Tensor, rate: float) -> torch.Tensor:
    tangent = (math.pi * (frequency_hz / rate).clamp_max(HIGHEST_OF_RATE)).tan()
    return (1 - tangent) / (1 + tangent)


def _settings(
    rate: float,
    channels: int,
    time_ms: torch.Tensor,
    feedback: torch.Tensor,
    level_db: torch.Tensor,
    low_cut_hz: torch.Tensor,
    high_cut_hz: torch.Tensor,
    ping_pong: torch.Tensor,
    sync: torch.Tensor,
    tempo_bpm: torch.Tensor,
) -> tuple[torch.Tensor, list[int]]:
    """Return the kernel's settings (batch, 9) in float64, differentiable, and the whole delays (batch,)."""
    # No tap may read the sample that is being written: at odd rates of a few hundred Hz that matters.
    delay = ms_to_samples(tempo.time_ms(time_ms, sync, tempo_bpm), rate).clamp_min(2.0)
    whole = [lagrange_split(value) for value in delay.tolist()]
    taps = lagrange_taps(delay - torch.tensor(whole))
    poles = _pole(low_cut_hz.double(), rate), _pole(high_cut_hz.double(), rate)
    cross = ping_pong.double() if channels == STEREO else 0.0 * ping_pong.double()
    rest = torch.stack([feedback.double(), *poles, db_to_amplitude(level_db.double()), cross], dim=1)
    return torch.cat([taps, rest], dim=1), whole


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    time_ms: torch.Tensor,
    feedback: torch.Tensor,
    level_db: torch.Tensor,
    low_cut_hz: torch.Tensor,
    high_cut_hz: torch.Tensor,
    ping_pong: torch.Tensor,
    sync: torch.Tensor,
    tempo_bpm: torch.Tensor,
) -> torch.Tensor:
    """Add echoes to each row of (batch, channel, time) with its own settings."""
    knobs = (time_ms, feedback, level_db, low_cut_hz, high_cut_hz, ping_pong, sync, tempo_bpm)
    settings, whole = _settings(rate, x.shape[1], *knobs)
    if x.device.type != "cpu":
        from fxstyle.device import echo as elsewhere

        return elsewhere.echo(x, settings, whole)
    return each_row(x, settings, whole, echo.forward, echo.adjoint)


@lru_cache(maxsize=64)  # the same for every block of a stream, and dearer than a short block
def _row(rate: float, channels: int, *knobs: float) -> tuple[echo.Floats, int]:
    """Return the kernel's settings (9,) and the whole delay, from the knobs in the order of `render`'s."""
    columns = torch.tensor(knobs, dtype=torch.float64)[:, None]
    settings, whole = _settings(rate, channels, *columns)
    return settings[0].numpy(), whole[0]


def render(
    x: Samples,
    rate: float,
    state: echo.State | None,
    *,
    time_ms: float,
    feedback: float,
    level_db: float,
    low_cut_hz: float,
    high_cut_hz: float,
    ping_pong: float,
    sync: float,
    tempo_bpm: float,
) -> tuple[Samples, echo.State]:
    """Add echoes to a block (channel, time); a time that grows within a stream meets silence at first."""
    knobs = (time_ms, feedback, level_db, low_cut_hz, high_cut_hz, ping_pong, sync, tempo_bpm)
    row, whole = _row(rate, x.shape[0], *knobs)
    return echo.block(x, row, whole, state)


_TIME_MS = Param("time_ms", "ms", 5.0, 2000.0, default=350.0, scale="log", help="between two echoes")
_FEEDBACK = Param("feedback", "", 0.0, 0.95, default=0.3, help="level of each echo over the one before")
_LEVEL_DB = Param("level_db", "dB", -60.0, 6.0, default=-12.0, help="of the first echo; -60 is inaudible")
_LOW_CUT_HZ = Param("low_cut_hz", "Hz", 20.0, 2000.0, default=80.0, scale="log", help="6 dB/octave, per echo")
_HIGH_CUT_HZ = Param(
    "high_cut_hz", "Hz", 500.0, 20000.0, default=6000.0, scale="log", help="6 dB/octave, per echo"
)

_PING_PONG = Param(
    "ping_pong", "", 0.0, 1.0, default=0.0, fitted=False,
    help="0 each side its own echoes, 1 right and left by turns",
)  # fmt: skip
_SYNC = tempo.sync("note value between two echoes, in the place of time_ms")

LEAST_LEVEL_DB = -60.0
"""Echoes this far below the sound count as gone when the tail is reckoned."""


def _tail_s(settings: Mapping[str, float]) -> float:
    """Echo k has at most the level l r^(k-1): count those above LEAST_LEVEL_DB."""
    free_ms, number, tempo_bpm = (torch.tensor(settings[k]) for k in ("time_ms", "sync", "tempo_bpm"))
    time_s = float(tempo.time_ms(free_ms, number, tempo_bpm)) / 1000.0
    room_db = settings["level_db"] - LEAST_LEVEL_DB
    loss_db = -float(amplitude_to_db(settings["feedback"]))
    return time_s * (1.0 + max(room_db, 0.0) / loss_db)


CLEARLY_STRONGER = 0.1
"""Repeat strength by which a reference must exceed the source; two dry recordings differ by as much."""

QUIET_DB = -40.0
"""Level of the echoes where the reference shows none: low, but with a gradient."""


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Guess time and level from the strongest repeat, if the reference's is clearly stronger.

    One echo of relative power e repeats an envelope with the normalised autocorrelation s = e/(1 + e^2)
    at its lag; solved for e. How much of that is due to further echoes cannot be told: feedback = s.
    """
    settings = {p.name: p.default for p in (_TIME_MS, _FEEDBACK, _LEVEL_DB, _LOW_CUT_HZ, _HIGH_CUT_HZ)}
    strength = reference.echo_strength
    in_range = _TIME_MS.low <= reference.echo_ms <= _TIME_MS.high
    if not (in_range and strength > source.echo_strength + CLEARLY_STRONGER):
        return {**settings, "level_db": QUIET_DB}
    single = min(strength, 0.5)  # one echo as loud as the sound itself repeats it no more than that
    power = (1.0 - math.sqrt(1.0 - 4.0 * single**2)) / (2.0 * single)
    level_db = max(float(power_to_db(power)), _LEVEL_DB.low)
    feedback = min(strength, _FEEDBACK.high)
    return {**settings, "time_ms": reference.echo_ms, "feedback": feedback, "level_db": level_db}


EFFECT = Effect(
    name="delay",
    summary="Echoes with filtered feedback",
    params=(
        _TIME_MS, _FEEDBACK, _LEVEL_DB, _LOW_CUT_HZ, _HIGH_CUT_HZ, _PING_PONG, _SYNC, tempo.TEMPO_BPM
    ),
    forward=forward,
    render=render,
    # Both forms run the same float64 recursion, of which the output alone is rounded to float32.
    tolerance_db=-140.0,
    tail_s=_tail_s,
    start=start,
    linear=True,
    hosts={
        "pedalboard.Delay": "delay_seconds = time_ms/1000 cut down to whole samples, mix/(1 - mix) the level,"
        " and the output times 1 - mix; it has no filters: without ours the same to -140 dB, with low_cut_hz"
        " 20 and high_cut_hz 20000 within -39 dB from 300 Hz to 2 kHz at a feedback of .4, -24 dB at .8"
    },
)  # fmt: skip
