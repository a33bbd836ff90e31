"""Multiband compressor: splits the sound into lows, middle and highs, and compresses each on its own.

    low  = AP_2 LP_1^2 x                 1: at low_hz, 2: at high_hz
    mid  = LP_2^2 HP_1^2 x
    high = HP_2^2 HP_1^2 x
    y = low' + mid' + high'              each band compressed:

    a_c[n] = (1 - link) |b_c[n]| + link max_i |b_i[n]|      peak level of the band b, channels linked
    e[n] = k e[n-1] + (1 - k) a[n]                          attack and release
    b'_c[n] = 10^((G + M)/20) b_c[n],   G = (1/R - 1) h(20 log10 e[n] - T)      (dB)

    LP, HP, AP  1, s^2 and s^2 - sqrt 2 s + 1 over s^2 + sqrt 2 s + 1
    s           j tan(pi f/rate)/tan(pi f0/rate) at the frequency f, for the crossover f0
    T, R, M     threshold_db, ratio, makeup_db of the band
    h(o)        0 below -W/2,  (o + W/2)^2/(2 W) within the knee,  o above W/2;  W is knee_db
    k           of attack_ms if a[n] > e[n-1], else of release_ms: exp(-1000/(rate t)), 63 % of a step
                in t ms
    c, i, n     channels and sample; rate: samples per second

The split is that of Linkwitz & Riley ("Active crossover networks for noncoincident drivers", JAES 24(1),
1976): 24 dB per octave, 6 dB down where bands cross. Bands that are left alone sum to an all-pass, so
nothing changes but the phase, by 360 degrees across each crossover. The compressors are those of
`compressor` with the law "level" (Giannoulis, Massberg & Reiss, JAES 60(6), 2012); a threshold is a peak
level in its band, in dB of full scale.

An amount below 1 mixes in the dry sound after that all-pass, AP_1 AP_2 x, so that nothing cancels: with all
ratios at 1 every amount but 0 is the all-pass.

The crossovers may stand in either order: as high_hz moves below low_hz the middle band fades away, and
the other two meet at low_hz. Beyond .98 of half the rate they stay there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from fxstyle.dsp import crossover, dynamics
from fxstyle.dsp.recurrence import Floats, SosState, sosfilt, sosfilt_block
from fxstyle.dsp.sections import BUTTERWORTH
from fxstyle.effect import Dry, Effect, Samples
from fxstyle.param import Param
from fxstyle.units import NEPERS_OF_60_DB_DOUBLE

_BANDS = ("low", "mid", "high")
_OF_A_BAND = ("threshold_db", "ratio", "attack_ms", "release_ms", "makeup_db")
_SHARED = ("knee_db", "link")
_TIMES = {"low": (30.0, 200.0), "mid": (15.0, 120.0), "high": (5.0, 80.0)}
"""Attack and release in ms: a few periods of what the band holds."""


def _band(band: str) -> tuple[Param, ...]:
    attack_ms, release_ms = _TIMES[band]
    return (
        Param(
            f"{band}_threshold_db", "dB", -60.0, 0.0, -24.0,
            help=f"level of the {band} band above which it turns down; down: more",
        ),
        Param(
            f"{band}_ratio", ":1", 1.0, 20.0, 2.0, "log",
            "dB in for one dB out above it; up: flatter, 1 is off",
        ),
        Param(
            f"{band}_attack_ms", "ms", 0.05, 200.0, attack_ms, "log",
            "how fast it turns down; up: lets hits through",
        ),
        Param(
            f"{band}_release_ms", "ms", 5.0, 2000.0, release_ms, "log",
            "how fast it lets go; down: lively, up: smooth",
        ),
        Param(
            f"{band}_makeup_db", "dB", -12.0, 24.0, 0.0, spread=0.1,
            help=f"level of the {band} band after compression",
        ),
    )  # fmt: skip


PARAMS = (
    Param(
        "low_hz", "Hz", 20.0, 2000.0, 200.0, "log",
        "where the low band ends; up: more of the sound counts as lows",
    ),
    Param(
        "high_hz", "Hz", 500.0, 20000.0, 3000.0, "log",
        "where the high band begins; down: more of the sound counts as highs",
    ),
    *(param for band in _BANDS for param in _band(band)),
    Param(
        "knee_db", "dB", 0.0, 18.0, 6.0,
        help="width of the bends around the thresholds; up: gentler, 0 are corners",
    ),
    Param(
        "link", "", 0.0, 1.0, 1.0,
        help="1: the loudest channel turns down all, the picture stays; 0: each its own",
    ),
)  # fmt: skip


class MultibandState(NamedTuple):
    """What the split remembers, and the compressor of each band."""

    split: tuple[SosState, ...] | None
    bands: tuple[Any, ...]  # fxstyle.dsp.dynamics' own business


def _settings(rate: float, knob: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What the compressors take, (batch * band, ...), from knobs of shape (batch,)."""
    each = {name: torch.stack([knob[f"{band}_{name}"] for band in _BANDS], dim=1) for name in _OF_A_BAND}
    each |= {name: knob[name][:, None].expand(-1, len(_BANDS)) for name in _SHARED}
    return dynamics.settings(rate, **{name: value.flatten() for name, value in each.items()})


@lru_cache(maxsize=64)
def _design_once(rate: float, values: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Coefficients of the split (band, 4, 6) and settings of the compressors (band, ...) for one row."""
    knob = {p.name: torch.tensor([v], dtype=torch.float64) for p, v in zip(PARAMS, values, strict=True)}
    with torch.no_grad():
        c, rows = crossover.design(rate, knob["low_hz"], knob["high_hz"])[0], _settings(rate, knob)
    return c.numpy(), rows.numpy()


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    low_hz: torch.Tensor,
    high_hz: torch.Tensor,
    low_threshold_db: torch.Tensor,
    low_ratio: torch.Tensor,
    low_attack_ms: torch.Tensor,
    low_release_ms: torch.Tensor,
    low_makeup_db: torch.Tensor,
    mid_threshold_db: torch.Tensor,
    mid_ratio: torch.Tensor,
    mid_attack_ms: torch.Tensor,
    mid_release_ms: torch.Tensor,
    mid_makeup_db: torch.Tensor,
    high_threshold_db: torch.Tensor,
    high_ratio: torch.Tensor,
    high_attack_ms: torch.Tensor,
    high_release_ms: torch.Tensor,
    high_makeup_db: torch.Tensor,
    knee_db: torch.Tensor,
    link: torch.Tensor,
) -> torch.Tensor:
    """Compress the bands of each row of (batch, channel, time) by its own settings."""
    given = locals()  # read before anything else is bound: the arguments by name
    bands = crossover.split(x, crossover.design(rate, low_hz, high_hz))
    squeezed = dynamics.compress(bands.flatten(0, 1), _settings(rate, given)).reshape(bands.shape)
    return squeezed[:, 0] + squeezed[:, 1] + squeezed[:, 2]


def render(
    x: Samples,
    rate: float,
    state: MultibandState | None,
    *,
    low_hz: float,
    high_hz: float,
    low_threshold_db: float,
    low_ratio: float,
    low_attack_ms: float,
    low_release_ms: float,
    low_makeup_db: float,
    mid_threshold_db: float,
    mid_ratio: float,
    mid_attack_ms: float,
    mid_release_ms: float,
    mid_makeup_db: float,
    high_threshold_db: float,
    high_ratio: float,
    high_attack_ms: float,
    high_release_ms: float,
    high_makeup_db: float,
    knee_db: float,
    link: float,
) -> tuple[Samples, MultibandState]:
    """Compress the bands of a block (channel, time)."""
    given = locals()  # read before anything else is bound: the arguments by name
    c, p = _design_once(rate, tuple(given[param.name] for param in PARAMS))
    state = MultibandState(None, (None,) * len(_BANDS)) if state is None else state
    bands, split = crossover.split_block(x, c, state.split)
    low, mid, high = (
        dynamics.compress_block(band, row, before)
        for band, row, before in zip(bands, p, state.bands, strict=True)
    )
    return low[0] + mid[0] + high[0], MultibandState(split, (low[1], mid[1], high[1]))


def dry_forward(
    x: torch.Tensor, rate: float, *, low_hz: torch.Tensor, high_hz: torch.Tensor, **_: torch.Tensor
) -> torch.Tensor:
    """Turn the phase of each row of (batch, channel, time) as its split does."""
    return sosfilt(x, crossover.design_sum(rate, low_hz, high_hz))


@lru_cache(maxsize=64)
def _design_sum_once(rate: float, low_hz: float, high_hz: float) -> Floats:
    hz = torch.tensor([[low_hz], [high_hz]], dtype=torch.float64)
    return crossover.design_sum(rate, hz[0], hz[1])[0].numpy()


def dry_render(
    x: Samples, rate: float, state: SosState | None, *, low_hz: float, high_hz: float, **_: float
) -> tuple[Samples, SosState]:
    """Turn the phase of a block (channel, time) as the split does."""
    return sosfilt_block(x, _design_sum_once(rate, low_hz, high_hz), state)


def tail_s(settings: Mapping[str, float]) -> float:
    """Seconds in which the double pole of the lower crossover, w0/sqrt(2) from the axis, falls by 60 dB."""
    hz = min(settings["low_hz"], settings["high_hz"])
    return NEPERS_OF_60_DB_DOUBLE * BUTTERWORTH / (2.0 * math.pi * hz)


EFFECT = Effect(
    name="multiband",
    summary="Three-band compressor with Linkwitz-Riley crossovers",
    params=PARAMS,
    forward=forward,
    render=render,
    # Both forms run the same kernels in float64.
    tolerance_db=-120.0,
    tail_s=tail_s,
    dry=Dry(dry_forward, dry_render),
    hosts={
        "ffmpeg acrossover": "split=low_hz high_hz, order=4th, precision=double: its bands are these, null"
        " -250 dB; a compressor is still to be put on each",
        "pedalboard.Compressor": "one on each band of such a split: the same threshold and ratio, times 2 pi"
        " as long, at knee_db 0 and link 0; the sum nulls at -104 dB",
    },
)
