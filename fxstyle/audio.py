"""Sound in memory, and sound files in: whole or as a stream of blocks.

Samples are float32 in the shape (channel, time), full scale at 1; 24-bit integers keep every bit in
them, 32-bit ones lose the lowest eight (-144 dB). Files are recognised by what is in them, not by
their names. A file that ends before its header says is read as far as it goes, and that is said:
in `notes`, and by `read` as an AudioWarning.

Read: WAV (8..32 bit, float, RF64, W64), FLAC, AIFF, CAF, AU, Ogg Vorbis and Opus, MP3.
Written: see fxstyle.formats and fxstyle.writing.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from fxstyle.effect import Samples
from fxstyle.errors import AudioError
from fxstyle.formats import (
    CONTAINERS,
    TAGS,
    Container,
    Info,
    Source,
    container_for,
    default_subtype,
)
from fxstyle.sniff import describe, ogg_ends, promised_share
from fxstyle.units import SILENCE_AMPLITUDE, SILENCE_DB
from fxstyle.writing import NoSeek, Writer

__all__ = [
    "Audio", "AudioWarning", "BlockReader", "Container", "Info", "Source", "Writer", "container_for",
    "default_subtype", "open_blocks", "probe", "read", "require_sound", "resample", "write",
]  # fmt: skip

BLOCK = 131_072
"""Frames read, processed and written at once unless told otherwise: 3 s at 44.1 kHz."""

_FLAC_CHUNK = 1024
"""Frames per call while decoding FLAC: a call that meets a broken frame loses what it had."""

_MP3_SLACK = 2 * 2304
"""Frames by which the length of an MP3 may be overestimated without anything missing."""

_UNKNOWN_FRAMES = 2**62
"""libsndfile gives lengths above this for FLAC streams that do not know theirs."""

_MOST_CHANNELS = 1024
"""libsndfile's limit."""

_LIBRARY_MARK = re.compile(r" \(libsndfile-[\d.]+\)$")
"""What libsndfile appends to the software field on writing; taken off on reading, lest it pile up."""


class AudioWarning(UserWarning):
    """A recording that can be used but is not what its file promises."""


@dataclass(frozen=True, eq=False)
class Audio:
    """Sound in memory.

    Attributes
    ----------
    samples: (channel, time) float32, finite, read-only; a copy of what was given.
    rate: in Hz.
    source: what an output may want to keep of the file it came from.

    Raises
    ------
    AudioError: the samples are not a floating array of that shape, empty, or not finite.
    """

    samples: Samples
    rate: int
    source: Source | None = None

    def __post_init__(self) -> None:
        what = self.source.name if self.source is not None else "audio"
        if isinstance(self.rate, bool) or self.rate != int(self.rate) or self.rate < 1:
            raise AudioError(f"{what}: the rate must be a whole number of Hz from 1, got {self.rate!r}")
        object.__setattr__(self, "rate", int(self.rate))
        object.__setattr__(self, "samples", _checked(self.samples, self.rate, what))

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def frames(self) -> int:
        """Number of samples per channel."""
        return int(self.samples.shape[1])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate

    def with_samples(self, samples: Samples) -> Audio:
        """Return other samples with this rate and source."""
        return Audio(samples, self.rate, self.source)


def _checked(samples: Any, rate: int, what: str) -> npt.NDArray[np.float32]:
    """Return `samples` as a read-only float32 array; one that owns read-only data is not copied."""
    x = np.asarray(samples)
    if not np.issubdtype(x.dtype, np.floating):
        raise AudioError(
            f"{what}: samples must be floats with full scale at 1, got {x.dtype};"
            " divide integers by their full scale first"
        )
    if x.ndim != 2:
        raise AudioError(f"{what}: samples must have the shape (channel, time), got {x.shape}")
    if not x.size:
        raise AudioError(f"{what}: there is no sound in it, its shape is {x.shape}")
    if x.shape[0] > _MOST_CHANNELS:
        raise AudioError(
            f"{what}: {x.shape[0]} channels of {x.shape[1]} samples; the shape must be (channel, time),"
            " so transpose the array"
        )
    _require_finite(x, what, 0, rate)
    if x.dtype == np.float32 and x.base is None and not x.flags.writeable and x.flags.c_contiguous:
        return x
    y: npt.NDArray[np.float32] = np.array(x, dtype=np.float32, order="C", copy=True)
    y.flags.writeable = False
    return y


def _require_finite(x: Samples, what: str, offset: int, rate: int) -> None:
    # a sum is not finite if any of its terms is not; it may also overflow, hence the second look
    if np.isfinite(x.sum(dtype=np.float64)):
        return
    bad = ~np.isfinite(x)
    if not bad.any():
        return
    n = int(bad.any(axis=0).argmax())
    channel = int(bad[:, n].argmax())
    raise AudioError(
        f"{what}: sample {offset + n} of channel {channel + 1} ({(offset + n) / rate:.3f} s) is"
        f" {x[channel, n]}, not a number; export the file again"
    )


def require_sound(audio: Audio, what: str) -> None:
    """Raise AudioError if `audio` never exceeds -120 dB of full scale; `what` names it."""
    if float(np.abs(audio.samples).max()) <= SILENCE_AMPLITUDE:
        raise AudioError(
            f"{what} is silent: it stays below {SILENCE_DB:g} dBFS for all of its {audio.duration_s:.2f} s;"
            " give a recording with sound in it"
        )


def _open(path: Path) -> NoSeek:
    """Open a sound file for reading; raises AudioError that says what was found and what to do."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        where = "" if path.parent.is_dir() else f": the folder {path.parent} does not exist"
        raise AudioError(f"there is no file {path}{where}; check the name") from None
    except OSError as error:
        raise AudioError(f"cannot read {path}: {error.strerror}") from error
    if path.is_dir():
        raise AudioError(f"{path} is a folder; name a sound file in it")
    if not os.access(path, os.R_OK):
        raise AudioError(f"cannot read {path}: no permission")
    if not size:
        raise AudioError(f"{path} is empty (0 bytes); export or copy it again")
    try:
        return NoSeek(str(path))
    except (RuntimeError, TypeError) as error:
        # soundfile raises TypeError for names in .raw, which it takes for samples without a header
        raise AudioError(
            f"{path} cannot be read as sound: it looks like {describe(path)}; give WAV, FLAC, AIFF, Ogg or"
            f' MP3, for example from: ffmpeg -i "{path.name}" out.wav'
        ) from error


def _tags(file: NoSeek) -> dict[str, str]:
    found = file.copy_metadata()
    tags = {name: _LIBRARY_MARK.sub("", found[name]).strip() for name in TAGS if name in found}
    return {name: text for name, text in tags.items() if text}


def _info(path: Path, file: NoSeek) -> Info:
    frames = int(file.frames)
    if frames > _UNKNOWN_FRAMES:
        with _open(path) as counted:
            frames = sum(len(data) for data in _chunks(counted, _FLAC_CHUNK))
    if not frames:
        raise AudioError(f"{path} holds no sound, not one sample; export it again")
    notes = []
    here_s = frames / file.samplerate
    share = promised_share(path)
    if share > 1.0:
        notes.append(
            f"{path.name} is cut short: its header promises {here_s * share:.2f} s, {here_s:.2f} s are there"
        )
    elif file.format == "OGG" and not ogg_ends(path):
        notes.append(f"{path.name} is cut short: it breaks off after {here_s:.2f} s")
    return Info(
        path, int(file.samplerate), int(file.channels), frames, file.format, file.subtype, _tags(file),
        tuple(notes),
    )  # fmt: skip


def _chunks(file: NoSeek, size: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield (time, channel) arrays of at most `size` frames to the end, each valid until the next."""
    buffer = np.empty((size, file.channels), dtype=np.float32)
    while len(data := file.read(out=buffer)):
        yield data


def probe(path: str | Path) -> Info:
    """Return what a sound file says of itself, without decoding it; raises AudioError."""
    path = Path(path)
    with _open(path) as file:
        return _info(path, file)


class BlockReader:
    """Context manager and iterator over a file's blocks, each (channel, time) float32 and the caller's own.

    All blocks but the last have `block` frames. After the last, `frames` is what was read and `notes`
    holds, besides those of `info`, anything that turned up on the way.

    Raises
    ------
    AudioError: from `with` if the file cannot be read, from the iteration if a sample is not finite.
    """

    def __init__(self, path: str | Path, block: int = BLOCK) -> None:
        if block < 1:
            raise ValueError(f"block must be at least 1 frame, got {block}")
        self.path, self.block = Path(path), block
        self.frames = 0
        self.notes: list[str] = []
        self._file: NoSeek | None = None
        self._broken = False

    def __enter__(self) -> Self:
        self._file = _open(self.path)
        try:
            self.info = _info(self.path, self._file)
        except BaseException:
            self._file.close()
            raise
        self.notes = list(self.info.notes)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        if self._file is None:
            raise RuntimeError("BlockReader used outside its with statement")
        rate, what = self.info.rate, str(self.path)
        chunk = min(self.block, _FLAC_CHUNK) if self.info.container == "FLAC" else self.block
        block = np.empty((self.info.channels, self.block), dtype=np.float32)
        filled = 0
        for data in self._until_broken(chunk):
            taken = 0
            while taken < len(data):
                step = min(len(data) - taken, self.block - filled)
                block[:, filled : filled + step] = data[taken : taken + step].T
                taken, filled = taken + step, filled + step
                if filled == self.block:
                    _require_finite(block, what, self.frames, rate)
                    self.frames += filled
                    yield block
                    block, filled = np.empty_like(block), 0
        if filled:
            rest = block[:, :filled].copy()
            _require_finite(rest, what, self.frames, rate)
            self.frames += filled
            yield rest
        if not self.frames:
            raise AudioError(f"{self.path} holds no sound that can be decoded; export or copy it again")
        self._compare_length()

    def _until_broken(self, chunk: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yield what can be decoded, and end where the file is damaged; `_compare_length` then tells."""
        assert self._file is not None
        try:
            yield from _chunks(self._file, chunk)
        except RuntimeError:
            self._broken = True

    def _compare_length(self) -> None:
        slack = _MP3_SLACK if self.info.container == "MP3" else 0
        if self._broken or self.info.frames - self.frames > slack:
            self.notes.append(
                f"{self.path.name} is cut short or damaged: its header promises {self.info.duration_s:.2f} s,"
                f" {self.frames / self.info.rate:.2f} s can be read"
            )


def open_blocks(path: str | Path, block: int = BLOCK) -> BlockReader:
    """Return a context manager that iterates over a file's blocks; see BlockReader."""
    return BlockReader(path, block)


def read(path: str | Path) -> Audio:
    """Return a whole sound file; raises AudioError, and warns (AudioWarning) of one that was cut short."""
    with open_blocks(path) as reader:
        samples = np.concatenate(list(reader), axis=1)
    for note in reader.notes:
        warnings.warn(note, AudioWarning, stacklevel=2)
    samples.flags.writeable = False
    found = reader.info
    source = Source(found.path.name, found.container, found.subtype, found.tags, tuple(reader.notes))
    return Audio(samples, found.rate, source)


def resample(audio: Audio, rate: int, *, quality: Literal["HQ", "VHQ"] = "VHQ") -> Audio:
    """Return `audio` at another rate, its length kept to half a sample (soxr; VHQ is 28-bit clean)."""
    if rate == audio.rate:
        return audio
    import soxr  # type: ignore[import-untyped]  # compiled, without stubs

    y = soxr.resample(audio.samples.T, audio.rate, rate, quality=quality)
    frames = max(1, round(audio.frames * rate / audio.rate))
    out = np.zeros((audio.channels, frames), dtype=np.float32)
    kept = min(frames, len(y))
    out[:, :kept] = y[:kept].T
    out.flags.writeable = False
    return Audio(out, rate, audio.source)


def write(
    path: str | Path,
    audio: Audio,
    *,
    container: str | None = None,
    subtype: str | None = None,
    force: bool = False,
) -> Info:
    """Write a sound file whole or not at all, and return what was written.

    Parameters
    ----------
    path: its ending chooses the container unless `container` (a name in formats.CONTAINERS) does.
    audio: rate, channels, depth and tags of its source are kept where the container carries them.
    subtype: sample format, for example "PCM_24"; by default the source's, or the nearest there is.
    force: replace an existing file.

    Raises
    ------
    AudioError: see fxstyle.writing.Writer.
    """
    path = Path(path)
    if container is not None and container not in CONTAINERS:
        raise AudioError(f"{path}: no container is called {container!r}; there are {', '.join(CONTAINERS)}")
    kind = container_for(path) if container is None else CONTAINERS[container]
    with Writer(
        path,
        audio.rate,
        audio.channels,
        container=kind,
        subtype=subtype or default_subtype(kind, audio.source),
        tags=audio.source.tags if audio.source is not None else None,
        frames=audio.frames,
        force=force,
    ) as writer:
        writer.write(audio.samples)
    return probe(path)
