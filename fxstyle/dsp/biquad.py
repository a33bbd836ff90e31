"""Designs of second-order sections, differentiable by every knob: peaks, shelves, and cuts of any slope.

Peaks, shelves and second-order passes: R. Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter
coefficients", with A = 10^(g/40), w0 = 2 pi f / rate, alpha = sin(w0) / (2 Q).

A cut of order N falls by 6 N dB per octave. It is a Butterworth filter (Wireless Engineer 7, 1930): N/2 pairs
of poles and, if N is odd, a single one, all with the corner Omega = tan(w0/2):

    Q_k = 1 / (2 sin((2k - 1) pi / (2N))),   k = 1 .. N/2, the sharpest first
    H_single = s/(s + 1) or 1/(s + 1),   s = (z - 1)/(z + 1) / Omega

The Q knob q stretches the sharpest pair: Q_1 becomes Q_1 q sqrt 2. So N = 2 has the quality q itself, every
order is Butterworth's at q = 0.71, and bends up at the corner above. N = 1 has no Q.

The frequency of a cut is where it is 3 dB down, whatever its Q. If that is x times the corner of a high pass
(a low pass is 3 dB down at 1/x), then t = x^2 solves

    |H|^2 = prod_k t^2 / ((1 - t)^2 + t/Q_k^2)  [times t/(1 + t) if N is odd]  = 1/2

For N = 2, t = (a + sqrt(a^2 + 4))/2 with a = 1/q^2 - 2. Else t is found by halving an interval of ln t (up to
the root |H| rises), and takes its gradient from one Newton step. The corner is designed at the prewarped
frequency over, or times, x.

Frequencies near and above half the rate: beyond .98 of it a cut stays there (a high cut is then
nearly the identity: at 0.9 of half the rate 0.01 dB lower as a second-order Butterworth, less if steeper,
0.2 dB at the gentlest), and a peak or shelf has 0 dB: what it would change cannot be heard.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.units import HIGHEST_OF_RATE

Bell = Literal["peak", "low_shelf", "high_shelf"]
Pass = Literal["high_pass", "low_pass"]

SLOPES_DB = ("6", "12", "18", "24", "36", "48")
"""Slopes of cuts in dB per octave, in the order of their numbers."""

ORDERS = tuple(int(slope) // 6 for slope in SLOPES_DB)
SECOND_ORDER = ORDERS.index(2)
CUT_SECTIONS = (max(ORDERS) + 1) // 2
"""Sections of the steepest cut."""

_FARTHEST = 8.0
"""Bound of |ln t|, which is 4.6 at q = 0.1."""

_HALVINGS, _NEWTON_STEPS = 14, 4
"""Of that interval; each step squares the error left, 0.001, until it is below the rounding of float64."""


def butterworth_q(order: int) -> tuple[float, ...]:
    """Return the qualities of the pole pairs of a Butterworth filter, the sharpest first."""
    return tuple(0.5 / math.sin((2 * k - 1) * math.pi / (2 * order)) for k in range(1, order // 2 + 1))


# By slope and section: the quality of a pair of poles, 0 where there is none, and which is the single pole.
_QUALITY = torch.tensor(
    [[*butterworth_q(n), *[0.0] * (CUT_SECTIONS - n // 2)] for n in ORDERS], dtype=torch.float64
)
_SINGLE = torch.tensor([[n % 2 == 1 and k == n // 2 for k in range(CUT_SECTIONS)] for n in ORDERS])
_IDENTITY = torch.tensor((1.0, 0.0, 0.0, 1.0, 0.0, 0.0), dtype=torch.float64)


def _section(*coefficients: torch.Tensor) -> torch.Tensor:
    """Stack b0 b1 b2 a0 a1 a2 as a last dimension, over a0."""
    a0 = coefficients[3]
    return torch.stack([coefficient / a0 for coefficient in coefficients], dim=-1)


def bell(kind: Bell, hz: torch.Tensor, gain_db: torch.Tensor, q: torch.Tensor, rate: float) -> torch.Tensor:
    """Return peaks or shelves (..., 6) from frequencies, gains and qualities (...), all in float64."""
    top_hz = HIGHEST_OF_RATE * rate
    A = 10.0 ** (torch.where(hz < top_hz, gain_db, torch.zeros_like(gain_db)) / 40.0)
    w0 = 2.0 * math.pi * (hz.clamp_max(top_hz) / rate)
    alpha, cos = torch.sin(w0) / (2.0 * q), torch.cos(w0)
    if kind == "peak":
        middle = -2.0 * cos
        return _section(1.0 + alpha * A, middle, 1.0 - alpha * A, 1.0 + alpha / A, middle, 1.0 - alpha / A)
    up, down, bend = A + 1.0, A - 1.0, 2.0 * torch.sqrt(A) * alpha
    if kind == "low_shelf":
        return _section(
            A * (up - down * cos + bend),
            2.0 * A * (down - up * cos),
            A * (up - down * cos - bend),
            up + down * cos + bend,
            -2.0 * (down + up * cos),
            up + down * cos - bend,
        )
    return _section(
        A * (up + down * cos + bend),
        -2.0 * A * (down + up * cos),
        A * (up + down * cos - bend),
        up - down * cos + bend,
        2.0 * (down - up * cos),
        up - down * cos - bend,
    )


def second_order(kind: Pass, hz: torch.Tensor, q: torch.Tensor, rate: float) -> torch.Tensor:
    """Return passes (..., 6) of two poles from corners and qualities (...), all in float64."""
    w0 = 2.0 * math.pi * (hz / rate)
    alpha, cos = torch.sin(w0) / (2.0 * q), torch.cos(w0)
    middle = -(1.0 + cos) if kind == "high_pass" else 1.0 - cos
    end = (1.0 + cos if kind == "high_pass" else middle) / 2.0
    return _section(end, middle, end, 1.0 + alpha, -2.0 * cos, 1.0 - alpha)


def first_order(kind: Pass, hz: torch.Tensor, rate: float) -> torch.Tensor:
    """Return passes (..., 6) of one pole from corners (...), in float64."""
    omega = torch.tan(math.pi * hz / rate)
    one, none = torch.ones_like(omega), torch.zeros_like(omega)
    ends = (one, -one) if kind == "high_pass" else (omega, omega)
    return _section(*ends, none, 1.0 + omega, omega - 1.0, none)


def cut_over_corner(q: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Return x (batch,): the frequency where a high pass is 3 dB down, over its corner.

    q: (batch,) in float64. slope: (batch,) numbers of SLOPES_DB.
    """
    a = q**-2.0 - 2.0
    of_a_pair = ((a + (a.square() + 4.0).sqrt()) / 2.0).sqrt()
    number = slope.round().long()
    if bool((number == SECOND_ORDER).all()):
        return of_a_pair
    quality, single = _qualities(q, number), _SINGLE[number]
    with torch.no_grad():
        log_t = torch.full_like(q, -_FARTHEST)
        step = 2.0 * _FARTHEST
        for _ in range(_HALVINGS):
            step *= 0.5
            log_t += step * (_over_half(log_t + step, quality, single) < 0.0)
        for _ in range(_NEWTON_STEPS):
            log_t -= _over_half(log_t, quality, single) / _rise(log_t, quality, single)
        rises = _rise(log_t, quality, single)
    log_t = log_t - _over_half(log_t, quality, single) / rises
    return torch.where(number == SECOND_ORDER, of_a_pair, (0.5 * log_t).exp())


def _qualities(q: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Return the qualities (batch, CUT_SECTIONS) of all pairs, 0 where there is none."""
    quality = _QUALITY[number]
    stretched = quality[:, :1] / _QUALITY[SECOND_ORDER, 0] * q[:, None]
    return torch.cat((stretched, quality[:, 1:]), dim=1)


def _over_half(log_t: torch.Tensor, quality: torch.Tensor, single: torch.Tensor) -> torch.Tensor:
    """Return ln(2 |H|^2) (batch,) at ln t (batch,)."""
    t = log_t.exp()[:, None]
    pairs = 2.0 * log_t[:, None] - ((1.0 - t).square() + t * _spread(quality)).log()
    poles = torch.where(quality > 0.0, pairs, torch.where(single, log_t[:, None] - t.log1p(), 0.0))
    return poles.sum(dim=1) + math.log(2.0)


def _rise(log_t: torch.Tensor, quality: torch.Tensor, single: torch.Tensor) -> torch.Tensor:
    """Return the derivative of `_over_half` by ln t."""
    t = log_t.exp()[:, None]
    spread = _spread(quality)
    pairs = 2.0 - t * (2.0 * (t - 1.0) + spread) / ((1.0 - t).square() + t * spread)
    poles = torch.where(quality > 0.0, pairs, torch.where(single, 1.0 / (1.0 + t), 0.0))
    return poles.sum(dim=1)


def _spread(quality: torch.Tensor) -> torch.Tensor:
    """Return 1/Q^2, or 1 where there is no pair, which keeps gradients finite."""
    return torch.where(quality > 0.0, quality, 1.0) ** -2.0


def cut_poles(q: float, slope: int) -> npt.NDArray[np.complex128]:
    """Return the poles (order,) of a cut over its corner, from its Q and the number of its slope."""
    quality = _qualities(torch.tensor([q], dtype=torch.float64), torch.tensor([slope]))[0]
    pairs = [np.roots((1.0, 1.0 / float(v), 1.0)) for v in quality if v > 0.0]
    return np.concatenate([*pairs, [-1.0] * (ORDERS[slope] % 2)]).astype(np.complex128)


def cut(kind: Pass, hz: torch.Tensor, q: torch.Tensor, slope: torch.Tensor, rate: float) -> torch.Tensor:
    """Return the sections (batch, CUT_SECTIONS, 6) of a cut, in float64; those not needed are the identity.

    Parameters
    ----------
    kind: a low cut is a high pass.
    hz, q: (batch,) in float64: where it is 3 dB down, and the quality of its sharpest pair over Butterworth's
        times sqrt(1/2).
    slope: (batch,) numbers of SLOPES_DB.
    rate: in Hz.
    """
    x = cut_over_corner(q, slope)
    clamped = hz.clamp_max(HIGHEST_OF_RATE * rate)
    warped = torch.tan(math.pi * clamped / rate) * (x**-1.0 if kind == "high_pass" else x)
    corner = (rate / math.pi * torch.atan(warped))[:, None]
    number = slope.round().long()
    if bool((number == SECOND_ORDER).all()):
        return torch.cat(
            (second_order(kind, corner, q[:, None], rate), _IDENTITY.expand(len(hz), CUT_SECTIONS - 1, 6)),
            dim=1,
        )
    quality = _qualities(q, number)
    pairs = second_order(kind, corner.expand_as(quality), torch.where(quality > 0.0, quality, 1.0), rate)
    singles = torch.where(_SINGLE[number][..., None], first_order(kind, corner, rate), _IDENTITY)
    return torch.where(quality[..., None] > 0.0, pairs, singles)
