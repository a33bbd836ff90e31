"""Reverb: a room or plate of fading noise, whose lows, middle and highs each decay in their own time.

    y_c = x_c + h_c * x_c                                   the input and the room (*: convolution)
    s_k[n] = sum_b g_b exp(-ln(1000) n/(T_b rate)) N_kb[n]  noise k: octave bands b that fade
    h_0 = s_0,   h_c = cos(phi) s_0 + sin(phi) s_c          phi = width pi/2
    then h_c is delayed by predelay_ms, and scaled so that its energy is 10^(level_db/10)

    T_b     seconds to fall by 60 dB in band b: t60_low_s at 125 Hz, t60_mid_s at 1 kHz, t60_high_s at
            8 kHz, on straight lines between them (time and frequency logarithmic), constant beyond
    g_b     10^(t/20), t = tone_db log2(f_b/1000)/3: tone_db more at 8 kHz and as much less at 125 Hz
    N_kb    noise, the same each time, in the octaves f_b = 62.5 Hz .. 8 kHz, equally strong per Hz
    c, n    channel and sample; rate: samples per second

level_db is the energy of the room over that of the input, for white noise, whatever the decays: longer is
not louder. Where all three decays are alike the room is white at a tone_db of 0; it ends when its slowest
band is down by 80 dB. Channels have rooms of their own and do not mix: mono stays mono, and from the
fifth channel on the rooms repeat. There are no early reflections: it is dense from the start.

After J. A. Moorer, "About this reverberation business", CMJ 3(2), 1979 (decaying noise), with decays per
octave as in C. J. Steinmetz, V. K. Ithapu, P. Calamia, "Filtered noise shaping for time domain room
impulse response estimation", WASPAA 2021.

Measured per octave and channel (Schroeder, -5 .. -35 dB, 44.1 and 48 kHz, .4 to 3 s), decays are within
4 % (rms) of T_b from 125 Hz on, 7 % at 62.5 Hz; the largest error is 11 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from fxstyle.device import room
from fxstyle.dsp.convolve import (
    LEAST_LATENCY,
    ConvolverState,
    StreamConvolver,
    convolve,
)
from fxstyle.dsp.decays import decays
from fxstyle.dsp.lagrange import lagrange_split, lagrange_taps
from fxstyle.dsp.noise import centres_hz, noise_bands
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import NEPERS_OF_60_DB, db_to_amplitude, ms_to_samples

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement

STREAMS = 4
"""Independent noises: two for stereo, more for surround; beyond, memory would grow without use."""

LOW_HZ, MID_HZ, HIGH_HZ = 125.0, 1000.0, 8000.0
"""Where the three decay times apply."""

END_DB = 80.0
"""Decay after which a response is cut: 20 dB past the 60 that make a tail."""

LONGEST_PREDELAY_MS = 120.0

LATENCY_S = 0.3
"""Wanted latency of `render`; the power of two next to it is taken. Half of it is twice the products."""


def _band_t60_s(rate: float, low: torch.Tensor, mid: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """Return the decay times of the bands, (batch, band)."""
    columns = []
    for centre in centres_hz(rate):
        below = min(max(math.log(MID_HZ / centre) / math.log(MID_HZ / LOW_HZ), 0.0), 1.0)
        above = min(max(math.log(centre / MID_HZ) / math.log(HIGH_HZ / MID_HZ), 0.0), 1.0)
        columns.append(low.log() * below + mid.log() * (1.0 - below - above) + high.log() * above)
    return torch.stack(columns, dim=1).exp()


def response(
    rate: float,
    channels: int,
    dtype: torch.dtype,
    device: torch.device | None = None,
    *,
    t60_low_s: torch.Tensor,
    t60_mid_s: torch.Tensor,
    t60_high_s: torch.Tensor,
    level_db: torch.Tensor,
    tone_db: torch.Tensor,
    predelay_ms: torch.Tensor,
    width: torch.Tensor,
) -> torch.Tensor:
    """Return the wet impulse responses (batch, min(channels, 4), time); gradients reach every knob."""
    t60_s = _band_t60_s(rate, t60_low_s.double(), t60_mid_s.double(), t60_high_s.double())
    octaves = torch.tensor([math.log2(f / MID_HZ) for f in centres_hz(rate)], dtype=torch.float64)
    slope = tone_db.double() / math.log2(HIGH_HZ / MID_HZ)
    gain = db_to_amplitude(slope[:, None] * octaves)
    decay = NEPERS_OF_60_DB / (t60_s * rate)
    lengths = (t60_s.detach().amax(dim=1) * (END_DB / 60.0 * rate)).ceil().long().numpy()
    delay = ms_to_samples(predelay_ms.double(), rate)
    longest = ms_to_samples(LONGEST_PREDELAY_MS, rate)
    whole = np.array([lagrange_split(value, longest) for value in delay.tolist()], dtype=np.int64)
    taps = lagrange_taps(delay - torch.from_numpy(whole))
    noise = noise_bands(rate, min(channels, STREAMS), int(lengths.max()))
    made = room.streams if device is not None and device.type != "cpu" else decays
    streams: torch.Tensor = made(gain, decay, taps, noise, whole, lengths, dtype, device)
    first = streams[:, :1]
    angle = (width * (math.pi / 2)).to(device, dtype)[:, None, None]
    mixed = torch.cat([first, angle.cos() * first + angle.sin() * streams[:, 1:]], dim=1)
    energy = mixed.square().sum(dim=-1, keepdim=True)
    return mixed * (db_to_amplitude(level_db.double()).to(device, dtype)[:, None, None] / energy.sqrt())


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    t60_low_s: torch.Tensor,
    t60_mid_s: torch.Tensor,
    t60_high_s: torch.Tensor,
    level_db: torch.Tensor,
    tone_db: torch.Tensor,
    predelay_ms: torch.Tensor,
    width: torch.Tensor,
) -> torch.Tensor:
    """Add reverb to each row of (batch, channel, time) with its own settings."""
    ir = response(
        rate,
        x.shape[1],
        x.dtype,
        x.device,
        t60_low_s=t60_low_s,
        t60_mid_s=t60_mid_s,
        t60_high_s=t60_high_s,
        level_db=level_db,
        tone_db=tone_db,
        predelay_ms=predelay_ms,
        width=width,
    )
    if x.shape[1] > STREAMS:
        ir = ir[:, torch.arange(x.shape[1], device=ir.device) % STREAMS]
    return x + convolve(x, ir)


@dataclass(frozen=True)
class State:
    """One stream's convolution, and the settings its response was made for."""

    convolver: StreamConvolver
    settings: tuple[float, ...]
    stream: ConvolverState | None = None


def render(
    x: Samples,
    rate: float,
    state: State | None,
    *,
    t60_low_s: float,
    t60_mid_s: float,
    t60_high_s: float,
    level_db: float,
    tone_db: float,
    predelay_ms: float,
    width: float,
) -> tuple[Samples, State]:
    """Add reverb to a block (channel, time), late by `_lanes(rate)`; other settings cost a new response."""
    settings = (t60_low_s, t60_mid_s, t60_high_s, level_db, tone_db, predelay_ms, width)
    if state is None or state.settings != settings:
        knobs = {
            param.name: torch.tensor([value], dtype=torch.float64)
            for param, value in zip(_PARAMS, settings, strict=True)
        }
        dtype = torch.float64 if x.dtype == np.float64 else torch.float32
        ir = response(rate, x.shape[0], dtype, None, **knobs)[0].numpy()
        convolver = StreamConvolver(ir, x.shape[0], _lanes(rate), dry=1.0)
        state = State(convolver, settings, state.stream if state else None)
    y, stream = state.convolver.process(x, state.stream)
    return y, State(state.convolver, settings, stream)


@cache
def _lanes(rate: float) -> int:
    return max(1 << round(math.log2(max(LATENCY_S * rate, 1.0))), LEAST_LATENCY)


_T60_SPREAD = 0.13
"""A factor of 1.8: most rooms and plates decay in 0.3 to 3 s."""

_PARAMS = (
    *(
        Param(
            f"t60_{name}_s", "s", 0.08, 8.0, default, "log", f"decay by 60 dB at {where}", spread=_T60_SPREAD
        )
        for name, default, where in (("low", 1.2, "125 Hz"), ("mid", 1.0, "1 kHz"), ("high", 0.7, "8 kHz"))
    ),
    Param("level_db", "dB", -60.0, 12.0, -14.0, spread=0.12, help="the room over the dry sound; up: wetter"),
    Param("tone_db", "dB", -12.0, 12.0, default=0.0, help="tilt; up: brighter, down: darker", spread=0.2),
    Param(
        "predelay_ms", "ms", 0.0, LONGEST_PREDELAY_MS, default=10.0, spread=0.15, help="time until it sets in"
    ),
    Param("width", "", 0.0, 1.0, default=1.0, help="0: the same room in all channels, 1: all around"),
)  # fmt: skip


def _tail_s(settings: Mapping[str, float]) -> float:
    longest = max(settings["t60_low_s"], settings["t60_mid_s"], settings["t60_high_s"])
    return longest + settings["predelay_ms"] / 1000.0


CLEARLY_LONGER = 1.15
"""Ratio of decay times from which a reference counts as wetter; blind estimates scatter by that much."""

DRY_DB = -40.0
"""Level where the reference is no wetter: barely audible, yet with a gradient."""

GUESS_DB, GUESS_PER_OCTAVE_DB, GUESS_MOST_DB = -22.0, 10.0, -4.0
"""Level of a first guess: from GUESS_DB, up with each doubling of the decay over the source's."""


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Guess the decays where the reference decays longer than the source, and the level from how much."""
    settings = {p.name: p.default for p in _PARAMS}
    sound = np.isfinite(source.decay_s) & np.isfinite(reference.decay_s)
    sound &= (source.decay_s > 0.0) & (reference.decay_s > 0.0)
    if not sound.any():
        return {**settings, "level_db": DRY_DB}
    ratio = float(np.exp(np.mean(np.log(reference.decay_s[sound] / source.decay_s[sound]))))
    if ratio < CLEARLY_LONGER:
        return {**settings, "level_db": DRY_DB}
    for param, centre in zip(_PARAMS[:3], (LOW_HZ, MID_HZ, HIGH_HZ), strict=True):
        # An octave to either side: one band alone is a poor estimate.
        near = sound & (np.abs(np.log2(reference.decay_hz / centre)) < 1.5)
        if near.any():
            decay_s = float(np.median(reference.decay_s[near]))
            settings[param.name] = min(max(decay_s, param.low), param.high)
    level_db = GUESS_DB + GUESS_PER_OCTAVE_DB * math.log2(ratio)
    return {**settings, "level_db": min(level_db, GUESS_MOST_DB)}


EFFECT = Effect(
    name="reverb",
    summary="Noise-shaped reverb with three decay times",
    params=_PARAMS,
    forward=forward,
    render=render,
    # Two FFT convolutions of different sizes in float32: measured, -138 dB of full scale at the defaults
    # and -115 dB of the signal's peak at the worst limits.
    tolerance_db=-100.0,
    latency=lambda rate, settings: _lanes(rate),
    linear=True,
    tail_s=_tail_s,
    start=start,
)
