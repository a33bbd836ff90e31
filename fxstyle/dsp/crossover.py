"""The Linkwitz-Riley split into three bands that sum to an all-pass.

With Butterworth low-, high- and all-passes at low_hz (1) and high_hz (2), second order, of one denominator
each,

    low = AP_2 LP_1^2 x,    mid = LP_2^2 HP_1^2 x,    high = HP_2^2 HP_1^2 x

As s^4 + 1 = (s^2 + sqrt 2 s + 1)(s^2 - sqrt 2 s + 1), LP^2 + HP^2 = AP (Linkwitz & Riley, "Active crossover
networks for noncoincident drivers", JAES 24(1), 1976), so that low + mid + high = AP_1 AP_2 x: flat, and
neighbours are in phase, each 6 dB down, where they cross. With g = tan(pi f/rate) and the bilinear transform,

    LP, HP, AP = (g^2 (1 + z)^2,  (1 - z)^2,  a2 + a1 z + z^2)/(1 + a1 z + a2 z^2),    z one sample of delay,
    a1 = 2 (g^2 - 1)/n,   a2 = (1 - sqrt 2 g + g^2)/n,   n = 1 + sqrt 2 g + g^2        (LP, HP over n)

Nothing asks for low_hz < high_hz. The sum is the same product in either order; as high_hz moves below
low_hz the middle band fades away (by 24 dB per octave and side) and the other two meet at low_hz.

Speed. Up to eight sections cost what one costs (dsp.recurrence), so each band is a cascade of its own:
three passes. A kernel of the five state-variable sections that would do (HP^2 = AP - LP^2) took as long.
"""

from __future__ import annotations

import math

import torch

from fxstyle.dsp.recurrence import Floats, SosState, sosfilt, sosfilt_block
from fxstyle.dsp.sections import BUTTERWORTH
from fxstyle.effect import Samples
from fxstyle.units import HIGHEST_OF_RATE

BANDS = 3


def design(rate: float, low_hz: torch.Tensor, high_hz: torch.Tensor) -> torch.Tensor:
    """Coefficients (batch, band, 4, 6) in float64 from frequencies (batch,), differentiably.

    Frequencies beyond HIGHEST_OF_RATE are taken to be there.
    """
    return _designs(rate, low_hz, high_hz)[0]


def design_sum(rate: float, low_hz: torch.Tensor, high_hz: torch.Tensor) -> torch.Tensor:
    """Coefficients (batch, 2, 6) of AP_1 AP_2, the sum of the bands that `design` splits into."""
    return _designs(rate, low_hz, high_hz)[1]


def _designs(rate: float, low_hz: torch.Tensor, high_hz: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the bands (batch, band, 4, 6) and their sum (batch, 2, 6)."""
    hz = torch.stack((low_hz, high_hz), dim=1).double().clamp_max(HIGHEST_OF_RATE * rate)
    g = torch.tan(math.pi / rate * hz)
    n = 1.0 / (1.0 + BUTTERWORTH * g + g * g)
    one, off = torch.ones_like(g), torch.zeros_like(g)
    a1, a2, low, high = 2.0 * (g * g - 1.0) * n, (1.0 - BUTTERWORTH * g + g * g) * n, g * g * n, n

    def sections(b0: torch.Tensor, b1: torch.Tensor, b2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        both = torch.stack((b0, b1, b2, one, a1, a2), dim=2)
        return both[:, 0], both[:, 1]

    low_1, low_2 = sections(low, 2.0 * low, low)
    high_1, high_2 = sections(high, -2.0 * high, high)
    all_1, all_2 = sections(a2, a1, one)
    identity = torch.stack((one, off, off, one, off, off), dim=2)[:, 0]
    cascades = (
        (low_1, low_1, all_2, identity),
        (high_1, high_1, low_2, low_2),
        (high_1, high_1, high_2, high_2),
    )
    bands = torch.stack([torch.stack(cascade, dim=1) for cascade in cascades], dim=1)
    return bands, torch.stack((all_1, all_2), dim=1)


def split(x: torch.Tensor, sos: torch.Tensor) -> torch.Tensor:
    """Split each row of a batch at its own frequencies, differentiably.

    Parameters
    ----------
    x: (batch, channel, time), float32 or float64, on the CPU.
    sos: (batch, band, 4, 6) as `design` returns it.

    Returns
    -------
    (batch, band, channel, time) in the dtype of `x`; the bands are low, mid, high.
    """
    lots = x[:, None].expand(-1, BANDS, -1, -1)
    return sosfilt(lots.flatten(0, 1), sos.flatten(0, 1)).reshape(lots.shape)


def split_block(
    x: Samples, sos: Floats, state: tuple[SosState, ...] | None
) -> tuple[list[Samples], tuple[SosState, ...]]:
    """Split a block (channel, time) of a stream by a row of `design`, by the same kernel as `split`.

    Returns
    -------
    Three bands (channel, time) in the dtype of `x`, and the state; the given state is not changed.
    """
    before = (None,) * BANDS if state is None else state
    done = [sosfilt_block(x, cascade, past) for cascade, past in zip(sos, before, strict=True)]
    return [band for band, _ in done], tuple(past for _, past in done)
