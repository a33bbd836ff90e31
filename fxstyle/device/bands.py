"""Dynamic equaliser and de-esser away from the CPU: sections by frequency sampling, envelopes in lanes.

Equations and settings are those of effects/dynamic_eq.py, dsp/ranged.py and effects/deesser.py. What moves
in both are the gains of a section's outputs, never the section: its outputs are filters of the input that
stay as they are (`fxstyle.device.sections.state_variable`), all made of one transform of the sound.
Followers that do not wait for each other, be they of bands or of powers, share one pass of the loop.

All of it is float64; gradients by autograd, but for the loop's. Transforms leave -170 dB of the sound's peak,
or less (`fxstyle.device.spectral`): what is softer has no level of its own.
"""

from __future__ import annotations

from functools import partial

import torch

from fxstyle.device.dynamics import followed, linked
from fxstyle.device.groups import in_groups
from fxstyle.device.sections import state_variable
from fxstyle.device.spectral import Circle, parted
from fxstyle.dsp.levels import DB_PER_NEPER
from fxstyle.dsp.ranged import NEVER_DB
from fxstyle.units import SILENCE_AMPLITUDE

_BYTES_OF_BAND, _BYTES_OF_DEESSER = 225, 385
"""Per sample, of each band and of the de-esser: what they make on their way."""


def _bend(d: torch.Tensor, knee: torch.Tensor) -> torch.Tensor:
    """Return h(d)."""
    half = 0.5 * knee
    # The width never divides where it is 0; there nothing is left to divide.
    width = torch.where(knee > 0.0, knee, 1.0)
    return torch.where(d > half, d, (d + half).clamp_min(0.0).square() / (2.0 * width))


def _moved_db(level_db: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Return the gain at a level (row, channel, time); p: the columns of dsp.ranged."""
    threshold, gain, span, slope, knee = p[..., None, None].unbind(dim=1)
    # A sign of its own: that of a range of 0 is no more 0 here than in dsp.ranged.
    sign = torch.where(span >= 0.0, 1.0, -1.0).to(span)
    moves = slope > 0.0
    reached = torch.where(moves, sign * span / torch.where(moves, slope, 1.0), NEVER_DB)
    d = level_db - threshold
    return gain + sign * slope * (_bend(d, knee) - _bend(d - reached, knee))


def _equalised(x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    samples, circle = x.double(), Circle.of(x)
    bands, _ = state_variable(circle, p[..., :3])
    each = parted(circle, samples, bands)
    # From here on each band is a row of its own.
    b, columns = each.flatten(0, 1), p.flatten(0, 1)
    _, attack, release, link = columns[:, 3:7].unbind(dim=1)
    e = followed(linked(b.abs(), link), attack, release)
    factor = (_moved_db(DB_PER_NEPER * e.log(), columns[:, 7:]) / DB_PER_NEPER).exp()
    return (samples + ((factor - 1.0) * b).reshape(each.shape).sum(dim=1)).to(x.dtype)


def equalise(x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    """Equalise each row of (batch, channel, time) by its own settings (batch, band, 12), on any device."""
    if x.numel() == 0:
        return x.clone()
    bytes_per_row = _BYTES_OF_BAND * settings.shape[1] * x.shape[1] * x.shape[2]
    return in_groups(_equalised, bytes_per_row, x, settings.to(x.device))


def _deessed(knee_db: float, x: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    threshold, span = p[:, 3:5, None, None].unbind(dim=1)
    attack, release, link, window = p[:, 5:].unbind(dim=1)
    samples, circle = x.double(), Circle.of(x)
    section = torch.stack(state_variable(circle, p[:, :3]), dim=1)
    band, high = parted(circle, samples, section).unbind(dim=1)
    both = torch.cat([linked(high.abs(), link), linked(samples.abs(), link)])
    keep = torch.cat([window, window])
    above, every = followed(both.square(), keep, keep).chunk(2)
    level_db = 0.5 * DB_PER_NEPER * (above / (every + SILENCE_AMPLITUDE**2)).log()
    u = ((level_db - threshold) / knee_db + 0.5).clamp(0.0, 1.0)
    # The range comes last: where it is 0 there is a gradient still.
    depth_db = span * followed(u * u * (3.0 - 2.0 * u), attack, release)
    root = (-0.5 / DB_PER_NEPER * depth_db).exp()
    return (samples + ((root - 1.0) * band + (root * root - 1.0) * high)).to(x.dtype)


def deess(x: torch.Tensor, settings: torch.Tensor, knee_db: float) -> torch.Tensor:
    """De-ess each row of (batch, channel, time) by its own settings (batch, 9), on any device.

    knee_db: the width of the curve.
    """
    if x.numel() == 0:
        return x.clone()
    bytes_per_row = _BYTES_OF_DEESSER * x.shape[1] * x.shape[2]
    return in_groups(partial(_deessed, knee_db), bytes_per_row, x, settings.to(x.device))
