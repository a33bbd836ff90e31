"""Second-order sections away from the CPU, by frequency sampling: `dsp.recurrence.sosfilt`, `dsp.sections`.

    H(z) = prod_s (b0 + b1 z^-1 + b2 z^-2) / (1 + a1 z^-1 + a2 z^-2)

on the damped circle of `fxstyle.device.spectral`, where the error is stated. With d = 1 - z^-1,

    b0 + b1 z^-1 + b2 z^-2 = (b0 + b1 + b2) - (b1 + 2 b2) d + b2 d^2

which keeps all digits of sections at low frequencies (b, a near 1, -2, 1; d near 0): worth 30 to 80 dB.
The denominators keep away from zero, even for poles on the unit circle.

A state-variable section is the bilinear transform, s = d/(g a) with a = 1 + z^-1, of 1, k s and s^2 over
their sum. In its coefficients these three are, but for a common factor,

    low  c3 a^2,        band  (1 - c1 - c3) d a,        high  (1 + c1) d^2
"""

from __future__ import annotations

import torch

from fxstyle.device.spectral import Circle, filtered

_WORK_PER_SECTION = 4
"""Numerator, denominator, ratio and product so far, each over half the circle, twice for the gradient."""


def _polynomial(c0: torch.Tensor, c1: torch.Tensor, c2: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
    """Return c0 + c1 z^-1 + c2 z^-2, (row, section, bin), from coefficients (row, section)."""
    # c0 + c1 first: exact where it matters, since the two differ by less than a factor of two.
    at_one, slope = (c0 + c1) + c2, (c1 + c2) + c2
    return at_one[..., None] + d * (c2[..., None] * d - slope[..., None])


def response(circle: Circle, sos: torch.Tensor) -> torch.Tensor:
    """Return H (row, N // 2 + 1) in complex128 of sos (row, section, 6)."""
    d = circle.difference()
    b0, b1, b2, _, a1, a2 = sos.unbind(dim=2)
    ratios = _polynomial(b0, b1, b2, d) / _polynomial(torch.ones_like(a1), a1, a2, d)
    # One by one: torch.prod looks for zeros before its gradient, for which the device would have to stop.
    product = ratios[:, 0]
    for s in range(1, sos.shape[1]):
        product = product * ratios[:, s]
    return product


def sosfilt(x: torch.Tensor, sos: torch.Tensor) -> torch.Tensor:
    """Filter each row of a batch by its own cascade; as `dsp.recurrence.sosfilt`, on any device.

    Parameters
    ----------
    x: (batch, channel, time), float32 or float64.
    sos: (batch, section, 6): b0 b1 b2 1 a1 a2, on any device; the fourth column is taken to be 1 and gets no
        gradient.

    Returns
    -------
    (batch, channel, time) in the dtype of `x`.
    """
    if sos.shape[1] == 0:
        return x.clone()
    return filtered(x, sos.double().to(x.device), response, _WORK_PER_SECTION * sos.shape[1])


def state_variable(circle: Circle, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return k times the band-pass, and the high-pass, (.., N // 2 + 1) in complex128.

    c: (.., 3) as `dsp.sections.coefficients` returns them: what no frequency and Q make is another filter.
    """
    c1, _, c3 = c[..., None].unbind(dim=-2)
    d = circle.difference()
    a = 2.0 - d
    band, high = ((1.0 - c1) - c3) * (d * a), (1.0 + c1) * (d * d)
    whole = c3 * (a * a) + band + high
    return band / whole, high / whole
