"""Dry material in every room of a grid: how its levels would fall, were it played there.

    y(T, L) = x + 10^(L/20) w_T,    w_T = h_T * x,    h_T[n] = sqrt(1 - exp(-2 a)) exp(-a n) N[n],
    a = ln(1000)/(T rate),  N: the noise of `reverb`, all octaves

h_T has the energy of a unit impulse in every octave, so L is the energy of the room over that of the dry
sound, octave by octave. The octaves are linear, z_b(y) = z_b(x) + 10^(L/20) z_b(w_T): one convolution for
each T gives all L. And an octave hardly hears what its neighbours do, so that one grid over (T, L) stands
for all rooms in which T and L differ from octave to octave.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from fxstyle.dsp.convolve import convolve
from fxstyle.dsp.decays import decays
from fxstyle.dsp.lagrange import lagrange_taps
from fxstyle.dsp.noise import noise_bands
from fxstyle.octaves import BANDS
from fxstyle.rooms.slopes import WORK_RATE, energies, frames_of, octave_signals, relative_db, transform_size
from fxstyle.units import NEPERS_OF_60_DB, db_to_amplitude

T60_RANGE_S = (0.1, 8.0)
LEVEL_RANGE_DB = (-24.0, 26.0)
"""From what nobody hears to a room in which the direct sound is lost."""

AT_ONCE = 4
"""Decay times convolved together: more would only take memory."""


def grid(simulations: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return T60 in s (t,), logarithmic, and levels in dB (l,), t = 3/2 l, about `simulations` in all."""
    levels = max(round(math.sqrt(simulations / 1.5)), 2)
    low, high = (math.log(t) for t in T60_RANGE_S)
    t60_s = torch.linspace(low, high, max(round(simulations / levels), 2), dtype=torch.float64).exp()
    return t60_s, torch.linspace(*LEVEL_RANGE_DB, levels, dtype=torch.float64)


def responses(t60_s: torch.Tensor, samples: int) -> torch.Tensor:
    """Return h_T of `samples`, (t, 1, time) in float32."""
    decay = (NEPERS_OF_60_DB / (t60_s.double() * WORK_RATE))[:, None].expand(-1, BANDS).contiguous()
    rows = t60_s.shape[0]
    made = decays(
        (-torch.expm1(-2.0 * decay)).sqrt(),
        decay,
        lagrange_taps(torch.zeros(rows, dtype=torch.float64)),
        noise_bands(WORK_RATE, 1, samples),
        np.zeros(rows, np.int64),
        np.full(rows, samples, np.int64),
        torch.float32,
    )
    return made[..., :samples]


def simulate(dry: torch.Tensor, t60_s: torch.Tensor, level_db: torch.Tensor) -> list[torch.Tensor]:
    """Return for each octave the levels without a floor, (t, l, frame), of dry material at WORK_RATE.

    Parameters
    ----------
    dry: (time,) float32. t60_s: (t,), level_db: (l,): the grid.
    """
    samples = dry.shape[0]
    frames, size = frames_of(samples), transform_size(samples + WORK_RATE // 5)
    direct = octave_signals(dry, size)
    gain = db_to_amplitude(level_db).float()[:, None]
    levels = [torch.empty(t60_s.shape[0], level_db.shape[0], frames) for _ in range(BANDS)]
    for begin in range(0, t60_s.shape[0], AT_ONCE):
        h = responses(t60_s[begin : begin + AT_ONCE], samples)
        wet = octave_signals(convolve(dry.expand(h.shape[0], 1, -1), h), size)
        for b, z in enumerate(wet):
            y = direct[b] + gain * z
            levels[b][begin : begin + AT_ONCE] = relative_db(energies(y, size, b, frames))
    return levels
