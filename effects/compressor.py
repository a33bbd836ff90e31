"""Feed-forward compressor: side chain, peak or RMS, link, soft knee, two laws of time, look-ahead, mix.

    d_c[n] = |h_c[n]|, or the root of a mean of h_c^2 over rms_ms                   h: x without its low end
    a_c[n] = (1 - link) d_c[n] + link max_k d_k[n]
    level: e = S(a),   G[n] = C(20 log10 e[n])                                        (dB)
    gain:  G = -S(-C(20 log10 a))
    y_c[n] = x_c[n] + mix (10^((G_c[n + L] + M)/20) x_c[n] - x_c[n])                  L: the look-ahead

    S: e[n] = k e[n-1] + (1 - k) a[n],   k = k_attack if a[n] > e[n-1] else k_release
    C: (1/R - 1) h(o), o = level - T;   h = 0 below -W/2, (o + W/2)^2/(2 W) within the knee, o above W/2

Giannoulis, Massberg & Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012: C is eq. 4 (less
the level), S eq. 16. The law "level" smooths the level before the curve, in the linear domain (fig. 7a), as
juce::dsp::Compressor does; "gain" smooths the gain in dB after it (fig. 7c). Times are to 63 % of a step
(fxstyle.units.time_constant): of the level, or of the dB turned down. Kernels, adjoints and the rest of the
equations are in fxstyle.dsp.dynamics.

torchcomp's smoothing is S with at = 1 - k_attack and rt = 1 - k_release (its times are 2.2 times ours), but
its `compexp_gain` smooths the gain as a factor, as neither law does; dasp_pytorch smooths it in dB, by the
attack alone (times ln 9 times ours).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from fxstyle.dsp import dynamics
from fxstyle.dsp.recurrence import Floats
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement, Vector

PARAMS = (
    Param("threshold_db", "dB", -60.0, 0.0, -18.0, help="level above which it turns down"),
    Param("ratio", ":1", 1.0, 20.0, 3.0, "log", "dB in for one dB out above the threshold; 1 is off"),
    Param("attack_ms", "ms", 0.05, 200.0, 10.0, "log", "time to follow 63 % of a rise"),
    Param("release_ms", "ms", 5.0, 2000.0, 120.0, "log", "time to follow 63 % of a fall"),
    Param("knee_db", "dB", 0.0, 18.0, 6.0, help="width of the bend around the threshold; 0 is a corner"),
    Param("makeup_db", "dB", -12.0, 24.0, 0.0, help="level after compression"),
    Param("link", "", 0.0, 1.0, 1.0, help="how far the loudest channel turns down all; 0 each its own"),
    Param.choice("law", dynamics.LAWS, "level", "what attack and release smooth: the level or the gain"),
    Param(
        "lookahead_ms",
        "ms",
        0.0,
        20.0,
        0.0,
        fitted=False,
        help="how early it turns down before a sound rises",
    ),
    Param(
        "rms_ms",
        "ms",
        0.0,
        100.0,
        0.0,
        fitted=False,
        help="time over which the level is a mean; 0 is the peak",
    ),
    Param(
        "sidechain_cut_hz",
        "Hz",
        0.0,
        500.0,
        0.0,
        fitted=False,
        help="it listens to what lies above; 0 is off",
    ),
    Param(
        "mix", "", 0.0, 1.0, 1.0, fitted=False, help="share of the compressed sound, the rest as it came in"
    ),
)
KNOBS = tuple(p.name for p in PARAMS)
_THRESHOLD_DB = PARAMS[0]
_ANY_RATE = 44100.0
"""The static curve has no time."""

_START_RATIO_LIMIT = 8.0
_LEAST_SPREAD_DB = 0.5
"""A steadier reference than this is a test tone; dividing by it would ask for any ratio."""


def _settings(rate: float, knob: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return dynamics.settings(rate, **{name: knob[name] for name in KNOBS})


@lru_cache(maxsize=64)
def _row(rate: float, values: tuple[float, ...]) -> Floats:
    """Return what the kernels take for one stream, from the knobs in their order."""
    knob = {name: torch.tensor([v], dtype=torch.float64) for name, v in zip(KNOBS, values, strict=True)}
    with torch.no_grad():
        return _settings(rate, knob)[0].numpy()


def forward(
    x: torch.Tensor,
    rate: float,
    *,
    threshold_db: torch.Tensor,
    ratio: torch.Tensor,
    attack_ms: torch.Tensor,
    release_ms: torch.Tensor,
    knee_db: torch.Tensor,
    makeup_db: torch.Tensor,
    link: torch.Tensor,
    law: torch.Tensor,
    lookahead_ms: torch.Tensor,
    rms_ms: torch.Tensor,
    sidechain_cut_hz: torch.Tensor,
    mix: torch.Tensor,
) -> torch.Tensor:
    """Compress each row of (batch, channel, time) by its own settings, aligned with the input."""
    given = locals()  # read before anything else is bound: the arguments by name
    return dynamics.compress(x, _settings(rate, given))


def render(
    x: Samples,
    rate: float,
    state: dynamics.DynamicsState | None,
    *,
    threshold_db: float,
    ratio: float,
    attack_ms: float,
    release_ms: float,
    knee_db: float,
    makeup_db: float,
    link: float,
    law: float,
    lookahead_ms: float,
    rms_ms: float,
    sidechain_cut_hz: float,
    mix: float,
) -> tuple[Samples, dynamics.DynamicsState]:
    """Compress a block (channel, time); the output is late by the look-ahead."""
    given = locals()  # read before anything else is bound: the arguments by name
    return dynamics.compress_block(x, _row(rate, tuple(given[name] for name in KNOBS)), state)


def gain_db(level_db: Vector, settings: Mapping[str, float]) -> Vector:
    """Static curve: gain in dB, make-up and mix included, at each steady level in dB.

    The level is the detector's: the peak, or the root of the mean square, of what the low cut leaves.
    """
    level = np.asarray(level_db, dtype=np.float64)
    return dynamics.static_curve(level, _row(_ANY_RATE, tuple(settings[name] for name in KNOBS)))


def start(source: Measurement, reference: Measurement) -> dict[str, float]:
    """Threshold and ratio that narrow the source's distribution of levels to the reference's.

    Above a threshold at the source's median a ratio R divides the distance of the 95th percentile from
    the median by R; so R is the ratio of both distances. A reference that is no less dynamic asks for none.
    """
    from fxstyle.features.measure import LEVEL_QUANTILES

    middle, high = LEVEL_QUANTILES.index(0.5), LEVEL_QUANTILES.index(0.95)
    ours = float(source.level_quantiles_db[high] - source.level_quantiles_db[middle])
    theirs = float(reference.level_quantiles_db[high] - reference.level_quantiles_db[middle])
    ratio = min(max(ours / max(theirs, _LEAST_SPREAD_DB), 1.0), _START_RATIO_LIMIT)
    threshold_db = min(max(float(source.level_quantiles_db[middle]), _THRESHOLD_DB.low), _THRESHOLD_DB.high)
    return {"threshold_db": threshold_db, "ratio": ratio, "makeup_db": 0.0}


EFFECT = Effect(
    name="compressor",
    summary="Compressor with soft knee, stereo link, look-ahead, RMS, side-chain low cut and parallel mix",
    params=PARAMS,
    forward=forward,
    render=render,
    # Both forms run the same kernel; its recursions are in float64.
    tolerance_db=-120.0,
    latency=lambda rate, settings: dynamics.latency(rate, settings["lookahead_ms"]),
    hosts={
        "pedalboard.Compressor": "law level, the same threshold and ratio, times 2 pi as long; knee_db, link,"
        " makeup_db, lookahead_ms, rms_ms, sidechain_cut_hz 0, mix 1; its detector rounds to float32: null"
        " -102 to -113 dB",
        "ffmpeg acompressor": "law level, link 1, detection=peak, link=maximum, knee=10^(knee_db/20), times"
        " 4/(rate (1 - exp(-1/(rate t)))), some 4 t, the same ratio, mix and (as factors) threshold and"
        " makeup; lookahead_ms, rms_ms, sidechain_cut_hz 0: null -260 dB",
        "sox compand": "law level, link 1, a curve through the threshold and 0 dB, initial volume -200, the"
        " same times, delay for lookahead_ms (mono, whole samples); knee_db, makeup_db, rms_ms,"
        " sidechain_cut_hz 0, mix 1; its corner is a bend of 0.01 dB: null -79 dB, away from it -170 dB",
        "MATLAB Audio Toolbox compressor": "law gain, by its published equations (not run): the same"
        " threshold, ratio, knee and make-up, times ln 9 as long; link, lookahead_ms, rms_ms,"
        " sidechain_cut_hz 0, mix 1",
    },
    start=start,
)
