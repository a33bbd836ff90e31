"""How much work a fit does at each quality: crops, draws, rounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fxstyle.fit.search import Round

QualityName = Literal["draft", "standard", "best"]


@dataclass(frozen=True)
class Quality:
    """Work done: `crops` of `crop_s` seconds to fit, `held_out` more to judge; draws screened, rounds.

    rooms: simulated to hear that of the reference; 0: it is not listened for.
    trials: of the settings of plugins that know no gradient, where there are some (blackbox.py).
    """

    crops: int
    crop_s: float
    held_out: int
    draws: int
    rounds: tuple[Round, ...]
    rooms: int
    trials: int


QUALITIES: Mapping[QualityName, Quality] = {
    "draft": Quality(1, 3.0, 1, 16, (Round(4, 8), Round(2, 16)), 0, 32),
    "standard": Quality(2, 3.0, 1, 80, (Round(10, 10), Round(5, 12), Round(2, 30)), 192, 128),
    "best": Quality(3, 4.0, 2, 256, (Round(24, 12), Round(10, 20), Round(4, 60)), 384, 512),
}
