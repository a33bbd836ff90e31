"""Compressor: turns down what is louder than a threshold, and so evens out levels.

    d_c[n] = |h_c[n]|                                   level of channel c; or, with rms_ms,
    d_c[n] = sqrt v[n],  v[n] = k v[n-1] + (1 - k) h_c[n]^2
    a_c[n] = (1 - link) d_c[n] + link max_i d_i[n]      linked to the loudest channel
    law level:  G = C(20 log10 S(a))                    gain in dB
    law gain:   G = -S(-C(20 log10 a))
    y_c[n] = (1 - mix) x_c[n] + mix 10^((G_c[n + L] + M)/20) x_c[n]

    static curve  C(l) = (1/R - 1) h(l - T):  above the threshold R dB in make one dB out
                  h(o) = 0 below -W/2,   (o + W/2)^2/(2 W) within the knee,   o above W/2
    smoothing     S(a): e[n] = k e[n-1] + (1 - k) a[n],   k of the attack if a[n] > e[n-1],
                  else of the release
    time          k = exp(-1000/(rate t)) for t in ms: 63 % of a step in that time
                  (rate: samples per second)

    T, R, W, M    threshold_db, ratio, knee_db, makeup_db
    L             lookahead_ms in samples; between samples the gain is taken on a straight line
    h_c           x_c, or with sidechain_cut_hz what a first-order high-pass leaves of it, 6 dB per
                  octave and 3 dB down at that frequency; it is listened to, not heard
    c, n          channel and sample

The threshold is in dB of full scale, of a peak level. With the law "level" a steady sine reads 0.2 dB
below its crest at an attack of 1 ms and a release of 120, 1 dB at 10 and 120, and 3.9 dB, as its mean,
where both are alike. With rms_ms the level is the root of a mean of squares: over a few periods a sine
reads 3 dB below its crest, whatever the two. Make-up belongs to the compressed share of the mix.

What attack and release smooth makes two kinds of compressor. "level" smooths the level before the curve:
when a loud sound ends the level falls by 8.7 dB in each release_ms, so a deep reduction recovers
steadily; and what jumps far above the threshold reaches it in a fraction of attack_ms. "gain" smooths the
dB that are turned down: 63 % of any change takes attack_ms or release_ms, however large the change is.

Source: Giannoulis, Massberg & Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012: C is
their eq. 4 (less the level), S eq. 16, "level" their figure 7a in the linear domain, which is JUCE's
dsp::Compressor, and "gain" figure 7c. For researchers: torchcomp's smoothing is S with at = 1 - k, its
times being 2.2 times these, but compexp_gain smooths the gain as a factor, which is neither law;
dasp_pytorch smooths it in dB by the attack alone, at ln 9 times these times.
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
    Param(
        "threshold_db", "dB", -60.0, 0.0, -18.0,
        help="level above which it turns down; down: more of the sound",
    ),
    Param(
        "ratio", ":1", 1.0, 20.0, 3.0, "log",
        "dB in for one dB out above the threshold; up: flatter, 1 is off",
    ),
    Param(
        "attack_ms", "ms", 0.05, 200.0, 10.0, "log",
        "how fast it turns down; down: tames hits, up: lets them through",
    ),
    Param(
        "release_ms", "ms", 5.0, 2000.0, 120.0, "log",
        "how fast it lets go; down: lively, may pump, up: smooth",
    ),
    Param(
        "knee_db", "dB", 0.0, 18.0, 6.0,
        help="width of the bend around the threshold; up: gentler, 0 is a corner",
    ),
    Param("makeup_db", "dB", -12.0, 24.0, 0.0, help="level after compression; up: gives back what it took"),
    Param(
        "link", "", 0.0, 1.0, 1.0,
        help="1: the loudest channel turns down all, the picture stays; 0: each its own",
    ),
    Param.choice(
        "law", dynamics.LAWS, "level", "what attack and release smooth, the level or the dB turned down"
    ),
    Param(
        "lookahead_ms", "ms", 0.0, 20.0, 0.0, fitted=False,
        help="how early it turns down before a sound rises; up: no hit gets past it",
    ),
    Param(
        "rms_ms", "ms", 0.0, 100.0, 0.0, fitted=False,
        help="time over which it takes the mean level; up: nearer to loudness, 0 is the peak",
    ),
    Param(
        "sidechain_cut_hz", "Hz", 0.0, 500.0, 0.0, fitted=False,
        help="it does not listen below this; up: bass moves it less, 0 is off",
    ),
    Param(
        "mix", "", 0.0, 1.0, 1.0, fitted=False,
        help="share of the compressed sound; down: parallel compression, 0 is off",
    ),
)  # fmt: skip
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
