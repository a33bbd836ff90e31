"""All figures for rooms and reverbs, in one run.

    python bench/rooms.py [--only images,fdn,known,fit,blind,geometry]

Needs FXSTYLE_DATA but for images and fdn; the parts say how each figure is measured. Prints a table and
writes bench/out/rooms.json.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from pathlib import Path

PARTS = ("images", "fdn", "known", "fit", "blind", "geometry")
OUT = Path(__file__).parent / "out"


def main() -> None:
    """Run the parts and print their rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(PARTS))
    chosen = parser.parse_args().only.split(",")
    wrong = set(chosen) - set(PARTS)
    if wrong:
        parser.error(f"no part is called {', '.join(sorted(wrong))}; there are {', '.join(PARTS)}")
    found = []
    print("| What | Measured | Wanted | Met |\n|---|---|---|---|", flush=True)
    for part in chosen:
        began = time.perf_counter()
        for row in importlib.import_module(f"rooms_{part}").rows():
            met = {True: "yes", False: "**no**", None: ""}[row.met]
            print(f"| {row.what} | {row.measured} | {row.target} | {met} |", flush=True)
            found.append({"part": part, **row._asdict()})
        print(f"<!-- {part}: {time.perf_counter() - began:.0f} s -->", flush=True)
        OUT.mkdir(exist_ok=True)
        (OUT / "rooms.json").write_text(json.dumps(found, indent=1, default=str))


if __name__ == "__main__":
    main()
