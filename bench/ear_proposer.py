"""Whether the proposer's settings are worth a try: the best of DRAWS of them, and the one the fit would take.

    nice python bench/ear_proposer.py [--items 30] [--told 150] [--weights proposer.safetensors]

Items are as those of CounterFX (counterfx.py), of WINDOW_S: two adjacent windows A, B at one loudness,

    input = A,   reference = C(B),   truth = C(A),   score of an output y = Ld(y, truth)

and C once of fxstyle's own effects, drawn as in training (fxstyle/train/_proposer_prior.py), once of those of
pedalboard, which the proposer never heard. Of settings from each of

    proposer        draws from the proposer, any effects; and again for the default chain only
    closed form     what a fit draws today around its closed form, default chain (fxstyle/fit/search.py)
    mixed           half of the draws for the default chain and half of those around the closed form
    random          draws from the training's prior, without listening; and again with every second of them
                    brought to the reference's loudness, as the proposer's are

best: the least Ld. taken: Ld of that with the least objective, which knows input and reference only. mean: of
all. Beside them single settings: the proposer's likeliest, the closed form, the preset (of PRESETS draws from
the prior, on fxstyle's own playing, that whose vector of style is nearest to the reference's: fxstyle has no
factory presets), and doing nothing.

By effect, on items of their own: how often it is right that an effect is there (F1), where it is likelier
than not and in draws, against saying so always and against draws by how often it is there; and the rank
correlation of the likeliest value of a knob with the true one, where the effect is known to be there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from counterfx import (
    KINDS,
    LOUDNESS_LUFS,
    RATE,
    SMALLEST_LD,
    Stereo,
    at_loudness,
    data_folder,
    recordings,
    windows,
)
from counterfx import items as pedalboard_items
from ear_row import Methods, Row, Rows, mean_row, spearman

from fxstyle.audio import Audio
from fxstyle.chain import Chain
from fxstyle.errors import FxstyleError
from fxstyle.features.truth_distance import ld
from fxstyle.fit._levelling import levelled
from fxstyle.fit.match import Problem, problem
from fxstyle.fit.mixture import likeliest
from fxstyle.fit.proposer import Proposer, load, most_likely, propose, starts
from fxstyle.fit.search import draws
from fxstyle.performance import SONGS, perform
from fxstyle.render import render
from fxstyle.train._proposer_prior import Drawn, drawn_chain, slot_of

WINDOW_S = 5.0
DRAWS, PRESETS = 32, 256
PLAYED = 8
"""Pieces of fxstyle's own playing that presets are rendered on."""

SEED = 11
MAIN_KNOBS = (
    "gain.gain_db", "eq.low_cut_hz", "eq.high_cut_hz", "eq.low_shelf_db", "eq.high_shelf_db", "eq.peak3_db",
    "compressor.threshold_db", "compressor.ratio", "compressor.makeup_db", "saturation.drive_db",
    "delay.time_ms", "delay.level_db", "reverb.t60_1k_s", "reverb.level_db", "width.width",
    "width.balance_db", "bitcrush.bits", "bitcrush.hold_hz", "tremolo.rate_hz", "tremolo.depth",
)  # fmt: skip
LIKELY = 0.5
"""An effect that is likelier than this is said to be there."""

FEWEST = 8
"""Items with a knob, below which no correlation is shown."""


@dataclass(frozen=True)
class Item:
    """One task; audio (2, time). drawn: the chain, where it is of our own effects."""

    kind: str
    input: Stereo
    reference: Stereo
    truth: Stereo
    drawn: tuple[Drawn, ...] = ()


def own_items(count: int, seed: int = SEED) -> Iterator[Item]:
    """Yield items whose chains are of fxstyle's effects, as the training draws them."""
    folder = data_folder()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        for attempt in range(1000):
            rng = np.random.default_rng([seed, number, attempt])
            group = recordings(folder)[kind]
            pair = windows(group[int(rng.integers(len(group)))], rng)
            if pair is None:
                continue
            a, b = (_short(x) for x in pair)
            drawn, reference = drawn_chain(b, rng)
            truth = through(_chain(drawn), a)
            if np.isfinite(truth).all() and ld(a, truth, RATE) >= SMALLEST_LD:
                yield Item(kind, a, reference, truth, tuple(drawn))
                break


def foreign_items(count: int) -> Iterator[Item]:
    """Yield items of CounterFX, cut to WINDOW_S."""
    for item in pedalboard_items(count, SEED):
        yield Item(item.kind, *(_short(x) for x in (item.input, item.reference, item.truth)))


def _short(x: Stereo) -> Stereo:
    return np.ascontiguousarray(x[:, : round(WINDOW_S * RATE)])


def _chain(drawn: Sequence[Drawn]) -> Chain:
    return Chain(tuple(slot_of(d.name, d.u) for d in drawn))


def through(chain: Chain, x: Stereo) -> Stereo:
    """Return a sound through a chain."""
    return np.asarray(render(chain, x, RATE), np.float32)


@cache
def _played(seed: int) -> Stereo:
    x = perform(WINDOW_S, RATE, song=seed % len(SONGS), seed=seed)
    return at_loudness(x, LOUDNESS_LUFS)


@dataclass(frozen=True)
class Prior:
    """Chains of the prior, and what the encoder's style makes of each on fxstyle's own playing."""

    chains: tuple[Chain, ...]
    styles: torch.Tensor

    @classmethod
    def drawn(cls, which: Proposer) -> Prior:
        """Draw PRESETS chains."""
        chains, sounds = [], []
        for k in range(PRESETS):
            made, y = drawn_chain(_played(k % PLAYED), np.random.default_rng([SEED, 1, k]))
            chains.append(_chain(made))
            sounds.append(_style(which, y))
        return cls(tuple(chains), torch.cat(sounds))


def _style(which: Proposer, x: Stereo) -> torch.Tensor:
    with torch.no_grad():
        return which.ear.embed(torch.from_numpy(x)[None], RATE)["style"]


def settings(item: Item, which: Proposer, prior: Prior, fit: Problem, number: int) -> dict[str, list[Chain]]:
    """Return what is tried, by source."""
    a, b = Audio(item.input, RATE), Audio(item.reference, RATE)
    rng = np.random.default_rng([SEED, 2, number])
    around = [fit.chain(u) for u in draws(fit.space, fit.start, DRAWS, rng)]
    within = [fit.chain(u) for u in starts(fit.space, a, b, DRAWS, number, proposer=which)]
    chosen = rng.choice(PRESETS, size=DRAWS, replace=False)
    blind = [prior.chains[k] for k in chosen]
    loud = levelled(blind[1::2], a, b, which.leveller)
    nearest = int((prior.styles @ _style(which, item.reference)[0]).argmax())
    return {
        "proposer": propose(a, b, None, DRAWS, number, proposer=which),
        "proposer, default chain": within,
        "around closed form": around,
        "mixed": [*around[: DRAWS // 2], *within[: DRAWS // 2]],
        "random": blind,
        "random, levelled": [x for pair in zip(blind[::2], loud, strict=True) for x in pair],
        "likeliest": [most_likely(a, b, proposer=which)],
        "closed form": [fit.chain(fit.start)],
        "nearest preset": [prior.chains[nearest]],
        "nothing": [Chain()],
    }


@torch.no_grad()
def objective_of(fit: Problem, chain: Chain) -> float:
    """Return the distance of the fit's objective, its prior left out: chains need not be of its space."""
    objective = fit.objective
    return objective.of_audio(chain.forward(objective.crops.audio, RATE))


def score_rows(title: str, items: Iterator[Item], which: Proposer) -> Rows:
    """Yield best, taken and mean by source."""
    prior = Prior.drawn(which)
    found: dict[tuple[str, str], list[float]] = {}
    for number, item in enumerate(items):
        fit = problem(Audio(item.input, RATE), Audio(item.reference, RATE), quality="draft")
        known: dict[Chain, tuple[float, float]] = {}
        for source, chains in settings(item, which, prior, fit, number).items():
            scores = []
            for chain in chains:
                key = repr(chain)
                if key not in known:
                    known[key] = _scored(item, fit, chain)
                scores.append(known[key])
            truth, objective = np.array(scores).T
            found.setdefault(("best", source), []).append(float(truth.min()))
            found.setdefault(("taken", source), []).append(float(truth[objective.argmin()]))
            found.setdefault(("mean", source), []).append(float(truth.mean()))
        print(title, number, item.kind, *(f"{s}: {v[-1]:.2f}" for (w, s), v in found.items() if w == "best"),
              file=sys.stderr, flush=True)  # fmt: skip
    for (what, source), values in found.items():
        yield mean_row(f"{title}, Ld, {what}", source, values, -1.0)


def _scored(item: Item, fit: Problem, chain: Chain) -> tuple[float, float]:
    try:
        y = through(chain, item.input)
    except FxstyleError:
        y = np.full_like(item.input, np.nan)
    if not np.isfinite(y).all():
        y = item.input
    return ld(y, item.truth, RATE), objective_of(fit, chain)


def told_rows(items: Iterator[Item], which: Proposer) -> Rows:
    """Yield F1 by effect and in all, and rank correlations of knobs."""
    layout = which.network.layout
    names = list(layout.knobs)
    everything = np.ones(len(names), dtype=bool)
    truth, found, chances = [], [], []
    pairs: dict[str, list[tuple[float, float]]] = {}
    for item in items:
        heard = which.heard(Audio(item.input, RATE), Audio(item.reference, RATE))
        there = np.array([any(d.name == name for d in item.drawn) for name in names])
        truth.append(there)
        chances.append(which.network.presence(heard)[0].numpy())
        found.append(chances[-1] > LIKELY)
        u = likeliest(which.network, heard, everything, there).u[0]
        for drawn in item.drawn:
            own = layout.knobs[drawn.name]
            for i, knob in enumerate(own):
                if drawn.known[i]:
                    values = float(drawn.u[i]), float(u[layout.slices[drawn.name]][i])
                    pairs.setdefault(f"{drawn.name}.{knob}", []).append(values)
    right, said, chance = np.stack(truth), np.stack(found), np.stack(chances)
    share = right.mean(0)
    for columns, what in [(slice(None), "all"), *((slice(i, i + 1), n) for i, n in enumerate(names))]:
        own = right[:, columns]
        count = int(own.sum())
        yield Row(f"F1, {what}", "proposer", *[_f1(own, said[:, columns])] * 3, count)
        drawn_f1 = _expected_f1(own, chance[:, columns])
        yield Row(f"F1, {what}", "drawn", drawn_f1, drawn_f1, drawn_f1, count)
        yield Row(f"F1, {what}", "always", *[_f1(own, np.ones_like(own))] * 3, count)
        guessed = _expected_f1(own, np.broadcast_to(share[columns], own.shape))
        yield Row(f"F1, {what}", "prior", guessed, guessed, guessed, count)
    for address in MAIN_KNOBS:
        values = np.array(pairs.get(address, []))
        if len(values) >= FEWEST:
            yield Row(
                f"Spearman, {address}", "proposer", *[spearman(values[:, 0], values[:, 1])] * 3, len(values)
            )


def _f1(truth: np.ndarray, said: np.ndarray) -> float:
    return 2.0 * float((truth & said).sum()) / max(float(truth.sum() + said.sum()), 1.0)


def _expected_f1(truth: np.ndarray, chance: np.ndarray) -> float:
    """Return F1 of draws with these chances, of the expected counts."""
    return 2.0 * float((truth * chance).sum()) / max(float(truth.sum() + chance.sum()), 1.0)


def table(rows: Sequence[Row]) -> str:
    """Return rows as markdown, a column for each figure and a row for each source."""
    whats = list(dict.fromkeys(row.what for row in rows))
    lines = [f"| | {' | '.join(whats)} |", f"|---|{'---|' * len(whats)}"]
    for source in dict.fromkeys(row.method for row in rows):
        own = {row.what: row for row in rows if row.method == source}
        cells = [
            f"{own[w].value:.2f} [{own[w].low:.2f}, {own[w].high:.2f}]" if w in own else "" for w in whats
        ]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    return "\n".join(lines)


def told_table(rows: Sequence[Row]) -> str:
    """Return rows as markdown, a line each."""
    whats = dict.fromkeys((row.what, row.queries) for row in rows)
    names = ("proposer", "drawn", "always", "prior")
    lines = [f"| | n | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for what, count in whats:
        own = {row.method: row.value for row in rows if row.what == what}
        cells = [f"{own[m]:.2f}" if m in own else "" for m in names]
        lines.append(f"| {what} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


QUERIES_OF_AN_ITEM = 0.6
TOLD_OF_A_QUERY = 3


def rows(methods: Methods, queries: int) -> Rows:
    """Yield all figures of the shipped proposer; its sources stand for methods."""
    del methods
    which = load()
    count = max(round(QUERIES_OF_AN_ITEM * queries), 1)
    yield from score_rows("own effects", own_items(count), which)
    yield from score_rows("pedalboard", foreign_items(count), which)
    yield from told_rows(own_items(TOLD_OF_A_QUERY * queries, SEED + 1), which)


def main(argv: list[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=30, help="of each kind of effects; 0: none")
    parser.add_argument("--told", type=int, default=150, help="items on which effects and knobs are told")
    parser.add_argument("--weights", type=Path, help="of the proposer, instead of the shipped ones")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    which = load(options.weights)
    if options.told:
        print(told_table(list(told_rows(own_items(options.told, SEED + 1), which))), flush=True)
    if options.items:
        for title, items in (("own effects", own_items), ("pedalboard", foreign_items)):
            print(f"\n{table(list(score_rows(title, items(options.items), which)))}", flush=True)


if __name__ == "__main__":
    main()
