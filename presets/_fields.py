"""The kinds of field in a preset: names, texts, times and numbers that are safe to show and to write.

Presets come from strangers. Names become file names and go to terminals, so they hold no separators, no
control characters and nothing that makes text read differently from what it is.
"""

from __future__ import annotations

import math
import unicodedata
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator

MAX_NAME = 200
MAX_TEXT = 4000

_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make a name read differently from what it is."""

_PATH_SIGNS = frozenset('/\\:*?"<>|')
"""Separators, drive and stream marks and wildcards of the common file systems: names become file names."""


def _is_control(sign: str) -> bool:
    return unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} or sign in _BIDI_CONTROLS


def _check_name(name: str) -> str:
    for sign in name:
        if _is_control(sign) or sign in _PATH_SIGNS:
            raise ValueError(f"a name cannot contain {sign!a}")
    if name.strip(". ") != name:
        raise ValueError("a name cannot begin or end with a dot or a space")
    return name


def _check_text(text: str) -> str:
    for sign in text:
        if _is_control(sign) and sign not in "\n\t":
            raise ValueError(f"text cannot contain the control character {sign!a}")
    return text


def _check_time(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("not a time in ISO 8601, such as 2026-01-31T12:00:00+00:00") from None
    return text


def safe_name(text: str) -> str:
    """Turn any text, such as a file's name, into one that a preset accepts."""
    clean = "".join("_" if _is_control(c) or c in _PATH_SIGNS else c for c in text)
    return clean[:MAX_NAME].strip(". ")


def safe_text(text: str) -> str:
    """Turn any text into one that a preset accepts as a description, message or note."""
    return "".join("_" if _is_control(c) and c not in "\n\t" else c for c in text)[:MAX_TEXT]


class Record(BaseModel):
    """Part of a preset: of the right types, nothing else in it, and not to be changed."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


Name = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_check_name)]
Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_check_text)]
Time = Annotated[
    str, Field(max_length=40, json_schema_extra={"format": "date-time"}), AfterValidator(_check_time)
]
Number = Annotated[float, Field(allow_inf_nan=False)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _check_value(value: Any) -> float | str:
    """Take a finite number or a word; a union of both would put its own words into the path of a defect.

    True and false pass as they are: they may stand for the words on and off.
    """
    if isinstance(value, (str, bool)):
        return value
    if not isinstance(value, (int, float)):
        raise ValueError("input should be a number, or the word of a choice")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError("input should be a finite number")
    return number


Value = Annotated[
    float | str,
    PlainValidator(_check_value, json_schema_input_type=float | bool | Annotated[str, Field(max_length=64)]),
]
