"""The size of a rectangular room and the places in it, from the first reflections of an impulse response.

The response x and the candidates' are aligned to their direct sound and filtered by a pulse without ringing
or mean, the second derivative of a Gaussian; their squares are compared as logarithmic echograms

    E_s(t) = lg(<x^2>_s / e + FLOOR),   J = mean |E_s - E_s'|,   e: of the first DIRECT_S

with <.>_s a Gaussian of deviation s. Candidates, drawn around the effect's defaults, go through two stages,
each a batch of Adam (Kingma & Ba 2015) with the worse ones dropped:

    arrivals   <x^2> is the sum of image sources' energies, (r_0/r)^2 times what walls leave of them, each at
               its arrival time; s narrows. Smooth, for energies do not interfere, and cheap.
    responses  x is the effect's own response, at the narrowest s; this J is the loss that is handed back.

Of one microphone, reflections are the same if axes are exchanged, or if along any one of them the room is
mirrored, or source and microphone exchanged: one room of those is handed back. Walls absorb alike in all
octaves here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.signal
import torch

from fxstyle.dsp.air import speed_of_sound
from fxstyle.dsp.images import axis_tables
from fxstyle.effect import Effect
from fxstyle.errors import AudioError
from fxstyle.fit.known import DIRECT_S
from fxstyle.fit.search import adam_direction
from fxstyle.octaves import BANDS
from fxstyle.rooms.iso3382 import onset

Floats = npt.NDArray[np.float64]
Loss = Callable[[torch.Tensor, float], torch.Tensor]

HIGHEST_RATE = 32_000
"""Pulses of higher rates would be narrower than places can be searched for; of lower ones, they overlap."""

PULSE, REACH = 1.2, 8
"""Of the filter, in samples: the Gaussian's deviation, and where it ends."""

LEAD = 16
"""Samples before the direct sound."""

PEAK_S = 0.001
"""How soon after its onset the direct sound peaks."""

ARRIVALS_S, RESPONSES_S = 0.03, 0.06
"""How much is compared: images of ORDER are most of it for so long; the effect may use noise thereafter."""

ORDER = 5
"""Reflections of an image in the first stage."""

WIDE_S, NARROW_S, LAST_S = 1e-3, 1e-4, 2.5e-4
"""Deviations s: the first stage's at first and in the end, and the second stage's."""

ARRIVALS_FLOOR, RESPONSES_FLOOR = 3e-3, 1e-4
LEVELS = 10
"""Steps in which s narrows."""

PER_START, DRAWN = 80, 4
"""Candidates of the first stage for one of the second, and draws for one of those."""

ARRIVALS_STEP, PLACES_STEP, WALLS_STEP = 0.02, 0.0006, 0.006
"""Shares of a knob's range, by which a first step moves it; places are within millimetres by then."""

REFINED = 1.0 / 3.0
"""Steps of the second stage, as a share of those of the first."""

SCALE_SPREAD = 0.1
"""Rooms are larger or smaller by this share of the range in all directions, besides each in its own."""

WALL_LOSS = 0.3
"""Nepers of energy by which a wall dulls at first."""

LEAST_LOSS, MOST_LOSS = 0.011, 2.8
AT_ONCE, MANY_AT_ONCE = 32, 1024
"""Responses and arrivals compared in one batch: bounds the memory."""

EDGE = 0.005
"""Share of a range that candidates keep from its ends; in metres, the least way of the direct sound."""

SURE, UNSURE = 0.08, 0.13
"""Losses at which the confidence is 1 and 0, after rooms found and missed (bench/rooms_geometry.py)."""


@dataclass(frozen=True)
class Geometry:
    """A room found.

    Attributes
    ----------
    settings: of the sizes, places and walls of the effect. loss: of it. losses: of all candidates, ascending.
    confidence: 0..1, that it is the room, but for its mirror images.
    """

    settings: dict[str, float]
    loss: float
    losses: tuple[float, ...]
    confidence: float


def _pulse() -> torch.Tensor:
    t = torch.arange(-REACH, REACH + 1, dtype=torch.float32) / PULSE
    pulse = (1.0 - t.square()) * (-0.5 * t.square()).exp()
    pulse = pulse - pulse.mean()
    return pulse / pulse.square().sum().sqrt()


def _energies(x: torch.Tensor, rate: float) -> torch.Tensor:
    """Return the squares (row, time) of filtered responses, over the energy of their direct sounds."""
    filtered = torch.nn.functional.conv1d(x[:, None], _pulse()[None, None], padding=REACH)[:, 0]
    return _over_direct(filtered.square(), rate)


def _over_direct(energies: torch.Tensor, rate: float) -> torch.Tensor:
    direct = energies[:, : LEAD + round(DIRECT_S * rate)].sum(dim=1, keepdim=True)
    return energies / direct.clamp_min(torch.finfo(energies.dtype).tiny)


def _aligned(h: npt.NDArray[Any], given_rate: float, rate: int) -> torch.Tensor:
    """Return the first channel (1, time) from LEAD samples before the peak of its direct sound on."""
    x = np.asarray(h, np.float64)[0]
    if not np.isfinite(x).all() or not np.abs(x).max(initial=0.0) > 0.0:
        raise AudioError("the impulse response is silent or not finite")
    if given_rate != rate:
        common = math.gcd(rate, round(given_rate))
        x = scipy.signal.resample_poly(x, rate // common, round(given_rate) // common)
    begin = onset(x[None])
    peak = begin + int(np.abs(x[begin : begin + max(round(PEAK_S * rate), 1)]).argmax())
    count = LEAD + round(RESPONSES_S * rate)
    part = np.pad(x, (LEAD, count))[peak : peak + count] / np.abs(x[peak])
    return torch.from_numpy(part.astype(np.float32))[None]


class _Echogram:
    """Distances from one response's logarithmic echogram at any width."""

    def __init__(self, energies: torch.Tensor, rate: float, floor: float) -> None:
        self._wanted, self._rate, self._floor = energies, rate, floor
        self._made: dict[float, tuple[torch.Tensor, torch.Tensor]] = {}

    def distance(self, energies: torch.Tensor, width_s: float) -> torch.Tensor:
        """Return J (row,) of energies (row, time)."""
        if width_s not in self._made:
            width = width_s * self._rate
            t = torch.arange(self._wanted.shape[1], dtype=torch.float32)
            centres = t[:: max(int(width / 1.5), 1)]
            kernel = (-0.5 * ((t[:, None] - centres) / width).square()).exp()
            self._made[width_s] = kernel, (self._wanted @ kernel + self._floor).log10()
        kernel, wanted = self._made[width_s]
        return ((energies @ kernel + self._floor).log10() - wanted).abs().mean(dim=1)


class _Search:
    """Candidates (row, 15): three sizes, sources, microphones on their knobs' scales, and six walls.

    A wall's position u stands for the nepers LEAST_LOSS + (MOST_LOSS - LEAST_LOSS) u^2 of energy.
    """

    def __init__(self, effect: Effect, heard: torch.Tensor, rate: int) -> None:
        self.effect, self.rate = effect, rate
        axes = effect.geometry
        self.names = (
            *(axis.size for axis in axes),
            *(axis.source for axis in axes),
            *(axis.microphone for axis in axes),
        )
        self.params = [effect.param(name) for name in self.names]
        self.rows = [wall for axis in axes for wall in axis.walls]
        energies = _energies(heard, rate)
        self._early = _Echogram(energies[:, : LEAD + round(ARRIVALS_S * rate)], rate, ARRIVALS_FLOOR)
        self._whole = _Echogram(energies, rate, RESPONSES_FLOOR)
        i = torch.arange(-ORDER, ORDER + 1)
        which = torch.cartesian_prod(i, i, i)
        count = which.abs().sum(dim=1)
        self._which = which[(count <= ORDER) & (count > 0)] + ORDER
        self._speed = float(speed_of_sound(torch.tensor(20.0, dtype=torch.float64)))

    def draw(self, count: int, generator: np.random.Generator) -> torch.Tensor:
        """Return candidates around the effect's defaults; places may be anywhere."""
        home = np.array([p.to_unit(p.default) for p in self.params])
        spread = np.array([p.spread for p in self.params])
        u = home + spread * generator.normal(0.0, 1.0, (count, len(home)))
        u[:, :3] += SCALE_SPREAD * generator.normal(0.0, 1.0, (count, 1))
        u[:, 3:] = generator.uniform(0.05, 0.95, (count, len(home) - 3))
        walls = np.full(
            (count, len(self.rows)), math.sqrt((WALL_LOSS - LEAST_LOSS) / (MOST_LOSS - LEAST_LOSS))
        )
        return torch.from_numpy(np.concatenate([np.clip(u, EDGE, 1.0 - EDGE), walls], axis=1)).float()

    def _walls(self, u: torch.Tensor) -> torch.Tensor:
        return LEAST_LOSS + (MOST_LOSS - LEAST_LOSS) * u[:, len(self.params) :].square()

    def settings(self, u: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the knobs (row,) of candidates."""
        made = {p.name: p.from_unit(u[:, n]) for n, p in enumerate(self.params)}
        absorption = -torch.expm1(-self._walls(u))
        for n, row in enumerate(self.rows):
            for name in row:
                limits = self.effect.param(name)
                made[name] = absorption[:, n].clamp(limits.low, limits.high)
        return made

    def arrivals(self, u: torch.Tensor, width_s: float) -> torch.Tensor:
        """Return J (row,) of energies at the images' arrivals."""
        value = [p.from_unit(u[:, n]) for n, p in enumerate(self.params)]
        size = torch.stack(value[:3], dim=1)
        source, microphone = (torch.stack(value[n : n + 3], dim=1) * size for n in (3, 6))
        beta = (-0.5 * self._walls(u)).exp()[..., None].expand(-1, -1, BANDS)
        x, gains = axis_tables(size, source, microphone, beta, ORDER)
        squares, left = x.square(), gains[..., 0].square()
        i, j, k = self._which.T
        r2 = squares[:, 0, i] + squares[:, 1, j] + squares[:, 2, k]
        direct2 = squares[:, :, ORDER].sum(dim=1, keepdim=True) + EDGE**2
        energy = left[:, 0, i] * left[:, 1, j] * left[:, 2, k] * direct2 / r2
        frames = LEAD + round(ARRIVALS_S * self.rate)
        at = (r2.sqrt() - direct2.sqrt()) * (self.rate / self._speed) + LEAD
        inside = (at < frames - 2) & (at >= 0.0)
        at = at.clamp(0.0, frames - 2.0)
        first = at.detach().floor().long()
        share = at - first
        energy = energy * inside
        grid = torch.zeros(len(u), frames)
        grid[:, LEAD] = 1.0
        grid = grid.scatter_add(1, first, energy * (1.0 - share)).scatter_add(1, first + 1, energy * share)
        return self._early.distance(_over_direct(grid, self.rate), width_s)

    def responses(self, u: torch.Tensor, width_s: float) -> torch.Tensor:
        """Return J (row,) of the effect's responses."""
        knobs = {
            name: torch.full((len(u),), value, dtype=torch.float64)
            for name, value in self.effect.defaults().items()
        }
        knobs |= {name: value.double() for name, value in self.settings(u).items()}
        click = torch.zeros(len(u), 1, round(RESPONSES_S * self.rate))
        click[..., 0] = 1.0
        made = self.effect.forward(click, self.rate, **knobs)[:, 0]
        padded = torch.nn.functional.pad(made, (LEAD, 0))
        return self._whole.distance(_energies(padded, self.rate), width_s)


@torch.no_grad()
def _heard(loss: Loss, u: torch.Tensor, width_s: float, size: int) -> torch.Tensor:
    parts = [loss(part, width_s) for part in torch.split(u, size)]
    return torch.cat(parts).nan_to_num(math.inf)


def _adam(
    loss: Loss,
    u: torch.Tensor,
    step: torch.Tensor,
    widths_s: list[float],
    keep_at: tuple[int, ...],
    tell: Callable[[float], None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return candidates and losses at the last width, best first; the worse half goes at `keep_at`."""
    m, v = torch.zeros_like(u), torch.zeros_like(u)
    best, least = u.clone(), torch.full((len(u),), math.inf)
    steps = len(widths_s)
    for t, width_s in enumerate(widths_s, start=1):
        u.requires_grad_(True)
        value = loss(u, width_s)
        (gradient,) = torch.autograd.grad(value.sum(), u)
        u, gradient = u.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)
        value = value.detach().nan_to_num(math.inf)
        if width_s == widths_s[-1]:
            better = value < least
            best, least = torch.where(better[:, None], u, best), torch.where(better, value, least)
        m, v, direction = adam_direction(m, v, gradient, t)
        fall = 0.5 * (1.02 + math.cos(math.pi * t / steps))
        u = (u - fall * step * direction).clamp(EDGE, 1.0 - EDGE)
        if t in keep_at:
            kept = value.argsort(stable=True)[: (len(u) + 1) // 2]
            u, m, v, best, least = u[kept], m[kept], v[kept], best[kept], least[kept]
        tell(t / steps)
    order = least.argsort(stable=True)
    return best[order], least[order]


def confidence(loss: float) -> float:
    """Return how sure a room with a loss is, 0..1."""
    return min(max((UNSURE - loss) / (UNSURE - SURE), 0.0), 1.0)


def find_geometry(
    effect: Effect,
    h: npt.NDArray[Any],
    rate: float,
    *,
    starts: int = 24,
    steps: int = 150,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Geometry:
    """Find the room of an impulse response.

    Parameters
    ----------
    effect: one with a `geometry`. h: (channel, time), of which the first channel is searched. rate: Hz.
    starts: candidates whose responses are made; PER_START times as many have their arrivals compared.
    steps: of the first stage. seed: repeats a run. progress: called with the share done.

    Raises
    ------
    ValueError: an effect without a geometry. AudioError: a response that is silent or not finite.
    """
    if not effect.geometry:
        raise ValueError(f"{effect.name} has no geometry")
    threads = torch.get_num_threads()
    # tensors are small: where others want the processor too, threads wait for each other most of the time
    torch.set_num_threads(1)
    try:
        return _found(effect, h, rate, starts, steps, seed, progress or (lambda share: None))
    finally:
        torch.set_num_threads(threads)


def _found(
    effect: Effect,
    h: npt.NDArray[Any],
    rate: float,
    starts: int,
    steps: int,
    seed: int,
    tell: Callable[[float], None],
) -> Geometry:
    at = min(round(rate), HIGHEST_RATE)
    search = _Search(effect, _aligned(h, rate, at), at)
    drawn = search.draw(DRAWN * PER_START * starts, np.random.default_rng(seed))
    coarse = _heard(search.arrivals, drawn, WIDE_S, MANY_AT_ONCE)
    u = drawn[coarse.argsort(stable=True)[: PER_START * starts]]
    narrowing = [min(1.15 * t / max(steps - 1, 1), 1.0) for t in range(steps)]
    widths_s = [WIDE_S * (NARROW_S / WIDE_S) ** (round(LEVELS * share) / LEVELS) for share in narrowing]
    u, _ = _adam(
        search.arrivals, u, torch.tensor(ARRIVALS_STEP), widths_s, (steps // 3, 2 * steps // 3),
        lambda share: tell(0.6 * share),
    )  # fmt: skip
    # half of them for their arrivals, half for their responses
    fine = _heard(search.responses, u, LAST_S, AT_ONCE)
    chosen = list(range((starts + 1) // 2))
    chosen += [n for n in fine.argsort(stable=True).tolist() if n not in chosen][: starts - len(chosen)]
    count = max(round(REFINED * steps), 1)
    step = torch.tensor([PLACES_STEP] * len(search.params) + [WALLS_STEP] * len(search.rows))
    u, losses = _adam(
        search.responses, u[chosen], step, [LAST_S] * count, (), lambda share: tell(0.6 + 0.4 * share)
    )
    settings = {name: float(value[0]) for name, value in search.settings(u[:1].double()).items()}
    loss = float(losses[0])
    return Geometry(settings, loss, tuple(losses.tolist()), confidence(loss))
