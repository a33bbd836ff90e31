"""Synthetic instruments: each voice plays one note, dry and mono, from equations alone.

===============  ==============================================================================
plucked string   v[n] = e[n] + rho A(H(v))[n - N],  H(z) = (1 - s) + s / z,  A(z) = (c + 1/z)/(1 + c/z)
electric piano   y = a(t) sin(w t + I(t) sin(w t)) + b(t) sin(14 w t)
lead             y = sum_k k^-p g(t)^k sin(k phi(t)),  phi' = w (1 + vibrato(t))
drum heads       y = a(t) sin phi(t),  phi' = 2 pi (f_1 + (f_0 - f_1) exp(-t/tau))
snares, cymbals  decaying modes and filtered noise
===============  ==============================================================================

Sources: plucked string, Karplus and Strong (1983) with the tuning all-pass of Jaffe and Smith (1983,
"Extensions of the Karplus-Strong plucked-string algorithm", eqs. 14-16) and the pick as two opposite
pulses (ideal string plucked at a fraction of its length); electric piano, Chowning (1973), frequency
modulation with the index falling as the note decays. Every voice returns float64 of shape (time,).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.signal import butter, iirpeak, lfilter, sosfilt

from fxstyle.units import NEPERS_OF_60_DB

Mono = npt.NDArray[np.float64]

HIGHEST_PARTIAL = 0.42
"""Partials above this fraction of the rate are left out: no aliases."""


def pitch_hz(midi: float) -> float:
    """Frequency of a MIDI note number in equal temperament, A4 = 69 = 440 Hz."""
    return float(440.0 * 2.0 ** ((midi - 69.0) / 12.0))


def _times(seconds: float, rate: float) -> Mono:
    return np.arange(max(1, round(seconds * rate))) / rate


def _decay(t: Mono, t60_s: float) -> Mono:
    return np.exp(-NEPERS_OF_60_DB * t / t60_s)


def _held(t: Mono, attack_s: float, held_s: float, release_t60_s: float) -> Mono:
    """Rise in raised-cosine form, hold, and fall by 60 dB in `release_t60_s` once the note is let go."""
    rise = 0.5 - 0.5 * np.cos(np.pi * np.minimum(t / attack_s, 1.0))
    return rise * _decay(np.maximum(t - held_s, 0.0), release_t60_s)


def _noise(
    frames: int, rate: float, band_hz: tuple[float, float], order: int, rng: np.random.Generator
) -> Mono:
    """White noise of unit power per sample, kept within `band_hz` by a Butterworth filter."""
    high = min(band_hz[1], 0.47 * rate)
    sos = butter(order, (min(band_hz[0], 0.8 * high), high), "bandpass", fs=rate, output="sos")
    return np.asarray(sosfilt(sos, rng.standard_normal(frames)))


@njit(cache=True, nogil=True, error_model="numpy")
def _string(excitation: Any, frames: int, period: int, loop: tuple[float, float, float]) -> Any:
    s, c, rho = loop
    line = np.zeros(period)
    out = np.empty(frames)
    read, previous, low_previous, tuned = 0, 0.0, 0.0, 0.0
    for n in range(frames):
        delayed = line[read]
        low = (1.0 - s) * delayed + s * previous
        previous = delayed
        tuned = c * (low - tuned) + low_previous
        low_previous = low
        v = rho * tuned
        if n < excitation.size:
            v += excitation[n]
        line[read] = v
        out[n] = v
        read += 1
        if read == period:
            read = 0
    return out


def plucked_string(
    rate: float,
    midi: float,
    held_s: float,
    velocity: float,
    rng: np.random.Generator,
    *,
    t60_s: float,
    damping: float,
    pick: float,
    tone_hz: float,
    release_s: float = 0.12,
) -> Mono:
    """One plucked note.

    Parameters
    ----------
    rate: in Hz. midi: pitch. held_s: until the finger is lifted. velocity: 0..1, louder and brighter.
    t60_s: decay of the fundamental. damping: s in the equation, 0 bright .. 0.5 dull.
    pick: where it is plucked, as a fraction of the string.
    tone_hz: above it the pickup or the plate passes 6 dB less an octave.
    release_s: 60 dB decay once lifted.
    """
    f0 = pitch_hz(midi)
    w = 2.0 * math.pi * f0 / rate
    loss = (1.0 - damping) + damping * complex(math.cos(w), -math.sin(w))
    # The loop delays by N + H + A samples; the all-pass takes what whole samples cannot.
    remaining = rate / f0 + math.atan2(loss.imag, loss.real) / w
    period = int(remaining - 0.3)
    fraction = remaining - period
    c = math.sin((1.0 - fraction) * w / 2.0) / math.sin((1.0 + fraction) * w / 2.0)
    rho = min(10.0 ** (-3.0 / (f0 * t60_s)) / abs(loss), 0.99999)

    samples = round(rate / f0)
    width = max(3, round((1.1 - velocity) * 0.0006 * rate))
    pulse = np.hanning(width + 2)[1:-1]
    strike = np.zeros(samples + width)
    strike[:width] += pulse
    place = max(1, round(pick * samples))
    strike[place : place + width] -= pulse[: strike.size - place]
    scrape = lfilter([velocity], [1.0, velocity - 1.0], rng.standard_normal(strike.size))
    strike += 0.06 * velocity * (scrape - scrape.mean())

    frames = round((held_s + release_s) * rate)
    t = np.arange(frames) / rate
    tone = _string(strike, frames, period, (damping, c, rho)) * _held(t, 1e-3, held_s, release_s)
    pole = math.exp(-2.0 * math.pi * tone_hz / rate)
    return np.asarray(velocity * lfilter([1.0 - pole], [1.0, -pole], tone))


def body(x: Mono, rate: float, modes: tuple[tuple[float, float, float], ...]) -> Mono:
    """Add the resonances of a wooden body: (frequency in Hz, Q, gain as an amplitude) each."""
    out = x.copy()
    for f_hz, q, gain in modes:
        b, a = iirpeak(f_hz, q, fs=rate)
        out += gain * lfilter(b, a, x)
    return out


def electric_piano(rate: float, midi: float, held_s: float, velocity: float) -> Mono:
    """One electric piano note: a bar (1:1 modulation) and a tine two octaves and more above."""
    f0 = pitch_hz(midi)
    t60_s = 5.0 * 2.0 ** (-(midi - 48.0) / 24.0)
    t = _times(held_s + 0.25, rate)
    phase = 2.0 * np.pi * f0 * t
    index = (0.3 + 2.2 * velocity**1.5) * _decay(t, 0.4 * t60_s)
    tone = _decay(t, t60_s) * np.sin(phase + index * np.sin(phase))
    tine_hz = 14.0 * f0
    if tine_hz < HIGHEST_PARTIAL * rate:
        tone += 0.16 * velocity * _decay(t, 0.25) * np.sin(2.0 * np.pi * tine_hz * t)
    return np.asarray(velocity * tone * _held(t, 2e-3, held_s, 0.25))


def lead(rate: float, midi: float, held_s: float, velocity: float, rng: np.random.Generator) -> Mono:
    """One note of a reed-like lead: late vibrato, a swell, brighter when louder, some breath."""
    f0 = pitch_hz(midi)
    t = _times(held_s + 0.15, rate)
    attack_s = 0.02 + 0.05 * (1.0 - velocity)
    swell = 1.0 + 0.35 * np.minimum(t / max(held_s, 0.3), 1.0) * (held_s > 0.5)
    envelope = _held(t, attack_s, held_s, 0.15) * swell

    rate_hz = rng.uniform(5.0, 6.0)
    depth = (2.0 ** (22.0 / 1200.0) - 1.0) * np.clip((t - 0.22) / 0.3, 0.0, 1.0)
    # A whole integral of the vibrato keeps the mean pitch where it belongs.
    phase = 2.0 * np.pi * f0 * (t + np.cumsum(depth * np.sin(2.0 * np.pi * rate_hz * t)) / rate)

    bright = (0.80 + 0.12 * velocity) * (0.9 + 0.1 * np.minimum(envelope, 1.0))
    tone, weight = np.zeros_like(t), np.ones_like(t)
    twice_cos = 2.0 * np.cos(phase)
    before, now = np.zeros_like(t), np.sin(phase)
    for k in range(1, int(HIGHEST_PARTIAL * rate / (1.03 * f0)) + 1):
        # Even partials are weaker, as in a pipe stopped at one end.
        tone += (0.45 if k % 2 == 0 else 1.0) * weight * now / math.sqrt(k)
        weight *= bright
        before, now = now, twice_cos * now - before
    breath = _noise(t.size, rate, (1500.0, 9000.0), 1, rng)
    return np.asarray(velocity * envelope * (0.5 * tone + 0.02 * breath))


def drum_head(
    rate: float, velocity: float, *, start_hz: float, end_hz: float, sweep_s: float, t60_s: float
) -> Mono:
    """A struck head whose pitch falls: kick and toms. The phase is the integral in closed form."""
    t = _times(1.2 * t60_s, rate)
    phase = end_hz * t + (start_hz - end_hz) * sweep_s * (1.0 - np.exp(-t / sweep_s))
    return velocity * np.sin(2.0 * np.pi * phase) * _decay(t, t60_s) * np.minimum(t / 5e-4, 1.0)


def kick(rate: float, velocity: float, rng: np.random.Generator, *, end_hz: float = 52.0) -> Mono:
    """Bass drum: a head falling to `end_hz` and the beater's click."""
    head = drum_head(rate, velocity, start_hz=190.0, end_hz=end_hz, sweep_s=0.028, t60_s=0.42)
    t = np.arange(head.size) / rate
    click = _noise(head.size, rate, (1200.0, 6500.0), 2, rng) * _decay(t, 0.03)
    return np.asarray(head + 0.22 * velocity**2 * click)


def snare(rate: float, velocity: float, rng: np.random.Generator, *, head_hz: float = 186.0) -> Mono:
    """Snare drum: two modes of the head and the wires, which rattle longer when hit harder."""
    t = _times(0.5, rate)
    head = np.sin(2.0 * np.pi * head_hz * t) * _decay(t, 0.16)
    head += 0.6 * np.sin(2.0 * np.pi * 1.78 * head_hz * t) * _decay(t, 0.10)
    wires = _noise(t.size, rate, (1400.0, 12000.0), 1, rng) * _decay(t, 0.14 + 0.16 * velocity)
    return np.asarray(velocity * (0.55 * head + 0.38 * wires) * np.minimum(t / 3e-4, 1.0))


def rim(rate: float, velocity: float, rng: np.random.Generator) -> Mono:
    """Cross-stick: three short wooden modes."""
    t = _times(0.12, rate)
    modes = sum(g * np.sin(2.0 * np.pi * f * t) for f, g in ((520.0, 0.5), (1710.0, 1.0), (2630.0, 0.5)))
    tick = _noise(t.size, rate, (2000.0, 8000.0), 1, rng) * _decay(t, 0.015)
    return np.asarray(velocity * 0.5 * (modes * _decay(t, 0.07) + 0.3 * tick))


_CYMBAL_MODES_HZ = tuple(2300.0 * 1.083**k * (1.0 + 0.021 * ((7 * k) % 5)) for k in range(26))
"""Inharmonic, ever denser in linear frequency, 2.3 to 17 kHz: no pitch is heard."""


def cymbal(rate: float, velocity: float, rng: np.random.Generator, *, t60_s: float) -> Mono:
    """Hi-hat (60 ms closed, 450 ms open) or crash (2 s): modes with noise, highs decay first."""
    t = _times(1.1 * t60_s, rate)
    ring = np.zeros_like(t)
    for f_hz in _CYMBAL_MODES_HZ:
        if f_hz < HIGHEST_PARTIAL * rate:
            ring += np.sin(2.0 * np.pi * (f_hz * t + rng.random())) * _decay(
                t, t60_s * (3000.0 / f_hz) ** 0.35
            )
    hiss = _noise(t.size, rate, (5000.0, 18000.0), 2, rng) * _decay(t, t60_s)
    return np.asarray(velocity * (0.07 * ring + 0.30 * hiss) * np.minimum(t / 3e-4, 1.0))
