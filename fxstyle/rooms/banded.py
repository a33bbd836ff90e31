"""An impulse response in octaves that add up to it, so that each can be given another decay.

    h[n] = sum_b h_b[n]

* The octaves are cut in frequency with cosine edges, in zero phase, and what rings ahead of the first sample
  is left out: it adds up to nothing.
* Where an octave has faded into the noise of its measurement, it can be continued by noise that goes on as
  the decay did, the exponential of `lundeby.find_end`; the two cross over in power within CROSSING_S.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from fxstyle.dsp.noise import centres_hz, noise_bands, noise_shares
from fxstyle.rooms.iso3382 import broadband, measure_response
from fxstyle.rooms.lundeby import find_end
from fxstyle.units import NEPERS_OF_60_DB

Floats = npt.NDArray[np.float64]

EDGE_OCTAVES = 0.5
"""Width of the slope between two octaves."""

AROUND_S = 0.1
"""Silence added before and after a response, for the filters to ring in: -80 dB of the lowest octave's."""

CROSSING_S = 0.02
END_DB = 80.0
"""Decay below an octave's level at the beginning, at which it is over."""

LONGEST_S = 20.0
"""Of a continued response."""

UNKNOWN_T60_S = 1.0
"""Where no decay can be measured at all, as of a single click: there is nothing that it would scale."""


@dataclass(frozen=True, eq=False)
class Banded:
    """A response in octaves.

    Attributes
    ----------
    bands: (channel, band, time) in float32: the decays of all octaves; then, where some have met their noise,
        what comes after, of all octaves again.
    t60_s: (band,) decay times, of the late decay where there are two: scaled, none of them may grow.
    end_s: (band,) until when each is worth hearing.
    decay_s: (band,) until when each decays: what comes after is the noise of the recording.
    """

    bands: npt.NDArray[np.float32]
    t60_s: Floats
    end_s: Floats
    decay_s: Floats


def octave_shapes(frequency_hz: Floats, rate: float) -> Floats:
    """Return how much of each frequency belongs to each octave, (band, frequency); they add up to 1."""
    octave = np.log2(np.maximum(frequency_hz, 1e-3))
    edges = [math.log2(f) - 0.5 for f in centres_hz(rate)[1:]]
    # what belongs to the octaves above an edge
    above = [np.sin(np.pi / 2 * np.clip((octave - e) / EDGE_OCTAVES + 0.5, 0.0, 1.0)) ** 2 for e in edges]
    steps = [np.ones_like(octave), *above, np.zeros_like(octave)]
    return np.stack([a - b for a, b in itertools.pairwise(steps)])


def split(h: Floats, rate: float) -> Floats:
    """Return (channel, band, time) of h (channel, time): octaves that add up to it."""
    around = math.ceil(AROUND_S * rate)
    size = scipy.fft.next_fast_len(h.shape[1] + 2 * around, real=True)
    shapes = octave_shapes(scipy.fft.rfftfreq(size, 1.0 / rate), rate)
    return np.asarray(scipy.fft.irfft(scipy.fft.rfft(h, size)[:, None] * shapes, size)[..., : h.shape[1]])


def _decay_times(h: Floats, rate: float) -> Floats:
    """Return (band,) decay times; where one is not sure, that of the nearest octave, or of the whole."""
    count = len(centres_hz(rate))
    measured = measure_response(h, rate).t60_s
    t60_s = np.full(count, math.nan)
    t60_s[: min(count, measured.size)] = measured[:count]
    sure = np.flatnonzero(np.isfinite(t60_s))
    if not sure.size:
        whole = float(broadband(h, rate).t60_s[0])
        return np.full(count, whole if math.isfinite(whole) else UNKNOWN_T60_S)
    nearest = sure[np.abs(np.arange(count)[:, None] - sure).argmin(axis=1)]
    return np.asarray(t60_s[nearest])


def banded(h: Floats, rate: float, *, extended: bool = False, longest_scale: float = 1.0) -> Banded:
    """Return a response (channel, time), of at least one sample that is not 0, in octaves.

    Parameters
    ----------
    h: (channel, time). rate: in Hz.
    extended: whether octaves go on where they have met the noise.
    longest_scale: how many times as long a decay will be wanted: so long do they go on.

    Raises AudioError as `measure_response` does.
    """
    bands, t60_s = split(h, rate), _decay_times(h, rate)
    ends = [find_end((bands[:, b] ** 2).sum(axis=0), rate) for b in range(t60_s.size)]
    for b, end in enumerate(ends):
        if end.constant_s > 0.0:
            t60_s[b] = 2.0 * NEPERS_OF_60_DB * end.constant_s
    # an octave in which nothing decays is noise from the beginning
    decay_s = np.array([end.sample / rate if end.constant_s > 0.0 else 0.0 for end in ends])
    if not extended:
        end_s = np.full(t60_s.size, h.shape[1] / rate)
        return Banded(_parted(bands, decay_s, rate), t60_s, end_s, decay_s)
    over_s = []
    for b, end in enumerate(ends):
        square = (bands[:, b, : end.sample] ** 2).sum(axis=0)
        block = max(round(CROSSING_S * rate), 1)
        loudest = float(np.convolve(square, np.full(block, 1.0 / block), "same").max(initial=0.0))
        left_db = (
            END_DB + 10.0 * math.log10(end.floor / loudest) if end.floor > 0.0 and loudest > 0.0 else 0.0
        )
        over_s.append(end.sample / rate + max(left_db, 0.0) / 60.0 * t60_s[b])
    end_s = np.array(over_s)
    length = math.ceil(min(float(end_s.max()) * longest_scale, LONGEST_S) * rate)
    out = np.zeros((*bands.shape[:2], max(length, 1)))
    noise = noise_bands(rate, h.shape[0], length)
    shares = noise_shares(rate)
    for b, end in enumerate(ends):
        here = min(bands.shape[2], length)
        out[:, b, :here] = bands[:, b, :here]
        if not end.constant_s > 0.0 or end.sample >= length:
            continue
        n = np.arange(length)
        fade = np.clip((n - end.sample) / (CROSSING_S * rate) + 0.5, 0.0, 1.0) * (math.pi / 2.0)
        level = math.sqrt(end.floor / h.shape[0] / shares[b])
        going_on = level * np.exp(-(n - end.sample) / (2.0 * end.constant_s * rate))
        out[:, b] = out[:, b] * np.cos(fade) + going_on * np.sin(fade) * noise[:, b, :length]
    # what goes on as the decay did is part of it
    goes_on_s = np.where(decay_s > 0.0, length / rate, 0.0)
    return Banded(_parted(out, goes_on_s, rate), t60_s, end_s, goes_on_s)


def _parted(bands: Floats, decay_s: Floats, rate: float) -> npt.NDArray[np.float32]:
    """Return the bands until their decays end, and after that, (channel, band or 2 band, time)."""
    ends = np.rint(decay_s * rate).astype(int)
    if (ends >= bands.shape[2]).all():
        return bands.astype(np.float32)
    after = bands.astype(np.float32)
    before = after.copy()
    for b, end in enumerate(ends):
        before[:, b, end:] = 0.0
        after[:, b, :end] = 0.0
    return np.concatenate([before, after], axis=1)
