"""The impulse response between a dry recording and a wet one of the same content.

Of dry x and wet y, aligned, the response h of L taps is the one of

    least  sum_t m(t) |(x * h)(t) - y(t)|^2 + sum_f lambda(f) |H(f)|^2

with m = 1 where the wet recording exists: one that is cut short, or begins late, is no error. As h is
shorter than the recordings, all of them stands behind every tap, and gaps in the spectrum of x, at which a
quotient of spectra is infinite, are filled. The normal equations are solved by conjugate gradients (M. R.
Hestenes & E. Stiefel 1952) with T. Chan's circulant preconditioner (SIAM J. Sci. Stat. Comput. 9, 1988).

Trials, and where to look, are in foretell.py:

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

from fxstyle.errors import AudioError
from fxstyle.rooms.foretell import (
    LEAD_S,
    Fit,
    Floats,
    agreement,
    best_trial,
    coherence_of,
    feeding,
    foretold,
    gamma_of,
    loudest,
    pair_up,
    peak_of,
    resampled,
)
from fxstyle.rooms.iso3382 import carried_centres, measure_response, onset

Recording = npt.NDArray[Any]

LEAST_S = 0.5
"""Of both recordings."""

LONGEST_RESPONSE_S = 4.0
"""Without a length: the longest that is looked for."""

SHARE_OF_RECORDING = 0.8
"""Without a length: of the wet recording, the most a response may have."""

LEAST_COHERENCE = 0.3
"""In the best octave but one, as two recordings may share a hum: below, the contents are different."""

SURE_COHERENCE = 0.5
"""In an octave, from here on: C50 is then within .5 dB in the median, bench/rooms_known.py measures it."""

RISE_S = 0.002
"""Kept before the direct sound."""

_TRIAL_TURNS, _TURNS = 30, 80
_LAMBDA_LIMITS = (1e-8, 1e3)
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
    return _aligned(*loudest(x, y), rate)


def _aligned(dry: Floats, wet: Floats, rate: float) -> Alignment:
    if not dry.any():
        raise AudioError("the channels of the dry recording cancel out: give one channel of it")
    best = best_trial(dry, wet, rate)
    _same(0.0 if best is None else agreement(best.coherence))
    assert best is not None
    place, polarity = peak_of(best.weighted)
    return Alignment(best.start + place, polarity, agreement(best.coherence))


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
    strongest = loudest(x, y)
    lead = round(LEAD_S * rate)
    start = math.floor(_aligned(*strongest, rate).delay) - lead
    taps = lead + round((longest_s if length_s is None else length_s) * rate)

    fit = Fit(pair_up(*strongest, start, taps, rate), taps)
    trial, power, error = foretold(fit, rate, _TRIAL_TURNS)
    coherence = coherence_of(power, error, rate)
    _same(agreement(coherence))
    if length_s is None:
        fewer = _length_of(trial, rate, coherence)
        if fewer < _SHORTER * taps:
            taps = fewer
            fit = Fit(pair_up(*strongest, start, taps, rate), taps)
            _, power, error = foretold(fit, rate, _TRIAL_TURNS)
            coherence = coherence_of(power, error, rate)
    there = float(fit.pair.mask.sum())
    gamma = gamma_of(power, error)
    share = np.clip(taps / there * (1.0 - gamma) / gamma, *_LAMBDA_LIMITS)

    rows = []
    for one, other in zip(feeding(x, y.shape[0]), y, strict=True):
        fit = Fit(pair_up(one, other, start, taps, rate), taps)
        rows.append(fit.response(fit.pair.mask, resampled(share, fit.around.size), _TURNS))
    h = gain * np.stack(rows)
    rise = round(RISE_S * rate)
    begin = max(onset(h) - rise, 0)
    h = h[:, begin:]
    h[:, :rise] *= np.sin(0.5 * np.pi * (np.arange(rise) + 0.5) / rise) ** 2
    if length_s is not None:
        h = h[:, : round(length_s * rate)]
    return h, Confidence(np.array(carried_centres(rate)), coherence, start + begin)
