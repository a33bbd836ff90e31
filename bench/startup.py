"""How long `import fxstyle` and `fxstyle --help` take beyond the interpreter's own start.

    python bench/startup.py [--repeats 15]

Each command runs in a fresh process; the commands take turns, medians are printed. A first round that
fills the caches of the file system and of compiled bytecode is not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

OUT = Path(__file__).parent / "out"
BARE = "interpreter alone"
ASKED_S = 0.5
"""Asked for in the project's goals."""

COMMANDS: dict[str, list[str]] = {
    BARE: [sys.executable, "-c", "pass"],
    "import fxstyle": [sys.executable, "-c", "import fxstyle"],
    "fxstyle --help": [str(Path(sys.executable).parent / "fxstyle"), "--help"],
    "fxstyle match --help": [str(Path(sys.executable).parent / "fxstyle"), "match", "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall-clock time of one run; raises CalledProcessError if it fails."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return time.perf_counter() - began


def main() -> None:
    """Run, print, write bench/out/startup.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="turns; the median counts")
    repeats = parser.parse_args().repeats
    for command in COMMANDS.values():
        seconds(command)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(repeats):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    medians = {name: float(np.median(values)) for name, values in times.items()}
    print(f"{'command':<24}{'s':>8}{'beyond the interpreter':>24}   (asked for: under {ASKED_S} s)")
    for name, median in medians.items():
        beyond = "" if name == BARE else f"{median - medians[BARE]:.3f}"
        print(f"{name:<24}{median:>8.3f}{beyond:>24}")
    OUT.mkdir(exist_ok=True)
    (OUT / "startup.json").write_text(json.dumps(medians, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
