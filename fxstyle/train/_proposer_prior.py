"""Chains to learn proposals from: fxstyle's own effects, drawn wide in the fit's own coordinates.

An effect's knobs are drawn from what a fit thinks of them before it searches (fit/space.py), made wider or
narrower by a factor of WIDTHS; some are drawn anywhere in their range, and some, in a row of bands all
together, stay at their defaults: engineers turn few. Only what a fit turns is drawn.

An effect counts as present if it is heard, and a knob as known if turning it is: where the sound changes by
less than UNHEARD_DB there is nothing to learn a setting from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from fxstyle import effects
from fxstyle.chain import Chain, Slot
from fxstyle.effect import Effect
from fxstyle.effects import DEFAULT_CHAIN
from fxstyle.errors import FxstyleError
from fxstyle.features.truth_distance import ld
from fxstyle.fit.locks import Locks
from fxstyle.fit.space import Space, Vector
from fxstyle.loudness import LoudnessMeter
from fxstyle.performance import perform
from fxstyle.render import render
from fxstyle.train.content import RATE
from fxstyle.train.units import Sound

LEFT_OUT = ("convolution", "room")
"""Effects that are more than their knobs: a response is chosen, a room is heard (fit/rooms.py)."""

WIDTHS = (0.5, 1.8)
ANYWHERE, STAYING = 0.2, 0.75
"""How often a knob is drawn from all its range; most of the knobs of an effect that stay."""

COUNTS = (0.06, 0.26, 0.26, 0.22, 0.14, 0.06)
"""How often a chain has no effect, one, two, .., the gain not counted."""

USUAL_WEIGHT = 4.0
"""Of effects in the default chain against the others."""

GAIN, GAIN_BACK = 0.5, 0.6
GAIN_BACK_DB, GAIN_DB, LEAST_GAIN_DB = 3.0, 8.0, 0.5
"""How often there is a gain; how often it about restores the loudness; deviations; less is none."""

ORDERS = (
    "gate,deesser,eq,dynamic_eq,compressor,multiband,transient,saturation,tape,bitcrush,chorus,phaser,"
    "tremolo,delay,reverb,fdn,width,limiter,gain",
    "gate,compressor,multiband,transient,deesser,eq,dynamic_eq,saturation,tape,bitcrush,phaser,chorus,"
    "tremolo,delay,reverb,fdn,width,limiter,gain",
    "gate,saturation,bitcrush,eq,dynamic_eq,deesser,compressor,multiband,transient,chorus,phaser,tremolo,"
    "delay,reverb,fdn,tape,width,limiter,gain",
    "gate,deesser,eq,saturation,transient,phaser,compressor,multiband,bitcrush,delay,chorus,tremolo,fdn,"
    "reverb,dynamic_eq,tape,width,limiter,gain",
)
"""A mixing channel; dynamics before tone; an amplifier first; a pedal board."""

ANY_ORDER = 0.15

UNHEARD_DB, UNKNOWN_DB = -30.0, -45.0
"""What an effect, or a knob turned by TURNED of its range, changes at least, relative to the sound."""

TURNED = 0.2
EXCERPT_S = 1.5
"""Sound on which knobs are turned."""

LEVELS_DB = (-50.0, 36.0)
"""An effect that changes the level by more is drawn anew."""

ATTEMPTS = 4
FRAME = 1024
"""Samples of a short-time spectrum."""

MONO_DB = -60.0
_LEAST = 1e-12


@dataclass(frozen=True)
class Drawn:
    """One effect of a chain: positions of the knobs that a fit turns, and which of them are known."""

    name: str
    u: Vector
    known: tuple[bool, ...]


def taught() -> tuple[str, ...]:
    """Return the effects that are drawn."""
    return tuple(name for name in effects.names() if name not in LEFT_OUT)


@cache
def space_of(name: str) -> Space:
    """Return the space of an effect by itself."""
    return Space(Chain((Slot(effects.get(name)),)), Locks())


def slot_of(name: str, u: Vector) -> Slot:
    """Return an effect with its knobs at these positions."""
    return space_of(name).chain(u).slots[0]


def drawn_position(name: str, generator: np.random.Generator) -> Vector:
    """Return positions (knob,) in [0, 1] of an effect's knobs."""
    space = space_of(name)
    width = float(np.exp(generator.uniform(*np.log(WIDTHS))))
    u = space.home + space.factor.numpy() @ generator.normal(0.0, width, space.size)
    u = 1.0 - np.abs(1.0 - np.mod(np.abs(u), 2.0))
    anywhere, staying = generator.random(space.size) < ANYWHERE, generator.random() * STAYING
    wild = generator.random(space.size)
    stays = generator.random(space.size) < staying
    for row in _rows(space, effects.get(name)):
        # bands keep together
        anywhere[row] = False
        stays[row] = stays[row[0]]
    u = np.where(anywhere, wild, u)
    return np.where(stays, space.home, u)


def _rows(space: Space, effect: Effect) -> list[list[int]]:
    at = {knob.param.name: i for i, knob in enumerate(space.knobs)}
    rows = [[at[knob] for knob in row if knob in at] for row in effect.smooth]
    return [row for row in rows if row]


def order_of(generator: np.random.Generator) -> tuple[str, ...]:
    """Return all effects in an order that makes sense, or now and then in any."""
    order = tuple(ORDERS[int(generator.integers(len(ORDERS)))].split(","))
    if generator.random() < ANY_ORDER:
        return (*generator.permutation(order[:-1]).tolist(), order[-1])
    return order


def heard_db(y: Sound, x: Sound) -> float:
    """Return the power by which short-time magnitudes differ, relative to those of x, in dB."""
    return changed_db(_magnitudes(y), _magnitudes(x))


def _magnitudes(x: Sound) -> Sound:
    window = np.hanning(FRAME).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, max(FRAME - x.shape[1], 0))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME, axis=1)[:, :: FRAME // 2]
    made: Sound = np.abs(np.fft.rfft(frames * window, axis=2)).astype(np.float32)
    return made


def changed_db(y: Sound, x: Sound) -> float:
    """Return the power of what differs, relative to x, in dB."""
    power = float(np.square(y - x, dtype=np.float64).mean()) / max(float(np.square(x).mean()), _LEAST)
    return 10.0 * float(np.log10(power + _LEAST))


def loudness_lufs(x: Sound) -> float:
    """Return the integrated loudness of (channel, time) at RATE."""
    meter = LoudnessMeter(RATE, x.shape[0])
    meter.update(x)
    return meter.result().integrated_lufs


def through(slots: Sequence[Slot], x: Sound) -> Sound:
    """Return sound through effects."""
    made: Sound = render(Chain(tuple(slots)), x, RATE).astype(np.float32)
    return made


def drawn_chain(x: Sound, generator: np.random.Generator) -> tuple[list[Drawn], Sound]:
    """Draw a chain that is heard on x (channel, time), and return it with x through it."""
    names, order = taught(), order_of(generator)
    weights = np.array([USUAL_WEIGHT if n in DEFAULT_CHAIN.split(",") else 1.0 for n in names])
    weights[names.index("gain")] = 0.0
    if _is_mono(x):
        weights[[i for i, n in enumerate(names) if only_stereo(n)]] = 0.0
    count = int(generator.choice(len(COUNTS), p=COUNTS))
    chosen = generator.choice(names, size=count, replace=False, p=weights / weights.sum())
    made, y = [], x
    for name in sorted(chosen.tolist(), key=order.index):
        for _ in range(ATTEMPTS):
            u = drawn_position(name, generator)
            wet = _tried(slot_of(name, u), y)
            if wet is not None:
                made.append(Drawn(name, u, _known(name, u, y)))
                y = wet
                break
    gained = _gain(x, y, generator) if generator.random() < GAIN else None
    if gained is not None:
        made.append(gained)
        y = through([slot_of(gained.name, gained.u)], y)
    return made, y


def _is_mono(x: Sound) -> bool:
    return x.shape[0] == 1 or changed_db(x[1:2], x[:1]) < MONO_DB


def only_stereo(name: str) -> bool:
    """Whether an effect does nothing to a mono sound, whatever its knobs."""
    return all(knob.param.stereo for knob in space_of(name).knobs)


def _gain(x: Sound, y: Sound, generator: np.random.Generator) -> Drawn | None:
    if generator.random() < GAIN_BACK:
        gain_db = loudness_lufs(x) - loudness_lufs(y) + generator.normal(0.0, GAIN_BACK_DB)
    else:
        gain_db = generator.normal(0.0, GAIN_DB)
    if not abs(gain_db) > LEAST_GAIN_DB:
        return None
    u = space_of("gain").unit({"gain.gain_db": gain_db})
    return Drawn("gain", u, (True,) * len(u))


def _tried(slot: Slot, x: Sound) -> Sound | None:
    """Return x through an effect; None where nothing is heard of it, or too much."""
    try:
        y = through([slot], x)
    except FxstyleError:
        return None
    if not np.isfinite(y).all() or heard_db(y, x) < UNHEARD_DB:
        return None
    level_db = 10.0 * np.log10((np.square(y).mean() + _LEAST) / (np.square(x).mean() + _LEAST))
    return y if LEVELS_DB[0] < level_db < LEVELS_DB[1] else None


def _known(name: str, u: Vector, x: Sound) -> tuple[bool, ...]:
    """Whether turning a knob is heard, for each."""
    size = min(round(EXCERPT_S * RATE), x.shape[1])
    loud = np.square(x[:, : x.shape[1] // size * size]).reshape(x.shape[0], -1, size).mean(axis=(0, 2))
    short = np.ascontiguousarray(x[:, int(loud.argmax()) * size :][:, :size])
    plain = through([slot_of(name, u)], short)
    # those of rows of bands take long, and are heard where the effect is
    in_rows = {i for row in _rows(space_of(name), effects.get(name)) for i in row}
    known = []
    for i in range(len(u)):
        if i in in_rows:
            known.append(True)
            continue
        turned = u.copy()
        turned[i] += TURNED if u[i] < 0.5 else -TURNED
        known.append(changed_db(through([slot_of(name, turned)], short), plain) > UNKNOWN_DB)
    return tuple(known)


NEUTRAL_LD = 0.02
"""As a distance to what went in this is nothing, and as an improvement too little."""

NEUTRAL_S = 4.0
"""Of fxstyle's own playing, on which it is found; longer than any echo's time."""


def neutral_of(name: str) -> Mapping[str, float]:
    """Return settings at which an effect does the least, as far as they are not its defaults.

    Knobs go to an end or the middle of their range, one after the other, while that leaves a sound clearly
    more as it was.
    """
    x = perform(NEUTRAL_S, RATE, song=0, seed=0)
    space = space_of(name)
    u, moved = space.home, dict[str, float]()
    least = _left(name, u, x)
    while least > NEUTRAL_LD:
        found, i, v = min(((_left(name, v, x), i, v) for i, v in _moved(u)), key=lambda one: one[0])
        if found > least - NEUTRAL_LD:
            break
        u, least = v, found
        knob = space.knobs[i].param.name
        moved[knob] = slot_of(name, u).settings[knob]
    return moved


def _moved(u: Vector) -> Iterator[tuple[int, Vector]]:
    for i in range(len(u)):
        for place in (0.0, 0.5, 1.0):
            v = u.copy()
            v[i] = place
            yield i, v


def _left(name: str, u: Vector, x: Sound) -> float:
    return ld(through([slot_of(name, u)], x), x, RATE)
