"""What the linear response between an input and its wet version says of echoes and rooms.

Of the response h from the first arrival on:

* an echo is a tap that stands out of what is around it;
* a room fades: per octave, the level of h falls along a line whose slope is the decay time T60 and whose
  integral over that of the direct sound is the level. In windows of WINDOW_S, from FIRST_S until the noise
  that h has been found with; the median of each window's parts, which an echo does not move. Standards ask
  for 35 dB of range (rooms/iso3382.py), which a response that was found through a distortion does not have;
* a reverberation that always answers alike, which one of ours does, correlates with h where it sets in.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
import scipy.signal

from fxstyle.chain import Chain
from fxstyle.effect import Effect
from fxstyle.fit.known import response_of
from fxstyle.octaves import BANDS
from fxstyle.rooms.blind import Estimate
from fxstyle.rooms.foretell import Floats, peak_of, whitened
from fxstyle.units import power_to_db

FIRST_ECHO_S, ECHO_S, AROUND_S = 0.02, 0.0015, 0.015
"""An echo comes no sooner, is no longer, and stands out from what is around."""

CLEAR_ECHO_DB, LEAST_ECHO_DB = 12.0, -34.0
"""Over what is around it, and over the direct sound."""

LEAST_STRENGTH = 0.15
"""Of an echo that is there: enough for a start to take it up."""

LOWEST_HZ = 62.5
DIRECT_S, FIRST_S, WINDOW_S, PARTS = 0.02, 0.04, 0.05, 5
SEAM_S = 0.05
"""At the end of a response, which is a circle, lies what rings before its beginning."""

ABOVE_NOISE_DB = 6.0
LEAST_WINDOWS, LEAST_OCTAVES = 4, 3
T60_LIMITS_S = (0.08, 10.0)
FAINTEST_DB = -35.0
"""Of a room over the direct sound: below, there is none."""

MOST_RATIO, MOST_APART_DB = 2.0, 9.0
"""Of an octave from the median one: rooms differ by no more, noise in a response does."""

T60_SPREAD, LEVEL_SPREAD_DB = 0.5, 6.0
"""The first as a share: other effects of the chain are in the response as well."""

SHIFT_MS, SAME = 10.0, 0.9
"""A knob delays if so much more of it gives the same as much later, to this correlation."""

CLEARLY = 13.0
"""Times the median of a correlation, beyond which its peak is no chance: nine deviations of noise."""

_TINY = 1e-30
_DIRECT_PULSE_S = 0.0001


def echo_of(h: Floats, rate: int) -> tuple[float, float]:
    """Return time in ms and strength, as in `Measurement`, of the strongest echo of a response (tap,).

    Zeros where none stands CLEAR_ECHO_DB out of what is around it.
    """
    width, around, first = (round(s * rate) for s in (ECHO_S, AROUND_S, FIRST_ECHO_S))
    if h.size < first + 2 * around + round(SEAM_S * rate):
        return 0.0, 0.0
    total = np.concatenate((np.zeros(1), np.cumsum(h * h)))
    k = np.arange(h.size)

    def energy(half: int) -> Floats:
        return np.asarray(total[np.minimum(k + half + 1, h.size)] - total[np.maximum(k - half, 0)])

    near, wide = energy(width), energy(around)
    direct = float(near[: first // 2].max())
    floor = np.maximum((wide - near) / (around - width) * width, _TINY)
    clear = power_to_db(np.maximum(near, _TINY) / floor) > CLEAR_ECHO_DB
    clear &= near > direct * 10.0 ** (LEAST_ECHO_DB / 10.0)
    clear[:first] = False
    clear[-round(SEAM_S * rate) :] = False
    if not clear.any():
        return 0.0, 0.0
    rough = int(np.where(clear, near, 0.0).argmax())
    begin = max(rough - width, 0)
    place = begin + int(np.abs(h[begin : rough + width + 1]).argmax())
    share = float(near[place]) / direct
    # one echo of relative power e repeats the envelope by e/(1 + e^2)
    return 1000.0 * place / rate, max(share / (1.0 + share * share), LEAST_STRENGTH)


def _octave(h: Floats, rate: int, centre_hz: float) -> Floats:
    edges = (centre_hz / np.sqrt(2.0), min(centre_hz * np.sqrt(2.0), 0.49 * rate))
    return np.asarray(
        scipy.signal.sosfilt(scipy.signal.butter(3, edges, "bandpass", fs=rate, output="sos"), h)
    )


def _decay(y: Floats, rate: int) -> tuple[float, float]:
    """Return T60 in s and level over the direct sound in dB of one octave of a response; NaN for none."""
    part = round(WINDOW_S * rate / PARTS)
    first, end = round(FIRST_S * rate), y.size - round(SEAM_S * rate)
    count = (end - first) // (part * PARTS)
    if count < 2 * LEAST_WINDOWS:
        return np.nan, np.nan
    parts = np.square(y[first : first + count * part * PARTS]).reshape(count, PARTS, part).sum(axis=2)
    level_db = power_to_db(np.maximum(PARTS * np.median(parts, axis=1), _TINY))
    noise_db = float(level_db[-max(count // 4, 1) :].mean())
    in_noise = level_db < noise_db + ABOVE_NOISE_DB
    use = int(in_noise.argmax()) if in_noise.any() else count
    if use < LEAST_WINDOWS:
        return np.nan, np.nan
    t = FIRST_S + WINDOW_S * (np.arange(use) + 0.5)
    slope, at_0_db = np.polyfit(t, level_db[:use], 1)
    if slope > -60.0 / T60_LIMITS_S[1]:
        return np.nan, np.nan
    t60_s = max(-60.0 / float(slope), T60_LIMITS_S[0])
    whole_db = float(at_0_db) + 10.0 * np.log10(t60_s / (6.0 * np.log(10.0)) / WINDOW_S)
    direct = float(np.square(y[: round(DIRECT_S * rate)]).sum())
    return t60_s, whole_db - 10.0 * np.log10(max(direct, _TINY))


def room_of(h: Floats, rate: int) -> Estimate | None:
    """Return the room in a response (tap,), None where none fades in it.

    Octaves in which nothing can be read take after the nearest one.
    """
    centre_hz = LOWEST_HZ * np.exp2(np.arange(BANDS, dtype=np.float64))
    if h.size < 2 * LEAST_WINDOWS * WINDOW_S * rate:
        return None
    found = np.array([_decay(_octave(h, rate, c), rate) for c in centre_hz if c < 0.45 * rate])
    sure = np.flatnonzero(np.isfinite(found).all(axis=1))
    if sure.size < LEAST_OCTAVES or np.median(found[sure, 1]) < FAINTEST_DB:
        return None
    nearest = sure[np.abs(np.arange(BANDS)[:, None] - sure).argmin(axis=1)]
    t60_s, level_db = found[nearest].T
    middle_s, middle_db = float(np.median(t60_s)), float(np.median(level_db))
    t60_s = np.clip(t60_s, middle_s / MOST_RATIO, middle_s * MOST_RATIO)
    level_db = np.clip(level_db, middle_db - MOST_APART_DB, middle_db + MOST_APART_DB)
    ones = np.ones(BANDS)
    return Estimate(
        centre_hz=np.asarray(centre_hz), t60_s=t60_s, level_db=level_db, c50_db=np.nan * ones,
        t60_spread=T60_SPREAD * ones, level_spread_db=LEVEL_SPREAD_DB * ones, c50_spread_db=np.nan * ones,
        loss=0.0, confidence=sure.size / BANDS, dry=False, warnings=(),
    )  # fmt: skip


def _reverberation(effect: Effect, settings: dict[str, float], rate: int, channels: int, time: int) -> Floats:
    """Return the mean of the channels of a response (time,), less the direct sound."""
    h = response_of(effect, settings, rate, channels, time).mean(axis=0)
    h[: round(_DIRECT_PULSE_S * rate)] = 0.0
    return np.asarray(h)


def _alike(a: Floats, b: Floats) -> float:
    return float(a @ b) / max(float(np.sqrt((a @ a) * (b @ b))), _TINY)


def delays_of(chain: Chain, room: Estimate, h: Floats, rate: int, channels: int) -> dict[str, float]:
    """Return, by address, the time after which a chain's reverberation sets in, if it is the one in h.

    Only one whose response is the same every time can be told so; of others nothing is returned.
    """
    slot = next((slot for slot in chain if slot.active and slot.effect.of_decays is not None), None)
    if slot is None or slot.effect.of_decays is None:
        return {}
    settings = {**slot.settings, **slot.effect.of_decays(room.t60_s, room.level_db)}
    shift = round(1e-3 * SHIFT_MS * rate)
    for param in slot.effect.params:
        if param.unit != "ms" or not param.fitted or param.high - param.low < SHIFT_MS:
            continue
        early, late = (
            _reverberation(slot.effect, {**settings, param.name: param.low + more}, rate, channels, h.size)
            for more in (0.0, SHIFT_MS)
        )
        if not _alike(early[: h.size - shift], late[shift:]) > SAME:
            continue
        size = scipy.fft.next_fast_len(2 * h.size, real=True)
        tail = h.copy()
        tail[: round(ECHO_S * rate)] = 0.0
        a, b = whitened(early, size), whitened(tail, size)
        cross = scipy.fft.irfft(np.conj(scipy.fft.rfft(a, size)) * scipy.fft.rfft(b, size), size)[: h.size]
        most = min(round(1e-3 * (param.high - param.low) * rate) + 1, cross.size)
        place, _ = peak_of(cross[:most])
        if np.abs(cross[:most]).max() > CLEARLY * float(np.median(np.abs(cross[:most]))):
            time_ms = min(max(param.low + 1e3 * place / rate, param.low), param.high)
            return {f"{slot.name}.{param.name}": float(time_ms)}
    return {}
