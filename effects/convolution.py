"""Convolution: a captured space, plate, spring or cabinet; its decay and its balance can be turned.

    y_c = dry x_c + h_c * x_c                                                *: convolution
    h_c(t) = 10^(level/20) w(t) sum_b exp(-(1/S_b - 1) ln(1000) t/T_b) r_cb(t)   delayed by predelay_ms
    w(t) = s(t - trim_ms) 10^(B e(t)/20)

    r_cb    octave b of channel c of the impulse response `ir`, whose energy is made 1 (mean of the channels):
            white noise comes out as loud as it went in
    T_b     its decay time in the octave, as measured after ISO 3382
    S_b     decay_.._x: how many times as long it shall decay, down to the noise of the recording, which then
            keeps the gain that the decay ends with
    B       early_late_db: what comes later than 80 ms over what comes before; e rises from -1/2 to 1/2
            between 60 and 100 ms
    s       rises from 0 to 1 within the millisecond before trim_ms: what comes earlier is cut away
    dry     1 with `dry` on, else 0: a response that has the direct sound in it needs no other

With all decays at 1 and nothing trimmed it is plain convolution with the response. `ir` is a file, kept in
the preset, or one of the built-in spaces of fading noise. A response has one channel for all, or one for each
channel of the sound; further channels begin again with the first. It is resampled to the rate of the sound;
one that begins with its direct sound is a millisecond later for it.

Responses have noise in them. `tail` extended replaces each octave, from where it has met the noise, by its
own decay going on: then longer decays do not bring the noise up, and a note ends in silence.

Octaves by cosine edges (rooms/banded.py), the noise by A. Lundeby et al., Acustica 81, 1995.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr  # type: ignore[import-untyped]  # compiled, without stubs
import torch

from fxstyle import responses
from fxstyle.dsp.decays import decays
from fxstyle.dsp.lagrange import lagrange
from fxstyle.dsp.noise import noise_bands
from fxstyle.effect import Decays
from fxstyle.octaves import BAND_NAMES, NOMINAL_HZ
from fxstyle.param import Param
from fxstyle.reverberation import reverberation, within
from fxstyle.rooms.banded import END_DB, Banded, banded, split
from fxstyle.units import NEPERS_OF_60_DB, db_to_amplitude, ms_to_samples

BUILT_IN_S = {
    "hall": (2.6, 2.5, 2.4, 2.3, 2.2, 1.9, 1.5, 1.0),
    "chamber": (0.9, 0.9, 0.9, 1.0, 1.0, 0.9, 0.8, 0.6),
    "plate": (1.4, 1.6, 1.8, 2.0, 2.0, 1.9, 1.7, 1.4),
}
"""Decay times of the spaces that need no file."""

BUILT_IN_CHANNELS, BUILT_IN_RATE = 2, 48_000.0

LONGEST_PREDELAY_MS = 200.0
SHORTEST_SCALE, LONGEST_SCALE = 0.3, 3.0

EARLY_MS, CROSSING_MS = 80.0, 40.0
"""Early sound is what arrives within 80 ms (ISO 3382-1, C80); the change from one to the other is gradual."""

TRIM_EDGE_MS = 1.0

LEAD, AT_ONCE = 48, 1e-3
"""Samples of a response's own rate, a millisecond; share of the largest sample."""

TAIL = ("recorded", "extended")
KEPT = 2
"""Responses kept ready, by rate and tail."""


def _at(rate: float, h: npt.NDArray[np.float64], own_rate: float) -> npt.NDArray[np.float64]:
    """Return a response (channel, time) at another rate: denser samples, the sum over which stays.

    One that begins at once is LEAD samples later for it: there the filter rings before it.
    """
    if own_rate == rate:
        return h
    if np.abs(h[:, :LEAD]).max() > AT_ONCE * np.abs(h).max():
        h = np.pad(h, ((0, 0), (LEAD, 0)))
    made = np.asarray(soxr.resample(h.T, own_rate, rate, quality="VHQ")).T * (own_rate / rate)
    return made if made.shape[1] else np.zeros((h.shape[0], 1))


@lru_cache(maxsize=KEPT)
def _built_in(rate: float, t60_s: tuple[float, ...]) -> Banded:
    """Return a space of fading noise, of energy 1 in every octave: the same one at every rate."""
    decay = NEPERS_OF_60_DB / (np.array(t60_s) * BUILT_IN_RATE)
    length_s = max(t60_s) * END_DB / 60.0
    longest = math.ceil(length_s * LONGEST_SCALE * BUILT_IN_RATE)
    noise = noise_bands(BUILT_IN_RATE, BUILT_IN_CHANNELS, longest)[..., :longest]
    level = np.sqrt(-np.expm1(-2.0 * decay))
    fall = np.exp(-decay[:, None] * np.arange(longest)) * level[:, None]
    bands = split(_at(rate, np.einsum("cbt,bt->ct", noise, fall), BUILT_IN_RATE), rate)
    count = bands.shape[1]
    end_s = np.full(count, length_s)
    return Banded(bands.astype(np.float32), np.array(t60_s[:count]), end_s, LONGEST_SCALE * end_s)


def _prepared(number: int, rate: float, extended: bool) -> Banded:
    """Return the response of a number in octaves, with energy 1."""
    if number < len(BUILT_IN_S):
        return _built_in(rate, tuple(BUILT_IN_S.values())[number])
    return _of_file(responses.get(number), rate, extended)


@lru_cache(maxsize=KEPT)
def _of_file(found: responses.Response, rate: float, extended: bool) -> Banded:
    h = found.audio
    h = h / math.sqrt(float((h**2).sum(axis=1).mean()))
    return banded(_at(rate, h, found.rate), rate, extended=extended, longest_scale=LONGEST_SCALE)


def _windows(
    delay: torch.Tensor, trim: torch.Tensor, late_db: torch.Tensor, rate: float, count: int
) -> torch.Tensor:
    """Return w, (batch, 1, time), of times from the delay; delay and trim in samples, all (batch,)."""
    t = torch.arange(count, dtype=torch.float64) - delay[:, None]
    edge = float(ms_to_samples(TRIM_EDGE_MS, rate))
    begun = _smooth((t - trim[:, None]) / edge + 1.0)
    crossing = float(ms_to_samples(CROSSING_MS, rate))
    late = _smooth((t - float(ms_to_samples(EARLY_MS, rate))) / crossing + 0.5) - 0.5
    # before the delay there is but what interpolation spreads by a sample or two
    begun = torch.where(t < 0.0, _smooth(1.0 - trim[:, None] / edge), begun)
    balance: torch.Tensor = db_to_amplitude(late_db[:, None] * late)
    return (begun * balance)[:, None]


def _smooth(share: torch.Tensor) -> torch.Tensor:
    """Rise from 0 to 1 over shares from 0 to 1, flat at both ends."""
    inside = share.clamp(0.0, 1.0)
    return inside * inside * (3.0 - 2.0 * inside)


def _of_one(
    number: int,
    extended: bool,
    rate: float,
    channels: int,
    dtype: torch.dtype,
    device: torch.device,
    knobs: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """Return the responses (batch, channel, time) of rows that have the same impulse response."""
    prepared = _prepared(number, rate, extended)
    count = len(prepared.t60_s)
    # all of them first: those that a low rate has no octave for have a gradient too, of zero
    scale = torch.stack([knobs[f"decay_{band}_x"].double() for band in BAND_NAMES], dim=1)[:, :count]
    t60_s = torch.from_numpy(prepared.t60_s)
    decay = (1.0 / scale - 1.0) * NEPERS_OF_60_DB / (t60_s * rate)
    level = db_to_amplitude(knobs["level_db"].double())
    gain = level[:, None].expand_as(decay)
    if prepared.bands.shape[1] > count:
        # the noise of the recording stays where the decay has left it: a longer decay does not make it grow
        left = (-decay * rate * torch.from_numpy(prepared.decay_s)).exp()
        gain, decay = torch.cat([gain, gain * left], dim=1), torch.cat([decay, 0.0 * decay], dim=1)
    needed_s = (scale.detach() * torch.from_numpy(prepared.end_s)).amax(dim=1)
    total = prepared.bands.shape[2]
    lengths = (needed_s * rate).ceil().long().clamp(1, total).numpy()
    delay = ms_to_samples(knobs["predelay_ms"].double(), rate)
    whole, taps = lagrange(delay, ms_to_samples(LONGEST_PREDELAY_MS, rate))
    heard = prepared.bands[: min(channels, prepared.bands.shape[0])]
    streams = decays(gain, decay, taps, heard, whole, lengths, dtype, device)
    trim = ms_to_samples(knobs["trim_ms"].double(), rate)
    window = _windows(delay, trim, knobs["early_late_db"].double(), rate, streams.shape[-1])
    return streams * window.to(device, dtype)


def response(
    rate: float,
    channels: int,
    dtype: torch.dtype,
    device: torch.device,
    frames: int | None,
    /,
    **knobs: torch.Tensor,
) -> torch.Tensor:
    """Return the wet impulse responses (batch, channel, time), of knobs (batch,), differentiably."""
    kinds = list(zip(knobs["ir"].long().tolist(), (knobs["tail"] > 0.5).tolist(), strict=True))
    made = []
    for kind in dict.fromkeys(kinds):
        rows = torch.tensor([i for i, other in enumerate(kinds) if other == kind])
        ir = _of_one(*kind, rate, channels, dtype, device, {name: k[rows] for name, k in knobs.items()})
        made.append((rows, ir))
    if len(made) == 1:
        return made[0][1]
    most, longest = (max(ir.shape[axis] for _, ir in made) for axis in (1, 2))
    spread = [ir[:, torch.arange(most, device=ir.device) % ir.shape[1]] for _, ir in made]
    whole = torch.cat([torch.nn.functional.pad(ir, (0, longest - ir.shape[2])) for ir in spread])
    order = torch.cat([rows for rows, _ in made]).argsort()
    return whole[order.to(whole.device)]


def _dry(knobs: Mapping[str, Any]) -> Any:
    return knobs["dry"]


_PARAMS = (
    Param.choice("ir", tuple(BUILT_IN_S), "hall", "the space: a file, or one of these", responses=True),
    Param("level_db", "dB", -60.0, 24.0, -14.0, spread=0.12, help="energy of the response over the sound"),
    Param.choice("dry", ("off", "on"), "on", "the sound itself beside the response"),
    Param("predelay_ms", "ms", 0.0, LONGEST_PREDELAY_MS, 0.0, spread=0.15, help="time until it sets in"),
    Param("trim_ms", "ms", 0.0, 200.0, 0.0, help="cuts away what comes earlier", fitted=False),
    *(
        Param(
            f"decay_{band}_x",
            "",
            0.3,
            LONGEST_SCALE,
            1.0,
            "log",
            f"how many times as long at {hz:g} Hz",
            0.15,
        )
        for band, hz in zip(BAND_NAMES, NOMINAL_HZ, strict=True)
    ),
    Param("early_late_db", "dB", -12.0, 12.0, 0.0, spread=0.15, help="up: later than 80 ms over earlier"),
    Param.choice("tail", TAIL, "recorded", "whether octaves go on where they met the recording's noise"),
)


def _tail_s(settings: Mapping[str, float]) -> float:
    number = int(settings["ir"])
    if number < len(BUILT_IN_S):
        longest = max(tuple(BUILT_IN_S.values())[number])
    else:
        found = responses.get(number)
        longest = found.samples.shape[1] / found.rate
    scale = max(settings[f"decay_{band}_x"] for band in BAND_NAMES)
    return longest * scale + settings["predelay_ms"] / 1000.0


def of_decays(t60_s: Decays, level_db: Decays) -> dict[str, float]:
    """Return the settings for decays per octave, of the nearest built-in space, and the median level."""
    spaces = np.array(list(BUILT_IN_S.values()))
    nearest = int(np.abs(np.log(spaces / t60_s)).mean(axis=1).argmin())
    scale = (t60_s / spaces[nearest]).tolist()
    decays_x = {f"decay_{band}_x": x for band, x in zip(BAND_NAMES, scale, strict=True)}
    wanted = {"ir": float(nearest), "dry": 1.0, "level_db": float(np.median(level_db)), **decays_x}
    return within(_PARAMS, wanted)


EFFECT = reverberation(
    "convolution",
    "Convolution with a captured or built-in impulse response",
    _PARAMS,
    response,
    tail_s=_tail_s,
    dry=_dry,
    # Two FFT convolutions of different sizes in float32, as in the reverb.
    tolerance_db=-100.0,
    of_decays=of_decays,
    smooth=(tuple(f"decay_{band}_x" for band in BAND_NAMES),),
)
