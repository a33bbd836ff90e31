"""Gradients at the ends of the knobs: the same law for every effect and every knob that has a gradient.

A fit leaves a limit by the gradient that it finds there. With one knob at u = 0 or 1 of its own scale, and
the others where they make it heard, the gradient of a random linear functional of the output is

* by that knob the one-sided difference (-3 f(0) + 4 f(h) - f(2 h))/(2 h) into its range,
* by the input, along a random direction, the two-sided one.

Large steps see curvature, small ones rounding; and a step may pass a kink of the equations: a level on its
threshold, two equal maxima, a zero crossing, near which random sound does not come too often. So the
differences are taken at many h, each half of the one before. That one counts which agrees best with the
next on both sides, and if those do not agree the test fails. (tests/test_effect_laws.py has the law for
knobs within their ranges.)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from fxstyle import effects
from fxstyle.effect import Effect
from fxstyle.octaves import BAND_NAMES
from fxstyle.param import Param

STEPS = 2.0 ** -torch.arange(9.0, 32.0, dtype=torch.float64)
"""Of a knob, on its own scale."""

NUDGES = STEPS[::2]
"""Of the input, as shares of it."""

AGREED = 1e-5
"""Neighbouring differences agree if they differ by less, over the norm of the output's own derivative: that
is how large the derivative of a random functional is."""

ERROR = 3.0 * AGREED
"""Largest error of a gradient, likewise. One that is wrong was never off by less than 1e-3."""

POLYNOMIAL_ERROR = 1e-4
"""The same for saturation: its tanh is a ratio of polynomials, right to 1e-7, and its gradient is that of the
true tanh. At 36 dB of drive differences see that error a hundredfold."""

AUDIBLE = 1e-7
"""Norm of the output's derivative over its own: below it a knob does nothing, and the law says nothing."""

SEED = 0
"""One for which no kink is nearer than the smallest steps."""

Ends = tuple[float, ...]
LOW, HIGH = 0.0, 1.0

FLAT: dict[tuple[str, str], tuple[Ends, str]] = {
    **{
        (name, "knee_db"): ((LOW,), "what lies within a knee, and how far it bends, both begin at nothing")
        for name in ("compressor", "dynamic_eq", "gate", "multiband")
    },
    ("compressor", "rms_ms"): ((LOW,), "a mean over no time: exp(-1/t) has only zero derivatives there"),
    ("limiter", "lookahead_ms"): ((LOW, HIGH), "a whole number of samples, hence a step"),
}
"""Where the derivative by a knob is 0, and why."""


@dataclass(frozen=True)
class Case:
    """What an effect is tried with.

    Attributes
    ----------
    settings: what differs from the defaults: no knob is to be idle because of another.
    rate: in Hz. At 48 kHz all whole ms are whole samples, where interpolation has its bends, and no frequency
        of a knob but the cuts' outermost is above half the rate.
    length: of the sound, in samples.
    peak_db: of the sound: levels are to cross a threshold at the end of its range.
    only: knobs to be tried, or none for all.
    without: knobs not to be tried, which these settings leave idle.
    """

    settings: Mapping[str, float | str] = field(default_factory=dict)
    rate: float = 48000.0
    length: int = 12000
    peak_db: float = 6.0
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def _per_band(settings: Mapping[str, float]) -> dict[str, float]:
    return {f"band{i}_{what}": value for i in (1, 2, 3) for what, value in settings.items()}


_LAWS = ("level", "gain")
_LISTENING = {"lookahead_ms": 3.3, "rms_ms": 8.0, "sidechain_cut_hz": 90.0, "mix": 0.7, "link": 0.6}
_MOVING = _per_band({"threshold_db": -70.0, "range_db": -20.0, "attack_ms": 3.0, "release_ms": 30.0})
_MOVING |= {"ratio": 1.5, "link": 0.7}
_BANDS_HZ = ("band1_hz", "band2_hz", "band3_hz")
_CUTS = ("low_cut_hz", "low_cut_q", "high_cut_hz", "high_cut_q")
_EQ = {"low_cut_hz": 60.0, "low_shelf_db": 4.0, "high_shelf_db": -5.0, "high_cut_hz": 12000.0}
_EQ |= {f"peak{i}_db": (-1.0) ** i * (2.0 + i % 6) for i in range(1, 17)}
_STEEP = {**_EQ, "low_cut_slope": "36", "high_cut_slope": "18"}
_GATE = {"threshold_db": -3.0, "ratio": 4.0, "knee_db": 12.0, "hold_ms": 5.0, "release_ms": 20.0, "link": 0.7}
_ROOM = {f"t60_{band}_s": 0.3 for band in BAND_NAMES} | {"width": 0.6}
_TEMPO = ("tempo_bpm",)
_FDN = {f"t60_{b}_s": 0.3 for b in (*BAND_NAMES, "16k")} | {"width": 0.6}
_FDN_TOP = ("t60_8k_s", "t60_16k_s", "tone_8k_db", "tone_16k_db")
_ROOM_KNOBS = tuple(
    p.name
    for p in effects.get("room").params
    # 48 of a kind, by wall and by octave: three walls and three octaves will do
    if not p.name.startswith("absorption")
    or p.name in ("absorption_left_63", "absorption_left_8k", "absorption_back_1k", "absorption_ceiling_500")
)

CASES: dict[str, tuple[Case, ...]] = {
    "bitcrush": (Case(rate=192000.0), Case({"bits": 4.6}, rate=192000.0, only=("hold_hz",))),
    "chorus": (
        Case({"feedback": 0.4}, without=_TEMPO),
        Case({"sync": "1/8", "depth_ms": 4.0}, only=_TEMPO),
    ),
    "compressor": tuple(
        Case({"threshold_db": -24.0, "law": law, **more}, rate=16000.0, length=8000, peak_db=24.0)
        for law in _LAWS
        for more in ({}, _LISTENING)
    ),
    "deesser": (Case({"threshold_db": -12.0, "link": 0.7}),),
    "delay": (
        Case({"time_ms": 20.0, "feedback": 0.5, "ping_pong": 0.3}, without=("time_ms", *_TEMPO)),
        Case(length=100000, only=("time_ms",)),  # two seconds and more
        Case({"sync": "1/32"}, length=24000, only=_TEMPO),
    ),
    "dynamic_eq": (
        Case(_MOVING, rate=16000.0, length=8000, peak_db=24.0, without=_BANDS_HZ),
        Case(_MOVING, peak_db=18.0, only=_BANDS_HZ),
    ),
    "eq": (
        Case(_EQ, without=("high_cut_hz",)),
        Case(_EQ, rate=96000.0, only=("high_cut_hz",)),
        Case(_STEEP, rate=96000.0, only=_CUTS),
    ),
    "eq16": (Case(_EQ, only=("peak16_hz", "peak16_db", "peak16_q")),),
    "fdn": (Case(_FDN, rate=8000.0, length=4000, without=_FDN_TOP), Case(_FDN, only=_FDN_TOP)),
    "gate": (
        Case(_GATE, rate=8000.0, length=24000, peak_db=12.0, without=("range_db",)),
        # With a knee a small range ends within a parabola, and differences converge as slowly as sqrt h.
        Case(
            {**_GATE, "knee_db": 0.0, "ratio": 16.0},
            rate=8000.0, length=24000, peak_db=12.0, only=("range_db",),
        ),
    ),
    "limiter": tuple(Case({"gain_db": 6.0, "detect": detect}) for detect in ("true_peak", "sample_peak")),
    "multiband": (
        Case(rate=16000.0, length=8000, peak_db=24.0, without=("high_hz",)),
        Case(peak_db=24.0, only=("high_hz",)),
    ),
    "phaser": (Case(without=_TEMPO), Case({"sync": "1/8"}, only=_TEMPO)),
    "room": (
        Case(
            {"length_m": 9.0, "width_m": 7.0, "height_m": 4.0, "order": "17", "level_db": 6.0},
            rate=24000.0, length=4000, only=_ROOM_KNOBS,
        ),
    ),
    "reverb": (Case(_ROOM, rate=16000.0, length=6000),),
    "saturation": tuple(
        Case({"curve": curve, "oversampling": times, "drive_db": 9.0},
             without=() if curve == "tube" else ("bias",))
        for curve in ("tanh", "soft", "tube", "fold")
        for times in ("1", "4")
    ),
    "tape": (Case(peak_db=18.0),),
    "transient": (Case({"sustain_db": 4.0, "link": 0.7}),),
    "tremolo": (Case(without=_TEMPO), Case({"sync": "1/8"}, only=_TEMPO)),
    "width": (Case({"width": 1.3, "low_width": 0.5, "high_width": 1.6}),),
}  # fmt: skip
"""An effect that is not here is tried with its defaults, and fails where they leave a knob idle."""


def sound(rng: np.random.Generator, length: int, peak_db: float) -> torch.Tensor:
    """Return (1, 2, length): three bursts of rumble and four of hiss, each 80 dB up and down again."""
    places = np.arange(length) / length
    rumble = lfilter([1.0], np.convolve([1.0, -0.97], [1.0, -0.97]), rng.standard_normal((2, length)))
    hiss = rng.standard_normal((2, length))
    total = np.zeros((2, length))
    for noise, bursts in ((rumble, 3), (hiss, 4)):
        t = bursts * places % 1.0
        below_db = 80.0 * np.maximum(1.0 - t / 0.3, (t - 0.3) / 0.7)
        total += noise / noise.std() * 10.0 ** ((peak_db - 9.0 - below_db) / 20.0)
    return torch.from_numpy(total)[None]


def agreed(differences: torch.Tensor) -> tuple[float, float]:
    """Return the difference that agrees best with the next on both sides, and within what."""
    apart = (differences[1:] - differences[:-1]).abs()
    worst = torch.maximum(apart[1:], apart[:-1])
    best = int(worst.argmin())
    return float(differences[best + 1]), float(worst[best])


class Trial:
    """One knob of an effect at one end of its range, a sound, a direction for it and a functional."""

    def __init__(self, effect: Effect, param: Param, end: float, case: Case) -> None:
        self.effect, self.param, self.end, self.case = effect, param, end, case
        words = (SEED, effect.name, param.name, end, case)
        rng = np.random.default_rng(zlib.crc32(repr(words).encode()))
        self.x = sound(rng, case.length, case.peak_db)
        self.weights = torch.from_numpy(rng.standard_normal(self.x.shape))
        self.direction = self.x * torch.from_numpy(rng.standard_normal(self.x.shape))
        self.inwards = 1.0 if end == LOW else -1.0
        self.settings = {p.name: p.check(case.settings.get(p.name, p.default)) for p in effect.params}

    def run(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        """Return the output (row, channel, time) with the knob at u (row,)."""
        knobs = {name: torch.full_like(u, value).detach() for name, value in self.settings.items()}
        value = self.param.from_unit(u)
        # The limit to the bit, which the scale may miss by its rounding.
        limit = self.param.high if self.end == HIGH else self.param.low
        knobs[self.param.name] = torch.where(u.detach() == self.end, value + (limit - value).detach(), value)
        return self.effect.forward(x.expand(len(u), -1, -1), self.case.rate, **knobs)

    def gradients(self, step: float = 0.0) -> tuple[float, float, float]:
        """Return those by the knob, a step away from its end, and along the direction; and |y|."""
        x = self.x.clone().requires_grad_()
        u = torch.tensor([self.end + self.inwards * step], dtype=torch.float64, requires_grad=True)
        y = self.run(x, u)
        (y * self.weights).sum().backward()
        assert u.grad is not None
        assert x.grad is not None
        return u.grad.item(), float((x.grad * self.direction).sum()), float(y.detach().norm())

    @torch.no_grad()
    def by_knob(self) -> tuple[float, float, float]:
        """Return the derivative by the knob, its uncertainty, and the norm of the output's own."""
        y = self.run(self.x, self.end + self.inwards * torch.cat([torch.zeros_like(STEPS[:1]), STEPS]))
        change = self.inwards * (y[1:] - y[:1])
        f = (change * self.weights).sum(dim=(1, 2))
        middle = len(STEPS) // 2
        norm = float(change[middle].norm() / STEPS[middle])
        return *agreed((4.0 * f[1:] - f[:-1]) / (2.0 * STEPS[1:])), norm

    @torch.no_grad()
    def by_input(self) -> tuple[float, float, float]:
        """Return the derivative along the direction, its uncertainty, and the norm of the output's own."""
        e = NUDGES[:, None, None]
        both = torch.cat([self.x + e * self.direction, self.x - e * self.direction])
        up, down = self.run(both, torch.full_like(both[:, 0, 0], self.end)).chunk(2)
        change = (up - down) / (2.0 * e)
        return *agreed((change * self.weights).sum(dim=(1, 2))), float(change[len(e) // 2].norm())


def _trials(stand_ins: bool) -> Iterator[object]:
    for name in (*effects.names(), "eq16"):
        effect = effects.get(name)
        for number, case in enumerate(
            CASES.get(name, (Case(),)) if effect.straight_through is stand_ins else ()
        ):
            for param in effect.params:
                asked = param.name in (case.only or {param.name}) and param.name not in case.without
                for end in (LOW, HIGH) if asked and not param.choices else ():
                    label = f"{name}-{number}-{param.name}-{'high' if end else 'low'}"
                    yield pytest.param((name, param.name, end, case), id=label)


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    name, knob, end, case = request.param
    effect = effects.get(name)
    return Trial(effect, effect.param(knob), end, case)


every_end = pytest.mark.parametrize("trial", list(_trials(stand_ins=False)), indirect=True)


def limit_of_error(effect: Effect) -> float:
    return POLYNOMIAL_ERROR if effect.name == "saturation" else ERROR


@every_end
def test_by_the_knob_it_is_the_one_sided_difference(trial: Trial) -> None:
    gradient, _, size = trial.gradients()
    difference, uncertainty, norm = trial.by_knob()
    ends, reason = FLAT.get((trial.effect.name, trial.param.name), ((), ""))
    if trial.end in ends:
        assert gradient == 0.0, reason
        assert norm <= AUDIBLE * size, reason
        return
    assert norm > AUDIBLE * size, "the knob does nothing: choose other settings, or say why in FLAT"
    assert uncertainty <= AGREED * norm
    assert gradient == pytest.approx(difference, rel=0.0, abs=limit_of_error(trial.effect) * norm)


@every_end
def test_by_the_input_it_is_the_two_sided_difference(trial: Trial) -> None:
    _, gradient, _ = trial.gradients()
    difference, uncertainty, norm = trial.by_input()
    assert uncertainty <= AGREED * norm
    assert gradient == pytest.approx(difference, rel=0.0, abs=limit_of_error(trial.effect) * norm)


@pytest.mark.parametrize("trial", list(_trials(stand_ins=True)), indirect=True)
def test_what_stands_in_for_a_staircase_is_as_just_within_the_range(trial: Trial) -> None:
    at, inside = trial.gradients(), trial.gradients(2.0**-40)
    assert at[0] != 0.0
    # Hardly a sample is so near to a step of the staircase that it crosses it.
    np.testing.assert_allclose(at, inside, rtol=1e-5)


def test_a_gate_with_neither_ratio_nor_range_stays_open_whichever_is_turned() -> None:
    # The least of range and (R - 1) h is 0 as long as one of both is.
    x = sound(np.random.default_rng(0), 4000, 0.0)
    start = {"ratio": 1.0, "range_db": 0.0, "threshold_db": -10.0}
    values = {p.name: start.get(p.name, p.default) for p in effects.get("gate").params}
    knobs = {n: torch.tensor([v], dtype=torch.float64, requires_grad=True) for n, v in values.items()}
    effects.get("gate").forward(x, 8000.0, **knobs).square().sum().backward()
    assert all(not knob.grad.any() for knob in knobs.values())
