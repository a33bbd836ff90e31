"""Peak memory of rendering a file, for a short and a long one: it must not depend on the length.

    python bench/memory.py [--short-min 10] [--long-min 120] [--chain eq,compressor,...] [--folder DIR]

Generates decaying noise bursts (stereo, 44.1 kHz, 16 bit) block by block into a temporary folder,
renders each file in a process of its own and prints that process's peak resident memory (VmHWM of
/proc/self/status; getrusage would start at the parent's peak), with and without what the process
holds before it begins: interpreter, libraries, compiled kernels.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from fxstyle.formats import CONTAINERS
from fxstyle.writing import Writer

RATE = 44_100
CHAIN = "eq,compressor,saturation,delay,reverb,width,gain"
WARM_UP_S = 10.0

RENDER = """
import json, sys, time
from pathlib import Path
from fxstyle.chain import Chain
from fxstyle.render import render_file

def peak_mib():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

chain, warm, source, target = sys.argv[1:]
chain = Chain.parse(chain)
render_file(chain, warm, target, tail_s="auto", force=True)
before = peak_mib()
report = render_file(chain, source, target, tail_s="auto", force=True)
print(json.dumps([before, peak_mib(), report.seconds, report.frames / report.rate]))
"""


def generate(path: Path, seconds: float) -> None:
    """Write noise bursts, one per half second, without holding more than one of them."""
    rng = np.random.default_rng(0)
    envelope = np.exp(-np.arange(RATE // 2) / (RATE / 12)).astype(np.float32)
    with Writer(path, RATE, 2, container=CONTAINERS["WAV"], subtype="PCM_16") as writer:
        for _ in range(round(2 * seconds)):
            writer.write(0.2 * envelope * rng.uniform(-1.0, 1.0, (2, RATE // 2)).astype(np.float32))


def measure(folder: Path, chain: str, minutes: float) -> tuple[float, float, float]:
    """Return MiB before, MiB at the peak, and how many times faster than real time it went."""
    source = folder / "in.wav"
    generate(source, 60.0 * minutes)
    command = [
        sys.executable,
        "-c",
        RENDER,
        chain,
        str(folder / "warm.wav"),
        str(source),
        str(folder / "out.wav"),
    ]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    before, peak, seconds, length_s = json.loads(said)
    source.unlink()
    return before, peak, length_s / seconds


def main() -> int:
    """Print the table; exit with 1 if the long file took 5 % more than the short one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--short-min", type=float, default=10.0, help="minutes of the short file")
    parser.add_argument("--long-min", type=float, default=120.0, help="minutes of the long file")
    parser.add_argument("--chain", default=CHAIN, help="effects, separated by commas")
    parser.add_argument("--folder", default=None, help="where the temporary files go")
    given = parser.parse_args()
    if not Path("/proc/self/status").exists():
        print("peak memory is read from /proc/self/status, which this system lacks", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        needed = round(3 * given.long_min * 60 * RATE * 4)
        if shutil.disk_usage(folder).free < needed:
            print(f"{folder} has less than the {needed / 1e9:.1f} GB needed; see --folder", file=sys.stderr)
            return 1
        generate(folder / "warm.wav", WARM_UP_S)
        print(f"chain {given.chain}, stereo {RATE} Hz, 16 bit, {os.cpu_count()} cores\n")
        print(f"{'minutes':>8} {'before MiB':>11} {'peak MiB':>9} {'growth MiB':>11} {'x real time':>12}")
        peaks = []
        for minutes in (given.short_min, given.long_min):
            before, peak, speed = measure(folder, given.chain, minutes)
            peaks.append(peak)
            print(f"{minutes:8g} {before:11.1f} {peak:9.1f} {peak - before:11.1f} {speed:12.1f}", flush=True)
    ratio = peaks[1] / peaks[0]
    print(f"\npeak of {given.long_min:g} min / peak of {given.short_min:g} min = {ratio:.3f}")
    return int(ratio > 1.05)


if __name__ == "__main__":
    raise SystemExit(main())
