"""Bands of noise that decay, as in dsp/decays.py, and convolution with them, away from the CPU; in torch.

    s_k[n] = sum_b g_b exp(-a_b n) N_kb[n]  for n < length,   delayed by d and four taps

A band's envelope is computed in float64 and rounded to the sound's precision.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch
from torch.nn.functional import pad

from fxstyle.device.groups import in_groups

_BYTES_PER_BAND, _BYTES_PER_STREAM, _BYTES = 30, 20, 20
"""Per sample, of what is made on the way to a response, and by a convolution."""

_NOISE: dict[tuple[torch.device, int], tuple[npt.NDArray[np.float32], torch.Tensor]] = {}
"""The last noise that went to a device, by number of streams."""


def _on_device(noise: npt.NDArray[np.float32], device: torch.device) -> torch.Tensor:
    """Return (stream, band, time) on the device, copied only if it is not the one of the last time."""
    key = (device, noise.shape[0])
    kept = _NOISE.get(key)
    if kept is None or kept[0] is not noise:
        kept = _NOISE[key] = (noise, torch.tensor(noise, device=device))
    return kept[1]


def _shaped(
    noise: torch.Tensor,
    end: int,
    gain: torch.Tensor,
    decay: torch.Tensor,
    taps: torch.Tensor,
    whole: torch.Tensor,
    lengths: torch.Tensor,
) -> torch.Tensor:
    n = torch.arange(noise.shape[2], device=noise.device)
    there = n < lengths[:, None]
    out = noise.new_zeros(())
    for b in range(gain.shape[1]):
        envelope = gain[:, b, None] * (-decay[:, b, None] * n).exp()
        out = out + torch.where(there, envelope, 0.0).to(noise.dtype)[:, None] * noise[:, b]
    # One sample in front, and room behind, to read silence from.
    source = pad(out, (1, 0))
    reach = taps.shape[1] - 1
    at = torch.arange(-reach, end, device=noise.device) - whole[:, None] + 1
    at = torch.where(at < source.shape[2], at, 0).clamp_min(0)
    late = source.gather(2, at[:, None].expand(-1, source.shape[1], -1))
    weights = taps.to(noise.dtype)[..., None, None]
    return sum(weights[:, j] * late[..., reach - j : reach - j + end] for j in range(reach + 1))  # type: ignore[return-value]  # sum begins with the number 0


def streams(
    gain: torch.Tensor,
    decay: torch.Tensor,
    taps: torch.Tensor,
    noise: npt.NDArray[np.float32],
    whole: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """Return the responses made of each stream (batch, stream, time), differentiably.

    Parameters
    ----------
    gain, decay: (batch, band) in float64. taps: (batch, 4) in float64. All on any device.
    noise: (stream, band, at least the longest length).
    whole, lengths: whole delays and undelayed lengths in samples, one for each row.
    dtype, device: of the result.
    """
    constants = [torch.from_numpy(value) for value in (whole, lengths)]
    longest = int(constants[1].max())
    end = int((constants[0] + constants[1]).max()) + taps.shape[1] - 1
    fixed = _on_device(noise, device)[..., :longest].to(dtype)
    values: list[Any] = [value.to(device) for value in (gain, decay, taps, *constants)]
    bytes_per_row = longest * (_BYTES_PER_BAND * gain.shape[1] + _BYTES_PER_STREAM * noise.shape[0])
    return in_groups(partial(_shaped, fixed, end), bytes_per_row, *values)


def convolve(x: torch.Tensor, ir: torch.Tensor) -> torch.Tensor:
    """Convolve each signal of x (batch, channel, time) with its own ir (batch, channel, taps).

    As `fxstyle.dsp.convolve.convolve`, on any device.
    """
    if x.shape[-1] == 0:
        return x.clone()
    heard = ir[..., : x.shape[-1]]
    bytes_per_row = _BYTES * x.shape[1] * (x.shape[-1] + heard.shape[-1])
    return in_groups(_convolved, bytes_per_row, x, heard)


def _convolved(x: torch.Tensor, ir: torch.Tensor) -> torch.Tensor:
    count = scipy.fft.next_fast_len(x.shape[-1] + ir.shape[-1] - 1, real=True)
    spectrum = torch.fft.rfft(x, n=count) * torch.fft.rfft(ir, n=count)
    y: torch.Tensor = torch.fft.irfft(spectrum, n=count)
    return y[..., : x.shape[-1]]
