"""Sound through other programs: as raw float32 over their standard input and output.

A program sees the sound as (time, channel), little-endian. Its delay is not taken back; what is longer than
the sound is cut, what is shorter is padded with silence.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fxstyle.errors import FxstyleError
from fxstyle.train.units import Knob, Settings, Sound

TIMEOUT_S = 20.0
"""A program that takes longer hangs: the slowest here needs less than a second for five seconds of sound."""

LAST_WORDS = 4
"""Lines of a failed program's complaint that are told: the last one is often only that it failed."""

PAIR = 2
"""Channels that a program takes at most."""


class ProgramError(FxstyleError):
    """Another program that fails, hangs or gives no sound."""


def piped(command: Sequence[str], x: Sound, *, timeout_s: float = TIMEOUT_S) -> Sound:
    """Return what a command makes of sound (channel, time), in the same shape.

    Errors
    ------
    ProgramError: the command cannot be started, fails, takes longer than `timeout_s`, or gives no sound.
    """
    program = command[0]
    try:
        done = subprocess.run(
            command,
            input=np.ascontiguousarray(x.T, dtype="<f4").tobytes(),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        raise ProgramError(f"{program} cannot be started: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{program} took longer than {timeout_s:g} s: {' '.join(command)}") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["without a word"]
        raise ProgramError(f"{program} failed with {done.returncode}: {'; '.join(said[-LAST_WORDS:])}")
    frames = len(done.stdout) // (4 * x.shape[0])
    if not frames and x.shape[1]:
        raise ProgramError(f"{program} gave no sound: {' '.join(command)}")
    out = np.frombuffer(done.stdout, "<f4", count=frames * x.shape[0]).reshape(frames, x.shape[0]).T
    return fitted(out, x.shape[1])


def fitted(x: Sound, length: int) -> Sound:
    """Return a copy of sound (channel, time) cut or padded with silence to a length in samples."""
    out = np.zeros((x.shape[0], length), np.float32)
    there = min(length, x.shape[1])
    out[:, :there] = x[:, :there]
    return out


def in_pairs(x: Sound) -> tuple[Sound, ...]:
    """Return the channels two by two; of an odd number the last one alone."""
    return tuple(x[a:b] for a, b in pairwise((*range(0, x.shape[0], PAIR), x.shape[0])))


def written(value: float) -> str:
    """Return a number as every program here reads it: without exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def filled(template: str, settings: Settings) -> str:
    """Return a text with {knob} replaced by the knob's value."""
    return template.format_map({name: written(value) for name, value in settings.items()})


def knobs(text: str) -> tuple[Knob, ...]:
    """Return knobs written as "name low high", with "log" or "steps" behind, parted by commas.

    Names and units are those of the program.
    """
    found = []
    for part in text.split(","):
        name, low, high, *scale = part.split()
        found.append(Knob(name, float(low), float(high), log=scale == ["log"], steps=scale == ["steps"]))
    return tuple(found)
