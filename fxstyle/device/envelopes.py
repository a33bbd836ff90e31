"""Gate and transient shaper away from the CPU: recursions in lanes, everything else in torch.

Equations and settings are those of effects/gate.py and effects/transient.py. Each of their envelopes is the
one loop that knows a coefficient for rising and one for falling (`fxstyle.device.loops.follow`), 0 where it
follows at once:

    gate       v: up 0, down k_d;  e: up k_attack, down k_release
    transient  f: up k_rise, down k_fall;  q: up k_a, down 0;  r: up 0, down k_r

All of it is float64; gradients by autograd, but for the loop's.
"""

from __future__ import annotations

from functools import partial

import torch

from fxstyle.device.dynamics import each_lane, followed, lanes, linked
from fxstyle.device.groups import in_groups
from fxstyle.device.loops import latest_maximum
from fxstyle.dsp.levels import DB_PER_NEPER

_BYTES_OF_GATE, _BYTES_OF_TRANSIENT = 200, 150
"""Per sample, of what they make on their way."""


def _held(v: torch.Tensor, hold: torch.Tensor) -> torch.Tensor:
    """Return the largest v of the last `hold` = L + f samples: (1 - f) max over L, f max over one more.

    Where the hold is whole f is 1, not 0, unless it is none: the derivative is that from the left.
    """
    channels, length = v.shape[1:]
    whole = (hold.detach().ceil() - 1.0).clamp_min(0.0)
    values, span = lanes(v), each_lane(whole, channels).long()
    held = values.gather(1, latest_maximum(values, span))
    n = torch.arange(length, device=v.device) - span[:, None] - 1
    before = torch.where(n >= 0, values.gather(1, n.clamp_min(0)), 0.0)
    # lerp is exact at both ends: what is held stays the same to the bit, so that nothing rises or falls.
    between = torch.lerp(held, before, each_lane(hold - whole, channels)[:, None])
    return torch.where(before > held, between, held).reshape(v.shape)


def _depth_db(level_db: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Return by how much the gate turns down at a level."""
    threshold, slope, most, knee = p[:, :4, None, None].unbind(dim=1)
    d = threshold - level_db
    width = torch.where(knee > 0.0, knee, 1.0)
    inside = (d <= 0.5 * knee) & (knee > 0.0)
    h = torch.where(inside, (d + 0.5 * knee).square() / (2.0 * width), d)
    depth = torch.where((slope * h < most) | (slope == 0.0), slope * h, most)
    # Above the knee, and with neither ratio nor range, the gate is open: nothing depends on anything.
    return torch.where((d > -0.5 * knee) & ((slope > 0.0) | (most > 0.0)), depth, 0.0)


def _gated(decay: float, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    samples = x.double()
    a = linked(samples.abs(), p[:, 4])
    fall = torch.full_like(p[:, 4], decay)
    v = followed(a.square(), torch.zeros_like(fall), fall)
    e = followed(_held(v, p[:, 7]).sqrt(), p[:, 5], p[:, 6])
    depth_db = _depth_db(DB_PER_NEPER * e.log(), p)
    return ((-depth_db / DB_PER_NEPER).exp() * samples).to(x.dtype)


def gate(x: torch.Tensor, settings: torch.Tensor, decay: float) -> torch.Tensor:
    """Gate each row of (batch, channel, time) by its own settings (batch, 8), on any device.

    decay: k_d, of the detector.
    """
    if x.numel() == 0:
        return x.clone()
    bytes_per_row = _BYTES_OF_GATE * x.shape[1] * x.shape[2]
    return in_groups(partial(_gated, decay), bytes_per_row, x, settings.to(x.device))


def _shaped(length: int, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    attack_db, sustain_db, _, _, _, output_db, _, _ = p[..., None, None].unbind(dim=1)
    attack, release, link, rise, fall = p[:, 2], p[:, 3], p[:, 4], p[:, 6], p[:, 7]
    samples, none = x.double(), torch.zeros_like(link)
    a = linked(samples.abs(), link)
    values = lanes(a)
    at = latest_maximum(values, torch.full((values.shape[0],), length))
    f = followed(values.gather(1, at).reshape(a.shape), rise, fall)
    q, r = followed(f, attack, none), followed(f, none, release)
    gain_db = attack_db * (1.0 - q / f) + sustain_db * (1.0 - f / r) + output_db
    return ((gain_db / DB_PER_NEPER).exp() * samples).to(x.dtype)


def transient(x: torch.Tensor, settings: torch.Tensor, length: int) -> torch.Tensor:
    """Shape each row of (batch, channel, time) by its own settings (batch, 8), on any device.

    length: L, the samples over which the level is held.
    """
    if x.numel() == 0:
        return x.clone()
    bytes_per_row = _BYTES_OF_TRANSIENT * x.shape[1] * x.shape[2]
    return in_groups(partial(_shaped, length), bytes_per_row, x, settings.to(x.device))
