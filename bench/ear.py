"""How well fxstyle hears a treatment whatever is played: all protocols, all methods, in one run.

    nice python bench/ear.py [--only retrieval,styles,rank,..] [--methods measured,mfcc,encoder,cdpam:2]
                             [--queries 50] [--weights shipped,run/encoder.safetensors] [--cache DIR]

Recordings of the test split (FXSTYLE_DATA). Each part states its protocol, `ear_methods.py` the methods.
Prints two tables per part, the methods with intervals of 95 % and their differences to the best baseline, and
adds the run to bench/out/ear.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ear_methods import BASELINES, METHODS, UNASKED, WEIGHED, AbsentError
from ear_row import Limited, Methods, Paired, Part, Row, paired
from ear_tasks import Shelf

from fxstyle.embed import Embedding
from fxstyle.errors import FxstyleError
from fxstyle.files import make_folder, write_text
from fxstyle.memory import keep_large_blocks

PARTS = (
    "retrieval",
    "styles",
    "rank",
    "retrieval-unseen",
    "styles-unseen",
    "plugins",
    "sweeps",
    "proposer",
    "speed",
)
"""Each in a file of its own, ear_retrieval.py and so on."""

SHIPPED = "shipped"
OUT = Path(__file__).parent / "out"
QUERIES = 50


def table(rows: Sequence[Row], methods: Methods) -> str:
    """Return the rows as markdown, a column for each method that has one, and for others in the rows."""
    there = {row.method for row in rows}
    names = [name for name in dict.fromkeys((*methods, *(row.method for row in rows))) if name in there]
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row.what, {})[row.method] = row
    lines = [f"| What | n | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for what, own in found.items():
        count = max(row.queries for row in own.values())
        cells = [_cell(own[name], count) if name in own else "" for name in names]
        lines.append(f"| {what} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def paired_table(found: Sequence[Paired]) -> str:
    """Return differences to the best baseline as markdown, a column for each other method."""
    names = list(dict.fromkeys(row.method for pair in found for row in pair.rows))
    lines = [
        f"| What | best baseline | n | {' | '.join(f'{name} less it' for name in names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    for pair in found:
        own = {row.method: row for row in pair.rows}
        count = max(row.queries for row in pair.rows)
        cells = [_cell(own[name], count, "+") if name in own else "" for name in names]
        lines.append(f"| {pair.what} | {pair.best} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Row, count: int, sign: str = "") -> str:
    fewer = f" n={row.queries}" if row.queries != count else ""
    form = f"{sign}.{2 if not abs(row.value) >= 10.0 else 0}f"
    return f"{row.value:{form}} [{row.low:{form}}, {row.high:{form}}]{fewer}"


def _chosen(parser: argparse.ArgumentParser, text: str, there: Sequence[str], what: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if wrong := [name for name in names if name not in there]:
        parser.error(f"no {what} is called {', '.join(wrong)}; there are {', '.join(there)}")
    return names


def _labels(files: Sequence[str]) -> list[str]:
    """Return short names of weights files: as much of the end of each path as tells them apart."""
    parts = [Path(file).with_suffix("").parts for file in files]
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(own[-length:]) for own in parts]
        if len(set(labels)) == len(labels):
            return labels
    return labels


def _methods(parser: argparse.ArgumentParser, text: str, weights: str) -> Methods:
    """Return the methods of "name,name:QUERIES,..", those that weights decide once for each file."""
    files = list(dict.fromkeys(file.strip() for file in weights.split(",")))
    found: dict[str, Embedding] = {}
    names: list[str] = []
    limits: list[int | None] = []
    for word in text.split(","):
        name, _, count = word.strip().partition(":")
        if count and not (count.isdecimal() and int(count)):
            parser.error(f"--methods {word}: after the colon stands a number of queries, 1 or more")
        names.append(name)
        limits.append(int(count) if count else None)
    for name, limit in zip(_chosen(parser, ",".join(names), list(METHODS), "method"), limits, strict=True):
        several = name in WEIGHED and len(files) > 1
        for file, label in zip(files, _labels(files), strict=True) if several else [(files[0], "")]:
            try:
                method = METHODS[name](None if file == SHIPPED else Path(file))
            except AbsentError as reason:
                print(f"{name} is left out: {reason}", file=sys.stderr)
                continue
            found[f"{name} {label}".strip()] = method if limit is None else Limited(method, limit)
    return found


def main(argv: list[str] | None = None) -> None:
    """Run the parts, print their tables and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--methods",
        default=",".join(UNASKED),
        help=f"of {', '.join(METHODS)}; name:N takes part in the first N queries of each row only",
    )
    parser.add_argument(
        "--weights", default=SHIPPED, help=f"files of the encoder's, each a method; {SHIPPED}: those shipped"
    )
    parser.add_argument("--queries", type=int, default=QUERIES, help="of retrieval by number of effects")
    parser.add_argument("--cache", type=Path, help="folder that keeps what is rendered, for runs to come")
    options = parser.parse_args(argv)
    parts = _chosen(parser, options.only, PARTS, "part")
    methods = _methods(parser, options.methods, options.weights)
    if options.queries < 1 or not methods:
        parser.error("there is nothing to do: no query, or no method")

    if options.cache is not None:
        try:
            make_folder(options.cache)
        except FxstyleError as error:
            parser.error(f"--cache {error}")
    keep_large_blocks()
    Shelf.root = options.cache
    OUT.mkdir(exist_ok=True)
    path = OUT / "ear.json"
    run: dict[str, Any] = {"began": datetime.now(UTC).isoformat(timespec="milliseconds")}
    run |= {"queries": options.queries, "weights": options.weights, "rows": []}
    for name in parts:
        began = time.perf_counter()
        part: Part = importlib.import_module(f"ear_{name.replace('-', '_')}").rows
        rows = list(part(methods, options.queries))
        compared = list(paired(rows, BASELINES))
        print(f"\n{table(rows, methods)}")
        if compared:
            print(f"\n{paired_table(compared)}")
        print(f"\n<!-- {name}: {time.perf_counter() - began:.0f} s -->", flush=True)
        rows += [row for pair in compared for row in pair.rows]
        run["rows"] += [{"part": name, **_kept(row)} for row in rows]
        _keep(path, run)


def _keep(path: Path, run: dict[str, Any]) -> None:
    """Write a run beside the others of the file, which other processes may have added since."""
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    others = [other for other in runs if other["began"] != run["began"]]
    write_text(path, json.dumps([*others, run], indent=1), force=True)


def _kept(row: Row) -> dict[str, str | float]:
    """Return what is kept of a row: all but the single queries."""
    return {name: value for name, value in row._asdict().items() if name not in {"values", "sign"}}


if __name__ == "__main__":
    main()
