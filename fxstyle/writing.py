"""Writing a sound file whole or not at all.

    q = floor(2^(b-1) x + d + 1/2)         x in [-1, 1], b bits, q limited to [-2^(b-1), 2^(b-1) - 1]

d is dither with a triangular density over (-1, 1) steps (TPDF; Lipshitz, Wannamaker & Vanderkooy,
"Quantization and dither", JAES 40, 1992): the error's mean and variance then do not follow the sound.
It is added at 16 bits and less, never at 24 and more, and only to samples that do not lie on a step
already: a 16-bit file that nothing has changed stays identical to the bit, and digital silence stays
silent. The dither is a fixed sequence over the file, one number per sample, so that the same sound
always gives the same file, whatever the block size.

Samples beyond full scale (|x| > 1) are refused in every container but the float ones: nothing is
clipped silently. x = 1 exactly becomes the largest integer, one step less.

The file is written under a temporary name in the same folder, flushed to the disk, checked, and only
then given its name; on any error, Ctrl-C included, it is removed. Two bytes-level facts of libsndfile:
float WAV carries a time stamp (PEAK chunk) and Ogg a random serial number, so equal audio is not
always an equal file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import soundfile

from fxstyle.effect import Samples
from fxstyle.errors import AudioError
from fxstyle.formats import BITS, FLOATS, Container, bytes_per_sample, check_writable, sized

_DITHER_BITS = 16
"""Largest word length that is dithered; at 24 bits the step lies 40 dB under any converter's noise."""

_DITHER_SEED = 1992

_CHUNK = 16_384
"""Frames handed to libsndfile at once: its Ogg encoders overflow the stack on very long blocks."""

_VORBIS_COMPRESSION = 0.2
"""libsndfile's scale, 0 best: Vorbis quality 8, about 256 kbit/s."""

_MP3_COMPRESSION = 0.0
"""Constant 320 kbit/s at 44.1 and 48 kHz."""

_OPUS_COMPRESSION = 0.3
"""About 180 kbit/s per stereo pair; Opus is transparent well below."""

_LAST_BYTES = 131_072
"""More than an encoder holds back: two Ogg pages of the largest size."""

_ID3_FRAMES = {
    "title": "TIT2", "artist": "TPE1", "album": "TALB", "date": "TDRC",
    "genre": "TCON", "tracknumber": "TRCK", "copyright": "TCOP", "software": "TSSE",
}  # fmt: skip
"""ID3v2.4 frame of each tag; a comment has a frame with a language of its own."""


class NoSeek(soundfile.SoundFile):  # type: ignore[misc]  # soundfile carries no types
    """A sound file that is only ever read or written forwards.

    soundfile seeks after every block, to where it is already. That fails for FLAC streams without
    a length and restarts the decoders of the lossy formats.
    """

    def seekable(self) -> bool:
        """Return False, which keeps soundfile from seeking."""
        return False


def quantise(block: Samples, bits: int, dither: np.random.PCG64 | None) -> npt.NDArray[np.int32]:
    """Return a block (channel, time) as interleaved integers (time, channel) of `bits` bits.

    `dither` supplies one draw per sample, in the order of the result; None adds nothing.
    """
    steps = 2.0 ** (bits - 1)
    x = np.multiply(block.T, steps, dtype=np.float64)
    if dither is not None:
        draws = dither.random_raw(x.size).reshape(x.shape)
        triangle = (draws >> np.uint64(32)).astype(np.float64)
        triangle -= (draws & np.uint64(0xFFFFFFFF)).astype(np.float64)
        triangle *= 2.0**-32
        triangle *= x != np.rint(x)
        x += triangle
    x += 0.5
    np.floor(x, out=x)
    return np.clip(x, -steps, steps - 1.0, out=x).astype(np.int32)


class Writer:
    """Context manager that writes blocks (channel, time) to a file that appears whole or not at all.

    Parameters
    ----------
    path: the file to be; its folder must exist.
    rate, channels: of the sound.
    container, subtype: see fxstyle.formats.
    tags: text fields; those the container does not carry are listed in `lost_tags`.
    frames: the length if it is known; a WAV beyond 4 GiB then becomes RF64.
    force: replace an existing file.

    Raises
    ------
    AudioError: the file exists, the folder does not or cannot be written, the container cannot carry
        the sound, a block is not finite or beyond full scale, or the disk is full.
    """

    def __init__(
        self,
        path: str | Path,
        rate: int,
        channels: int,
        *,
        container: Container,
        subtype: str,
        tags: Mapping[str, str] | None = None,
        frames: int | None = None,
        force: bool = False,
    ) -> None:
        self.path = Path(path)
        self.rate, self.channels, self.subtype, self.force = rate, channels, subtype, force
        self.tags = dict(tags or {})
        check_writable(self.path, container, subtype, rate, channels)
        self.container = sized(container, subtype, channels, frames)
        self.lost_tags = tuple(t for t in self.tags if t in self.container.lost_tags)
        self.frames = 0
        self._bits = BITS.get(subtype)
        self._dither: np.random.PCG64 | None = None
        if self._bits is not None and self._bits <= _DITHER_BITS:
            self._dither = np.random.PCG64(_DITHER_SEED)
        self._temporary: Path | None = None
        self._handle: int | None = None
        self._file: NoSeek | None = None
        self.check_target()

    def check_target(self) -> None:
        """Raise AudioError if the target must not or cannot be written."""
        folder = self.path.parent
        if not folder.is_dir():
            raise AudioError(f"cannot write {self.path}: the folder {folder} does not exist; create it first")
        if self.path.is_dir():
            raise AudioError(f"cannot write {self.path}: it is a folder; give a file name")
        if self.path.exists():
            if not self.path.is_file():
                raise AudioError(f"cannot write {self.path}: it is a device, not a file; give a file name")
            if not self.force:
                raise AudioError(f"{self.path} exists; choose another name or replace it with --force")

    def __enter__(self) -> Self:
        temporary = self.path.parent / f".fxstyle-{secrets.token_hex(6)}.part"
        try:
            self._handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except OSError as error:
            raise self._failure(error) from error
        self._temporary = temporary
        try:
            self._open(self._handle)
        except BaseException as error:
            self.discard()
            if isinstance(error, (OSError, RuntimeError)):
                raise self._failure(error) from error
            raise
        return self

    def _open(self, handle: int) -> None:
        if self.container.name == "MP3" and self.tags:
            # libsndfile would mark UTF-8 as Latin-1, and drops the copyright
            os.write(handle, _id3(self.tags))
        options: dict[str, Any] = {}
        if self.container.name == "MP3":
            options = {"compression_level": _MP3_COMPRESSION, "bitrate_mode": "CONSTANT"}
        elif self.container.lossy:
            level = _VORBIS_COMPRESSION if self.subtype == "VORBIS" else _OPUS_COMPRESSION
            options = {"compression_level": level}
        self._file = NoSeek(
            handle,
            "w",
            self.rate,
            self.channels,
            self.subtype,
            format=self.container.format,
            # libsndfile closes it on some failures to open and not on others; here it is always ours
            closefd=False,
            **options,
        )
        if self.container.name != "MP3":
            for name, text in self.tags.items():
                setattr(self._file, name, text)

    def write(self, block: Samples) -> None:
        """Append a block (channel, time) of floats; raises AudioError."""
        if self._file is None:
            raise RuntimeError("Writer.write outside its with statement")
        if block.ndim != 2 or block.shape[0] != self.channels:
            raise AudioError(f"{self.path}: a block of shape {block.shape} is not ({self.channels}, time)")
        if not block.size:
            return
        self._check_level(block)
        limit = self.container.limit_bytes
        if self._bits is not None or self.subtype in FLOATS:
            size = (self.frames + block.shape[1]) * self.channels * bytes_per_sample(self.subtype)
            if size > limit:
                raise AudioError(
                    f"cannot write {self.path}: {self.container.name} ends at 4 GiB; write .rf64 or .flac"
                )
        for start in range(0, block.shape[1], _CHUNK):
            data = self._encode(block[:, start : start + _CHUNK])
            try:
                self._file.write(data)
            except (OSError, RuntimeError, AssertionError) as error:
                # soundfile meets a short write with an assert
                raise self._failure(error) from error
            self.frames += len(data)

    def _check_level(self, block: Samples) -> None:
        peak = float(np.max(np.abs(block)))
        if not np.isfinite(peak):
            raise AudioError(
                f"cannot write {self.path}: the sound is not a number (NaN or infinite) near"
                f" {self.frames / self.rate:.3f} s"
            )
        if peak > 1.0 and self.subtype not in FLOATS:
            raise AudioError(
                f"cannot write {self.path}: the sound peaks at {20.0 * np.log10(peak):+.2f} dBFS, which"
                f" {self.subtype} would clip; lower it, or write float (subtype FLOAT)"
            )

    def _encode(self, block: Samples) -> npt.NDArray[Any]:
        if self._bits is None:
            return np.ascontiguousarray(block.T)
        words = quantise(block, self._bits, self._dither)
        # libsndfile takes integers aligned to the left of 32 bits, exactly
        return words << (32 - self._bits)

    def discard(self) -> None:
        """Close and remove the temporary file; the target stays as it was."""
        if self._file is not None:
            with contextlib.suppress(OSError, RuntimeError):  # it is thrown away all the same
                self._file.close()
            self._file = None
        if self._handle is not None:
            handle, self._handle = self._handle, None
            with contextlib.suppress(OSError):
                os.close(handle)
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None or self._file is None:
            self.discard()
            return
        try:
            self._commit()
        except BaseException as failure:
            self.discard()
            if isinstance(failure, (OSError, RuntimeError)):
                raise self._failure(failure) from failure
            raise

    def _commit(self) -> None:
        assert self._file is not None
        assert self._temporary is not None
        assert self._handle is not None
        file, self._file = self._file, None
        file.close()
        if self.container.lossy:
            _require_room(self._handle)
        os.fsync(self._handle)
        handle, self._handle = self._handle, None
        os.close(handle)
        if not self.frames:
            raise AudioError(f"cannot write {self.path}: there is no sound in it, not one sample")
        # last bytes, or a header written last, that a full disk did not take are found missing here
        found = soundfile.info(str(self._temporary)).frames
        if found != self.frames:
            raise OSError(errno.ENOSPC, f"{found} of {self.frames} samples arrived on the disk")
        self.check_target()
        os.replace(self._temporary, self.path)
        self._temporary = None

    def _failure(self, error: BaseException) -> AudioError:
        folder = self.path.parent
        what = str(error) or type(error).__name__
        if isinstance(error, PermissionError):
            return AudioError(f"cannot write {self.path}: no permission in {folder}; choose another folder")
        free_mb = shutil.disk_usage(folder).free / 1e6
        if isinstance(error, AssertionError) or getattr(error, "errno", None) == errno.ENOSPC:
            what = "the disk is full or a limit was reached" + (f" ({error})" if str(error) else "")
        return AudioError(
            f"cannot write {self.path}: {what}; {free_mb:.0f} MB are free in {folder}, nothing was left there"
        )


def _require_room(handle: int) -> None:
    """Raise OSError unless a few more bytes fit behind the file, which is left as it is.

    libsndfile does not tell whether the encoder's last bytes, written on closing, were taken by the
    disk; where as many go again, they were.
    """
    size = os.lseek(handle, 0, os.SEEK_END)
    try:
        if os.write(handle, bytes(_LAST_BYTES)) < _LAST_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.ftruncate(handle, size)


def _id3(tags: Mapping[str, str]) -> bytes:
    """Return an ID3v2.4 tag in UTF-8 (id3.org, "ID3 tag version 2.4.0", sections 3.1, 4.2, 4.10)."""
    body = b""
    for name, text in tags.items():
        data = text.encode()
        if name == "comment":
            body += _id3_frame(b"COMM", b"eng\0" + data)
        elif name in _ID3_FRAMES:
            body += _id3_frame(_ID3_FRAMES[name].encode(), data)
    return b"ID3\x04\0\0" + _syncsafe(len(body)) + body


def _id3_frame(name: bytes, data: bytes) -> bytes:
    return name + _syncsafe(len(data) + 1) + b"\0\0\x03" + data


def _syncsafe(size: int) -> bytes:
    return bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
