"""Oversampled curves away from the CPU: `dsp.waveshaper.shape` in torch.

Curves and settings are those of dsp/waveshaper.py, filters those of dsp/oversample.py. With zeros
between the samples, U is a filter at the highest rate M = 2^J, and D its transpose over M; half-bands are
symmetric, so both have the real transfer function

    prod_{j<J} (1 + 2 sum_{i<K_j} h_ji cos((2i + 1) w 2^(J-1-j)))

where w is the angle of the highest rate. Both are applied by transforms in the sound's precision, whose
error is -130 dB of its peak in float32. tanh and sin are the library's.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch
from torch.nn.functional import pad

from fxstyle.device.groups import in_groups
from fxstyle.dsp.oversample import COUNTS, LATE, TAPS
from fxstyle.dsp.waveshaper import CURVES, SOFT_LIMIT

_CUBE = 4.0 / 27.0

_BYTES = 45
"""Per sample at the highest rate, of what it makes on its way in float32."""


def _response(stages: int, count: int) -> npt.NDArray[np.float64]:
    """Return the transfer function of U and of M D at w = 2 pi k / count, k = 0 .. count // 2."""
    angle = 2.0 * np.pi * np.arange(count // 2 + 1) / count
    response = np.ones_like(angle)
    for j, taps in enumerate(np.split(TAPS, np.cumsum(COUNTS)[:-1])[:stages]):
        odd = 2 * np.arange(taps.size) + 1
        at = angle * 2 ** (stages - 1 - j)
        # One cosine per tap: their sum needs no table of all of them.
        response *= 1.0 + 2.0 * sum(h * np.cos(k * at) for h, k in zip(taps, odd, strict=True))
    return response


def _curve(kind: str, u: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return f(u) of (row, channel, time); bias: (row, 1, 1)."""
    if kind == "fold":
        return u.sin()
    if kind == "soft":
        v = u.clamp(-SOFT_LIMIT, SOFT_LIMIT)
        return v - _CUBE * v * v * v
    t = u.tanh()
    return t / (1.0 + bias * t) if kind == "tube" else t


def _bent(kind: str, stages: int, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    drive, output, bias = p[:, :3, None, None].to(x.dtype).unbind(dim=1)
    if stages == 0:
        return output * _curve(kind, drive * x, bias)
    times, length = 1 << stages, x.shape[2]
    count = times * scipy.fft.next_fast_len(length + 2 * LATE[stages], real=True)
    response = torch.as_tensor(_response(stages, count), device=x.device).to(x.dtype)
    stuffed = pad(x[..., None], (0, times - 1)).flatten(2)
    u = torch.fft.irfft(torch.fft.rfft(stuffed, n=count) * response, n=count)
    bent = torch.fft.rfft(_curve(kind, drive * u, bias)) * response
    y: torch.Tensor = torch.fft.irfft(bent, n=count)
    return output / times * y[..., : times * length : times]


def shape(x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    """Apply to each row of x (batch, channel, time) its own curve, as `dsp.waveshaper.shape` does.

    settings: (batch, 5) in float64, on any device; finding out which curves they ask for costs a wait if
    they do not lie on the CPU.
    """
    if x.numel() == 0:
        return x.clone()
    asked = [(int(kind), int(stages)) for kind, stages in settings[:, 3:].detach().tolist()]
    kinds = sorted(set(asked))
    if len(kinds) == 1:
        kind, stages = kinds[0]
        width = math.ceil(x.element_size() / 4)
        bytes_per_row = width * _BYTES * (1 << stages) * x.shape[1] * (x.shape[2] + 2 * LATE[stages])
        run = partial(_bent, CURVES[kind], stages)
        return in_groups(run, bytes_per_row, x, settings[:, :3].to(x.device))
    y = torch.empty_like(x)
    for one in kinds:
        rows = torch.tensor([i for i, other in enumerate(asked) if other == one])
        there = rows.to(x.device)
        y = y.index_copy(0, there, shape(x[there], settings[rows.to(settings.device)]))
    return y
