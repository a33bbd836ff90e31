"""The known fit: settings of a reverb whose impulse response measures as a given one does.

Per octave b, the decay time T_b and the clarity C_b at 50 ms of the response are measured (ISO 3382-1). A
reverb that can be asked for decays and levels (`Effect.of_decays`) is asked for them, its own response is
measured in the same way, and what it is asked for is corrected by what came out, a few times over:

    T_b <- T_b (wanted/measured decay)^alpha
    L_b <- L_b - alpha (wanted - measured clarity) (1 + L_b (1 - q_b)),     q_b = exp(-2 ln(1000) .05 s/T_b)

The factor is that of a reverb of fading noise of energy L over the dry sound, of which q is still to come
after 50 ms:  10^(C/10) = (1 + L - L q)/(L q).  Its inverse is the closed form from which the turns begin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fxstyle.effect import Effect
from fxstyle.errors import AudioError
from fxstyle.octaves import BANDS
from fxstyle.rooms.iso3382 import Decay, measure_response, onset
from fxstyle.units import NEPERS_OF_60_DB, db_to_power, power_to_db

Floats = npt.NDArray[np.float64]

TURNS = 14
ALPHA = 0.8
"""Below 1: octaves are filters with skirts, and correcting one moves its neighbours."""

MOST_STEP_DB, MOST_RATIO = 6.0, 2.0
"""Of one turn."""

DIRECT_S = 0.0025
"""The direct sound: reflections before it is over are part of it."""

EARLY_S = 0.05
MOST_LEVEL_DB = 12.0
"""Beyond, the dry sound is not heard, and clarity hardly moves with the level any more."""

LEAST_LEVEL_DB = -40.0

MOST_TONE_DB = 9.0
"""Of an octave's level over the median: what clarity cannot be reached is not to be paid for in colour."""

GOOD_T60, GOOD_C50_DB = 0.05, 0.5
"""Errors that count 1: about what the ear can just tell (ISO 3382-1, table A.1: 5 % and 1 dB)."""

MOST_ERROR = 6.0
"""An octave that is out of reach, such as one without direct sound, is not to decide about the others."""

FLOOR = 1e-12


@dataclass(frozen=True)
class Wanted:
    """What is to be reached, (octave,) each; an octave that cannot be measured takes after the nearest one.

    Attributes
    ----------
    t60_s, c50_db: decay time and clarity. sure: whether they were measured there.
    figure: by octave, which decay time it is: "t30_s", "t20_s" or "edt_s".
    """

    t60_s: Floats
    c50_db: Floats
    sure: npt.NDArray[np.bool_]
    figure: tuple[str, ...]


@dataclass(frozen=True)
class KnownFit:
    """Settings for a response.

    Attributes
    ----------
    settings: of the effect, by knob. achieved: what its own response measures like.
    t60_error, c50_error_db: (octave,) relative and in dB; NaN where nothing could be measured.
    loss: mean of the errors, in units of GOOD_T60 and GOOD_C50_DB, none counted as more than MOST_ERROR.
    """

    settings: dict[str, float]
    achieved: Decay
    t60_error: Floats
    c50_error_db: Floats
    loss: float


def from_direct(h: npt.NDArray[Any], rate: float) -> Floats:
    """Return a response (channel, time) from its direct sound on, which has energy 1."""
    x = np.asarray(h, np.float64)
    x = x[:, max(onset(x) - 1, 0) :]
    direct = float((x[:, : round(DIRECT_S * rate)] ** 2).sum(axis=1).mean())
    return x / math.sqrt(max(direct, FLOOR))


def wanted_of(found: Decay) -> Wanted:
    """Return what figures of a response ask for; raises AudioError where no octave can be measured."""
    count = min(found.centre_hz.size, BANDS)
    t60_s, c50_db = np.full(BANDS, math.nan), np.full(BANDS, math.nan)
    t60_s[:count] = found.t60_s[:count]
    c50_db[:count] = np.where(found.sure("c50_db"), found.c50_db, math.nan)[:count]
    sure = np.isfinite(t60_s) & np.isfinite(c50_db)
    if not sure.any():
        raise AudioError(
            "no decay can be measured in the impulse response: it has none, or it lies in noise; give one"
            " with at least 35 dB between its beginning and its noise"
        )
    nearest = _nearest(sure)
    kinds = ["edt_s"] * BANDS
    for name in ("edt_s", "t20_s", "t30_s"):  # the best one last, as t60_s has it
        kinds = [name if b < count and found.sure(name)[b] else kind for b, kind in enumerate(kinds)]
    return Wanted(t60_s[nearest], c50_db[nearest], sure, tuple(kinds[b] for b in nearest))


def _nearest(sure: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    there = np.flatnonzero(sure)
    return np.asarray(there[np.abs(np.arange(sure.size)[:, None] - there).argmin(axis=1)])


def _to_come(t60_s: Floats) -> Floats:
    return np.asarray(np.exp(-2.0 * NEPERS_OF_60_DB * EARLY_S / t60_s))


def level_for(t60_s: Floats, c50_db: Floats) -> Floats:
    """Return the levels in dB over the dry sound at which fading noise has a clarity, any shape."""
    excess = _to_come(t60_s) * (1.0 + db_to_power(c50_db)) - 1.0
    # less clarity than there can be with such a decay: all reverb
    level_db = np.where(excess > 0.0, -power_to_db(np.maximum(excess, FLOOR)), MOST_LEVEL_DB)
    return np.clip(level_db, LEAST_LEVEL_DB, MOST_LEVEL_DB)


def response_of(effect: Effect, settings: dict[str, float], rate: float, channels: int, time: int) -> Floats:
    """Return the impulse response (channel, time) of an effect, the dry sound included."""
    click = torch.zeros((1, channels, time))
    click[..., 0] = 1.0
    knobs = {name: torch.tensor([value], dtype=torch.float64) for name, value in settings.items()}
    with torch.no_grad():
        y: Floats = effect.forward(click, rate, **knobs)[0].double().numpy()
    return y


def _measured(achieved: Decay, wanted: Wanted) -> tuple[Floats, Floats]:
    """Return decay times, of the kinds that are wanted, and clarities, (octave,)."""
    count = min(achieved.centre_hz.size, BANDS)
    t60_s, c50_db = np.full(BANDS, math.nan), np.full(BANDS, math.nan)
    for b in range(count):
        t60_s[b] = getattr(achieved, wanted.figure[b])[b]
    c50_db[:count] = achieved.c50_db[:count]
    return t60_s, c50_db


def _even(level_db: Floats) -> Floats:
    """Return levels within what they can be, none far from the median."""
    median = min(max(float(np.median(level_db)), LEAST_LEVEL_DB), MOST_LEVEL_DB)
    return np.clip(level_db, median - MOST_TONE_DB, median + MOST_TONE_DB)


def compared(settings: dict[str, float], achieved: Decay, wanted: Wanted) -> KnownFit:
    """Return how near settings come whose response measures like `achieved`."""
    found_s, found_db = _measured(achieved, wanted)
    nothing = np.where(wanted.sure, 0.0, math.nan)
    t60_error, c50_error_db = found_s / wanted.t60_s - 1.0 + nothing, found_db - wanted.c50_db + nothing
    counted = np.isfinite(t60_error) & np.isfinite(c50_error_db)
    errors = np.concatenate([t60_error[counted] / GOOD_T60, c50_error_db[counted] / GOOD_C50_DB])
    loss = float(np.minimum(np.abs(errors), MOST_ERROR).mean()) if errors.size else math.inf
    return KnownFit(settings, achieved, t60_error, c50_error_db, loss)


def fit_decays(
    effect: Effect,
    wanted: Wanted,
    rate: float,
    channels: int,
    *,
    level_db: Floats | None = None,
    turns: int = TURNS,
    given: Mapping[str, float] | None = None,
    progress: Callable[[float], None] | None = None,
) -> KnownFit:
    """Fit an effect so that its response has these decays and clarities.

    Parameters
    ----------
    effect: one that has `of_decays`. wanted: of `wanted_of`.
    rate: in Hz. channels: of the response.
    level_db: (octave,) levels that are known already; without them they are sought for the clarities.
    turns: corrections. given: settings that stay, whatever decays ask for, such as the size of a room.
    progress: called with the share done.

    Raises ValueError for an effect that cannot be asked for decays.
    """
    if effect.of_decays is None:
        raise ValueError(f"{effect.name} cannot be asked for decays")
    fixed = level_db is not None
    t60_s = wanted.t60_s.copy()
    level_db = level_for(wanted.t60_s, wanted.c50_db) if level_db is None else level_db
    level_db = _even(level_db)
    best: KnownFit | None = None
    for turn in range(turns + 1):
        settings = {**effect.defaults(), **effect.of_decays(t60_s, level_db), **(given or {})}
        time = round((min(effect.tail_s(settings) * 1.2, 12.0) + 0.2) * rate)
        achieved = measure_response(response_of(effect, settings, rate, channels, time), rate)
        found_s, found_db = _measured(achieved, wanted)
        ratio, missing_db = wanted.t60_s / found_s, wanted.c50_db - found_db
        now = compared(settings, achieved, wanted)
        if best is None or now.loss < best.loss:
            best = now
        if progress is not None:
            progress(turn / turns)
        step = np.clip(np.nan_to_num(ratio, nan=1.0), 1.0 / MOST_RATIO, MOST_RATIO) ** ALPHA
        slope = 1.0 + db_to_power(level_db) * (1.0 - _to_come(t60_s))
        move = -ALPHA * np.nan_to_num(missing_db) * slope
        t60_s = np.clip(t60_s * step, wanted.t60_s / 3.0, wanted.t60_s * 3.0)
        if not fixed:
            level_db = _even(level_db + np.clip(move, -MOST_STEP_DB, MOST_STEP_DB))
        # where nothing was measured, octaves follow those where something was
        nearest = _nearest(wanted.sure)
        t60_s, level_db = t60_s[nearest], level_db[nearest]
    assert best is not None
    return best
