"""The response of a rectangular room: image sources early, noise that fades by directions late.

    h = highpass((images - direct) cos(w) + noise sin(w)) + direct,   w = pi/2 sin^2(pi/2 u)
    u = (t - t_mix)/FADE_S within 0..1,   t_mix = min(mixing, N/(c |(1/L_x, 1/L_y, 1/L_z)|) - t_direct) >= 0

t counts from the arrival of the direct sound. Images of up to N reflections are complete within the ball that
fits into the octahedron they fill, hence the second term: where they run out, noise takes over, whatever was
asked for. w crosses over at equal power, and begins and ends smoothly.

Microphones d metres from the first one hear the noise of their own and that of the first as a diffuse field
has it, with a coherence of about sin(k d)/(k d), k = 2 pi f_b/c:

    cos(phi) N_0 + sin(phi) N_c,   phi = min(k d/sqrt 3, pi/2)

which is the same to third order and departs by .22 at most. Images are in phase at low frequencies, where a
real room's modes are not, so all but the direct sound passes HIGH_PASS_HZ, two poles. A microphone nearer to
the source than LEAST_DISTANCE_M hears it as from there.

Pressures are those of a source of pressure 1/(4 pi r). See fxstyle.dsp.images, directions and air.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from fxstyle.dsp.air import DB_PER_NEPER, absorption_db_per_m, speed_of_sound
from fxstyle.dsp.biquad import second_order
from fxstyle.dsp.directions import (
    decay_rates,
    directions,
    energies,
    lattice_gain,
    noise_at,
    shaped_noise,
    time_to_fall_s,
    volume,
)
from fxstyle.dsp.images import axis_tables, image_sources
from fxstyle.dsp.recurrence import sosfilt
from fxstyle.errors import SettingError
from fxstyle.octaves import BANDS, CENTRES_HZ

WALLS = ("left", "right", "front", "back", "floor", "ceiling")
"""x = 0, x = length, y = 0, y = width, z = 0, z = height."""

FADE_S = 0.01
SHORTEST_MIXING_S, LONGEST_MIXING_S = 0.03, 0.12
FEWEST, MOST = 3, 17
"""Reflections of an image."""

HIGH_PASS_HZ, HIGH_PASS_Q = 40.0, 0.5**0.5
LEAST_DISTANCE_M = 0.01

STEP_S = 0.001
"""The fading of the noise is computed at these instants, with straight lines between."""

STREAMS = 4
"""Independent noises; from the fifth microphone on those of the second to fourth are used again."""

END_DB, LONGEST_S = 80.0, 10.0
"""The response is cut where its slowest band is so far down."""

_LENGTHS_PER_OCTAVE = 4.0
"""Lengths are rounded up to one of so many, so that they hardly ever jump while a fit turns a knob."""

_EARLIER = 40
"""Samples that a physical response begins before its direct sound, which may lie between two samples."""

_LEAST_ENERGY = 1e-40
"""Of what has faded away: a root needs a derivative."""

_MOST_ABSORPTION = 1.0 - 1e-12


class Shoebox(NamedTuple):
    """Rooms, one per row of a batch; tensors in float64 on the CPU.

    Attributes
    ----------
    size, source: (row, 3) metres. microphones: (row, channel, 3).
    apart: (row, channel), metres of each microphone from the first.
    absorption: (row, wall, band) shares of energy, 0..1.
    scatter: (row,) 0..1. mixing_s: (row,) seconds after the direct sound.
    orders: of each row, FEWEST .. MOST.
    temperature_c, humidity_percent: (row,).
    """

    size: torch.Tensor
    source: torch.Tensor
    microphones: torch.Tensor
    apart: torch.Tensor
    absorption: torch.Tensor
    scatter: torch.Tensor
    mixing_s: torch.Tensor
    orders: list[int]
    temperature_c: torch.Tensor
    humidity_percent: torch.Tensor


class _Rooms(NamedTuple):
    """What follows from a Shoebox: reflection factors, speed, nepers per metre, decay rates of each row."""

    beta: torch.Tensor
    speed: torch.Tensor
    air: torch.Tensor
    rates: torch.Tensor


def _rooms(box: Shoebox) -> _Rooms:
    beta = (1.0 - box.absorption.clamp_max(_MOST_ABSORPTION)).sqrt()
    speed = speed_of_sound(box.temperature_c)
    hz = torch.tensor(CENTRES_HZ, dtype=torch.float64)
    air = absorption_db_per_m(hz, box.temperature_c, box.humidity_percent) / DB_PER_NEPER
    rates = decay_rates(box.size, beta, speed, box.scatter) + 2.0 * (air * speed[:, None])[:, None]
    return _Rooms(beta, speed, air, rates)


def decay_s(box: Shoebox, fall_db: float) -> torch.Tensor:
    """Return the seconds (row,) in which the slowest band falls by `fall_db`, at most LONGEST_S."""
    return time_to_fall_s(_rooms(box).rates, fall_db, LONGEST_S)


def direct_distance_m(box: Shoebox) -> torch.Tensor:
    """Return metres from source to microphone (row, channel), softened at LEAST_DISTANCE_M."""
    away = box.microphones - box.source[:, None]
    return (away.square().sum(dim=2) + LEAST_DISTANCE_M**2).sqrt()


def _lengths(rates: torch.Tensor, rate: float) -> torch.Tensor:
    """Return the samples (row,) of each response."""
    seconds = time_to_fall_s(rates, END_DB, LONGEST_S).clamp_min(1e-3)
    rounded = 2.0 ** ((seconds.log2() * _LENGTHS_PER_OCTAVE).ceil() / _LENGTHS_PER_OCTAVE)
    return (rounded.clamp_max(LONGEST_S) * rate).ceil().long()


def _crossing(
    box: Shoebox, speed: torch.Tensor, direct_s: torch.Tensor, since_s: torch.Tensor
) -> torch.Tensor:
    """Return the angle w (row, channel, time) from times since the direct sound."""
    order = torch.tensor(box.orders, dtype=torch.float64)
    complete_s = order / (speed * box.size.reciprocal().square().sum(dim=1).sqrt())
    mixing_s = torch.minimum(box.mixing_s[:, None], (complete_s[:, None] - direct_s).clamp_min(0.0))
    u = ((since_s - mixing_s[..., None]) / FADE_S).clamp(0.0, 1.0)
    return math.pi / 2.0 * (math.pi / 2.0 * u).sin().square()


def _late(
    box: Shoebox,
    rooms: _Rooms,
    begin_s: torch.Tensor,
    loss: torch.Tensor,
    rate: float,
    span: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return the fading noise (row, channel, span) from begin_s (row, channel) after emission on."""
    rows, channels = begin_s.shape
    step = max(round(STEP_S * rate), 1)
    count = -(-span // step) + 1
    even = rooms.speed / (4.0 * math.pi * volume(box.size))
    # where walls scatter there are no images to stand on a lattice
    uneven = 1.0 + (1.0 - box.scatter[:, None]) * (lattice_gain(rooms.beta) - 1.0)
    share = directions()[1][:, None] * (even[:, None] * uneven)[:, None]
    walls = rooms.rates - 2.0 * (rooms.air * rooms.speed[:, None])[:, None]
    weights = share[:, None] * (-walls[:, None] * begin_s[..., None, None]).exp() * loss.square()[:, :, None]
    rates = rooms.rates[:, None].expand_as(weights)
    energy = energies(weights.flatten(0, 1), rates.flatten(0, 1), step / rate, count)
    amplitude = ((energy + _LEAST_ENERGY) / rate).sqrt().reshape(rows, channels, count, BANDS)
    within = torch.arange(count) * step < _lengths(rooms.rates, rate)[:, None]
    amplitude = amplitude * within[:, None, :, None]
    waves = 2.0 * math.pi * torch.tensor(CENTRES_HZ, dtype=torch.float64) / rooms.speed[:, None]
    phi = (box.apart[..., None] * waves[:, None] / math.sqrt(3.0)).clamp_max(math.pi / 2.0)[:, :, None]
    both = torch.stack([phi.cos() * amplitude, phi.sin() * amplitude], dim=2).flatten(0, 1)
    streams = min(channels, STREAMS)
    own = [1 + (c - 1) % (STREAMS - 1) if c else 0 for c in range(channels)] * rows
    noise = noise_at(rate, streams, span)
    made = shaped_noise(both, own, noise, step=step, span=span, dtype=dtype)
    return made.reshape(rows, channels, span)


def _response(
    box: Shoebox,
    rate: float,
    dtype: torch.dtype,
    begin_s: torch.Tensor,
    loss: torch.Tensor,
    frames: int | None,
) -> torch.Tensor:
    """Return all but the direct sound, (row, channel, time), from begin_s (row, channel) after emission on.

    loss: (row, channel, band), what air has taken from the bands until then.
    """
    rows = begin_s.shape[0]
    rooms = _rooms(box)
    direct_s = direct_distance_m(box) / rooms.speed[:, None]
    early_span = math.ceil((LONGEST_MIXING_S + FADE_S) * rate) + _EARLIER
    span = max(int(_lengths(rooms.rates, rate).max()), early_span)
    span = span if frames is None else min(span, frames)
    early = _images(box, rooms, rate, dtype, begin_s, loss, box.orders, early_span, direct=False)
    late = _late(box, rooms, begin_s, loss, rate, span, dtype)
    since_s = torch.arange(early_span) / rate + (begin_s - direct_s)[..., None]
    angle = _crossing(box, rooms.speed, direct_s, since_s).to(dtype)
    mixed = early * angle.cos()
    heard = min(span, early_span)
    first = mixed[..., :heard] + late[..., :heard] * angle[..., :heard].sin()
    whole = torch.cat([first, late[..., heard:]], dim=-1)
    corner, quality = (torch.tensor([v], dtype=torch.float64) for v in (HIGH_PASS_HZ, HIGH_PASS_Q))
    return sosfilt(whole, second_order("high_pass", corner, quality, rate).expand(rows, 1, 6))


def _images(
    box: Shoebox,
    rooms: _Rooms,
    rate: float,
    dtype: torch.dtype,
    begin_s: torch.Tensor,
    loss: torch.Tensor,
    orders: list[int],
    span: int,
    direct: bool,
) -> torch.Tensor:
    rows, channels = begin_s.shape

    def each(values: torch.Tensor) -> torch.Tensor:
        return values.repeat_interleave(channels, dim=0)

    microphones = box.microphones.flatten(0, 1)
    x, gains = axis_tables(each(box.size), each(box.source), microphones, each(rooms.beta), max(orders))
    along_x = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)[:, None, None]
    gains = gains * (along_x * (loss.flatten(0, 1)[:, None, None] - 1.0) + 1.0)
    made = image_sources(
        x, gains, each(rooms.air), each(rooms.speed), begin_s.flatten(),
        orders=[order for order in orders for _ in range(channels)],
        rate=rate, span=span, dtype=dtype, direct=direct,
    )  # fmt: skip
    return made.reshape(rows, channels, span)


def reflections(box: Shoebox, rate: float, dtype: torch.dtype, frames: int | None = None) -> torch.Tensor:
    """Return what follows the direct sound (row, channel, time), over its gain and from its arrival on.

    Parameters
    ----------
    rate: Hz. dtype: of the result. frames: samples wanted at most; those there are do not depend on it.

    Differentiable in all that is a tensor in `box`.
    """
    distance = direct_distance_m(box)
    none = torch.ones(*distance.shape, BANDS, dtype=torch.float64)
    begin_s = distance / speed_of_sound(box.temperature_c)[:, None]
    made = _response(box, rate, dtype, begin_s, none, frames)
    return made * (4.0 * math.pi * distance)[..., None].to(dtype)


def shoebox(
    rate: float,
    size: torch.Tensor,
    source: torch.Tensor,
    microphones: torch.Tensor,
    absorption: torch.Tensor,
    *,
    scatter: torch.Tensor,
    mixing_s: torch.Tensor,
    order: int,
    temperature_c: torch.Tensor,
    humidity_percent: torch.Tensor,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """Return the responses of rooms from the moment of emission on, direct sound included.

    Parameters
    ----------
    rate: Hz.
    size, source: (row, 3) metres. microphones: (row, channel, 3).
    absorption: (row, 6, 8) shares of energy, of WALLS in the octaves CENTRES_HZ.
    scatter: (row,) 0..1. mixing_s: (row,) seconds after the direct sound.
    order: most reflections of an image, FEWEST .. MOST. temperature_c, humidity_percent: (row,).

    Returns
    -------
    (row, channel, time), on the scale of a pressure of 1/(4 pi r) at r metres; differentiable.

    Raises
    ------
    SettingError: a room that cannot be, naming the field, the value and its range.
    """
    given = [size, source, microphones, absorption, scatter, mixing_s, temperature_c, humidity_percent]
    size, source, microphones, absorption, scatter, mixing_s, warm, wet = (value.double() for value in given)
    _check(size, source, microphones, absorption, order)
    for field, value, low, high in (
        ("scatter", scatter, 0.0, 1.0),
        ("mixing_s", mixing_s, SHORTEST_MIXING_S, LONGEST_MIXING_S),
        ("temperature_c", warm, -40.0, 60.0),
        ("humidity_percent", wet, 1.0, 100.0),
    ):
        _within(field, value, low, high)
    apart = torch.linalg.vector_norm(microphones - microphones[:, :1], dim=2)
    orders = [order] * size.shape[0]
    box = Shoebox(size, source, microphones, apart, absorption, scatter, mixing_s, orders, warm, wet)
    rooms = _rooms(box)
    arrival = direct_distance_m(box) / rooms.speed[:, None] * rate
    begin = (arrival.detach().floor() - _EARLIER).clamp_min(0.0)
    loss = (-rooms.air[:, None] * (rooms.speed[:, None] * begin / rate)[..., None]).exp()
    direct = _images(
        box, rooms, rate, dtype, begin / rate, loss, [0] * len(orders), 2 * _EARLIER, direct=True
    )
    rest = _response(box, rate, dtype, begin / rate, loss, None)
    whole = rest + torch.nn.functional.pad(direct, (0, rest.shape[-1] - direct.shape[-1]))
    shifts = begin.long()
    longest = int(shifts.max())
    rows = [
        torch.nn.functional.pad(part, (shift, longest - shift))
        for part, shift in zip(whole.flatten(0, 1), shifts.flatten().tolist(), strict=True)
    ]
    return torch.stack(rows).reshape(*shifts.shape, -1)


LARGEST_M = 200.0


def _within(field: str, value: torch.Tensor, low: float, high: float, unit: str = "") -> None:
    """Raise SettingError if a value is outside low .. high, or no number."""
    wrong = ~((value >= low) & (value <= high))
    if wrong.any():
        first = tuple(np.argwhere(wrong.numpy())[0].tolist())
        place = f"{field}[{', '.join(map(str, first))}]"
        number, limit = (f"{v:g} {unit}".rstrip() for v in (value[first].item(), high))
        raise SettingError(f"{place} = {number} is outside {low:g}..{limit}")


def _check(
    size: torch.Tensor, source: torch.Tensor, microphones: torch.Tensor, absorption: torch.Tensor, order: int
) -> None:
    """Raise SettingError for a room that cannot be."""
    if not FEWEST <= order <= MOST:
        raise SettingError(f"order = {order} is outside {FEWEST}..{MOST}")
    for axis, name in enumerate(("length_m", "width_m", "height_m")):
        _within(name, size[:, axis], 1e-1, LARGEST_M, "m")
    _within("absorption", absorption, 0.0, 1.0)
    apart_m = torch.linalg.vector_norm(microphones - source[:, None], dim=2)
    if (apart_m < LEAST_DISTANCE_M).any():
        raise SettingError(
            f"a microphone is {apart_m.min().item():g} m from the source; keep {LEAST_DISTANCE_M:g} m away"
        )
    for field, places in (("source", source[:, None]), ("microphones", microphones)):
        for axis, name in enumerate("xyz"):
            inside = (places[..., axis] > 0.0) & (places[..., axis] < size[:, None, axis])
            if not inside.all():
                row, which = np.argwhere(~inside.numpy())[0].tolist()
                raise SettingError(
                    f"{field} {name} = {places[row, which, axis].item():g} m is not inside the room,"
                    f" which reaches from 0 to {size[row, axis].item():g} m there"
                )
