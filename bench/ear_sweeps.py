"""Whether distance grows with how far a knob is turned, effect by effect, across contents.

Of each effect of fxstyle KNOBS knobs that a fit turns, the others at their defaults: content 1 at SETTINGS
shares of the range, evenly from one end to the other, against content 2 at one end. Rank correlation
(Spearman) of how far the share is from that end with the distance; mean of both ends, so that a difference
of the contents alone, which draws the same way at both, counts for nothing; then mean over knobs and pairs of
contents (instruments, music, speech in turn). Where an effect has more knobs, those are swept that change a
performance of our own most (Ld between both ends) out of AT_MOST_TRIED spread over the list: some do
nothing at the others' defaults.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from counterfx import RATE, Stereo
from ear_contents import KINDS, pair
from ear_row import Methods, Rows, distances, embed, mean_row, picked, spearman

from fxstyle.chain import Chain, Slot
from fxstyle.effect import Effect
from fxstyle.effects import all_effects
from fxstyle.features.truth_distance import ld
from fxstyle.param import Param
from fxstyle.performance import perform
from fxstyle.render import render

KNOBS, AT_MOST_TRIED = 4, 12
SETTINGS = 5
TRIAL_S = 3.0
UNHEARD_LD = 0.01
"""A knob that changes less than this from end to end does nothing, to a content or at all: it is left out."""
SEED = 4
QUERIES_OF_A_CONTENT = 25
"""Fifty queries ask for two pairs of contents."""


def turned(effect: Effect, knob: Param, share: float, x: Stereo) -> Stereo:
    """Return a sound through an effect with one knob at a share of its range."""
    low, high = knob.low, knob.high
    value = low * (high / low) ** share if knob.scale == "log" else low + share * (high - low)
    # rounding must not lead out of the range
    slot = Slot(effect, {knob.name: min(max(value, low), high)})
    return np.asarray(render(Chain((slot,)), x, RATE), np.float32)


@cache
def _trial() -> Stereo:
    return np.asarray(perform(TRIAL_S, RATE, song=0), np.float32)


def knobs(effect: Effect) -> list[Param]:
    """Return the knobs of an effect to be swept."""
    fitted = [p for p in effect.params if p.fitted]
    tried = [
        fitted[i] for i in sorted(set(np.linspace(0, len(fitted) - 1, AT_MOST_TRIED).round().astype(int)))
    ]
    heard = {
        p.name: ld(turned(effect, p, 1.0, _trial()), turned(effect, p, 0.0, _trial()), RATE) for p in tried
    }
    best = sorted(heard, key=lambda name: -heard[name])[:KNOBS]
    return [p for p in tried if p.name in best and heard[p.name] > UNHEARD_LD]


def rows(methods: Methods, queries: int) -> Rows:
    """Yield the mean rank correlation by effect, and over effects."""
    shares = np.linspace(0.0, 1.0, SETTINGS)
    contents = []
    for number in range(max(queries // QUERIES_OF_A_CONTENT, 1)):
        rng = np.random.default_rng([SEED, number])
        contents.append(pair(KINDS[(number + 1) % len(KINDS)], rng))
    means: dict[str, list[float]] = {name: [] for name in methods}
    for effect in all_effects():
        found: dict[str, list[float]] = {name: [] for name in methods}
        swept = knobs(effect)
        for knob in swept:
            for first, second in contents:
                sounds = [turned(effect, knob, end, second.sound) for end in (0.0, 1.0)]
                sounds += [turned(effect, knob, float(share), first.sound) for share in shares]
                if ld(sounds[-1], sounds[2], RATE) <= UNHEARD_LD:
                    continue
                for name, method in methods.items():
                    vectors = embed(method, sounds)
                    outputs = picked(vectors, range(2, len(sounds)))
                    ends = [distances(method, outputs, picked(vectors, [end])) for end in (0, 1)]
                    found[name].append((spearman(shares, ends[0]) - spearman(shares, ends[1])) / 2.0)
        for name in methods:
            row = mean_row(f"sweep, {effect.name} ({', '.join(k.name for k in swept)})", name, found[name])
            means[name].append(row.value)
            yield row
    for name in methods:
        yield mean_row("sweep, mean over effects", name, means[name])
