"""What of a wet recording can be foretold from a dry one of the same content by a short response.

Of dry x and wet y, aligned, the response h of L taps is the one of

    least  sum_t m(t) |(x * h)(t) - y(t)|^2 + sum_f lambda(f) |H(f)|^2

with m = 1 where the wet recording exists (`deconvolve.py` says more). The normal equations are solved by
conjugate gradients (M. R. Hestenes & E. Stiefel 1952) with T. Chan's circulant preconditioner (SIAM J. Sci.
Stat. Comput. 9, 1988).

A trial leaves out every fifth tenth of a second and then foretells it. The share of its energy that comes out
right is the coherence gamma^2(f), which is about 0, or less, for another content. Where to look: at the
largest peak of a quotient of spectra. In noise it must keep to where the dry sound is strong, so of the peaks
of several floors beneath it that one is taken which foretells most.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from fxstyle.rooms.iso3382 import carried_centres

Floats = npt.NDArray[np.float64]

LONGEST_USED_S = 30.0
"""Of the dry recording, where it is loudest: more says little more."""

LEAST_USED_S = 0.5
"""Of both, where they overlap."""

LEAD_S = 0.05
"""Looked for before the largest peak: the direct sound may be weaker than a reflection."""

PRESENT = 1e-5
"""Of the power of the strongest octave: what lies lower is not found in so few turns, if it is there."""

_ALIGNING_S = 0.25  # response that says whether the contents are the same
_ALIGNING_TURNS = 12
_DONE = 1e-9  # share of the first residual at which there is nothing left to do
_AROUND_FLOOR = 0.01  # of the spectrum around: keeps a quotient of spectra finite
_MEAN_FLOORS = (1e-4, 1e-2, 1.0)  # of the mean spectrum: little weights all frequencies alike, much the loud
_WELL_FORETOLD = 0.9  # coherence at which no other peak need be tried
_AGREED_S = 0.001  # peaks no further apart are one
_TRIAL_LAMBDA = 1e-4  # of the spectrum around, before gamma^2 is known
_LEAST_GAMMA, _MOST_GAMMA = 1e-6, 1.0 - 1e-9
_SMALLEST = 1e-13  # of the largest of a spectrum: keeps divisions finite
_WHITE_FLOOR = 1e-5  # of the mean power: what lies below is not raised
_BLOCK_S, _EVERY = 0.1, 5  # every fifth tenth of a second is foretold
_BAND_OCTAVES = 1.0 / 3.0  # in which spectra are averaged
_SINC_TAPS, _STEPS = 32, 64  # of the interpolation on either side, and per sample


class Pair(NamedTuple):
    """One channel: dry (time,), wet (time of the dry one,), and mask: 1.0 where the wet recording exists."""

    dry: Floats
    wet: Floats
    mask: Floats


def around(power: Floats) -> Floats:
    """Return power (frequency,) averaged over a third of an octave around each frequency."""
    k = np.arange(power.size)
    total = np.concatenate((np.zeros(1), np.cumsum(power)))
    half = 2.0 ** (0.5 * _BAND_OCTAVES)
    low = np.floor(k / half).astype(int)
    high = np.minimum(np.ceil(k * half).astype(int) + 1, power.size)
    return np.asarray((total[high] - total[low]) / (high - low))


def whitened(x: Floats, size: int) -> Floats:
    """Return x (time,) with as much power in every third of an octave; its transform has `size` samples."""
    spectrum = scipy.fft.rfft(x, size)
    power = np.abs(spectrum) ** 2
    floor = np.maximum(around(power), _WHITE_FLOOR * power.mean() + _SMALLEST)
    return np.asarray(scipy.fft.irfft(spectrum / np.sqrt(floor), size)[: x.size])


def power_of(x: Floats, size: int) -> Floats:
    """Return the power (frequency,) of x (time,), padded to `size`."""
    return np.asarray(np.abs(scipy.fft.rfft(x, size)) ** 2)


def resampled(spectrum: Floats, size: int) -> Floats:
    """Return `size` values of a spectrum between 0 and half the rate."""
    return np.interp(np.linspace(0.0, 1.0, size), np.linspace(0.0, 1.0, spectrum.size), spectrum)


class Fit:
    """Responses of `length` taps of one pair."""

    def __init__(self, pair: Pair, length: int) -> None:
        self.pair, self.length = pair, length
        self.size = scipy.fft.next_fast_len(max(pair.wet.size, pair.dry.size) + length, real=True)
        self.spectrum = scipy.fft.rfft(pair.dry, self.size)
        power = np.abs(self.spectrum) ** 2
        self.around = np.maximum(around(power), _SMALLEST * power.max())
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
        weight = resampled(share * self.around, self.circulant.size)
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


def foretold(fit: Fit, rate: float, turns: int) -> tuple[Floats, Floats, Floats]:
    """Return the response of a trial, and power of the wet sound left out and of its error, (frequency,)."""
    apart = _left_out(fit.pair.wet.size, rate)
    trial = fit.response(fit.pair.mask * (apart == 0.0), np.full(fit.around.shape, _TRIAL_LAMBDA), turns)
    tested = fit.pair.mask * apart
    error = fit.pair.wet - fit.wet(trial)
    return trial, power_of(tested * fit.pair.wet, fit.size), power_of(tested * error, fit.size)


def coherence_of(wet: Floats, error: Floats, rate: float) -> Floats:
    """Return (band,) the share of power that is no error, in each octave the rate carries."""
    f = np.linspace(0.0, 0.5 * rate, wet.size)
    shares = []
    for c in carried_centres(rate):
        here = (f >= c * math.sqrt(0.5)) & (f < c * math.sqrt(2.0))
        power = float(wet[here].sum())
        shares.append(1.0 - float(error[here].sum()) / power if power > 0.0 else 0.0)
    return np.asarray(np.clip(np.array(shares), 0.0, 1.0))


def gamma_of(wet: Floats, error: Floats) -> Floats:
    """Return (frequency,) the share of power that is no error, a third of an octave around each."""
    mean = around(wet)
    share = 1.0 - around(error) / np.maximum(mean, _SMALLEST * mean.max())
    return np.asarray(np.clip(share, _LEAST_GAMMA, _MOST_GAMMA))


def leads(dry: Floats, wet: Floats, rate: float, least_shared: int = 0) -> list[int]:
    """Return delays of the largest peaks of quotients of spectra at which both overlap so far, each once."""
    size = scipy.fft.next_fast_len(dry.size + wet.size, real=True)
    x, y = scipy.fft.rfft(dry, size), scipy.fft.rfft(wet, size)
    power = np.abs(x) ** 2
    delays = np.arange(size)
    delays[wet.size :] -= size
    shared = np.minimum(dry.size, wet.size - delays) - np.maximum(-delays, 0)
    allowed = shared >= min(least_shared, dry.size, wet.size)
    found: list[int] = []
    for share in _MEAN_FLOORS:
        floor = np.maximum(_AROUND_FLOOR * around(power), share * power.mean())
        quotient = np.abs(scipy.fft.irfft(np.conj(x) * y / (power + floor), size))
        delay = int(delays[np.where(allowed, quotient, 0.0).argmax()])
        if all(abs(delay - other) > _AGREED_S * rate for other in found):
            found.append(delay)
    return found


def peak_of(h: Floats) -> tuple[float, float]:
    """Return place and sign of the largest peak of h (time,)."""
    taps = np.arange(-_SINC_TAPS, _SINC_TAPS + 1)
    window = np.cos(0.5 * np.pi * taps / (_SINC_TAPS + 1)) ** 2
    shift = np.arange(-_STEPS, _STEPS + 1) / _STEPS
    peak = int(np.abs(h).argmax())
    fine = np.sinc(shift[:, None] - taps) @ (h[(peak + taps) % h.size] * window)
    best = int(np.abs(fine).argmax())
    return peak + float(shift[best]), math.copysign(1.0, float(fine[best]))


def pair_up(dry: Floats, wet: Floats, start: int, length: int, rate: float) -> Pair:
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
    return Pair(dry[before:end], aligned, there.astype(np.float64))


def agreement(coherence: Floats) -> float:
    """Return the coherence of the best octave but one, as two recordings may share a hum."""
    return float(np.sort(coherence)[-2])


def loudest(dry: Floats, wet: Floats) -> tuple[Floats, Floats]:
    """Return the loudest channel of the wet recording and the one of the dry recording that feeds it."""
    channel = int(np.square(wet).sum(axis=1).argmax())
    return feeding(dry, wet.shape[0])[channel], wet[channel]


def feeding(dry: Floats, channels: int) -> Floats:
    """Return a dry channel for each wet one: its own where there are as many, or the mean of all."""
    return dry if dry.shape[0] == channels else np.repeat(dry.mean(axis=0, keepdims=True), channels, axis=0)


class Trial(NamedTuple):
    """A response that was tried on what it had not seen.

    Attributes
    ----------
    fit: of one channel of both. start: sample of the wet recording to which the first tap carries the first
        sample of the dry one. response: (tap,). wet, error: power left out, and of its error, (frequency,).
    coherence: (octave,) share of power that came out right.
    """

    fit: Fit
    start: int
    response: Floats
    wet: Floats
    error: Floats
    coherence: Floats

    def in_octaves(self, rate: float) -> Floats:
        """Return the coherence of those octaves that the wet sound has, to PRESENT, (octave,)."""
        f = np.linspace(0.0, 0.5 * rate, self.wet.size)
        edges = np.array([c * math.sqrt(0.5) for c in carried_centres(rate)])
        power = np.array([float(self.wet[(f >= low) & (f < 2.0 * low)].sum()) for low in edges])
        return np.asarray(self.coherence[power >= PRESENT * power.max()])

    @property
    def weighted(self) -> Floats:
        """Return the response (tap,), each frequency as far as it can be trusted."""
        size = self.response.size
        gamma = resampled(gamma_of(self.wet, self.error), size // 2 + 1)
        return np.asarray(scipy.fft.irfft(scipy.fft.rfft(self.response) * gamma, size))


def try_at(
    dry: Floats, wet: Floats, rate: float, start: int, length: int, turns: int = _ALIGNING_TURNS
) -> Trial | None:
    """Try a response of `length` taps from `start` on; None where both do not overlap enough to tell."""
    pair = pair_up(dry, wet, start, length, rate)
    if pair.mask.sum() < LEAST_USED_S * rate or not pair.wet.any():
        return None
    fit = Fit(pair, length)
    response, power, error = foretold(fit, rate, turns)
    return Trial(fit, start, response, power, error, coherence_of(power, error, rate))


def best_trial(dry: Floats, wet: Floats, rate: float, least_shared: int = 0) -> Trial | None:
    """Return the trial, at one of the peaks, that foretells most; both (time,).

    least_shared: samples in which both must overlap.
    """
    best: Trial | None = None
    for delay in leads(dry, wet, rate, least_shared):
        trial = try_at(dry, wet, rate, delay - round(LEAD_S * rate), round(_ALIGNING_S * rate))
        if trial is None:
            continue
        if best is None or agreement(trial.coherence) > agreement(best.coherence):
            best = trial
        if agreement(trial.coherence) >= _WELL_FORETOLD:
            break
    return best
