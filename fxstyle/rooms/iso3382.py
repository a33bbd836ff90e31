"""Room acoustics from an impulse response, per octave: ISO 3382-1:2009.

Of h, filtered to an octave, with p the mean square of the noise in it and t from the direct sound,

    E(t)  = int_t^tc h^2 - p ds + C                       energy decay (M. R. Schroeder, JASA 37, 1965;
                                                          W. T. Chu, JASA 63, 1978: less the noise)
    EDT   = 6 times the time from 0 to -10 dB of the line through E there
    T20   = 3 times that from -5 to -25 dB,   T30 = 2 times that from -5 to -35 dB
    C_te  = 10 lg (early / late),   D50 = early / (early + late),   early: of te = 50 or 80 ms, late: the rest
    Ts    = int t (h^2 - p) dt / E,   E all of it
    C     = 100 (T30 / T20 - 1)                           curvature in percent (ISO 3382-2:2008, B.3)

Where the decay meets the noise, at tc, the integral ends; C there is what an exponential of the late slope
has beyond it (A. Lundeby et al., Acustica 81, 1995, for both). For an exponential decay of T in closed form:
C_te = 10 lg (exp(6 ln(10) te / T) - 1), D_te = 1 - exp(-6 ln(10) te / T), Ts = T / (6 ln 10).

* Octaves: Butterworth band-passes of order 6 (class 1 of IEC 61260-1 at the centre and the edges), run
  backwards in time, so that their own ringing comes before the decay, not into it (F. Jacobsen & J. H.
  Rindel, J. Sound Vib. 117, 1987). From the direct sound on, an exponential stays exactly one; what rings
  before it counts as energy of the direct sound.
* Early and late are parted before the filter, whose delay is longer than it may be after it (ISO 3382-1,
  annex A): the late sound is all of it less the filtered early sound.
* The direct sound is the first sample of the whole response within 20 dB of the largest (ISO 3382-1, 5.3.2).
* A decay time is trusted if the response has the range it needs above its noise: its lower end and 10 dB
  (ISO 3382-1, 5.3.3: T20 35 dB, T30 45 dB), if the line fits, r^2 of at least .99 (ISO 3382-2, annex B: 10
  permille), and if it is longer than the filter's: bandwidth times T of at least 4 (Jacobsen & Rindel).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.signal

from fxstyle.dsp.noise import HIGHEST_EDGE_OF_RATE
from fxstyle.errors import AudioError
from fxstyle.octaves import CENTRES_HZ
from fxstyle.rooms.lundeby import LEAST_POINTS, End, Floats, find_end, fit_line

Response = npt.NDArray[Any]

ONSET_DB = -20.0
"""Of the largest sample: where the direct sound begins."""

LIMITS_DB = {"edt_s": (0.0, -10.0), "t20_s": (-5.0, -25.0), "t30_s": (-5.0, -35.0)}
"""Levels between which the line of each decay time lies."""

MARGIN_DB = 10.0
"""Between the lower end of a line and the noise."""

SHARE_RANGE_DB = 20.0
"""Above the noise, for C50, C80, D50 and Ts: with less, they are those of the noise."""

LEAST_FIT = 0.99
"""r^2 of a line that is trusted."""

LEAST_BANDWIDTH_TIME = 4.0
"""Bandwidth of the octave times the decay time: below, the filter decays as slowly as the room."""

EARLY_S, EARLY_MUSIC_S = 0.050, 0.080

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 8000.0, 192000.0

_ORDER = 3  # of the low-pass that is made a band-pass of twice the order
_RING_CYCLES = 8.0  # of the bandwidth: by then the filter has rung out by 100 dB
_LEVEL_S = 0.01  # over which the largest level is averaged
_LOWEST_DB = -200.0  # of a decay curve: what is left of nothing


@dataclass(frozen=True)
class Decay:
    """Figures of one response, of one value per band each; a value that cannot be had at all is NaN.

    Attributes
    ----------
    centre_hz: octave centres, NaN for the whole response.
    edt_s, t20_s, t30_s: decay times in s.
    c50_db, c80_db: clarity in dB. d50: definition from 0 to 1. ts_s: centre time in s.
    range_db: the largest level above the noise, or above the end where that comes before the noise.
    edt_fit, t20_fit, t30_fit: r^2 of the lines.
    """

    centre_hz: Floats
    edt_s: Floats
    t20_s: Floats
    t30_s: Floats
    c50_db: Floats
    c80_db: Floats
    d50: Floats
    ts_s: Floats
    range_db: Floats
    edt_fit: Floats
    t20_fit: Floats
    t30_fit: Floats

    def __post_init__(self) -> None:
        shapes = {getattr(self, field.name).shape for field in fields(self)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ValueError(
                f"figures of a decay are one value per band each, got the shapes {sorted(shapes)}"
            )

    def sure(self, name: str) -> npt.NDArray[np.bool_]:
        """Return (band,), whether a figure can be trusted.

        Parameters
        ----------
        name: "edt_s", "t20_s", "t30_s", "c50_db", "c80_db", "d50" or "ts_s".
        """
        known = (*LIMITS_DB, "c50_db", "c80_db", "d50", "ts_s")
        if name not in known:
            raise ValueError(f"no figure {name!r} to be sure of; there are {', '.join(known)}")
        value: Floats = getattr(self, name)
        if name not in LIMITS_DB:
            return np.isfinite(value) & (self.range_db >= SHARE_RANGE_DB)
        fit: Floats = getattr(self, name.replace("_s", "_fit"))
        # a comparison with NaN, of the whole response's bandwidth, is false
        slow = ~(value * self.centre_hz * math.sqrt(0.5) < LEAST_BANDWIDTH_TIME)
        return (
            np.isfinite(value) & (self.range_db >= MARGIN_DB - LIMITS_DB[name][1]) & (fit >= LEAST_FIT) & slow
        )

    @property
    def t60_s(self) -> Floats:
        """(band,) T30 where it can be trusted, else T20, else EDT, else NaN."""
        best = np.full(self.centre_hz.shape, math.nan)
        for name in LIMITS_DB:  # the best one last
            best = np.where(self.sure(name), getattr(self, name), best)
        return best

    @property
    def curvature_percent(self) -> Floats:
        """(band,) C of ISO 3382-2: 0 to 5 for a straight decay, over 10 for one of two slopes."""
        return 100.0 * (self.t30_s / self.t20_s - 1.0)


class _Band(NamedTuple):
    """Energies of one octave: time begins with the direct sound.

    square: (time,). before, before_moment: energy that rings before it, and that times its time.
    delay_s: of the filter.
    late: for EARLY_S and EARLY_MUSIC_S, energy of the late sound that rings before it.
    """

    square: Floats
    before: float = 0.0
    before_moment: float = 0.0
    delay_s: float = 0.0
    late: tuple[float, ...] = (0.0, 0.0)


def _decay_db(band: _Band, end: End) -> tuple[Floats, float]:
    """Return the energy decay (time,) in dB of all energy, and that energy."""
    edc = np.cumsum((band.square[: end.sample] - end.noise)[::-1])[::-1] + end.beyond
    whole = float(edc[0]) + band.before
    if whole <= 0.0:
        return np.full(edc.shape, _LOWEST_DB), 0.0
    return 10.0 * np.log10(np.maximum(edc / whole, 10.0 ** (_LOWEST_DB / 10.0))), whole


def _decay_time(edc_db: Floats, rate: float, limits_db: tuple[float, float]) -> tuple[float, float]:
    """Return the time for 60 dB of the line between two levels of the energy decay, and its r^2."""
    high, low = limits_db
    inside = np.flatnonzero((edc_db <= high) & (edc_db >= low))
    if edc_db[-1] > low or inside.size < LEAST_POINTS:
        return math.nan, math.nan
    line = fit_line(inside / rate, edc_db[inside])
    return (-60.0 / line.slope, line.fit) if line.slope < 0.0 else (math.nan, math.nan)


def _range_db(square: Floats, rate: float, floor: float) -> float:
    smooth = min(max(round(_LEVEL_S * rate), 1), square.size)
    total = np.concatenate((np.zeros(1), np.cumsum(square)))
    peak = float((total[smooth:] - total[:-smooth]).max()) / smooth
    if peak <= 0.0:
        return -math.inf
    return 10.0 * math.log10(peak / floor) if floor > 0.0 else math.inf


def _figures(band: _Band, rate: float, centre_hz: float) -> list[float]:
    """Return the figures of one band in the order of `Decay`."""
    square = band.square
    end = find_end(square, rate)
    edc_db, whole = _decay_db(band, end)
    if whole <= 0.0:
        return [centre_hz] + [math.nan] * 7 + [-math.inf] + [math.nan] * 3
    times = [_decay_time(edc_db, rate, limits) for limits in LIMITS_DB.values()]
    late = []
    for seconds, ringing in zip((EARLY_S, EARLY_MUSIC_S), band.late, strict=True):
        n = round(seconds * rate)
        within = square[n : end.sample]
        tail = end.beyond * math.exp(-max(n - end.sample, 0) / (rate * end.constant_s)) if end.beyond else 0.0
        late.append(max(float(within.sum()) - end.noise * within.size + ringing + tail, 0.0))
    clarity = [10.0 * math.log10((whole - e) / e) if 0.0 < e < whole else math.nan for e in late]
    t = np.arange(end.sample) / rate
    # an exponential has its centre of gravity one time constant after it begins
    moment = (
        band.before_moment
        + float(t @ (square[: end.sample] - end.noise))
        + end.beyond * (end.sample / rate + end.constant_s)
    )
    return [
        centre_hz,
        *(value for value, _ in times),
        *clarity,
        min(max(1.0 - late[0] / whole, 0.0), 1.0),
        moment / whole + band.delay_s,
        _range_db(square, rate, end.floor),
        *(fit for _, fit in times),
    ]


@lru_cache(maxsize=64)
def _octave_sections(rate: float, centre_hz: float) -> Floats:
    edges = centre_hz * np.array([math.sqrt(0.5), math.sqrt(2.0)])
    return np.asarray(scipy.signal.butter(_ORDER, edges, "bandpass", fs=rate, output="sos"))


def _backwards(sections: Floats, x: Floats) -> Floats:
    """Return x (channel, time) through the filter, which rings before its sound."""
    return np.asarray(scipy.signal.sosfilt(sections, x[:, ::-1], axis=1)[:, ::-1])


def _energy(x: Floats) -> Floats:
    return np.asarray(np.einsum("ct,ct->t", x, x))


def _in_octave(x: Floats, rate: float, centre_hz: float) -> _Band:
    """Return the energies of one octave of x (channel, time), which begins with the direct sound."""
    sections = _octave_sections(rate, centre_hz)
    pad = math.ceil(_RING_CYCLES * rate / (centre_hz * math.sqrt(0.5)))
    padded = np.concatenate((np.zeros((x.shape[0], pad)), x), axis=1)
    y = _backwards(sections, padded)
    late = []
    for seconds in (EARLY_S, EARLY_MUSIC_S):
        n = pad + round(seconds * rate)
        ringing = y[:, :n] - _backwards(sections, padded[:, :n]) if n < y.shape[1] else np.zeros((1, 1))
        late.append(float(_energy(ringing).sum()))
    square = _energy(y)
    t = np.arange(-pad, 0) / rate
    impulse = np.zeros((1, pad))
    impulse[0, -1] = 1.0
    answer = _energy(_backwards(sections, impulse))
    return _Band(
        square=square[pad:],
        before=float(square[:pad].sum()),
        before_moment=float(t @ square[:pad]),
        delay_s=-1.0 / rate - float(t @ answer) / float(answer.sum()),
        late=tuple(late),
    )


def onset(h: Response) -> int:
    """Return the sample at which the direct sound of h (.., time) arrives, in the earliest channel."""
    loudest = np.abs(h).reshape(-1, h.shape[-1]).max(axis=0)
    return int((loudest >= 10.0 ** (ONSET_DB / 20.0) * loudest.max()).argmax())


_SAME = 2.0**-15
"""Of the largest sample: one step of 16 bits."""

_LEAST_RUN = 4
"""Samples in a row at the largest value: of a sine at 48 kHz only one below 40 Hz has as many."""


def clipped(h: Response) -> int:
    """Return how many samples of h (.., time) stand in rows at its largest value: 0 if it is not clipped."""
    x = np.asarray(h, np.float64)
    x = x.reshape(-1, x.shape[-1]) if x.size else np.zeros((1, 0))
    peak = np.abs(x).max(initial=0.0)
    if not peak > 0.0:
        return 0
    total = 0
    for sign in (1.0, -1.0):
        at_peak = np.pad(sign * x >= peak * (1.0 - _SAME), ((0, 0), (1, 1)))
        edges = np.flatnonzero(np.diff(at_peak.astype(np.int8).ravel()))
        runs = edges[1::2] - edges[::2]
        total += int(runs[runs >= _LEAST_RUN].sum())
    return total


def _checked(h: Response, rate: float) -> Floats:
    """Return h as (channel, time) from the direct sound to the last sample that is not 0."""
    x = np.asarray(h)
    if x.ndim == 1:
        x = x[None]
    if x.ndim != 2 or not x.size:
        raise AudioError(
            f"an impulse response has the shape (time,) or (channel, time), not {np.shape(h)}: give one"
        )
    if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
        raise AudioError(
            f"a rate of {rate:g} Hz is outside {LOWEST_RATE_HZ:g} to {HIGHEST_RATE_HZ:g} Hz: "
            "resample the response"
        )
    x = np.asarray(x, np.float64)
    if not np.isfinite(x).all():
        bad = int(np.count_nonzero(~np.isfinite(x)))
        raise AudioError(f"the impulse response has {bad} samples that are not finite: export it again")
    peak = float(np.abs(x).max())
    if peak == 0.0:
        raise AudioError("the impulse response is silent: give one in which something sounds")
    sounding = np.flatnonzero(x.any(axis=0))
    # of peak 1, so that no square is lost; zeros after the end would be taken for noise without level
    return np.asarray(x[:, onset(x) : int(sounding[-1]) + 1] / peak)


def carried_centres(rate: float) -> tuple[float, ...]:
    """Return the octave centres that a rate carries whole."""
    return tuple(c for c in CENTRES_HZ if c * math.sqrt(2.0) <= HIGHEST_EDGE_OF_RATE * rate)


def _carry(rate: float, centre_hz: float) -> None:
    if not 0.0 < centre_hz * math.sqrt(2.0) <= HIGHEST_EDGE_OF_RATE * rate:
        raise AudioError(
            f"a rate of {rate:g} Hz does not carry the octave of {centre_hz:g} Hz: its centre must be "
            f"above 0 and at most {HIGHEST_EDGE_OF_RATE / math.sqrt(2.0) * rate:.0f} Hz"
        )


def _decay(rows: list[list[float]]) -> Decay:
    return Decay(*np.array(rows).T)


def measure_response(h: Response, rate: float, centres_hz: tuple[float, ...] | None = None) -> Decay:
    """Measure an impulse response per octave.

    Parameters
    ----------
    h: (time,) or (channel, time), any real type; of channels the energies are added.
    rate: in Hz, 8000 to 192000.
    centres_hz: octaves; by default those of CENTRES_HZ that the rate can carry.

    Raises
    ------
    AudioError: h is empty, silent, not finite, of another shape, or the rate does not carry an octave.
    """
    x = _checked(h, rate)
    centres = carried_centres(rate) if centres_hz is None else centres_hz
    for c in centres:
        _carry(rate, c)
    return _decay([_figures(_in_octave(x, rate, c), rate, c) for c in centres])


def broadband(h: Response, rate: float) -> Decay:
    """Measure an impulse response as it is, without a filter: figures of one band, whose centre is NaN.

    Parameters and errors are those of `measure_response`.
    """
    return _decay([_figures(_Band(_energy(_checked(h, rate))), rate, math.nan)])


def energy_decay_db(h: Response, rate: float, centre_hz: float | None = None) -> tuple[Floats, Floats]:
    """Return time in s from the direct sound and energy decay in dB of all energy, both (time,).

    The curve ends where the decay meets the noise. Parameters and errors are those of `measure_response`;
    without a centre it is that of the whole response.
    """
    x = _checked(h, rate)
    if centre_hz is None:
        band = _Band(_energy(x))
    else:
        _carry(rate, centre_hz)
        band = _in_octave(x, rate, centre_hz)
    level_db, _ = _decay_db(band, find_end(band.square, rate))
    return np.arange(level_db.size) / rate, level_db
