"""Inputs and references that are not as they should be: how often is the output worse than the input?

    python bench/robust.py [--items 8] [--classes wet,noise,...] [--seed 1] [--quality standard]

CounterFX items of `test` rows (counterfx.py), hidden chains, each changed in one way:

    wet           the input has been through another random chain already, and so has the truth
    other kind    the reference is of another kind of material (music, instruments, speech by turns)
    mono input    the input, and the truth, are the mid of both channels
    mono reference  the reference is
    noisy input   pink noise 30 dB below the input, in input and truth
    noisy reference  the same in the reference
    clipped       the reference is clipped 6 dB below its peak
    quiet         the input is 30 dB lower, the truth is not
    short         2 s of the input and 2 s of the reference

Ld is that of bench/match.py, of the output and of the untouched input to the truth; an output that is farther
by WORSE_BY counts as worse. Results are kept in bench/out/robust-standard-seed1.jsonl; a run goes on where
it stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from counterfx import KINDS, RATE, Item, Stereo, at_loudness, draw_steps, items, loudness_lufs, process

import fxstyle
from fxstyle.features.truth_distance import ld
from fxstyle.memory import keep_large_blocks
from fxstyle.units import db_to_amplitude

OUT = Path(__file__).parent / "out"
WORSE_BY = 1e-6
NOISE_DB, CLIP_DB, QUIET_DB, SHORT_S = -30.0, -6.0, -30.0, 2.0

Change = Callable[[Item, list[Item], np.random.Generator], Item]


@dataclass(frozen=True)
class Row:
    """One item of a class. error: why nothing came of it; it is then scored as the input."""

    kind: str
    item: int
    nothing: float
    loudness: float
    ld: float
    accepted: bool
    seconds: float
    error: str = ""


def _pink(frames: int, rng: np.random.Generator) -> Stereo:
    spectrum = np.fft.rfft(rng.standard_normal((2, frames)), axis=1)
    spectrum[:, 1:] /= np.sqrt(np.arange(1, spectrum.shape[1]))
    spectrum[:, 0] = 0.0
    made = np.fft.irfft(spectrum, frames, axis=1)
    return np.asarray(made / np.sqrt(np.square(made).mean()), np.float32)


def _with_noise(x: Stereo, rng: np.random.Generator) -> Stereo:
    rms = float(np.sqrt(np.square(x).mean()))
    return np.asarray(x + rms * db_to_amplitude(NOISE_DB) * _pink(x.shape[1], rng), np.float32)


def _mid(x: Stereo) -> Stereo:
    return np.ascontiguousarray(np.broadcast_to(x.mean(axis=0), x.shape))


def wet(item: Item, others: list[Item], rng: np.random.Generator) -> Item:
    """Treat the input first."""
    source = at_loudness(process(item.input, draw_steps(rng)), loudness_lufs(item.input))
    return replace(item, input=source, truth=process(source, item.steps))


def other_kind(item: Item, others: list[Item], rng: np.random.Generator) -> Item:
    """Take the reference from other material."""
    strangers = [o for o in others if o.kind != item.kind]
    other = strangers[int(rng.integers(len(strangers)))]
    return replace(item, reference=process(other.input, item.steps))


def noisy_input(item: Item, others: list[Item], rng: np.random.Generator) -> Item:
    """Put noise under the input."""
    source = _with_noise(item.input, rng)
    return replace(item, input=source, truth=process(source, item.steps))


def clipped(item: Item, others: list[Item], rng: np.random.Generator) -> Item:
    """Clip the reference."""
    top = float(np.abs(item.reference).max()) * db_to_amplitude(CLIP_DB)
    return replace(item, reference=np.clip(item.reference, -top, top))


def short(item: Item, others: list[Item], rng: np.random.Generator) -> Item:
    """Keep SHORT_S of each, where the input is loud."""
    size = round(SHORT_S * RATE)
    hops = range(0, item.input.shape[1] - size + 1, size // 4)
    begin = max(hops, key=lambda b: float(np.square(item.input[:, b : b + size]).sum()))
    here = slice(begin, begin + size)
    return replace(
        item, input=item.input[:, here], reference=item.reference[:, here], truth=item.truth[:, here]
    )


CLASSES: dict[str, Change] = {
    "plain": lambda item, others, rng: item,
    "wet": wet,
    "other kind": other_kind,
    "mono input": lambda item, others, rng: replace(
        item, input=_mid(item.input), truth=process(_mid(item.input), item.steps)
    ),
    "mono reference": lambda item, others, rng: replace(item, reference=_mid(item.reference)),
    "noisy input": noisy_input,
    "noisy reference": lambda item, others, rng: replace(item, reference=_with_noise(item.reference, rng)),
    "clipped": clipped,
    "quiet": lambda item, others, rng: replace(
        item, input=np.asarray(item.input * db_to_amplitude(QUIET_DB), np.float32)
    ),
    "short": short,
}


def run(kind: str, number: int, item: Item, quality: str) -> Row:
    """Match one item and score it."""
    began = time.perf_counter()
    error, accepted, y = "", False, item.input
    try:
        found = fxstyle.match(
            fxstyle.Audio(item.input, RATE), fxstyle.Audio(item.reference, RATE), quality=quality
        )
        y, accepted = found.audio.samples, found.verdict.accepted
    except fxstyle.FxstyleError as failure:
        error = str(failure)
    seconds = time.perf_counter() - began
    level = at_loudness(item.input, loudness_lufs(item.reference))
    return Row(
        kind, number, *(ld(z, item.truth, RATE) for z in (item.input, level, y)), accepted, seconds, error
    )


def print_table(rows: list[Row]) -> None:
    """Print one line per class, and all of them."""
    head = f"{'class':<16}{'items':>6}{'input':>8}{'loudness':>9}{'fxstyle':>8}{'worse %':>8}"
    print(f"\n{head}{'loud. w. %':>11}")
    for kind in [*dict.fromkeys(r.kind for r in rows), "all"]:
        own = [r for r in rows if kind in (r.kind, "all")]
        worse = 100.0 * np.mean([r.ld > r.nothing + WORSE_BY for r in own])
        louder = 100.0 * np.mean([r.loudness > r.nothing + WORSE_BY for r in own])
        means = (float(np.mean([getattr(r, name) for r in own])) for name in ("nothing", "loudness", "ld"))
        print(
            f"{kind:<16}{len(own):>6}"
            + "{:>8.2f}{:>9.2f}{:>8.2f}".format(*means)
            + f"{worse:>8.1f}{louder:>11.1f}"
        )
    for row in rows:
        if row.error:
            print(f"failed: {row.kind}, item {row.item}: {row.error}")


def main(argv: list[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--items", type=int, default=8, help="of each class")
    parser.add_argument("--classes", default=",".join(CLASSES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quality", default="standard")
    options = parser.parse_args(argv)
    classes = [name.strip() for name in options.classes.split(",")]
    if unknown := [name for name in classes if name not in CLASSES]:
        parser.error(f"unknown class {', '.join(unknown)}; there are {', '.join(CLASSES)}")
    keep_large_blocks()
    OUT.mkdir(exist_ok=True)
    path = OUT / f"robust-{options.quality}-seed{options.seed}.jsonl"
    done = [Row(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []
    whole = list(items(max(options.items, len(KINDS)), options.seed))
    rows = []
    with path.open("a", encoding="utf-8") as log:
        for number, item in enumerate(whole[: options.items]):
            for kind in classes:
                row = next((r for r in done if (r.kind, r.item) == (kind, number)), None)
                if row is None:
                    rng = np.random.default_rng([options.seed, number, list(CLASSES).index(kind)])
                    row = run(kind, number, CLASSES[kind](item, whole, rng), options.quality)
                    log.write(json.dumps(asdict(row)) + "\n")
                    log.flush()
                rows.append(row)
            print(number, item.name, flush=True)
    print_table(sorted(rows, key=lambda r: classes.index(r.kind)))


if __name__ == "__main__":
    main()
