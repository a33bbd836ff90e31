"""The echoes of `fxstyle.dsp.echo` away from the CPU, by frequency sampling.

    T(z) = z^-d (c_0 + c_1 z^-1 + c_2 z^-2 + c_3 z^-3)
    F(z) = (1 + p)/2 (1 - z^-1)/(1 - p z^-1)  (1 - q)/2 (1 + z^-1)/(1 - q z^-1)
    V(z) = T F / (1 - r T F) U(z)

on the damped circle of `fxstyle.device.spectral`: exact for echoes of any number, with an error stated
there. A pair of channels that crosses over by s is, as mid and side, two lines that do not, with the
feedbacks r and r (1 - 2 s).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fxstyle.device.spectral import Circle, filtered

_STEREO = 2

_WORK = 24
"""Complex arrays that `_line` makes per row, its gradient's included."""


def _line(circle: Circle, coefficients: torch.Tensor) -> torch.Tensor:
    """Return V/U (row, N // 2 + 1) of coefficients (row, 8): taps, r, p, q and d."""
    *taps, r, p, q, whole = coefficients[..., None].unbind(dim=1)
    d = circle.difference()
    z = 1.0 - d
    read = taps[0] + z * (taps[1] + z * (taps[2] + z * taps[3]))
    low = 0.5 * (1.0 + p) * d / ((1.0 - p) + p * d)
    high = 0.5 * (1.0 - q) * (1.0 + z) / ((1.0 - q) + q * d)
    once = circle.delay(whole[:, 0].detach().long()) * read * low * high
    return once / (1.0 - r * once)


def echo(x: torch.Tensor, settings: torch.Tensor, whole: Sequence[int]) -> torch.Tensor:
    """Add echoes to each row of a batch, differentiably.

    Parameters
    ----------
    x: (batch, channel, time), float32 or float64.
    settings: (batch, 9) in float64 as `fxstyle.dsp.echo` takes them, on any device.
    whole: d, one for each row.

    Returns
    -------
    (batch, channel, time) in the dtype of `x`.
    """
    line, (level, cross) = settings[:, :7], settings[:, 7:].to(x).unbind(dim=1)
    own = torch.cat([line, torch.tensor(whole, dtype=torch.float64, device=line.device)[:, None]], dim=1)
    crosses = bool(settings[:, 8].detach().any()) or settings.requires_grad
    if x.shape[1] == _STEREO and crosses:
        v = _crossing(x, own, cross)
    else:
        v = filtered(x, own.to(x.device), _line, _WORK)
    return x + level[:, None, None] * v


def _crossing(x: torch.Tensor, own: torch.Tensor, cross: torch.Tensor) -> torch.Tensor:
    """Return v of a pair of channels, as mid and side."""
    left, right = x.unbind(dim=1)
    s = cross[:, None]
    u_left, u_right = (1.0 - s) * left, (1.0 - s) * right + s * (left + right) / 2.0
    both = torch.cat([u_left + u_right, u_left - u_right])[:, None]
    crossed = torch.cat([torch.ones_like(cross), 1.0 - 2.0 * cross]).to(own)
    lines = torch.cat([own, own])
    lines = torch.cat([lines[:, :4], (crossed * lines[:, 4])[:, None], lines[:, 5:]], dim=1)
    mid, side = filtered(both, lines.to(x.device), _line, _WORK).chunk(2)
    return torch.cat([mid + side, mid - side], dim=1) / 2.0
