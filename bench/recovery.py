"""Whether a match finds settings again: one knob at a time, and a whole chain with how sure it is.

    python bench/recovery.py [--knobs 3] [--chains 24] [--quality standard] [--seed 0]

sweep    ST-ITO's protocol: one knob of one effect is free, all else locked at its default, the reference is
         other content (the next ten seconds of a test recording) through the effect at SETTINGS shares of the
         knob's range, in RUNS recordings of different kinds. Rank correlation (Spearman) of true with found
         settings over all of a knob, and mean absolute error as a share of the range (a guess in the middle:
         0.3). Knobs as in ear_sweeps.py: those that change a performance of our own most.
chain    Whole chains (CHAINS) with settings drawn from what the fit thinks before it hears anything
         (space.py), the reference other content again. Of every setting that the match calls told and of
         every one that it calls hardly told: mean absolute error as a share of the range, beside that of the
         defaults; rank correlation; and the share of true settings within one standard deviation as the match
         gives it (68 % if it is right).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from counterfx import RATE, Stereo, data_folder, recordings, windows
from ear_row import spearman
from ear_sweeps import MADE_BY, knobs
from ear_tasks import Shelf

import fxstyle
from fxstyle.chain import Chain
from fxstyle.effects import all_effects
from fxstyle.fit.locks import Locks
from fxstyle.fit.quality import QUALITIES
from fxstyle.fit.space import Space
from fxstyle.memory import keep_large_blocks
from fxstyle.param import Param
from fxstyle.render import render

OUT = Path(__file__).parent / "out"
SETTINGS, RUNS = 4, 3
SHARES = np.linspace(0.1, 0.9, SETTINGS)
CHAINS = (
    "eq,gain",
    "compressor,gain",
    "eq,compressor,gain",
    "saturation,gain",
    "reverb,gain",
    "eq,compressor,saturation,delay,reverb,width,gain",
)
KINDS = ("instruments", "music", "speech")


class Row(NamedTuple):
    """One setting of one match; all but `seconds` as shares of the range."""

    part: str
    chain: str
    setting: str
    true: float
    found: float
    default: float
    low: float
    high: float
    identified: bool
    seconds: float


def contents(seed: int) -> Iterator[tuple[Stereo, Stereo]]:
    """Yield pairs of neighbouring windows, kinds in turn, recordings of a kind in a drawn order."""
    groups = recordings(data_folder())
    rng = np.random.default_rng(seed)
    orders = {kind: rng.permutation(len(groups[kind])) for kind in KINDS}
    turn = 0
    while True:
        kind = KINDS[turn % len(KINDS)]
        order = orders[kind]
        pair = windows(groups[kind][order[turn // len(KINDS) % len(order)]], rng)
        turn += 1
        if pair is not None:
            yield pair


def rows_of(
    part: str, truth: Chain, named: str, lock: tuple[str, ...], pair: tuple[Stereo, Stereo], quality: str
) -> list[Row]:
    """Match a window to the other through the true chain, and compare settings."""
    reference = np.asarray(render(truth, pair[1], RATE), np.float32)
    began = time.perf_counter()
    found = fxstyle.match(
        fxstyle.Audio(pair[0], RATE), fxstyle.Audio(reference, RATE), chain=named, lock=lock, paired="no",
        quality=quality,  # type: ignore[arg-type]  # one of QUALITIES
    )  # fmt: skip
    seconds = time.perf_counter() - began
    space, out = Space(Chain.parse(named), Locks.parse(lock, Chain.parse(named))), []
    sure = {s.setting: s for s in found.certainty}
    is_, should = found.chain.settings(), truth.settings()
    for knob in space.knobs:
        address, unit = knob.address, knob.param.to_unit
        # an effect that was left out, or that did not pass the judge, is at its defaults
        value = is_.get(address, knob.param.default) if found.verdict.accepted else knob.param.default
        told = sure.get(address)
        out.append(
            Row(
                part, named, address, unit(should[address]), unit(value), unit(knob.param.default),
                unit(told.low) if told else float("nan"), unit(told.high) if told else float("nan"),
                bool(told and told.identified), seconds,
            )
        )  # fmt: skip
    return out


def _turned(param: Param, share: float) -> float:
    value = float(param.from_unit(torch.tensor(share, dtype=torch.float64)))
    return min(max(value, param.low), param.high)


def sweeps(count: int, quality: str, seed: int) -> Iterator[Row]:
    """Yield the sweeps of up to `count` knobs of every effect that has something to fit."""
    source, shelf = contents(seed), Shelf("sweeps", MADE_BY)
    for effect in all_effects():
        if effect.name in {"convolution", "room"}:
            continue
        for param in knobs(effect, shelf)[:count]:
            lock = tuple(
                f"{effect.name}.{p.name}={p.default!r}" for p in effect.params if p.fitted and p is not param
            )
            for _ in range(RUNS):
                pair = next(source)
                for share in SHARES:
                    value = _turned(param, float(share))
                    truth = Chain.parse(effect.name).with_settings({f"{effect.name}.{param.name}": value})
                    yield from rows_of("sweep", truth, effect.name, lock, pair, quality)


def chains(count: int, quality: str, seed: int) -> Iterator[Row]:
    """Yield matches of whole chains, CHAINS in turn."""
    source, rng = contents(seed + 1), np.random.default_rng([seed, 1])
    for number in range(count):
        named = CHAINS[number % len(CHAINS)]
        space = Space(Chain.parse(named), Locks())
        drawn = space.home + space.factor.numpy() @ rng.normal(0.0, 1.0, space.size)
        truth = space.chain(np.clip(drawn, 0.0, 1.0))
        yield from rows_of("chain", truth, named, (), next(source), quality)


def _line(name: str, rows: list[Row], *, with_cover: bool) -> dict[str, float | str]:
    true, found = (np.array([getattr(r, side) for r in rows]) for side in ("true", "found"))
    home = np.array([r.default for r in rows])
    out: dict[str, float | str] = {
        "name": name,
        "count": len(rows),
        "spearman": spearman(true, found) if np.ptp(found) > 0.0 and np.ptp(true) > 0.0 else float("nan"),
        "error": float(np.abs(found - true).mean()),
        "error_of_defaults": float(np.abs(home - true).mean()),
    }
    if with_cover:
        out["within"] = float(np.mean([r.low <= r.true <= r.high for r in rows]))
        out["width"] = float(np.mean([(r.high - r.low) / 2.0 for r in rows]))
    print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{v!s:>28}" for k, v in out.items()))
    return out


def main(argv: list[str] | None = None) -> None:
    """Run, print and write the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--knobs", type=int, default=3, help="of each effect that are swept; 0: none")
    parser.add_argument("--chains", type=int, default=24, help="whole chains")
    parser.add_argument("--quality", default="standard", choices=sorted(QUALITIES))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    keep_large_blocks()
    OUT.mkdir(exist_ok=True)
    path = OUT / f"recovery-{options.quality}-seed{options.seed}.jsonl"
    rows: list[Row] = []
    with path.open("w", encoding="utf-8") as log:
        for part in (
            sweeps(options.knobs, options.quality, options.seed),
            chains(options.chains, options.quality, options.seed),
        ):
            for row in part:
                rows.append(row)
                log.write(json.dumps(row._asdict()) + "\n")
                log.flush()
    print("sweep")
    table = []
    swept_rows = [r for r in rows if r.part == "sweep"]
    for setting in dict.fromkeys(r.setting for r in swept_rows):
        table.append(_line(setting, [r for r in swept_rows if r.setting == setting], with_cover=False))
    print("chain")
    whole = [r for r in rows if r.part == "chain" and np.isfinite(r.low)]
    for name, told in (("told", True), ("hardly told", False)):
        if some := [r for r in whole if r.identified is told]:
            table.append(_line(name, some, with_cover=True))
    for setting in dict.fromkeys(r.setting for r in whole):
        some = [r for r in whole if r.setting == setting and r.identified]
        if len(some) > 3:
            table.append(_line(setting, some, with_cover=True))
    text = json.dumps({"quality": options.quality, "seed": options.seed, "table": table}, indent=1)
    path.with_suffix(".json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
