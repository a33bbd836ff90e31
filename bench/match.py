"""All methods on the same CounterFX items in one run: distance to the truth, and what it cost.

    python bench/match.py [--items 40] [--methods nothing,loudness,...] [--quality standard] [--hidden]

With --hidden nobody is told which effects were used: fxstyle hears for itself, CMA-ES is left out, and the
units that fxstyle's chain stands for are compared with those that were there (F1, micro-averaged).

Each result is appended to bench/out/match-seed0.jsonl (hidden-seed0.jsonl) as soon as it is there; a run that
was interrupted goes on where it stopped, and --again computes the named methods anew. The table goes to the
file of that name that ends in .json as well.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import sys
import time
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from baselines import METHODS, Task
from counterfx import RATE, Item, items

from fxstyle.features.truth_distance import ld
from fxstyle.memory import keep_large_blocks

OUT = Path(__file__).parent / "out"
NEEDS = {"matchering": "matchering", "cma": "cma"}
FITS = ("cma", "fxstyle")
"""Methods whose result depends on --quality."""

RESAMPLES, INTERVAL = 10_000, 0.95
WORSE_BY = 1e-6
"""An output counts as worse than the untouched input beyond rounding."""


@dataclass(frozen=True)
class Row:
    """One method on one item. `error` says why the method gave nothing; it is scored as do-nothing."""

    item: int
    fingerprint: int
    name: str
    kind: str
    steps: str
    method: str
    quality: str
    ld: float
    nothing: float
    seconds: float
    error: str = ""
    taken: str = ""


@dataclass(frozen=True)
class Summary:
    """A method over items. `difference`: mean of Ld minus that of another method on the same items."""

    method: str
    count: int
    mean: float
    median: float
    worse: float
    seconds_median: float
    seconds_most: float
    errors: int
    difference: float
    low: float
    high: float


def fingerprint(item: Item) -> int:
    """Checksum of input and truth: results of other audio are not mixed in."""
    return zlib.crc32(item.truth.tobytes(), zlib.crc32(item.input.tobytes()))


def interval(differences: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of the mean of paired differences (percentiles over resampled items)."""
    draws = np.random.default_rng(seed).integers(differences.size, size=(RESAMPLES, differences.size))
    low, high = np.quantile(differences[draws].mean(1), [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return float(low), float(high)


def summarise(rows: Iterable[Row], against: str) -> list[Summary]:
    """Summarise each method, with paired differences to the method `against`, in the order of METHODS."""
    by_method: dict[str, dict[int, Row]] = {}
    for row in rows:
        by_method.setdefault(row.method, {})[row.item] = row
    base = by_method.get(against, {})
    table = []
    for method in sorted(by_method, key=list(METHODS).index):
        own = by_method[method]
        values = np.array([r.ld for r in own.values()])
        seconds = np.array([r.seconds for r in own.values()])
        shared = sorted(own.keys() & base.keys())
        differences = np.array([own[i].ld - base[i].ld for i in shared]) if shared else np.array([np.nan])
        table.append(
            Summary(
                method,
                values.size,
                float(values.mean()),
                float(np.median(values)),
                float(np.mean([r.ld > r.nothing + WORSE_BY for r in own.values()])),
                float(np.median(seconds)),
                float(seconds.max()),
                sum(bool(r.error) for r in own.values()),
                float(differences.mean()),
                *interval(differences),
            )
        )
    return table


def print_table(title: str, table: list[Summary], against: str) -> None:
    """Print one table of summaries."""
    print(f"\n{title}")
    print(
        f"{'method':<16}{'items':>6}{'mean Ld':>9}{'median':>8}{'worse %':>9}{'s/item':>8}{'max s':>7}"
        f"   minus {against} [95 %]"
    )
    for s in table:
        note = f"   {s.errors} failed, scored as do-nothing" if s.errors else ""
        print(
            f"{s.method:<16}{s.count:>6}{s.mean:>9.3f}{s.median:>8.3f}{100 * s.worse:>9.1f}"
            f"{s.seconds_median:>8.2f}{s.seconds_most:>7.1f}"
            f"   {s.difference:+.3f} [{s.low:+.3f}, {s.high:+.3f}]{note}"
        )


def run(item: Item, number: int, method: str, quality: str, seed: int, hidden: bool = False) -> Row:
    """Run one method on one item and score it."""
    known = (None, ()) if hidden else (item.chain, item.lock)
    task = Task(item.input, item.reference, *known, quality, seed)
    began = time.perf_counter()
    error, output = "", item.input
    try:
        output = METHODS[method](task)
    except Exception as failure:  # a method that fails must not end a run of hours
        error = f"{type(failure).__name__}: {failure}"
    seconds = time.perf_counter() - began
    if not error and (output.shape != item.truth.shape or not np.isfinite(output).all()):
        error, output = f"output {output.shape} is not finite or not as long as the input", item.input
    return Row(
        number, fingerprint(item), item.name, item.kind, " > ".join(map(str, item.steps)), method,
        quality if method in FITS else "", ld(output, item.truth, RATE), item.untouched, seconds, error,
        ",".join(sorted(task.taken)),
    )  # fmt: skip


def sets_told(rows: Iterable[Row]) -> str:
    """Say how well the sets of units agree with those that were there."""
    right = taken = there = 0
    missed: dict[str, list[int]] = {}
    for row in rows:
        own = {unit for unit in row.taken.split(",") if unit}
        truth = {step.partition("(")[0] for step in row.steps.split(" > ")}
        right, taken, there = right + len(own & truth), taken + len(own), there + len(truth)
        for unit in truth:
            missed.setdefault(unit, []).append(unit not in own)
    precision, recall = right / max(taken, 1), right / max(there, 1)
    f1 = 2.0 * precision * recall / max(precision + recall, 1e-9)
    by_unit = ", ".join(f"{unit} {sum(own)}/{len(own)}" for unit, own in sorted(missed.items()))
    return f"units: F1 {f1:.3f} (precision {precision:.3f}, recall {recall:.3f}); missed: {by_unit}"


def read_rows(path: Path) -> list[Row]:
    """Rows of an earlier run; a line that was cut off by an interruption is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(Row(**json.loads(line)))
        except (json.JSONDecodeError, TypeError):
            continue
    return rows


def main(argv: list[str] | None = None) -> None:
    """Run, print and write the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--items", type=int, default=40, help="how many items")
    parser.add_argument("--methods", default=",".join(METHODS), help="which, separated by commas")
    parser.add_argument("--seed", type=int, default=0, help="of the items and of the fits")
    parser.add_argument("--quality", default="standard", help="of fxstyle and of the problem CMA-ES solves")
    parser.add_argument("--hidden", action="store_true", help="tell nobody which effects were used")
    parser.add_argument("--again", action="store_true", help="compute the named methods anew")
    options = parser.parse_args(argv)

    methods = [m.strip() for m in options.methods.split(",")]
    if unknown := [m for m in methods if m not in METHODS]:
        parser.error(f"unknown method {', '.join(unknown)}; there are {', '.join(METHODS)}")
    for method in [m for m in methods if m in NEEDS and importlib.util.find_spec(NEEDS[m]) is None]:
        print(f"{method} is left out: the package {NEEDS[method]} is not installed", file=sys.stderr)
        methods.remove(method)
    logging.getLogger("matchering").setLevel(logging.ERROR)

    keep_large_blocks()
    OUT.mkdir(exist_ok=True)
    name = f"{'hidden' if options.hidden else 'match'}-seed{options.seed}"
    path = OUT / f"{name}.jsonl"
    if options.hidden and "cma" in methods:
        methods.remove("cma")  # it searches the settings of a chain, not chains
    wanted = {m: options.quality if m in FITS else "" for m in methods}
    done = read_rows(path)
    if options.again:
        done = [r for r in done if wanted.get(r.method) != r.quality or r.item >= options.items]
    # Written anew, lest the next row is glued to a line that was cut off.
    path.write_text("".join(json.dumps(asdict(r)) + "\n" for r in done), encoding="utf-8")

    rows: list[Row] = []
    with path.open("a", encoding="utf-8") as log:
        for number, item in enumerate(items(options.items, options.seed)):
            key, scores = fingerprint(item), []
            known = {(r.method, r.quality): r for r in done if (r.item, r.fingerprint) == (number, key)}
            for method, quality in wanted.items():
                row = known.get((method, quality))
                if row is None:
                    row = run(item, number, method, quality, options.seed, options.hidden)
                    log.write(json.dumps(asdict(row)) + "\n")
                    log.flush()
                rows.append(row)
                scores.append(f"{method} {row.ld:.3f}{'!' if row.error else ''}")
            print(f"{item.name} [{item.kind}] {' > '.join(map(str, item.steps))}\n    {'  '.join(scores)}")
            sys.stdout.flush()

    against = "nothing" if "nothing" in methods else methods[0]
    tables = {"all": summarise(rows, against)}
    for kind in sorted({r.kind for r in rows}):
        tables[kind] = summarise([r for r in rows if r.kind == kind], against)
    for title, table in tables.items():
        print_table(title, table, against)
    if "fxstyle" in methods and len(methods) > 1:
        against = "fxstyle"
        tables["all, minus fxstyle"] = summarise(rows, against)
        print_table("all, paired with fxstyle", tables["all, minus fxstyle"], against)
        mean = {s.method: s.mean for s in tables["all"]}
        if rivals := [mean[m] for m in ("loudness", "matchering") if m in mean]:
            print(f"\nfxstyle / better of loudness and matchering: {mean['fxstyle'] / min(rivals):.3f}")
    if options.hidden and "fxstyle" in methods:
        print(sets_told(row for row in rows if row.method == "fxstyle"))
    for row in rows:
        if row.error:
            print(f"failed: {row.name}, {row.method}: {row.error}", file=sys.stderr)
    summary = {name: [asdict(s) for s in table] for name, table in tables.items()}
    out = {"seed": options.seed, "quality": options.quality, "items": options.items, "tables": summary}
    (OUT / f"{name}.json").write_text(json.dumps(out, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
