"""The impulse response between a dry recording and a wet one of the same content.

Of dry x and wet y, aligned, the response h of L taps is the one of

    least  sum_t m(t) |(x * h)(t) - y(t)|^2 + sum_f lambda(f) |H(f)|^2

with m = 1 where the wet recording exists: one that is cut short, or begins late, is no error. As h is
shorter than the recordings, all of them stands behind every tap, and gaps in the spectrum of x, at which a
quotient of spectra is infinite, are filled. The normal equations are solved by conjugate gradients (M. R.
Hestenes & E. Stiefel 1952) with T. Chan's circulant preconditioner (SIAM J. Sci. Stat. Comput. 9, 1988).

* How sure: a trial leaves out every fifth tenth of a second and then foretells it. The share of its energy
  that comes out right is the coherence gamma^2(f), which is about 0, or less, for another content.
* lambda is Wiener's: noise over response, both per tap. With S the spectrum of x, S_y = |H|^2 S + noise and
  gamma^2 = |H|^2 S / S_y, a response of L taps from N samples has lambda = S (L / N) (1 - gamma^2) / gamma^2.
  Where the dry sound has no energy, gamma^2 is 0 and h too.
* Before the direct sound a band-limited h rings: what lies further before it than RISE_S is cut off, and the
  rest is faded in.
* Where to look: at the largest peak of a quotient of spectra. In noise it must keep to where the dry sound is
  strong, so of the peaks of several floors beneath it that one is taken which foretells most.
* The delay is that of the largest peak of gamma^2 H, between samples by a windowed sinc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from fxstyle.errors import AudioError
from fxstyle.rooms.iso3382 import carried_centres, measure_response, onset

Floats = npt.NDArray[np.float64]
Recording = npt.NDArray[Any]

LEAST_S = 0.5
"""Of both recordings."""

LONGEST_USED_S = 30.0
"""Of the dry recording, where it is loudest: more says little more."""

LONGEST_RESPONSE_S = 4.0
"""Without a length: the longest that is looked for."""

SHARE_OF_RECORDING = 0.8
"""Without a length: of the wet recording, the most a response may have."""

LEAST_COHERENCE = 0.3
"""In the best octave but one, as two recordings may share a hum: below, the contents are different."""

SURE_COHERENCE = 0.5
"""In an octave, from here on: C50 is then within .5 dB in the median, bench/rooms_known.py measures it."""

LEAD_S = 0.05
"""Looked for before the largest peak: the direct sound may be weaker than a reflection."""

RISE_S = 0.002
"""Kept before the direct sound."""

_ALIGNING_S = 0.25  # response that says whether the contents are the same
_ALIGNING_TURNS, _TRIAL_TURNS, _TURNS = 12, 30, 80
_DONE = 1e-9  # share of the first residual at which there is nothing left to do
_AROUND_FLOOR = 0.01  # of the spectrum around: keeps a quotient of spectra finite
_MEAN_FLOORS = (1e-4, 1e-2, 1.0)  # of the mean spectrum: little weights all frequencies alike, much the loud
_WELL_FORETOLD = 0.9  # coherence at which no other peak need be tried
_AGREED_S = 0.001  # peaks no further apart are one
_TRIAL_LAMBDA = 1e-4  # of the spectrum around, before gamma^2 is known
_LAMBDA_LIMITS = (1e-8, 1e3)
_LEAST_GAMMA, _MOST_GAMMA = 1e-6, 1.0 - 1e-9
_SMALLEST = 1e-13  # of the largest of a spectrum: keeps divisions finite
_BLOCK_S, _EVERY = 0.1, 5  # every fifth tenth of a second is foretold
_BAND_OCTAVES = 1.0 / 3.0  # in which spectra are averaged
_SINC_TAPS, _STEPS = 32, 64  # of the interpolation on either side, and per sample
_BEYOND_END = 1.5  # of the time of the longest octave to be trusted: the lowest, often untrusted, are longer
_SHORTER = 0.8  # of the length of a trial: below, another trial knows better


class Alignment(NamedTuple):
    """Where the wet recording lies.

    delay: samples, with their fraction, by which its strongest arrival is later than the dry sound; negative
        if the wet recording begins later. polarity: 1.0 or -1.0 of that arrival.
    coherence: of the best octave but one, from 0 to 1.
    """

    delay: float
    polarity: float
    coherence: float


@dataclass(frozen=True)
class Confidence:
    """How much of the wet recording the response foretells.

    centre_hz: (band,) octaves. coherence: (band,) share of energy, from 0 to 1.
    start: sample of the wet recording to which the first sample of the response carries the first of the dry
        one; may be negative.
    """

    centre_hz: Floats
    coherence: Floats
    start: int

    @property
    def sure(self) -> npt.NDArray[np.bool_]:
        """(band,) whether the octave can be trusted."""
        return self.coherence >= SURE_COHERENCE


class _Pair(NamedTuple):
    """One channel: dry (time,), wet (time of the dry one,), and mask: 1.0 where the wet recording exists."""

    dry: Floats
    wet: Floats
    mask: Floats


def _around(power: Floats) -> Floats:
    """Return power (frequency,) averaged over a third of an octave around each frequency."""
    k = np.arange(power.size)
    total = np.concatenate((np.zeros(1), np.cumsum(power)))
    half = 2.0 ** (0.5 * _BAND_OCTAVES)
    low = np.floor(k / half).astype(int)
    high = np.minimum(np.ceil(k * half).astype(int) + 1, power.size)
    return np.asarray((total[high] - total[low]) / (high - low))


def _power(x: Floats, size: int) -> Floats:
    return np.asarray(np.abs(scipy.fft.rfft(x, size)) ** 2)


def _resampled(spectrum: Floats, size: int) -> Floats:
    """Return `size` values of a spectrum between 0 and half the rate."""
    return np.interp(np.linspace(0.0, 1.0, size), np.linspace(0.0, 1.0, spectrum.size), spectrum)


class _Fit:
    """Responses of `length` taps of one pair."""

    def __init__(self, pair: _Pair, length: int) -> None:
        self.pair, self.length = pair, length
        self.size = scipy.fft.next_fast_len(max(pair.wet.size, pair.dry.size) + length, real=True)
        self.spectrum = scipy.fft.rfft(pair.dry, self.size)
        power = np.abs(self.spectrum) ** 2
        self.around = np.maximum(_around(power), _SMALLEST * power.max())
        # T. Chan's circulant: the autocorrelation, the lags beyond the response faded out
        self.circle = scipy.fft.next_fast_len(2 * length, real=True)
        lags = scipy.fft.irfft(power, self.size)[:length] * (1.0 - np.arange(length) / length)
        ring = np.zeros(self.circle)
        ring[:length] = lags
        ring[self.circle - length + 1 :] = lags[:0:-1]
        self.circulant = np.maximum(scipy.fft.rfft(ring).real, 0.0)

    def wet(self, h: Floats) -> Floats:
        """Return the recording a response makes."""
        y = scipy.fft.irfft(self.spectrum * scipy.fft.rfft(h, self.size), self.size)
        return np.asarray(y[: self.pair.wet.size])

    def _back(self, y: Floats) -> Floats:
        h = scipy.fft.irfft(np.conj(self.spectrum) * scipy.fft.rfft(y, self.size), self.size)
        return np.asarray(h[: self.length])

    def _circular(self, spectrum: Floats, h: Floats) -> Floats:
        y = scipy.fft.irfft(spectrum * scipy.fft.rfft(h, self.circle), self.circle)
        return np.asarray(y[: self.length])

    def response(self, mask: Floats, share: Floats, turns: int) -> Floats:
        """Return h (length,) from what the mask lets through; share: lambda over the spectrum of x."""
        weight = _resampled(share * self.around, self.circulant.size)
        whole = self.circulant * float(mask.mean()) + weight
        inverse = 1.0 / np.maximum(whole, _SMALLEST * whole.max())
        h = np.zeros(self.length)
        residual = self._back(mask * self.pair.wet)
        step = guess = self._circular(inverse, residual)
        energy = first = float(residual @ guess)
        for _ in range(turns):
            if energy <= _DONE * first:
                break
            image = self._back(mask * self.wet(step)) + self._circular(weight, step)
            reach = energy / float(step @ image)
            h = h + reach * step
            residual = residual - reach * image
            guess = self._circular(inverse, residual)
            before, energy = energy, float(residual @ guess)
            step = guess + energy / before * step
        return h


def _left_out(count: int, rate: float) -> Floats:
    """Return (time,) what is left out of a trial: a Hann window in every fifth tenth of a second, else 0.

    With less smooth edges a loud octave would shine into a silent one.
    """
    blocks = np.arange(count) / (_BLOCK_S * rate)
    here = blocks.astype(int) % _EVERY == _EVERY // 2
    return np.asarray(here * np.sin(np.pi * blocks) ** 2)


def _foretold(fit: _Fit, rate: float, turns: int) -> tuple[Floats, Floats, Floats]:
    """Return the response of a trial, and power of the wet sound left out and of its error, (frequency,)."""
    apart = _left_out(fit.pair.wet.size, rate)
    trial = fit.response(fit.pair.mask * (apart == 0.0), np.full(fit.around.shape, _TRIAL_LAMBDA), turns)
    tested = fit.pair.mask * apart
    error = fit.pair.wet - fit.wet(trial)
    return trial, _power(tested * fit.pair.wet, fit.size), _power(tested * error, fit.size)


def _coherence(wet: Floats, error: Floats, rate: float) -> Floats:
    """Return (band,) the share of power that is no error, in each octave the rate carries."""
    f = np.linspace(0.0, 0.5 * rate, wet.size)
    shares = []
    for c in carried_centres(rate):
        here = (f >= c * math.sqrt(0.5)) & (f < c * math.sqrt(2.0))
        power = float(wet[here].sum())
        shares.append(1.0 - float(error[here].sum()) / power if power > 0.0 else 0.0)
    return np.asarray(np.clip(np.array(shares), 0.0, 1.0))


def _gamma(wet: Floats, error: Floats) -> Floats:
    """Return (frequency,) the share of power that is no error, a third of an octave around each."""
    around = _around(wet)
    share = 1.0 - _around(error) / np.maximum(around, _SMALLEST * around.max())
    return np.asarray(np.clip(share, _LEAST_GAMMA, _MOST_GAMMA))


def _checked(recording: Recording, rate: float, name: str) -> Floats:
    x = np.asarray(recording)
    if x.ndim != 2 or not x.size:
        raise AudioError(f"the {name} recording has the shape (channel, time), not {x.shape}: give one")
    x = np.asarray(x, np.float64)
    if not np.isfinite(x).all():
        bad = int(np.count_nonzero(~np.isfinite(x)))
        raise AudioError(f"the {name} recording has {bad} samples that are not finite: export it again")
    if x.shape[1] < LEAST_S * rate:
        raise AudioError(f"the {name} recording has {x.shape[1] / rate:.3g} s: give at least {LEAST_S:g} s")
    if not x.any():
        raise AudioError(f"the {name} recording is silent: give one in which something sounds")
    return np.asarray(x / np.abs(x).max())


def _leads(dry: Floats, wet: Floats, rate: float) -> list[int]:
    """Return delays of the largest peaks of quotients of spectra, each once."""
    size = scipy.fft.next_fast_len(dry.size + wet.size, real=True)
    x, y = scipy.fft.rfft(dry, size), scipy.fft.rfft(wet, size)
    power = np.abs(x) ** 2
    found: list[int] = []
    for share in _MEAN_FLOORS:
        floor = np.maximum(_AROUND_FLOOR * _around(power), share * power.mean())
        peak = int(np.abs(scipy.fft.irfft(np.conj(x) * y / (power + floor), size)).argmax())
        delay = peak - size if peak >= wet.size else peak
        if all(abs(delay - other) > _AGREED_S * rate for other in found):
            found.append(delay)
    return found


def _peak(h: Floats) -> tuple[float, float]:
    """Return place and sign of the largest peak of h (time,)."""
    taps = np.arange(-_SINC_TAPS, _SINC_TAPS + 1)
    window = np.cos(0.5 * np.pi * taps / (_SINC_TAPS + 1)) ** 2
    shift = np.arange(-_STEPS, _STEPS + 1) / _STEPS
    peak = int(np.abs(h).argmax())
    fine = np.sinc(shift[:, None] - taps) @ (h[(peak + taps) % h.size] * window)
    best = int(np.abs(fine).argmax())
    return peak + float(shift[best]), math.copysign(1.0, float(fine[best]))


def _paired(dry: Floats, wet: Floats, start: int, length: int, rate: float) -> _Pair:
    """Return one channel of both such that response tap 0 lies `start` samples later; the loudest of it."""
    longest = round(LONGEST_USED_S * rate)
    begin = 0
    if dry.size > longest:
        total = np.concatenate((np.zeros(1), np.cumsum(dry * dry)))
        begin = int((total[longest:] - total[:-longest]).argmax())
    end = min(begin + longest, dry.size)
    before = max(begin - length, 0)  # what still sounds where the loudest part begins
    # without an end of the dry sound in it, the wet sound goes on after it
    stop = end if end < dry.size else dry.size + length
    t = np.arange(before, stop)
    there = (t >= begin) & (t + start >= 0) & (t + start < wet.size)
    aligned = np.where(there, wet[np.clip(t + start, 0, wet.size - 1)], 0.0)
    return _Pair(dry[before:end], aligned, there.astype(np.float64))


def _agreement(coherence: Floats) -> float:
    return float(np.sort(coherence)[-2])


def _same(coherence: float) -> None:
    if coherence < LEAST_COHERENCE:
        raise AudioError(
            f"the wet recording does not follow from the dry one (coherence {coherence:.2f}, at least "
            f"{LEAST_COHERENCE:g} is needed): give two recordings of the same performance, at the same speed"
        )


def align(dry: Recording, wet: Recording, rate: float) -> Alignment:
    """Find where the wet recording has the dry one.

    Parameters
    ----------
    dry, wet: (channel, time), of any lengths and numbers of channels. rate: in Hz, of both.

    Raises
    ------
    AudioError: a recording is silent, too short, not finite or of another shape; or they are not of the same
        content.
    """
    x, y = _checked(dry, rate, "dry"), _checked(wet, rate, "wet")
    return _aligned(*_loudest(x, y), rate)


def _loudest(dry: Floats, wet: Floats) -> tuple[Floats, Floats]:
    """Return the loudest channel of the wet recording and the one of the dry recording that feeds it."""
    channel = int(np.square(wet).sum(axis=1).argmax())
    return _feeding(dry, wet.shape[0])[channel], wet[channel]


def _feeding(dry: Floats, channels: int) -> Floats:
    """Return a dry channel for each wet one: its own where there are as many, or the mean of all."""
    return dry if dry.shape[0] == channels else np.repeat(dry.mean(axis=0, keepdims=True), channels, axis=0)


def _aligned(dry: Floats, wet: Floats, rate: float) -> Alignment:
    if not dry.any():
        raise AudioError("the channels of the dry recording cancel out: give one channel of it")
    length = round(_ALIGNING_S * rate)
    best = Alignment(0.0, 1.0, 0.0)
    for delay in _leads(dry, wet, rate):
        start = delay - round(LEAD_S * rate)
        pair = _paired(dry, wet, start, length, rate)
        if pair.mask.sum() < LEAST_S * rate or not pair.wet.any():
            continue
        trial, power, error = _foretold(_Fit(pair, length), rate, _ALIGNING_TURNS)
        coherence = _agreement(_coherence(power, error, rate))
        if coherence > best.coherence:
            weighted = scipy.fft.rfft(trial) * _resampled(_gamma(power, error), length // 2 + 1)
            place, polarity = _peak(scipy.fft.irfft(weighted, length))
            best = Alignment(start + place, polarity, coherence)
        if coherence >= _WELL_FORETOLD:
            break
    _same(best.coherence)
    return best


def _length_of(trial: Floats, rate: float, coherence: Floats) -> int:
    """Return the taps in which the longest octave to be trusted has decayed by 60 dB, and half as many."""
    times = measure_response(trial, rate).t60_s[coherence >= SURE_COHERENCE]
    if np.isnan(times).all():
        return trial.size
    return min(onset(trial) + round(_BEYOND_END * float(np.nanmax(times)) * rate), trial.size)


def deconvolve(
    dry: Recording, wet: Recording, rate: float, length_s: float | None = None
) -> tuple[Floats, Confidence]:
    """Find the impulse response that makes the wet recording of the dry one.

    Parameters
    ----------
    dry: (channel, time). Of as many channels as the wet recording each feeds its own; otherwise their mean
        feeds all.
    wet: (channel, time), of the same content, which may begin earlier or later and may be cut short.
    rate: in Hz, of both.
    length_s: of the response in s; by default as long as it decays above its noise, at most
        LONGEST_RESPONSE_S and SHARE_OF_RECORDING of the recording.

    Returns
    -------
    The response (channel, time), whose direct sound comes RISE_S after its beginning, and how sure it is.

    Raises
    ------
    AudioError: a recording is silent, too short, not finite or of another shape; they are not of the same
        content; or the length is not above 0 and shorter than the recordings.
    """
    x, y = _checked(dry, rate, "dry"), _checked(wet, rate, "wet")
    gain = float(np.abs(np.asarray(wet)).max()) / float(np.abs(np.asarray(dry)).max())
    shortest_s = min(x.shape[1], y.shape[1]) / rate
    longest_s = min(LONGEST_RESPONSE_S, SHARE_OF_RECORDING * shortest_s)
    if length_s is not None and not 0.0 < length_s < shortest_s:
        raise AudioError(
            f"length_s {length_s:g} is not between 0 and the {shortest_s:.3g} s of the recordings"
        )
    loudest = _loudest(x, y)
    lead = round(LEAD_S * rate)
    start = math.floor(_aligned(*loudest, rate).delay) - lead
    taps = lead + round((longest_s if length_s is None else length_s) * rate)

    fit = _Fit(_paired(*loudest, start, taps, rate), taps)
    trial, power, error = _foretold(fit, rate, _TRIAL_TURNS)
    coherence = _coherence(power, error, rate)
    _same(_agreement(coherence))
    if length_s is None:
        fewer = _length_of(trial, rate, coherence)
        if fewer < _SHORTER * taps:
            taps = fewer
            fit = _Fit(_paired(*loudest, start, taps, rate), taps)
            _, power, error = _foretold(fit, rate, _TRIAL_TURNS)
            coherence = _coherence(power, error, rate)
    there = float(fit.pair.mask.sum())
    gamma = _gamma(power, error)
    share = np.clip(taps / there * (1.0 - gamma) / gamma, *_LAMBDA_LIMITS)

    rows = []
    for one, other in zip(_feeding(x, y.shape[0]), y, strict=True):
        fit = _Fit(_paired(one, other, start, taps, rate), taps)
        rows.append(fit.response(fit.pair.mask, _resampled(share, fit.around.size), _TURNS))
    h = gain * np.stack(rows)
    rise = round(RISE_S * rate)
    begin = max(onset(h) - rise, 0)
    h = h[:, begin:]
    h[:, :rise] *= np.sin(0.5 * np.pi * (np.arange(rise) + 0.5) / rise) ** 2
    if length_s is not None:
        h = h[:, : round(length_s * rate)]
    return h, Confidence(np.array(carried_centres(rate)), coherence, start + begin)
