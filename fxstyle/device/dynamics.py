"""The compressor of `dsp.dynamics` away from the CPU: recursions in lanes, everything else in torch.

Equations and settings are those of `dsp.dynamics`, `dsp.detector` and `dsp.curve`. Both one-poles
of the side chain and attack and release are one and the same loop (`fxstyle.device.loops.follow`): with
up = down it is linear. The high-pass's state is such a one-pole: s[n] = s[n-1] + 2 G (x[n] - s[n-1]).
Recursions are in float64, curve and power in the sound's precision. Gradients are autograd's, but for loops.
"""

from __future__ import annotations

from functools import partial

import torch

from fxstyle.device.groups import in_groups
from fxstyle.device.loops import follow
from fxstyle.dsp.recurrence import TINY

_LOUDEST = 2.0**100
"""Levels are not above the beginning of the knee by more than this; float32 holds powers up to 2^127."""

_BYTES, _BYTES_LISTENING, _BYTES_AHEAD = 140, 80, 40
"""Per sample, of what is made on the way; the latter two with a side chain and with look-ahead."""


def lanes(x: torch.Tensor) -> torch.Tensor:
    """View (batch, channel, time) as (lane, time)."""
    return x.flatten(0, 1)


def each_lane(column: torch.Tensor, channels: int) -> torch.Tensor:
    """Return a column (batch,) once for each channel, (lane,)."""
    return column.repeat_interleave(channels)


def linked(d: torch.Tensor, link: torch.Tensor) -> torch.Tensor:
    """Return the linked levels of (batch, channel, time).

    Of equal maxima the first channel's gets the gradient.
    """
    loudest = d[:, 0]
    for c in range(1, d.shape[1]):
        loudest = torch.where(d[:, c] > loudest, d[:, c], loudest)
    share = link[:, None, None]
    return ((1.0 - share) * d + share * loudest[:, None]).clamp_min(TINY)


def followed(a: torch.Tensor, up: torch.Tensor, down: torch.Tensor, first: float = 0.0) -> torch.Tensor:
    """Run `follow` over (batch, channel, time), with coefficients (batch,)."""
    channels = a.shape[1]
    return follow(lanes(a), each_lane(up, channels), each_lane(down, channels), first).reshape(a.shape)


def _heard(x: torch.Tensor, cut: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Return the detector's level d of the high-passed x, (batch, channel, time) in float64."""
    pole = 1.0 - 2.0 * cut
    slow = followed(x, pole, pole)
    late = torch.nn.functional.pad(slow[..., :-1], (1, 0))
    h = (1.0 - cut)[:, None, None] * (x - late)
    square = followed(h.square() + TINY * TINY, keep, keep)
    return torch.where(keep[:, None, None] > 0.0, square.sqrt(), h.abs())


def _turned(level: torch.Tensor, p: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the octaves to turn down, for a slope of 1, in `dtype`, from levels in float64."""
    threshold, _, knee = p[:, :3, None, None].unbind(dim=1)
    ratio = (level * (0.5 * knee - threshold).exp2()).clamp(1.0, _LOUDEST).to(dtype)
    above = ratio.log2()
    knee = knee.to(dtype)
    # The width never divides where it is 0; at or below the knee's beginning nothing depends on it.
    width = torch.where(knee > 0.0, knee, 1.0)
    return torch.where(above <= knee, above.square() / (2.0 * width), above - 0.5 * knee)


def _gain(x: torch.Tensor, p: torch.Tensor, listens: bool, laws: frozenset[float]) -> torch.Tensor:
    """Return q of x (batch, channel, time)."""
    link, attack, release, law = p[:, 3], p[:, 4], p[:, 5], p[:, 6, None, None]
    samples = x.double()
    d = _heard(samples, p[:, 11], p[:, 12]) if listens else samples.abs()
    a = linked(d, link)
    level = followed(a, attack, release) if 0.0 in laws else a
    r = _turned(torch.where(law == 0.0, level, a) if len(laws) > 1 else level, p, x.dtype)
    if 1.0 in laws:
        smooth = followed(r.double() + TINY, attack, release).to(x.dtype)
        r = torch.where(law == 1.0, smooth, r) if len(laws) > 1 else smooth
    # The slope at last: where it is 0 there is a gradient still.
    return (-p[:, 1, None, None].to(x.dtype) * r).exp2()


def _compressed(
    listens: bool, laws: frozenset[float], longest: int, x: torch.Tensor, p: torch.Tensor
) -> torch.Tensor:
    wet, dry, ahead, delay = p[:, 7:11, None, None].unbind(dim=1)
    delay = delay.detach()
    q = _gain(torch.nn.functional.pad(x, (0, longest)), p, listens, laws)
    if longest > 0:
        n = torch.arange(x.shape[2], device=x.device)
        at = (n + delay.long()).expand_as(x)
        share = (delay - ahead).to(x.dtype)
        q = (1.0 - share) * q.gather(2, at) + share * q.gather(2, (at - 1).clamp_min(0))
    return (wet.to(x.dtype) * q + dry.to(x.dtype)) * x


def compress(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Compress each row of x (batch, channel, time) by its own row of `dsp.dynamics.settings`.

    x: float32 or float64. p: (batch, 14), on any device; reading what kind of settings they are costs a wait
    if they do not lie on the CPU.
    """
    if x.numel() == 0:
        return x.clone()
    fixed = p.detach()
    listens, laws = bool(fixed[:, 13].any()), frozenset(fixed[:, 6].tolist())
    longest = int(fixed[:, 10].max())
    bytes_per_sample = _BYTES + _BYTES_LISTENING * listens + _BYTES_AHEAD * (longest > 0)
    bytes_per_row = bytes_per_sample * x.shape[1] * (x.shape[2] + longest)
    run = partial(_compressed, listens, laws, longest)
    return in_groups(run, bytes_per_row, x, p.to(x.device))
