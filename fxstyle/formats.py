"""Containers, sample formats and tags: what a sound file can carry, and what is kept from one to another.

Everything here was found by writing with libsndfile 1.2.2 and reading back, and tests/test_audio.py
repeats it. Tags are UTF-8 everywhere but in AIFF's copyright and software, which are ASCII.

==========  ==========================  =======================  ==========================================
container   sample formats              rates, channels          tags that survive
==========  ==========================  =======================  ==========================================
WAV, RF64   8, 16, 24, 32 bit, float    any, 1..1024             all but license
FLAC        8, 16, 24 bit               <= 655350 Hz, 1..8       all
AIFF        8, 16, 24, 32 bit, float    any, 1..1024             title, artist, comment, copyright, software
Ogg Vorbis  lossy                       <= 200 kHz, 1..255       all
Ogg Opus    lossy                       8, 12, 16, 24, 48 kHz    all
MP3         lossy                       8 .. 48 kHz (9), 1..2    all but license (own ID3v2.4, see writing.py)
==========  ==========================  =======================  ==========================================

Not carried over: pictures, cue points, loops, broadcast (bext) and sampler chunks, channel maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from fxstyle.errors import AudioError

TAGS = (
    "title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright", "software", "license",
)  # fmt: skip
"""Text fields that are read, and kept where the container carries them."""

BITS = MappingProxyType({"PCM_U8": 8, "PCM_S8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32})
"""Word length of the integer sample formats."""

FLOATS = ("FLOAT", "DOUBLE")

LOSSLESS_DEFAULT = "PCM_24"
"""Depth of a file whose source has none to keep: a lossy one, or sound made in memory."""


@dataclass(frozen=True)
class Container:
    """What one kind of output file carries.

    Attributes
    ----------
    name: the word users see; libsndfile's name for the container is `format`.
    suffixes: file name endings that choose it.
    subtypes: sample formats, libsndfile's names, the poorest first; a lossy container has one.
    rates_hz: the only rates it has, or empty for any up to `top_rate_hz`.
    channels: most channels.
    lost_tags: text fields that do not survive.
    limit_bytes: largest file.
    """

    name: str
    format: str
    suffixes: tuple[str, ...]
    subtypes: tuple[str, ...]
    rates_hz: tuple[int, ...] = ()
    top_rate_hz: int = 2**31 - 1
    channels: int = 1024
    lost_tags: frozenset[str] = frozenset()
    limit_bytes: int = 2**63 - 1

    @property
    def lossy(self) -> bool:
        """Whether the sample values are not kept."""
        return not set(self.subtypes) & (set(BITS) | set(FLOATS))


_FOUR_GIB = 2**32
_HEADER_BYTES = 2**16
"""Set aside for headers and tags when a length is held against the 4 GiB limit."""

_WAV = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_AIFF = ("PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_AIFF_LOST = frozenset({"album", "date", "genre", "tracknumber", "license"})
_LICENSE = frozenset({"license"})

CONTAINERS = MappingProxyType(
    {
        c.name: c
        for c in (
            Container(
                "WAV", "WAV", (".wav", ".wave"), _WAV,
                lost_tags=_LICENSE, limit_bytes=_FOUR_GIB - _HEADER_BYTES,
            ),
            Container("RF64", "RF64", (".rf64",), _WAV, lost_tags=_LICENSE),
            # libsndfile writes nothing above 655350 Hz and 8 channels, the limits of the format
            Container("FLAC", "FLAC", (".flac",), ("PCM_S8", "PCM_16", "PCM_24"), (), 655_350, 8),
            Container(
                "AIFF", "AIFF", (".aiff", ".aif", ".aifc"), _AIFF,
                lost_tags=_AIFF_LOST, limit_bytes=_FOUR_GIB - _HEADER_BYTES,
            ),
            # beyond these limits libvorbis has no mode, and libsndfile 1.2.2 crashes
            Container("OGG", "OGG", (".ogg", ".oga"), ("VORBIS",), (), 200_000, 255),
            Container("OPUS", "OGG", (".opus",), ("OPUS",), _OPUS_RATES, channels=255),
            Container("MP3", "MP3", (".mp3",), ("MPEG_LAYER_III",), _MP3_RATES, 48_000, 2, _LICENSE),
        )
    }
)  # fmt: skip
"""What can be written, by name."""


@dataclass(frozen=True)
class Source:
    """Where samples came from, as far as it decides what an output looks like.

    `container` and `subtype` are libsndfile's names; `notes` says in plain words what was odd.
    """

    name: str
    container: str
    subtype: str
    tags: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Info:
    """What a file says of itself.

    `frames` is exact but for MP3 files without a length of their own, where it can be too large
    by two packets (2304 samples).
    """

    path: Path
    rate: int
    channels: int
    frames: int
    container: str
    subtype: str
    tags: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.frames / self.rate

    def source(self, notes: tuple[str, ...] = ()) -> Source:
        """Return what an output may want to keep, with further notes."""
        return Source(self.path.name, self.container, self.subtype, self.tags, (*self.notes, *notes))


def container_for(path: Path) -> Container:
    """Return the container that the file's ending asks for; raises AudioError listing those there are."""
    suffix = path.suffix.lower()
    for container in CONTAINERS.values():
        if suffix in container.suffixes:
            return container
    known = ", ".join(s for c in CONTAINERS.values() for s in c.suffixes)
    found = f"its ending {path.suffix!r} is not one of" if suffix else "its name has no ending; use one of"
    raise AudioError(f"cannot tell what to write to {path}: {found} {known}")


def sized(container: Container, subtype: str, channels: int, frames: int | None) -> Container:
    """Return RF64 in place of WAV where `frames` would not fit into 4 GiB."""
    if container.name == "WAV" and frames is not None:
        size = frames * channels * bytes_per_sample(subtype)
        if size > container.limit_bytes:
            return CONTAINERS["RF64"]
    return container


def bytes_per_sample(subtype: str) -> int:
    """Return the size of one sample of an uncompressed format."""
    return {"FLOAT": 4, "DOUBLE": 8}.get(subtype) or BITS[subtype] // 8


def default_subtype(container: Container, source: Source | None) -> str:
    """Return the sample format that keeps the source's depth, or the nearest the container has.

    float -> FLAC is 24 bit; a lossy source or none -> 24 bit; 8 bit stays 8 bit, signed or not.
    """
    if container.lossy:
        return container.subtypes[0]
    found = source.subtype if source is not None else LOSSLESS_DEFAULT
    if found in container.subtypes:
        return found
    if found in ("PCM_U8", "PCM_S8"):
        return container.subtypes[0]
    # Telephone codings (ULAW, ALAW, ADPCM ...) stand for about 14 bits, a lossy codec for no number at all.
    if "LAW" in found or "ADPCM" in found:
        return "PCM_16"
    return LOSSLESS_DEFAULT


def check_writable(path: Path, container: Container, subtype: str, rate: int, channels: int) -> None:
    """Raise AudioError if the container cannot carry this sample format, rate or number of channels."""
    if subtype not in container.subtypes:
        raise AudioError(
            f"{path}: {container.name} has no sample format {subtype!r}, only {', '.join(container.subtypes)}"
        )
    remedy = "write .wav or .flac instead, or resample first"
    if container.rates_hz and rate not in container.rates_hz:
        rates = ", ".join(str(r) for r in container.rates_hz)
        raise AudioError(f"{path}: {container.name} cannot carry {rate} Hz, only {rates} Hz; {remedy}")
    if rate > container.top_rate_hz:
        remedy = "write .wav instead, or resample first"
        raise AudioError(
            f"{path}: {container.name} cannot carry {rate} Hz, at most {container.top_rate_hz} Hz; {remedy}"
        )
    if channels > container.channels:
        raise AudioError(
            f"{path}: {container.name} cannot carry {channels} channels, at most {container.channels};"
            " write .wav instead"
        )
