"""Reading JSON from strangers: bounded size and depth, no key twice, nothing but JSON.

`json` alone keeps the last of two equal keys, so that what a person reads in a file need not be what
a program takes; and it accepts any size and depth. Numbers that are not finite pass here and are
refused by the model, which knows the path of their field.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fxstyle.errors import PresetError

MAX_BYTES = 64_000_000
"""A preset of the largest chain allowed takes under 100 kB; the most impulse responses allowed 48 MB."""

MAX_DEPTH = 8
"""Preset -> chain -> slot -> settings -> setting -> value is five deep."""


class _Repeated(dict[str, Any]):
    """An object in which `key` occurs twice; found by the walk that knows the path."""

    def __init__(self, pairs: Sequence[tuple[str, Any]], key: str) -> None:
        super().__init__(pairs)
        self.key = key


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Repeated(pairs, key)
        seen.add(key)
    return dict(pairs)


def address(location: Sequence[str | int]) -> str:
    """Write the place of a field as people do: ("chain", 1, "amount") -> "chain[1].amount"."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + shown(part)
    return text or "the preset"


def as_written(value: object) -> str:
    """Return a value short and as it stands in a file: true, null, 24; texts in quotation marks."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return shown(repr(value).removesuffix(".0") if isinstance(value, float) else repr(value))


def shown(value: object, limit: int = 60) -> str:
    """Return `value` short and without control characters, fit for a message in a terminal."""
    text = value if isinstance(value, str) else repr(value)
    clean = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 3] + "..."


def read_json(path: Path) -> Any:
    """Return the parsed content of a small JSON file; raises PresetError naming file and defect."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise PresetError(f"{path}: there is no such file; check the name") from error
    except IsADirectoryError as error:
        raise PresetError(f"{path} is a folder; name a preset file in it") from error
    except OSError as error:
        raise PresetError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise PresetError(f"{path} is larger than {MAX_BYTES // 1000} kB; no preset is, so it was not read")
    try:
        return parse_json(data)
    except PresetError as error:
        raise PresetError(f"{path}: {error}") from error


def parse_json(data: bytes) -> Any:
    """Return the parsed content of `data`; raises PresetError naming the field."""
    if not data.strip():
        raise PresetError("the file is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PresetError(f"not a preset: byte {error.start} is not UTF-8 text") from error
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise PresetError("not a preset: nested too deeply") from error
    except json.JSONDecodeError as error:
        raise PresetError(f"not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except ValueError as error:
        # Python refuses to convert integers of thousands of digits, and no other value does this.
        raise PresetError("not a preset: it holds a number of thousands of digits") from error
    _check_shape(content)
    return content


def _check_shape(content: Any) -> None:
    """Refuse repeated keys and deep nesting, without recursion of our own."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), content)]
    while waiting:
        location, value = waiting.pop()
        if len(location) > MAX_DEPTH:
            raise PresetError(f"{address(location)}: nested more than {MAX_DEPTH} deep")
        if isinstance(value, _Repeated):
            raise PresetError(f"{address((*location, value.key))}: the key occurs twice; keep one of them")
        if isinstance(value, dict):
            waiting += [((*location, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            waiting += [((*location, index), item) for index, item in enumerate(value)]
