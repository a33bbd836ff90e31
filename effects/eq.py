"""Parametric equaliser: low cut, low shelf, peaks, high shelf, high cut, one after the other.

`eq` has six peaks; `eq1` to `eq16` have that many.

    peak        H(s) = (s^2 + s A/Q + 1)/(s^2 + s/(A Q) + 1)
    low shelf   H(s) = A (s^2 + s r + A)/(A s^2 + s r + 1)
    high shelf  H(s) = A (A s^2 + s r + 1)/(s^2 + s r + A)
    low cut     Butterworth's high-pass of order N, 6 N dB per octave; for N = 2, s^2/(s^2 + s/Q + 1)
    high cut    Butterworth's low-pass of order N; for N = 2, 1/(s^2 + s/Q + 1)

    A           10^(g/40), for a boost (or cut, below 0) of g dB
    Q           of a peak: its centre over the distance between the two frequencies at which it has half
                of its dB; 1 is 1.4 octaves, 4 a third of one
    r           sqrt(2 A): the steepest shelf without a bump. At its frequency a shelf has half of its dB
    s           j tan(pi f/rate)/tan(pi f0/rate) at the frequency f, for the knob's f0 (rate: samples
                per second)

These are R. Bristow-Johnson's ("Cookbook formulae for audio EQ biquad filter coefficients"), with Q, not
bandwidth, as in most plug-ins; Butterworth's in Wireless Engineer 7, 1930. Computed in 64 bits.

The frequency of a cut is where it is 3 dB down, whatever its slope and its Q. At 12 dB per octave a Q of
0.71 is Butterworth's, the flattest; above 1 there is a bump, and a Q well below 0.5 leaves 6 dB per
octave at first. In a steeper cut Q stretches the sharpest pair of poles alone, and 0.71 is Butterworth's
again. A slope of 6 has no Q. A low cut at 5 Hz and a high cut at 40 kHz are as good as off.

Limits. Towards half the rate the curves lean (bilinear transform): a peak at 15 kHz of 44.1 is narrower
above its centre than below, as in most equalisers without oversampling. Beyond .98 of half the rate a
peak or shelf does nothing and a cut stays there. The phase is what these filters have: minimum, not
linear. An amount below 1 mixes in the dry sound, which steep cuts turn in phase, so that some frequencies
near them cancel: turn the knobs down instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.dsp.biquad import CUT_SECTIONS, SLOPES_DB, Pass, bell, cut, cut_over_corner, cut_poles
from fxstyle.dsp.recurrence import SosState, sosfilt, sosfilt_block
from fxstyle.effect import Effect, Samples, with_knobs
from fxstyle.errors import SettingError
from fxstyle.param import Param
from fxstyle.units import NEPERS_OF_60_DB, power_to_db

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement, Vector

SHELF_Q = 0.5**0.5
"""Steepest shelf without a bump."""

PEAKS = 6
MOST_PEAKS = 16

_LOWEST_HZ, _OCTAVES = 50.5, 7.97
"""Peaks stand in the middle of equal parts of this range: six at 80 Hz, 200 Hz, ... 8 kHz."""

_ROUND_HZ = (1.0, 1.1, 1.25, 1.4, 1.6, 1.8, 2.0, 2.2, 2.5, 2.8,
             3.2, 3.6, 4.0, 4.5, 5.0, 5.6, 6.3, 7.1, 8.0, 9.0)  # fmt: skip
"""Rounded steps of a twentieth of a decade, R'20 of ISO 3."""

_CUT_Q = 0.7071
_CUT_Q_HELP = "bend at the cut: 0.71 is flat, up: a bump, down: a slow roll-off; none at a slope of 6"
_SLOPE_HELP = "steepness of the cut in dB per octave, from gentle to a wall"
_GAIN_SPREAD = 0.14
"""Some 7 dB: boosts and cuts beyond twice that are rare in practice."""

_LOWEST_CUT_HZ, _HIGHEST_CUT_HZ = 5.0, 40000.0
"""Where the cuts are off."""

_RESPONSE_FLOOR_DB = -400.0
"""A zero of a cut has no level in dB; nothing above 2^-53 per section is as low as this."""

START_LIMIT_DB = 12.0
"""Largest boost or cut of a first guess: beyond it the difference is more likely content than treatment."""

_APART = 1e-4
"""Poles are moved by multiples of this share of themselves, lest two be the same and have no residue."""

_TAIL_STEPS = 4096
"""Moments at which the response is looked at, over twice the time its slowest pole takes for 60 dB."""

_SILENT_BAND_DB = -100.0
_USABLE_SHARE = 0.9
_NEWTON_STEPS = 3
_RIDGE = 0.2
"""Weight of a gain's own square in dB^2 against one band's error: keeps neighbouring bands from fighting."""

_HOSTS = {
    "pedalboard.PeakFilter": "one for each peak, with the same frequency, gain and Q; -106 dB, its float32",
    "pedalboard.LowShelfFilter, HighShelfFilter": "with q = 0.7071; -92 dB, its float32",
    "pedalboard.HighpassFilter, LowpassFilter": "the cuts with a slope of 6; -133 dB, its float32",
    "ffmpeg equalizer": "one for each peak, with t=q and r=f64; -279 dB",
    "ffmpeg lowshelf, highshelf": "with t=q, w=0.7071 and r=f64; -269 dB",
    "ffmpeg highpass, lowpass": "the cuts with a slope of 12 and a Q of 0.7071, w=0.7071 and r=f64; -277 dB",
    "ffmpeg asubcut, asupercut": "the cuts with slopes from 18 and a Q of 0.7071, order = slope/6; -270 dB",
    "sox equalizer, bass, treble, highpass, lowpass": "as in ffmpeg, widths in Q; -185 dB, its integers",
}
"""Largest difference on noise in dB of full scale, the cuts at their outer limits taken out, which have no
counterpart elsewhere. Cuts of other Q need the others' frequency at the corner, where they are Q in level."""


def _round_hz(hz: float) -> float:
    decade = 10.0 ** math.floor(math.log10(hz))
    steps = [decade * step for step in (*_ROUND_HZ, 10.0)]
    nearest = min(steps, key=lambda step: abs(math.log(step / hz)))
    return round(nearest, 1)


def _gain(name: str, what: str) -> Param:
    return Param(name, "dB", -24.0, 24.0, 0.0, help=what, spread=_GAIN_SPREAD)


@cache
def _params(peaks: int) -> tuple[Param, ...]:
    """Return the knobs of an equaliser, in the order of its sections."""
    # More peaks stand closer together: from six on each one is as wide as its distance from the next.
    peak_q = max(1.0, round(peaks / PEAKS, 2))
    bands = []
    for i in range(1, peaks + 1):
        hz = _round_hz(_LOWEST_HZ * 2.0 ** (_OCTAVES * (i - 0.5) / peaks))
        bands += [
            Param(f"peak{i}_hz", "Hz", 20.0, 20000.0, hz, "log", f"centre of band {i}"),
            _gain(f"peak{i}_db", f"boost or cut of band {i}"),
            Param(
                f"peak{i}_q", "", 0.2, 8.0, peak_q, "log",
                f"narrowness of band {i}; up: narrower, 1.4 is an octave",
            ),
        ]  # fmt: skip
    low, high = (
        "removes what lies below: 3 dB down here; up: thinner, 5 Hz",
        "removes what lies above: 3 dB down here; down: darker, 40 kHz",
    )
    return (
        Param("low_cut_hz", "Hz", _LOWEST_CUT_HZ, 2000.0, _LOWEST_CUT_HZ, "log", f"{low} is off", spread=0.5),
        Param("low_cut_q", "", 0.1, 2.0, _CUT_Q, "log", _CUT_Q_HELP, spread=0.4),
        Param.choice("low_cut_slope", SLOPES_DB, "12", _SLOPE_HELP),
        Param(
            "low_shelf_hz", "Hz", 20.0, 1000.0, 100.0, "log",
            "corner of the low shelf, where it has half of its dB",
        ),
        _gain("low_shelf_db", "boost or cut of everything below the corner"),
        *bands,
        Param(
            "high_shelf_hz", "Hz", 1000.0, 20000.0, 8000.0, "log",
            "corner of the high shelf, where it has half of its dB",
        ),
        _gain("high_shelf_db", "boost or cut of everything above the corner"),
        Param(
            "high_cut_hz", "Hz", 200.0, _HIGHEST_CUT_HZ, _HIGHEST_CUT_HZ, "log", f"{high} is off", spread=0.5
        ),
        Param("high_cut_q", "", 0.1, 2.0, _CUT_Q, "log", _CUT_Q_HELP, spread=0.4),
        Param.choice("high_cut_slope", SLOPES_DB, "12", _SLOPE_HELP),
    )  # fmt: skip


PARAMS = _params(PEAKS)


def _peaks_of(settings: Iterable[str]) -> int:
    """Return the highest number of a peak among names of knobs."""
    return max(
        (int(found[1]) for name in settings if (found := re.fullmatch(r"peak(\d+)_db", name))), default=0
    )


def design(rate: float, settings: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Coefficients (batch, section, 6) in float64 from settings of shape (batch,), differentiably.

    The sections are CUT_SECTIONS of the low cut, low shelf, peaks, high shelf, CUT_SECTIONS of the high cut;
    those a cut does not need are the identity.
    """
    knob = {name: value.to(torch.float64) for name, value in settings.items()}
    peaks = range(1, _peaks_of(knob) + 1)
    shelf_q = torch.full_like(knob["low_shelf_hz"], SHELF_Q)
    hz, gain_db, q = (
        torch.stack([knob[f"peak{i}_{what}"] for i in peaks], dim=1) for what in ("hz", "db", "q")
    )

    def cut_of(kind: Pass, name: str) -> torch.Tensor:
        return cut(kind, knob[f"{name}_hz"], knob[f"{name}_q"], knob[f"{name}_slope"], rate)

    return torch.cat(
        (
            cut_of("high_pass", "low_cut"),
            bell("low_shelf", knob["low_shelf_hz"], knob["low_shelf_db"], shelf_q, rate)[:, None],
            bell("peak", hz, gain_db, q, rate),
            bell("high_shelf", knob["high_shelf_hz"], knob["high_shelf_db"], shelf_q, rate)[:, None],
            cut_of("low_pass", "high_cut"),
        ),
        dim=1,
    )


def _needed(sos: torch.Tensor, settings: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return which sections (section,) change a row, or owe one of their knobs a gradient.

    Sections of a cut that no row needs are constants, and owe none.
    """
    with torch.no_grad():
        needed = (sos[..., :3] != sos[..., 3:]).any(dim=-1).any(dim=0)
    if torch.is_grad_enabled():
        bands = ("low_shelf", *(f"peak{i}" for i in range(1, _peaks_of(settings) + 1)), "high_shelf")
        for section, band in enumerate(bands, start=CUT_SECTIONS):
            knobs = (settings.get(f"{band}_{what}") for what in ("hz", "db", "q"))
            needed[section] |= any(knob is not None and knob.requires_grad for knob in knobs)
    return needed


@lru_cache(maxsize=64)
def _design_once(rate: float, peaks: int, values: tuple[float, ...]) -> npt.NDArray[np.float64]:
    names = (param.name for param in _params(peaks))
    settings = {n: torch.tensor([v], dtype=torch.float64) for n, v in zip(names, values, strict=True)}
    with torch.no_grad():
        sos: npt.NDArray[np.float64] = design(rate, settings)[0].numpy()
    sos.flags.writeable = False
    return sos


def _design_of(rate: float, settings: Mapping[str, float]) -> npt.NDArray[np.float64]:
    """Sections of settings by name, of which some may be absent."""
    peaks = max(PEAKS, _peaks_of(settings))
    values = tuple(float(settings.get(param.name, param.default)) for param in _params(peaks))
    return _design_once(float(rate), peaks, values)


def response_db(frequency_hz: Vector, rate: float, settings: Mapping[str, float]) -> Vector:
    """Magnitude of the equaliser at each frequency.

    Parameters
    ----------
    frequency_hz: (K,), below rate/2.
    rate: in Hz.
    settings: knobs by name, of any number of peaks; what is absent takes its default.

    Returns
    -------
    (K,) in dB.
    """
    sos = _design_of(rate, settings)
    z = np.exp(-2j * np.pi * np.asarray(frequency_hz, dtype=np.float64) / rate)
    powers = np.stack((np.ones_like(z), z, z * z))
    ratio = np.abs(sos[:, :3] @ powers) / np.abs(sos[:, 3:] @ powers)
    return power_to_db(np.prod(ratio, axis=0) ** 2, floor_db=_RESPONSE_FLOOR_DB)


def tail_s(settings: Mapping[str, float]) -> float:
    """Seconds in which the slowest ringing falls by 60 dB: ln(1000) 2 Q' / w0.

    The poles of a peak have Q' = Q 10^(g/40). Cuts at their outer limit count as off, and shelves do
    not ring.
    """
    ringing = [
        (settings[f"peak{i}_hz"], settings[f"peak{i}_q"] * 10.0 ** (settings[f"peak{i}_db"] / 40.0))
        for i in range(1, _peaks_of(settings) + 1)
        if settings[f"peak{i}_db"] != 0.0
    ]
    tails = [NEPERS_OF_60_DB * q / (math.pi * hz) for hz, q in ringing]
    tails += [
        _cut_tail_s(settings[f"{name}_hz"], settings[f"{name}_q"], round(settings[f"{name}_slope"]), low)
        for name, off_hz, low in (("low_cut", _LOWEST_CUT_HZ, True), ("high_cut", _HIGHEST_CUT_HZ, False))
        if settings[f"{name}_hz"] != off_hz
    ]
    return max(tails, default=0.0)


def _cut_tail_s(hz: float, q: float, slope: int, low: bool) -> float:
    """Seconds in which a low cut's, or high cut's, response to an impulse has fallen by 60 dB.

    With the poles p_k over the corner, it is sum_k r_k exp(p_k t), where r_k is the residue, p_k^N or 1 over
    the product of p_k's distances from the others.
    """
    x = float(cut_over_corner(*torch.tensor([[q], [slope]], dtype=torch.float64)))
    corner = 2.0 * math.pi * (hz / x if low else hz * x)
    poles = cut_poles(q, slope)
    poles *= 1.0 + _APART * np.arange(len(poles))
    gaps = poles[:, None] - poles
    np.fill_diagonal(gaps, 1.0)
    residues = poles ** (len(poles) if low else 0) / gaps.prod(axis=1)
    t = np.linspace(0.0, 2.0 * NEPERS_OF_60_DB / -poles.real.max(), _TAIL_STEPS)
    response = np.abs(np.exp(t[:, None] * poles) @ residues)
    return float(t[response > response.max() / 1000.0][-1]) / corner


def start(source: Measurement, reference: Measurement, peaks: int = PEAKS) -> dict[str, float]:
    """Gains of shelves and peaks whose response best follows the difference of both spectra.

    The target t is the reference's third-octave spectrum less the source's, less their median difference
    (level is the business of other effects), smoothed over three bands and limited. From gains 0, three
    Gauss-Newton steps solve (J'J + RIDGE I) step = J'(t - r) - RIDGE gains, where r is the response of all
    bands together and J its change per dB of each gain.
    """
    names = [param.name for param in _params(peaks) if param.unit == "dB"]
    usable = np.minimum(source.mid_db, reference.mid_db) > _SILENT_BAND_DB
    usable &= source.bands_hz < _USABLE_SHARE * min(source.rate, reference.rate) / 2.0
    if np.count_nonzero(usable) < len(names):
        return dict.fromkeys(names, 0.0)
    hz = source.bands_hz[usable]
    difference = (reference.mid_db - source.mid_db)[usable]
    padded = np.pad(difference - np.median(difference), 1, mode="edge")
    smooth = np.convolve(padded, (0.25, 0.5, 0.25), mode="valid")
    target = np.clip(smooth, -START_LIMIT_DB, START_LIMIT_DB)
    defaults = {param.name: param.default for param in _params(peaks)}
    flat = response_db(hz, source.rate, defaults)  # not quite 0: the cuts' outermost corners

    def response(values: Vector) -> Vector:
        gains = dict(zip(names, values.tolist(), strict=True))
        return response_db(hz, source.rate, {**defaults, **gains}) - flat

    values = np.zeros(len(names))
    for _ in range(_NEWTON_STEPS):
        now = response(values)
        change = np.stack([response(values + one) - now for one in np.eye(len(values))], axis=1)
        normal = change.T @ change + _RIDGE * np.eye(len(values))
        step = np.linalg.solve(normal, change.T @ (target - now) - _RIDGE * values)
        values = np.clip(values + step, -START_LIMIT_DB, START_LIMIT_DB)
    return dict(zip(names, values.tolist(), strict=True))


def _build(name: str, peaks: int) -> Effect:
    names = tuple(param.name for param in _params(peaks))

    def forward(x: torch.Tensor, rate: float, **knobs: torch.Tensor) -> torch.Tensor:
        """Equalise each row of (batch, channel, time) by its own settings."""
        sos = design(rate, knobs)
        return sosfilt(x, sos[:, _needed(sos, knobs)])

    def render(x: Samples, rate: float, state: SosState | None, **knobs: float) -> tuple[Samples, SosState]:
        """Equalise a block (channel, time)."""
        return sosfilt_block(x, _design_once(rate, peaks, tuple(knobs[name] for name in names)), state)

    return Effect(
        name=name,
        summary=f"Parametric equaliser: two cuts, two shelves, {peaks} peak{'s' if peaks > 1 else ''}",
        params=_params(peaks),
        forward=with_knobs(name, names, forward),
        render=with_knobs(name, names, render),
        # Both forms run the same kernel in float64; what differs is that render skips bands at 0 dB.
        tolerance_db=-120.0,
        tail_s=tail_s,
        start=lambda source, reference: start(source, reference, peaks),
        linear=True,
        idle=_idle,
        hosts=_HOSTS,
    )


def _idle(settings: Mapping[str, float]) -> list[str]:
    first_order = SLOPES_DB.index("6")
    return [f"{side}_cut_q" for side in ("low", "high") if settings[f"{side}_cut_slope"] == first_order]


@cache
def make(peaks: int) -> Effect:
    """Return the equaliser eq1 .. eq16 with that many peaks, or raise SettingError."""
    if not 1 <= peaks <= MOST_PEAKS:
        raise SettingError(
            f"an equaliser has 1 to {MOST_PEAKS} peaks, not {peaks}; choose eq1 to eq{MOST_PEAKS}"
        )
    return _build(f"eq{peaks}", peaks)


EFFECT = _build("eq", PEAKS)
