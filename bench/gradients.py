"""Gradients of effects, loss and a fitting step against dasp, torchcomp, torchlpc, auraloss: speed, memory.

    python bench/gradients.py [--repeats 5] [--only eq,loss]

Forward and backward of 8 rows of 262,144 samples, mono and stereo, float32, on one thread each, with
gradients to the sound and to every setting (gradient_cases.py). The programs of a case take turns; medians
are printed. Where two programs follow the same law, `apart` is the norm of the difference of their gradients
to the sound over that of one, for a row of 16,384 samples. Peak memory is that of a fresh process, stereo,
beyond what it held before the batch was loaded. auraloss makes and drops large arrays, and over half its
time is page faults: rows named "tuned", stereo, are of a process that keeps freed memory (fxstyle.memory),
all programs alike.

Then how the time grows with length, rows and bands ("scaling"), and what a batch row of the whole default
chain takes with and without checkpointing ("chain"). Peers that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gradient_cases import INSTALL, OURS, RATE, Case, cases, eq_then_compressor, exact_sections, find, missing

from fxstyle.chain import Chain
from fxstyle.effects import DEFAULT_CHAIN
from fxstyle.memory import keep_large_blocks
from fxstyle.performance import perform

ROWS, SAMPLES = 8, 262_144
OUT = Path(__file__).parent / "out"

SLOW_S, SLOW_REPEATS = 2.0, 3
"""A case with a program that takes longer than this has no more turns than these."""

SHORT = 16_384
"""Samples of the round that compiles and fills pools, and on which gradients are compared."""

LENGTHS_S = (1, 10, 60, 600)
BATCHES = (1, 2, 8, 32, 128)
BATCH_SAMPLES = 65_536
BANDS = (1, 2, 4, 8, 16)

CHAIN_SAMPLES = 4 * RATE
"""A crop of a fit with its pre-roll."""

CHAIN_ROWS = (2, 6)
"""The difference of their peaks is four rows', whatever else the process holds."""


@dataclass(frozen=True)
class Result:
    """One program of a case. `ratio`: its time over fxstyle's."""

    case: str
    program: str
    channels: int
    seconds: float
    ratio: float
    turns: int
    apart: float | None = None
    peak_mib: float | None = None


@dataclass(frozen=True)
class Growth:
    """Time of one size. `per_unit_ns`: over all samples, of all bands."""

    what: str
    size: int
    seconds: float
    per_unit_ns: float


@dataclass(frozen=True)
class Held:
    """The default chain, forward and back: time of the larger batch, and memory of one row."""

    checkpoint: bool
    seconds: float
    row_mib: float


def load(path: str, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch and target (row, channel, time): passages of two songs, one after another."""
    with np.load(path) as songs:
        both = [songs[name][:channels].reshape(channels, ROWS, SAMPLES).swapaxes(0, 1) for name in songs]
    return torch.from_numpy(np.ascontiguousarray(both[0])), torch.from_numpy(np.ascontiguousarray(both[1]))


def apart(case: Case, name: str, x: torch.Tensor, target: torch.Tensor) -> float:
    """Norm of the difference of two programs' gradients for one short row, over that of fxstyle's."""
    first, second = (case.programs[n](x[:1, :, :SHORT], target[:1, :, :SHORT])()[1] for n in (OURS, name))
    return float((first - second).norm() / first.norm())


def time_turns(runs: Sequence[Callable[[], Any]], repeats: int) -> list[list[float]]:
    """Seconds of runs that take turns; fewer turns if one of them is slow."""
    times: list[list[float]] = [[] for _ in runs]
    while len(times[0]) < repeats:
        for run, taken in zip(runs, times, strict=True):
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)
        if max(taken[0] for taken in times) > SLOW_S:
            repeats = min(repeats, SLOW_REPEATS)
    return times


def run_case(
    case: Case, x: torch.Tensor, target: torch.Tensor, repeats: int, suffix: str = ""
) -> list[Result]:
    """Time the programs of a case in turns."""
    for program in case.programs.values():
        program(x[..., :SHORT], target[..., :SHORT])()
    runs = [program(x, target) for program in case.programs.values()]
    times = time_turns(runs, repeats)
    medians = [statistics.median(taken) for taken in times]
    return [
        Result(case.name, name + suffix, x.shape[1], seconds, seconds / medians[0], len(taken),
               apart(case, name, x, target) if name in case.same_law and not suffix else None)
        for name, seconds, taken in zip(case.programs, medians, times, strict=True)
    ]  # fmt: skip


def _resident_mib(key: str) -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(key + ":"):
            return float(line.split()[1]) / 1024.0
    raise RuntimeError(f"/proc/self/status has no {key}")


def peak_mib(job: Callable[[], Any]) -> float:
    """Peak MiB of a job in this process, above what it held before."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        before = _resident_mib("VmRSS")
        job()
        return _resident_mib("VmHWM") - before
    except OSError:  # not Linux, or not permitted: the high-water mark of the whole process
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        job()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0 - before


def memory_of(case: str, program: str, path: str) -> float:
    """Peak MiB of one run, batch and target included, what is compiled and kept anyway not."""
    made = find(case).programs[program]
    silence = torch.zeros(1, 2, SHORT)
    made(silence, silence)()

    def job() -> None:
        made(*load(path, 2))()

    return peak_mib(job)


def memory_of_chain(checkpoint: bool, rows: int) -> tuple[float, float]:
    """Peak MiB, and seconds, of the default chain with so many rows, forward and back."""
    chain = Chain.parse(DEFAULT_CHAIN)
    fitted = [f"{slot.name}.{p.name}" for slot in chain for p in slot.effect.params if p.fitted]
    values = chain.settings()

    def job(rows: int, samples: int) -> float:
        x = 0.1 * torch.randn(rows, 2, samples)
        knobs = {a: torch.full((rows,), values[a], dtype=torch.float64).requires_grad_(True) for a in fitted}
        began = time.perf_counter()
        y = chain.forward(x, RATE, knobs, checkpoint=checkpoint)
        torch.autograd.grad(y.square().mean(), list(knobs.values()))
        return time.perf_counter() - began

    job(1, SHORT)
    seconds: list[float] = []
    peak = peak_mib(lambda: seconds.append(job(rows, CHAIN_SAMPLES)))
    return peak, seconds[0]


def elsewhere(*arguments: str) -> Any:
    """Run this program's hidden part in a fresh process and return what it prints as JSON."""
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def growth(x: torch.Tensor, repeats: int) -> list[Growth]:
    """Measure how the time grows with length, rows and bands, one size after another in turns."""
    one_row = x[:, :1].reshape(1, 1, -1)
    both = eq_then_compressor()
    found = []

    def measure(
        what: str, sizes: Sequence[int], runs: Sequence[Callable[[], Any]], units: Sequence[int]
    ) -> None:
        for run in runs:
            run()
        for size, taken, count in zip(sizes, time_turns(runs, repeats), units, strict=True):
            seconds = statistics.median(taken)
            found.append(Growth(what, size, seconds, 1e9 * seconds / count))

    longest = one_row.repeat(1, 1, -(-LENGTHS_S[-1] * RATE // one_row.shape[2]))
    pieces = [longest[..., : s * RATE] for s in LENGTHS_S]
    measure("seconds", LENGTHS_S, [both(p, p) for p in pieces], [p.numel() for p in pieces])
    row = one_row[..., :BATCH_SAMPLES]
    batches = [row.repeat(rows, 1, 1) for rows in BATCHES]
    measure("rows", BATCHES, [both(b, b) for b in batches], [b.numel() for b in batches])
    mono = x[:, :1].contiguous()
    measure("bands", BANDS, [exact_sections(n)(mono, mono) for n in BANDS], [n * mono.numel() for n in BANDS])
    return found


def chain_memory() -> list[Held]:
    """Measure a row of the default chain, without and with checkpointing."""
    found = []
    for checkpoint in (False, True):
        few, many = (elsewhere("--chain", str(int(checkpoint)), str(rows)) for rows in CHAIN_ROWS)
        row_mib = (many[0] - few[0]) / (CHAIN_ROWS[1] - CHAIN_ROWS[0])
        found.append(Held(checkpoint, many[1], row_mib))
    return found


def hidden(options: argparse.Namespace) -> Any:
    """Do the part of the work that needs a fresh process."""
    if options.memory:
        return memory_of(*options.memory)
    if options.chain:
        return memory_of_chain(bool(int(options.chain[0])), int(options.chain[1]))
    keep_large_blocks()
    name, repeats, path = options.tuned
    return [asdict(r) for r in run_case(find(name), *load(path, 2), int(repeats), ", tuned")]


def compare(chosen: Callable[[str], bool], repeats: int, path: str) -> list[Result]:
    """Run and print the cases."""
    print(
        f"{ROWS} rows of {SAMPLES} samples, float32, forward and backward, one thread,"
        f" medians of {repeats} turns ({SLOW_REPEATS} where one takes over {SLOW_S:g} s)"
    )
    print(
        f"{'case':<18}{'program':<24}{'ms mono':>9}{'x':>7}{'ms stereo':>11}{'x':>7}"
        f"{'apart':>9}{'peak MiB':>10}"
    )
    results = []
    for case in cases():
        if not chosen(case.name):
            continue
        mono, stereo = (run_case(case, *load(path, channels), repeats) for channels in (1, 2))
        for one, two in zip(mono, stereo, strict=True):
            peak = elsewhere("--memory", case.name, one.program, path)
            results += [one, replace(two, peak_mib=peak)]
            same = "" if two.apart is None else f"{two.apart:.0e}"
            print(
                f"{case.name:<18}{one.program:<24}{1e3 * one.seconds:>9.0f}{one.ratio:>7.1f}"
                f"{1e3 * two.seconds:>11.0f}{two.ratio:>7.1f}{same:>9}{peak:>10.0f}"
            )
        for told in elsewhere("--tuned", case.name, str(repeats), path) if case.tuned else []:
            two = Result(**told)
            results.append(two)
            print(f"{case.name:<18}{two.program:<24}{'':>16}{1e3 * two.seconds:>11.0f}{two.ratio:>7.1f}")
        if case.note:
            print(f"{'':<18}({case.note})")
        sys.stdout.flush()
    return results


def main() -> None:
    """Run the parts, print the tables, write bench/out/gradients.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="turns; the median counts")
    parser.add_argument(
        "--only", default="", help="parts whose name begins with one of these words: cases, scaling, chain"
    )
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--chain", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--tuned", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", module="torch|torchlpc|torchcomp")
    if options.memory or options.chain or options.tuned:
        print(json.dumps(hidden(options)))
        return

    words = tuple(w.strip() for w in options.only.split(","))
    for name in sorted(missing()):
        print(f"{name} is not installed and left out ({INSTALL})")
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "songs.npz")
        length = ROWS * SAMPLES
        songs = {f"song{i}": perform(length / RATE + 1.0, RATE, song=i, seed=i)[:, :length] for i in (1, 2)}
        np.savez(path, **songs)
        results = compare(lambda name: name.startswith(words), options.repeats, path)
        grown = growth(load(path, 1)[0], options.repeats) if "scaling".startswith(words) else []
    if grown:
        print(f"\n{'growth with':<14}{'size':>8}{'ms':>9}{'ns per sample':>15}   (and per band)")
        for g in grown:
            print(f"{g.what:<14}{g.size:>8}{1e3 * g.seconds:>9.1f}{g.per_unit_ns:>15.2f}")
    held = chain_memory() if "chain".startswith(words) else []
    if held:
        rows, length_s = CHAIN_ROWS[1], CHAIN_SAMPLES / RATE
        print(f"\ndefault chain, {rows} stereo rows of {length_s:g} s, forward and backward")
        for h in held:
            kept = "checkpointed" if h.checkpoint else "all kept"
            print(f"{kept:<14}{h.row_mib:>8.1f} MiB a row{1e3 * h.seconds:>9.0f} ms")
    OUT.mkdir(exist_ok=True)
    tables = {"cases": results, "scaling": grown, "chain": held}
    text = json.dumps({name: [asdict(r) for r in rows] for name, rows in tables.items()}, indent=1)
    (OUT / "gradients.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
