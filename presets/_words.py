"""Defects of a preset in the words of its file, not in those of the library that finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from fxstyle import effects
from fxstyle.errors import SettingError, remedy
from fxstyle.presets._text import address, as_written, shown

_SHOULD_BE = {
    "tuple_type": "should be a list, [...]",
    "dict_type": "should be an object, {...}",
    "model_type": "should be an object, {...}",
    "string_type": "should be text",
    "bool_type": "should be true or false",
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "missing": "is missing",
}
"""What is said of the kinds of defect of which the library speaks in terms of Python."""

_NAME = "a name is small letters, digits and _, and begins with a letter"


def in_words(error: ValidationError, content: Any, fields: Mapping[str, Sequence[str]]) -> str:
    """Say the first defect with its path; how many more there are helps whoever mends the file.

    Parameters
    ----------
    content: the file's.
    fields: the names of an object's fields by what it stands under, "" for the preset itself.
    """
    details = error.errors(include_url=False)
    first, others = details[0], len(details) - 1
    if first["type"] == "missing":
        # It may be there, misspelled.
        extra = (d for d in details if d["type"] == "extra_forbidden" and d["loc"][:-1] == first["loc"][:-1])
        first = next(extra, first)
    message = first["msg"].removeprefix("Value error, ")
    if first["loc"]:
        where = first["loc"]
        value = first["input"]
        plain = isinstance(value, (dict, list)) or first["type"] == "missing"
        found = "" if plain else f": {as_written(value)}"
        message = _message(first["type"], where, value, message, first.get("ctx", {}), fields)
        message = f"{address(_as_in_file(where, content))}{found}: {message}"
    return message + (f" (and {others} more)" if others else "")


def _message(
    kind: str,
    where: Sequence[str | int],
    value: Any,
    message: str,
    context: Mapping[str, Any],
    fields: Mapping[str, Sequence[str]],
) -> str:
    if kind == "extra_forbidden":
        known = fields[_under(where)]
        wrong = shown(str(where[-1]))
        return "there is no such field" + remedy(wrong, known, lead="there are", listed=", ".join(known))
    if kind == "string_pattern_mismatch" and where[0] == "chain":
        return _no_such_effect(value) if where[-1] == "effect" else _NAME
    if kind == "model_type" and _under(where) == "chain" and isinstance(value, str):
        return 'should be an object, {"effect": ...}'
    if kind == "too_long":
        return f"should have at most {context['max_length']} items"
    return _SHOULD_BE.get(kind, f"{message[:1].lower()}{message[1:]}")


def _no_such_effect(word: str) -> str:
    try:
        effects.get(word)
    except SettingError as error:
        return shown(str(error), 400)
    return _NAME


def _under(where: Sequence[str | int]) -> str:
    """Return what the object of the field at `where` stands under: a key of `fields`."""
    if len(where) > 2 and where[-3] == "settings":
        return "settings"
    if len(where) > 2 and where[-3] == "responses":
        return "responses"
    return next((str(part) for part in reversed(where[:-1]) if isinstance(part, str)), "")


def _as_in_file(where: Sequence[str | int], content: Any) -> Sequence[str | int]:
    """Return a place less the last field, where the file has a bare value and no object around it."""
    if where[-1] != "value":
        return where
    for part in where[:-1]:
        content = content[part]
    return where if isinstance(content, dict) else where[:-1]
