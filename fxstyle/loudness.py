"""Loudness and true peak of a stream, after Recommendation ITU-R BS.1770-4.

    z_c[j]  = mean of y_c^2 over hop j             y_c: channel c after the K-weighting filter
    l(j)    = -0.691 + 10 log10 sum_c G_c z_c      over 400 ms, every 100 ms        (equations 3, 4)
    L       = the same over the hops j whose l(j) > -70 and > L_a - 10              (equations 5-7)
    LRA     = difference of the 95th and 10th percentile of the loudness over 3 s, gated at -70 and at
              20 LU below their mean                                                (EBU Tech 3342)
    TP      = max |x at 4 times the rate|                                           (annex 2)

K-weighting is a high shelf followed by a high pass. The recommendation gives both as coefficients for
48 kHz; undoing the bilinear transform gives their analogue prototypes (De Man, "Evaluation of
implementations of the EBU R128 loudness measurement", AES 145, 2018), which are transformed again for
other rates. Below 4 kHz the shelf, whose corner is at 1.7 kHz, lies outside the band and is left out.

Channels weigh 1, surrounds at 60..120 degrees 1.41, the LFE 0 (table 3), in the order of WAV files:
4 = L R Ls Rs, 5 = L R C Ls Rs, 6 = L R C LFE Ls Rs, 8 = L R C LFE Lb Rb Ls Rs; other numbers weigh 1.
One channel counts as one loudspeaker: a full-scale 997 Hz sine reads -3.01 LUFS, in both channels of a
stereo file 0 LUFS.

Levels of silence are -120 in the results (`units.SILENCE_DB`), where the equations say minus infinity.
A recording shorter than 400 ms is one block. Memory grows by ten numbers per second, nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from fxstyle.audio import BLOCK, Audio
from fxstyle.dsp.truepeak import HALF, exceeds, folded, most, oversampling, phases, quarters
from fxstyle.effect import Samples
from fxstyle.errors import AudioError
from fxstyle.units import SILENCE_DB, amplitude_to_db, db_to_amplitude

Array = npt.NDArray[np.float64]

_OFFSET_DB = -0.691
"""Cancels the K-weighting's gain at 997 Hz."""

_ABSOLUTE_GATE_LUFS = -70.0
_RELATIVE_GATE_LU = -10.0
_RANGE_GATE_LU = -20.0
_HOPS_MOMENTARY = 4
_HOPS_SHORT_TERM = 30
_HOP_S = 0.1

_SHELF_HZ, _SHELF_DB, _SHELF_Q = 1681.974450955533, 3.999843853973347, 0.7071752369554196
_SHELF_SPLIT = 0.4996667741545416
"""Exponent that puts the shelf's middle gain where the recommendation's coefficients have it."""
_PASS_HZ, _PASS_Q = 38.13547087602444, 0.5003270373238773
_SHELF_LEAST_RATE = 4000.0
_TABLE_RATE = 48_000.0
_TOP_SHARE = 0.49
"""Of the rate, where a corner is put that would lie above the band; keeps the tangent finite."""

_SURROUND_WEIGHT = 1.41

_GROUP = 512
"""Samples between which a new peak is looked for, or not, at a time."""

_TINY = 1e-30
"""Filter states below this are set to zero: denormals are slow and 480 dB under any gate."""


@dataclass(frozen=True)
class Loudness:
    """Levels of a recording.

    Attributes
    ----------
    integrated_lufs: gated loudness of the whole; -120 where everything is below the gate.
    momentary_lufs, short_term_lufs: loudest 400 ms and 3 s; the latter is -120 in less than 3 s.
    range_lu: loudness range; 0 in less than 3 s.
    true_peak_dbtp: highest level of the waveform between the samples too.
    peak_db: highest sample.
    """

    integrated_lufs: float
    momentary_lufs: float
    short_term_lufs: float
    range_lu: float
    true_peak_dbtp: float
    peak_db: float


def k_weighting(rate: float) -> Array:
    """Return the (2, 6) second-order sections b0 b1 b2 1 a1 a2 of the K-weighting at `rate` Hz."""
    sections = np.zeros((2, 6))
    sections[:, 0] = sections[:, 3] = 1.0
    if rate >= _SHELF_LEAST_RATE:
        k = math.tan(math.pi * _SHELF_HZ / rate)
        high = db_to_amplitude(_SHELF_DB)
        middle = high**_SHELF_SPLIT
        a0 = 1.0 + k / _SHELF_Q + k * k
        sections[0] = (
            np.array(
                [
                    high + middle * k / _SHELF_Q + k * k,
                    2.0 * (k * k - high),
                    high - middle * k / _SHELF_Q + k * k,
                    a0,
                    2.0 * (k * k - 1.0),
                    1.0 - k / _SHELF_Q + k * k,
                ]
            )
            / a0
        )
    k = math.tan(math.pi * min(_PASS_HZ / rate, _TOP_SHARE))
    a0 = 1.0 + k / _PASS_Q + k * k
    k_table = math.tan(math.pi * _PASS_HZ / _TABLE_RATE)
    # The table's numerator, 1 -2 1, lacks its 1/a0 of 48 kHz; the same gain is kept at every rate.
    gain = (1.0 + k_table / _PASS_Q + k_table * k_table) / a0
    sections[1] = [gain, -2.0 * gain, gain, 1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / _PASS_Q + k * k) / a0]
    return sections


def channel_weights(channels: int) -> Array:
    """Return the weight G_c of each channel, by the order of channels in WAV files."""
    weights = np.ones(channels)
    surrounds = {4: (2, 3), 5: (3, 4), 6: (4, 5), 8: (6, 7)}
    weights[list(surrounds.get(channels, ()))] = _SURROUND_WEIGHT
    if channels in (6, 8):
        weights[3] = 0.0
    return weights


@njit(cache=True)
def _hop_energy(x, sections, weights, state, hop, filled, energy, out):  # type: ignore[no-untyped-def]
    """Sum the weighted squares of the filtered x (channel, time) per hop.

    `state` (channel, 4), `energy` (channel,) and `out` are written. Returns the hops completed and the
    samples that the hop begun last has.
    """
    channels, frames = x.shape
    b0, b1, b2, a1, a2 = sections[0, 0], sections[0, 1], sections[0, 2], sections[0, 4], sections[0, 5]
    d0, d1, d2, c1, c2 = sections[1, 0], sections[1, 1], sections[1, 2], sections[1, 4], sections[1, 5]
    count = 0
    start = 0
    while start < frames:
        stop = min(frames, start + hop - filled)
        for c in range(channels):
            s1, s2, t1, t2 = state[c, 0], state[c, 1], state[c, 2], state[c, 3]
            total = energy[c]
            for n in range(start, stop):
                v = x[c, n]
                w = b0 * v + s1
                s1 = b1 * v - a1 * w + s2
                s2 = b2 * v - a2 * w
                y = d0 * w + t1
                t1 = d1 * w - c1 * y + t2
                t2 = d2 * w - c2 * y
                total += y * y
            if abs(s1) + abs(s2) + abs(t1) + abs(t2) < _TINY:
                s1 = s2 = t1 = t2 = 0.0
            state[c, 0], state[c, 1], state[c, 2], state[c, 3] = s1, s2, t1, t2
            energy[c] = total
        filled += stop - start
        start = stop
        if filled == hop:
            out[count] = np.dot(weights, energy) / hop
            energy[:] = 0.0
            count += 1
            filled = 0
    return count, filled


@njit(cache=True, nogil=True, error_model="numpy")
def _peak_between(x, table, bound, peak):  # type: ignore[no-untyped-def]
    """Return the largest |value| between the samples of x (time,), or `peak` if that is larger.

    `bound` is the largest sum of |taps|: where the samples times `bound` stay under the peak so far,
    nothing needs to be computed.
    """
    one, two, three = np.empty(_GROUP), np.empty(_GROUP), np.empty(_GROUP)
    last = x.shape[0] - 2 * HALF + 1
    for start in range(0, last, _GROUP):
        size = min(_GROUP, last - start)
        part = x[start : start + size + 2 * HALF - 1]
        if not exceeds(part, part.shape[0], peak / bound):
            continue
        quarters(part, table, one, two, three, size)
        for values in (one, two, three):
            for n in range(size if exceeds(values, size, peak) else 0):
                peak = max(peak, abs(values[n]))
    return peak


class PeakMeter:
    """Sample peak and true peak of a stream."""

    def __init__(self, rate: int, channels: int) -> None:
        factor = oversampling(rate)
        self._bound = most(phases(factor)) if factor > 1 else 0.0
        self._table = folded(factor) if factor > 1 else np.zeros((0, 0))
        self._before = np.zeros((channels, 2 * HALF - 1))
        self.peak = 0.0
        self._between = 0.0

    def update(self, block: Samples) -> None:
        """Take the next block (channel, time)."""
        if not block.shape[1]:
            return
        self.peak = max(self.peak, float(np.abs(block).max()))
        if self._bound:
            joined = np.concatenate([self._before, block], axis=1)
            self._between = self._scan(joined)
            self._before = joined[:, 1 - 2 * HALF :].copy()

    def _scan(self, x: Array) -> float:
        between = max(self._between, self.peak)
        for channel in x:
            between = _peak_between(channel, self._table, self._bound, between)
        return float(between)

    @property
    def true_peak(self) -> float:
        """Largest |value| so far, of samples or between them, the end included."""
        if not self._bound:
            return self.peak
        end = np.concatenate([self._before, np.zeros_like(self._before)], axis=1)
        return max(self.peak, self._scan(end))


class _HopMeter:
    """Energy of a stream after K-weighting, every 100 ms."""

    def __init__(self, rate: int, channels: int) -> None:
        self._sections = k_weighting(rate)
        self._weights = channel_weights(channels)
        self._state = np.zeros((channels, 4))
        self._hop = max(1, round(rate * _HOP_S))
        self._filled = 0
        self._energy = np.zeros(channels)
        self._done: list[Array] = []

    def update(self, x: Array) -> None:
        """Take the next block (channel, time), contiguous float64."""
        out = np.empty(x.shape[1] // self._hop + 1)
        count, self._filled = _hop_energy(
            x, self._sections, self._weights, self._state, self._hop, self._filled, self._energy, out
        )
        self._done.append(out[:count].copy())

    def hops(self) -> Array:
        """Return the mean energy of every complete hop so far."""
        hops = np.concatenate([np.zeros(0), *self._done])
        self._done = [hops]
        return hops

    def momentary(self) -> Array:
        """Return the mean energy of every 400 ms, or of all there is if that is less."""
        hops = self.hops()
        if hops.size >= _HOPS_MOMENTARY:
            return _windows(hops, _HOPS_MOMENTARY)
        total = hops.sum() * self._hop + self._weights @ self._energy
        return np.array([total / max(1, hops.size * self._hop + self._filled)])


class LoudnessMeter:
    """Loudness, loudness range and peaks of a stream in blocks of any length."""

    def __init__(self, rate: int, channels: int) -> None:
        self.channels = channels
        self._energies = _HopMeter(rate, channels)
        self._peaks = PeakMeter(rate, channels)

    def update(self, block: Samples) -> None:
        """Take the next block (channel, time); raises AudioError if it has other channels."""
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise AudioError(f"loudness: a block of shape {block.shape} is not ({self.channels}, time)")
        x = _contiguous(block)
        self._energies.update(x)
        self._peaks.update(x)

    def result(self) -> Loudness:
        """Return the levels of what came so far; more blocks may follow."""
        momentary = self._energies.momentary()
        short_term = _windows(self._energies.hops(), _HOPS_SHORT_TERM)
        return Loudness(
            integrated_lufs=_finite(_gated(momentary, _RELATIVE_GATE_LU)),
            momentary_lufs=_finite(_level(momentary.max())),
            short_term_lufs=_finite(_level(short_term.max())) if short_term.size else SILENCE_DB,
            range_lu=_range(short_term),
            true_peak_dbtp=amplitude_to_db(self._peaks.true_peak),
            peak_db=amplitude_to_db(self._peaks.peak),
        )


def _contiguous(block: Samples) -> Array:
    """Return a copy of one type for the compiled kernels, whatever the caller's array is."""
    return np.array(block, dtype=np.float64, order="C")


def _windows(hops: Array, length: int) -> Array:
    """Mean energy over every `length` successive hops."""
    if hops.size < length:
        return np.zeros(0)
    means: Array = np.lib.stride_tricks.sliding_window_view(hops, length).mean(axis=1)
    return means


def _level(energy: Any) -> float:
    return _OFFSET_DB + 10.0 * math.log10(energy) if energy > 0.0 else -math.inf


def _energy(level_lufs: float) -> float:
    return float(10.0 ** ((level_lufs - _OFFSET_DB) / 10.0))


def _finite(level_lufs: float) -> float:
    return max(level_lufs, SILENCE_DB)


def _pass_gates(energies: Array, relative_lu: float) -> Array:
    """Return the windows above the absolute gate and above the relative one that their mean gives."""
    loud = energies[energies > _energy(_ABSOLUTE_GATE_LUFS)]
    return loud[loud > loud.mean() * 10.0 ** (relative_lu / 10.0)] if loud.size else loud


def _gated(energies: Array, relative_lu: float) -> float:
    loud = _pass_gates(energies, relative_lu)
    return _level(loud.mean()) if loud.size else -math.inf


def _range(energies: Array) -> float:
    loud = _pass_gates(energies, _RANGE_GATE_LU)
    if not loud.size:
        return 0.0
    # to the nearest window, as in the listing of EBU Tech 3342
    low, high = np.percentile(loud, [10.0, 95.0], method="nearest")
    return _level(high) - _level(low)


def measure_loudness(audio: Audio) -> Loudness:
    """Return the loudness, range and peaks of a recording."""
    meter = LoudnessMeter(audio.rate, audio.channels)
    for start in range(0, audio.frames, BLOCK):
        meter.update(audio.samples[:, start : start + BLOCK])
    return meter.result()
