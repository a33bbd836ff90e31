"""Stereo width and balance, as a mixture of mid and side.

    M = (L + R)/2,   S = (L - R)/2
    L' = g_L (M + w S),   R' = g_R (M - w S)
    g_L^2 + g_R^2 = 2,    g_R / g_L = 10^(b/20)

w = 0 is mono, 1 leaves the picture as it is, 2 doubles the side. The balance b has constant power:
turning it moves level from one channel to the other, so that equally loud channels keep their sum of
powers. Memoryless and linear.

Only a pair of channels has a width: mono and more than two channels pass unchanged.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.units import db_to_amplitude, db_to_power, power_to_db

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement

STEREO = 2

NO_SIDE_DB = -60.0
"""Side this far below the mid is as good as mono: there is nothing to widen or to measure."""


def _matrix(width: torch.Tensor, balance_db: torch.Tensor) -> torch.Tensor:
    """Return (batch, 2, 2) with (L', R') = matrix (L, R)."""
    same, other = (1 + width) / 2, (1 - width) / 2
    left = (2 / (1 + db_to_power(balance_db))).sqrt()
    right = left * db_to_amplitude(balance_db)
    rows = (torch.stack([left * same, left * other], -1), torch.stack([right * other, right * same], -1))
    return torch.stack(rows, -2)


def forward(x: torch.Tensor, rate: float, *, width: torch.Tensor, balance_db: torch.Tensor) -> torch.Tensor:
    """Scale the side of each row of (batch, channel, time) and balance the two channels."""
    if x.shape[1] != STEREO:
        return x.clone()
    return _matrix(width.double(), balance_db.double()).to(x.dtype) @ x


@lru_cache(maxsize=64)  # the same for every block of a stream, and dearer than a short block
def _numbers(*knobs: float) -> npt.NDArray[np.float64]:
    """Return the matrix (2, 2) of one setting."""
    return np.asarray(_matrix(*(torch.tensor(value, dtype=torch.float64) for value in knobs)))


def render(x: Samples, rate: float, state: None, *, width: float, balance_db: float) -> tuple[Samples, None]:
    """Do the same to a block (channel, time)."""
    if x.shape[0] != STEREO:
        return x.copy(), None
    matrix = _numbers(width, balance_db).astype(x.dtype)
    # Written out, since a matrix product may add in another order for another block length.
    return np.stack([row[0] * x[0] + row[1] * x[1] for row in matrix]), None


_WIDTH = Param("width", "", 0.0, 2.0, default=1.0, help="0 mono, 1 unchanged, 2 side doubled")
_BALANCE_DB = Param(
    "balance_db", "dB", -12.0, 12.0, default=0.0, help="level of the right channel over the left"
)


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
    summary="Stereo width and balance",
    params=(_WIDTH, _BALANCE_DB),
    forward=forward,
    render=render,
    # The rounding of two products and their sum, which a matrix product may do in another order.
    tolerance_db=-130.0,
    start=start,
)
