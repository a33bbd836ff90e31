"""Bringing proposals to the reference's loudness, by the knob that does nothing but that.

    knob += (L(reference) - L(input)) - (L(chain(x)) - L(x))

L is BS.1770's loudness and x a passage of the input: what the chain does to the loudness is heard.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fxstyle.audio import Audio
from fxstyle.chain import Chain, Slot
from fxstyle.effect import Effect
from fxstyle.errors import FxstyleError
from fxstyle.fit.crops import salient
from fxstyle.loudness import measure_loudness
from fxstyle.render import render

PASSAGE_S = 5.0
LEAST_DB = 0.5
"""Nearer than this is as loud."""

SILENT_LUFS = -69.0
"""BS.1770 counts what is below as silence: nothing brings it back."""


def levelled(
    chains: Sequence[Chain], source: Audio, reference: Audio, by: Effect | None = None
) -> list[Chain]:
    """Return chains that are as loud as `reference` where they can be.

    The last slot whose effect has a level knob is turned; where there is none, one of the effect `by` is put
    at the end, or, where that is None, the chain stays as it is.
    """
    size = min(round(PASSAGE_S * source.rate), source.frames)
    begin = salient(source.samples, size, 1)[0]
    passage = source.with_samples(np.ascontiguousarray(source.samples[:, begin : begin + size]))
    was_lufs = _loudness_lufs(passage)
    wanted_db = _loudness_lufs(reference) - _loudness_lufs(source)
    return [_levelled(chain, passage, was_lufs + wanted_db, by) for chain in chains]


def _loudness_lufs(audio: Audio) -> float:
    return measure_loudness(audio).integrated_lufs


def _levelled(chain: Chain, passage: Audio, aim_lufs: float, by: Effect | None) -> Chain:
    able = [slot for slot in chain if slot.effect.level_knob is not None and slot.active]
    if not able and by is None:
        return chain
    try:
        found_lufs = _loudness_lufs(passage.with_samples(render(chain, passage.samples, passage.rate)))
    except FxstyleError:
        return chain  # what does not even play has no loudness
    more_db = aim_lufs - found_lufs
    if not found_lufs > SILENT_LUFS or abs(more_db) < LEAST_DB:
        return chain
    if by is not None and not able:
        chain = Chain((*chain, Slot(by)))
        able = [chain.slots[-1]]
    slot = able[-1]
    param = slot.effect.param(slot.effect.level_knob or "")
    value = min(max(slot.settings[param.name] + more_db, param.low), param.high)
    return chain.with_settings({f"{slot.name}.{param.name}": value})
