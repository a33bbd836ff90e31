"""The look-ahead limiter of effects/limiter.py away from the CPU: one recursion in lanes, the rest in torch.

Equations and settings are those of effects/limiter.py, dsp/lookahead.py and dsp/truepeak.py. Here

* the seven values between two samples are seven filters, applied to one transform of the sound;
* the minimum over a window is the loop `fxstyle.device.loops.latest_maximum`;
* instant attack and smooth release is `fxstyle.device.loops.follow` with up = k, down = 0;
* a moving average is a difference of sums of s - 1, which is 0 to the bit where nothing was reduced.

Levels are in the sound's precision (the transform's error: -130 dB of its peak), gains in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import scipy.fft
import torch
from torch.nn.functional import pad

from fxstyle.device.groups import in_groups
from fxstyle.device.loops import follow, latest_maximum
from fxstyle.dsp.truepeak import HALF, eighths

_BYTES, _BYTES_BETWEEN = 100, 150
"""Per sample, of what it makes on its way; with peaks between samples."""


def _between(x: torch.Tensor) -> torch.Tensor:
    """Return the largest |value| between each sample and the next of (batch, channel, time)."""
    length = x.shape[2]
    taps = torch.as_tensor(eighths(), device=x.device)
    count = scipy.fft.next_fast_len(length + taps.shape[1], real=True)
    # Tap k weighs x[n + k - HALF]: its transform is turned, and sees the sound the other way round.
    lag = pad(taps, (0, count - taps.shape[1])).roll(-HALF, dims=1)
    spectrum = torch.fft.rfft(x, n=count)
    response = torch.fft.rfft(lag).conj().to(spectrum.dtype)
    values: torch.Tensor = torch.fft.irfft(spectrum[..., None, :] * response, n=count)[..., :length]
    return values.abs().max(dim=2).values


def _levels(x: torch.Tensor, reach: int) -> torch.Tensor:
    """Return m (batch, time) of the samples, and what lies between them if reach > 0."""
    level = x.abs()
    if reach > 0:
        after = _between(x)
        level = torch.maximum(level, torch.maximum(after, pad(after[..., :-1], (1, 0))))
    loudest = level[:, 0]
    for c in range(1, level.shape[1]):
        loudest = torch.where(level[:, c] > loudest, level[:, c], loudest)
    return loudest


def _average(s: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Return the mean of s[n-A] .. s[n], (row, time), of A = length (row, 1); s was 1 before."""
    sums = pad((s - 1.0).cumsum(dim=1), (1, 0))
    n = torch.arange(s.shape[1], device=s.device)
    return 1.0 + (sums[:, 1:] - sums.gather(1, (n - length).clamp_min(0))) / (length + 1)


def _limited(reach: int, longest: int, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    drive, ceiling, release = p[:, 0], p[:, 1], p[:, 2]
    ahead = p[:, 3].detach().long()
    delay = ahead + 2 * reach
    level = drive[:, None] * _levels(pad(x, (reach, longest - reach)), reach).double()
    high = level > ceiling[:, None]
    asked = torch.where(high, ceiling[:, None] / torch.where(high, level, 1.0), 1.0)
    least = asked.gather(1, latest_maximum(-asked, delay))
    s = follow(least, release, torch.zeros_like(release), 1.0)
    first = ahead // 2 if reach > 0 else ahead
    g = _average(s, first[:, None])
    if reach > 0:
        g = _average(g, (ahead - first)[:, None])
    now = g.gather(1, torch.arange(x.shape[2], device=x.device) + delay[:, None])
    y = (drive[:, None] * now)[:, None] * x.double()
    # The ceiling takes off what rounding adds, and nothing of the gradient.
    bound = ceiling.detach()[:, None, None]
    return (y.detach().clamp(-bound, bound) + (y - y.detach())).to(x.dtype)


def limit(x: torch.Tensor, settings: torch.Tensor, reaches: Sequence[int]) -> torch.Tensor:
    """Limit each row of (batch, channel, time) by its own settings, differentiably, aligned.

    Parameters
    ----------
    x: float32 or float64.
    settings: (batch, 4) in float64: drive, ceiling, release's coefficient, look-ahead in samples.
    reaches: R of each row: 0 for samples alone.
    """
    if x.numel() == 0:
        return x.clone()
    kinds = sorted(set(reaches))
    if len(kinds) == 1:
        reach = kinds[0]
        longest = int(settings[:, 3].detach().max()) + 2 * reach
        size = x.shape[1] * (x.shape[2] + longest)
        run = partial(_limited, reach, longest)
        return in_groups(run, (_BYTES + _BYTES_BETWEEN * (reach > 0)) * size, x, settings.to(x.device))
    y = torch.empty_like(x)
    for kind in kinds:
        rows = torch.tensor([i for i, reach in enumerate(reaches) if reach == kind])
        some, there = settings[rows.to(settings.device)], rows.to(x.device)
        y = y.index_copy(0, there, limit(x[there], some, [kind] * rows.numel()))
    return y
