"""Short-time power spectra with a gradient that costs one inverse transform.

    X[t, f] = sum_n w[n] x[tH + n] exp(-2 pi j f n / N),  H = N/2,  w = periodic Hann
    P[t, f] = c |X[t, f]|^2,                              c = 2 / (N sum w^2)

so that a full-scale sine reads 0.5 (its mean square) summed over f. The adjoint for real x is

    dL/dx[tH + n] += w[n] * 2 c Re sum_f (dL/dP[t, f]) X[t, f] exp(+2 pi j f n / N),

an inverse real transform with the bins 0 and N/2 doubled. torch.stft's own gradient takes a complex
transform, pads, and holds several more copies of X: about 2.5 times the time.

On the CPU, sums.py pools the same powers without ever holding a spectrogram; this is its form for other
devices, and what it is checked against.
"""

from __future__ import annotations

from typing import Any, cast

import torch


def power_scale(n_fft: int) -> float:
    """Return c."""
    window = torch.hann_window(n_fft, dtype=torch.float64)
    return 2.0 / float(n_fft * window.square().sum())


class _Power(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, n_fft: int) -> torch.Tensor:
        window = torch.hann_window(n_fft, dtype=x.dtype, device=x.device)
        scale = power_scale(n_fft)
        spectrum = torch.fft.rfft(x.unfold(-1, n_fft, n_fft // 2) * window)
        ctx.save_for_backward(spectrum, window)
        ctx.samples = x.shape[-1]
        return torch.view_as_real(spectrum).square().sum(-1).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        spectrum, window = ctx.saved_tensors
        n_fft = window.shape[0]
        scale = power_scale(n_fft)
        weighted = spectrum * gradients[0].mul(scale * n_fft)
        weighted[..., 0] *= 2.0
        weighted[..., -1] *= 2.0
        frames = torch.fft.irfft(weighted, n_fft) * window
        hop = n_fft // 2
        count = frames.shape[-2]
        out = frames.new_zeros(*frames.shape[:-2], ctx.samples)
        body = out[..., : (count + 1) * hop].unflatten(-1, (count + 1, hop))
        body[..., :-1, :] += frames[..., :hop]
        body[..., 1:, :] += frames[..., hop:]
        return out, None


def power_spectrogram(x: torch.Tensor, n_fft: int) -> torch.Tensor:
    """Power (..., frame, n_fft // 2 + 1) of (..., time >= n_fft), half-overlapping Hann frames.

    Raises ValueError if `x` is shorter than one frame.
    """
    if x.shape[-1] < n_fft:
        raise ValueError(f"{x.shape[-1]} samples are fewer than one frame of {n_fft}")
    # torch's Function.apply carries no types
    return cast(torch.Tensor, _Power.apply(x.contiguous(), n_fft))  # type: ignore[no-untyped-call]
