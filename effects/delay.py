"""Delay: echoes that repeat, each a little softer and duller; on one side or from side to side.

    v[n] = f[n - D]                 what the line was given D samples ago
    w[n] = x[n] + r v[n]            what it is given: the input, and its own echoes once more
    f = high cut(low cut(w))        filtered
    y[n] = x[n] + l v[n]            the input as it is, and the echoes

    l, r    10^(level_db/20), and feedback
    D       rate time_ms/1000 samples (rate: samples per second), fractions included

So the echoes come at D, 2 D, 3 D .. with the levels l, l r, l r^2 .., and each has passed the two filters
once more than the one before it. These are of first order, 6 dB per octave, and 3 dB down exactly at
their frequency (J. O. Smith, "Introduction to digital filters", app. E); above .49 of the rate they stay
there:

    low cut     h[n] = (1 + p)/2 (w[n] - w[n-1]) + p h[n-1]         p: (1 - t)/(1 + t) of its own
    high cut    f[n] = (1 - p)/2 (h[n] + h[n-1]) + p f[n-1]         t = tan(pi hz/rate)

With `sync` the time is a note value at tempo_bpm and time_ms does not count: 60/tempo_bpm seconds for
each quarter, a dot half as long again, a triplet (t) two thirds; from 25 ms to 8 s.

Ping-pong (s, for a stereo pair): at 1 the sum to mono, (L + R)/2, goes to the right line and the echoes
change sides: right, left, right .., with the levels above. At 0 each channel keeps its own. In between

    the left line is given (1 - s) x_L, the right one (1 - s) x_R + s (x_L + x_R)/2,
    and of the echoes each gets r (1 - s) of its own and r s of the other's,

so that the one picture turns into the other; at .5 all echoes after the first are mono. Mono and more
than two channels have no ping-pong.

Limits. Times between samples are read by cubic interpolation, which costs highs: each pass loses up to
0.04 dB at rate/10 and 1.1 dB at rate/4. A feedback below 1 always dies away, as neither the filters nor
the line have gain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from fxstyle import tempo
from fxstyle.dsp import echo
from fxstyle.dsp.kernel import each_row
from fxstyle.dsp.lagrange import lagrange
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import HIGHEST_OF_RATE, amplitude_to_db, db_to_amplitude, ms_to_samples, power_to_db

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement

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
    slowest = torch.full_like(time_ms, _TIME_MS.high), sync, torch.full_like(tempo_bpm, tempo.TEMPO_BPM.low)
    longest = ms_to_samples(tempo.time_ms(*slowest), rate).tolist()
    whole, taps = lagrange(delay, longest)
    poles = _pole(low_cut_hz.double(), rate), _pole(high_cut_hz.double(), rate)
    cross = ping_pong.double() if channels == STEREO else 0.0 * ping_pong.double()
    rest = torch.stack([feedback.double(), *poles, db_to_amplitude(level_db.double()), cross], dim=1)
    return torch.cat([taps, rest], dim=1), whole.tolist()


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


_TIME_MS = Param("time_ms", "ms", 5.0, 2000.0, default=350.0, scale="log", help="time between two echoes")
_FEEDBACK = Param(
    "feedback", "", 0.0, 0.95, default=0.3,
    help="level of each echo over the one before; up: more of them, 0 a single one",
)  # fmt: skip
_LEVEL_DB = Param(
    "level_db", "dB", -60.0, 6.0, default=-12.0, help="level of the first echo; -60 is inaudible"
)
_LOW_CUT_HZ = Param(
    "low_cut_hz", "Hz", 20.0, 2000.0, default=80.0, scale="log",
    help="takes lows off, more with each echo; up: thinner",
)  # fmt: skip
_HIGH_CUT_HZ = Param(
    "high_cut_hz", "Hz", 500.0, 20000.0, default=6000.0, scale="log",
    help="takes highs off, more with each echo; down: darker, like tape",
)  # fmt: skip

_PING_PONG = Param(
    "ping_pong", "", 0.0, 1.0, default=0.0, fitted=False, stereo=True,
    help="0: each side its own echoes, 1: right and left by turns",
)  # fmt: skip
_SYNC = tempo.sync("note value between two echoes at tempo_bpm, in the place of time_ms")

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
    idle=tempo.idle("time_ms"),
    start=start,
    linear=True,
    hosts={
        "pedalboard.Delay": "delay_seconds = time_ms/1000 cut down to whole samples, mix/(1 - mix) the level,"
        " and the output times 1 - mix; it has no filters: without ours the same to -140 dB, with low_cut_hz"
        " 20 and high_cut_hz 20000 within -39 dB from 300 Hz to 2 kHz at a feedback of .4, -24 dB at .8"
    },
)  # fmt: skip
