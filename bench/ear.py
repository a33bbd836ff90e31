"""How well fxstyle hears a treatment whatever is played: all protocols, all methods, in one run.

    nice python bench/ear.py [--only retrieval,styles,rank,sweeps,speed] [--methods measured,mfcc,encoder]
                             [--queries 50] [--weights encoder.safetensors]

Recordings of the test split (FXSTYLE_DATA). Each part states its protocol, `ear_methods.py` the methods.
Prints a table per part, with intervals of 95 %, and adds the run to bench/out/ear.json.
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

from ear_methods import METHODS, UNASKED, AbsentError
from ear_row import Methods, Part, Row

from fxstyle.memory import keep_large_blocks

PARTS = ("retrieval", "styles", "rank", "sweeps", "speed")
OUT = Path(__file__).parent / "out"
QUERIES = 50


def table(rows: Sequence[Row], methods: Methods) -> str:
    """Return the rows as markdown, a column for each method."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row.what, {})[row.method] = row
    lines = [f"| What | n | {' | '.join(methods)} |", f"|---|---|{'---|' * len(methods)}"]
    for what, own in found.items():
        count = max(row.queries for row in own.values())
        cells = [_cell(own[name], count) if name in own else "" for name in methods]
        lines.append(f"| {what} | {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Row, count: int) -> str:
    fewer = f" n={row.queries}" if row.queries != count else ""
    digits = 2 if abs(row.value) < 10.0 else 0
    return f"{row.value:.{digits}f} [{row.low:.{digits}f}, {row.high:.{digits}f}]{fewer}"


def _chosen(parser: argparse.ArgumentParser, text: str, there: Sequence[str], what: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if wrong := [name for name in names if name not in there]:
        parser.error(f"no {what} is called {', '.join(wrong)}; there are {', '.join(there)}")
    return names


def main(argv: list[str] | None = None) -> None:
    """Run the parts, print their tables and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--methods", default=",".join(UNASKED), help=f"of {', '.join(METHODS)}")
    parser.add_argument("--weights", type=Path, help="of the encoder, instead of the shipped ones")
    parser.add_argument("--queries", type=int, default=QUERIES, help="of retrieval by number of effects")
    options = parser.parse_args(argv)
    parts = _chosen(parser, options.only, PARTS, "part")
    methods = {}
    for name in _chosen(parser, options.methods, list(METHODS), "method"):
        try:
            methods[name] = METHODS[name](options.weights)
        except AbsentError as reason:
            print(f"{name} is left out: {reason}", file=sys.stderr)
    if options.queries < 1 or not methods:
        parser.error("there is nothing to do: no query, or no method")

    keep_large_blocks()
    OUT.mkdir(exist_ok=True)
    path = OUT / "ear.json"
    runs = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    run = {"began": datetime.now(UTC).isoformat(timespec="seconds"), "queries": options.queries, "rows": []}
    run["weights"] = str(options.weights or "shipped")
    runs.append(run)
    for name in parts:
        began = time.perf_counter()
        part: Part = importlib.import_module(f"ear_{name}").rows
        rows = list(part(methods, options.queries))
        print(f"\n{table(rows, methods)}\n\n<!-- {name}: {time.perf_counter() - began:.0f} s -->", flush=True)
        run["rows"] += [{"part": name, **row._asdict()} for row in rows]
        path.write_text(json.dumps(runs, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
