"""The sine that sweeps modulated effects: a function of time alone.

    angle(n) = 2 pi f n + phase        f in turns per sample, n from the beginning of the stream

At multiples of SYNC samples it is computed afresh, after the whole turns are taken off; in between, the
addition theorem turns it by angles that are the same in every block (`circles`):

    sin(a + b) = sin a cos b + cos a sin b        cos(a + b) = cos a cos b - sin a sin b

So it neither drifts in hours of sound nor depends on how a stream is cut, and costs four products a
sample, in a loop of fixed length that runs on the processor's lanes.

Effects that it sweeps take settings whose first column is f and whose last is the phase, which is heard in
the second channel, the fourth, ...; the first, the third, ... have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numba import njit

from fxstyle.dsp.kernel import each_channel

SYNC = 64
"""Samples between two exact values."""

Floats = npt.NDArray[np.float64]


def circles(turns: npt.NDArray[Any]) -> Floats:
    """Return sine and cosine of the first SYNC angles at each f of `turns` (..), as (.., 2, SYNC)."""
    angles = 2.0 * np.pi * turns[..., None].astype(np.float64) * np.arange(SYNC)
    return np.stack([np.sin(angles), np.cos(angles)], axis=-2)


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def oscillate(turns: float, phase: float, begin: int, circle: Floats, wave: Floats) -> None:
    """Fill rows 0, 1 of `wave` (.., SYNC) with sine and cosine from time `begin` on, a multiple of SYNC.

    circle: (2, SYNC), what `circles` returns for these turns.
    """
    passed = turns * begin
    angle = 2.0 * math.pi * (passed - math.floor(passed)) + phase
    s, c = math.sin(angle), math.cos(angle)
    for k in range(SYNC):
        wave[0, k] = s * circle[1, k] + c * circle[0, k]
        wave[1, k] = c * circle[1, k] - s * circle[0, k]


def by_channel(settings: torch.Tensor, channels: int) -> torch.Tensor:
    """Return settings (batch, channel, knob) from (batch, knob): the phase, by turns, or none."""
    turns = torch.arange(channels) % 2
    phase = settings[:, None, -1:] * turns[:, None]
    return torch.cat([settings[:, None, :-1].expand(-1, channels, -1), phase], dim=2)


def sweep(
    x: torch.Tensor,
    settings: torch.Tensor,
    run: Callable[..., None],
    adjoint: Callable[..., None],
    *,
    pairs: bool = False,
) -> torch.Tensor:
    """Apply the kernel of a swept effect to (batch, channel, time), differentiably.

    Parameters
    ----------
    settings: (batch, knob) in float64.
    run: run(x, settings, circle, y) fills y (time,) from one channel's settings (knob,).
    adjoint: adjoint(dy, x, settings, circle, dx, dsettings) fills dx and adds to dsettings.
    pairs: as `each_channel` takes it.
    """
    lanes = by_channel(settings, x.shape[1])
    return each_channel(x, lanes, circles(lanes.detach()[..., 0].numpy()), run, adjoint, pairs=pairs)


def swept(settings: torch.Tensor, channels: int) -> tuple[Floats, Floats]:
    """Return settings (channel, knob) and circles (channel, 2, SYNC) from one row (1, knob), to render by."""
    rows = by_channel(settings, channels)[0].numpy()
    return rows, circles(rows[:, 0])
