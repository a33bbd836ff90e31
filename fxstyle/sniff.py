"""What a file is by its first bytes, and whether its sound ends early.

libsndfile reads a file that was cut short without a word, so the promise in the header is compared
with what is there: RIFF and RF64 (EBU Tech 3306) and AIFF declare the bytes of sound, and the last
page of an Ogg stream carries a mark (RFC 3533, section 6). FLAC and MP3 show it while they are decoded.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO

_OPEN_ENDED = frozenset({0, 0x7F000000, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF})
"""Lengths that programs write into a header when they send sound through a pipe: no promise at all."""

_OGG_PAGE_BYTES = 65_307
"""Longest Ogg page."""

_MAGIC = (
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x89PNG", "a picture (PNG)"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (0, b"0&\xb2u", "Windows Media"),
    (0, b"wvpk", "WavPack"),
    (0, b"MAC ", "Monkey's Audio"),
    (0, b"RIFF", "a damaged WAV, or another kind of RIFF file"),
    (0, b"FORM", "a damaged AIFF"),
    (0, b"fLaC", "a damaged FLAC"),
    (0, b"OggS", "Ogg, but neither Vorbis, Opus nor FLAC that can be read"),
    (0, b"ID3", "a damaged MP3, or another kind of tagged file"),
    (4, b"ftyp", "MPEG-4 (M4A, AAC, ALAC or video)"),
)


def describe(path: Path) -> str:
    """Say in a few words what an unreadable file looks like."""
    with path.open("rb") as file:
        head = file.read(512)
    for offset, magic, words in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return words
    try:
        text = head.decode("ascii")
    except UnicodeDecodeError:
        return "data of no known audio format"
    return "text" if text.isprintable() or text.split() else "data of no known audio format"


def promised_share(path: Path) -> float:
    """Return how many times more sound the header promises than the file holds; 1 if it keeps its word."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
            return _chunks(file, size, b"data", "<")
        if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
            return _chunks(file, size, b"SSND", ">")
    return 1.0


def _chunks(file: BinaryIO, size: int, wanted: bytes, order: str) -> float:
    """Walk chunks (name, 32-bit length, data padded to even) to the one that holds the sound."""
    long_size: int | None = None
    while len(header := file.read(8)) == 8:
        name = header[:4]
        declared: int = struct.unpack(order + "I", header[4:])[0]
        if name == b"ds64":
            body = file.read(declared)
            if len(body) >= 16:
                long_size = int.from_bytes(body[8:16], "little")
            continue
        if name == wanted:
            if declared == 0xFFFFFFFF and long_size is not None:
                declared = long_size
            there = size - file.tell()
            if declared in _OPEN_ENDED or there <= 0:
                return 1.0
            return max(1.0, declared / there)
        file.seek(declared + declared % 2, os.SEEK_CUR)
    return 1.0


def ogg_ends(path: Path) -> bool:
    """Return whether the last page of an Ogg file is marked as the last of its stream."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _OGG_PAGE_BYTES))
        tail = file.read()
    page = tail.rfind(b"OggS")
    return page >= 0 and len(tail) > page + 5 and bool(tail[page + 5] & 4)
