"""Stereo width and balance: narrower or wider, with the lows and the highs on their own.

    M = (L + R)/2,   S = (L - R)/2                 mid and side
    L' = g_L (M + width F S),   R' = g_R (M - width F S)
    g_L^2 + g_R^2 = 2,   g_R/g_L = 10^(balance_db/20)
    F = (a + (1 - a) H)(c + (1 - c) G)             a filter of the side; 1 at a = c = 1

    a, c    low_width and high_width: width of what lies below low_hz, or above high_hz, over that of
            the rest
    H, G    s^2/(1 + s)^2 and 1/(1 + s)^2, a high-pass at low_hz and a low-pass at high_hz
    s       j tan(pi f/rate)/tan(pi f0/rate) at the frequency f, for the knob's f0 (rate: samples per
            second)

A width of 0 is mono, 1 leaves the picture as it is, 2 doubles the side. The balance has constant power:
it moves level from one channel to the other so that equally loud channels keep their sum of powers.

A low_width of 0 is mono bass. H and G are S. H. Linkwitz's (JAES 24(1), 1976), 6 dB down at their
frequency and 12 dB per octave; each with its rest, 1 - H or 1 - G, adds up to the whole side, so at 1
nothing is filtered. The price is a bend of the side near low_hz or high_hz, beyond the widths on either
hand: +.6 dB at a width of 2, -1 dB at .5, -3 dB at .2. The mid passes through no filter: as long as the
balance is 0 the sum to mono, L + R, is the same at every width, so nothing is lost there.

Limits. Only a stereo pair has a width: mono and more than two channels pass unchanged, and a mono sound
in two channels has no side to widen. A width above 1 is louder and may go above full scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.dsp.recurrence import SosState, sosfilt, sosfilt_block
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import HIGHEST_OF_RATE, NEPERS_OF_60_DB_DOUBLE, db_to_amplitude, db_to_power, power_to_db

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement

STEREO = 2

_H_AND_G = torch.tensor([[1.0, -2.0, 1.0], [1.0, 2.0, 1.0]], dtype=torch.float64)
"""(1 - 1/z)^2 and (1 + 1/z)^2: zeros at 0 Hz and at half the rate."""

NO_SIDE_DB = -60.0
"""Side this far below the mid is as good as mono: there is nothing to widen or to measure."""


def _matrix(width: torch.Tensor, balance_db: torch.Tensor) -> torch.Tensor:
    """Return (batch, 2, 2) with (L', R') = matrix (L, R)."""
    same, other = (1 + width) / 2, (1 - width) / 2
    left = (2 / (1 + db_to_power(balance_db))).sqrt()
    right = left * db_to_amplitude(balance_db)
    rows = (torch.stack([left * same, left * other], -1), torch.stack([right * other, right * same], -1))
    return torch.stack(rows, -2)


def _sections(
    rate: float,
    low_width: torch.Tensor,
    low_hz: torch.Tensor,
    high_width: torch.Tensor,
    high_hz: torch.Tensor,
) -> torch.Tensor:
    """Return the two factors of F as (batch, 2, 6), as `sosfilt` takes them; at a width of 1 exactly one."""
    corners = torch.stack([low_hz, high_hz], dim=1).double()
    widths = torch.stack([low_width, high_width], dim=1).double()[..., None]
    t = (math.pi * (corners / rate).clamp_max(HIGHEST_OF_RATE)).tan()
    pole = (1 - t) / (1 + t)
    below = torch.stack([torch.ones_like(pole), -2 * pole, pole.square()], dim=2)
    scale = torch.stack([torch.ones_like(t[:, 0]), t[:, 1].square()], dim=1) / (1 + t).square()
    above = widths * below + (1 - widths) * scale[..., None] * _H_AND_G
    return torch.cat([above, below], dim=2)


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    width: torch.Tensor,
    balance_db: torch.Tensor,
    low_width: torch.Tensor,
    low_hz: torch.Tensor,
    high_width: torch.Tensor,
    high_hz: torch.Tensor,
) -> torch.Tensor:
    """Scale the side of each row of (batch, channel, time) and balance the two channels."""
    if x.shape[1] != STEREO:
        return x.clone()
    bands = (low_width, high_width)
    if any(band.requires_grad or bool((band != 1.0).any()) for band in bands):
        mid, side = 0.5 * (x[:, :1] + x[:, 1:]), 0.5 * (x[:, :1] - x[:, 1:])
        side = sosfilt(side, _sections(rate, low_width, low_hz, high_width, high_hz))
        x = torch.cat([mid + side, mid - side], dim=1)
    return _matrix(width.double(), balance_db.double()).to(x) @ x


@lru_cache(maxsize=64)  # the same for every block of a stream, and dearer than a short block
def _numbers(*knobs: float) -> npt.NDArray[np.float64]:
    """Return the matrix (2, 2) of one setting."""
    matrix = np.asarray(_matrix(*(torch.tensor(value, dtype=torch.float64) for value in knobs)))
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=64)
def _filters(rate: float, *knobs: float) -> npt.NDArray[np.float64]:
    """Return the sections (2, 6) of one setting."""
    sos = _sections(rate, *torch.tensor(knobs, dtype=torch.float64)[:, None])[0].numpy()
    sos.setflags(write=False)
    return sos


def render(
    x: Samples,
    rate: float,
    state: SosState | None,
    *,
    width: float,
    balance_db: float,
    low_width: float,
    low_hz: float,
    high_width: float,
    high_hz: float,
) -> tuple[Samples, SosState | None]:
    """Do the same to a block (channel, time)."""
    if x.shape[0] != STEREO:
        return x.copy(), None
    if low_width != 1.0 or high_width != 1.0:
        mid: Samples = 0.5 * (x[:1] + x[1:])
        side: Samples = 0.5 * (x[:1] - x[1:])
        sections = _filters(rate, low_width, low_hz, high_width, high_hz)
        side, state = sosfilt_block(side, sections, state)
        x = np.concatenate([mid + side, mid - side])
    else:
        state = None
    matrix = _numbers(width, balance_db).astype(x.dtype)
    # Written out, since a matrix product may add in another order for another block length.
    y = np.empty(x.shape, x.dtype)
    other = np.empty(x.shape[1], x.dtype)
    for row, channel in zip(matrix, y, strict=True):
        np.multiply(x[0], row[0], out=channel)
        np.multiply(x[1], row[1], out=other)
        np.add(channel, other, out=channel)
    return y, state


_WIDTH = Param(
    "width", "", 0.0, 2.0, default=1.0, stereo=True, help="0: mono, 1: unchanged, 2: the side doubled"
)
_BALANCE_DB = Param(
    "balance_db", "dB", -12.0, 12.0, default=0.0, stereo=True,
    help="level of the right channel over the left; up: to the right",
)  # fmt: skip


_LOW_WIDTH = Param(
    "low_width", "", 0.0, 2.0, default=1.0, fitted=False, stereo=True,
    help="width of the lows, times width; 0 is mono bass, 1 unchanged",
)  # fmt: skip
_LOW_HZ = Param(
    "low_hz", "Hz", 30.0, 600.0, default=120.0, scale="log", fitted=False,
    help="the lows that low_width is for lie below; up: more of the sound",
)  # fmt: skip
_HIGH_WIDTH = Param(
    "high_width", "", 0.0, 2.0, default=1.0, fitted=False, stereo=True,
    help="width of the highs, times width; up: airier, 1 unchanged",
)  # fmt: skip
_HIGH_HZ = Param(
    "high_hz", "Hz", 1000.0, 16_000.0, default=5000.0, scale="log", fitted=False,
    help="the highs that high_width is for lie above; down: more of the sound",
)  # fmt: skip


def _tail_s(settings: Mapping[str, float]) -> float:
    corners_hz = [settings[f"{band}_hz"] for band in ("low", "high") if settings[f"{band}_width"] != 1.0]
    return NEPERS_OF_60_DB_DOUBLE / (2.0 * math.pi * min(corners_hz)) if corners_hz else 0.0


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Guess the width from the ratio of side to mid of both recordings, over all bands."""
    ratios_db = [
        float(
            power_to_db(float(db_to_power(m.side_db).sum())) - power_to_db(float(db_to_power(m.mid_db).sum()))
        )
        for m in (source, reference)
    ]
    if ratios_db[0] < NO_SIDE_DB:
        return {"width": 1.0, "balance_db": 0.0}
    width = db_to_amplitude(ratios_db[1] - ratios_db[0])
    return {"width": min(max(width, _WIDTH.low), _WIDTH.high), "balance_db": 0.0}


EFFECT = Effect(
    name="width",
    summary="Stereo width, of lows and highs apart, and balance",
    params=(_WIDTH, _BALANCE_DB, _LOW_WIDTH, _LOW_HZ, _HIGH_WIDTH, _HIGH_HZ),
    forward=forward,
    render=render,
    # The rounding of two products and their sum, which a matrix product may do in another order.
    tolerance_db=-130.0,
    tail_s=_tail_s,
    start=start,
    linear=True,
    hosts={
        "ffmpeg extrastereo": "m = width and c=0, at balance_db 0 and with low_width and high_width 1;"
        " differs by less than -140 dB"
    },
)
