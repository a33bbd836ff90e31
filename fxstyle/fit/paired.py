"""Whether a reference is the same performance as the input, and where: detection and alignment.

A reference y of the same performance as the input x is

    y[n] ~ p g (h * x)((n - L) / (1 + D)) + what no filter makes,        p = 1 or -1

* Detected: a quarter of a second of h is tried at the likeliest lag (rooms/foretell.py) and must foretell
  what it has not seen, in half of the octaves to LEAST_COHERENCE. And it must do so all the time: second by
  second, of both sides whitened, the foretold and the real reference correlate most where they should, and
  by at least LEAST_LIKENESS. A loop, whose drums come round to the sample while what is above them does not,
  agrees in a few octaves or at some times. Loops also agree at odd lags: beyond what equipment delays
  (LATENCY_S) the response must foretell nearly all, FAR_COHERENCE.
* Lag L: the latest from which a response of the reference still foretells all, for an effect never answers
  before it is asked. A filter's own delay is thereby no latency; less than LEAST_LAG is none.
* Drift D: the slope of the lags of single seconds, if the response foretells more without it.
* Polarity p: the sign of the response at its largest peak.

Bit-exact loops cannot be told from the same performance by sound alone where all of them comes round: then
the reference does follow from the input, and is taken for what it sounds like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from fxstyle.audio import Audio, resample
from fxstyle.rooms.foretell import LEAD_S, Floats, Trial, agreement, best_trial, peak_of, try_at, whitened
from fxstyle.units import amplitude_to_db

Samples = npt.NDArray[np.floating[Any]]
Paired = Literal["auto", "yes", "no"]

LOOKED_S = 12.0
"""Of the input, where it is loudest: clocks that drift apart by a few milliseconds smear more."""

SHORTEST_S = 3.0
"""Of both, or there are not enough seconds to compare."""

LEAST_SHARED = 0.7
"""Of the shorter recording, the share in which both overlap."""

LEAST_COHERENCE, FAR_COHERENCE = 0.32, 0.95
"""Of the median octave."""

LEAST_AGREEMENT = 0.3
"""Coherence of the best octave but one, where the user has said that it is the same performance."""

LEAST_LIKENESS = 0.4
"""Correlation of the median second, both sides whitened."""

LEAST_SECONDS = 0.75
"""Share of seconds that correlate most where they should."""

LATENCY_S = (-0.1, 0.55)
"""Lags that equipment and a hand at the record button make, from .. to."""

MOST_DRIFT_PPM, LEAST_DRIFT_PPM = 300.0, 1.0
"""Clocks of cheap converters differ by 100 ppm; a millionth is half a sample in 11 s."""

LEAST_LAG = 2.5
"""Samples. A filter that turns the phase moves a peak by as much. What seems a little early is none either:
it rings before a response whose highs are missing."""

AS_GOOD = 0.01
"""Coherence that may be lost without being worse."""

RESPONSE_S = 2.0
"""Of the response that is kept: what echoes and rooms can be read from."""

_BLOCK_S, _SILENT_SHARE = 1.0, 1e-3
_NEAR_S, _FAR_S = 0.003, 0.5  # where a block must correlate most, against elsewhere
_SMALLEST = 1e-30  # keeps divisions finite in silence
_TRIAL_TURNS = 20
_SHORT_S, _SHORT_LEAD_S = 0.025, 0.005  # of the short response, and of it before the peak
_ONSET = 0.1  # of the largest tap, -20 dB, as ISO 3382 has it
_OVER_NOISE = 8.0  # times the median tap
_WHOLE = 0.1  # of a sample: digital delays are whole, and filters shift peaks by as little
_EDGE_S = 0.02  # cut from both ends of a resampled overlap, where the filter has nothing to read


@dataclass(frozen=True, eq=False)
class Pair:
    """A reference that is the same performance as the input, laid on it.

    Attributes
    ----------
    rate: in Hz, of what follows. lag_samples: by which the reference is late; may have a fraction.
    polarity: 1.0 or -1.0. gain_db: level of the reference over the input.
    drift_ppm: by how much the reference runs slower. coherence: of the median octave, 0..1.
    likeness: correlation of the median second, whitened. begin, end: samples of the input that it covers.
    aligned: (channel, time) the reference as early, as upright and as long as the input; its own level.
    response: (tap,) from the input to it, from its first arrival on.
    """

    rate: int
    lag_samples: float
    polarity: float
    gain_db: float
    drift_ppm: float
    coherence: float
    likeness: float
    begin: int
    end: int
    aligned: Samples
    response: Floats

    def __str__(self) -> str:
        """Say in words where it lies."""
        ms = 1000.0 * self.lag_samples / self.rate
        late = "" if self.lag_samples == 0.0 else f", {abs(ms):.2f} ms {'later' if ms > 0.0 else 'earlier'}"
        inverted = ", inverted" if self.polarity < 0.0 else ""
        drift = "" if self.drift_ppm == 0.0 else f", on a clock {self.drift_ppm:+.1f} ppm apart"
        return f"the same performance as the input{late}{inverted}{drift}"


class _Seconds(NamedTuple):
    """Blocks of a trial: middle in samples of the wet pair, lag, correlation near it, and whether largest."""

    middle: Floats
    lag: Floats
    likeness: Floats
    largest: npt.NDArray[np.bool_]


def _loudest_part(x: Floats, size: int) -> tuple[int, int]:
    if x.size <= size:
        return 0, x.size
    total = np.concatenate((np.zeros(1), np.cumsum(x * x)))
    begin = int((total[size:] - total[:-size]).argmax())
    return begin, begin + size


def _mono(x: Samples) -> Floats:
    """Return the mean of channels, or where they cancel the loudest, at a peak of 1; zeros for silence."""
    y = np.asarray(x, np.float64)
    mid = y.mean(axis=0)
    strongest = y[int(np.square(y).sum(axis=1).argmax())]
    z = mid if np.square(mid).sum() > 0.01 * np.square(strongest).sum() else strongest
    return np.asarray(z / max(float(np.abs(z).max()), _SMALLEST))


def _seconds(trial: Trial, rate: float) -> _Seconds:
    """Compare what a trial foretells with the reference, and the dry sound too, second by second.

    The lags are those of the dry sound: what foretells a drifting reference is smeared by the drift itself.
    """
    fit, wet = trial.fit, trial.fit.pair.wet
    click = np.zeros(trial.response.size)
    click[round(peak_of(trial.weighted)[0]) % click.size] = 1.0
    told, late, real = (whitened(z, fit.size) for z in (fit.wet(trial.response), fit.wet(click), wet))
    block, near, far = (round(s * rate) for s in (_BLOCK_S, _NEAR_S, _FAR_S))
    mean = float(np.square(wet).sum() / max(fit.pair.mask.sum(), 1.0))
    rows = []
    for begin in range(0, wet.size - block + 1, block // 2):
        here = slice(begin, begin + block)
        if fit.pair.mask[here].min() < 1.0 or np.square(wet[here]).mean() < _SILENT_SHARE * mean:
            continue
        everywhere = _correlation(told[here], real[here], far)
        likeness = everywhere[far - near : far + near + 1].max()
        place, _ = peak_of(np.pad(_correlation(late[here], real[here], 2 * near), near))
        rows.append((begin + 0.5 * block, place - 3 * near, likeness, likeness >= np.abs(everywhere).max()))
    if not rows:
        return _Seconds(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, bool))
    middle, lag, likeness, largest = (np.asarray(column) for column in zip(*rows, strict=True))
    return _Seconds(middle, lag, likeness, largest.astype(bool))


def _correlation(a: Floats, b: Floats, most: int) -> Floats:
    """Return the correlation of a and b (time,) at lags of b from -most to most."""
    size = scipy.fft.next_fast_len(2 * a.size, real=True)
    cross = scipy.fft.irfft(np.conj(scipy.fft.rfft(a, size)) * scipy.fft.rfft(b, size), size)
    cross /= max(float(np.sqrt((a @ a) * (b @ b))), _SMALLEST)
    return np.concatenate((cross[-most:], cross[: most + 1]))


def _slope_ppm(seconds: _Seconds) -> float:
    """Return the median of slopes between the lags of seconds (Theil 1950, Sen 1968), in millionths."""
    t, lag = seconds.middle[seconds.largest], seconds.lag[seconds.largest]
    i, j = np.triu_indices(t.size, 3)  # neighbours overlap
    return 1e6 * float(np.median((lag[j] - lag[i]) / (t[j] - t[i]))) if i.size else 0.0


def _stretched(y: Samples, drift_ppm: float) -> Samples:
    """Return (channel, time) played faster by so many millionths."""
    if drift_ppm == 0.0:
        return y
    import soxr  # type: ignore[import-untyped]  # compiled, without stubs

    z = soxr.resample(np.asarray(y, np.float64).T, 1e6 + drift_ppm, 1e6, quality="VHQ")
    return np.ascontiguousarray(z.T)


def _shifted(y: Samples, lag: float, frames: int) -> tuple[Samples, int, int]:
    """Return y (channel, time) earlier by `lag` samples, `frames` long, and the part that it covers."""
    whole = round(lag)
    part = lag - whole
    if part != 0.0:
        size = scipy.fft.next_fast_len(y.shape[1] + 1024, real=True)
        turn = np.exp(2j * np.pi * np.arange(size // 2 + 1) / size * part)
        y = scipy.fft.irfft(scipy.fft.rfft(y, size) * turn, size)[:, : y.shape[1]]
    begin, end = max(-whole, 0), min(frames, y.shape[1] - whole)
    out = np.zeros((y.shape[0], frames), np.float32)
    out[:, begin:end] = y[:, begin + whole : end + whole]
    return out, begin, end


def _middle(trial: Trial, rate: float) -> float:
    return float(np.median(trial.in_octaves(rate)))


def _first_arrival(trial: Trial, dry: Floats, wet: Floats, rate: float) -> tuple[float, float]:
    """Return the lag, the latest from which a response foretells as much, and the sign of its peak."""
    h = trial.weighted
    place, polarity = peak_of(h)
    peak = trial.start + place
    size = np.abs(h)
    size[: round(_NEAR_S * rate)] = 0.0  # the circle that `weighted` turns in has its seam here
    above = max(_ONSET * float(size.max()), _OVER_NOISE * float(np.median(size)))
    first = trial.start + int((size >= min(above, float(size.max()))).argmax())
    from_peak = try_at(dry, wet, rate, round(peak), h.size)
    from_first = try_at(dry, wet, rate, first, h.size)
    lag = float(first)
    if from_peak is not None and from_first is not None:
        kept = _middle(from_peak, rate) >= _middle(from_first, rate) - AS_GOOD
        lag = peak if kept else lag
        lag = float(round(lag)) if abs(lag - round(lag)) < _WHOLE else lag
    return lag, polarity


def _best(dry: Floats, wet: Floats, rate: float, shared: int) -> Trial | None:
    """Return the best trial, of a long response or of a short one.

    A long one has too many taps for a few hits or for the steady partials of plucked strings.
    """
    long = best_trial(dry, wet, rate, shared)
    if long is None:
        return None
    begin = long.start + round((LEAD_S - _SHORT_LEAD_S) * rate)
    short = try_at(dry, wet, rate, begin, round(_SHORT_S * rate), _TRIAL_TURNS)
    return long if short is None or _middle(long, rate) >= _middle(short, rate) else short


def _is_pair(trial: Trial, seconds: _Seconds, rate: float, begin: int, paired: Paired) -> bool:
    if paired == "yes":
        return agreement(trial.coherence) >= LEAST_AGREEMENT
    if not seconds.likeness.size or seconds.largest.mean() < LEAST_SECONDS:
        return False
    if abs(_slope_ppm(seconds)) > MOST_DRIFT_PPM:
        return False
    delay_s = (trial.start + peak_of(trial.weighted)[0] - begin) / rate
    least = LEAST_COHERENCE if LATENCY_S[0] <= delay_s <= LATENCY_S[1] else FAR_COHERENCE
    likeness = float(np.median(seconds.likeness))
    return bool(_middle(trial, rate) >= least and likeness >= LEAST_LIKENESS)


def detect(x: Samples, y: Samples, rate: int, paired: Paired = "auto") -> Pair | None:
    """Lay a reference on the input, if it is the same performance.

    Parameters
    ----------
    x, y: input and reference, (channel, time) at `rate` in Hz, finite.
    paired: "auto" looks closely, "yes" takes the user's word for all but other content, "no" does not look.
    """
    if paired == "no" or min(x.shape[1], y.shape[1]) < SHORTEST_S * rate:
        return None
    whole, wet = _mono(x), _mono(y)
    if not (whole.any() and wet.any()):
        return None
    begin, end = _loudest_part(whole, round(LOOKED_S * rate))
    dry = whole[begin:end]
    shared = round(LEAST_SHARED * min(dry.size, wet.size))
    trial = _best(dry, wet, rate, shared)
    if trial is None or agreement(trial.coherence) < LEAST_AGREEMENT:
        return None
    seconds = _seconds(trial, rate)
    drift_ppm = 0.0
    slope = _slope_ppm(seconds)
    if LEAST_DRIFT_PPM <= abs(slope) <= MOST_DRIFT_PPM:
        drift_ppm, wet, trial, seconds = _without_drift(slope, y, dry, rate, shared, trial, seconds, wet)
    if not _is_pair(trial, seconds, rate, begin, paired):
        return None
    lag, polarity = _first_arrival(trial, dry, wet, rate)
    lag -= begin
    lag = 0.0 if -_NEAR_S * rate < lag < LEAST_LAG else lag
    aligned, covered, until = _shifted(_stretched(y, drift_ppm), lag, x.shape[1])
    if lag != round(lag) or drift_ppm != 0.0:
        covered, until = covered + round(_EDGE_S * rate), until - round(_EDGE_S * rate)
    aligned = np.float32(polarity) * aligned
    kept = try_at(
        dry, _mono(aligned), rate, begin, min(round(RESPONSE_S * rate), dry.size // 3), _TRIAL_TURNS
    )
    level = [float(np.sqrt(np.square(s[:, covered:until], dtype=np.float64).mean())) for s in (x, aligned)]
    return Pair(
        rate=rate, lag_samples=lag * (1.0 + 1e-6 * drift_ppm), polarity=polarity,
        gain_db=float(amplitude_to_db(level[1]) - amplitude_to_db(level[0])), drift_ppm=drift_ppm,
        coherence=_middle(trial, rate),
        likeness=float(np.median(seconds.likeness)) if seconds.likeness.size else 0.0,
        begin=covered, end=until, aligned=aligned,
        response=np.zeros(1) if kept is None else kept.weighted,
    )  # fmt: skip


def _without_drift(
    slope: float,
    y: Samples,
    dry: Floats,
    rate: int,
    shared: int,
    trial: Trial,
    seconds: _Seconds,
    wet: Floats,
) -> tuple[float, Floats, Trial, _Seconds]:
    """Return drift, wet sound, trial and seconds with the drift taken out, where that foretells more."""
    drift_ppm = 0.0
    for _ in range(2):  # once more, since a response that is no longer smeared tells the rest
        steadier = _mono(_stretched(y, drift_ppm + slope))
        again = _best(dry, steadier, rate, shared)
        if again is None or _middle(again, rate) <= _middle(trial, rate):
            break
        drift_ppm, wet, trial = drift_ppm + slope, steadier, again
        seconds = _seconds(trial, rate)
        slope = _slope_ppm(seconds)
    return drift_ppm, wet, trial, seconds


def find_pair(source: Audio, reference: Audio, rate: int, paired: Paired = "auto") -> Pair | None:
    """Lay a reference on the input at `rate`, if it is the same performance (`detect`)."""
    return None if paired == "no" else detect(at_rate(source, rate), at_rate(reference, rate), rate, paired)


def at_rate(audio: Audio, rate: int) -> Samples:
    """Return the samples of a recording as a fit hears them, (1 or 2 channels, time) at `rate` in Hz."""
    if audio.channels > 2:
        audio = Audio(audio.samples.mean(axis=0, keepdims=True), audio.rate)
    return (audio if audio.rate == rate else resample(audio, rate)).samples
