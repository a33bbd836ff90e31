"""Tremolo, chorus and phaser away from the CPU: the oscillator and what it sweeps in torch, loops in lanes.

Equations and settings are those of effects/tremolo.py, effects/chorus.py and effects/phaser.py; first
column the oscillator's turns per sample, last its phase. Everything is float64 until the output.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch

from fxstyle.device.feedback import TAPS, allpasses, swept_line
from fxstyle.device.groups import in_groups
from fxstyle.dsp.oscillator import by_channel

_BYTES = 100
"""Per sample, of what they make on their way."""

Swept = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From samples (lane, time) and settings (lane, knob, 1), both float64, to samples (lane, time)."""


def _rows(run: Swept, x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    y = run(x.flatten(0, 1).double(), settings.flatten(0, 1)[..., None])
    return y.to(x.dtype).reshape(x.shape)


def _each(run: Swept, x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    """Run over each row of (batch, channel, time) by its own settings (batch, knob)."""
    by_lane = by_channel(settings, x.shape[1]).to(x.device)
    return in_groups(partial(_rows, run), _BYTES * max(x[:1].numel(), 1), x, by_lane)


def angle(turns: torch.Tensor, phase: torch.Tensor | float, length: int, first: int = 0) -> torch.Tensor:
    """Return the oscillator's angle (lane, time) from the time `first` on, whole turns taken off.

    turns: per sample, (lane, 1) in float64.
    """
    passed = turns * torch.arange(first, first + length, device=turns.device, dtype=torch.float64)
    return (passed - passed.detach().floor()) * (2.0 * math.pi) + phase


def _tremolo(samples: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    turns, depth, sigma, phase = settings.unbind(dim=1)
    turned = angle(turns, phase, samples.shape[1])
    height, across = sigma * turned.sin(), turned.cos()
    wave = height / (across.square() + height.square()).sqrt()
    return samples * (1.0 - 0.5 * depth * (1.0 - wave))


def tremolo(x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    """Modulate each row of (batch, channel, time) by its own settings (batch, 4), which lie on the CPU."""
    return _each(_tremolo, x, settings)


def _chorus(reach: int, samples: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    turns, depth, delay, r, m, least, phase = settings.unbind(dim=1)
    free = delay - depth * angle(turns, phase, samples.shape[1]).sin()
    v = swept_line(samples, torch.where(free > least, free, least.detach()), r[:, 0], reach)
    return (1.0 - m) * samples + m * v


def chorus(x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    """Sweep a delay line over each row of (batch, channel, time) by its own settings (batch, 7)."""
    _, depths, delays, _, _, leasts, _ = settings.detach().unbind(dim=1)
    longest = torch.maximum(depths.abs() + delays, leasts)
    reach = int(longest.max()) + TAPS if longest.numel() else TAPS
    return _each(partial(_chorus, reach), x, settings)


def _phaser(samples: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    turns, swing, centre, r, m, least, most, phase = settings.unbind(dim=1)
    free = (centre - swing * angle(turns, phase, samples.shape[1]).sin()).exp()
    held = torch.clamp(free, least.detach(), most.detach())
    v = allpasses(samples, (held - 0.25 * math.pi).tan(), r[:, 0])
    return (1.0 - m) * samples + m * v


def phaser(x: torch.Tensor, settings: torch.Tensor) -> torch.Tensor:
    """Sweep all-passes over each row of (batch, channel, time) by its own settings (batch, 8)."""
    return _each(_phaser, x, settings)
