"""A program that speaks the protocol of hosted/worker.py and misbehaves as it is told: no plugin is needed.

It has one knob, gain_db (-24..24), and is late by nothing. argv: how, and a folder for what it remembers.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from fxstyle.hosted import worker

LOUDEST_DB, RANGE_DB = 24.0, 48.0
BEARS_DB = 6.0
"""Beyond it `fragile` dies."""

KNOB = {
    "name": "gain_db", "title": "Gain", "label": "dB", "stepped": False, "automatable": True, "default": 0.5,
    "texts": [f"{-LOUDEST_DB + RANGE_DB * i / 8:.2f}" for i in range(9)],
}  # fmt: skip


def gain_db(header: dict[str, Any]) -> float:
    return RANGE_DB * float(header["raw"]["gain_db"]) - LOUDEST_DB


def main(how: str, folder: Path) -> None:
    take, give = sys.stdin.buffer, sys.stdout.buffer
    db = 0.0
    while True:
        try:
            header, payload = worker.read_frame(take)
        except EOFError:
            return
        if header["do"] == "load":
            if how == "refuses":
                worker.write_frame(give, {"error": "it holds several plugins"})
            elif how == "lacks":
                worker.write_frame(give, {"missing": "pedalboard"})
            elif how == "dies_at_once":
                os._exit(3)
            else:
                about = {"name": "Stand-In", "version": "1.0", "maker": "Nobody", "knobs": [KNOB]}
                worker.write_frame(give, {"plugin": about})
            continue
        db = gain_db(header) if "raw" in header else db
        if how == "dies" or (how == "fragile" and db > BEARS_DB):
            os._exit(139)
        if how == "dies_once" and not (folder / "died").exists():
            (folder / "died").touch()
            os._exit(139)
        if how == "hangs":
            time.sleep(600.0)
        if how == "babbles":
            give.write(b"\xff\xff\xff\xffconvolution: samplerate mismatch")
            give.flush()
            continue
        x = np.frombuffer(payload, dtype="<f4")
        y = x * np.float32(10.0 ** (db / 20.0))
        if how == "no_number" and len(y):
            y = y * np.float32("nan")
        if how == "short":
            y = y[:-1]
        (folder / "log").open("a").write(f"{header['do']}\n")
        state = b"as I was" if header["do"] == "state" else b""
        worker.write_frame(give, {"latency": 0}, state or y.astype("<f4").tobytes())


if __name__ == "__main__":
    if sys.argv[1] == "hangs_inside":
        # worker.py itself, with a plugin that never comes back
        worker.answer = lambda *_: time.sleep(600.0)  # type: ignore[assignment,return-value,misc]  # never returns
        worker.main()
    else:
        main(sys.argv[1], Path(sys.argv[2]))
