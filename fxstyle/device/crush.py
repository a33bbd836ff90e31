"""The bit-crusher's staircase away from the CPU, in torch: all instants at once, then each sample's own.

Equations, rounding and the straight-through gradient are those of effects/bitcrush.py:

    t_k = k h,  j = floor(t_k),  a = t_k - j,  v_k = x[j] + a (x[j+1] - x[j]),  q_k = D round(v_k/D)
    y[j] = a q_{k-1} + (1 - a) q_k,     y[n] = q_k until the next instant
    dq_k/dv_k = 1,   dq_k/ds = -(q_k - v_k)/s with s = 1/D
"""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.functional import pad

from fxstyle.device.groups import in_groups

_BYTES = 130
"""Per sample and instant, of what it makes on its way."""


def _instant(hold: torch.Tensor, length: int) -> torch.Tensor:
    """Return the last k with floor(k h) <= n, (batch, time) in float64, by the products that place them."""
    n = torch.arange(length, device=hold.device, dtype=torch.float64)
    k = ((n + 1.0) / hold).floor()
    k = torch.where((k * hold).floor() > n, k - 1.0, k)
    return torch.where(((k + 1.0) * hold).floor() <= n, k + 1.0, k)


def _crushed(most: int, x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    length = x.shape[2]
    scale, hold = settings[..., None].unbind(dim=1)
    place = torch.arange(most, device=x.device) * hold
    j = place.detach().floor()
    a = (place - j)[:, None]
    at = j.long().clamp_max(length)[:, None].expand(-1, x.shape[1], -1)
    padded = pad(x, (0, 2)).double()
    here = padded.gather(2, at)
    v = (here + a * (padded.gather(2, at + 1) - here)).to(x.dtype)
    up = scale.detach().to(x.dtype)
    down = (1.0 / up.double()).to(x.dtype)
    with torch.no_grad():
        level = torch.round(v * up[:, None]) * down[:, None]
        error = (level - v).double()
    # What is added is zero, but for its gradient.
    smaller = (scale.detach() / scale - 1.0)[:, None]
    q = level + (v - v.detach()) + (error * smaller).to(x.dtype)
    k = _instant(hold.detach(), length).long()
    now, last = _picked(q, k), _picked(pad(q, (1, 0)), k)
    begins = j.gather(1, k) == torch.arange(length, device=x.device)
    share = torch.where(begins, a[:, 0].gather(1, k), 0.0)[:, None]
    return (share * last.double() + (1.0 - share) * now.double()).to(x.dtype)


def crush(x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    """Crush each row of a batch, differentiably.

    Parameters
    ----------
    x: (batch, channel, time), float32 or float64.
    settings: (batch, 2) in float64: 1/D and h, on any device.

    Returns
    -------
    (batch, channel, time) in the dtype of `x`.
    """
    if x.numel() == 0:
        return x.clone()
    most = int((x.shape[2] - 1) / float(settings[:, 1].detach().min())) + 2
    bytes_per_row = _BYTES * x.shape[1] * (x.shape[2] + most) // 2
    return in_groups(partial(_crushed, most), bytes_per_row, x, settings.to(x.device))


def _picked(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    return q.gather(2, k[:, None].expand(-1, q.shape[1], -1))
