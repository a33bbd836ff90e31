"""Impulse responses that knobs can name: a library of this process, by number and word.

A knob is a number; that of a response counts from FIRST in the order in which they were read. The word for
it, "hall.wav#3f2a9c01", is its file's name and the beginning of the SHA-256 of its samples, so that it means
the same sound in any process and preset. A preset carries the samples with it.

Kept are 24 bit whole numbers with the largest at full scale: what a convolution makes of it has a level of
its own, and a response comes back from a preset to the bit.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fxstyle.errors import AudioError, SettingError

FIRST = 1024
"""Number of the first response; a knob's own words count from 0."""

LONGEST_S = 30.0
MOST_CHANNELS = 8
MOST_SAMPLES = 6_000_000
"""Of all channels: 30 s of stereo at 96 kHz. Of noise they make 18 MB of FLAC."""

LOWEST_RATE, HIGHEST_RATE = 8_000, 384_000

FULL_SCALE = 2**23 - 1
"""Largest sample of a response, in 24 bit."""

_DIGITS = 8
_LONGEST_STEM = 40


@dataclass(frozen=True, eq=False)
class Response:
    """One impulse response.

    Attributes
    ----------
    name: of its file, without the folder.
    samples: (channel, time) in int32, the largest magnitude being FULL_SCALE; not to be written to.
    rate: in Hz. sha256: of rate, shape and samples.
    """

    name: str
    samples: npt.NDArray[np.int32]
    rate: int
    sha256: str

    @property
    def word(self) -> str:
        """Return how a preset calls it."""
        return f"{self.name}#{self.sha256[:_DIGITS]}"

    @property
    def audio(self) -> npt.NDArray[np.float64]:
        """Return the samples (channel, time), the largest being 1."""
        return self.samples / FULL_SCALE


def response(name: str, samples: npt.NDArray[Any], rate: int) -> Response:
    """Return samples (channel, time) of any scale as a response; raises AudioError saying what is wrong."""
    x = np.asarray(samples, np.float64)
    if x.ndim != 2 or not x.size:
        raise AudioError(f"{name}: an impulse response is (channel, time), not {x.shape}")
    check_size(name, x.shape[0], x.shape[1], rate)
    if not np.isfinite(x).all():
        raise AudioError(f"{name} holds samples that are not finite; render it again")
    largest = max(float(np.abs(x).max()), np.finfo(np.float64).tiny)
    whole = np.ascontiguousarray(np.rint(x / largest * FULL_SCALE), np.int32)
    return of_whole(name, whole, rate)


_NOT_IN_NAMES = frozenset('/\\:*?"<>|#')


def _plain(name: str) -> str:
    """Return a file's name without signs that a preset's names cannot have."""
    clean = "".join(c if c.isprintable() and c not in _NOT_IN_NAMES else "_" for c in name)
    return clean.strip(". ") or "response"


def check_size(name: str, channels: int, frames: int, rate: int) -> None:
    """Raise AudioError for more, or less, than a response can be."""
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name} is at {rate} Hz; an impulse response has {LOWEST_RATE} to {HIGHEST_RATE} Hz: resample it"
        )
    if channels > MOST_CHANNELS:
        raise AudioError(f"{name} has {channels} channels; an impulse response has at most {MOST_CHANNELS}")
    if frames > LONGEST_S * rate:
        raise AudioError(
            f"{name} is {frames / rate:.1f} s long; an impulse response is at most {LONGEST_S:g} s: cut it"
            " where it has died away"
        )
    if frames * channels > MOST_SAMPLES:
        raise AudioError(
            f"{name} holds {frames * channels} samples; an impulse response has at most {MOST_SAMPLES}: cut"
            " it where it has died away, or resample it to 48 kHz"
        )


def of_whole(name: str, whole: npt.NDArray[np.int32], rate: int) -> Response:
    """Return a response of samples that are in 24 bit already; raises AudioError for silence."""
    if not whole.any():
        raise AudioError(f"{name} is silent: there is no impulse response in it")
    whole.flags.writeable = False
    head = np.array([rate, *whole.shape], "<i8").tobytes()
    digest = hashlib.sha256(head + whole.astype("<i4").tobytes()).hexdigest()
    path = Path(_plain(name))
    return Response(path.stem[:_LONGEST_STEM] + path.suffix[:8], whole, int(rate), digest)


_kept: list[Response] = []
_lock = threading.Lock()


def add(new: Response) -> int:
    """Keep a response and return its number; the same samples have the same number.

    Raises AudioError for other samples of the same word.
    """
    with _lock:
        for i, there in enumerate(_kept):
            if there.sha256 == new.sha256 and there.name == new.name:
                return FIRST + i
            if there.word == new.word:
                raise AudioError(
                    f"{new.name}: another impulse response is called {new.word} already; rename the file"
                )
        _kept.append(new)
        return FIRST + len(_kept) - 1


def read(path: str | Path) -> Response:
    """Read a response from a sound file; raises AudioError naming the file and the remedy."""
    from fxstyle import audio

    source = Path(path)
    info = audio.probe(source)
    check_size(str(source), info.channels, info.frames, info.rate)
    sound = audio.read(source)
    return response(source.name, sound.samples, sound.rate)


def known(number: float) -> bool:
    """Whether a response has this number."""
    return number in range(FIRST, FIRST + len(_kept))


def get(number: float) -> Response:
    """Return the response of a number."""
    if not known(number):
        raise SettingError(f"there is no impulse response number {number:g}: read it first")
    return _kept[int(number) - FIRST]


def number_of(word: str) -> int | None:
    """Return the number of the response that a preset calls by this word, if it has been read."""
    return next((FIRST + i for i, there in enumerate(_kept) if there.word == word), None)
