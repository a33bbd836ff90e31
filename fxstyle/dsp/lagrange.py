"""Delays between samples: the four weights of cubic interpolation, differentiable in the fraction.

    y[n] = sum_{j<4} c_j x[n - d - j]

T. I. Laakso et al., "Splitting the unit delay", IEEE SPM 13(1), 1996, eq. 42.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

LAGRANGE_TAPS = 4
"""Cubic interpolation: the longest of these filters whose error is still even around the middle."""


_ALMOST = 1.0 - 1e-12
"""What rounding may do to a delay is less than that."""


def lagrange_split(delay: float, longest: float = math.inf) -> int:
    """Return the whole part d of a delay in samples; the fraction delay - d goes to `lagrange_taps`.

    The fraction is in [1, 2), the middle of the four taps, where the gain never exceeds one; only
    below one sample of delay, where no tap may look ahead, is it in [0, 1).

    At a whole delay the weights have a bend, and the derivative is that towards longer delays. From `longest`
    on, which is as far as a knob goes, it is that towards shorter ones: there the fraction is in (1, 2].
    """
    whole = int(delay / _ALMOST) if delay < longest * _ALMOST else math.ceil(delay * _ALMOST) - 1
    return max(whole - 1, 0)


def lagrange_taps(fraction: torch.Tensor) -> torch.Tensor:
    """Return weights (..., 4) so that sum_j c_j x[n - d - j] is x delayed by d + fraction samples.

    Half-way between two samples, the worst place, a sine of frequency rate/40, /20, /10, /5 comes out
    with an error of -97, -73, -49, -26 dB; its level is wrong by less than .04 dB up to rate/10 and by
    -1.1 dB at rate/4 (measured on the transfer function).
    """
    t = fraction
    return torch.stack(
        [
            -(t - 1) * (t - 2) * (t - 3) / 6,
            t * (t - 2) * (t - 3) / 2,
            -t * (t - 1) * (t - 3) / 2,
            t * (t - 1) * (t - 2) / 6,
        ],
        dim=-1,
    )


def lagrange(
    delay: torch.Tensor, longest: float | Sequence[float] = math.inf
) -> tuple[npt.NDArray[np.int64], torch.Tensor]:
    """Return whole delays d (row,) and weights (row, 4) for delays in samples, (row,) in float64.

    longest: as far as the knob goes, in samples: one for all or one for each row.
    """
    most = [longest] * delay.shape[0] if isinstance(longest, int | float) else longest
    whole = np.array(
        [lagrange_split(value, end) for value, end in zip(delay.tolist(), most, strict=True)], np.int64
    )
    return whole, lagrange_taps(delay - torch.from_numpy(whole).to(delay.device))
