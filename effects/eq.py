"""Parametric equaliser: low cut, low shelf, six peaks, high shelf, high cut; ten second-order sections.

Coefficients: R. Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients", with
A = 10^(g/40), w0 = 2 pi f / rate, alpha = sin(w0) / (2 Q); as designed by dasp_pytorch.signal.biquad in
float64. Shelves have Q = 1/sqrt(2). The sections run in series in float64 (fxstyle.recurrence).

The frequency of a cut is where it is 3 dB down, whatever its Q. A second-order high pass with corner w0 is
3 dB down at w0 x, x^2 = (a + sqrt(a^2 + 4))/2 with a = 1/Q^2 - 2 (set |H|^2 = 1/2), a low pass at
w0 / x; so the corner is designed at the (prewarped) cut frequency over, or times, x. Q = 0.71 is a
Butterworth cut of 12 dB per octave; a Q well below 0.5 parts its two real poles and leaves 6 dB per octave.

Frequencies near and above half the rate: the design needs f < rate/2. Beyond NYQUIST_SHARE of it a cut
is clamped there (a high cut is then nearly the identity: at 0.9 of half the rate 0.01 dB lower as a
Butterworth cut, 0.2 dB at the gentlest), and a peak or shelf whose frequency is there has 0 dB: what it
would change cannot be heard.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from dasp_pytorch.signal import biquad

from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.recurrence import SosState, sosfilt, sosfilt_block
from fxstyle.units import power_to_db

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement, Vector

NYQUIST_SHARE = 0.98
"""Highest design frequency over rate/2: beyond it sin(w0) vanishes and a section loses its meaning."""

SHELF_Q = 0.5**0.5
"""Steepest shelf without a bump."""

_PEAKS_HZ = (80.0, 200.0, 500.0, 1250.0, 3200.0, 8000.0)
_CUT_Q = 0.7071
_CUT_Q_HELP = "its slope: 0.1 is 6 dB per octave, 0.71 is 12, above 1 with a bump"
_GAIN_SPREAD = 0.14
"""Some 7 dB: boosts and cuts beyond twice that are rare in practice."""

PARAMS = (
    Param(
        "low_cut_hz",
        "Hz",
        5.0,
        2000.0,
        5.0,
        "log",
        "removes what lies below: 3 dB down here; 5 Hz is off",
        spread=0.5,
    ),
    Param("low_cut_q", "", 0.1, 2.0, _CUT_Q, "log", _CUT_Q_HELP, spread=0.4),
    Param("low_shelf_hz", "Hz", 20.0, 1000.0, 100.0, "log", "corner of the low shelf"),
    Param(
        "low_shelf_db",
        "dB",
        -24.0,
        24.0,
        0.0,
        help="level of everything below the corner",
        spread=_GAIN_SPREAD,
    ),
    *(
        param
        for i, hz in enumerate(_PEAKS_HZ, start=1)
        for param in (
            Param(f"peak{i}_hz", "Hz", 20.0, 20000.0, hz, "log", f"centre of band {i}"),
            Param(
                f"peak{i}_db", "dB", -24.0, 24.0, 0.0, help=f"boost or cut of band {i}", spread=_GAIN_SPREAD
            ),
            Param(f"peak{i}_q", "", 0.2, 8.0, 1.0, "log", f"narrowness of band {i}"),
        )
    ),
    Param("high_shelf_hz", "Hz", 1000.0, 20000.0, 8000.0, "log", "corner of the high shelf"),
    Param(
        "high_shelf_db",
        "dB",
        -24.0,
        24.0,
        0.0,
        help="level of everything above the corner",
        spread=_GAIN_SPREAD,
    ),
    Param(
        "high_cut_hz",
        "Hz",
        200.0,
        40000.0,
        40000.0,
        "log",
        "removes what lies above: 3 dB down here; 40 kHz is off",
        spread=0.5,
    ),
    Param("high_cut_q", "", 0.1, 2.0, _CUT_Q, "log", _CUT_Q_HELP, spread=0.4),
)
_DEFAULTS = {p.name: p.default for p in PARAMS}
_RESPONSE_FLOOR_DB = -400.0
"""A zero of a cut has no level in dB; nothing above 2^-53 per section is as low as this."""

START_LIMIT_DB = 12.0
"""Largest boost or cut of a first guess: beyond it the difference is more likely content than treatment."""

_SILENT_BAND_DB = -100.0
_USABLE_SHARE = 0.9
_NEWTON_STEPS = 3
_RIDGE = 0.2
"""Weight of a gain's own square in dB^2 against one band's error: keeps neighbouring bands from fighting."""

_GAINS = tuple(p.name for p in PARAMS if p.unit == "dB")


def _cut_over_corner(q: torch.Tensor) -> torch.Tensor:
    """Frequency at which a high pass of quality `q` is 3 dB down, over its corner (module docstring)."""
    a = q**-2.0 - 2.0
    return ((a + (a.square() + 4.0).sqrt()) / 2.0).sqrt()


def design(rate: float, settings: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Coefficients (batch, 10, 6) in float64 from settings of shape (batch,), differentiably."""
    knob = {name: value.to(torch.float64) for name, value in settings.items()}
    top_hz = NYQUIST_SHARE * rate / 2.0

    def sections(kind: str, hz: torch.Tensor, gain_db: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        # hz, gain_db, q: (batch, n) -> (batch, n, 6)
        b, a = biquad(*(v.reshape(-1, 1) for v in (gain_db, hz, q)), rate, kind)
        return torch.cat((b, a), dim=1).reshape(*hz.shape, 6)

    def bells(kind: str, hz: torch.Tensor, gain_db: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        audible_db = torch.where(hz < top_hz, gain_db, torch.zeros_like(gain_db))
        return sections(kind, hz.clamp_max(top_hz), audible_db, q)

    def corner(hz: torch.Tensor, q: torch.Tensor, side: float) -> torch.Tensor:
        # side: 1 for a high pass, -1 for a low pass
        warped = torch.tan(math.pi * hz.clamp_max(top_hz) / rate) * _cut_over_corner(q) ** -side
        return rate / math.pi * torch.atan(warped)

    def stack(*names: str) -> torch.Tensor:
        return torch.stack([knob[name] for name in names], dim=1)

    peaks = range(1, len(_PEAKS_HZ) + 1)
    low_cut = corner(stack("low_cut_hz"), stack("low_cut_q"), 1.0)
    high_cut = corner(stack("high_cut_hz"), stack("high_cut_q"), -1.0)
    low_shelf, high_shelf = stack("low_shelf_hz"), stack("high_shelf_hz")
    shelf_q, none_db = torch.full_like(low_shelf, SHELF_Q), torch.zeros_like(low_cut)
    return torch.cat(
        (
            sections("high_pass", low_cut, none_db, stack("low_cut_q")),
            bells("low_shelf", low_shelf, stack("low_shelf_db"), shelf_q),
            bells(
                "peaking",
                stack(*(f"peak{i}_hz" for i in peaks)),
                stack(*(f"peak{i}_db" for i in peaks)),
                stack(*(f"peak{i}_q" for i in peaks)),
            ),
            bells("high_shelf", high_shelf, stack("high_shelf_db"), shelf_q),
            sections("low_pass", high_cut, none_db, stack("high_cut_q")),
        ),
        dim=1,
    )


@lru_cache(maxsize=64)
def _design_once(rate: float, values: tuple[float, ...]) -> npt.NDArray[np.float64]:
    settings = {p.name: torch.tensor([v], dtype=torch.float64) for p, v in zip(PARAMS, values, strict=True)}
    with torch.no_grad():
        sos: npt.NDArray[np.float64] = design(rate, settings)[0].numpy()
    sos.flags.writeable = False
    return sos


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    low_cut_hz: torch.Tensor,
    low_cut_q: torch.Tensor,
    low_shelf_hz: torch.Tensor,
    low_shelf_db: torch.Tensor,
    peak1_hz: torch.Tensor,
    peak1_db: torch.Tensor,
    peak1_q: torch.Tensor,
    peak2_hz: torch.Tensor,
    peak2_db: torch.Tensor,
    peak2_q: torch.Tensor,
    peak3_hz: torch.Tensor,
    peak3_db: torch.Tensor,
    peak3_q: torch.Tensor,
    peak4_hz: torch.Tensor,
    peak4_db: torch.Tensor,
    peak4_q: torch.Tensor,
    peak5_hz: torch.Tensor,
    peak5_db: torch.Tensor,
    peak5_q: torch.Tensor,
    peak6_hz: torch.Tensor,
    peak6_db: torch.Tensor,
    peak6_q: torch.Tensor,
    high_shelf_hz: torch.Tensor,
    high_shelf_db: torch.Tensor,
    high_cut_hz: torch.Tensor,
    high_cut_q: torch.Tensor,
) -> torch.Tensor:
    """Equalise each row of (batch, channel, time) by its own settings."""
    given = locals()  # read before anything else is bound: the arguments by name
    return sosfilt(x, design(rate, {p.name: given[p.name] for p in PARAMS}))


def render(
    x: Samples,
    rate: float,
    state: SosState | None,
    *,
    low_cut_hz: float,
    low_cut_q: float,
    low_shelf_hz: float,
    low_shelf_db: float,
    peak1_hz: float,
    peak1_db: float,
    peak1_q: float,
    peak2_hz: float,
    peak2_db: float,
    peak2_q: float,
    peak3_hz: float,
    peak3_db: float,
    peak3_q: float,
    peak4_hz: float,
    peak4_db: float,
    peak4_q: float,
    peak5_hz: float,
    peak5_db: float,
    peak5_q: float,
    peak6_hz: float,
    peak6_db: float,
    peak6_q: float,
    high_shelf_hz: float,
    high_shelf_db: float,
    high_cut_hz: float,
    high_cut_q: float,
) -> tuple[Samples, SosState]:
    """Equalise a block (channel, time)."""
    given = locals()  # read before anything else is bound: the arguments by name
    return sosfilt_block(x, _design_once(rate, tuple(given[p.name] for p in PARAMS)), state)


def response_db(frequency_hz: Vector, rate: float, settings: Mapping[str, float]) -> Vector:
    """Magnitude of the equaliser at each frequency.

    Parameters
    ----------
    frequency_hz: (K,), below rate/2.
    rate: in Hz.
    settings: knobs by name; what is absent takes its default.

    Returns
    -------
    (K,) in dB.
    """
    known = {**_DEFAULTS, **settings}
    sos = _design_once(float(rate), tuple(float(known[p.name]) for p in PARAMS))
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
        for i in range(1, len(_PEAKS_HZ) + 1)
        if settings[f"peak{i}_db"] != 0.0
    ]
    tails = [math.log(1000.0) * q / (math.pi * hz) for hz, q in ringing]
    tails += [
        _cut_tail_s(settings[f"{cut}_hz"], settings[f"{cut}_q"], side)
        for cut, side in (("low_cut", 1.0), ("high_cut", -1.0))
        if settings[f"{cut}_hz"] != _DEFAULTS[f"{cut}_hz"]
    ]
    return max(tails, default=0.0)


def _cut_tail_s(hz: float, q: float, side: float) -> float:
    """Seconds in which a cut's response falls by 60 dB; `side` is 1 for a low cut, -1 for a high cut.

    Below Q = 1/2 there are two real poles; in a low cut's response the slower one has less weight, by the
    square of their ratio.
    """
    over = float(_cut_over_corner(torch.tensor(q, dtype=torch.float64)))
    w0 = 2.0 * math.pi * hz * math.pow(over, -side)
    if q >= 0.5:
        return math.log(1000.0) * 2.0 * q / w0
    root = math.sqrt(1.0 - 4.0 * q * q)
    slow, fast = w0 * (1.0 - root) / (2.0 * q), w0 * (1.0 + root) / (2.0 * q)
    weight = 2.0 * math.log(slow / fast) if side > 0.0 else 0.0
    return max((math.log(1000.0) + weight) / slow, math.log(1000.0) / fast)


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Gains of shelves and peaks whose response best follows the difference of both spectra.

    The target t is the reference's third-octave spectrum less the source's, less their median difference
    (level is the business of other effects), smoothed over three bands and limited. From gains 0, three
    Gauss-Newton steps solve (J'J + RIDGE I) step = J'(t - r) - RIDGE gains, where r is the response of all
    bands together and J its change per dB of each gain.
    """
    usable = np.minimum(source.mid_db, reference.mid_db) > _SILENT_BAND_DB
    usable &= source.bands_hz < _USABLE_SHARE * min(source.rate, reference.rate) / 2.0
    gains = dict.fromkeys(_GAINS, 0.0)
    if np.count_nonzero(usable) < len(_GAINS):
        return gains
    hz = source.bands_hz[usable]
    difference = (reference.mid_db - source.mid_db)[usable]
    padded = np.pad(difference - np.median(difference), 1, mode="edge")
    smooth = np.convolve(padded, (0.25, 0.5, 0.25), mode="valid")
    target = np.clip(smooth, -START_LIMIT_DB, START_LIMIT_DB)

    flat = response_db(hz, source.rate, {})  # not quite 0: the cuts' outermost corners

    def response(values: Vector) -> Vector:
        return response_db(hz, source.rate, dict(zip(_GAINS, values.tolist(), strict=True))) - flat

    values = np.zeros(len(_GAINS))
    for _ in range(_NEWTON_STEPS):
        now = response(values)
        change = np.stack([response(values + one) - now for one in np.eye(len(values))], axis=1)
        normal = change.T @ change + _RIDGE * np.eye(len(values))
        step = np.linalg.solve(normal, change.T @ (target - now) - _RIDGE * values)
        values = np.clip(values + step, -START_LIMIT_DB, START_LIMIT_DB)
    return dict(zip(_GAINS, values.tolist(), strict=True))


EFFECT = Effect(
    name="eq",
    summary="Parametric equaliser: two cuts, two shelves, six peaks",
    params=PARAMS,
    forward=forward,
    render=render,
    # Both forms run the same kernel in float64; what differs is that render skips bands at 0 dB.
    tolerance_db=-120.0,
    tail_s=tail_s,
    start=start,
)
