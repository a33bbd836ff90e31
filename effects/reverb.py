"""Reverb: a room or plate of fading noise; each octave decays in its own time and has its own level.

    y_c = x_c + h_c * x_c                                   the input and the room (*: convolution)
    s_k[n] = sum_b g_b exp(-ln(1000) n/(T_b rate)) N_kb[n]  noise k: octave bands b that fade
    s_k is delayed by predelay_ms = d, and rises as 1 - exp(-(t - d)/onset_ms)
    h_0 = s_0,   h_c = cos(phi) s_0 + sin(phi) s_c          phi = width pi/2
    then h_c is scaled so that its energy is sum_b w_b 10^(L_b/10)

    T_b     t60_.._s: seconds to fall by 60 dB in the octave b, 63 Hz .. 8 kHz
    L_b     level_db + tone_.._db: the energy of the room in octave b over that of the dry sound there,
            whatever the decay: longer is not louder
    g_b     10^(L_b/20) sqrt(1 - exp(-2 ln(1000)/(T_b rate)))
    w_b     the share of the octave in white noise: its width over that of all
    N_kb    noise, the same each time, in the octaves b, equally strong per Hz
    c, n    channel and sample; rate: samples per second

Where all levels are alike the room is as white as the sound it is made from; it ends when its slowest band
is down by 80 dB. The lowest octave goes down to 0 Hz and the highest up to the end. A low rate has fewer
octaves, and knobs of those it lacks do nothing. Channels have rooms of their own and do not mix: mono stays
mono, and from the fifth channel on the rooms repeat. There are no early reflections: it is dense at once.

After J. A. Moorer, "About this reverberation business", CMJ 3(2), 1979 (decaying noise), with decays per
octave as in C. J. Steinmetz, V. K. Ithapu, P. Calamia, "Filtered noise shaping for time domain room
impulse response estimation", WASPAA 2021.

Measured per octave and channel (Schroeder, -5 .. -35 dB, 44.1 and 48 kHz, .4 to 3 s), decays are within
4 % (rms) of T_b from 125 Hz on, 7 % at 63 Hz; the largest error is 11 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fxstyle.dsp.decays import decays
from fxstyle.dsp.lagrange import lagrange
from fxstyle.dsp.noise import noise_bands, noise_shares
from fxstyle.effect import Decays
from fxstyle.octaves import BAND_NAMES, NOMINAL_HZ
from fxstyle.param import Param
from fxstyle.reverberation import reverberation, within
from fxstyle.units import NEPERS_OF_60_DB, db_to_amplitude, db_to_power, ms_to_samples

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement

STREAMS = 4
"""Independent noises: two for stereo, more for surround; beyond, memory would grow without use."""

END_DB = 80.0
"""Decay after which a response is cut: 20 dB past the 60 that make a tail."""

LONGEST_PREDELAY_MS = 120.0

RISE_AHEAD = 3.0
"""Samples by which the rise begins before the delay, so that the weights of interpolation lie on it."""

RISEN = 40.0
"""Onsets after which the rise is 1 to the last bit."""


def _bands(knobs: Mapping[str, torch.Tensor], kind: str, unit: str, count: int) -> torch.Tensor:
    """Return the knobs of the lowest `count` octaves, (batch, band) in float64."""
    # all of them first: those that do nothing have a gradient too, of zero
    return torch.stack([knobs[f"{kind}_{band}_{unit}"].double() for band in BAND_NAMES], dim=1)[:, :count]


def _risen(streams: torch.Tensor, delay: torch.Tensor, onset: torch.Tensor) -> torch.Tensor:
    """Return streams (batch, stream, time) times 1 - exp(-t/onset), t from the delay; both in samples."""
    over = math.ceil(float((delay + RISEN * onset).detach().amax()))
    begin, rest = streams[..., :over], streams[..., over:]
    t = torch.arange(begin.shape[-1], dtype=torch.float64) - delay[:, None] + RISE_AHEAD
    rise = -torch.expm1(-t.clamp_min(0.0) / onset[:, None])[:, None]
    return torch.cat([begin * rise.to(begin), rest], dim=-1)


def response(
    rate: float,
    channels: int,
    dtype: torch.dtype,
    device: torch.device,
    frames: int | None,
    /,
    **knobs: torch.Tensor,
) -> torch.Tensor:
    """Return the wet impulse responses (batch, min(channels, 4), time), of knobs (batch,), differentiably."""
    share = torch.tensor(noise_shares(rate), dtype=torch.float64)
    t60_s = _bands(knobs, "t60", "s", len(share))
    tone_db = _bands(knobs, "tone", "db", len(share))
    decay = NEPERS_OF_60_DB / (t60_s * rate)
    gain = db_to_amplitude(tone_db) * (-torch.expm1(-2.0 * decay)).sqrt()
    lengths = (t60_s.detach().amax(dim=1) * (END_DB / 60.0 * rate)).ceil().long().numpy()
    delay = ms_to_samples(knobs["predelay_ms"].double(), rate)
    whole, taps = lagrange(delay, ms_to_samples(LONGEST_PREDELAY_MS, rate))
    noise = noise_bands(rate, min(channels, STREAMS), int(lengths.max()))
    streams = decays(gain, decay, taps, noise, whole, lengths, dtype, device)
    streams = _risen(streams, delay, ms_to_samples(knobs["onset_ms"].double(), rate))
    first = streams[:, :1]
    angle = (knobs["width"] * (math.pi / 2)).to(device, dtype)[:, None, None]
    mixed = torch.cat([first, angle.cos() * first + angle.sin() * streams[:, 1:]], dim=1)
    energy = mixed.square().sum(dim=-1, keepdim=True)
    wanted = db_to_amplitude(knobs["level_db"].double()) * (db_to_power(tone_db) @ share).sqrt()
    return mixed * (wanted.to(device, dtype)[:, None, None] / energy.sqrt())


_T60_SPREAD = 0.13
"""A factor of 1.8: most rooms and plates decay in 0.3 to 3 s."""

_NATURAL = ((1.3, 1.2, 1.15, 1.1, 1.0, 0.95, 0.85, 0.7), (0.0, 0.0, 0.0, 0.0, 0.0, -0.5, -1.0, -2.0))
"""Defaults of decays in s and tones in dB: air and soft things take more from the highs."""


def _per_band(kind: str, unit: str, *numbers: Any, help: str, fitted: bool = True) -> tuple[Param, ...]:
    """Return the knobs of all octaves: lowest and highest values, scale, and the defaults."""
    low, high, scale, defaults = numbers
    return tuple(
        Param(
            f"{kind}_{band}_{unit.lower()}", unit, low, high, default, scale, f"{help} at {hz:g} Hz",
            spread=_T60_SPREAD, fitted=fitted,
        )
        for band, hz, default in zip(BAND_NAMES, NOMINAL_HZ, defaults, strict=True)
    )  # fmt: skip


_PARAMS = (
    *_per_band("t60", "s", 0.08, 10.0, "log", _NATURAL[0], help="decay by 60 dB"),
    Param("level_db", "dB", -60.0, 12.0, -14.0, spread=0.12, help="the room over the dry sound; up: wetter"),
    # Left alone by a fit that is not asked: with eight more levels it would make an equaliser of the room.
    *_per_band("tone", "dB", -18.0, 18.0, "linear", _NATURAL[1], help="more of the room", fitted=False),
    Param(
        "predelay_ms", "ms", 0.0, LONGEST_PREDELAY_MS, default=10.0, spread=0.15, help="time until it sets in"
    ),
    Param("onset_ms", "ms", 0.1, 100.0, 0.1, "log", "time it takes to build up", fitted=False),
    Param("width", "", 0.0, 1.0, default=1.0, help="0: the same room in all channels, 1: all around"),
)  # fmt: skip

_T60 = tuple(f"t60_{band}_s" for band in BAND_NAMES)
_TONE = tuple(f"tone_{band}_db" for band in BAND_NAMES)


def _tail_s(settings: Mapping[str, float]) -> float:
    return max(settings[knob] for knob in _T60) + settings["predelay_ms"] / 1000.0


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
    for param, centre in zip(_PARAMS, NOMINAL_HZ, strict=False):
        # An octave to either side: one band alone is a poor estimate.
        near = sound & (np.abs(np.log2(reference.decay_hz / centre)) < 1.5)
        if near.any():
            decay_s = float(np.median(reference.decay_s[near]))
            settings[param.name] = min(max(decay_s, param.low), param.high)
    level_db = GUESS_DB + GUESS_PER_OCTAVE_DB * math.log2(ratio)
    return {**settings, "level_db": min(level_db, GUESS_MOST_DB)}


def of_decays(t60_s: Decays, level_db: Decays) -> dict[str, float]:
    """Return the settings for decays and levels per octave."""
    level = float(np.mean(level_db))
    wanted = {"level_db": level, "predelay_ms": 0.0}
    wanted |= dict(zip(_T60, t60_s.tolist(), strict=True))
    wanted |= dict(zip(_TONE, (level_db - level).tolist(), strict=True))
    return within(_PARAMS, wanted)


EFFECT = reverberation(
    "reverb",
    "Noise-shaped reverb: each octave has its decay and its level",
    _PARAMS,
    response,
    tail_s=_tail_s,
    # Two FFT convolutions of different sizes in float32: measured, -138 dB of full scale at the defaults
    # and -115 dB of the signal's peak at the worst limits.
    tolerance_db=-100.0,
    start=start,
    of_decays=of_decays,
    smooth=(_T60,),
)
