"""Feed-forward compressor: linked peak detector with attack and release, soft knee, make-up gain.

    a_c[n] = (1 - link) |x_c[n]| + link max_k |x_k[n]|
    e_c[n] = k e_c[n-1] + (1 - k) a_c[n],   k = k_attack if a_c[n] > e_c[n-1] else k_release
    G_c[n] = (1/R - 1) h(20 log10 e_c[n] - T) + M                                       (dB)
    y_c[n] = 10^(G_c[n]/20) x_c[n]

    h(d) = 0 below -W/2,   (d + W/2)^2 / (2 W) within the knee,   d above W/2

Static curve: Giannoulis, Massberg & Reiss, "Digital dynamic range compressor design", JAES 60(6), 2012,
eq. 4. Detector: the *level* is smoothed, in the linear domain, as juce::dsp::Compressor does; with knee 0,
link 0 and make-up 0 the law is pedalboard's. Times are to 63 % of a step (fxstyle.units.time_constant);
JUCE's k = exp(-2 pi 1000 / (rate t)), so the same compressor there is set to pedalboard_ms = 2 pi t.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from fxstyle import dynamics
from fxstyle.effect import Effect, Samples
from fxstyle.param import Param
from fxstyle.recurrence import Floats
from fxstyle.units import time_constant

if TYPE_CHECKING:
    from fxstyle.features.measure import Measurement, Vector

_THRESHOLD_DB = Param("threshold_db", "dB", -60.0, 0.0, -18.0, help="level above which it turns down")
_START_RATIO_LIMIT = 8.0
_LEAST_SPREAD_DB = 0.5
"""A steadier reference than this is a test tone; dividing by it would ask for any ratio."""


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
) -> torch.Tensor:
    """Compress each row of (batch, channel, time) by its own settings."""
    p = dynamics.settings(
        rate,
        threshold_db=threshold_db,
        ratio=ratio,
        attack_ms=attack_ms,
        release_ms=release_ms,
        knee_db=knee_db,
        makeup_db=makeup_db,
        link=link,
    )
    return dynamics.compress(x, p)


def render(
    x: Samples,
    rate: float,
    state: Floats | None,
    *,
    threshold_db: float,
    ratio: float,
    attack_ms: float,
    release_ms: float,
    knee_db: float,
    makeup_db: float,
    link: float,
) -> tuple[Samples, Floats]:
    """Compress a block (channel, time); the state is the smoothed level of each channel."""
    attack, release = time_constant(attack_ms, rate), time_constant(release_ms, rate)
    p = np.array((threshold_db, 1.0 / ratio - 1.0, knee_db, makeup_db, link, attack, release))
    return dynamics.compress_block(x, p, state)


def gain_db(level_db: Vector, settings: Mapping[str, float]) -> Vector:
    """Static curve: gain in dB, make-up included, at each steady peak level in dB."""
    level = np.ascontiguousarray(level_db, dtype=np.float64)
    slope = 1.0 / settings["ratio"] - 1.0
    p = np.array((settings["threshold_db"], slope, settings["knee_db"], settings["makeup_db"], 0.0, 0.0, 0.0))
    return dynamics.static_curve(level, p)


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
    summary="Compressor with attack, release, soft knee and stereo link",
    params=(
        _THRESHOLD_DB,
        Param("ratio", ":1", 1.0, 20.0, 3.0, "log", "dB in for one dB out above the threshold; 1 is off"),
        Param("attack_ms", "ms", 0.05, 200.0, 10.0, "log", "time to follow 63 % of a rise"),
        Param("release_ms", "ms", 5.0, 2000.0, 120.0, "log", "time to follow 63 % of a fall"),
        Param("knee_db", "dB", 0.0, 18.0, 6.0, help="width of the bend around the threshold; 0 is a corner"),
        Param("makeup_db", "dB", -12.0, 24.0, 0.0, help="level after compression"),
        Param("link", "", 0.0, 1.0, 1.0, help="how far the loudest channel turns down all; 0 each its own"),
    ),
    forward=forward,
    render=render,
    # Both forms run the same kernel in float64.
    tolerance_db=-120.0,
    start=start,
)
